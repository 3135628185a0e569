import { WheelworkError } from "./errors.ts";

/**
 * Something that waits to be called back. The coordinator links those that share a millisecond, so that to register,
 * to cancel and to rearm cost the same however many there are (I18).
 */
export class Callback {
  /** When it is to be called back, in milliseconds of engine time; -1 while it is not registered. */
  callbackAt = -1;
  /** @internal */ previous: Callback | undefined = undefined;
  /** @internal */ following: Callback | undefined = undefined;
}

interface Millisecond {
  first: Callback | undefined;
  last: Callback | undefined;
}

/**
 * The seed's CoordinatorBolt: an index over the deadlines that runs and calls wait for. It holds nothing durable;
 * whoever owns the runs registers them again after a restart.
 *
 * Callbacks come out in the order (due, registration) (I7), and one that was cancelled or replaced never does (I8).
 */
export class Coordinator {
  readonly #milliseconds = new Map<number, Millisecond>();
  #heap: number[] = [];
  #size = 0;
  /** Milliseconds whose callbacks have all been cancelled. */
  #empty = 0;

  /** How many callbacks are registered. */
  get size(): number {
    return this.#size;
  }

  /** How many milliseconds are remembered, those included whose callbacks have been cancelled: for tests. */
  get milliseconds(): number {
    return this.#milliseconds.size;
  }

  /** Registers a callback for `at` (milliseconds), in place of an earlier time if it has one. */
  register(callback: Callback, at: number): void {
    if (!Number.isSafeInteger(at) || at < 0) {
      throw new WheelworkError("WW_DEFECT", `a callback at ${at} is not a whole millisecond`);
    }
    if (callback.callbackAt === at) return;
    this.cancel(callback);
    let millisecond = this.#milliseconds.get(at);
    if (millisecond === undefined) {
      millisecond = { first: undefined, last: undefined };
      this.#milliseconds.set(at, millisecond);
      this.#push(at);
    } else if (millisecond.first === undefined) {
      this.#empty--;
    }
    callback.callbackAt = at;
    callback.previous = millisecond.last;
    if (millisecond.last === undefined) millisecond.first = callback;
    else millisecond.last.following = callback;
    millisecond.last = callback;
    this.#size++;
  }

  /** Takes a callback back; without effect if it is not registered. */
  cancel(callback: Callback): void {
    if (callback.callbackAt === -1) return;
    const millisecond = this.#milliseconds.get(callback.callbackAt);
    if (millisecond === undefined) throw new WheelworkError("WW_DEFECT", "a callback of another coordinator");
    if (callback.previous === undefined) millisecond.first = callback.following;
    else callback.previous.following = callback.following;
    if (callback.following === undefined) millisecond.last = callback.previous;
    else callback.following.previous = callback.previous;
    callback.previous = undefined;
    callback.following = undefined;
    callback.callbackAt = -1;
    this.#size--;
    if (millisecond.first === undefined && ++this.#empty > 1000 && this.#empty * 2 > this.#heap.length)
      this.#compact();
  }

  /** The earliest time at which a callback is due, or undefined if there is none. */
  nextAt(): number | undefined {
    for (;;) {
      const at = this.#heap[0];
      if (at === undefined) return undefined;
      if (this.#milliseconds.get(at)?.first !== undefined) return at;
      this.#milliseconds.delete(at);
      this.#empty--;
      this.#pop();
    }
  }

  /** Takes out the callbacks that are due at `now`, in order, `limit` at most. */
  take(now: number, limit = Number.MAX_SAFE_INTEGER): Callback[] {
    const taken: Callback[] = [];
    while (taken.length < limit) {
      const at = this.nextAt();
      if (at === undefined || at > now) break;
      const callback = this.#milliseconds.get(at)?.first;
      if (callback === undefined) break;
      this.cancel(callback);
      taken.push(callback);
    }
    return taken;
  }

  /** Forgets the milliseconds that nobody waits for; there are as many of them as of the others at least. */
  #compact(): void {
    for (const [at, { first }] of this.#milliseconds) if (first === undefined) this.#milliseconds.delete(at);
    // An array in order is a heap.
    this.#heap = [...this.#milliseconds.keys()].toSorted((a, b) => a - b);
    this.#empty = 0;
  }

  #push(at: number): void {
    const heap = this.#heap;
    let hole = heap.length;
    heap.push(at);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const above = heap[parent] as number;
      if (above <= at) break;
      heap[hole] = above;
      hole = parent;
    }
    heap[hole] = at;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child++;
      if ((heap[child] as number) >= last) break;
      heap[hole] = heap[child] as number;
      hole = child;
    }
    heap[hole] = last;
  }
}
