import { readMs } from "../ports/clock.ts";
import type { MaybePromise } from "../ports/ports.ts";

/**
 * Where a piece of work may rest. `always`: it has done so much that others must have their turn, and it is ready for changes of what it
 * reads. `if-pinned`: it may rest here if what it reads stays as it is.
 */
type Rest = "always" | "if-pinned";

/** Work in steps. */
export type Work<T> = Generator<Rest, T>;

interface Job {
  /** Whether it is over. */
  step(): boolean;
  refuse(error: unknown): void;
}

/**
 * Does pieces of work, all of them together for so long in one turn of the loop, and one after the other in turns: ten who read at the
 * same time hold the loop as long as one does. What it does must be pinned, since it rests wherever it may.
 */
export class Slices {
  readonly #sliceMs: number;
  #jobs: Job[] = [];
  /** How long work has gone on in this turn of the loop, in milliseconds. */
  #usedMs = 0;
  #isArmed = false;

  /** @param sliceMs How long work goes on in one turn of the loop, in milliseconds. 0: one step. */
  constructor(sliceMs = readMs) {
    this.#sliceMs = sliceMs;
  }

  /** The result comes at once if this turn of the loop has the time for it. */
  do<T>(work: Work<T>): MaybePromise<T> {
    const hasTime = this.#jobs.length === 0 && this.#usedMs < this.#sliceMs;
    const result = hasTime ? this.#slice(work) : undefined;
    if (result !== undefined) return result.value;
    return new Promise((resolve, reject) => {
      const step = (): boolean => {
        try {
          const over = this.#slice(work);
          if (over !== undefined) resolve(over.value);
          return over !== undefined;
        } catch (error) {
          reject(error);
          return true;
        }
      };
      this.#jobs.push({ step, refuse: reject });
      this.#arm();
    });
  }

  /** Ends all work that goes on. */
  refuse(error: unknown): void {
    const jobs = this.#jobs;
    this.#jobs = [];
    for (const job of jobs) job.refuse(error);
  }

  /** Goes on with work for what is left of the slice; undefined: it is not over. */
  #slice<T>(work: Work<T>): { readonly value: T } | undefined {
    const began = performance.now() - this.#usedMs;
    this.#arm();
    try {
      do {
        const next = work.next();
        if (next.done === true) return { value: next.value };
        this.#usedMs = performance.now() - began;
      } while (this.#usedMs < this.#sliceMs);
      return undefined;
    } finally {
      this.#usedMs = performance.now() - began;
    }
  }

  #arm(): void {
    if (this.#isArmed) return;
    this.#isArmed = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#isArmed = false;
    this.#usedMs = 0;
    do {
      const job = this.#jobs.shift();
      if (job === undefined) return;
      if (!job.step()) this.#jobs.push(job);
    } while (this.#usedMs < this.#sliceMs);
    this.#arm();
  }
}

/** Does work that is not pinned: at once, but for where it rests always. */
export function finish<T>(work: Work<T>): MaybePromise<T> {
  const first = portion(work);
  return first === undefined ? goOn(work) : first.value;
}

/** Goes on up to the next place where the work rests always; undefined: it is not over. */
function portion<T>(work: Work<T>): { readonly value: T } | undefined {
  for (;;) {
    const next = work.next();
    if (next.done === true) return { value: next.value };
    if (next.value === "always") return undefined;
  }
}

async function goOn<T>(work: Work<T>): Promise<T> {
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve));
    const over = portion(work);
    if (over !== undefined) return over.value;
  }
}
