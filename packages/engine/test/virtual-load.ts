import type { Clock } from "@wheelwork/engine";

/**
 * A machine with one processor, in simulated time: work takes the time that it says (`spend`), and all that comes due meanwhile
 * is late by it.
 */
export class OneProcessor implements Clock {
  #now = 0;
  readonly #soon: (() => void)[] = [];
  #timers: { readonly at: number; readonly task: () => void }[] = [];

  wallMs(): number {
    return Date.UTC(2026, 0, 1) + this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  soon(task: () => void): void {
    this.#soon.push(task);
  }

  after(delayMs: number, task: () => void): () => void {
    const timer = { at: this.#now + delayMs, task };
    const place = this.#timers.findIndex(({ at }) => at > timer.at);
    this.#timers.splice(place === -1 ? this.#timers.length : place, 0, timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** The processor works for so long. */
  spend(ms: number): void {
    this.#now += ms;
  }

  /** Runs until the promise settles. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    promise.then(over, over);
    for (;;) {
      await settled();
      if (isOver) return promise;
      await this.#turn();
    }
  }

  /** One turn of its event loop: the timers that are due, and what is to be done soon. Promises run after each task. */
  async #turn(): Promise<void> {
    const soon = this.#soon.splice(0);
    const next = this.#timers[0];
    if (soon.length === 0 && next !== undefined) this.#now = Math.max(this.#now, next.at);
    const dueAt = this.#now;
    for (let timer = this.#timers[0]; timer !== undefined && timer.at <= dueAt; timer = this.#timers[0]) {
      this.#timers.shift();
      timer.task();
      await settled();
    }
    for (const task of soon) {
      task();
      await settled();
    }
  }
}

/** Lets promises run that are ready, and all that they make ready. */
const settled = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
