import type { SQLInputValue } from "node:sqlite";
import { rootOf } from "../ports/keys.ts";

/** What the keys need of their store: statements, run within the transactions of the store. */
export interface KeyTables {
  run(sql: string, ...values: SQLInputValue[]): unknown;
  get(sql: string, ...values: SQLInputValue[]): Record<string, SQLInputValue> | undefined;
  all(sql: string, ...values: SQLInputValue[]): Record<string, SQLInputValue>[];
}

/** So many keys are filed together: more make fewer pages dirty, and take more memory and more time at the next start. */
const keysPerRun = 32_768;
/** Keys that a commit files for each answer that it writes: more than come, so that filing ends. */
const filedEach = 2;

/**
 * Which row of `request` has the answer to a key. Keys come without order, so that each would dirty a page of an index of
 * its own: the last ones are kept in memory, and filed in `request_key` in their order, a few with each commit, so that a
 * page takes many of them. `shard.keyed` is the row up to which all keys are filed; a start reads those after it.
 */
export class KeyIndex {
  readonly #tables: KeyTables;
  /** Rows whose keys may not be filed yet. */
  readonly #recent = new Map<string, number>();
  /** How many of these each request has begun, if it has begun some. */
  readonly #begun = new Map<string, number>();
  /** The keys that are being filed, in their order, how many of them are, and the row up to which all are then. */
  #filing: readonly string[] = [];
  #filed = 0;
  #upTo = 0;
  #lastId: number;

  constructor(tables: KeyTables) {
    this.#tables = tables;
    const keyed = Number(tables.get("SELECT keyed FROM shard WHERE id = 0")?.["keyed"] ?? 0);
    for (const { id, key } of tables.all("SELECT id, key FROM request WHERE id > ? ORDER BY id", keyed))
      this.#remember(String(key), Number(id));
    const last = Number(tables.get("SELECT max(id) AS id FROM request")?.["id"] ?? 0);
    // Rows that were filed may have been purged: their numbers are not used again.
    this.#lastId = Math.max(last, keyed);
  }

  /** The row of a key that has come lately; those that are filed are not among them. */
  recent(key: string): number | undefined {
    return this.#recent.get(key);
  }

  /** The row that has the answer to a key. */
  find(key: string): number | undefined {
    const recent = this.#recent.get(key);
    if (recent !== undefined) return recent;
    const id = this.#tables.get("SELECT id FROM request_key WHERE key = ?", key)?.["id"];
    return id === undefined ? undefined : Number(id);
  }

  /** The row for the answer to a new key. */
  add(key: string): number {
    const id = ++this.#lastId;
    this.#remember(key, id);
    return id;
  }

  #remember(key: string, id: number): void {
    const root = rootOf(key);
    if (root !== key && !this.#recent.has(key)) this.#begun.set(root, (this.#begun.get(root) ?? 0) + 1);
    this.#recent.set(key, id);
  }

  #forget(key: string): void {
    if (!this.#recent.delete(key)) return;
    const root = rootOf(key);
    const left = (this.#begun.get(root) ?? 0) - 1;
    if (left > 0) this.#begun.set(root, left);
    else this.#begun.delete(root);
  }

  /** Whether a row is there of a run that a request has begun. The keys of such runs begin with that of the request and '/', which '0' follows. */
  hasBegun(root: string): boolean {
    if (this.#begun.has(root)) return true;
    const filed = "SELECT 1 FROM request_key WHERE key > ? AND key < ? LIMIT 1";
    return this.#tables.get(filed, `${root}/`, `${root}0`) !== undefined;
  }

  /** The row of a key is deleted. */
  remove(key: string): void {
    this.#forget(key);
    this.#tables.run("DELETE FROM request_key WHERE key = ?", key);
  }

  /** Files some keys, in the transaction of a commit that wrote so many answers. */
  file(answers: number): void {
    if (this.#filed === this.#filing.length) {
      if (this.#recent.size < keysPerRun) return;
      this.#upTo = this.#lastId;
      this.#filing = [...this.#recent.keys()].toSorted();
      this.#filed = 0;
    }
    const end = Math.min(this.#filing.length, this.#filed + answers * filedEach);
    for (; this.#filed < end; this.#filed++) {
      const key = this.#filing[this.#filed] as string;
      const id = this.#recent.get(key);
      // One that was purged meanwhile is passed over, and so is one that has come again since.
      if (id === undefined || id > this.#upTo) continue;
      this.#tables.run("INSERT OR REPLACE INTO request_key (key, id) VALUES (?, ?)", key, id);
      this.#forget(key);
    }
    if (end < this.#filing.length) return;
    this.#filing = [];
    this.#filed = 0;
    this.#tables.run("UPDATE shard SET keyed = ? WHERE id = 0", this.#upTo);
  }
}
