import type { Writable } from "@wheelwork/core/kernel";
import type { Attempt } from "./attempt.ts";
import { LinkedList, type ListItem } from "./list.ts";
import type { LimitKey } from "./limit-key.ts";

/** An attempt that waits under a limit. */
export interface Waiting {
  readonly attempt: Attempt;
  /** Makes the attempt: it has its place. */
  readonly make: (attempt: Attempt) => void;
  /** Since when, in monotonic time. */
  readonly since: number;
  readonly key: LimitKey;
  /** Its place in the queue of its request. */
  readonly queue: RequestQueue;
  readonly item: ListItem<Waiting>;
}

/** The place of an attempt under a limit. */
export interface Place {
  readonly key: LimitKey;
  /** When its worker began, or may begin, in monotonic time: its token is of then. */
  since: number;
}

/** The attempts of one request that wait, in the order in which they were begun. */
interface RequestQueue {
  readonly turns: Turns;
  readonly request: string;
  readonly waiting: LinkedList<Waiting>;
  /** Its place among the requests. */
  item: ListItem<RequestQueue>;
}

/** Attempts that wait, request by request: requests take turns, so one with many attempts holds back no other. */
export class Turns {
  readonly #requests = new Map<string, RequestQueue>();
  readonly #order = new LinkedList<RequestQueue>();

  get isEmpty(): boolean {
    return this.#order.isEmpty;
  }

  /** Adds an attempt at the end of the queue of its request. */
  add(request: string, attempt: Attempt, make: Waiting["make"], since: number, key: LimitKey): Waiting {
    let queue = this.#requests.get(request);
    if (queue === undefined) {
      const made: Omit<RequestQueue, "item"> = { turns: this, request, waiting: new LinkedList() };
      queue = made as RequestQueue;
      queue.item = this.#order.add(queue);
      this.#requests.set(request, queue);
    }
    const waiting: Partial<Writable<Waiting>> = {
      attempt,
      make,
      since,
      key,
      queue,
    };
    waiting.item = queue.waiting.add(waiting as Waiting);
    return waiting as Waiting;
  }

  /** Takes the first attempt of the request whose turn it is. */
  take(): Waiting | undefined {
    const queue = this.#order.first;
    const waiting = queue?.waiting.first;
    if (queue === undefined || waiting === undefined) return undefined;
    this.remove(waiting);
    // Those of others are next.
    if (!queue.waiting.isEmpty) {
      this.#order.remove(queue.item);
      queue.item = this.#order.add(queue);
    }
    return waiting;
  }

  /** Removes an attempt that waits here. */
  remove({ queue, item }: Waiting): void {
    queue.waiting.remove(item);
    if (!queue.waiting.isEmpty) return;
    this.#order.remove(queue.item);
    this.#requests.delete(queue.request);
  }
}
