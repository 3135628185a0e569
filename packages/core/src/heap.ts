/**
 * A heap: what goes before all others is found at once, and each change takes a time that grows with the logarithm of how
 * many there are.
 */
export class Heap<T> {
  readonly #goesBefore: (a: T, b: T) => boolean;
  #values: T[] = [];

  constructor(goesBefore: (a: T, b: T) => boolean) {
    this.#goesBefore = goesBefore;
  }

  get size(): number {
    return this.#values.length;
  }

  /** What goes before all others. */
  get first(): T | undefined {
    return this.#values[0];
  }

  /** All values, in no order. */
  values(): readonly T[] {
    return this.#values;
  }

  push(value: T): void {
    const heap = this.#values;
    let hole = heap.length;
    heap.push(value);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const above = heap[parent] as T;
      if (!this.#goesBefore(value, above)) break;
      heap[hole] = above;
      hole = parent;
    }
    heap[hole] = value;
  }

  /** Takes out the first. */
  pop(): void {
    const heap = this.#values;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#goesBefore(heap[child + 1] as T, heap[child] as T)) child++;
      if (!this.#goesBefore(heap[child] as T, last)) break;
      heap[hole] = heap[child] as T;
      hole = child;
    }
    heap[hole] = last;
  }

  /** Keeps these values, and no others. */
  replace(values: Iterable<T>): void {
    // A sorted array is a heap.
    this.#values = [...values].toSorted(
      (a, b) => Number(this.#goesBefore(b, a)) - Number(this.#goesBefore(a, b)),
    );
  }
}
