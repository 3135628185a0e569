import { acceptedConnections } from "../ports/arrivals.ts";
import type { Clock } from "../ports/ports.ts";

/** How long a turn waits at most for connections that come one after the other, in milliseconds. */
const maxYieldMs = 50;
/** A loop that takes no turn for so long is idle, in milliseconds. */
const idleMs = 25;

/**
 * Says when the loop takes its next turn: in the next iteration of the event loop, once the connections that wait are accepted.
 *
 * Node accepts one connection in each iteration, however many wait. If each iteration took a whole turn, they would wait for
 * seconds, and the system would drop others.
 */
export class TurnSchedule {
  readonly #clock: Clock;
  readonly #turn: (now: number) => void;
  readonly #queue: { excuse(ms: number): void };
  #handOverAt: number | undefined = undefined;
  #isScheduled = false;
  #turnedAt = 0;
  /** The connections that were accepted by the last look, and until when the turn waits for others. */
  #accepted = 0;
  #yieldsUntil: number | undefined = undefined;
  /** Takes back a turn that is due later. */
  #cancelTimer: (() => void) | undefined = undefined;

  /** `turn` is told the monotonic time, and `queue` how long a caller has handed over requests. */
  constructor(clock: Clock, turn: (now: number) => void, queue: { excuse(ms: number): void }) {
    this.#clock = clock;
    this.#turn = turn;
    this.#queue = queue;
  }

  /**
   * When the caller that hands over a request has begun to hand over requests. One that hands over many in one go, or large ones,
   * lets nobody else run meanwhile, and the loop neither: how long that takes says nothing of how much there is to do.
   */
  handOverAt(): number {
    if (this.#handOverAt !== undefined) return this.#handOverAt;
    const began = (this.#handOverAt = this.#clock.monotonicMs());
    queueMicrotask(() => {
      this.#handOverAt = undefined;
      this.#queue.excuse(this.#clock.monotonicMs() - began);
    });
    return began;
  }

  get isScheduled(): boolean {
    return this.#isScheduled;
  }

  /** Between two turns there may be nothing to do for a moment, though workers are busy. */
  isIdle(now: number): boolean {
    return !this.#isScheduled && now - this.#turnedAt >= idleMs;
  }

  /** `afterMs`: there is nothing to do before. What comes meanwhile brings the turn forward. */
  schedule(afterMs = 0): void {
    if (this.#isScheduled) return;
    if (afterMs > 0) {
      this.#cancelTimer ??= this.#clock.after(afterMs, () => this.schedule());
      return;
    }
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#isScheduled = true;
    this.#clock.soon(() => this.#look());
  }

  #look(): void {
    const now = this.#clock.monotonicMs();
    const accepted = acceptedConnections();
    this.#yieldsUntil ??= now + maxYieldMs;
    if (accepted !== this.#accepted && now < this.#yieldsUntil) {
      this.#accepted = accepted;
      return this.#clock.soon(() => this.#look());
    }
    this.#yieldsUntil = undefined;
    this.#isScheduled = false;
    this.#turn(now);
    this.#turnedAt = this.#clock.monotonicMs();
  }
}
