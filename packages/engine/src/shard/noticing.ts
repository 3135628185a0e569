import { WheelworkError } from "@wheelwork/core";
import { isDamaged } from "../ports/damage.ts";
import type { AuditBatch, Found, MaybePromise, Rows, Store } from "../ports/ports.ts";

/**
 * A store that tells what it finds damaged, whoever reads it: those who need it are told so themselves, and those who look after the
 * store must hear of it, too. What is told may be told again.
 */
export function noticing(store: Store, tell: (damage: WheelworkError) => void): Store {
  const note = <T extends object>(read: T): T => {
    if (isDamaged(read)) tell(read.damage);
    return read;
  };
  const noteFound = (all: readonly Found[]): readonly Found[] => {
    for (const { damagedAnswer, damagedRun } of all) {
      if (damagedAnswer !== undefined) tell(damagedAnswer.damage);
      if (damagedRun !== undefined) tell(damagedRun.damage);
    }
    return all;
  };
  const noteBatches = (batches: readonly AuditBatch[]): readonly AuditBatch[] => {
    for (const { damage } of batches) if (damage !== undefined) tell(damage);
    return batches;
  };
  const thrown = (error: unknown): never => {
    if (isCorrupt(error)) tell(error);
    throw error;
  };
  return {
    claim: (owner, again) => store.claim(owner, again),
    peek: () => store.peek(),
    journal: (after) => each(store.journal(after), note, thrown),
    hubVersions: (ended) => store.hubVersions(ended),
    hotRuns: () => each(store.hotRuns(), note, thrown),
    laneRuns: () => each(store.laneRuns(), note, thrown),
    dueRuns: (after, before, limit) =>
      then(store.dueRuns(after, before, limit), (due) => {
        due.runs.forEach(note);
        return due;
      }),
    find: (keys) => then(store.find(keys), noteFound),
    history: (key) => each(store.history(key), (part) => part, thrown),
    list: (list) => store.list(list),
    facets: (filter) => store.facets(filter),
    commit: (commit) => store.commit(commit),
    purge: (endedBefore, limit, begun) => store.purge(endedBefore, limit, begun),
    archive: (before, limit) => store.archive(before, limit),
    audit: (before, limit) => then(store.audit(before, limit), noteBatches),
    purgeAudit: (before, limit) => store.purgeAudit(before, limit),
    close: () => store.close(),
    // The engine does without those that a store lacks.
    ...(store.probe === undefined ? {} : { probe: () => store.probe?.() as MaybePromise<number> }),
    ...(store.check === undefined
      ? {}
      : { check: () => store.check?.() as MaybePromise<string | undefined> }),
    ...(store.takes === undefined
      ? {}
      : { takes: (commit) => store.takes?.(commit) as MaybePromise<boolean> }),
    ...(store.sizeBytes === undefined
      ? {}
      : { sizeBytes: () => store.sizeBytes?.() as MaybePromise<number> }),
  };
}

const isCorrupt = (error: unknown): error is WheelworkError =>
  error instanceof WheelworkError && error.code === "WW_STORE_CORRUPT";

/** What a store gives at once stays at once. */
const then = <T>(given: MaybePromise<T>, note: (value: T) => T): MaybePromise<T> =>
  given instanceof Promise ? given.then(note) : note(given);

function each<T>(rows: Rows<T>, note: (row: T) => T, thrown: (error: unknown) => never): Rows<T> {
  return Symbol.iterator in rows ? eachAtOnce(rows, note, thrown) : eachLater(rows, note, thrown);
}

function* eachAtOnce<T>(
  rows: Iterable<T>,
  note: (row: T) => T,
  thrown: (error: unknown) => never,
): Iterable<T> {
  try {
    for (const row of rows) yield note(row);
  } catch (error) {
    thrown(error);
  }
}

async function* eachLater<T>(
  rows: AsyncIterable<T>,
  note: (row: T) => T,
  thrown: (error: unknown) => never,
): AsyncIterable<T> {
  try {
    for await (const row of rows) yield note(row);
  } catch (error) {
    thrown(error);
  }
}
