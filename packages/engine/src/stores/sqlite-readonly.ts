import { WheelworkError } from "@wheelwork/core";
import { constants, copyFileSync, existsSync, mkdtempSync, realpathSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { bytesOf, checkPath, isDamage, openError } from "./sqlite-file.ts";
import { currentSchema, migrateSchema, schemaVersion } from "./sqlite-schema.ts";

/**
 * The database file of a store that no engine works on. It is read as it is, and nothing beside it is written either: no log, no
 * index of a log, no lock.
 *
 * - **The engine has stopped in order.** There is no log beside the database, and SQLite takes the file as one that nobody changes.
 * - **The engine was killed.** Its log has commits that the file lacks. SQLite reads the log by an index that it makes in memory, since
 *   it may not write to the one beside the log. If that one is gone, SQLite would make it; so a copy is read.
 * - **An earlier version has written it.** A copy is brought up to the present schema.
 *
 * An engine that begins to work meanwhile is not kept from it. `verify` notices it.
 */
export class ReadOnlyFile {
  readonly db: DatabaseSync;
  /** The path, without symbolic links. */
  readonly path: string;
  readonly #before: string;
  #copy: string | undefined = undefined;

  /** @throws WheelworkError WW_CONFIG, WW_STORE_LOCKED, WW_STORE_NEWER, WW_STORE_CORRUPT, WW_STORE_UNAVAILABLE. */
  constructor(path: string) {
    checkPath(path);
    if (!existsSync(path)) {
      throw new WheelworkError("WW_CONFIG", `there is no file ${path}`, {
        next: "Name the file that the engine has as its store.",
      });
    }
    this.path = realpathSync(path);
    demandNobody(this.path);
    this.#before = stateOf(this.path);
    try {
      this.db = this.#open();
    } catch (error) {
      this.#removeCopy();
      throw this.#begun() ?? readError(error, path);
    }
  }

  #open(): DatabaseSync {
    const log = statSync(`${this.path}-wal`, { throwIfNoEntry: false });
    const hasLog = log !== undefined && log.size > 0;
    if (hasLog && !existsSync(`${this.path}-shm`)) return this.#openCopy();
    const db = openAs(this.path, hasLog ? "mode=ro&readonly_shm=1" : "immutable=1");
    try {
      demandStore(db, this.path);
      if (schemaVersion(db) >= currentSchema) {
        // A newer version has written it, or there is nothing to migrate.
        migrateSchema(db, this.path);
        return db;
      }
    } catch (error) {
      db.close();
      throw error;
    }
    db.close();
    return this.#openCopy();
  }

  /** A copy that belongs to nobody else. File systems that can share blocks make it at once. */
  #openCopy(): DatabaseSync {
    this.#copy = mkdtempSync(join(tmpdir(), "wheelwork-read-"));
    const copy = join(this.#copy, "store.db");
    for (const suffix of ["", "-wal"])
      if (existsSync(`${this.path}${suffix}`))
        copyFileSync(`${this.path}${suffix}`, `${copy}${suffix}`, constants.COPYFILE_FICLONE);
    const db = new DatabaseSync(copy);
    try {
      demandStore(db, this.path);
      migrateSchema(db, this.path);
      return db;
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** @throws WheelworkError WW_STORE_LOCKED when an engine has begun to work on the file since it was opened. */
  verify(): void {
    const begun = this.#begun();
    if (begun !== undefined) throw begun;
  }

  #begun(): WheelworkError | undefined {
    return stateOf(this.path) === this.#before && !isHeld(this.path)
      ? undefined
      : new WheelworkError(
          "WW_STORE_LOCKED",
          `an engine has begun to work on ${this.path} while it was read`,
          {
            next: "What was read may be incomplete. Ask the engine: --url names its HTTP server.",
            retryable: true,
          },
        );
  }

  verifyOften(): void {
    this.verify();
  }

  verifyLock(): void {
    this.verify();
  }

  logBytes(): number {
    return bytesOf(`${this.path}-wal`);
  }

  bytes(): number {
    return bytesOf(this.path) + this.logBytes();
  }

  close(): void {
    if (this.db.isOpen) this.db.close();
    this.#removeCopy();
  }

  #removeCopy(): void {
    if (this.#copy !== undefined) rmSync(this.#copy, { recursive: true, force: true });
  }
}

/** Opens a file as SQLite's parameters say. */
const openAs = (path: string, parameters: string): DatabaseSync =>
  new DatabaseSync(`${pathToFileURL(path).href}?${parameters}`, { readOnly: true });

/** Whether an engine works on a database: it holds the lock beside it (`SqliteFile`). */
export function isHeld(path: string): boolean {
  if (!existsSync(`${path}.lock`)) return false;
  const lock = new DatabaseSync(`${path}.lock`, { readOnly: true });
  try {
    lock.exec("PRAGMA busy_timeout = 0");
    lock.prepare("SELECT count(*) FROM sqlite_master").get();
    return false;
  } catch (error) {
    if (/locked|busy/i.test(String(error))) return true;
    throw error;
  } finally {
    lock.close();
  }
}

function demandNobody(path: string): void {
  if (!isHeld(path)) return;
  throw new WheelworkError("WW_STORE_LOCKED", `an engine works on ${path}`, {
    next: "Ask its HTTP server: --url names it. Or stop it first, or read a backup.",
  });
}

function demandStore(db: DatabaseSync, path: string): void {
  const found = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'shard'").get();
  if (found !== undefined) return;
  throw new WheelworkError("WW_CONFIG", `${path} is a database, but no store of an engine`, {
    next: "Name the file that the engine has as its store.",
  });
}

/** What changes when somebody writes to the database or to its log. */
function stateOf(path: string): string {
  return [path, `${path}-wal`]
    .map((name) => {
      const stat = statSync(name, { throwIfNoEntry: false, bigint: true });
      return stat === undefined ? "" : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
    })
    .join(" ");
}

function readError(error: unknown, path: string): WheelworkError {
  if (error instanceof WheelworkError || isDamage(error)) return openError(error, path);
  const message = error instanceof Error ? error.message : String(error);
  return new WheelworkError("WW_STORE_UNAVAILABLE", `${path} cannot be read: ${message}`, {
    next: "Check that you may read the file, and that its folder for temporary files has room for a copy.",
    cause: error,
  });
}
