import { closeSync, fdatasync, openSync, statSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { promisify } from "node:util";
import { WheelworkError } from "wheelwork";

/** How much a commit waits for the disk: `full`: until it is on it; `normal`: a power failure may undo the last ones. */
export type DatabaseDurability = "full" | "normal";

/**
 * Opens a small database of the application, and creates what it lacks. Both settings survive the death of the process
 * (a write-ahead log); `full`, the default, survives a power failure too. `upgrade`: changes tables of earlier versions.
 * @throws WheelworkError WW_STORE_UNAVAILABLE.
 */
export function openDatabase(
  path: string,
  schema: string,
  durability: DatabaseDurability = "full",
  upgrade: (db: DatabaseSync) => void = () => {},
): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path);
    db.exec("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA temp_store = MEMORY");
    db.exec(`PRAGMA synchronous = ${durability === "full" ? "FULL" : "NORMAL"}`);
    // Rows come in the order of ids and addresses, so that each group changes pages everywhere: those are to be in memory, and to be copied
    // from the log into the file once for many groups.
    db.exec("PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -32768");
    db.exec(schema);
    upgrade(db);
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
  /** It goes alone, since a group with it has failed. */
  isAlone: boolean;
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

/** Puts the content of an open file on the disk. */
const syncOfSystem = promisify(fdatasync);

type Sync = NonNullable<GroupOptions["sync"]>;

/** How groups are committed. */
export interface GroupOptions {
  /** Runs a task after what is ready now. */
  readonly soon: (task: () => void) => void;
  /**
   * After so many milliseconds, the rest of a group waits for a transaction of its own, so that writes that take long do not keep all else
   * from its turn.
   */
  readonly turnMs?: number;
  /** Runs when a transaction has begun: from then on nobody else writes. If it throws, the group has failed. */
  readonly begun?: () => void;
  /**
   * Runs when all writes of a group are done, before its commit: it puts down what they have left to be written together. With it, a write of
   * a group that fails is no harm to the others: nothing of the group is written, and each is done again, in a transaction of its own.
   */
  readonly ending?: () => void;
  /** Runs when a group was undone: what its writes have changed elsewhere does not hold. */
  readonly undone?: () => void;
  /**
   * `waits`: a commit waits for the disk itself, and nothing else is done meanwhile. `aside`: the disk works beside the event loop, and what
   * comes meanwhile is the next group. Its answers wait for the disk all the same. Who reads what is written must wait for `settled`.
   * Default `waits`. Without the durability `full`, and in memory, nothing waits for the disk.
   */
  readonly disk?: "waits" | "aside";
  /** For tests: what puts the log on the disk. */
  readonly sync?: (file: number) => Promise<void>;
}

/**
 * Syncs the log of a database beside the event loop. SQLite writes the log within the commit and, set so, leaves the sync to us. The log is in
 * the order of the commits, so a sync covers all of them so far. SQLite still syncs by itself what a checkpoint needs: the log before the
 * file, and the file before the log is used again.
 */
class LogSync {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #sync: Sync;
  #file: number | undefined;
  /** A sync has failed: nobody knows what of the log is on the disk, and another sync would not tell. */
  #isBroken = false;

  constructor(db: DatabaseSync, path: string, sync: Sync) {
    this.#db = db;
    this.#path = `${path}-wal`;
    this.#sync = sync;
  }

  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Makes the next commits leave the sync to `sync`. All else that is written waits for the disk: see `end`. */
  begin(): void {
    if (this.#isBroken) this.#mend();
    this.#db.exec("PRAGMA synchronous = NORMAL");
  }

  end(): void {
    this.#db.exec("PRAGMA synchronous = FULL");
  }

  async sync(): Promise<void> {
    try {
      // The log is there from the first commit on, and stays as long as the database is open.
      this.#file ??= openSync(this.#path, "r+");
      await this.#sync(this.#file);
    } catch (error) {
      this.#isBroken = true;
      throw error;
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /**
   * Writes all that is in the log into the file of the database, which is synced, and begins the log anew: so all is on the disk, and no later
   * commit follows one that is not. Or it fails again.
   */
  #mend(): void {
    const mended = this.#db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get();
    if (mended?.["busy"] !== 0)
      throw new Error("the log cannot be copied into the database, since somebody reads it");
    this.#isBroken = false;
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
  readonly #begun: (() => void) | undefined;
  readonly #ending: (() => void) | undefined;
  readonly #undone: (() => void) | undefined;
  readonly #watch: FileWatch;
  readonly #log: LogSync | undefined;
  #pending: Pending[] = [];
  /** The sync that is under way. */
  #syncing: Promise<void> | undefined;

  constructor(db: DatabaseSync, options: GroupOptions) {
    this.#db = db;
    this.#begin = db.prepare("BEGIN IMMEDIATE");
    this.#end = db.prepare("COMMIT");
    this.#watch = new FileWatch(db);
    this.#soon = options.soon;
    this.#turnMs = options.turnMs ?? Infinity;
    this.#begun = options.begun;
    this.#ending = options.ending;
    this.#undone = options.undone;
    const path = db.location();
    const isFull = db.prepare("PRAGMA synchronous").get()?.["synchronous"] === 2;
    if (options.disk === "aside" && isFull && path !== null)
      this.#log = new LogSync(db, path, options.sync ?? syncOfSystem);
  }

  /**
   * Runs `write` in the next transaction; resolves when that is committed. Without `ending`, `write` must throw only if the database
   * does: an exception undoes the whole group, and rejects all of it. With it, `write` may run twice.
   */
  run<T>(write: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#pending.push({ write, resolve, reject, isAlone: false });
      if (this.#pending.length === 1 && this.#syncing === undefined) this.#soon(() => this.#commit());
    });
  }

  /**
   * Resolves when all that the database shows is on the disk, and holds until the event loop goes on. undefined: it is so now. It is rejected
   * if nobody knows.
   */
  settled(): Promise<void> | undefined {
    if (this.#syncing !== undefined) return this.#syncing;
    return this.#log?.isBroken === true ? this.run(() => {}) : undefined;
  }

  /** Closes the database. What is not on the disk then is rejected. */
  close(): void {
    this.#db.close();
    // A sync that is under way needs the file.
    if (this.#syncing === undefined) this.#log?.close();
  }

  #commit(): void {
    // Those that go alone are the first.
    const group = this.#pending.splice(0, this.#pending[0]?.isAlone === true ? 1 : this.#pending.length);
    const results: unknown[] = [];
    const begin = performance.now();
    try {
      this.#log?.begin();
      this.#begin.run();
      this.#begun?.();
      for (const { write } of group) {
        results.push(write());
        if (performance.now() - begin > this.#turnMs) break;
      }
      this.#ending?.();
      this.#end.run();
      this.#log?.end();
      if (this.#log === undefined) this.#watch.check();
    } catch (error) {
      if (this.#db.isOpen && this.#db.isTransaction) this.#db.exec("ROLLBACK");
      if (this.#db.isOpen) this.#log?.end();
      this.#failed(group, error);
      return;
    }
    this.#pending.unshift(...group.splice(results.length));
    if (this.#log === undefined) {
      if (this.#pending.length > 0) this.#soon(() => this.#commit());
      tell(group, results);
      return;
    }
    this.#syncing = this.#syncThenTell(this.#log, group, results);
    // Who wants to know waits for it.
    this.#syncing.catch(() => {});
  }

  /** Nothing of a group is written. One of it may be to blame, and the others are not. */
  #failed(group: readonly Pending[], error: unknown): void {
    this.#undone?.();
    if (this.#ending === undefined || group.length === 1) for (const { reject } of group) reject(error);
    else {
      for (const one of group) one.isAlone = true;
      this.#pending.unshift(...group);
    }
    if (this.#pending.length > 0) this.#soon(() => this.#commit());
  }

  async #syncThenTell(log: LogSync, group: readonly Pending[], results: readonly unknown[]): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    try {
      await log.sync();
      if (!this.#db.isOpen) throw new Error("the database was closed");
      this.#watch.check();
    } catch (error) {
      failure = { error };
    }
    this.#syncing = undefined;
    if (!this.#db.isOpen) log.close();
    if (this.#pending.length > 0) this.#soon(() => this.#commit());
    if (failure === undefined) return tell(group, results);
    for (const { reject } of group) reject(failure.error);
    throw failure.error;
  }
}

/** Tells those who have written what has come of it. Nobody is told before: not of what went into a file that has just gone, either. */
function tell(group: readonly Pending[], results: readonly unknown[]): void {
  for (const [index, { resolve }] of group.entries()) resolve(results[index] as never);
}
