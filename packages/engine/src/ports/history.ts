import { WheelworkError, type HistoryEvent, type RunEvent } from "@wheelwork/core";
import { nextTurn } from "./clock.ts";
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
  readonly events: readonly HistoryEvent[];
  /** Whether these are as many as were asked for, or the run has ended: there is nothing to add. */
  readonly isWhole: boolean;
  /** How many events the store has, and has archived; only known where there is something to add. */
  readonly count: number;
}

/** Reads a part of a stored history, a few of its parts at a time: a long one never holds the loop. */
export async function collect(
  parts: Rows<readonly HistoryEvent[]>,
  { after, limit }: HistoryRange,
  clock: Clock,
): Promise<Collected> {
  let events: HistoryEvent[] = [];
  let count = 0;
  let last: HistoryEvent | undefined;
  let began = clock.monotonicMs();
  for await (const part of parts) {
    const [first] = part;
    if (first?.type === "archived") {
      // It stands for all that came before, also for what was read already.
      if (first.events > count) {
        count = first.events;
        events = after < count ? [first] : [];
      }
    } else {
      const from = Math.max(0, after - count);
      for (const event of part.slice(from, from + limit - events.length)) events.push(event);
      count += part.length;
      last = part.at(-1) ?? last;
    }
    if (events.length >= limit) break;
    if (clock.monotonicMs() - began < sliceMs) continue;
    await nextTurn(clock);
    began = clock.monotonicMs();
  }
  return { events, isWhole: events.length >= limit || last?.type === "ended", count };
}

/** Adds what happened after what is stored. */
export function withRest(
  { events, count }: Collected,
  rest: readonly RunEvent[],
  { after, limit }: HistoryRange,
): readonly HistoryEvent[] {
  const from = Math.max(0, after - count);
  return [...events, ...rest.slice(from, from + limit - events.length)];
}

/** The number of the event that follows a part of a history: `after` of the next part. */
export function nextAfter(events: readonly HistoryEvent[], after: number): number {
  const [first] = events;
  return first?.type === "archived" ? first.events + events.length - 1 : after + events.length;
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
