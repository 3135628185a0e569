import type { Clock } from "../ports/ports.ts";

/** So long do the functions of users run in one turn of the event loop, in milliseconds, if there are several of them. */
const maxTurnMs = 10;

/**
 * Shares the event loop among the functions of users that attempts run: workers as far as they are synchronous, the keys of limits, and the
 * schemas of outputs. One that takes long holds the loop as long as it takes. A thousand of them would hold it a thousand times as long if
 * one commit began all their attempts at once, and nobody would hear requests, callbacks and heartbeats. So what is left when the time of a
 * turn is used up goes on in the next one, in its order.
 *
 * Only their own time counts. So nobody waits where they are quick.
 */
export class UserTime {
  readonly #clock: Clock;
  #usedMs = 0;
  #waiting: (() => void)[] = [];
  /** The first that has not gone on. */
  #at = 0;
  /** When the last function of those that run in a row has ended, in monotonic time; undefined: none runs in a row. */
  #lastEnd: number | undefined = undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether there is time in this turn, and nobody waits for it. */
  get isFree(): boolean {
    return this.#usedMs < maxTurnMs && this.#waiting.length === 0;
  }

  /**
   * Runs functions of users in a row: each begins when the one before has ended, as far as their time is concerned. So the clock, which
   * takes about as long as a quick worker, is read once for each of them. What the engine does between them is little, and counts as theirs.
   */
  inARow(run: () => void): void {
    this.#lastEnd = this.#clock.monotonicMs();
    try {
      run();
    } finally {
      this.#lastEnd = undefined;
    }
  }

  /** When a function of a user begins that runs now, in monotonic time: for `used`. */
  begins(): number {
    return this.#lastEnd ?? this.#clock.monotonicMs();
  }

  /** Functions of users have run since `began`, in monotonic time. */
  used(began: number): void {
    const now = this.#clock.monotonicMs();
    this.#usedMs += now - began;
    if (this.#lastEnd !== undefined) this.#lastEnd = now;
  }

  /** Goes on in a later turn. `goOn` does not throw, and takes down its time by `used`. */
  wait(goOn: () => void): void {
    this.#waiting.push(goOn);
    if (this.#waiting.length === 1) this.#clock.soon(() => this.#next());
  }

  #next(): void {
    this.#usedMs = 0;
    while (this.#at < this.#waiting.length && this.#usedMs < maxTurnMs) this.#waiting[this.#at++]?.();
    if (this.#at === this.#waiting.length) {
      this.#waiting = [];
      this.#at = 0;
    } else this.#clock.soon(() => this.#next());
  }
}

/** By the clock, since a simulation has many processes: all engines and shards of a process share its event loop. */
const ofClocks = new WeakMap<Clock, UserTime>();

/** What functions of users may take of the turns of this process. */
export function userTimeOf(clock: Clock): UserTime {
  let userTime = ofClocks.get(clock);
  if (userTime === undefined) ofClocks.set(clock, (userTime = new UserTime(clock)));
  return userTime;
}
