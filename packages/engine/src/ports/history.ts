import { WheelworkError, type HistoryEvent, type RunEvent } from "@wheelwork/core";
import { nextTurn, readMs } from "./clock.ts";
import type { Clock, Rows } from "./ports.ts";

/** A part of a history: so many events at most, after so many others. */
export interface HistoryRange {
  readonly after: number;
  readonly limit: number;
}

/** A part of a history, and how many events were before it. An event `archived` stands for those before the one that follows it. */
export interface HistoryPart {
  readonly events: readonly HistoryEvent[];
  readonly first: number;
}

/** The end of a history: so many events at most. */
export interface HistoryEnd {
  readonly last: number;
}

/** What was read of a history. */
export interface Collected {
  readonly events: readonly HistoryEvent[];
  /** Whether these are as many as were asked for, or the run has ended: there is nothing to add. */
  readonly isWhole: boolean;
  /** How many events the store has, and has archived; only known where there is something to add. */
  readonly count: number;
}

/** A history that is being read. */
interface Reading {
  readonly parts: Iterator<readonly HistoryEvent[]> | AsyncIterator<readonly HistoryEvent[]>;
  /** What was read of its last part, and not given. */
  left: readonly HistoryEvent[];
  /** How many events come before the next one. */
  count: number;
}

/** So many histories stay open at most, and for so long, in milliseconds of monotonic time. */
const maxOpen = 64;
const openMs = 60_000;

/**
 * Reads parts of stored histories. Who reads a long one part by part comes back with the place where the last part has ended: there it
 * goes on, so that a history is read once, and not from its beginning for each part.
 */
export class HistoryReader {
  readonly #history: (key: string) => Rows<readonly HistoryEvent[]>;
  readonly #clock: Clock;
  /** The oldest first. */
  readonly #open = new Map<string, Reading & { readonly until: number }>();

  constructor(history: (key: string) => Rows<readonly HistoryEvent[]>, clock: Clock) {
    this.#history = history;
    this.#clock = clock;
  }

  /** `createdAt`: when the run was created, if that is known: a later run may have its key. */
  async read(
    key: string,
    createdAt: number | undefined,
    range: HistoryRange | HistoryEnd,
  ): Promise<Collected> {
    if ("last" in range) {
      const all = { parts: iteratorOf(this.#history(key)), left: [], count: 0 };
      return collect(all, range, this.#clock);
    }
    const place = (after: number): string => `${createdAt} ${after} ${key}`;
    const known = this.#take(place(range.after));
    const reading = known ?? { parts: iteratorOf(this.#history(key)), left: [], count: 0 };
    const collected = await collect(reading, range, this.#clock);
    if (createdAt !== undefined && collected.isWhole) this.#keep(place(reading.count), reading);
    return collected;
  }

  #take(place: string): Reading | undefined {
    const found = this.#open.get(place);
    this.#open.delete(place);
    return found !== undefined && this.#clock.monotonicMs() < found.until ? found : undefined;
  }

  #keep(place: string, { parts, left, count }: Reading): void {
    this.#open.set(place, { parts, left, count, until: this.#clock.monotonicMs() + openMs });
    const [oldest] = this.#open.keys();
    if (this.#open.size > maxOpen && oldest !== undefined) this.#open.delete(oldest);
  }
}

const iteratorOf = (parts: Rows<readonly HistoryEvent[]>): Reading["parts"] =>
  Symbol.asyncIterator in parts ? parts[Symbol.asyncIterator]() : parts[Symbol.iterator]();

/** Reads a part of a stored history, a few of its parts at a time: a long one never holds the loop. */
async function collect(reading: Reading, range: HistoryRange | HistoryEnd, clock: Clock): Promise<Collected> {
  const isEnd = "last" in range;
  const { after, limit } = isEnd ? { after: 0, limit: Number.POSITIVE_INFINITY } : range;
  const kept = isEnd ? range.last : Number.POSITIVE_INFINITY;
  let events: HistoryEvent[] = [];
  let last: HistoryEvent | undefined;
  let began = clock.monotonicMs();
  while (events.length < limit) {
    let part = reading.left;
    if (part.length === 0) {
      const next = await reading.parts.next();
      if (next.done === true) break;
      part = next.value;
    }
    const [first] = part;
    if (first?.type === "archived") {
      // It stands for all that came before, also for what was read already.
      if (first.events > reading.count) {
        reading.count = first.events;
        events = after < reading.count ? [first] : [];
      }
      reading.left = [];
    } else {
      const from = Math.max(0, after - reading.count);
      const given = part.slice(from, from + limit - events.length);
      for (const event of given) events.push(event);
      const read = Math.min(part.length, from + given.length);
      reading.count += read;
      reading.left = part.slice(read);
      last = part.at(-1) ?? last;
      if (events.length >= 2 * kept) events = events.slice(-kept);
    }
    if (clock.monotonicMs() - began < readMs) continue;
    await nextTurn(clock);
    began = clock.monotonicMs();
  }
  return { events, isWhole: events.length >= limit || last?.type === "ended", count: reading.count };
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

/** The end of a history: what is stored, and what happened after that. */
export function endWithRest(
  { events, count }: Collected,
  rest: readonly RunEvent[],
  { last }: HistoryEnd,
): HistoryPart {
  const end = [...events, ...rest].slice(-last);
  return { events: end, first: end[0]?.type === "archived" ? 0 : count + rest.length - end.length };
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
