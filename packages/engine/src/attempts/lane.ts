import type { Attempt } from "./attempt.ts";
import type { Clock } from "../ports/ports.ts";
import type { Worker } from "./worker.ts";

/** The places of one spoke. It has as many as the spoke's `concurrency`; further attempts wait in their order. */
export class Lane {
  readonly worker: Worker;
  /** Places that are taken. */
  running = 0;
  readonly #make: (lane: Lane, attempt: Attempt) => void;
  readonly #isOpen: (attempt: Attempt) => boolean;
  readonly #clock: Clock;
  readonly #queue: Attempt[] = [];
  /** Attempts of the queue before this index have been served: to shift each off would move all others. */
  #served = 0;
  #isServing = false;

  constructor(
    worker: Worker,
    make: (lane: Lane, attempt: Attempt) => void,
    isOpen: (attempt: Attempt) => boolean,
    clock: Clock,
  ) {
    this.worker = worker;
    this.#make = make;
    this.#isOpen = isOpen;
    this.#clock = clock;
  }

  /** Makes an attempt, or queues it. */
  enter(attempt: Attempt): void {
    if (this.running < this.worker.spoke.concurrency) return this.#begin(attempt);
    attempt.waitsSince = this.#clock.monotonicMs();
    this.#queue.push(attempt);
  }

  /** Gives the attempt's place to the next in the queue; nothing if it has none any more. */
  leave(attempt: Attempt): void {
    if (!attempt.hasPlace) return;
    attempt.hasPlace = false;
    this.running--;
    // Workers that answer at once come back here from within the loop.
    if (this.#isServing) return;
    this.#isServing = true;
    while (this.running < this.worker.spoke.concurrency && this.#served < this.#queue.length) {
      const next = this.#queue[this.#served++] as Attempt;
      if (this.#served > 1024 && this.#served * 2 > this.#queue.length) {
        this.#queue.splice(0, this.#served);
        this.#served = 0;
      }
      // One that was closed while it waited is passed over.
      if (this.#isOpen(next)) this.#begin(next);
    }
    this.#isServing = false;
  }

  /** Forgets those that wait. */
  clear(): void {
    this.#queue.length = 0;
    this.#served = 0;
  }

  #begin(attempt: Attempt): void {
    this.running++;
    attempt.hasPlace = true;
    if (attempt.waitsSince !== undefined) attempt.endWait(this.#clock.monotonicMs());
    this.#make(this, attempt);
  }
}
