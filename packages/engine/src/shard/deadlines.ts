import { Coordinator, type Call, type Callback, type Run } from "@wheelwork/core/kernel";
import { timerMs } from "../ports/clock.ts";
import type { Clock } from "../ports/ports.ts";
import type { EngineTime } from "./engine-time.ts";

/** Callbacks that are this late wait one more turn of the event loop: the process stood still, or is overloaded. */
export const lateMs = 10;

/** The queue of inputs, as far as callbacks must wait for it. */
export interface Queue {
  readonly length: number;
  /** How many items have ever been queued. */
  readonly pushed: number;
}

/** A commit that is under way. */
export interface CommitUnderWay {
  /** Engine time of its first decision. */
  readonly since: number;
  /** It takes long. */
  readonly isSlow: boolean;
}

/**
 * The callbacks of one claim: an index over what is due, and one timer for the earliest.
 *
 * The rule that makes deadlines fair: **what waits in the queue goes before what is overdue.** A process that stood still
 * finds both when it wakes, and must not time out work whose outcome is already there. So the first look only notices that
 * callbacks are overdue; they fire once everything has been decided that was queued by the next turn of the event loop. That
 * bound is fixed when they are noticed, so a queue that never empties does not hold deadlines back for ever.
 */
export class Deadlines {
  readonly #coordinator = new Coordinator();
  readonly #time: EngineTime;
  readonly #clock: Clock;
  readonly #wake: () => void;
  /** When overdue callbacks were noticed, and how many items had been queued one turn later: these go first. */
  #noticed: { readonly now: number; readonly before: number | undefined } | undefined = undefined;
  #cancelTimer: (() => void) | undefined = undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(time: EngineTime, clock: Clock, wake: () => void) {
    this.#time = time;
    this.#clock = clock;
    this.#wake = wake;
  }

  /** How many callbacks are registered. */
  get size(): number {
    return this.#coordinator.size;
  }

  /** When the earliest callback is due. */
  get nextAt(): number {
    return this.#coordinator.nextAt() ?? Number.POSITIVE_INFINITY;
  }

  /** Registers when a run is due next, or nothing if it never is. */
  registerRun(run: Run): void {
    const due = run.nextDue;
    if (due === undefined) this.#coordinator.cancel(run);
    else this.#coordinator.register(run, due);
  }

  /** Registers when a call is due. */
  registerCall(call: Call): void {
    if (call.due !== undefined) this.#coordinator.register(call, call.due);
  }

  cancel(callback: Callback): void {
    this.#coordinator.cancel(callback);
  }

  /** Takes out the next callback that is due by `to`. */
  next(to: number): Callback | undefined {
    return this.#coordinator.next(to);
  }

  /**
   * Up to when callbacks may fire now; 0: none may. While a commit is slow, what it has decided is not handed out yet and
   * must not time out: only what was due before it was decided fires.
   */
  callableTo(now: number, queue: Queue, commit: CommitUnderWay | undefined): number {
    const first = this.nextAt;
    const to = commit?.isSlow === true ? commit.since : now;
    if (first > to && to < now) return 0;
    const noticed = this.#noticed;
    this.#noticed = undefined;
    if (first > now || (queue.length === 0 && first > now - lateMs)) return to;
    if (noticed !== undefined) {
      const { before = queue.pushed } = noticed;
      if (queue.pushed - queue.length >= before) return Math.min(noticed.now, to);
      this.#noticed = { now: noticed.now, before };
    } else this.#noticed = { now, before: undefined };
    return 0;
  }

  /** Wakes the loop at a time, unless it wakes earlier already. */
  arm(at: number): void {
    if (at >= this.#timerAt) return;
    this.#cancelTimer?.();
    this.#timerAt = at;
    // Node's timers hold 31 bits of milliseconds: longer ones are armed in steps.
    this.#cancelTimer = this.#clock.after(timerMs(at - this.#time.now()), () => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.#cancelTimer = undefined;
      this.#wake();
    });
  }

  /** Wakes nobody any more. */
  end(): void {
    this.#cancelTimer?.();
    this.#timerAt = Number.POSITIVE_INFINITY;
  }
}
