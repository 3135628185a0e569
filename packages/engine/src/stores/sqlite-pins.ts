import { WheelworkError } from "@wheelwork/core";
import type { MaybePromise, PinnedStore } from "../ports/ports.ts";
import { Slices, type Work } from "./slices.ts";
import type { SqliteFacets } from "./sqlite-facets.ts";
import { SqliteReaders, type PinnedTables, type ReadFile } from "./sqlite-readers.ts";

/**
 * Lists and counts for those who look at the store while its owner works. They are read in slices, and as of one moment, so that the loop
 * goes on with commits in between, and what is read is what was committed when it was pinned.
 *
 * It could have been a thread of its own. But a count adds what has happened to the runs in memory since their rows were written, and is
 * exact only if the store is read as of the same moment. The loop's own thread knows that moment without waiting.
 */
export class SqlitePins {
  readonly #readers: SqliteReaders;
  readonly #slices: Slices;
  /** An index that reads what is pinned. */
  readonly #index: (tables: PinnedTables) => SqliteFacets;

  constructor(file: ReadFile, index: (tables: PinnedTables) => SqliteFacets, sliceMs?: number) {
    this.#slices = new Slices(sliceMs);
    this.#readers = new SqliteReaders(file);
    this.#index = index;
  }

  /** See `Store.pin`. */
  pin(): PinnedStore | undefined {
    const pinned = this.#readers.pin();
    if (pinned === undefined) return undefined;
    const { tables, unpin } = pinned;
    const read = <T>(work: Work<T>): MaybePromise<T> => this.#slices.do(work);
    const index = this.#index(tables);
    return {
      list: (list) => read(index.list(list)),
      facets: (filter) => read(index.counts(filter)),
      end: unpin,
    };
  }

  /** The owner has changed something. */
  changed(): void {
    this.#readers.changed();
  }

  close(): void {
    this.#slices.refuse(
      new WheelworkError("WW_STOPPING", "the engine was stopped while the store was read", {
        next: "Ask again when it runs.",
        retryable: true,
      }),
    );
    this.#readers.close();
  }
}
