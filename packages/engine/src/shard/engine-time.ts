import type { Clock } from "../ports/ports.ts";

/**
 * The time of a shard, in milliseconds since 1970. It begins at the first claim with the later of the last commit and the
 * wall clock, and from there it follows the monotonic clock. So it never runs backward, and does not jump while the engine
 * runs, whatever happens to the wall clock: a claim after a loss of the store goes on where the time was.
 */
export class EngineTime {
  readonly #clock: Clock;
  #began = 0;
  #monotonicBase = 0;
  #last = 0;
  #hasBegun = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Begins anew at a claim. `lastCommit` is the engine time of the last commit. */
  begin(lastCommit: number): void {
    const here = this.#hasBegun ? this.now() : Math.floor(this.#clock.wallMs());
    this.#hasBegun = true;
    this.#monotonicBase = this.#clock.monotonicMs();
    this.#began = Math.max(lastCommit, here, this.#last);
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
