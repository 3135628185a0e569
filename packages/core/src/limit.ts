import { demandsOf, type Problem } from "./errors.ts";

/** How much of a spoke may be under way in one process, for all calls together or for each key. */
export interface SpokeLimit<I = unknown> {
  /** How many attempts may be under way at the same time. A whole number from 1. Default: no limit. */
  readonly concurrent?: number;
  /** How many attempts may begin in a second, on average. A number above 0, at most a million. Default: no limit. */
  readonly perSecond?: number;
  /**
   * How many attempts may begin at once after a pause. Default: as many as come in 20 ms, and at least 1. With `perSecond` only.
   * Nothing is saved up when the process starts, so that a process that is started again and again keeps to the limit, too.
   */
  readonly burst?: number;
  /**
   * The key of a call: the limit counts for each key by itself, and keys take turns. It must be synchronous and pure. An attempt
   * whose key cannot be found fails with WW_WORKER_FAILED. Default: one limit for all calls.
   */
  readonly by?: (input: I) => string | number;
}

/** The limits of a spoke as the engine reads them. Whatever has no limit is `Infinity`. */
export interface WholeLimit {
  /** Of all attempts together. */
  readonly concurrency: number;
  /** Of the attempts of one key. */
  readonly concurrent: number;
  readonly perSecond: number;
  readonly burst: number;
  readonly by: ((input: unknown) => unknown) | undefined;
}

/** The limits that a declaration stands for; undefined: there is none. */
export function limitOf(
  concurrency: number | undefined,
  limit: SpokeLimit<never> = {},
): WholeLimit | undefined {
  const { concurrent, perSecond = Number.POSITIVE_INFINITY, by } = limit;
  if (concurrency === undefined && concurrent === undefined && limit.perSecond === undefined)
    return undefined;
  const none = Number.POSITIVE_INFINITY;
  return {
    concurrency: concurrency ?? (by === undefined ? concurrent : undefined) ?? none,
    concurrent: by === undefined ? none : (concurrent ?? none),
    perSecond,
    burst: limit.burst ?? Math.max(1, Math.ceil(perSecond / 50)),
    by: by as WholeLimit["by"],
  };
}

/** What the limits of a spoke must be together. */
export function problemsOfLimit(
  concurrency: number | undefined,
  limit: SpokeLimit<never> | undefined,
): Problem[] {
  if (limit === undefined) return [];
  const problems: Problem[] = [];
  const demand = demandsOf(problems);
  const { concurrent, perSecond, burst, by } = limit;
  demand(burst === undefined || perSecond !== undefined, "limit.burst", "needs limit.perSecond");
  demand(
    concurrent !== undefined || perSecond !== undefined,
    "limit",
    "must have concurrent, perSecond, or both",
  );
  demand(
    concurrency === undefined || concurrent === undefined || by !== undefined,
    "concurrency",
    "is the same as limit.concurrent without limit.by: give one of them",
  );
  return problems;
}
