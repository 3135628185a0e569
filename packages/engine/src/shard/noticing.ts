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
    // With whatever is asked: a question that loses a part of it would have another answer.
    claim: (...asked) => store.claim(...asked),
    peek: () => store.peek(),
    journal: (...asked) => each(store.journal(...asked), note, thrown),
    hubVersions: (...asked) => store.hubVersions(...asked),
    hotRuns: () => each(store.hotRuns(), note, thrown),
    laneRuns: () => each(store.laneRuns(), note, thrown),
    dueRuns: (...asked) =>
      then(store.dueRuns(...asked), (due) => {
        due.runs.forEach(note);
        return due;
      }),
    find: (...asked) => then(store.find(...asked), noteFound),
    history: (...asked) => each(store.history(...asked), (part) => part, thrown),
    list: (...asked) => store.list(...asked),
    facets: (...asked) => store.facets(...asked),
    commit: (...asked) => store.commit(...asked),
    purge: (...asked) => store.purge(...asked),
    archive: (...asked) => store.archive(...asked),
    audit: (...asked) => then(store.audit(...asked), noteBatches),
    purgeAudit: (...asked) => store.purgeAudit(...asked),
    close: () => store.close(),
    // The engine does without those that a store lacks.
    ...(store.probe === undefined ? {} : { probe: () => store.probe?.() as MaybePromise<number> }),
    ...(store.check === undefined
      ? {}
      : { check: () => store.check?.() as MaybePromise<string | undefined> }),
    ...(store.takes === undefined
      ? {}
      : { takes: (...asked) => store.takes?.(...asked) as MaybePromise<boolean> }),
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
