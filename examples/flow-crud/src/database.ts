import { statSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { WheelworkError } from "wheelwork";

/** How much a commit waits for the disk: `full`: until it is on it; `normal`: a power failure may undo the last ones. */
export type DatabaseDurability = "full" | "normal";

/**
 * Opens a small database of the application, and creates what it lacks. Both settings survive the death of the process
 * (a write-ahead log); `full`, the default, survives a power failure too.
 * @throws WheelworkError WW_STORE_UNAVAILABLE.
 */
export function openDatabase(
  path: string,
  schema: string,
  durability: DatabaseDurability = "full",
): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path);
    db.exec("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA temp_store = MEMORY");
    db.exec(`PRAGMA synchronous = ${durability === "full" ? "FULL" : "NORMAL"}`);
    db.exec(schema);
    return db;
  } catch (error) {
    db?.close();
    const message = error instanceof Error ? error.message : String(error);
    throw new WheelworkError("WW_STORE_UNAVAILABLE", `${path} cannot be opened for writing: ${message}`, {
      next: "Check that it may be written to and that the disk is not full, or restore it from a backup.",
      cause: error,
    });
  }
}

interface Pending {
  readonly write: () => unknown;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

/** The file that a path leads to, by its device and inode. */
function fileAt(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
}

/**
 * Looks whether the paths of a database still lead to the files that it has open. What is written to a file that somebody has deleted is gone
 * with the process.
 */
class FileWatch {
  readonly #paths: readonly string[];
  readonly #files = new Map<string, string>();

  constructor(db: DatabaseSync) {
    const path = db.location();
    this.#paths = path === null ? [] : [path, `${path}-wal`];
    this.check();
  }

  /** @throws WheelworkError WW_STORE_UNAVAILABLE. */
  check(): void {
    for (const path of this.#paths) {
      const [known, found] = [this.#files.get(path), fileAt(path)];
      if (known === undefined && found !== undefined) this.#files.set(path, found);
      if (known === undefined || known === found) continue;
      throw new WheelworkError("WW_STORE_UNAVAILABLE", `${path} was deleted or replaced`, {
        next: "Put the file back in its place. What was written is in it.",
        retryable: true,
      });
    }
  }
}

/**
 * Many small writes in one transaction. A commit waits for the disk, so what comes in one turn of the event loop shares
 * one commit: a thousand messages cost little more than one.
 */
export class GroupCommit {
  readonly #db: DatabaseSync;
  // As statements, they are not parsed again for each group.
  readonly #begin: StatementSync;
  readonly #end: StatementSync;
  readonly #soon: (task: () => void) => void;
  readonly #turnMs: number;
  readonly #watch: FileWatch;
  #pending: Pending[] = [];

  /**
   * `soon` runs a task after what is ready now. After `turnMs` milliseconds, the rest of a group waits for a transaction of its own, so that
   * writes that take long do not keep all else from its turn.
   */
  constructor(db: DatabaseSync, soon: (task: () => void) => void, turnMs = Infinity) {
    this.#db = db;
    this.#begin = db.prepare("BEGIN IMMEDIATE");
    this.#end = db.prepare("COMMIT");
    this.#watch = new FileWatch(db);
    this.#soon = soon;
    this.#turnMs = turnMs;
  }

  /**
   * Runs `write` in the next transaction; resolves when that is committed. `write` must throw only if the database
   * does: an exception undoes the whole group, and rejects all of it.
   */
  run<T>(write: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#pending.push({ write, resolve, reject });
      if (this.#pending.length === 1) this.#soon(() => this.#commit());
    });
  }

  #commit(): void {
    const group = this.#pending;
    this.#pending = [];
    const results: unknown[] = [];
    const begin = performance.now();
    try {
      this.#begin.run();
      for (const { write } of group) {
        results.push(write());
        if (performance.now() - begin > this.#turnMs) break;
      }
      this.#end.run();
      // Nobody is told of what went into a file that has just gone.
      this.#watch.check();
    } catch (error) {
      if (this.#db.isOpen && this.#db.isTransaction) this.#db.exec("ROLLBACK");
      for (const { reject } of group) reject(error);
      return;
    }
    this.#pending = group.splice(results.length);
    if (this.#pending.length > 0) this.#soon(() => this.#commit());
    for (const [index, { resolve }] of group.entries()) resolve(results[index] as never);
  }
}
