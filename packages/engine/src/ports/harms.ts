import { WheelworkError } from "@wheelwork/core";
import { damagedPart } from "./damage.ts";

/** A batch of the journal that cannot be read, and the runs that it has harmed. */
export interface Harm {
  /** The number of the batch. */
  readonly seq: number;
  /** The hashes of the keys of its runs (`keyHash`). Absent: nobody knows them, and an operator has let the shard go on without the batch. */
  readonly runs?: readonly number[];
}

/** A number of 32 bits that stands for a key. Stores keep it with each batch: it never changes. */
export function keyHash(key: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

interface Known {
  readonly seq: number;
  /** undefined: it may have been about any run that was there. */
  readonly runs: ReadonlySet<number> | undefined;
}

/**
 * What the damaged batches of a journal have done to the runs of a shard. What such a batch says is lost: so the runs that it was about
 * are known no longer, unless their row was written after it. They are told by the hashes of their keys. Another run may have the same hash,
 * once in millions: it is harmed, too.
 */
export class Harms {
  #all: readonly Known[] = [];

  /** In place of all that was known before. */
  set(harms: readonly Harm[]): void {
    this.#all = harms.map(({ seq, runs }) => ({ seq, runs: runs === undefined ? undefined : new Set(runs) }));
  }

  /** One more batch; whether it was not known. One that an operator has given up stays as it is. */
  add({ seq, runs }: Harm): boolean {
    if (this.has(seq)) return false;
    this.#all = [...this.#all, { seq, runs: runs === undefined ? undefined : new Set(runs) }];
    return true;
  }

  has(seq: number): boolean {
    return this.#all.some((known) => known.seq === seq);
  }

  /** Whether a damaged batch may have been about a run. */
  touches(seq: number, key: string): boolean {
    const known = this.#all.find((one) => one.seq === seq);
    return known !== undefined && (known.runs === undefined || known.runs.has(keyHash(key)));
  }

  get list(): readonly Harm[] {
    return this.#all.map(({ seq, runs }) => (runs === undefined ? { seq } : { seq, runs: [...runs] }));
  }

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  /** Why a run cannot be known; undefined: it is as it was. `knows`: the last batch that is known of it. */
  of(key: string, knows: number): WheelworkError | undefined {
    if (this.isEmpty) return undefined;
    const hash = keyHash(key);
    const harm = this.#all.find(({ seq, runs }) => knows < seq && (runs === undefined || runs.has(hash)));
    return harm === undefined ? undefined : harmed(key, harm.seq);
  }

  /** The same of a run of which nothing is stored. One that began with a batch that was given up is forgotten. */
  ofMissing(key: string): WheelworkError | undefined {
    if (this.isEmpty) return undefined;
    const hash = keyHash(key);
    const harm = this.#all.find(({ runs }) => runs?.has(hash) === true);
    return harm === undefined ? undefined : harmed(key, harm.seq);
  }
}

const harmed = (key: string, seq: number): WheelworkError =>
  damagedPart(`the run ${key}`, `batch ${seq} of the journal was about it, and cannot be read`);
