/** A place in a list. */
export interface ListItem<T> {
  readonly value: T;
  before: ListItem<T> | undefined;
  after: ListItem<T> | undefined;
}

/**
 * A list in which adding, removing and looking at the first take the same time however long it is. (A Set whose first is removed
 * again and again looks at the gaps of all former ones each time.)
 */
export class LinkedList<T> {
  #first: ListItem<T> | undefined = undefined;
  #last: ListItem<T> | undefined = undefined;

  get first(): T | undefined {
    return this.#first?.value;
  }

  get isEmpty(): boolean {
    return this.#first === undefined;
  }

  /** Adds a value at the end. The result removes it. */
  add(value: T): ListItem<T> {
    const item = { value, before: this.#last, after: undefined };
    if (this.#last === undefined) this.#first = item;
    else this.#last.after = item;
    this.#last = item;
    return item;
  }

  /** Removes an item that is in this list. */
  remove(item: ListItem<T>): void {
    if (item.before === undefined) this.#first = item.after;
    else item.before.after = item.after;
    if (item.after === undefined) this.#last = item.before;
    else item.after.before = item.before;
  }
}
