import { isDamaged } from "../ports/damage.ts";
import type { Harms } from "../ports/harms.ts";
import type { Commit, DamagedBatch, DamagedRun, Found, Store, StoredRun } from "../ports/ports.ts";
import { after, each, passing } from "./passing.ts";

/**
 * A store whose damaged batches have harmed the runs that they were about: their rows are too old, and nobody can say by how much. It gives
 * such a row out as a damaged one, which harms nobody else. What it finds is kept with the next commit, since the next checkpoint covers
 * the batch.
 */
export function harming(store: Store, harms: Harms): Store {
  let isSaved = true;
  const begin = <T extends { readonly harms?: Parameters<Harms["set"]>[0] }>(state: T): T => {
    harms.set(state.harms ?? []);
    isSaved = true;
    return state;
  };
  const noteBatch = <T extends object>(batch: T | (T & DamagedBatch)): T => {
    if (!isDamaged(batch)) return batch;
    const { seq, runs } = batch as DamagedBatch;
    if (runs !== undefined && harms.add({ seq, runs })) isSaved = false;
    return batch;
  };
  const runOf = (stored: StoredRun | DamagedRun): StoredRun | DamagedRun => {
    const damage = isDamaged(stored) ? undefined : harms.of(stored.key, stored.seq ?? 0);
    if (damage === undefined) return stored;
    const { snapshot: _snapshot, seq: _seq, ...columns } = stored as StoredRun;
    return { ...columns, damage };
  };
  const foundOf = (found: Found, key: string): Found => {
    if (found.run === undefined) {
      const damage = found.damagedRun === undefined ? harms.ofMissing(key) : undefined;
      return damage === undefined ? found : { ...found, missingRun: { damage } };
    }
    const run = runOf(found.run);
    return isDamaged(run) ? { ...found, run: undefined, damagedRun: run } : found;
  };
  const thrown = (error: unknown): never => {
    throw error;
  };
  return {
    ...passing(store),
    claim: (...asked) => after(store.claim(...asked), begin),
    journal: (...asked) => each(store.journal(...asked), noteBatch, thrown),
    hotRuns: () => (harms.isEmpty ? store.hotRuns() : each(store.hotRuns(), runOf, thrown)),
    dueRuns: (...asked) =>
      after(store.dueRuns(...asked), (due) =>
        harms.isEmpty ? due : { ...due, runs: due.runs.map((run) => runOf(run)) },
      ),
    find: (keys) =>
      after(store.find(keys), (all) =>
        harms.isEmpty ? all : all.map((found, index) => foundOf(found, keys[index] as string)),
      ),
    commit: (commit) => store.commit(withHarms(commit)),
  };

  function withHarms(commit: Commit): Commit {
    if (isSaved) return commit;
    // If the commit fails, the next claim reads the batch once more.
    isSaved = true;
    return { ...commit, harms: harms.list };
  }
}

/** The same for a process that does not own the shard, and only reads. */
export function harmingReader(store: Store, harms: Harms): Store {
  return {
    ...harming(store, harms),
    peek: () =>
      after(store.peek(), (state) => {
        for (const harm of state.harms ?? []) harms.add(harm);
        return state;
      }),
  };
}
