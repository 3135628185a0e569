import { WheelworkError } from "./errors.ts";
import { Heap } from "./heap.ts";

/*
 * The structure. Callbacks that share a millisecond form a doubly linked list, in the order of their registration. A
 * map finds the list of a millisecond, and a binary heap finds the earliest millisecond:
 *
 *   #heap           1200  1350  2000  …      each millisecond once, also an empty one
 *   #milliseconds   1200 -> first <-> … <-> last      the list, linked through the callbacks themselves
 *
 * The cost, with m different milliseconds:
 *   register   O(1); O(log m) for the first callback of a millisecond
 *   cancel     O(1): it unlinks the callback, and leaves an empty millisecond in the heap
 *   nextAt     O(1), plus O(log m) for each empty millisecond that it drops from the top of the heap
 *   take       nextAt, once for each callback
 *
 * So the work for one response does not grow with the number of calls or runs (I18), apart from the logarithm. That
 * matters since most callbacks are cancelled: they are timeouts of calls that succeed. A heap of callbacks would need
 * O(log n) to remove one from its middle, and would have to track where each one is.
 *
 * Empty milliseconds must not pile up. When there are more than 1000 of them, and more than half of the heap, the heap
 * is built anew from the others (#compact). The cancels that made them empty pay for it.
 */

/**
 * Something that waits to be called back: a run, or a call of a run. It holds its own links in the coordinator's list,
 * so registering it makes no new object.
 */
export class Callback {
  /** @internal The millisecond that it is called back in. undefined: it is not registered. */
  millisecond: Millisecond | undefined = undefined;
  /** @internal */ previous: Callback | undefined = undefined;
  /** @internal */ following: Callback | undefined = undefined;
}

/** The callbacks of one millisecond. Both ends are undefined if all of them were cancelled or taken. */
interface Millisecond {
  readonly at: number;
  readonly owner: Coordinator;
  first: Callback | undefined;
  last: Callback | undefined;
}

/**
 * The index of all callbacks: which run or call to wake, and when. It is CoordinatorBolt of the original proof of
 * concept. It holds nothing durable. After a restart, the owner of the runs registers them again.
 *
 * Callbacks come out in the order (due, registration), each once (I7). A callback that was cancelled or replaced never
 * comes out (I8).
 */
export class Coordinator {
  readonly #milliseconds = new Map<number, Millisecond>();
  readonly #heap = new Heap<number>((a, b) => a < b);
  #size = 0;
  /** How many milliseconds in the heap are empty. */
  #empty = 0;
  /** The one that was registered in last, if it is still in the index: the calls of a round time out in the same millisecond. */
  #latest: Millisecond | undefined = undefined;

  /** How many callbacks are registered. */
  get size(): number {
    return this.#size;
  }

  /** How many milliseconds are in the index, empty ones included. For tests. */
  get milliseconds(): number {
    return this.#milliseconds.size;
  }

  /**
   * Registers a callback for the time `at`, in whole milliseconds of engine time. It replaces an earlier registration.
   * If that is for the same time, the callback keeps its place in the order.
   * @throws WheelworkError WW_DEFECT when `at` is not a whole number from 0.
   */
  register(callback: Callback, at: number): void {
    if (!Number.isSafeInteger(at) || at < 0) {
      throw new WheelworkError(
        "WW_DEFECT",
        `the time of a callback, ${at}, is not a whole number of milliseconds`,
        {
          next: "Report this: a time must be rounded before it reaches the coordinator.",
        },
      );
    }
    if (callback.millisecond?.at === at) return;
    this.cancel(callback);
    let millisecond = this.#latest?.at === at ? this.#latest : this.#milliseconds.get(at);
    if (millisecond === undefined) {
      millisecond = { at, owner: this, first: undefined, last: undefined };
      this.#milliseconds.set(at, millisecond);
      this.#heap.push(at);
    } else if (millisecond.first === undefined) {
      this.#empty--;
    }
    this.#latest = millisecond;
    callback.millisecond = millisecond;
    callback.previous = millisecond.last;
    if (millisecond.last === undefined) millisecond.first = callback;
    else millisecond.last.following = callback;
    millisecond.last = callback;
    this.#size++;
  }

  /**
   * Removes a callback. Without effect if it is not registered.
   * @throws WheelworkError WW_DEFECT when it is registered with another coordinator.
   */
  cancel(callback: Callback): void {
    const { millisecond } = callback;
    if (millisecond === undefined) return;
    if (millisecond.owner !== this)
      throw new WheelworkError("WW_DEFECT", "the callback is registered with another coordinator", {
        next: "Report this: a run has one coordinator.",
      });
    if (callback.previous === undefined) millisecond.first = callback.following;
    else callback.previous.following = callback.following;
    if (callback.following === undefined) millisecond.last = callback.previous;
    else callback.following.previous = callback.previous;
    callback.previous = undefined;
    callback.following = undefined;
    callback.millisecond = undefined;
    this.#size--;
    if (millisecond.first === undefined && ++this.#empty > 1000 && this.#empty * 2 > this.#heap.size)
      this.#compact();
  }

  /** The earliest time at which a callback is due, in milliseconds of engine time. undefined: there is no callback. */
  nextAt(): number | undefined {
    for (;;) {
      const at = this.#heap.first;
      if (at === undefined) return undefined;
      if (this.#milliseconds.get(at)?.first !== undefined) return at;
      this.#milliseconds.delete(at);
      this.#latest = undefined;
      this.#empty--;
      this.#heap.pop();
    }
  }

  /** Removes the callbacks that are due at `now`, and returns them in their order. */
  take(now: number): Callback[] {
    const taken: Callback[] = [];
    for (let next = this.next(now); next !== undefined; next = this.next(now)) taken.push(next);
    return taken;
  }

  /** Removes the callback that is due first, if it is due at `now`, and returns it. */
  next(now: number): Callback | undefined {
    const at = this.nextAt();
    if (at === undefined || at > now) return undefined;
    const callback = this.#milliseconds.get(at)?.first;
    if (callback !== undefined) this.cancel(callback);
    return callback;
  }

  /** Builds the heap anew without the empty milliseconds. */
  #compact(): void {
    this.#latest = undefined;
    for (const [at, { first }] of this.#milliseconds) if (first === undefined) this.#milliseconds.delete(at);
    this.#heap.replace(this.#milliseconds.keys());
    this.#empty = 0;
  }
}
