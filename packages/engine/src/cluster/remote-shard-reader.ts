import type { Answer, RunEvent } from "@wheelwork/core";
import { apply, restore, Run } from "@wheelwork/core/kernel";
import type { Clock, RequestFilter, RequestRow, Store, StoredAnswer } from "../ports/ports.ts";
import { pause, retrying, type RetryPolicy } from "../ports/retry.ts";
import { collect, withRest, type HistoryRange } from "../ports/history.ts";
import { isBeginning, type Beginning } from "../shard/records.ts";
import { listOverlaid } from "../requests/list.ts";

/** What somebody waits for in a shard of another node: `request` when it is accepted, `answer` when it is answered. */
interface Awaited {
  readonly key: string;
  readonly resolve: (events: readonly RunEvent[]) => void;
}

/** How often the journal is read while somebody waits, in milliseconds. */
const followMs = 20;
const following: RetryPolicy = { minMs: 2 * followMs, maxMs: 1000 };

/**
 * A shard that another node owns, read from its store: no owner is asked, so that it can be read while nobody has it. What
 * a 202 has named is found here: the rows of the last checkpoint and the journal since then say what the owner knows.
 */
export class RemoteShardReader {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #waiting = new Set<Awaited>();
  /** The journal is read up to this batch. */
  #seq = 0;
  #following: Promise<void> | undefined = undefined;
  readonly #closed = new AbortController();

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#following?.catch(() => {});
    await this.#store.close();
  }

  /** What is known of a request: its run as it is now, or its answer; undefined: there is none. */
  lookUp(key: string): Promise<Run | StoredAnswer | undefined> {
    return this.#stable((checkpoint) => this.#lookUp(key, checkpoint));
  }

  /** All that happened to a request. */
  history(key: string, range: HistoryRange): Promise<readonly RunEvent[]> {
    return this.#stable(async (checkpoint) => {
      const events: RunEvent[] = [];
      if ((await this.#lookUp(key, checkpoint)) instanceof Run) {
        for await (const { entries } of this.#store.journal(checkpoint))
          for (const entry of entries) if (entry.key === key) events.push(...entry.events);
      }
      const stored = await collect(this.#store.history(key), range, this.#clock);
      // A run that has ended meanwhile has all of its history there.
      return stored.isWhole ? stored.events : withRest(stored, events, range);
    });
  }

  /** The newest requests of the store, with those that have moved on since the last checkpoint as they are now. */
  list(filter: RequestFilter): Promise<readonly RequestRow[]> {
    return this.#stable(async (checkpoint) => {
      const moved = await this.#replayed(checkpoint);
      return listOverlaid(this.#store, filter, this.#clock, {
        // Ended runs have other rows.
        runs: () => [...moved.values()].filter(({ status }) => status !== "ended"),
        isCurrent: ({ key }) => !moved.has(key),
        find: () => undefined,
      });
    });
  }

  async #lookUp(key: string, checkpoint: number): Promise<Run | StoredAnswer | undefined> {
    const run = (await this.#replayed(checkpoint, [key])).get(key);
    const [found] = await this.#store.find([key]);
    if (found?.damage !== undefined) throw found.damage;
    if (run !== undefined) return run.status === "ended" ? found?.answer : run;
    if (found?.run === undefined) return found?.answer;
    return restore(key, found.run.snapshot);
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

  /**
   * Begins to watch for what happens to a request from now on; `accepted` resolves with the event that began it, `answered`
   * with its answer. `lookUp` tells what was there before.
   */
  async watch(key: string): Promise<{
    readonly accepted: Promise<Beginning>;
    readonly answered: Promise<Answer>;
    readonly end: () => void;
  }> {
    const { seq } = await this.#store.peek();
    if (this.#following === undefined) this.#seq = seq;
    const accepted = Promise.withResolvers<Beginning>();
    const answered = Promise.withResolvers<Answer>();
    const awaited: Awaited = {
      key,
      resolve: (events) => {
        for (const event of events) {
          if (isBeginning(event)) accepted.resolve(event);
          if ((event.type === "answered" || event.type === "ended") && event.answer !== undefined)
            answered.resolve(event.answer);
        }
      },
    };
    this.#waiting.add(awaited);
    this.#following ??= this.#follow().finally(() => (this.#following = undefined));
    return {
      accepted: accepted.promise,
      answered: answered.promise,
      end: () => void this.#waiting.delete(awaited),
    };
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closed;
    while (this.#waiting.size > 0 && !signal.aborted) {
      // The store may be away for now. Each waiter has its own time limit.
      await retrying(this.#clock, following, () => this.#readOn(), { signal });
      await pause(this.#clock, followMs, signal);
    }
  }

  async #readOn(): Promise<void> {
    for await (const { seq, entries } of this.#store.journal(this.#seq)) {
      const happened = new Map(entries.map(({ key, events }) => [key, events]));
      for (const { key, resolve } of this.#waiting) resolve(happened.get(key) ?? []);
      this.#seq = seq;
    }
  }

  /** Runs that have changed since a checkpoint, as they are now: all of them, or some. */
  async #replayed(checkpoint: number, keys?: readonly string[]): Promise<Map<string, Run>> {
    const runs = new Map<string, Run>();
    /** The last batch that the row of a run knows. */
    const known = new Map<string, number>();
    for await (const { seq, entries } of this.#store.journal(checkpoint)) {
      const wanted = keys === undefined ? entries : entries.filter(({ key }) => keys.includes(key));
      const absent = wanted.filter(({ key, events }) => !runs.has(key) && !isBeginning(events[0]));
      const found = absent.length === 0 ? [] : await this.#store.find(absent.map(({ key }) => key));
      for (const { run } of found) {
        if (run === undefined) continue;
        runs.set(run.key, restore(run.key, run.snapshot));
        known.set(run.key, run.seq ?? 0);
      }
      for (const { key, events } of wanted) {
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
    return runs;
  }
}
