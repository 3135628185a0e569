/** Where a value is, until it leaves. */
interface Cell<V> {
  value: V | undefined;
}

/**
 * A map whose values are large, and come and go all the time. It is as a `Map`, but what has left it is garbage at once.
 *
 * V8 makes a new table for a `Map` when the old one is full of deleted entries. What was in the old table stays in it, and it names the
 * new one. Once such a table has grown old, only a full garbage collection frees it. Until then it keeps the tables that follow alive, so
 * that they grow old as well, and all their values with them. Each of these is copied twice, and fills the old generation. In a shard
 * with 200 runs at once, that was every run with its history, and more than a tenth of all CPU time.
 *
 * So the table holds cells, and a cell is emptied when its value leaves.
 */
export class TurnoverMap<V> {
  readonly #cells = new Map<string, Cell<V>>();

  get size(): number {
    return this.#cells.size;
  }

  get(key: string): V | undefined {
    return this.#cells.get(key)?.value;
  }

  has(key: string): boolean {
    return this.#cells.has(key);
  }

  set(key: string, value: V): void {
    const cell = this.#cells.get(key);
    if (cell === undefined) this.#cells.set(key, { value });
    else cell.value = value;
  }

  delete(key: string): boolean {
    const cell = this.#cells.get(key);
    if (cell === undefined) return false;
    cell.value = undefined;
    return this.#cells.delete(key);
  }

  keys(): MapIterator<string> {
    return this.#cells.keys();
  }

  /** In the order in which they came, also those that come meanwhile. */
  *values(): Generator<V, undefined> {
    for (const { value } of this.#cells.values()) yield value as V;
    return undefined;
  }

  *[Symbol.iterator](): Generator<[string, V], undefined> {
    for (const [key, { value }] of this.#cells) yield [key, value as V];
    return undefined;
  }
}
