/** For how long the loop must have been late without a break until anybody is refused, in milliseconds. */
const graceMs = 100;
/** How often the share of refusals is corrected at most, in milliseconds. */
const stepMs = 20;
/** How fast the share follows how late the loop is, in 1/s, and how much it follows whether that grows. */
const [followPerSecond, ahead] = [0.5, 0.3];
/** Lateness counts so many times its bound at most: beyond it, all are refused. */
const maxLate = 4;
/** Inputs may wait for so many commits, too, each of which takes so long at most: a store is slow without being overloaded. */
const [commits, maxCommitMs] = [3, 500];

/**
 * Refuses new requests while the loop is late, so that those that were accepted are finished in time.
 *
 * An engine that takes more than it can do finishes nothing: attempts time out while their outcomes wait in the queue, are made
 * again, and then all is cleaned up. How many requests are too many depends on what they do. So the sign is how
 * long inputs wait in the queue until they are decided, whatever holds them up: the loop, workers of this process, or the store.
 *
 * The share of requests that are refused follows that time, up and down, towards its bound (a controller with a proportional
 * and an integral part, as PIE for the queues of routers). Refused requests are spread evenly. A short stop, as of a large run
 * or the garbage collector, refuses nobody. An idle loop refuses nobody either.
 */
export class Admission {
  readonly #lateMs: number;
  /** The share of requests that are refused. */
  #share = 0;
  /** The parts of requests that were admitted and are left over: one request is admitted for each whole one. */
  #credit = 0;
  #lateSince: number | undefined = undefined;
  #correctedAt = 0;
  /** How late the loop was then, as a multiple of the bound. */
  #before = 0;
  /** How long a commit takes. */
  #commitMs = 0;

  constructor(lateMs: number) {
    this.#lateMs = lateMs;
  }

  /** A commit has taken so long. */
  committed(commitMs: number): void {
    this.#commitMs = Math.min(maxCommitMs, Math.max(commitMs, this.#commitMs * 0.9));
  }

  /** The first input of the queue has waited for `waitMs`, and a commit that is under way has taken `commitMs` so far. */
  look(waitMs: number, commitMs: number, now: number): void {
    if (commitMs > this.#commitMs) this.committed(commitMs);
    const sinceMs = Math.min(now - this.#correctedAt, 1000);
    if (sinceMs < stepMs) return;
    this.#correctedAt = now;
    const late = this.#late(waitMs);
    const growth = late - this.#before;
    this.#before = late;
    if (late < 1) this.#lateSince = undefined;
    else this.#lateSince ??= now;
    const isLate = this.#lateSince !== undefined && now - this.#lateSince >= graceMs;
    if (this.#share === 0 && !isLate) return;
    const integral = followPerSecond * (sinceMs / 1000) * (late - 1);
    const proportional = ahead * Math.min(1, sinceMs / 100) * Math.max(-1, Math.min(1, growth));
    this.#share = Math.max(0, Math.min(1, this.#share + integral + proportional));
  }

  /**
   * Whether a new request may come in. `waitMs` is how long the first input of the queue has waited; 0: the loop is idle.
   * `aheadMs` is how long the request would wait for those before it.
   */
  admits(waitMs: number, aheadMs = 0): boolean {
    if (this.#share === 0 || waitMs === 0) return true;
    if (this.#late(Math.max(waitMs, aheadMs)) === maxLate) return false;
    this.#credit += 1 - this.#share;
    if (this.#credit < 1) return false;
    this.#credit -= 1;
    return true;
  }

  /** How late the loop is, as a multiple of the bound: from 1 on, it is too late. */
  #late(waitMs: number): number {
    return Math.min(maxLate, waitMs / (this.#lateMs + commits * this.#commitMs));
  }
}
