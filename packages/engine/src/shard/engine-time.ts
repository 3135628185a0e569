import type { Clock } from "../ports/ports.ts";

/**
 * The time of a shard, in milliseconds since 1970. It begins at the first claim with the later of the last commit and the
 * wall clock, and from there it follows the monotonic clock. So it never runs backward, and does not jump while the engine
 * runs, whatever happens to the wall clock: a claim after a loss of the store goes on where the time was.
 *
 * Where the store has a server, the earlier one of two wall clocks counts: that of this host, and that of the server. One clock
 * that is wrong must not fire what is not due, nor forget what was answered, whichever of the two it is. A clock that is behind
 * makes the time stand still since the last commit, until this owner's monotonic clock moves it on.
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

  /** Begins anew at a claim. `lastCommit` is the engine time of the last commit, `serverMs` the wall clock of the store's server. */
  begin(lastCommit: number, serverMs?: number): void {
    const here = this.#hasBegun ? this.now() : earlierOf(this.#clock.wallMs(), serverMs);
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

/** The wall clock that counts at a claim. */
export const earlierOf = (wallMs: number, serverMs = Number.POSITIVE_INFINITY): number =>
  Math.floor(Math.min(wallMs, serverMs));
