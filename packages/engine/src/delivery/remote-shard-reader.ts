import type { Answer, HistoryEvent, RunEvent, WheelworkError } from "@wheelwork/core";
import { apply, restore, Run } from "@wheelwork/core/kernel";
import { nextTurn } from "../ports/clock.ts";
import { damageOf, isDamaged } from "../ports/damage.ts";
import { Harms } from "../ports/harms.ts";
import type { FacetCount, StoreFilter, RequestList } from "../ports/filter.ts";
import type {
  AuditAbout,
  AuditBatch,
  AuditPlace,
  Clock,
  RequestRow,
  Store,
  StoredAnswer,
} from "../ports/ports.ts";
import { pause, retrying, type RetryPolicy } from "../ports/retry.ts";
import {
  endWithRest,
  HistoryReader,
  withRest,
  type Collected,
  type HistoryEnd,
  type HistoryPart,
  type HistoryRange,
} from "../ports/history.ts";
import { harmingReader } from "../shard/harming.ts";
import { isBeginning, type Beginning } from "../shard/records.ts";
import type { RunFeed } from "../requests/access.ts";
import type { ShardSummary } from "../requests/api.ts";
import { JournalTail } from "../requests/journal-tail.ts";
import { longestLanes, type LaneFilter, type LongestLanes } from "../requests/lane-list.ts";
import { countOverlaid, listOverlaid, type Overlay } from "../requests/list.ts";
import { summaryOf } from "../requests/shard-summary.ts";
import { Lanes } from "../shard/lanes.ts";
import { listedAs, type ListedAs } from "../shard/listed.ts";
import { KeptJournal } from "./kept-journal.ts";
import { RunTail } from "./run-tail.ts";

/** What is known of a request after a batch. */
interface Known {
  readonly known: Run | StoredAnswer | undefined;
  readonly seq: number;
}

/** What happened to one run in one batch. */
interface RunBatch {
  readonly seq: number;
  readonly events: readonly RunEvent[];
  /** The batch cannot be read, and was about the run. */
  readonly damage?: WheelworkError;
}

/** Somebody who watches what happens to a request of a shard of another node. */
interface Watching {
  take(events: readonly RunEvent[], seq: number): void;
  /** The journal lacks batches that were not read yet. */
  miss?(): void;
}

/** What happens to a request from some moment on. */
export interface Watched {
  /** Waits for the first event that is what somebody looks for, also if it has come since the watch began. */
  first<T>(of: (event: RunEvent) => T | undefined): Promise<T>;
  end(): void;
}

/** The event that began a run. */
export const beginningOf = (event: RunEvent): Beginning | undefined =>
  isBeginning(event) ? event : undefined;

/** The answer that an event gave. */
export const answerIn = (event: RunEvent): Answer | undefined =>
  event.type === "answered" || event.type === "ended" ? event.answer : undefined;

/** So many runs in lanes are read before the loop goes on. */
const lanesAtOnce = 1000;

/** Rows that are looked for at once. */
const maxFound = 500;

/** What the journal says of runs that have moved on, and what their rows say. Those that have ended have another row. */
const overlayOf = (runs: ReadonlyMap<string, Run>, rows: ReadonlyMap<string, ListedAs>): Overlay => ({
  moved: () =>
    Array.from(runs.values(), (run) => ({
      run: run.status === "ended" ? undefined : run,
      row: rows.get(run.key),
    })),
  isCurrent: ({ key }) => !runs.has(key),
  find: () => undefined,
  version: () => 0,
});

/** How often the journal is read while somebody waits, in milliseconds. */
const followMs = 20;
const following: RetryPolicy = { minMs: 2 * followMs, maxMs: 1000 };

/**
 * A shard that another node owns, read from its store: no owner is asked, so that it can be read while nobody has it. What
 * a 202 has named is found here: the rows of the last checkpoint and the journal since then say what the owner knows.
 */
export class RemoteShardReader {
  readonly tail: JournalTail;
  readonly #store: Store;
  readonly #harms = new Harms();
  readonly #clock: Clock;
  readonly #histories: HistoryReader;
  /** Kept as long as somebody watches. */
  readonly #journal: KeptJournal;
  /** Those who watch, by request. */
  readonly #watching = new Map<string, Set<Watching>>();
  /** The journal is read up to this batch. */
  #seq = 0;
  #following: Promise<void> | undefined = undefined;
  readonly #closed = new AbortController();

  constructor(given: Store, clock: Clock) {
    const store = harmingReader(given, this.#harms);
    this.#histories = new HistoryReader((key) => store.history(key), clock);
    this.tail = new JournalTail({ store }, clock);
    this.#journal = new KeptJournal(store);
    this.#store = store;
    this.#clock = clock;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#following?.catch(() => {});
    await this.#store.close();
  }

  /** What is known of a request: its run as it is now, or its answer; undefined: there is none. */
  async lookUp(key: string): Promise<Run | StoredAnswer | undefined> {
    return (await this.#stable((checkpoint) => this.#lookUp(key, checkpoint))).known;
  }

  /** The answer to a request whose run may be damaged. */
  async storedAnswer(key: string): Promise<Answer | undefined> {
    return (await this.#store.find([key]))[0]?.answer?.answer;
  }

  /** What happened to a request. */
  history(key: string, range: HistoryRange): Promise<readonly HistoryEvent[]> {
    return this.#readHistory(key, range, (stored, rest) => withRest(stored, rest, range));
  }

  /** The end of that. */
  historyEnd(key: string, end: HistoryEnd): Promise<HistoryPart> {
    return this.#readHistory(key, end, (stored, rest) => endWithRest(stored, rest, end));
  }

  #readHistory<T>(
    key: string,
    range: HistoryRange | HistoryEnd,
    made: (stored: Collected, rest: readonly RunEvent[]) => T,
  ): Promise<T> {
    return this.#stable(async (checkpoint) => {
      for (;;) {
        const written = await this.#written(key, checkpoint);
        const { known } = await this.#lookUp(key, checkpoint);
        const events = known instanceof Run ? await this.#eventsSince(key, written) : [];
        const stored = await this.#histories.read(key, known?.createdAt, range);
        // A run that has ended meanwhile has all of its history there.
        if (stored.isWhole) return made(stored, []);
        // A checkpoint that is under way moves the history of a run when it writes its row.
        if ((await this.#written(key, checkpoint)) === written) return made(stored, events);
      }
    });
  }

  /** The last batch that the row of a run knows, and with it what is stored of its history. */
  async #written(key: string, checkpoint: number): Promise<number> {
    const [found] = await this.#store.find([key]);
    return Math.max(checkpoint, found?.run?.seq ?? 0);
  }

  /** What has happened to a run after a batch, as the journal says. */
  async #eventsSince(key: string, seq: number): Promise<readonly RunEvent[]> {
    const events: RunEvent[] = [];
    const { batches } = await this.#of(key, seq);
    for (const batch of batches) {
      if (batch.seq <= seq) continue;
      if (batch.damage !== undefined) throw batch.damage;
      // A key that is free again begins another run.
      if (isBeginning(batch.events[0])) events.length = 0;
      for (const event of batch.events) events.push(event);
    }
    return events;
  }

  /** What is committed is in the store at once. */
  async audit(before: AuditPlace, limit: number, about?: AuditAbout): Promise<readonly AuditBatch[]> {
    return this.#store.audit(before, limit, about);
  }

  /** A part of the list of the store, with those that have moved on since the last checkpoint as they are now. */
  list(list: RequestList): Promise<readonly RequestRow[]> {
    return this.#stable(async (checkpoint) => {
      const { runs } = await this.#replayed(checkpoint);
      return listOverlaid(this.#store, list, this.#clock, overlayOf(runs, new Map()));
    });
  }

  /** How many requests a filter means, by facet. */
  facets(filter: StoreFilter): Promise<readonly FacetCount[]> {
    return this.#stable(async (checkpoint) => {
      const { runs } = await this.#replayed(checkpoint);
      const rows = new Map<string, ListedAs>();
      const keys = [...runs.keys()];
      for (let from = 0; from < keys.length; from += maxFound)
        for (const { run } of await this.#store.find(keys.slice(from, from + maxFound))) {
          const row = run === undefined ? undefined : listedAs(run);
          if (run !== undefined && row !== undefined) rows.set(run.key, row);
        }
      return countOverlaid(this.#store, filter, this.#clock, overlayOf(runs, rows));
    });
  }

  /** The lanes with the longest queues. */
  lanes(filter: LaneFilter): Promise<LongestLanes> {
    return this.#stable(async (checkpoint) => {
      const { runs: moved } = await this.#replayed(checkpoint);
      const lanes = new Lanes(new Map());
      let left = lanesAtOnce;
      for await (const run of this.#store.laneRuns()) {
        if (isDamaged(run)) continue;
        if (!moved.has(run.key)) lanes.add(run);
        if (--left > 0) continue;
        left = lanesAtOnce;
        await nextTurn(this.#clock);
      }
      for (const { key, hub, status, lane } of moved.values())
        if (status !== "ended" && lane !== undefined) lanes.add({ key, hub, status, lane });
      return longestLanes(lanes.values(), filter, this.#clock);
    });
  }

  /** Who works on the shard, and how far it has come. */
  async summary(): Promise<Omit<ShardSummary, "shard" | "lag">> {
    return { ...(await summaryOf(this.#store)), isHere: false };
  }

  /** What is known of a request, as it was after the batch `seq`. */
  async #lookUp(key: string, checkpoint: number): Promise<Known> {
    const { run, seq } = await this.#replayedOne(checkpoint, key);
    const [found] = await this.#store.find([key]);
    // A run that has begun since has nothing to do with what is damaged.
    const damage = found && (run === undefined ? damageOf(found) : found.damagedAnswer?.damage);
    if (damage !== undefined) throw damage;
    if (run !== undefined) return { known: run.status === "ended" ? found?.answer : run, seq };
    if (found?.run === undefined) return { known: found?.answer, seq };
    return { known: restore(key, found.run.snapshot), seq: Math.max(seq, found.run.seq ?? 0) };
  }

  /** Reads again what a checkpoint has moved from the journal to the rows meanwhile. */
  async #stable<T>(read: (checkpoint: number) => Promise<T>): Promise<T> {
    for (;;) {
      const { checkpoint } = await this.#store.peek();
      const given = await read(checkpoint).then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      );
      if ((await this.#store.peek()).checkpoint !== checkpoint) continue;
      if ("error" in given) throw given.error;
      return given.value;
    }
  }

  /** Begins to watch what happens to a request from now on. `lookUp` tells what was there before. */
  async watch(key: string): Promise<Watched> {
    const seen: RunEvent[] = [];
    let tests: ((event: RunEvent) => boolean)[] = [];
    const watching: Watching = {
      take: (events) => {
        for (const event of events) {
          seen.push(event);
          tests = tests.filter((test) => !test(event));
        }
      },
    };
    await this.#begin(key, watching);
    return {
      first: (of) =>
        new Promise((resolve) => {
          const test = (event: RunEvent): boolean => {
            const found = of(event);
            if (found !== undefined) resolve(found);
            return found !== undefined;
          };
          if (!seen.some(test)) tests.push(test);
        }),
      end: () => this.#end(key, watching),
    };
  }

  /** Follows a run from now on; undefined: there is none. */
  async follow(key: string): Promise<RunFeed | undefined> {
    const tail = new RunTail(this.#clock, (ended) => this.#end(key, ended));
    await this.#begin(key, tail);
    try {
      const { known, seq } = await this.#stable((checkpoint) => this.#lookUp(key, checkpoint));
      tail.begin(known instanceof Run ? known : undefined, seq);
      if (known !== undefined) return tail;
      tail.end();
      return undefined;
    } catch (error) {
      tail.end();
      throw error;
    }
  }

  async #begin(key: string, watching: Watching): Promise<void> {
    const { seq } = await this.#store.peek();
    if (this.#following === undefined) this.#seq = seq;
    const all = this.#watching.get(key) ?? new Set();
    this.#watching.set(key, all.add(watching));
    this.#following ??= this.#follow();
  }

  #end(key: string, watching: Watching): void {
    const all = this.#watching.get(key);
    all?.delete(watching);
    if (all?.size === 0) this.#watching.delete(key);
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closed;
    while (this.#watching.size > 0 && !signal.aborted) {
      // The store may be away for now. Each who waits has a time limit of its own.
      await retrying(this.#clock, following, () => this.#readOn(), { signal });
      await pause(this.#clock, followMs, signal);
    }
    // At once: who begins to watch now begins to follow anew.
    this.#following = undefined;
    this.#journal.forget();
  }

  async #readOn(): Promise<void> {
    const { seq: committed } = await this.#store.peek();
    if (committed === this.#seq) return;
    for await (const batch of this.#store.journal(this.#seq)) {
      const { seq } = batch;
      if (seq !== this.#seq + 1 || isDamaged(batch)) this.#missed();
      for (const { key, events } of isDamaged(batch) ? [] : batch.entries)
        for (const watching of this.#watching.get(key) ?? []) watching.take(events, seq);
      this.#seq = seq;
    }
    // The journal has no batch that a checkpoint has covered.
    if (this.#seq >= committed) return;
    this.#missed();
    this.#seq = committed;
  }

  /** Who watches must look again. */
  #missed(): void {
    for (const all of this.#watching.values()) for (const one of all) one.miss?.();
  }

  /** What happened to a run after a batch, and the number of the last batch of all. */
  async #of(
    key: string,
    after: number,
  ): Promise<{ readonly batches: readonly RunBatch[]; readonly last: number }> {
    const kept = await this.#journal.of(key);
    this.#dismiss();
    if (kept !== undefined) return kept;
    const batches: RunBatch[] = [];
    let last = after;
    for await (const batch of this.#store.journal(after)) {
      const { seq } = batch;
      last = seq;
      if (isDamaged(batch)) {
        const { damage } = batch;
        if (!this.#harms.has(seq)) throw damage;
        if (this.#harms.touches(seq, key)) batches.push({ seq, events: [], damage });
        continue;
      }
      for (const entry of batch.entries) if (entry.key === key) batches.push({ seq, events: entry.events });
    }
    return { batches, last };
  }

  /** Where nobody watches, nothing is kept. */
  #dismiss(): void {
    if (this.#following === undefined) this.#journal.forget();
  }

  /** A run that has changed since a checkpoint, as it is after the last batch; undefined: it has not. */
  async #replayedOne(
    checkpoint: number,
    key: string,
  ): Promise<{ readonly run: Run | undefined; readonly seq: number }> {
    const { batches, last } = await this.#of(key, checkpoint);
    let seq = Math.max(last, checkpoint);
    const since = batches.filter((batch) => batch.seq > checkpoint);
    const [first] = since;
    if (first === undefined) return { run: undefined, seq };
    let run: Run | undefined;
    /** The last batch that the row of the run knows. */
    let known = 0;
    if (!isBeginning(first.events[0])) {
      const [found] = await this.#store.find([key]);
      if (found?.run !== undefined) {
        run = restore(key, found.run.snapshot);
        known = found.run.seq ?? 0;
        // A checkpoint that is under way has written it after later batches.
        seq = Math.max(seq, known);
      }
    }
    for (const batch of since) {
      // A key that is free again begins another run.
      if (isBeginning(batch.events[0])) [run, known] = [new Run(key), 0];
      if (run === undefined || batch.seq <= known) continue;
      if (batch.damage !== undefined) run = undefined;
      else for (const event of batch.events) apply(run, event);
    }
    return { run, seq };
  }

  /** All runs that have changed since a checkpoint, as they are after the last batch. */
  async #replayed(checkpoint: number): Promise<{ readonly runs: Map<string, Run>; readonly seq: number }> {
    const runs = new Map<string, Run>();
    let last = checkpoint;
    /** The last batch that the row of a run knows. */
    const known = new Map<string, number>();
    const kept = await this.#journal.batches();
    this.#dismiss();
    for await (const batch of kept ?? this.#store.journal(checkpoint)) {
      const { seq } = batch;
      if (seq <= checkpoint) continue;
      last = Math.max(last, seq);
      if (isDamaged(batch)) {
        if (!this.#harms.has(seq)) throw batch.damage;
        for (const key of runs.keys())
          if (seq > (known.get(key) ?? 0) && this.#harms.touches(seq, key)) runs.delete(key);
        continue;
      }
      const { entries } = batch;
      const absent = entries.filter(({ key, events }) => !runs.has(key) && !isBeginning(events[0]));
      const found = absent.length === 0 ? [] : await this.#store.find(absent.map(({ key }) => key));
      for (const { run } of found) {
        if (run === undefined) continue;
        runs.set(run.key, restore(run.key, run.snapshot));
        known.set(run.key, run.seq ?? 0);
        // A checkpoint that is under way has written it after later batches.
        last = Math.max(last, run.seq ?? 0);
      }
      for (const { key, events } of entries) {
        // A key that is free again begins another run.
        if (isBeginning(events[0])) {
          runs.set(key, new Run(key));
          known.delete(key);
        }
        const run = runs.get(key);
        if (run === undefined || seq <= (known.get(key) ?? 0)) continue;
        for (const event of events) apply(run, event);
      }
    }
    return { runs, seq: last };
  }
}
