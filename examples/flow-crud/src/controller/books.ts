import {
  areOfSameLayouts,
  claimsOf,
  endpointKeyOf,
  isGone,
  isSameClaim,
  shownLayout,
  type Claim,
  type FlowRecord,
} from "./claims.ts";
import { Graph, segmentOf, type Link, type LinkProperties } from "./graph.ts";
import { Looks } from "./looks.ts";
import type { FlowSpec, Layout, Path, Segment } from "./model.ts";
import type { FlowFilter, StoredFlow, StoredLink, StoredSwitch } from "./store.ts";

/** Numbers from 0 to 4,095. */
export class NumberSet {
  readonly words = new Uint32Array(128);
  size = 0;

  has(number: number): boolean {
    return ((this.words[number >> 5] as number) & (1 << (number & 31))) !== 0;
  }

  add(number: number): void {
    if (!this.has(number)) this.size++;
    this.words[number >> 5] = (this.words[number >> 5] as number) | (1 << (number & 31));
  }

  delete(number: number): void {
    if (this.has(number)) this.size--;
    this.words[number >> 5] = (this.words[number >> 5] as number) & ~(1 << (number & 31));
  }
}

/** What is counted over all flows. */
export interface Counters {
  /** The version of the last plan. */
  readonly version: number;
  /** The id of the next path. Ids are never given again. */
  readonly nextPath: number;
}

/** What books are made of, or a part that has changed. */
export interface Content {
  readonly counters: Counters;
  readonly switches: readonly StoredSwitch[];
  readonly links: readonly { readonly segment: Segment; readonly properties: LinkProperties }[];
  /** Flows of which only the guard is left are known no more. */
  readonly flows: readonly FlowRecord[];
}

/** What must be written so that the database has what the books have. What is removed comes before what is added. */
export interface Changes {
  readonly flows: Map<string, FlowRecord>;
  readonly removed: Map<string, Claim>;
  readonly added: Map<string, Claim>;
  readonly links: Set<Link>;
  readonly switches: Set<string>;
}

const noChanges = (): Changes => ({
  flows: new Map(),
  removed: new Map(),
  added: new Map(),
  links: new Set(),
  switches: new Set(),
});

type Status = StoredFlow["status"];

const roleOf = (layout: Layout, role: Path["role"]): Path | undefined =>
  layout.paths.find((path) => path.role === role);

/** The main path of a layout. */
export const mainOf = (layout: Layout): Path | undefined => roleOf(layout, "main");
/** The protected path of a layout. */
export const spareOf = (layout: Layout): Path | undefined => roleOf(layout, "protected");

/** Kilobits per second that a flow takes from each link of its path, if it has what it wants. */
export const wantedKbps = ({ bandwidth, ignoreBandwidth }: FlowSpec): number =>
  ignoreBandwidth ? 0 : bandwidth;

/** Whether a main path is not what its flow wants: it takes less bandwidth, or is too slow. */
export const isSecondBest = (spec: FlowSpec, main: Path): boolean =>
  main.bandwidth < wantedKbps(spec) || main.latencyMs > (spec.maxLatencyMs ?? Infinity);

/** The place of an id in a list in order, or where it belongs. */
function placeOf(ids: readonly string[], id: string): number {
  let [low, high] = [0, ids.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ids[middle] as string) < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The network, the flows and what they have, in memory: what a decision needs is at hand, and each store writes what has changed
 * (`takeChanges`). A flow takes about 3 KB; one that is gone takes nothing.
 */
export class Books {
  readonly graph = new Graph();
  counters: Counters = { version: 0, nextPath: 1 };
  /** Rises whenever something is given back that others may wait for: an endpoint, a VLAN, a meter, bandwidth, or what a link has gained. */
  freed = 0;
  readonly looks = new Looks();
  readonly #switches = new Map<string, StoredSwitch>();
  readonly #flows = new Map<string, FlowRecord>();
  /** Flows of which only the guard is left, as far as an operation under way needs them. */
  readonly #gone = new Map<string, FlowRecord>();
  /** The ids of flows that are shown, in order. */
  readonly #ids: string[] = [];
  readonly #status = new Map<string, Status>();
  readonly #byStatus: Readonly<Record<Status, Set<string>>> = {
    UP: new Set(),
    DOWN: new Set(),
    DEGRADED: new Set(),
  };
  /** The flows that name a flow as the one to be diverse with. */
  readonly #diverse = new Map<string, Set<string>>();
  /** The flows that are to be looked at again. */
  readonly #concerned = new Set<string>();
  readonly #endpoints = new Map<string, string>();
  readonly #vlans = new Map<string, NumberSet>();
  readonly #meters = new Map<string, NumberSet>();
  #changes = noChanges();

  /** What has changed since the last call. */
  takeChanges(): Changes {
    const changes = this.#changes;
    this.#changes = noChanges();
    return changes;
  }

  /** A flow, also one of which only the guard is left, if `admit` was told. */
  find(flowId: string): FlowRecord | undefined {
    return this.#flows.get(flowId) ?? this.#gone.get(flowId);
  }

  has(flowId: string): boolean {
    return this.#flows.has(flowId);
  }

  /** Tells of a flow of which only the guard is left, for the operations until `dismiss`. */
  admit(record: FlowRecord): void {
    this.#gone.set(record.flowId, record);
  }

  /** Forgets those of which only the guard is left. */
  dismiss(): void {
    this.#gone.clear();
  }

  /** Replaces what is known of a flow. What it has had and has no more is free from now on. */
  put(record: FlowRecord): void {
    this.#replace(record.flowId, record);
    this.#changes.flows.set(record.flowId, record);
  }

  /** Takes over what another process has written, or what was written before. It is no change that must be written. */
  update({ counters, switches, links, flows }: Content): void {
    for (const stored of switches) this.putSwitch(stored);
    for (const { segment, properties } of links) this.putLink(segment, properties);
    // All is given back first: one flow may have now what another one had.
    for (const { flowId } of flows) this.#replace(flowId, undefined);
    for (const record of flows) this.#replace(record.flowId, record);
    this.dismiss();
    this.counters = counters;
    this.#changes = noChanges();
  }

  #replace(flowId: string, record: FlowRecord | undefined): void {
    const old = this.#flows.get(flowId);
    if (old === undefined || record === undefined || !areOfSameLayouts(old, record)) this.#claim(old, record);
    const named = old === undefined ? null : (shownLayout(old)?.spec.diverseWith ?? null);
    if (named !== null) this.#diverse.get(named)?.delete(flowId);
    if (record === undefined || isGone(record)) {
      this.#flows.delete(flowId);
      if (record !== undefined) this.#gone.set(flowId, record);
    } else {
      this.#gone.delete(flowId);
      this.#flows.set(flowId, record);
      const names = shownLayout(record)?.spec.diverseWith ?? null;
      if (names !== null) setOf(this.#diverse, names).add(flowId);
    }
    if (this.#flows.get(flowId)?.concern == null) this.#concerned.delete(flowId);
    else this.#concerned.add(flowId);
    this.#judge(flowId);
  }

  /** A flow gives back what it has no more, and takes what it has not had. */
  #claim(old: FlowRecord | undefined, record: FlowRecord | undefined): void {
    const before = old === undefined ? new Map<string, Claim>() : claimsOf(old);
    const after = record === undefined ? new Map<string, Claim>() : claimsOf(record);
    for (const [key, claim] of before) {
      const next = after.get(key);
      if (next === undefined || !isSameClaim(claim, next)) this.#release(key, claim);
    }
    for (const [key, claim] of after) {
      const last = before.get(key);
      if (last === undefined || !isSameClaim(claim, last)) this.#take(key, claim);
    }
  }

  /** Derives the status of a flow anew. */
  #judge(flowId: string): void {
    const record = this.#flows.get(flowId);
    const layout = record === undefined ? null : shownLayout(record);
    const old = this.#status.get(flowId);
    const status = layout === null ? undefined : this.#statusOf(layout);
    if (old === status) return;
    if (old !== undefined) this.#byStatus[old].delete(flowId);
    if (status === undefined) {
      this.#status.delete(flowId);
      this.#ids.splice(placeOf(this.#ids, flowId), 1);
      return;
    }
    this.#byStatus[status].add(flowId);
    this.#status.set(flowId, status);
    if (old === undefined) this.#ids.splice(placeOf(this.#ids, flowId), 0, flowId);
  }

  #statusOf(layout: Layout): Status {
    const [main, spare] = [mainOf(layout), spareOf(layout)];
    if (main === undefined || !this.isLive(main)) return "DOWN";
    if (layout.spec.protectedPath && (spare === undefined || !this.isLive(spare))) return "DEGRADED";
    return isSecondBest(layout.spec, main) ? "DEGRADED" : "UP";
  }

  /** Whether all links of a path are there. */
  isLive(path: Path): boolean {
    return path.segments.every((segment) => this.graph.link(segment)?.isUp === true);
  }

  #take(key: string, claim: Claim): void {
    switch (claim.kind) {
      case "endpoint":
        this.#endpoints.set(endpointKeyOf(claim.switchId, claim.port, claim.vlan), claim.flowId);
        break;
      case "vlan":
        numbersOf(this.#vlans, claim.switchId).add(claim.vlan);
        break;
      case "meter":
        numbersOf(this.#meters, claim.switchId).add(claim.meter);
        break;
      case "share":
        this.#share(claim, claim.kbps);
        break;
      case "path":
    }
    this.#changes.added.set(key, claim);
  }

  #release(key: string, claim: Claim): void {
    switch (claim.kind) {
      case "endpoint":
        this.#endpoints.delete(endpointKeyOf(claim.switchId, claim.port, claim.vlan));
        this.freed++;
        break;
      case "vlan":
        this.#vlans.get(claim.switchId)?.delete(claim.vlan);
        this.freed++;
        break;
      case "meter":
        this.#meters.get(claim.switchId)?.delete(claim.meter);
        this.freed++;
        break;
      case "share":
        this.#share(claim, undefined);
        break;
      case "path":
    }
    // What is added and given back before it was written is never written.
    if (!this.#changes.added.delete(key)) this.#changes.removed.set(key, claim);
  }

  #share(
    { link: key, flowId }: { readonly link: string; readonly flowId: string },
    kbps: number | undefined,
  ): void {
    const link = this.graph.links.get(key);
    if (link === undefined) throw new Error(`${flowId} has a share of the link ${key}, which is not known`);
    const more = (kbps ?? 0) - (link.shares.get(flowId) ?? 0);
    link.used += more;
    if (more < 0) this.freed++;
    if (kbps === undefined) link.shares.delete(flowId);
    else link.shares.set(flowId, kbps);
    // What each flow has is written by itself.
    if (more !== 0) this.#changes.links.add(link);
  }

  /** Who has an endpoint. */
  ownerOf(switchId: string, port: number, vlan: number): string | undefined {
    return this.#endpoints.get(endpointKeyOf(switchId, port, vlan));
  }

  /** The VLANs between switches that are taken on a switch. */
  vlansOf(switchId: string): NumberSet {
    return numbersOf(this.#vlans, switchId);
  }

  /** The meters that are taken on a switch. */
  metersOf(switchId: string): NumberSet {
    return numbersOf(this.#meters, switchId);
  }

  /** The flows that want to be diverse with a flow. */
  diverseTo(flowId: string): Iterable<string> {
    return this.#diverse.get(flowId) ?? [];
  }

  putSwitch(stored: StoredSwitch): void {
    this.#switches.set(stored.switchId, stored);
    this.graph.putSwitch(stored.switchId, stored.isConnected);
    this.#changes.switches.add(stored.switchId);
  }

  switch(switchId: string): StoredSwitch | undefined {
    return this.#switches.get(switchId);
  }

  /** Adds a link, or changes it, and derives anew the status of the flows on it. */
  putLink(segment: Segment, properties: LinkProperties): Link {
    const known = this.graph.link(segment);
    const { isUp: wasUp, bandwidth = 0, latencyMs = 0 } = known ?? {};
    const link = this.graph.putLink(segment, properties);
    if ((link.isUp && !wasUp) || link.bandwidth > bandwidth || link.latencyMs < latencyMs) this.freed++;
    if (wasUp !== link.isUp) for (const flowId of link.shares.keys()) this.#judge(flowId);
    this.#changes.links.add(link);
    return link;
  }

  status(flowId: string): Status | undefined {
    return this.#status.get(flowId);
  }

  /** The flows that are shown and not UP. */
  *notUp(): Iterable<string> {
    yield* this.#byStatus.DOWN;
    yield* this.#byStatus.DEGRADED;
  }

  /** The flows that are to be looked at again. */
  concerned(): readonly FlowRecord[] {
    return [...this.#concerned].flatMap((flowId) => this.#flows.get(flowId) ?? []);
  }

  counts(): Record<Status, number> {
    const { UP, DOWN, DEGRADED } = this.#byStatus;
    return { UP: UP.size, DOWN: DOWN.size, DEGRADED: DEGRADED.size };
  }

  /** A flow as it is shown. */
  flow(flowId: string): StoredFlow | undefined {
    const record = this.#flows.get(flowId);
    const [layout, status] = [record === undefined ? null : shownLayout(record), this.#status.get(flowId)];
    if (record === undefined || layout === null || status === undefined) return undefined;
    const { createdAt, updatedAt, info } = record;
    const live = Object.fromEntries(layout.paths.map((path) => [path.id, this.isLive(path)]));
    return { ...layout, createdAt, updatedAt, info, status, live };
  }

  flows({ status, after = "", limit }: FlowFilter): StoredFlow[] {
    const found: StoredFlow[] = [];
    let place = placeOf(this.#ids, after);
    if (this.#ids[place] === after) place++;
    for (; place < this.#ids.length && found.length < limit; place++) {
      const flowId = this.#ids[place] as string;
      if (status !== undefined && this.#status.get(flowId) !== status) continue;
      found.push(this.flow(flowId) as StoredFlow);
    }
    return found;
  }

  switches(): StoredSwitch[] {
    return [...this.#switches.values()].toSorted((one, other) => (one.switchId < other.switchId ? -1 : 1));
  }

  /** Both directions of all links. */
  links(): StoredLink[] {
    const links = [...this.graph.links.values()].toSorted((one, other) => (one.key < other.key ? -1 : 1));
    return links.flatMap(({ arcs, isUp, cost, latencyMs, bandwidth, used }) =>
      arcs.map((arc) => ({ ...segmentOf(arc), isUp, cost, latencyMs, bandwidth, used })),
    );
  }

  /** All flows, also those that are not shown. */
  records(): Iterable<FlowRecord> {
    return this.#flows.values();
  }
}

function numbersOf(sets: Map<string, NumberSet>, key: string): NumberSet {
  const known = sets.get(key);
  if (known !== undefined) return known;
  const numbers = new NumberSet();
  sets.set(key, numbers);
  return numbers;
}

function setOf(sets: Map<string, Set<string>>, key: string): Set<string> {
  const known = sets.get(key);
  if (known !== undefined) return known;
  const set = new Set<string>();
  sets.set(key, set);
  return set;
}
