import { WheelworkError } from "@wheelwork/core";
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { decodeBatch, timeOf } from "./journal.ts";
import { foundOf, historyOf, storedRunOf, type Row } from "./rows.ts";
import { bytesOf, openError } from "./sqlite-file.ts";
import { isHeld, ReadOnlyFile } from "./sqlite-readonly.ts";

/** How far something long has come. */
export interface StoreProgress {
  /** What is done now. */
  readonly doing: "copying" | "checking the file" | "checking what is stored";
  /** From 0 to 1; absent: it is not known. */
  readonly share?: number;
}

/** What a check of a store has found. */
export interface StoreVerdict {
  /** What is damaged, 100 places at most. Empty: all that is stored can be read, and is what was written. */
  readonly problems: readonly string[];
  readonly runs: number;
  readonly answers: number;
  readonly batches: number;
  readonly bytes: number;
  /** The engine time of the last commit, in milliseconds since 1970. 0: nothing was committed, or it is damaged. */
  readonly engineTime: number;
  /** An engine works on it. */
  readonly isHeld: boolean;
}

type Tell = (progress: StoreProgress) => void;

const maxProblems = 100;
/** Rows that are read at once. They may be large. */
const rowsAtOnce = 100;

/** The parts of a store whose rows have checksums, in the order of their numbers. */
const parts = [
  { table: "run", number: "id", check: (row: Row) => void storedRunOf(row) },
  { table: "request", number: "id", check: checkAnswer },
  { table: "history", number: "id", check: (row: Row) => void historyOf(String(row["key"]), row["events"]) },
  {
    table: "journal",
    number: "seq",
    check: (row: Row) => void decodeBatch(Number(row["seq"]), row["record"]),
  },
] as const;

function checkAnswer(row: Row): void {
  const { damagedAnswer } = foundOf(undefined, row);
  if (damagedAnswer !== undefined) throw damagedAnswer.damage;
}

/**
 * Reads all of a store, and checks each checksum. An engine may work on it meanwhile: what is checked is the store as it was when the
 * check began. It writes nothing.
 * @throws WheelworkError WW_CONFIG, WW_STORE_NEWER, WW_STORE_CORRUPT when not even its tables can be read, WW_STORE_UNAVAILABLE.
 */
export async function verifyStore(path: string, tell: Tell = () => {}): Promise<StoreVerdict> {
  const source = openSource(path);
  return reading(source, path, () => verify(source, path, tell));
}

/** Reads, and closes. What an engine that has begun meanwhile makes of a file that nobody kept it from is no damage. */
async function reading<T>(source: Source, path: string, read: () => T | Promise<T>): Promise<T> {
  try {
    let given: T;
    try {
      given = await read();
    } catch (error) {
      source.verify();
      throw openError(error, path);
    }
    source.verify();
    return given;
  } finally {
    source.close();
  }
}

interface Source {
  readonly db: DatabaseSync;
  readonly isHeld: boolean;
  bytes(): number;
  /** @throws WheelworkError WW_STORE_LOCKED when an engine has begun to work on a file that nobody worked on. */
  verify(): void;
  close(): void;
}

/** A file that an engine works on has a log with its index: SQLite reads both beside the engine. */
function openSource(path: string): Source {
  const held = existsSync(path) && isHeld(path);
  if (!held) {
    const file = new ReadOnlyFile(path);
    const { db } = file;
    return {
      db,
      isHeld: false,
      bytes: () => file.bytes(),
      verify: () => file.verify(),
      close: () => file.close(),
    };
  }
  const db = new DatabaseSync(path, { readOnly: true });
  db.exec("PRAGMA busy_timeout = 5000");
  const bytes = (): number => bytesOf(path) + bytesOf(`${path}-wal`);
  return { db, isHeld: true, bytes, verify: () => {}, close: () => db.close() };
}

async function verify({ db, isHeld: held, bytes }: Source, path: string, tell: Tell): Promise<StoreVerdict> {
  const problems: string[] = [];
  const add = (problem: string): void => {
    if (problems.length < maxProblems) problems.push(problem);
  };
  db.exec("BEGIN");
  tell({ doing: "checking the file" });
  await pause();
  for (const row of db.prepare(`PRAGMA integrity_check(${maxProblems})`).all()) {
    const said = String(row["integrity_check"]);
    if (said !== "ok") add(`${path}: ${said}`);
  }
  const counts = parts.map(({ table }) =>
    Number(db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"]),
  );
  const total = counts.reduce((sum, count) => sum + count, 0);
  let done = 0;
  for (const { table, number, check } of parts) {
    const page = db.prepare(
      `SELECT * FROM ${table} WHERE ${number} > ? ORDER BY ${number} LIMIT ${rowsAtOnce}`,
    );
    for (let after = -1; ;) {
      const rows = page.all(after) as Row[];
      for (const row of rows) {
        try {
          check(row);
        } catch (error) {
          add((error instanceof Error ? error.message : String(error)).split("\n", 1).join(""));
        }
      }
      done += rows.length;
      tell({ doing: "checking what is stored", share: total === 0 ? 1 : Math.min(1, done / total) });
      // Somebody may show how far it has come.
      await pause();
      if (rows.length < rowsAtOnce) break;
      after = Number(rows.at(-1)?.[number]);
    }
  }
  const [runs = 0, answers = 0, , batches = 0] = counts;
  const engineTime = lastCommit(db);
  db.exec("COMMIT");
  return { problems, runs, answers, batches, bytes: bytes(), engineTime, isHeld: held };
}

function lastCommit(db: DatabaseSync): number {
  const checkpoint = Number(
    db.prepare("SELECT engine_time FROM shard WHERE id = 0").get()?.["engine_time"] ?? 0,
  );
  const last = db.prepare("SELECT seq, record FROM journal ORDER BY seq DESC LIMIT 1").get();
  try {
    return last === undefined
      ? checkpoint
      : Math.max(checkpoint, timeOf(Number(last["seq"]), last["record"]));
  } catch {
    // The check has listed it.
    return checkpoint;
  }
}

const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Copies a store to a new file, and checks the copy. The engine may work on meanwhile: the copy has all that was committed when the
 * copying began, and nothing of what came later. The file has its name only once it is whole, checked and on the disk.
 * @throws WheelworkError WW_CONFIG when the new file is there already; WW_STORE_CORRUPT when the copy is damaged, with every place;
 * WW_STORE_UNAVAILABLE when it cannot be written; and those of `verifyStore`.
 */
export async function backupStore(path: string, to: string, tell: Tell = () => {}): Promise<StoreVerdict> {
  const target = resolve(to);
  if (existsSync(target)) {
    throw new WheelworkError("WW_CONFIG", `${to} is there already`, {
      next: "Name a new file: a backup is never written over another one.",
    });
  }
  const draft = `${target}.part`;
  try {
    removeAll(draft);
    tell({ doing: "copying" });
    await pause();
    await copy(path, draft);
    const verdict = await verifyStore(draft, tell);
    if (verdict.problems.length > 0) {
      throw new WheelworkError("WW_STORE_CORRUPT", `the copy of ${path} is damaged`, {
        problems: verdict.problems.map((message) => ({ path: "", message })),
        next: "The store is damaged, too: see `wheelwork doctor --store`. Keep your earlier backups.",
      });
    }
    sync(draft);
    renameSync(draft, target);
    sync(dirname(target));
    return verdict;
  } catch (error) {
    removeAll(draft);
    if (error instanceof WheelworkError) throw error;
    throw new WheelworkError("WW_STORE_UNAVAILABLE", `the backup ${to} cannot be written: ${String(error)}`, {
      next: "Check that its folder exists, that it may be written to, and that its disk has room for the whole store.",
      cause: error,
    });
  }
}

/** One transaction reads all of it, so that the copy is of one moment. */
function copy(path: string, to: string): Promise<unknown> {
  const source = openSource(path);
  return reading(source, path, () => source.db.prepare("VACUUM INTO ?").run(to));
}

const removeAll = (draft: string): void => {
  for (const suffix of ["", "-journal", "-wal", "-shm"]) rmSync(`${draft}${suffix}`, { force: true });
};

/** Waits until a file, or the names in a folder, are on the disk. */
function sync(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
