import type { Books } from "./books.ts";
import type { Concern, FlowRecord } from "./claims.ts";
import type { DueFlows, Pace } from "./store.ts";

// Why a flow is to be looked at again. It follows from what operations and the network have done, and ends with an operation that ends well:
// so it does not matter what has become of the run that was to see to it.

/** A run has begun to work on the flow. An automatic reroute looks at the network as it is now, and so is what was owed. */
export const begun = (concern: Concern | null, now: number, isAutomatic: boolean): Concern => ({
  since: now,
  tries: concern?.tries ?? 0,
  hasFailed: false,
  isOwed: !isAutomatic && concern?.isOwed === true,
});

/** Its run has ended well. What has happened meanwhile is still to be looked at. */
export const endedWell = (concern: Concern | null, now: number): Concern | null =>
  concern?.isOwed === true ? { ...concern, since: now, hasFailed: false } : null;

/** Its run has failed, and the flow is what it was. */
export const endedBadly = (concern: Concern | null, now: number, isAutomatic: boolean): Concern | null =>
  isAutomatic || concern?.isOwed === true
    ? { since: now, tries: concern?.tries ?? 0, hasFailed: true, isOwed: true }
    : null;

/** Something in the network concerns the flow. */
const owed = (concern: Concern | null, now: number): Concern =>
  concern?.isOwed === true
    ? concern
    : { since: now, tries: concern?.tries ?? 0, hasFailed: false, isOwed: true };

/** Notes that an automatic reroute is owed to flows. */
export function owe(books: Books, flowIds: readonly string[], now: number): void {
  for (const flowId of flowIds) {
    const record = books.find(flowId);
    if (record === undefined) continue;
    const concern = owed(record.concern, now);
    if (concern !== record.concern) books.put({ ...record, concern });
  }
}

/** After so many times without success, the pause grows no more. */
const mostDoublings = 20;

function dueAt({ since, tries, hasFailed }: Concern, { firstMs, mostMs, patienceMs }: Pace): number {
  const firstPauseMs = hasFailed ? firstMs : patienceMs;
  const longestMs = hasFailed ? mostMs : Math.max(mostMs, patienceMs);
  return since + Math.min(firstPauseMs * 2 ** Math.min(tries, mostDoublings), longestMs);
}

/** See `FlowStore.takeDue`. */
export function takeDue(books: Books, pace: Pace, now: number): Omit<DueFlows, "freed"> {
  const due = [...books.concerned()]
    .map((record) => ({ record, at: dueAt(record.concern as Concern, pace) }))
    .filter(({ at }) => at <= now)
    .toSorted((one, other) => one.at - other.at || (one.record.flowId < other.record.flowId ? -1 : 1))
    .slice(0, pace.limit)
    .map(({ record }) => record);
  for (const record of due) books.put({ ...record, concern: handedOut(record, now) });
  let next = Number.POSITIVE_INFINITY;
  for (const { concern, planned } of books.concerned())
    // What runs do without being asked by the network ends well most often.
    if (concern !== null && (concern.isOwed || planned?.isAutomatic === true))
      next = Math.min(next, dueAt(concern, pace));
  return {
    flows: due.map(({ flowId }) => flowId),
    nextInMs: Number.isFinite(next) ? Math.max(0, next - now) : null,
  };
}

/** Whoever has it now has some time. If nothing comes of it, it is handed out again. */
export const handedOut = ({ concern }: Pick<FlowRecord, "concern">, now: number): Concern => ({
  since: now,
  tries: (concern?.tries ?? 0) + 1,
  hasFailed: false,
  isOwed: concern?.isOwed === true,
});
