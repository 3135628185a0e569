import type { RunEvent } from "@wheelwork/core";
import { isDamaged } from "../ports/damage.ts";
import type { Batch, ShardState, Store } from "../ports/ports.ts";

/** What happened to one run in one batch. */
interface RunBatch {
  readonly seq: number;
  readonly events: readonly RunEvent[];
}

/** Records of so many bytes are kept. Of a journal that is longer, or damaged, each question reads all. */
const mostBytes = 32 * 1024 * 1024;

/** A journal as it was read. What has come since is added to it. */
interface Kept {
  state: Pick<ShardState, "owner" | "epoch" | "seq" | "checkpoint">;
  readonly batches: Batch[];
  readonly byKey: Map<string, readonly RunBatch[]>;
  bytes: number;
}

/**
 * The journal of a shard since its last checkpoint, of which each batch is read and decoded once. Without it, each question about one request
 * would read all that has happened to all requests since the checkpoint.
 */
export class KeptJournal {
  readonly #store: Pick<Store, "peek" | "journal">;
  #kept: Kept | undefined = undefined;
  /** The journal after this checkpoint is not kept. */
  #longAfter: number | undefined = undefined;
  #reading: Promise<Kept | undefined> | undefined = undefined;
  #next: Promise<Kept | undefined> | undefined = undefined;

  constructor(store: Pick<Store, "peek" | "journal">) {
    this.#store = store;
  }

  /** Keeps nothing any more. */
  forget(): void {
    this.#kept = undefined;
  }

  /** All batches after the last checkpoint that are committed now; undefined: they are not kept. */
  async batches(): Promise<readonly Batch[] | undefined> {
    return (await this.#read())?.batches;
  }

  /** What happened to one run in them, and the number of the last of all. */
  async of(
    key: string,
  ): Promise<{ readonly batches: readonly RunBatch[]; readonly last: number } | undefined> {
    const kept = await this.#read();
    return kept && { batches: kept.byKey.get(key) ?? [], last: kept.state.seq };
  }

  /** What is being read may lack what was committed since it began: who asks later waits for the next time, and all of these share it. */
  #read(): Promise<Kept | undefined> {
    if (this.#reading === undefined) return this.#begin();
    this.#next ??= this.#reading
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#begin();
      });
    return this.#next;
  }

  #begin(): Promise<Kept | undefined> {
    const reading = this.#refresh().finally(() => (this.#reading = undefined));
    this.#reading = reading;
    return reading;
  }

  async #refresh(): Promise<Kept | undefined> {
    const { owner, epoch, seq, checkpoint } = await this.#store.peek();
    if (this.#longAfter === checkpoint) return undefined;
    const state = { owner, epoch, seq, checkpoint };
    const before = this.#kept;
    if (before !== undefined && isSame(before.state, state)) return before;
    // If reading fails, nothing is known for certain.
    this.#kept = undefined;
    const kept = before === undefined ? undefined : sinceCheckpoint(before, checkpoint);
    if (kept === undefined || !(await this.#readOn(kept, state))) {
      const fresh: Kept = { state, batches: [], byKey: new Map(), bytes: 0 };
      await this.#readOn(fresh, state);
      return this.#keep(fresh);
    }
    return this.#keep(kept);
  }

  #keep(kept: Kept): Kept | undefined {
    const isLong = kept.bytes > mostBytes;
    this.#longAfter = isLong ? kept.state.checkpoint : undefined;
    this.#kept = isLong ? undefined : kept;
    return this.#kept;
  }

  /** Adds what has come. The result: whether it follows what was kept. */
  async #readOn(kept: Kept, state: Kept["state"]): Promise<boolean> {
    const last = kept.batches.at(-1);
    let follows = last === undefined;
    // From the last one on: a store that has lost commits has another one there.
    for await (const read of this.#store.journal(last === undefined ? state.checkpoint : last.seq - 1)) {
      if (isDamaged(read)) {
        // As one that is too long: who asks reads it, and sees which runs it has harmed.
        kept.bytes = Number.POSITIVE_INFINITY;
        break;
      }
      const batch = read;
      if (!follows && last !== undefined) {
        if (batch.seq !== last.seq || batch.at !== last.at || batch.bytes !== last.bytes) return false;
        follows = true;
        continue;
      }
      add(kept, batch);
      if (kept.bytes > mostBytes) break;
    }
    kept.state = { ...state, seq: Math.max(state.seq, kept.batches.at(-1)?.seq ?? 0) };
    return follows;
  }
}

function add(kept: Kept, batch: Batch): void {
  kept.batches.push(batch);
  kept.bytes += batch.bytes;
  const { seq } = batch;
  // A new list each time: somebody may be reading the old one.
  for (const { key, events } of batch.entries)
    kept.byKey.set(key, [...(kept.byKey.get(key) ?? []), { seq, events }]);
}

/** What is left after a later checkpoint; undefined: nothing that could be gone on with. */
function sinceCheckpoint(kept: Kept, checkpoint: number): Kept | undefined {
  const [first] = kept.batches;
  if (first === undefined || kept.state.checkpoint > checkpoint) return undefined;
  if (first.seq > checkpoint) return kept;
  const left: Kept = { state: kept.state, batches: [], byKey: new Map(), bytes: 0 };
  for (const batch of kept.batches) if (batch.seq > checkpoint) add(left, batch);
  return left.batches.length === 0 ? undefined : left;
}

const isSame = (one: Kept["state"], other: Kept["state"]): boolean =>
  one.seq === other.seq &&
  one.checkpoint === other.checkpoint &&
  one.epoch === other.epoch &&
  one.owner === other.owner;
