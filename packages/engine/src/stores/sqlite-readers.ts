import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import type { Row } from "./rows.ts";

/** The file of a store, as those who read it must know it. */
export interface ReadFile {
  /** Without symbolic links. */
  readonly path: string;
  /** @throws WheelworkError when the path does not lead to the file that is open. */
  verify(): void;
}

/** The tables as they were at one moment, for those who read them over many turns of the loop. */
export interface PinnedTables {
  get(sql: string, ...values: SQLInputValue[]): Row | undefined;
  all(sql: string, ...values: SQLInputValue[]): Row[];
}

/** So many moments are pinned at once at most. All that is pinned between two commits is one. */
const maxPinned = 4;

/**
 * SQLite begins its log anew when nobody reads what is before its end. So many commits may come while somebody always reads what is
 * pinned: without an end, the log would grow until the disk is full.
 */
const defaultCommitsBeside = 2000;
/** Then so many come while nobody does: one puts the log into the database, the next one begins it anew. */
const commitsBetween = 3;

class Connection implements PinnedTables {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  /** How many read what is pinned. */
  readers = 0;
  /** After how many commits it was pinned. */
  commits = -1;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  pin(commits: number): void {
    this.#db.exec("BEGIN");
    // The first read pins: BEGIN alone does not.
    this.get("SELECT 1 FROM shard");
    this.commits = commits;
  }

  unpin(): void {
    this.commits = -1;
    if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
  }

  close(): void {
    this.#statements.clear();
    this.#db.close();
  }

  get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined;
  }

  all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
}

/**
 * Connections beside that of the owner, which only read. SQLite gives each of them what was committed when its transaction began, and the
 * owner goes on committing meanwhile.
 */
export class SqliteReaders {
  readonly #file: ReadFile;
  readonly #maxCommitsBeside: number;
  readonly #connections = new Set<Connection>();
  #commits = 0;
  /** How many read what is pinned. */
  #readers = 0;
  /** How many commits there were when something was pinned, and nothing was before. */
  #commitsAtFirst = 0;
  /** Nothing is pinned before there were so many commits. */
  #pinsFrom = 0;
  #isOpen = true;

  /** @param maxCommitsBeside So many commits may come while somebody always reads what is pinned. */
  constructor(file: ReadFile, maxCommitsBeside = defaultCommitsBeside) {
    this.#file = file;
    this.#maxCommitsBeside = maxCommitsBeside;
  }

  /** The owner has changed something: what is pinned from now on is another thing. */
  changed(): void {
    this.#commits++;
  }

  /**
   * Pins what is committed by now, until `unpin`. undefined: that is not possible now, for whatever reason. Then what is read must be
   * read at once, by the owner's own connection.
   */
  pin(): { readonly tables: PinnedTables; readonly unpin: () => void } | undefined {
    const connection = this.#pinned();
    if (connection === undefined) return undefined;
    if (this.#readers++ === 0) this.#commitsAtFirst = this.#commits;
    connection.readers++;
    const unpin = (): void => {
      if (--connection.readers === 0 && this.#isOpen) connection.unpin();
      if (--this.#readers > 0 || !this.#areLong()) return;
      this.#pinsFrom = this.#commits + commitsBetween;
    };
    return { tables: connection, unpin };
  }

  /** Whether somebody has read beside so many commits that there must be a pause. */
  #areLong(): boolean {
    return this.#commits - this.#commitsAtFirst > this.#maxCommitsBeside;
  }

  #pinned(): Connection | undefined {
    if (!this.#isOpen || this.#commits < this.#pinsFrom) return undefined;
    if (this.#readers > 0 && this.#areLong()) return undefined;
    for (const connection of this.#connections) if (connection.commits === this.#commits) return connection;
    const connection = [...this.#connections].find(({ readers }) => readers === 0) ?? this.#connect();
    if (connection === undefined) return undefined;
    try {
      connection.pin(this.#commits);
      return connection;
    } catch {
      this.#connections.delete(connection);
      connection.close();
      return undefined;
    }
  }

  #connect(): Connection | undefined {
    if (this.#connections.size === maxPinned) return undefined;
    let db: DatabaseSync | undefined;
    try {
      db = new DatabaseSync(this.#file.path, { readOnly: true });
      db.exec("PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY");
      // Another file may be there now.
      this.#file.verify();
    } catch {
      db?.close();
      return undefined;
    }
    const connection = new Connection(db);
    this.#connections.add(connection);
    return connection;
  }

  /** Before the owner closes the file: SQLite puts the log into the database when the last connection is closed. */
  close(): void {
    this.#isOpen = false;
    for (const connection of this.#connections) connection.close();
    this.#connections.clear();
  }
}
