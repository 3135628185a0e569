import { durationsOf, type FacetCount, type RequestFilter, type StoreFilter } from "../ports/filter.ts";

// Which requests are stuck. A request is slow if nearly all requests of its hub had their answer after such a time. That is known by
// the counters of all requests that are stored: it is the same wherever somebody asks, also after a restart, and costs the loop nothing.

/** A run is called back when it is due. So much later, in milliseconds, nobody has come to it. */
const graceMs = 10_000;
/** So many of those that have their answer had it no later than after the typical time of their hub. */
const typicalShare = 0.99;
/** A hub has a typical time once so many of its requests have their answer. */
const minAnswered = 100;

/** Which requests decide on the typical times. */
export const answeredRequests: RequestFilter = { status: "ended" };

/** The typical time of each hub, in milliseconds, by the counts of `answeredRequests`: the end of a class of durations. */
export function typicalTimes(counts: readonly FacetCount[]): ReadonlyMap<string, number> {
  const byHub = Map.groupBy(counts, ({ hub }) => hub);
  const times = new Map<string, number>();
  for (const [hub, ofHub] of byHub) {
    const all = ofHub.reduce((sum, { count }) => sum + count, 0);
    if (all < minAnswered) continue;
    let counted = 0;
    const classes = ofHub.map(({ took = 0, count }) => ({ to: durationsOf(took).to, count }));
    for (const { to, count } of classes.toSorted((a, b) => a.to - b.to)) {
      counted += count;
      if (counted < all * typicalShare) continue;
      times.set(hub, to);
      break;
    }
  }
  return times;
}

/** Whether a filter asks for what is stuck. */
export const asksForStuck = ({ status = [] }: RequestFilter): boolean => [status].flat().includes("stuck");

/** What a filter means at a moment. */
export function atTime<F extends RequestFilter>(
  filter: F,
  typical: ReadonlyMap<string, number>,
  now: number,
): F & StoreFilter {
  const acceptedBefore = Object.fromEntries(Array.from(typical, ([hub, ms]) => [hub, Math.floor(now - ms)]));
  return { ...filter, stuck: { dueBefore: Math.floor(now - graceMs), acceptedBefore } };
}
