import type { DatabaseSync, StatementSync } from "node:sqlite";

interface Entry {
  readonly key: string;
  readonly hash: number;
  readonly id: number;
}

/**
 * The index of the requests by their keys. Keys have no order, so that an index that takes each key at once writes a page
 * for each; with a million requests in the store that costs more than all else of a commit. So the newest keys are kept
 * in memory and brought into the index a generation at a time, in the order of the index, some with each commit. The rows
 * themselves are durable at once: a restart reads back the keys that the index lacks.
 */
export class RequestKeys {
  readonly #db: DatabaseSync;
  readonly #generation: number;
  readonly #insert: StatementSync;
  readonly #find: StatementSync;
  readonly #indexed: StatementSync;
  readonly #remove: StatementSync;
  /** Keys that the index lacks, or may lack. */
  readonly #recent = new Map<string, number>();
  /** The next generation. */
  #gathered: Entry[] = [];
  /** What is left of the generation that is being brought into the index; the last comes first. */
  #left: Entry[] = [];
  /** That generation, and its youngest row. */
  #merging: readonly Entry[] = [];
  #youngest = 0;
  /** A generation that was brought in whole by the last commit, if that did not fail. */
  #merged: readonly Entry[] = [];

  #loaded = false;

  /** @param generation How many keys make a generation. */
  constructor(db: DatabaseSync, generation = 20_000) {
    this.#db = db;
    this.#generation = generation;
    this.#insert = db.prepare("INSERT OR IGNORE INTO request_key (key_hash, id) VALUES (?, ?)");
    this.#find = db.prepare(
      "SELECT request.id FROM request_key JOIN request ON request.id = request_key.id WHERE key_hash = ? AND key = ?",
    );
    this.#indexed = db.prepare("UPDATE shard SET indexed = ? WHERE id = 0");
    this.#remove = db.prepare("DELETE FROM request_key WHERE key_hash = ? AND id = ?");
  }

  /** Reads back what the index lacks: at claim, and so after each commit that failed. */
  load(): void {
    this.#loaded = true;
    this.#recent.clear();
    this.#gathered = [];
    this.#left = [];
    this.#merging = [];
    this.#merged = [];
    const sql =
      "SELECT id, key FROM request WHERE id > coalesce((SELECT indexed FROM shard WHERE id = 0), 0) ORDER BY id";
    for (const { id, key } of this.#db.prepare(sql).iterate()) this.add(key as string, id as number);
  }

  /** The row of a key. It may have been deleted, and its id be another key's. */
  find(key: string): number | undefined {
    if (!this.#loaded) this.load();
    return this.#recent.get(key) ?? (this.#find.get(hashOf(key), key)?.["id"] as number | undefined);
  }

  /** A row was inserted; each has a higher id than those before. */
  add(key: string, id: number): void {
    this.#recent.set(key, id);
    this.#gathered.push({ key, hash: hashOf(key), id });
  }

  /** A row was deleted. */
  remove(key: string, id: number): void {
    this.#remove.run(hashOf(key), id);
  }

  /** Within the transaction of a commit: brings so many keys into the index; more than the commit adds, or they pile up. */
  merge(most: number): void {
    for (const { key, id } of this.#merged) if (this.#recent.get(key) === id) this.#recent.delete(key);
    this.#merged = [];
    if (this.#left.length === 0) {
      if (this.#gathered.length < this.#generation) return;
      this.#merging = this.#gathered;
      this.#left = this.#gathered.toSorted((a, b) => b.hash - a.hash);
      this.#youngest = this.#gathered.at(-1)?.id ?? 0;
      this.#gathered = [];
    }
    for (let count = 0; count < most; count++) {
      const next = this.#left.pop();
      if (next === undefined) break;
      this.#insert.run(next.hash, next.id);
    }
    if (this.#left.length > 0) return;
    this.#indexed.run(this.#youngest);
    // Not forgotten before it is certain that they are on the disk: the next commit comes after this one only.
    this.#merged = this.#merging;
    this.#merging = [];
  }
}

/** 48 bits of a key; keys that share them are told apart by their rows. */
function hashOf(key: string): number {
  let low = 0x811c9dc5;
  let high = 0x9747b28c;
  for (let index = 0; index < key.length; index++) {
    const code = key.charCodeAt(index);
    low = Math.imul(low ^ code, 0x01000193);
    high = Math.imul(high ^ code, 0x85ebca6b);
    high ^= high >>> 13;
  }
  return (high >>> 16) * 2 ** 32 + (low >>> 0);
}
