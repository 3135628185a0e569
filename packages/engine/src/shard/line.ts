/** Times that are closer to each other count as one, in milliseconds. */
const markMs = 10;

/** Items in the order in which they came. What was taken last stays before them for a while, so that it can be put back. */
export class Line<Item> {
  /** What waits, from the place `#first` on. */
  #items: Item[] = [];
  #first = 0;
  #pushed = 0;
  /** When items came that are not taken yet, and how many had come before. */
  readonly #marks: { readonly first: number; readonly at: number; readonly excusedMs: number }[] = [];

  get length(): number {
    return this.#items.length - this.#first;
  }

  /** How many items have ever come. */
  get pushed(): number {
    return this.#pushed;
  }

  /** The item at a place, counted from the first that waits. */
  at(place: number): Item | undefined {
    return this.#items[this.#first + place];
  }

  push(item: Item): void {
    this.#items.push(item);
    this.#pushed++;
  }

  /** Takes the first items out. */
  take(count: number): Item[] {
    const first = this.#first;
    this.#first = Math.min(first + count, this.#items.length);
    return this.#items.slice(first, this.#first);
  }

  /** Before all others: those that were taken last, or others. */
  putBack(items: readonly Item[]): void {
    if (items.length === 0) return;
    const first = this.#first - items.length;
    const isThere = first >= 0 && items.every((item, index) => this.#items[first + index] === item);
    if (!isThere) this.#items = items.concat(this.#items.slice(this.#first));
    this.#first = isThere ? first : 0;
  }

  /** Nothing more is put back: forgets what was taken, if that is more than what waits. */
  compact(): void {
    if (this.#first * 2 < this.#items.length) return;
    // In its place: a list that is left behind may be old, and names what was in it until a full garbage collection (TurnoverMap).
    this.#items.copyWithin(0, this.#first);
    this.#items.length -= this.#first;
    this.#first = 0;
  }

  /** What waits. */
  values(): readonly Item[] {
    return this.#items.slice(this.#first);
  }

  /** Notes the time: what comes from now on waits since then. `excusedMs`: how much of all waiting does not count until now. */
  mark(now: number, excusedMs: number): void {
    const last = this.#marks.at(-1);
    if (last === undefined || now - last.at >= markMs)
      this.#marks.push({ first: this.#pushed, at: now, excusedMs });
  }

  /** How long the first item has waited since it was marked, without what is excused, in milliseconds; 0 if there is none. */
  waitMs(now: number, excusedMs: number): number {
    const marks = this.#marks;
    const taken = this.#pushed - this.length;
    let passed = this.length === 0 ? marks.length : 0;
    while (marks.length > passed + 1 && (marks[passed + 1]?.first ?? 0) <= taken) passed++;
    if (passed > 0) marks.splice(0, passed);
    const [first] = marks;
    return first === undefined ? 0 : Math.max(0, now - first.at - (excusedMs - first.excusedMs));
  }
}
