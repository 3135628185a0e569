import { weightOfItem, type Item } from "./items.ts";

/** Times that are closer to each other count as one, in milliseconds. */
const markMs = 10;
/** An item that brings so many bytes is heavy: its batch takes long although nobody has too much to do. */
const heavyBytes = 256 * 1024;

/**
 * The queue of a shard's inputs. It outlives a loss of memory: outcomes and commands that wait are decided once the store is
 * back. It also holds how much one batch may take, which a failed commit halves, in case the batch was too big.
 */
export class Intake {
  /** What waits, from the place `#first` on. What was taken last stays before it for a while, so that it can be put back. */
  #items: Item[] = [];
  #first = 0;
  #requests = 0;
  #pushed = 0;
  /** About how many bytes the requests weigh that wait to be decided. */
  #requestBytes = 0;
  /** When items came that are not taken yet, and how many had come before. */
  readonly #marks: { readonly first: number; readonly at: number; readonly excusedMs: number }[] = [];
  /** How much of all waiting says nothing of how much there is to do, in milliseconds. */
  #excusedMs = 0;
  /** When the last turn began, and the part of the bytes taken then that heavy items have brought: 0 to 1. */
  #turnedAt = 0;
  #heavyShare = 0;
  readonly #maxInputs: number;
  #batchInputs: number;

  constructor(maxInputs: number) {
    this.#maxInputs = maxInputs;
    this.#batchInputs = maxInputs;
  }

  get length(): number {
    return this.#items.length - this.#first;
  }

  /** How many items have ever been queued. */
  get pushed(): number {
    return this.#pushed;
  }

  /** Requests that wait to be decided. */
  get requests(): number {
    return this.#requests;
  }

  /** About how many bytes these requests weigh. */
  get requestBytes(): number {
    return this.#requestBytes;
  }

  /** How many inputs one batch may have. */
  get batchInputs(): number {
    return this.#batchInputs;
  }

  /** What waits now has waited so long for what is no sign of overload. */
  excuse(ms: number): void {
    this.#excusedMs += ms;
  }

  /**
   * A turn begins: how long the first item has waited. Large values take their time, which is no sign of too many
   * requests: the memory that they take bounds them. So what waits is excused for the last turn, as far as such values
   * have filled it.
   */
  turn(now: number): number {
    this.#excusedMs += this.#heavyMs(now);
    this.#turnedAt = now;
    return this.waitMs(now);
  }

  #heavyMs(now: number): number {
    return (now - this.#turnedAt) * this.#heavyShare;
  }

  /** Notes the time: what is pushed from now on waits since then. */
  mark(now: number): void {
    const last = this.#marks.at(-1);
    if (last === undefined || now - last.at >= markMs)
      this.#marks.push({ first: this.#pushed, at: now, excusedMs: this.#excusedMs });
  }

  /** How long the first item has waited since it was marked, without what is excused, in milliseconds; 0 if there is none. */
  waitMs(now: number): number {
    const marks = this.#marks;
    const taken = this.#pushed - this.length;
    let passed = this.length === 0 ? marks.length : 0;
    while (marks.length > passed + 1 && (marks[passed + 1]?.first ?? 0) <= taken) passed++;
    if (passed > 0) marks.splice(0, passed);
    const [first] = marks;
    if (first === undefined) return 0;
    return Math.max(0, now - first.at - (this.#excusedMs - first.excusedMs) - this.#heavyMs(now));
  }

  push(item: Item): void {
    if (item.kind === "request") {
      this.#requests++;
      this.#requestBytes += weightOfItem(item);
    }
    this.#items.push(item);
    this.#pushed++;
  }

  /**
   * Takes the first items out, `maxCount` at most and so many that they weigh `maxBytes` at most, but one at least: what they
   * bring is written in one transaction, which no store takes in any size. Requests still count as waiting until
   * `requestDone` is told of them.
   */
  take(maxCount: number, maxBytes = Number.POSITIVE_INFINITY): readonly Item[] {
    const [all, first] = [this.#items, this.#first];
    let count = Math.min(maxCount, all.length - first);
    let [bytes, heavy] = [0, 0];
    if (maxBytes !== Number.POSITIVE_INFINITY) {
      for (let index = 0; index < count; index++) {
        const weight = weightOfItem(all[first + index] as Item);
        if (index > 0 && bytes + weight > maxBytes) {
          count = index;
          break;
        }
        bytes += weight;
        if (weight >= heavyBytes) heavy += weight;
      }
    }
    this.#heavyShare = heavy === 0 ? 0 : heavy / bytes;
    this.#first += count;
    return all.slice(first, first + count);
  }

  /** Nothing more is put back: forgets what was taken, if that is more than what waits. */
  compact(): void {
    if (this.#first * 2 < this.#items.length) return;
    this.#items = this.#items.slice(this.#first);
    this.#first = 0;
  }

  /** A request was decided, or refused. */
  requestDone(item: Item): void {
    this.#requests--;
    this.#requestBytes -= weightOfItem(item);
  }

  /** Takes everything out, and counts anew. */
  drain(): readonly Item[] {
    this.#requests = 0;
    this.#requestBytes = 0;
    const all = this.take(this.length);
    this.compact();
    return all;
  }

  /** Queues again what a lost memory had taken. */
  restore(items: readonly Item[]): void {
    this.#count(items);
    for (const item of items) this.#items.push(item);
  }

  /** Queues again, before all others, what was taken and could not be decided in time. */
  putBack(items: readonly Item[]): void {
    this.#count(items);
    const first = this.#first - items.length;
    const isThere = first >= 0 && items.every((item, index) => this.#items[first + index] === item);
    if (!isThere) this.#items = items.concat(this.#items.slice(this.#first));
    this.#first = isThere ? first : 0;
  }

  #count(items: readonly Item[]): void {
    for (const item of items) {
      if (item.kind !== "request") continue;
      this.#requests++;
      this.#requestBytes += weightOfItem(item);
    }
  }

  /** What waits. */
  values(): Iterable<Item> {
    return this.#items.slice(this.#first);
  }

  /** A batch of so many inputs has failed. */
  shrink(inputs: number): void {
    this.#batchInputs = Math.max(1, Math.floor(Math.min(this.#batchInputs, inputs) / 2));
  }

  /** A batch was committed. */
  grow(): void {
    this.#batchInputs = Math.min(this.#batchInputs * 2, this.#maxInputs);
  }
}
