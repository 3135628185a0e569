import { WheelworkError, type Answer, type Engine, type HistoryEvent, type RequestPage } from "wheelwork";
import * as z from "zod";
import type { Layout, Path } from "../controller/model.ts";
import { OperationReply } from "../controller/requests.ts";
import { cookieOfPath } from "../controller/rules.ts";
import { Plan } from "../controller/store.ts";
import { pathOfRole } from "./views.ts";

/*
 * The history of a flow over all its operations, in the form of OpenKilda (org.openkilda.messaging.payload.history.FlowHistoryEntry,
 * FlowHistoryPayload, FlowDumpPayload). It is made of the histories of the runs: nothing writes it, so it is never late or lost.
 */

type Row = RequestPage["items"][number];

/** So many events of one run are looked at. */
const maxEvents = 10_000;

const WithPlan = z.object({ plan: Plan });

/** What an operation has planned last. undefined: nothing yet. */
export async function planOf(engine: Engine, id: string): Promise<Plan | undefined> {
  return lastPlan((await engine.historyPage(id, { limit: maxEvents })).events);
}

function lastPlan(events: readonly HistoryEvent[]): Plan | undefined {
  for (const event of events.toReversed()) {
    if (!("patch" in event) || event.patch === undefined) continue;
    const found = WithPlan.safeParse(event.patch);
    if (found.success) return found.data.plan;
  }
  return undefined;
}

/** The names of actions in OpenKilda's histories, by hub. */
const actions: Readonly<Record<string, string>> = {
  "create-flow": "Flow creating",
  "update-flow": "Flow updating",
  "delete-flow": "Flow deleting",
  "reroute-flow": "Flow rerouting",
  "restore-flow": "Flow rerouting",
  "swap-flow": "Flow paths swap",
  "sync-flow": "Flow paths sync",
};

/** Which operations are meant. */
export interface HistoryQuery {
  readonly flowId: string;
  /** The names of the hubs of operations. */
  readonly hubs: readonly string[];
  /** Seconds since 1970. */
  readonly timeFrom?: number;
  readonly timeTo?: number;
  readonly limit: number;
  readonly cursor?: string;
}

async function rowsOf(engine: Engine, query: HistoryQuery): Promise<RequestPage> {
  const { flowId, hubs, timeFrom, timeTo, limit, cursor } = query;
  const createdAt = {
    ...(timeFrom === undefined ? {} : { from: timeFrom * 1000 }),
    ...(timeTo === undefined ? {} : { to: (timeTo + 1) * 1000 }),
  };
  return engine.requests({
    labels: { flow: flowId },
    hub: [...hubs],
    order: "newest",
    limit,
    ...(Object.keys(createdAt).length === 0 ? {} : { createdAt }),
    ...(cursor === undefined ? {} : { cursor }),
  });
}

/** A page of the operations on a flow, the newest first. */
export interface FlowHistory {
  readonly entries: readonly object[];
  /** That of the next page. */
  readonly cursor?: string;
}

/** What has been done to a flow. */
export async function historyOf(engine: Engine, query: HistoryQuery): Promise<FlowHistory> {
  const { items, cursor } = await rowsOf(engine, query);
  const entries: object[] = [];
  for (const row of items) {
    const events = await eventsOf(engine, row.id);
    if (events !== undefined) entries.push(entryOf(query.flowId, row, events));
  }
  return { entries, ...(cursor === undefined ? {} : { cursor }) };
}

/** undefined: its retention has ended meanwhile. */
async function eventsOf(engine: Engine, id: string): Promise<readonly HistoryEvent[] | undefined> {
  try {
    return (await engine.historyPage(id, { limit: maxEvents })).events;
  } catch (error) {
    if (error instanceof WheelworkError && error.code === "WW_NOT_FOUND") return undefined;
    throw error;
  }
}

const iso = (ms: number): string => new Date(ms).toISOString();

function entryOf(flowId: string, row: Row, events: readonly HistoryEvent[]): object {
  const plan = lastPlan(events);
  const answer = answerIn(events);
  return {
    flow_id: flowId,
    timestamp: Math.floor(row.createdAt / 1000),
    timestamp_iso: iso(row.createdAt),
    actor: actorOf(row, events),
    action: actions[row.hub] ?? row.hub,
    task_id: row.labels?.["correlation"] ?? row.id,
    request_id: row.id,
    details: detailsOf(answer),
    payload: payloadOf(events),
    dumps: [...dumpsOf("stateBefore", plan?.before), ...dumpsOf("stateAfter", plan?.after)],
  };
}

function actorOf({ hub, labels }: Row, events: readonly HistoryEvent[]): string {
  if (hub === "restore-flow") return labels?.["correlation"] ?? "network";
  const giver = events.find((event) => "givenBy" in event && event.givenBy !== undefined);
  return giver !== undefined && "givenBy" in giver ? (giver.givenBy ?? "") : "Northbound";
}

function answerIn(events: readonly HistoryEvent[]): Answer | undefined {
  const found = events.findLast(
    (event) => (event.type === "answered" || event.type === "ended") && event.answer !== undefined,
  );
  return found !== undefined && "answer" in found ? found.answer : undefined;
}

function detailsOf(answer: Answer | undefined): string {
  if (answer === undefined) return "It is under way";
  if (answer.kind !== "result") return `${answer.code}: ${answer.message}`;
  const reply = OperationReply.safeParse(answer.value);
  const shortcoming = reply.success ? reply.data.shortcoming : null;
  return shortcoming === null ? "Done" : `Done, but ${shortcoming}`;
}

/** A step of an operation. */
interface Step {
  /** Seconds since 1970, as in OpenKilda. */
  readonly timestamp: number;
  readonly timestamp_iso: string;
  readonly action: string;
  readonly details: string;
}

/** What happened in a run, step by step. */
function payloadOf(events: readonly HistoryEvent[]): Step[] {
  const calls = new Map<number, string>();
  return events.flatMap((event) => {
    const opened = "calls" in event ? (event.calls ?? []) : [];
    for (const { callee, first, inputs } of opened)
      inputs.forEach((input, index) => calls.set(first + index, nameOfCall(callee, input)));
    const told = toldOf(event, (call) => calls.get(call) ?? `call ${call}`);
    if (told === undefined) return [];
    const [action, details] = told;
    return [{ timestamp: Math.floor(event.at / 1000), timestamp_iso: iso(event.at), action, details }];
  });
}

/** A call of a worker, with what it is about. */
function nameOfCall(callee: string, input: unknown): string {
  const { switchId, rules, present, absent } = (input ?? {}) as {
    readonly switchId?: unknown;
    readonly rules?: unknown;
    readonly present?: unknown;
    readonly absent?: unknown;
  };
  const parts = [
    typeof switchId === "string" ? `on ${switchId}` : "",
    Array.isArray(rules) ? `${rules.length} rules` : "",
    Array.isArray(present) && present.length > 0 ? `${present.length} rules to be there` : "",
    Array.isArray(absent) && absent.length > 0 ? `${absent.length} rules to be removed` : "",
  ];
  return [callee, ...parts.filter((part) => part !== "")].join(", ");
}

function toldOf(
  event: HistoryEvent,
  callNamed: (call: number) => string,
): readonly [action: string, details: string] | undefined {
  switch (event.type) {
    case "accepted":
      return ["The operation waits for its turn", ""];
    case "started":
    case "granted":
      return ["The operation has begun", ""];
    case "entered":
      return [event.state, event.cancelled === true ? "cancelled" : (event.by ?? "")];
    case "settled":
      return [
        event.outcome === "ok" ? "Done" : "Failed",
        event.outcome === "ok"
          ? callNamed(event.call)
          : `${callNamed(event.call)}: ${textOfFailure(event.outcome)}`,
      ];
    case "failed":
      return ["Tried again", `${callNamed(event.call)}: ${textOfFailure(event.failure)}`];
    case "died":
      return ["The process has ended meanwhile, and another one goes on", ""];
    case "cancelling":
      return ["A cancel has come", ""];
    case "answered":
      return ["Answered", ""];
    case "ended":
      return ["The operation has ended", ""];
    case "incident":
      return ["The operation is parked", event.error.message];
    case "resumed":
      return ["The operation goes on", ""];
    case "archived":
      return ["Archived", `${event.events} events are archived`];
    default:
      return undefined;
  }
}

const textOfFailure = (failure: { readonly kind: string; readonly message?: string }): string =>
  failure.message ?? failure.kind;

/** A flow as it was before an operation, or after it: an entry for each of its paths. */
function dumpsOf(type: string, layout: Layout | null | undefined): object[] {
  if (layout === null || layout === undefined) return [];
  const paths: readonly (Path | undefined)[] = layout.paths.length === 0 ? [undefined] : layout.paths;
  return paths.map((path) => dumpOf(type, layout, path));
}

function dumpOf(type: string, { spec }: Layout, path: Path | undefined): object {
  return {
    type,
    bandwidth: spec.bandwidth,
    ignoreBandwidth: spec.ignoreBandwidth,
    sourceSwitch: spec.source.switchId,
    sourcePort: spec.source.port,
    sourceVlan: spec.source.vlan,
    destinationSwitch: spec.destination.switchId,
    destinationPort: spec.destination.port,
    destinationVlan: spec.destination.vlan,
    allocateProtectedPath: spec.protectedPath,
    pinned: spec.pinned,
    encapsulationType: "TRANSIT_VLAN",
    pathComputationStrategy: spec.strategy.toUpperCase(),
    maxLatency: spec.maxLatencyMs,
    ...(path === undefined
      ? {}
      : {
          path: path.role,
          transitVlan: path.vlan,
          forwardCookie: cookieOfPath(path, "forward"),
          reverseCookie: cookieOfPath(path, "reverse"),
          forwardMeterId: path.meters.forward,
          reverseMeterId: path.meters.reverse,
          links: path.segments.map(
            ({ from, fromPort, to, toPort }) => `${from}:${fromPort} - ${to}:${toPort}`,
          ),
        }),
  };
}

/** When a flow got which status, by the operations on it, the newest first. A failed link has no operation of its own here. */
export async function statusesOf(
  engine: Engine,
  query: HistoryQuery,
): Promise<{ readonly statuses: readonly object[]; readonly cursor?: string }> {
  const { items, cursor } = await rowsOf(engine, query);
  const statuses: object[] = [];
  for (const row of items) {
    if (row.answeredAt !== undefined) {
      const become = await statusAfter(engine, row);
      if (become !== undefined) statuses.push({ timestamp: iso(row.answeredAt), status_become: become });
    }
    statuses.push({ timestamp: iso(row.createdAt), status_become: "IN_PROGRESS" });
  }
  return { statuses, ...(cursor === undefined ? {} : { cursor }) };
}

/** undefined: the operation has changed nothing, so the flow is again what it was. */
async function statusAfter(engine: Engine, { id, hub }: Row): Promise<string | undefined> {
  const answer = await engine.answer(id, { waitMs: 0 });
  if (answer?.kind !== "result") return undefined;
  const reply = OperationReply.safeParse(answer.value);
  if (!reply.success) return undefined;
  const { layout, shortcoming } = reply.data;
  if (layout === null) return hub === "delete-flow" ? "DELETED" : undefined;
  if (pathOfRole(layout.paths, "main") === undefined) return "DOWN";
  const lacks = layout.spec.protectedPath && pathOfRole(layout.paths, "protected") === undefined;
  return shortcoming !== null || lacks ? "DEGRADED" : "UP";
}
