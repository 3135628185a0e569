import type { Labels } from "@wheelwork/core";
import type { Run } from "@wheelwork/core/kernel";
import { isDamaged } from "../ports/damage.ts";
import type { Batch, Found, RunEvents, Store } from "../ports/ports.ts";
import { isBeginning } from "../shard/records.ts";

/** What is told of a run with each of its events. */
export interface RunFacts {
  readonly hub: string;
  readonly labels: Labels | undefined;
  /** When it was accepted. A key may be used again: it is the time that tells the runs of one key apart. */
  readonly since: number;
}

/** Where runs are looked up whose beginning was not read. */
export interface RunSource {
  readonly store: Pick<Store, "find" | "journal" | "peek">;
  /** A run in the memory of the process that works on the shard. It has all runs without a row, as long as the shard is its own. */
  readonly live?: ((key: string) => Run | undefined) | undefined;
}

/** So many runs are looked up at once. */
const maxFound = 500;

/**
 * Which hub and labels the runs have that a reader of the journal comes to. It reads on from one place, so that the beginning of a run
 * that it has read is that of the events which follow.
 */
export class KnownRuns {
  readonly #known = new Map<string, RunFacts>();
  readonly #most: number;

  /** @param most So many runs are remembered. */
  constructor(most: number) {
    this.#most = most;
  }

  /** What is known of the run of each entry, in their order. undefined: the run has outlived its retention. */
  async of(source: RunSource, batches: readonly Batch[]): Promise<(RunFacts | undefined)[][]> {
    const missing = this.#missing(batches);
    if (missing.size > 0) await this.#lookUp(source, missing);
    return batches.map(({ entries }) => entries.map((entry) => this.#next(entry)));
  }

  forget(): void {
    this.#known.clear();
  }

  /** The runs whose beginning is not known, and when each was first heard of. */
  #missing(batches: readonly Batch[]): Map<string, number> {
    const begun = new Set<string>();
    const missing = new Map<string, number>();
    for (const { entries } of batches)
      for (const { key, events } of entries) {
        if (isBeginning(events[0])) begun.add(key);
        else if (!begun.has(key) && !this.#known.has(key) && !missing.has(key))
          missing.set(key, events[0]?.at ?? 0);
      }
    return missing;
  }

  #next({ key, events }: RunEvents): RunFacts | undefined {
    const [first] = events;
    let facts = isBeginning(first)
      ? { hub: first.hub, labels: first.labels, since: first.at }
      : this.#known.get(key);
    if (facts === undefined) return undefined;
    // Some runs get their labels once they begin.
    for (const event of events)
      if ((event.type === "granted" || event.type === "migrated") && event.labels !== undefined)
        facts = { ...facts, labels: event.labels };
    this.#note(key, facts);
    return facts;
  }

  /** Forgets the one that was met longest ago, if there are too many. */
  #note(key: string, facts: RunFacts): void {
    this.#known.delete(key);
    this.#known.set(key, facts);
    if (this.#known.size <= this.#most) return;
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest);
      return;
    }
  }

  /** Looks in memory, in the rows, and in the journal for runs that have begun since the rows were written. */
  async #lookUp({ store, live }: RunSource, missing: Map<string, number>): Promise<void> {
    const found = (key: string, facts: RunFacts | undefined): void => {
      if (facts === undefined || facts.since > (missing.get(key) ?? -1)) return;
      this.#note(key, facts);
      missing.delete(key);
    };
    for (const key of missing.keys()) {
      const run = live?.(key);
      if (run !== undefined) found(key, { hub: run.hub, labels: run.origin.labels, since: run.createdAt });
    }
    await this.#find(store, missing, found);
    if (missing.size === 0) return;
    // Also where the memory should have all of them: the shard may have another owner by now, and this one not know it yet.
    for await (const batch of store.journal((await store.peek()).checkpoint))
      for (const { key, events } of isDamaged(batch) ? [] : batch.entries) {
        const [first] = events;
        if (missing.has(key) && isBeginning(first))
          found(key, { hub: first.hub, labels: first.labels, since: first.at });
      }
    // A row may have been written meanwhile, and the run may have ended.
    await this.#find(store, missing, found);
  }

  async #find(
    store: Pick<Store, "find">,
    missing: ReadonlyMap<string, number>,
    found: (key: string, facts: RunFacts | undefined) => void,
  ): Promise<void> {
    const keys = [...missing.keys()];
    for (let from = 0; from < keys.length; from += maxFound) {
      const some = keys.slice(from, from + maxFound);
      for (const [index, row] of (await store.find(some)).entries()) {
        const key = some[index] as string;
        for (const one of rowsOf(row)) found(key, { hub: one.hub, labels: one.labels, since: one.createdAt });
      }
    }
  }
}

/** The rows of a key, the later one first. Of a damaged one, this much is left. */
const rowsOf = ({ run, answer, damagedRun, damagedAnswer }: Found) =>
  [run ?? damagedRun, answer ?? damagedAnswer]
    .filter((row) => row !== undefined)
    .toSorted((one, other) => other.createdAt - one.createdAt);
