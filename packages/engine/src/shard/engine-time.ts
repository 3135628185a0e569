import type { Clock } from "../ports/ports.ts";

/**
 * The time of a shard, in milliseconds since 1970. It begins at a claim with the later of the last commit and the wall
 * clock, and from there it follows the monotonic clock. So it never runs backward, whatever happens to the wall clock.
 */
export class EngineTime {
  readonly #clock: Clock;
  #began = 0;
  #monotonicBase = 0;
  #last = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Begins anew at a claim. `lastCommit` is the engine time of the last commit. */
  begin(lastCommit: number): void {
    this.#monotonicBase = this.#clock.monotonicMs();
    this.#began = Math.max(lastCommit, Math.floor(this.#clock.wallMs()), this.#last);
    this.#last = this.#began;
  }

  now(): number {
    const elapsed = Math.floor(this.#clock.monotonicMs() - this.#monotonicBase);
    return (this.#last = Math.max(this.#last, this.#began + elapsed));
  }

  /** What `now` gave last: for what must agree with a decision that was made then. */
  get last(): number {
    return this.#last;
  }

  /** The time of the claim: what was due before it passed while nobody worked. */
  get began(): number {
    return this.#began;
  }
}
