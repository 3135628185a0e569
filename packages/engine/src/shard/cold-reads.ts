import type { WheelworkError } from "@wheelwork/core";
import { restore, type Run } from "@wheelwork/core/kernel";
import { damageOf } from "../ports/damage.ts";
import { goingOn } from "../ports/found.ts";
import type { Store, StoredAnswer } from "../ports/ports.ts";

/** What the store knows of a request. */
export interface ColdRead {
  readonly answer?: StoredAnswer | undefined;
  readonly damage?: WheelworkError | undefined;
  /** The run as it is stored, if it goes on: those who share the read share the run, and change nothing. */
  readonly run?: (() => Run) | undefined;
}

/**
 * Looks in the store for runs that are not in memory. Those who ask for the same run meanwhile get what the first one gets, unless
 * something has been committed: a thousand signals for a run that has left the memory read it once.
 */
export class ColdReads {
  readonly #store: Pick<Store, "find">;
  readonly #reads = new Map<string, Promise<ColdRead>>();
  #seq = -1;

  constructor(store: Pick<Store, "find">) {
    this.#store = store;
  }

  /** @param seq The last batch that anybody was told of. */
  read(key: string, seq: number): Promise<ColdRead> {
    if (seq !== this.#seq) this.#reads.clear();
    this.#seq = seq;
    const shared = this.#reads.get(key);
    if (shared !== undefined) return shared;
    const read = this.#read(key);
    this.#reads.set(key, read);
    // A read that has failed is over, too, also if the store has thrown at once.
    const over = (): void => {
      if (this.#reads.get(key) === read) this.#reads.delete(key);
    };
    read.then(over, over);
    return read;
  }

  async #read(key: string): Promise<ColdRead> {
    const [found] = await this.#store.find([key]);
    const { answer } = found ?? {};
    const stored = found && goingOn(found);
    const damage = found && damageOf(found);
    if (stored === undefined) return { answer, damage };
    let run: Run | undefined;
    return { answer, damage, run: () => (run ??= restore(key, stored.snapshot)) };
  }
}
