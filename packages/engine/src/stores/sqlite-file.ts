import { WheelworkError } from "@wheelwork/core";
import { realpathSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";

/** How often `verifyOften` looks, in milliseconds. */
const verifyEveryMs = 5;

/**
 * The database file of a store, as the one owner has it open. It belongs to the owner as long as three things hold, and
 * `verify` and `verifyLock` notice when one of them ends:
 *
 * - **The lock.** An exclusive transaction stays open on a sibling file. The kernel frees it when the process dies, which a
 *   pid file does not. Readers of the store itself, and backups, are not kept out. The sibling is named after the real path,
 *   so that a symbolic link leads to the same lock.
 * - **The names.** A file that is deleted or replaced stays open, and takes commits that nobody finds again after the process
 *   has ended. So the paths must still lead to the files that are open.
 * - **One name.** SQLite names the log of a database (`-wal`) after its path: under a second name (a hard link) it would miss
 *   what that log holds.
 */
export class SqliteFile {
  readonly db: DatabaseSync;
  /** The path, without symbolic links. */
  readonly path: string;
  #lock: DatabaseSync;
  #lockIdentity: string | undefined;
  /** What is open under each name; a name is learned when its file is first there. */
  readonly #identities = new Map<string, string>();
  #verifyAt = 0;

  /** @throws WheelworkError WW_CONFIG, WW_STORE_LOCKED, WW_STORE_UNAVAILABLE. */
  constructor(path: string) {
    checkPath(path);
    let db: DatabaseSync | undefined;
    try {
      // Nothing is read or written before the file is locked; but only a file that exists has a real path.
      db = new DatabaseSync(path);
      this.path = realpathSync(path);
      this.#lock = lockFile(this.path);
    } catch (error) {
      db?.close();
      throw openError(error, path);
    }
    this.db = db;
    this.#lockIdentity = identityOf(`${this.path}.lock`);
    const links = statSync(this.path, { throwIfNoEntry: false })?.nlink ?? 1;
    if (links <= 1) return;
    this.close();
    throw new WheelworkError("WW_CONFIG", `${this.path} has ${links} names (hard links)`, {
      next: "A database that is opened under two names gets damaged. Delete the other names; a copy is made with VACUUM INTO.",
    });
  }

  /**
   * What is committed must be found again under the path. A busy store looks once in five milliseconds: two calls of `stat`
   * for each commit took a twentieth of the time of a request.
   * @throws WheelworkError WW_STORE_UNAVAILABLE when the file, or its log, was deleted or replaced.
   */
  verifyOften(): void {
    const now = performance.now();
    if (now < this.#verifyAt) return;
    this.verify();
    this.#verifyAt = now + verifyEveryMs;
  }

  /** See `verifyOften`. */
  verify(): void {
    for (const name of [this.path, `${this.path}-wal`]) {
      const now = identityOf(name);
      const opened = this.#identities.get(name);
      if (opened === undefined) {
        if (now !== undefined) this.#identities.set(name, now);
        continue;
      }
      if (now === opened) continue;
      throw new WheelworkError(
        "WW_STORE_UNAVAILABLE",
        `${name} was ${now === undefined ? "deleted or moved" : "replaced"} while the engine had it open`,
        {
          next: "Move the file back to its place, and the engine goes on. If it is gone, stop the engine and restore a backup: what was committed since is lost.",
          retryable: true,
        },
      );
    }
  }

  /**
   * Takes the lock again if its file was deleted: until then, another process could have taken the store over.
   * @throws WheelworkError WW_STORE_LOCKED when one has.
   */
  verifyLock(): void {
    const name = `${this.path}.lock`;
    if (identityOf(name) === this.#lockIdentity) return;
    const former = this.#lock;
    this.#lock = lockFile(this.path);
    this.#lockIdentity = identityOf(name);
    former.close();
  }

  /** How long the log beside the database is. */
  logBytes(): number {
    return bytesOf(`${this.path}-wal`);
  }

  /** The size of the file, with its log. */
  bytes(): number {
    return bytesOf(this.path) + this.logBytes();
  }

  close(): void {
    if (this.db.isOpen) this.db.close();
    if (this.#lock.isOpen) this.#lock.close();
  }
}

/** How large a file is; 0: it is not there. */
export const bytesOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** The file that a path leads to, by its device and inode. */
function identityOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}`;
}

/** SQLite takes these, and keeps nothing of what it is given, or keeps it somewhere that has no lock. */
export function checkPath(path: string): void {
  const isMemory = path === "" || path.startsWith(":memory:");
  if (!isMemory && !/^file:/i.test(path)) return;
  throw new WheelworkError(
    "WW_CONFIG",
    isMemory
      ? `the store ${JSON.stringify(path)} is no file: everything in it is gone when the process ends`
      : `the store ${path} is a URI, not a path`,
    {
      next: isMemory
        ? 'Name a file, such as "data/wheelwork.db". For tests, use testEngine or MemoryStore of @wheelwork/testing.'
        : "Give its path: fileURLToPath of node:url makes one of a URL.",
    },
  );
}

function lockFile(path: string): DatabaseSync {
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(`${path}.lock`);
    lock.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock?.close();
    if (!/locked|busy/i.test(String(error))) throw openError(error, path);
    throw new WheelworkError("WW_STORE_LOCKED", `${path} is in use by another engine`, {
      next: "Stop the process that owns it, or give this one another data folder.",
      cause: error,
    });
  }
}

/** Whether an error says that the file is damaged. */
export const isDamage = (error: unknown): boolean =>
  error instanceof SyntaxError || /malformed|not a database|corrupt/i.test(String(error));

/** An error of SQLite as what somebody can do about it. */
export function openError(error: unknown, path: string): WheelworkError {
  if (error instanceof WheelworkError) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (isDamage(error)) {
    return new WheelworkError("WW_STORE_CORRUPT", `${path} is not a sound database: ${message}`, {
      next: "Restore it from a backup, or move it away to begin with an empty store.",
      cause: error,
    });
  }
  return new WheelworkError("WW_STORE_UNAVAILABLE", `${path} cannot be opened for writing: ${message}`, {
    next: "Check that its folder exists, that it may be written to, and that the disk is not full.",
    retryable: true,
    cause: error,
  });
}
