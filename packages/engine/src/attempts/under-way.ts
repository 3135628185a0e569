import { isSuspect } from "@wheelwork/core/kernel";
import { rootOf } from "../ports/keys.ts";
import type { AttemptRequest } from "./context.ts";
import type { Limiter, Limits } from "./limiter.ts";

/** An attempt of a former process. */
export type FormerRequest = AttemptRequest & Parameters<typeof isSuspect>[0];

/** When an attempt was begun, as far as the order of attempts goes: those that have waited time out later. */
const orderOf = ({ due = 0, firstDue }: AttemptRequest): number => firstDue ?? due;

/** The order in which attempts of one spoke were begun. */
const byBegin = (a: AttemptRequest, b: AttemptRequest): number => orderOf(a) - orderOf(b);

/**
 * Which open attempts of a spoke may have been under way in a process that has died. All that were are among them, or else the
 * one that the process dies of might never be found. The others are few: what waited under a limit was not under way. The
 * store does not know which attempts waited, but it follows from how a `Limiter` gives turns:
 *
 * - The attempts of one request and one key are begun in their order. So at most the first few of them were under way, as many
 *   as may be under way for a key.
 * - Requests take turns, in the order in which their first attempts came. So of requests that have had no turn before, the
 *   first few were under way.
 *
 * A suspect is among them only if it was begun. `requests`: run by run, those of a run by their numbers.
 */
export function underWay<Request extends FormerRequest>(
  requests: readonly Request[],
  limiter: Limiter | undefined,
  timeoutMs: number,
): Request[] {
  const begun = requests.filter((request) => !isSuspect(request));
  if (limiter === undefined) return begun;
  const found = begun.filter(({ alone }) => alone);
  // A suspect is begun after that is committed, so it has a place that no other one had.
  const most = maxUnderWay(limiter.limits, found.length, timeoutMs);
  const others = begun.filter(({ alone }) => !alone).toSorted(byBegin);
  for (const ofKey of Map.groupBy(others, (request) => groupOf(limiter, request)).values()) {
    let fresh = 0;
    for (const ofRequest of Map.groupBy(ofKey, ({ run }) => rootOf(run.key)).values()) {
      if (isFresh(ofRequest) && ++fresh > most) continue;
      // There may be more of them than a call takes arguments.
      for (const request of firstOf(ofRequest, most)) found.push(request);
    }
  }
  return found;
}

/** Attempts of other keys have other places, and those of clean-ups go first. */
function groupOf(limiter: Limiter, { input, run }: AttemptRequest): string {
  const group = run.late === true ? "late " : "";
  try {
    return group + limiter.keyFor(input);
  } catch {
    // It fails when it is begun.
    return group;
  }
}

/** How many attempts of one key may be under way at the same time. Each has a token, and is over when its time is. */
function maxUnderWay(
  { concurrency, concurrent, perSecond, burst }: Limits,
  alone: number,
  timeoutMs: number,
): number {
  return Math.min(concurrency - alone, concurrent, burst + Math.ceil((perSecond * timeoutMs) / 1000));
}

/** Whether a request has had no turn before these attempts: the first one is the first that its run has made at all. */
const isFresh = ([first, ...others]: readonly AttemptRequest[]): boolean =>
  first !== undefined &&
  first.number === 0 &&
  first.attempt === 1 &&
  first.run.key === rootOf(first.run.key) &&
  others.every(({ run }) => run === first.run);

/**
 * Those that may be among the first ones: fewer than that are known to have begun before. Of those that were begun in the same
 * millisecond that is known of the first attempts of one run only, which are begun in the order of their numbers.
 */
function firstOf<Request extends AttemptRequest>(sorted: readonly Request[], most: number): Request[] {
  const found: Request[] = [];
  let from = 0;
  let ofRuns = new Map<unknown, number>();
  for (const [place, request] of sorted.entries()) {
    if (orderOf(request) !== orderOf(sorted[from] as Request)) {
      from = place;
      ofRuns = new Map();
    }
    const before = request.attempt === 1 ? (ofRuns.get(request.run) ?? 0) : 0;
    if (from + before < most) found.push(request);
    else if (from >= most) break;
    if (request.attempt === 1) ofRuns.set(request.run, before + 1);
  }
  return found;
}
