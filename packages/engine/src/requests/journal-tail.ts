import { WheelworkError } from "@wheelwork/core";
import { isDamaged } from "../ports/damage.ts";
import type { Batch, Clock, RunEvents } from "../ports/ports.ts";
import { pause } from "../ports/retry.ts";
import { KnownRuns, type RunFacts, type RunSource } from "./run-facts.ts";

/** A place in the journal of a shard: a batch that was read. */
export interface JournalPlace {
  readonly seq: number;
  /** Tells the batch from another one of its number. Empty: nobody knows. */
  readonly mark: string;
}

/** A batch as it is told to those who read the journal. */
export interface ToldBatch extends JournalPlace {
  readonly bytes: number;
  readonly runs: readonly (RunEvents & { readonly facts: RunFacts })[];
}

/**
 * The mark of a batch is made of its time. A store that has lost commits, or that was made of a backup, has other batches under the same
 * numbers, and they were committed at other times.
 */
const markOf = ({ at }: Batch): string => (at % 36 ** 5).toString(36);

/**
 * A page has so many batches and so many events at most, and records of so many bytes, or one batch. As many are kept for those who read
 * at the end, and what was said of so many runs.
 */
const [maxBatches, maxEvents, maxBytes, maxRuns] = [64, 500, 512 * 1024, 20_000];
/** How often those who have read all look for more, in milliseconds. */
const lookMs = 20;

/**
 * Reads the journal of a shard for all who want to know what happens to its runs. Those who have read all share what is read next. One
 * who is behind reads for itself. While nobody reads, it does nothing, and keeps nothing.
 */
export class JournalTail {
  readonly #source: RunSource;
  readonly #clock: Clock;
  #readers = 0;
  /** The last batches, without a gap, and the place before them. */
  #recent: readonly ToldBatch[] = [];
  #base: JournalPlace | undefined = undefined;
  readonly #known = new KnownRuns(maxRuns);
  #extending: Promise<void> | undefined = undefined;
  #pausing: Promise<void> | undefined = undefined;

  constructor(source: RunSource, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
  }

  /** Begins to read. The result ends it. */
  join(): () => void {
    this.#readers++;
    let isIn = true;
    return () => {
      if (isIn && --this.#readers === 0) this.#forget();
      isIn = false;
    };
  }

  /** The last batch. */
  async end(): Promise<JournalPlace> {
    const { seq } = await this.#source.store.peek();
    for await (const batch of this.#source.store.journal(seq - 1))
      return { seq, mark: batch.seq === seq && !isDamaged(batch) ? markOf(batch) : "" };
    return { seq, mark: "" };
  }

  /**
   * Batches after a place, from the batch at the place itself on if `isOpen`; empty: there are none yet. `known` is what the reader
   * remembers for itself.
   * @throws WheelworkError WW_EVENTS_GONE when they are not kept any more, or never were.
   */
  async after(place: JournalPlace, isOpen: boolean, known: KnownRuns): Promise<readonly ToldBatch[]> {
    const there = this.#after(place, isOpen);
    if (there === undefined) return this.#readAlone(place, isOpen, known);
    known.forget();
    if (there.length > 0) return there;
    await (this.#extending ??= this.#extend().finally(() => (this.#extending = undefined)));
    return this.#after(place, isOpen) ?? this.#readAlone(place, isOpen, known);
  }

  /** Resolves when it is time to look for more. */
  more(): Promise<void> {
    this.#pausing ??= pause(this.#clock, lookMs).finally(() => (this.#pausing = undefined));
    return this.#pausing;
  }

  #forget(): void {
    this.#recent = [];
    this.#base = undefined;
    this.#known.forget();
  }

  /** What is kept of the batches after a place; undefined: ask the store. */
  #after({ seq, mark }: JournalPlace, isOpen: boolean): readonly ToldBatch[] | undefined {
    const base = this.#base;
    if (base === undefined || seq < base.seq) return undefined;
    const at = seq === base.seq ? base : this.#recent[seq - base.seq - 1];
    if (at === undefined || (mark !== "" && at.mark !== mark)) return undefined;
    if (isOpen) return at === base ? undefined : this.#recent.slice(seq - base.seq - 1);
    return this.#recent.slice(seq - base.seq);
  }

  async #extend(): Promise<void> {
    const last = this.#recent.at(-1) ?? this.#base;
    if (last === undefined || (await this.#source.store.peek()).seq === last.seq) return;
    try {
      const { told } = await this.#read(last, false, this.#known);
      // All readers may have left, and others have come, meanwhile.
      if (last === (this.#recent.at(-1) ?? this.#base)) this.#keep([...this.#recent, ...told]);
    } catch (error) {
      this.#forget();
      // Each reader finds out for itself whether its place is kept.
      if (!isGone(error)) throw error;
    }
  }

  async #readAlone(place: JournalPlace, isOpen: boolean, known: KnownRuns): Promise<readonly ToldBatch[]> {
    const { told, isEnd } = await this.#read(place, isOpen, known);
    if (!isEnd || isOpen || this.#base !== undefined || this.#readers === 0) return told;
    this.#known.forget();
    this.#base = place;
    this.#keep(told);
    return told;
  }

  /** Keeps the last ones of these, which follow the base. */
  #keep(batches: readonly ToldBatch[]): void {
    const page = new PageSize();
    let from = batches.length;
    while (from > 0 && !page.isFull) {
      const { runs = [], bytes = 0 } = batches[--from] ?? {};
      page.add(runs, bytes);
    }
    this.#base = batches[from - 1] ?? this.#base;
    this.#recent = batches.slice(from);
  }

  /** Reads a page. `isEnd`: it has all that is committed. */
  async #read(
    { seq, mark }: JournalPlace,
    isOpen: boolean,
    known: KnownRuns,
  ): Promise<{ readonly told: readonly ToldBatch[]; readonly isEnd: boolean }> {
    const { store } = this.#source;
    const committed = (await store.peek()).seq;
    const batches: Batch[] = [];
    const page = new PageSize();
    let [isEnd, isThere, last] = [true, false, seq];
    // The batch at the place comes again, so that it is seen whether it is the same one.
    for await (const batch of store.journal(seq - 1)) {
      if (batch.seq === seq) isThere = true;
      else if (batch.seq !== ++last) throw gone();
      if (isDamaged(batch)) {
        if (batch.seq === seq && mark === "" && !isOpen) continue;
        // What came before it is told first.
        if (batches.length === 0) throw gone(batch.damage);
        isEnd = false;
        break;
      }
      if (batch.seq === seq && mark !== "" && markOf(batch) !== mark) throw gone();
      if (batch.seq === seq && !isOpen) continue;
      batches.push(batch);
      page.add(batch.entries, batch.bytes);
      if (!page.isFull) continue;
      isEnd = false;
      break;
    }
    // The store has less than was read, or has deleted what follows.
    if (committed < seq || (isEnd && last < committed) || (isOpen && !isThere)) throw gone();
    const facts = await known.of(this.#source, batches);
    return {
      told: batches.map((batch, index) => ({
        seq: batch.seq,
        mark: markOf(batch),
        bytes: batch.bytes,
        runs: batch.entries.map((entry, at) => {
          const of = facts[index]?.[at];
          // Nobody can say any more whose events they were.
          if (of === undefined) throw gone();
          return { ...entry, facts: of };
        }),
      })),
      isEnd,
    };
  }
}

/** How much a page has. */
class PageSize {
  #batches = 0;
  #events = 0;
  #bytes = 0;

  add(entries: readonly RunEvents[], bytes: number): void {
    this.#batches++;
    this.#bytes += bytes;
    for (const { events } of entries) this.#events += events.length;
  }

  get isFull(): boolean {
    return this.#batches >= maxBatches || this.#events >= maxEvents || this.#bytes >= maxBytes;
  }
}

/** What follows a place cannot be told. */
export const gone = (cause?: WheelworkError): WheelworkError =>
  new WheelworkError("WW_EVENTS_GONE", "the events after this position are not kept any more", {
    ...(cause === undefined ? {} : { cause }),
    next: "Begin anew without a position: look at the requests as they are now, and read what follows. Events are kept as long as answers, and a store that was restored or has lost commits has others.",
  });

const isGone = (error: unknown): boolean =>
  error instanceof WheelworkError && error.code === "WW_EVENTS_GONE";
