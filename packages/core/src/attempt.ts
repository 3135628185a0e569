import type { Ignored, Input } from "./decision.ts";
import type { RunEvent } from "./events.ts";
import type { Run } from "./run.ts";

type OfAttempt = Extract<Input, { kind: "outcome" | "progress" }>;

/**
 * Why the outcome of an attempt no longer counts, if it does not (I3, I4): its call is closed, or the input names
 * another attempt or epoch than the present one.
 */
export function staleness(
  run: Run,
  input: Pick<OfAttempt, "call" | "attempt" | "epoch">,
): Ignored | undefined {
  const call = run.calls.get(input.call);
  if (call === undefined) return "late";
  return input.epoch !== run.epoch || input.attempt !== call.attempt || call.backoff ? "stale" : undefined;
}

/** How far an attempt is, as it is kept for the next one. */
export const progressed = (
  { call, attempt, value }: Extract<Input, { kind: "progress" }>,
  at: number,
): RunEvent => ({ type: "progressed", at, call, attempt, value });
