import type { RunEvent } from "@wheelwork/core";

/** The last events of a run that has ended: it leaves the memory. */
export interface Ending {
  /** How many events the run had. */
  readonly count: number;
  readonly events: readonly RunEvent[];
}

type Wake = (ending?: Ending) => void;

/** Those who want to know when runs change, by the key of the run. They outlive a claim. */
export class Watchers {
  readonly #watchers = new Map<string, Set<Wake>>();
  readonly #onAdd: () => void;

  /** `onAdd` is called whenever somebody begins to watch. */
  constructor(onAdd: () => void) {
    this.#onAdd = onAdd;
  }

  /** How many runs somebody watches. */
  get size(): number {
    return this.#watchers.size;
  }

  /** Calls back whenever the run has changed, or may have. The result ends it. */
  add(key: string, wake: Wake): () => void {
    const watchers = this.#watchers.get(key) ?? new Set();
    this.#watchers.set(key, watchers);
    watchers.add(wake);
    this.#onAdd();
    return () => {
      watchers.delete(wake);
      if (watchers.size === 0 && this.#watchers.get(key) === watchers) this.#watchers.delete(key);
    };
  }

  /** A run has changed. */
  wake(key: string, ending?: Ending): void {
    for (const wake of this.#watchers.get(key) ?? []) wake(ending);
  }

  /** What is known of all runs may have changed, or is known no more. */
  wakeAll(): void {
    for (const key of this.#watchers.keys()) this.wake(key);
  }
}
