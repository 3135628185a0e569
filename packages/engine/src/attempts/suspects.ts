import { suspectDeaths, type Call } from "@wheelwork/core/kernel";

/** After so many suspects that have ended, one more may be under way at the same time. */
const clearedForPlace = 16;

/** A suspect that waits for its turn. */
interface Suspect {
  /** Who holds it, so that all of one shard can be let go. */
  readonly owner: object;
  readonly begin: () => void;
}

/**
 * Attempts that the process has died of, perhaps: they were under way at two of its deaths or more (core/src/deaths.ts). They
 * are begun one after the other, those with the fewest deaths first, so that the next death tells which one it was. There is
 * one of these for each process, since a death ends the attempts of all its shards.
 *
 * Thousands may be here after a process was killed twice under load, and nearly all are innocent. So the more of them have
 * ended, the more may be under way at the same time. One with more than two deaths is always alone among suspects.
 */
export class Suspects {
  readonly #waiting = new Map<Call, Suspect>();
  readonly #begun = new Map<Call, Suspect["owner"]>();
  #cleared = 0;

  get size(): number {
    return this.#waiting.size + this.#begun.size;
  }

  has(call: Call): boolean {
    return this.#begun.has(call) || this.#waiting.has(call);
  }

  /** Keeps an attempt until it is its turn. `next` then calls `begin`, once. */
  add(call: Call, owner: object, begin: () => void): void {
    if (!this.has(call)) this.#waiting.set(call, { owner, begin });
  }

  /** An attempt is under way whose turn was before, in this process or an earlier one. */
  begun(call: Call, owner: object): void {
    this.#waiting.delete(call);
    this.#begun.set(call, owner);
  }

  /** Begins as many as may be under way. */
  next(): void {
    for (;;) {
      let first: Call | undefined;
      for (const call of this.#waiting.keys())
        if (first === undefined || call.deaths < first.deaths) first = call;
      if (first === undefined || !this.#mayBegin(first)) return;
      const { owner, begin } = this.#waiting.get(first) as Suspect;
      this.begun(first, owner);
      begin();
    }
  }

  #mayBegin({ deaths }: Call): boolean {
    if (this.#begun.size === 0) return true;
    if (deaths > suspectDeaths) return false;
    for (const call of this.#begun.keys()) if (call.deaths > suspectDeaths) return false;
    return this.#begun.size < 1 + Math.floor(this.#cleared / clearedForPlace);
  }

  /** The attempt has ended, its call is closed, or its run is parked. */
  delete(call: Call): void {
    if (this.#begun.delete(call)) this.#cleared++;
    else this.#waiting.delete(call);
  }

  /** A shard stops, or has lost its memory. */
  deleteAll(owner: object): void {
    for (const [call, suspect] of this.#waiting) if (suspect.owner === owner) this.#waiting.delete(call);
    for (const [call, of] of this.#begun) if (of === owner) this.#begun.delete(call);
  }
}
