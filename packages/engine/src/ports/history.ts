import { WheelworkError, type RunEvent } from "@wheelwork/core";
import type { Clock, Rows } from "./ports.ts";

/** A part of a history: so many events at most, after so many others. */
export interface HistoryRange {
  readonly after: number;
  readonly limit: number;
}

/** For how long parts are read before others have a turn, in milliseconds. */
const sliceMs = 5;

/** What was read of a history. */
interface Collected {
  readonly events: readonly RunEvent[];
  /** Whether these are as many as were asked for, or the run has ended: there is nothing to add. */
  readonly isWhole: boolean;
  /** How many events the store has; only known where there is something to add. */
  readonly count: number;
}

/** Reads a part of a stored history, a few of its parts at a time: a long one never holds the loop. */
export async function collect(
  parts: Rows<readonly RunEvent[]>,
  { after, limit }: HistoryRange,
  clock: Clock,
): Promise<Collected> {
  const events: RunEvent[] = [];
  let count = 0;
  let last: RunEvent | undefined;
  let began = clock.monotonicMs();
  for await (const part of parts) {
    for (const event of part.slice(Math.max(0, after - count), Math.max(0, after + limit - count)))
      events.push(event);
    count += part.length;
    last = part.at(-1) ?? last;
    if (count >= after + limit) break;
    if (clock.monotonicMs() - began < sliceMs) continue;
    await new Promise<void>((resolve) => clock.soon(resolve));
    began = clock.monotonicMs();
  }
  return { events, isWhole: events.length >= limit || last?.type === "ended", count };
}

/** Adds what happened after what is stored. */
export function withRest(
  { events, count }: Collected,
  rest: readonly RunEvent[],
  { after, limit }: HistoryRange,
): readonly RunEvent[] {
  return [...events, ...rest.slice(Math.max(0, after - count), Math.max(0, after + limit - count))];
}

/** @throws WheelworkError WW_INVALID_REQUEST when it is none. */
export function rangeOf({
  after = 0,
  limit = Number.POSITIVE_INFINITY,
}: {
  readonly after?: number;
  readonly limit?: number;
}): HistoryRange {
  const problems = [
    ...(Number.isSafeInteger(after) && after >= 0
      ? []
      : [{ path: "after", message: "must be an integer of at least 0" }]),
    ...((Number.isSafeInteger(limit) && limit >= 1) || limit === Number.POSITIVE_INFINITY
      ? []
      : [{ path: "limit", message: "must be an integer of at least 1" }]),
  ];
  if (problems.length > 0)
    throw new WheelworkError("WW_INVALID_REQUEST", "the part of the history is not valid", { problems });
  return { after, limit };
}
