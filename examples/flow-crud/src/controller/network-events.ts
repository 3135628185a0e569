import type { Books } from "./books.ts";
import { shownLayout } from "./claims.ts";
import { owe } from "./concerns.ts";
import { segmentOf, type Link } from "./graph.ts";
import type { FlowSpec, Segment } from "./model.ts";
import { isRefusal } from "./planning.ts";
import type { NetworkEvent, Refusal, StoredPort, StoredSwitch } from "./store.ts";

/** What a link has when nothing else is known of it. The cost is OpenKilda's. */
const assumed = { cost: 700, latencyMs: 1, kbps: 10_000_000 } as const;

/** More than that is no latency that counts. */
const longestMs = 1e6;

type EventOf<Kind extends NetworkEvent["kind"]> = Extract<NetworkEvent, { readonly kind: Kind }>;

/** Notes what has happened. @returns The flows that it concerns, in the order in which they go. See `FlowStore.note`. */
export function note(books: Books, event: NetworkEvent, now: number): string[] {
  const flowIds = noteInNetwork(books, event);
  // Whatever becomes of the reroutes that follow from it, it is not forgotten.
  owe(books, flowIds, now);
  return flowIds;
}

function noteInNetwork(books: Books, event: NetworkEvent): string[] {
  switch (event.kind) {
    case "switch":
      return noteSwitch(books, event);
    case "port":
      notePort(books, event);
      return [];
    case "link":
      return noteLink(books, event);
  }
}

const unseen = (switchId: string): StoredSwitch => ({
  switchId,
  isConnected: false,
  address: "",
  description: "",
  ports: [],
});

function noteSwitch(books: Books, event: EventOf<"switch">): string[] {
  const { switchId, isConnected, address, description } = event;
  const known = books.switch(switchId) ?? unseen(switchId);
  const ports = event.ports?.toSorted((one, other) => one.port - other.port) ?? known.ports;
  books.putSwitch({ switchId, isConnected, address, description, ports });
  return isConnected ? inOrder(books, waiting(books)) : [];
}

function notePort(books: Books, { switchId, port, name, isUp, speedKbps }: EventOf<"port">): void {
  const known = books.switch(switchId) ?? unseen(switchId);
  const others = known.ports.filter((one) => one.port !== port);
  const ports: StoredPort[] = [...others, { port, name, isUp, speedKbps }];
  books.putSwitch({ ...known, ports: ports.toSorted((one, other) => one.port - other.port) });
}

function noteLink(books: Books, event: EventOf<"link">): string[] {
  const { from, fromPort, to, toPort, isUp } = event;
  const segment: Segment = { from, fromPort, to, toPort };
  if (from === to && fromPort === toPort) return [];
  const known = books.graph.link(segment);
  if (!isUp) {
    // One that was never there cannot fail.
    if (known === undefined) return [];
    change(books, known, { isUp });
    return inOrder(books, fail(books, known));
  }
  for (const switchId of [from, to])
    if (books.switch(switchId) === undefined) books.putSwitch(unseen(switchId));
  // A port has one cable: what was on it before is gone.
  const replaced = [...linksOn(books, from, fromPort), ...linksOn(books, to, toPort)].filter(
    (link) => link !== known,
  );
  const failed = replaced.flatMap((link) => {
    if (link.isUp) change(books, link, { isUp: false });
    return fail(books, link);
  });
  const latencyMs = Math.min(event.latencyMs ?? known?.latencyMs ?? assumed.latencyMs, longestMs);
  if (known === undefined) {
    const speed = event.speedKbps ?? 0;
    const bandwidth = speed > 0 ? speed : speedOf(books, segment);
    books.putLink(segment, { isUp, cost: assumed.cost, latencyMs, isLatencySet: false, bandwidth });
    return inOrder(books, [...failed, ...waiting(books)]);
  }
  change(books, known, { isUp, latencyMs: known.isLatencySet ? known.latencyMs : latencyMs });
  const touched = [...known.shares.keys()].filter((flowId) => {
    const record = books.find(flowId);
    // One that was settled without what this link gives back says so still.
    return record !== undefined && (record.isTouched || record.info !== null);
  });
  return inOrder(books, [...failed, ...touched, ...waiting(books)]);
}

/** The flows that are not UP. One that is being created is not: its own operation looks after it. */
const waiting = (books: Books): string[] =>
  [...books.notUp()].filter((flowId) => books.find(flowId)?.standing !== null);

/** The speed of the slower end of a link, as far as it is known. */
function speedOf(books: Books, { from, fromPort, to, toPort }: Segment): number {
  const speeds = [
    [from, fromPort],
    [to, toPort],
  ].map(
    ([switchId, port]) =>
      books.switch(switchId as string)?.ports.find((one) => one.port === port)?.speedKbps ?? 0,
  );
  const known = speeds.filter((speed) => speed > 0);
  return known.length === 0 ? assumed.kbps : Math.min(...known);
}

const linksOn = (books: Books, switchId: string, port: number): Link[] =>
  (books.graph.node(switchId)?.arcs ?? [])
    .filter(({ fromPort }) => fromPort === port)
    .map(({ link }) => link);

/** Notes on the flows of a link that it has failed. @returns Their ids. */
function fail(books: Books, link: Link): string[] {
  const flows = [...link.shares.keys()];
  for (const flowId of flows) {
    const record = books.find(flowId);
    if (record !== undefined && !record.isTouched) books.put({ ...record, isTouched: true });
  }
  return flows;
}

function change(books: Books, link: Link, properties: Partial<Link>): void {
  const { isUp, cost, latencyMs, isLatencySet, bandwidth } = { ...link, ...properties };
  books.putLink(segmentOf(link.arcs[0]), { isUp, cost, latencyMs, isLatencySet, bandwidth });
}

/** The flows that are to be looked at: those of lower priority numbers first, then those of more bandwidth. */
export function inOrder(books: Books, flowIds: Iterable<string>): string[] {
  const specs = [...new Set(flowIds)].flatMap((flowId): FlowSpec[] => {
    const record = books.find(flowId);
    const spec = record === undefined ? undefined : shownLayout(record)?.spec;
    return spec === undefined || spec.pinned ? [] : [spec];
  });
  const priorityOf = ({ priority }: FlowSpec): number => priority ?? Number.MAX_SAFE_INTEGER;
  return specs
    .toSorted(
      (one, other) =>
        priorityOf(one) - priorityOf(other) ||
        other.bandwidth - one.bandwidth ||
        (one.flowId < other.flowId ? -1 : 1),
    )
    .map(({ flowId }) => flowId);
}

/** What an operator may change of a link. */
export interface LinkChange {
  readonly cost?: number;
  readonly latencyMs?: number;
  readonly bandwidth?: number;
}

/** See `FlowStore.changeLink`. */
export function changeLink(books: Books, segment: Segment, wanted: LinkChange): boolean | Refusal {
  const link = books.graph.link(segment);
  if (link === undefined) return false;
  const refusal = refusalOf(link, wanted);
  if (isRefusal(refusal)) return refusal;
  const { cost = link.cost, latencyMs = link.latencyMs, bandwidth = link.bandwidth } = wanted;
  const isLatencySet = link.isLatencySet || wanted.latencyMs !== undefined;
  change(books, link, { cost, latencyMs, isLatencySet, bandwidth });
  return true;
}

function refusalOf(link: Link, { cost, latencyMs, bandwidth }: LinkChange): Refusal | true {
  const isWhole = (value: number | undefined, most: number): boolean =>
    value === undefined || (Number.isInteger(value) && value >= 0 && value <= most);
  const isLatency = latencyMs === undefined || (latencyMs >= 0 && latencyMs <= longestMs);
  const problems = [
    !isWhole(cost, 1e9) && "its cost is a whole number from 0 to 1,000,000,000",
    !isLatency && "its latency is a number from 0 to 1,000,000 ms",
    !isWhole(bandwidth, 1e12) && "its bandwidth is a whole number from 0 to 1,000,000,000,000 kbit/s",
  ].filter((problem) => problem !== false);
  if (problems.length > 0) {
    return { code: "invalid", message: `The link ${link.key} cannot be changed: ${problems.join("; ")}.` };
  }
  if (bandwidth !== undefined && bandwidth < link.used) {
    return { code: "conflict", message: `Flows have ${link.used} kbit/s of the link ${link.key}.` };
  }
  return true;
}
