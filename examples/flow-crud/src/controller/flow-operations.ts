import { mainOf, type Books } from "./books.ts";
import { begun, endedBadly, endedWell } from "./concerns.ts";
import { isGone, type FlowOperation, type FlowRecord, type PlanUnderWay } from "./claims.ts";
import type { Layout } from "./model.ts";
import { decide, isRefusal } from "./planning.ts";
import {
  steps,
  stepsPerRound,
  type Abandoned,
  type Avoid,
  type FlowMarks,
  type Guard,
  type Intent,
  type Plan,
  type Recalled,
  type Refusal,
  type StoreAge,
} from "./store.ts";

/** An operation on a flow. */
interface Call {
  readonly books: Books;
  readonly flowId: string;
  readonly guard: Guard;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** Plans rise by this much, so that each has room for the phases of its run. */
const versionStep = 1_000;

const unknown = (message: string): Refusal => ({ code: "unknown", message });

/** What was said before of the same step, or that it comes too late; undefined: it is new. */
function answered(
  { books, flowId, guard }: Call,
  operation: FlowOperation,
): FlowRecord["result"] | undefined {
  const known = books.find(flowId);
  if (known === undefined) return undefined;
  const order = guard.fence - known.fence || guard.step - known.step;
  if (order > 0) return undefined;
  if (order === 0 && operation === known.operation) return known.result;
  const message = `Step ${guard.step} of run ${guard.fence} of flow ${flowId} comes after step ${known.step} of run ${known.fence}.`;
  return { code: "superseded", message };
}

/** The record of a flow, or of one that is not known. */
const recordOf = ({ books, flowId, guard, now }: Call): FlowRecord =>
  books.find(flowId) ?? {
    flowId,
    ...guard,
    operation: "undo",
    result: "done",
    standing: null,
    planned: null,
    createdAt: now,
    updatedAt: now,
    info: null,
    isTouched: false,
    concern: null,
  };

/** Notes the result of a step. */
function conclude(
  { books, guard, now }: Call,
  record: FlowRecord,
  operation: FlowOperation,
  result: FlowRecord["result"],
): void {
  const { fence, step } = guard;
  // When the flow is gone, the time says how long its guard is kept.
  const left = isGone(record) ? { updatedAt: now, concern: null } : {};
  books.put({ ...record, fence, step, operation, result, ...left });
}

const planOf = ({ version, before, after, isMoved, shortcoming }: PlanUnderWay): Plan => ({
  version,
  before,
  after,
  isMoved,
  shortcoming,
});

/** See `FlowStore.plan`. */
export function plan(call: Call, intent: Intent, avoid: Avoid): Plan | Abandoned | Refusal {
  const { books, flowId, guard, now } = call;
  const repeated = answered(call, "plan");
  if (repeated === "plan" || repeated === "abandoned") {
    const planned = recordOf(call).planned as PlanUnderWay;
    return repeated === "plan" ? planOf(planned) : abandonedOf(planned);
  }
  if (repeated !== undefined) return repeated as Refusal;
  const known = recordOf(call);
  if (known.planned !== null && known.planned.fence !== guard.fence) {
    // Its run is over, and its rules may be on switches.
    conclude(call, known, "plan", "abandoned");
    return abandonedOf(known.planned);
  }
  // This is the next try of the run. What the earlier one has taken is free for it.
  const record: FlowRecord = { ...known, planned: null };
  if (known.planned !== null) books.put(record);
  const isAutomatic = intent.kind === "reroute" && intent.isAutomatic;
  const decision = decide({ books, flowId, avoid }, record.standing, intent);
  if (isRefusal(decision)) {
    // What the earlier try has taken stays until it is undone: `undo` may have to keep what it was for.
    // Otherwise it waits: for the network, or for others to give back what it lacks. Whoever looks at it sees for what.
    const waits = known.planned === null && isAutomatic;
    const waiting = waits ? { concern: null, info: decision.message } : {};
    conclude(call, { ...known, ...waiting }, "plan", decision);
    return decision;
  }
  const { after, shortcoming, nextPath } = decision;
  const before = record.standing;
  const version = books.counters.version + versionStep;
  books.counters = { version, nextPath };
  const planned = {
    fence: guard.fence,
    isCommitted: false,
    keep: intent.kind === "create" && intent.keep === true,
    isAutomatic,
    version,
    before,
    after,
    isMoved: after !== null && mainIdOf(after) !== mainIdOf(before),
    shortcoming,
  };
  const createdAt = before === null ? now : record.createdAt;
  const created = before === null ? { createdAt, updatedAt: now, info: null, isTouched: false } : {};
  const concern = begun(record.concern, now, isAutomatic);
  conclude(call, { ...record, ...created, planned, concern }, "plan", "plan");
  return planOf(planned);
}

const abandonedOf = (planned: PlanUnderWay): Abandoned => ({
  abandoned: planOf(planned),
  isCommitted: planned.isCommitted,
});

const mainIdOf = (layout: Layout | null): number | undefined =>
  layout === null ? undefined : mainOf(layout)?.id;

/** See `FlowStore.commit`. */
export function commit(call: Call, settles: { readonly info: string | null } | null): "done" | Refusal {
  return once(call, "commit", (record) => {
    const { planned } = record;
    if (planned?.fence !== call.guard.fence)
      return unknown(`Flow ${call.flowId} has no plan of this run to commit.`);
    const committed = planned.isCommitted
      ? record
      : {
          ...record,
          planned: { ...planned, isCommitted: true },
          standing: planned.after,
          updatedAt: call.now,
        };
    return settles === null ? committed : settled(committed, settles.info, call.now);
  });
}

/** See `FlowStore.recall`. */
export function recall(call: Call): Recalled | Refusal {
  const repeated = answered(call, "recall");
  if (repeated !== undefined) return repeated as Recalled | Refusal;
  const record = recordOf(call);
  const { planned, fence, operation, result } = record;
  const isSettled =
    fence === call.guard.fence && operation === "commit" && result === "done" && planned === null;
  const isCommitted = planned?.fence === call.guard.fence && planned.isCommitted;
  const recalled = isSettled ? "settled" : isCommitted ? "committed" : "open";
  conclude(call, record, "recall", recalled);
  return recalled;
}

/** What the books say of their past. */
export const marksOf = (books: Books): FlowMarks => ({
  lastPlan: books.counters.version,
  nextPath: books.counters.nextPath,
  flows: [...books.records()].map(({ flowId, standing, planned }) => ({ flowId, standing, planned })),
});

/** See `BookedFlowStore.rebase`. */
export function rebase(books: Books, now: number, { lastPlan, nextPath }: StoreAge): FlowMarks {
  const open = Array.from(books.records()).filter(({ planned }) => planned?.isCommitted === false);
  for (const { flowId, fence, step } of open) {
    const guard = { fence, step: step - (step % stepsPerRound) + steps.recall };
    recall({ books, flowId, guard, now });
  }
  const { version, nextPath: next } = books.counters;
  books.counters = { version: Math.max(version, lastPlan), nextPath: Math.max(next, nextPath) };
  // Counters are written with something that has changed. Where there is no switch, nothing is counted.
  const [known] = books.switches();
  if (known !== undefined) books.putSwitch(known);
  return marksOf(books);
}

/** See `FlowStore.settle`. */
export function settle(call: Call, info: string | null): "done" | Refusal {
  return once(call, "settle", (record) => {
    const { planned } = record;
    if (planned?.fence !== call.guard.fence || !planned.isCommitted) {
      return unknown(`Flow ${call.flowId} has no committed plan of this run to settle.`);
    }
    return settled(record, info, call.now);
  });
}

/** The old layout gives back what only it has had. */
const settled = (record: FlowRecord, info: string | null, now: number): FlowRecord => ({
  ...record,
  planned: null,
  info,
  isTouched: false,
  concern: endedWell(record.concern, now),
});

/**
 * See `FlowStore.undo`. A plan that was committed and not settled is undone, too: both layouts have all that they need until then. So a run
 * that does not know what has come of its commit can go back. Where there is nothing to undo, it is done.
 */
export function undo(call: Call, info: string | null): "done" | Refusal {
  return once(call, "undo", (record) => {
    const isOwn = record.planned?.fence === call.guard.fence;
    return { ...(isOwn ? undone(record, call.now) : record), info: info ?? record.info };
  });
}

/** The new layout gives back what only it has had. */
function undone(record: FlowRecord, now: number): FlowRecord {
  const { planned } = record;
  if (planned === null) return record;
  const { before, after, keep, isAutomatic } = planned;
  const stays = before === null && after !== null && keep;
  return {
    ...record,
    planned: null,
    standing: stays ? { spec: after.spec, paths: [] } : before,
    concern: endedBadly(record.concern, now, isAutomatic),
  };
}

/** See `FlowStore.closePlan`. */
export function closePlan(call: Call): "done" | Refusal {
  return once(call, "closePlan", (record) => {
    const { planned } = record;
    if (planned === null || planned.fence === call.guard.fence) return record;
    if (planned.isCommitted) return settled(record, planned.shortcoming, call.now);
    const next = undone(record, call.now);
    const isLeft = planned.before === null && next.standing !== null;
    return isLeft ? { ...next, info: "the operation that was to create it was ended in the middle" } : next;
  });
}

/** Does a step if it is new. */
function once(
  call: Call,
  operation: FlowOperation,
  step: (record: FlowRecord) => FlowRecord | Refusal,
): "done" | Refusal {
  const repeated = answered(call, operation);
  if (repeated !== undefined) return repeated as "done" | Refusal;
  const record = recordOf(call);
  const next = step(record);
  const isRefused = "code" in next;
  conclude(call, isRefused ? record : next, operation, isRefused ? next : "done");
  return isRefused ? next : "done";
}
