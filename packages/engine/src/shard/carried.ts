import type { Call, ManyEffects } from "@wheelwork/core/kernel";
import { rootOf } from "../ports/keys.ts";
import type { LiveRun } from "./batch.ts";
import type { Lane } from "./lanes.ts";

/** What one run has for another, and what need not be in the batch that causes it, since it follows from what is stored. */
export type CarriedItem =
  /** The hub of an open call begins a run. */
  | {
      readonly kind: "child";
      readonly call: Call;
      /** An earlier owner has stored the call. */
      readonly isStored?: true;
    }
  /** A run that is stored makes its first turn. */
  | { readonly kind: "begin"; readonly key: string }
  /** The round of a run opens its next calls. */
  | { readonly kind: "open"; readonly key: string }
  /** The caller of a run no longer wants it. */
  | { readonly kind: "cancel"; readonly key: string }
  /** The store does not take the row of a run, which nothing but its end can change. */
  | { readonly kind: "endRefused"; readonly key: string }
  /** A retry of a run goes on. The inputs of these calls are to be checked, before what it keeps is decided. */
  | { readonly kind: "redeliver"; readonly key: string; readonly calls: readonly number[] }
  /** What follows from an event for many calls of a run: it is carried out for those from a position on. */
  | { readonly kind: "many"; readonly live: LiveRun; readonly many: ManyEffects; readonly from: number }
  /** A place of a lane is free, and who is next is not in memory yet. */
  | { readonly kind: "grant"; readonly lane: Lane };

/** Whether an item takes as long as many others: it is about many calls. */
export const isLong = ({ kind }: CarriedItem): boolean =>
  kind === "open" || kind === "many" || kind === "redeliver";

function keyOf(item: Exclude<CarriedItem, { kind: "grant" }>): string {
  if (item.kind === "child") return item.call.run.key;
  return item.kind === "many" ? item.live.run.key : item.key;
}

/** A queue whose ends cost the same, however long it is. */
class Fifo<T> {
  #items: (T | undefined)[] = [];
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    const item = this.#items[this.#first];
    if (item === undefined) return undefined;
    this.#items[this.#first++] = undefined;
    if (this.#first === this.#items.length) {
      this.#items = [];
      this.#first = 0;
    } else if (this.#first >= 1024 && this.#first * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
    return item;
  }
}

/** Grants take turns with requests as if they were one. No key has a blank. */
const grants = "the lanes";

interface Root {
  readonly name: string;
  readonly items: Fifo<CarriedItem>;
}

/**
 * Items that wait for a batch. Those of one request keep their order. Requests take turns, item by item, so that one with
 * 100,000 items does not hold up the others.
 */
export class Carried {
  /** The requests that have items. */
  readonly #roots = new Map<string, Root>();
  readonly #turns = new Fifo<Root>();
  #size = 0;
  /** The run of the last item, and its request: nearly always the next one has the same. */
  #last = { key: "", root: "" };

  get size(): number {
    return this.#size;
  }

  push(item: CarriedItem): void {
    const name = item.kind === "grant" ? grants : this.#rootOf(keyOf(item));
    let root = this.#roots.get(name);
    if (root === undefined) {
      root = { name, items: new Fifo() };
      this.#roots.set(name, root);
      this.#turns.push(root);
    }
    root.items.push(item);
    this.#size++;
  }

  #rootOf(key: string): string {
    if (this.#last.key !== key) this.#last = { key, root: rootOf(key) };
    return this.#last.root;
  }

  shift(): CarriedItem | undefined {
    const root = this.#turns.shift();
    if (root === undefined) return undefined;
    const item = root.items.shift();
    if (root.items.length > 0) this.#turns.push(root);
    else this.#roots.delete(root.name);
    this.#size--;
    return item;
  }
}
