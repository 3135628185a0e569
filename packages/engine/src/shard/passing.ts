import type { MaybePromise, Rows, Store } from "../ports/ports.ts";

// What the stores are made of that stand before another one: what they do not change, they pass on.

/** A store that passes everything on. With whatever is asked: a question that loses a part of it would have another answer. */
export function passing(store: Store): Store {
  return {
    claim: (...asked) => store.claim(...asked),
    peek: () => store.peek(),
    journal: (...asked) => store.journal(...asked),
    hubVersions: (...asked) => store.hubVersions(...asked),
    hotRuns: () => store.hotRuns(),
    laneRuns: () => store.laneRuns(),
    dueRuns: (...asked) => store.dueRuns(...asked),
    find: (...asked) => store.find(...asked),
    history: (...asked) => store.history(...asked),
    list: (...asked) => store.list(...asked),
    facets: (...asked) => store.facets(...asked),
    commit: (...asked) => store.commit(...asked),
    purge: (...asked) => store.purge(...asked),
    archive: (...asked) => store.archive(...asked),
    audit: (...asked) => store.audit(...asked),
    purgeAudit: (...asked) => store.purgeAudit(...asked),
    close: () => store.close(),
    // The engine does without those that a store lacks.
    ...(store.probe === undefined ? {} : { probe: () => store.probe?.() as MaybePromise<number> }),
    ...(store.check === undefined
      ? {}
      : { check: () => store.check?.() as MaybePromise<string | undefined> }),
    ...(store.pin === undefined ? {} : { pin: () => store.pin?.() }),
    ...(store.takes === undefined
      ? {}
      : { takes: (...asked) => store.takes?.(...asked) as MaybePromise<boolean> }),
    ...(store.sizeBytes === undefined
      ? {}
      : { sizeBytes: () => store.sizeBytes?.() as MaybePromise<number> }),
  };
}

/** What a store gives at once stays at once. */
export const after = <T, U>(given: MaybePromise<T>, then: (value: T) => U): MaybePromise<U> =>
  given instanceof Promise ? given.then(then) : then(given);

/** Rows, each as `of` gives it. */
export function each<T>(rows: Rows<T>, of: (row: T) => T, thrown: (error: unknown) => never): Rows<T> {
  return Symbol.iterator in rows ? eachAtOnce(rows, of, thrown) : eachLater(rows, of, thrown);
}

function* eachAtOnce<T>(
  rows: Iterable<T>,
  of: (row: T) => T,
  thrown: (error: unknown) => never,
): Iterable<T> {
  try {
    for (const row of rows) yield of(row);
  } catch (error) {
    thrown(error);
  }
}

async function* eachLater<T>(
  rows: AsyncIterable<T>,
  of: (row: T) => T,
  thrown: (error: unknown) => never,
): AsyncIterable<T> {
  try {
    for await (const row of rows) yield of(row);
  } catch (error) {
    thrown(error);
  }
}
