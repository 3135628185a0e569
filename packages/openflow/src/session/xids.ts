/** Messages that have transaction ids in a row, from `first` to `last`, and what came before them: its errors may come late. */
export interface Numbered {
  readonly first: number;
  readonly last: number;
  readonly before: Numbered | undefined;
}

/** The transaction ids that a session gives. */
export interface XidRange {
  readonly first: number;
  readonly last: number;
}

const bitsOfBlock = 6;
const blockOf = (xid: number): number => xid >>> bitsOfBlock;

/**
 * Who has which transaction id. Finding one takes the same time however much is under way: they are kept by blocks of 64, so that a large
 * group costs no more than a small one.
 */
export class Xids<T extends Numbered> {
  readonly #range: XidRange;
  readonly #blocks = new Map<number, T[]>();
  #next: number;
  /** Until they begin again, none that is given can be somebody's. */
  #hasBegunAgain = false;

  /** `range` has more than can be under way. */
  constructor(range: XidRange) {
    this.#range = range;
    this.#next = range.first;
  }

  /**
   * So many in a row; the result is the first one. They begin again once all have been given, and then those are left out that somebody has:
   * what the switch says of one message would be taken for what it says of another.
   */
  take(count: number): number {
    let first = this.#next;
    for (;;) {
      if (first + count - 1 > this.#range.last) {
        first = this.#range.first;
        this.#hasBegunAgain = true;
      }
      const taken = this.#hasBegunAgain ? this.#overlap(first, first + count - 1) : undefined;
      if (taken === undefined) break;
      first = taken + 1;
    }
    this.#next = first + count;
    return first;
  }

  /** The last one of somebody's that is in this part; undefined: all of it is free. */
  #overlap(first: number, last: number): number | undefined {
    for (let block = blockOf(first); block <= blockOf(last); block++)
      for (const owner of this.#blocks.get(block) ?? [])
        for (let one: Numbered | undefined = owner; one !== undefined; one = one.before)
          if (one.first <= last && one.last >= first) return one.last;
    return undefined;
  }

  /** They are its own now, with those of what came before it. */
  add(owner: T): void {
    for (let one: Numbered | undefined = owner; one !== undefined; one = one.before) {
      const last = blockOf(one.last);
      for (let block = blockOf(one.first); block <= last; block++) {
        const owners = this.#blocks.get(block);
        if (owners === undefined) this.#blocks.set(block, [owner]);
        else if (owners.at(-1) !== owner) owners.push(owner);
      }
    }
  }

  /** They are free, but for those that what follows it has taken over. */
  delete(owner: T): void {
    for (let one: Numbered | undefined = owner; one !== undefined; one = one.before) {
      const last = blockOf(one.last);
      for (let block = blockOf(one.first); block <= last; block++) {
        const owners = this.#blocks.get(block);
        const at = owners?.indexOf(owner) ?? -1;
        if (at < 0) continue;
        if (owners?.length === 1) this.#blocks.delete(block);
        else owners?.splice(at, 1);
      }
    }
  }

  /** Who has it: of several, the one that was added last. */
  find(xid: number): T | undefined {
    return this.#blocks.get(blockOf(xid))?.findLast((owner) => {
      for (let one: Numbered | undefined = owner; one !== undefined; one = one.before)
        if (one.first <= xid && xid <= one.last) return true;
      return false;
    });
  }

  clear(): void {
    this.#blocks.clear();
  }
}
