import type { Attempt } from "./attempt.ts";
import type { LinkedList, ListItem } from "./list.ts";
import { Turns, type Waiting } from "./turns.ts";

/** One key of a limit: its places, its tokens, and the attempts that wait under it. */
export class LimitKey {
  readonly key: string;
  /** Places that are taken. */
  running = 0;
  /** Attempts that wait. */
  waiting = 0;
  /** When its bucket is full, in monotonic time, if no more is taken. So a bucket that nobody looks at need not be filled. */
  fullAt: number;
  /** Attempts that have a place, and need another token. They go first. */
  readonly renewals = new Map<Attempt, () => void>();
  /** While it waits for a token: cancels its timer. */
  cancelTimer: (() => void) | undefined = undefined;
  /** Its places among the keys whose turn may come: that of clean-up, and that of all other work. */
  lateItem: ListItem<LimitKey> | undefined = undefined;
  item: ListItem<LimitKey> | undefined = undefined;
  /** Its place among the keys that have nothing to do. */
  idleItem: ListItem<LimitKey> | undefined = undefined;
  /** Attempts of clean-ups go first: what they undo should not be there. */
  readonly #late = new Turns();
  readonly #others = new Turns();

  constructor(key: string, fullAt: number) {
    this.key = key;
    this.fullAt = fullAt;
  }

  get hasLate(): boolean {
    return !this.#late.isEmpty;
  }

  get hasOthers(): boolean {
    return !this.#others.isEmpty;
  }

  add(request: string, isLate: boolean, attempt: Attempt, make: Waiting["make"], since: number): Waiting {
    this.waiting++;
    return (isLate ? this.#late : this.#others).add(request, attempt, make, since, this);
  }

  take(isLate: boolean): Waiting | undefined {
    const taken = (isLate ? this.#late : this.#others).take();
    if (taken !== undefined) this.waiting--;
    return taken;
  }

  remove(waiting: Waiting): void {
    this.waiting--;
    waiting.queue.turns.remove(waiting);
  }
}

/** Puts a key into a list, or takes it out. The result is its place there. */
export function placed(
  list: LinkedList<LimitKey>,
  key: LimitKey,
  item: ListItem<LimitKey> | undefined,
  isIn: boolean,
): ListItem<LimitKey> | undefined {
  if (item === undefined) return isIn ? list.add(key) : undefined;
  if (isIn) return item;
  list.remove(item);
  return undefined;
}
