import type { Answer, RunEvent, RunStatus } from "@wheelwork/core";
import { apply, restore, Run, type Call, type RunSnapshot } from "@wheelwork/core/kernel";
import type {
  Batch,
  Claim,
  Commit,
  DueRuns,
  Found,
  FacetCount,
  RequestRow,
  RunEvents,
  Store,
  StoredAnswer,
  StoredRun,
} from "@wheelwork/engine";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";

/** How the rows layout stores histories: not at all (its bound), or in a row for each run that a batch changed. */
export type HistoryRows = "none" | "batch";

interface Mirror {
  readonly run: Run;
  readonly id: number;
}

type Row = Record<string, SQLInputValue>;

/**
 * A prototype of the layout "rows", to compare with the journal of the engine's own store. It has a row for each live
 * run, with a column for each scalar, and a row for each open call. Each batch changes the rows of its runs. It
 * implements as much of the Store port as flow-create and a restart need: it never purges or archives, and its lists are empty.
 */
export class RowsStore implements Store {
  readonly #db: DatabaseSync;
  readonly #history: HistoryRows;
  readonly #statements = new Map<string, StatementSync>();
  readonly #live = new Map<string, Mirror>();
  #nextId = 1;

  constructor(file: string, history: HistoryRows) {
    this.#history = history;
    this.#db = new DatabaseSync(file);
    this.#db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
      PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;
      CREATE TABLE IF NOT EXISTS shard (id INTEGER PRIMARY KEY, epoch INTEGER, engine_time INTEGER, seq INTEGER);
      CREATE TABLE IF NOT EXISTS run (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, hub TEXT NOT NULL, version INTEGER NOT NULL, status TEXT NOT NULL,
        state TEXT NOT NULL, epoch INTEGER NOT NULL, due INTEGER, deadline INTEGER NOT NULL, answer_by INTEGER NOT NULL,
        next_call INTEGER NOT NULL, next_queued INTEGER NOT NULL, open_calls INTEGER NOT NULL, created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL, hash TEXT NOT NULL, request TEXT NOT NULL, data TEXT NOT NULL, rest TEXT);
      CREATE INDEX IF NOT EXISTS run_due ON run (due, key) WHERE open_calls = 0;
      CREATE TABLE IF NOT EXISTS call (
        run INTEGER NOT NULL, number INTEGER NOT NULL, callee TEXT NOT NULL, position INTEGER NOT NULL, attempt INTEGER NOT NULL,
        backoff INTEGER NOT NULL, due INTEGER, input TEXT NOT NULL, key TEXT, PRIMARY KEY (run, number)) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS request (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, hub TEXT NOT NULL, version INTEGER NOT NULL, hash TEXT NOT NULL,
        state TEXT NOT NULL, status TEXT NOT NULL, created_at INTEGER NOT NULL, answered_at INTEGER NOT NULL, ended_at INTEGER,
        root INTEGER NOT NULL, answer TEXT NOT NULL, request TEXT NOT NULL);
      CREATE INDEX IF NOT EXISTS request_created ON request (created_at, key);
      CREATE TABLE IF NOT EXISTS history (run INTEGER NOT NULL, seq INTEGER NOT NULL, events TEXT NOT NULL);`);
  }

  claim(): Claim {
    this.#live.clear();
    this.#run(
      `INSERT INTO shard (id, epoch, engine_time, seq) VALUES (0, 1, 0, 0) ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1`,
    );
    const shard = this.#statement("SELECT epoch, engine_time, seq FROM shard").get() as Row;
    this.#nextId = 1 + Number(this.#statement("SELECT coalesce(max(id), 0) AS id FROM run").get()?.["id"]);
    return {
      epoch: Number(shard["epoch"]),
      engineTime: Number(shard["engine_time"]),
      seq: Number(shard["seq"]),
    };
  }

  journal(): Iterable<Batch> {
    return [];
  }

  hubVersions(): { hub: string; version: number }[] {
    return this.#statement("SELECT DISTINCT hub, version FROM run").all() as {
      hub: string;
      version: number;
    }[];
  }

  laneRuns(): [] {
    return [];
  }

  *hotRuns(): Iterable<StoredRun> {
    const calls = this.#statement("SELECT * FROM call ORDER BY run, number").iterate();
    let call = calls.next();
    for (const row of this.#statement("SELECT * FROM run WHERE open_calls > 0 ORDER BY id").iterate()) {
      const own: Row[] = [];
      while (!call.done && (call.value as Row)["run"] === row["id"]) {
        own.push(call.value as Row);
        call = calls.next();
      }
      yield this.#toRun(row as Row, own);
    }
  }

  dueRuns(after: { readonly due: number; readonly key: string }, before: number, limit: number): DueRuns {
    const sql = `SELECT * FROM run WHERE open_calls = 0 AND (due, key) > (?, ?) AND due < ? ORDER BY due, key LIMIT ?`;
    const rows = this.#statement(sql).all(after.due, after.key, before, limit);
    const next = this.#statement(
      "SELECT due FROM run WHERE open_calls = 0 AND due >= ? ORDER BY due LIMIT 1",
    ).get(before);
    return {
      runs: rows.map((row) => this.#toRun(row as Row, [])),
      next: next === undefined ? undefined : Number(next["due"]),
    };
  }

  find(keys: readonly string[]): Found[] {
    return keys.map((key) => ({ run: this.#findRun(key), answer: this.#findAnswer(key) }));
  }

  #findRun(key: string): StoredRun | undefined {
    const row = this.#statement("SELECT * FROM run WHERE key = ?").get(key) as Row | undefined;
    if (row === undefined) return undefined;
    const calls = this.#statement("SELECT * FROM call WHERE run = ? ORDER BY number").all(
      row["id"] as number,
    );
    return this.#toRun(row, calls as Row[]);
  }

  #findAnswer(key: string): StoredAnswer | undefined {
    const row = this.#statement("SELECT * FROM request WHERE key = ?").get(key) as Row | undefined;
    if (row === undefined) return undefined;
    return {
      key,
      hub: String(row["hub"]),
      version: Number(row["version"]),
      hash: String(row["hash"]),
      state: String(row["state"]),
      status: row["status"] as RunStatus,
      createdAt: Number(row["created_at"]),
      answeredAt: Number(row["answered_at"]),
      endedAt: row["ended_at"] === null ? undefined : Number(row["ended_at"]),
      root: row["root"] === 1,
      answer: JSON.parse(String(row["answer"])) as Answer,
      request: JSON.parse(String(row["request"])) as unknown,
      firstSeq: 0,
      lastSeq: 0,
    };
  }

  history(): RunEvent[][] {
    return [];
  }

  list(): RequestRow[] {
    return [];
  }

  facets(): FacetCount[] {
    return [];
  }

  commit(commit: Commit): void {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      const sql = "UPDATE shard SET engine_time = ?, seq = ? WHERE id = 0 AND epoch = ?";
      if (this.#run(sql, commit.now, commit.seq, commit.epoch) !== 1) throw new Error("fenced");
      for (const entry of commit.journal) this.#write(entry, commit.seq);
      for (const answer of commit.answers) this.#writeAnswer(answer);
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  purge(): number {
    return 0;
  }

  archive(): boolean {
    return false;
  }

  audit(): [] {
    return [];
  }

  purgeAudit(): boolean {
    return false;
  }

  peek(): never {
    throw new Error("this prototype cannot be read by another process");
  }

  close(): void {
    this.#db.close();
  }

  /** Writes what a batch changed of one run. A call that the batch opened and closed again has no row. */
  #write({ key, events }: RunEvents, seq: number): void {
    const known = this.#live.get(key) ?? this.#mirrored(key);
    const { run, id } = known ?? { run: new Run(key), id: this.#nextId++ };
    if (known === undefined) this.#live.set(key, { run, id });
    const { data } = run;
    const deleted: number[] = [];
    const changed = new Set<Call>();
    let cleared = false;
    for (const event of events) {
      if (event.type === "settled") deleted.push(event.call);
      cleared ||= (event.type === "entered" || event.type === "ended") && known !== undefined;
      apply(run, event);
      if ("calls" in event) for (const { first } of event.calls ?? []) addFrom(run, first, changed);
      if (event.type === "failed" || event.type === "attempt") changed.add(run.calls.get(event.call) as Call);
    }
    if (this.#history === "batch") {
      this.#run("INSERT INTO history (run, seq, events) VALUES (?, ?, ?)", id, seq, JSON.stringify(events));
    }
    if (cleared) this.#run("DELETE FROM call WHERE run = ?", id);
    else for (const number of deleted) this.#run("DELETE FROM call WHERE run = ? AND number = ?", id, number);
    if (run.status === "ended") {
      this.#live.delete(key);
      if (known !== undefined) this.#run("DELETE FROM run WHERE id = ?", id);
      return;
    }
    if (known === undefined) this.#insertRun(run, id);
    else this.#updateRun(run, id, run.data !== data);
    for (const call of changed) if (run.calls.get(call.number) === call) this.#writeCall(call, id);
  }

  #insertRun(run: Run, id: number): void {
    this.#run(
      `INSERT INTO run (id, key, hub, version, status, state, epoch, due, deadline, answer_by, next_call, next_queued,
         open_calls, created_at, updated_at, hash, request, data, rest)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      id,
      run.key,
      run.hub,
      run.version,
      run.status,
      run.state,
      run.epoch,
      run.due ?? null,
      run.deadline,
      run.answerBy,
      run.nextCall,
      run.round.nextQueued,
      run.calls.size,
      run.createdAt,
      run.events.lastAt,
      run.origin.hash,
      JSON.stringify(run.origin.request),
      JSON.stringify(run.data),
      restOf(run),
    );
  }

  #updateRun(run: Run, id: number, dataChanged: boolean): void {
    this.#run(
      `UPDATE run SET version = ?, status = ?, state = ?, epoch = ?, due = ?, answer_by = ?, next_call = ?, next_queued = ?,
         open_calls = ?, updated_at = ?, rest = ? WHERE id = ?`,
      run.version,
      run.status,
      run.state,
      run.epoch,
      run.due ?? null,
      run.answerBy,
      run.nextCall,
      run.round.nextQueued,
      run.calls.size,
      run.events.lastAt,
      restOf(run),
      id,
    );
    if (dataChanged) this.#run("UPDATE run SET data = ? WHERE id = ?", JSON.stringify(run.data), id);
  }

  #writeCall(call: Call, run: number): void {
    this.#run(
      `INSERT OR REPLACE INTO call (run, number, callee, position, attempt, backoff, due, input, key)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      run,
      call.number,
      call.callee,
      call.index,
      call.attempt,
      call.backoff ? 1 : 0,
      call.due ?? null,
      JSON.stringify(call.input),
      call.key ?? null,
    );
  }

  #writeAnswer(answer: StoredAnswer): void {
    this.#run(
      `INSERT INTO request (key, hub, version, hash, state, status, created_at, answered_at, ended_at, root, answer, request)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET state = excluded.state, status = excluded.status, ended_at = excluded.ended_at`,
      answer.key,
      answer.hub,
      answer.version,
      answer.hash,
      answer.state,
      answer.status,
      answer.createdAt,
      answer.answeredAt,
      answer.endedAt ?? null,
      answer.root ? 1 : 0,
      JSON.stringify(answer.answer),
      JSON.stringify(answer.request),
    );
  }

  #mirrored(key: string): Mirror | undefined {
    const row = this.#statement("SELECT id FROM run WHERE key = ?").get(key);
    const stored = row === undefined ? undefined : this.#findRun(key);
    if (row === undefined || stored === undefined) return undefined;
    const mirror = { run: restore(key, stored.snapshot), id: Number(row["id"]) };
    this.#live.set(key, mirror);
    return mirror;
  }

  #toRun(row: Row, calls: readonly Row[]): StoredRun {
    const { key, hub, version, status, state } = row as {
      key: string;
      hub: string;
      version: number;
      state: string;
      status: RunStatus;
    };
    const [createdAt, deadline, answerBy] = [
      Number(row["created_at"]),
      Number(row["deadline"]),
      Number(row["answer_by"]),
    ];
    const due = row["due"] === null ? undefined : Number(row["due"]);
    const snapshot: RunSnapshot = {
      hub,
      version,
      status,
      state,
      due,
      deadline,
      answerBy,
      createdAt,
      hash: row["hash"],
      epoch: Number(row["epoch"]),
      nextCall: Number(row["next_call"]),
      nextQueued: Number(row["next_queued"]),
      updatedAt: Number(row["updated_at"]),
      late: false,
      cancelling: false,
      cancelled: false,
      signals: [],
      commands: [],
      request: JSON.parse(String(row["request"])) as unknown,
      data: JSON.parse(String(row["data"])) as unknown,
      calls: calls.map((call) => ({
        first: Number(call["number"]),
        callee: call["callee"],
        index: Number(call["position"]),
        inputs: [JSON.parse(String(call["input"])) as unknown],
        attempt: Number(call["attempt"]),
        ...(call["key"] === null ? {} : { keys: [call["key"]] }),
        ...(call["due"] === null ? {} : { due: Number(call["due"]) }),
        ...(call["backoff"] === 1 ? { backoff: true } : {}),
      })),
      ...(row["rest"] === null ? {} : (JSON.parse(String(row["rest"])) as object)),
    };
    const hot = calls.length > 0;
    return {
      key,
      hub,
      version,
      status,
      state,
      createdAt,
      answeredAt: undefined,
      hot,
      due,
      root: true,
      snapshot,
    };
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }

  #run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#statement(sql).run(...values).changes);
  }
}

function addFrom(run: Run, first: number, changed: Set<Call>): void {
  for (let call = run.calls.get(first); call !== undefined; call = run.calls.get(call.number + 1))
    changed.add(call);
}

/** The fields that few runs have, as JSON. */
function restOf(run: Run): string | null {
  const { late, answer, answeredAt, cancel, incident } = run;
  const { held } = run.round;
  const { parent } = run.origin;
  const { signals, unnamed: commands = new Set<string>() } = run.received;
  const plain = held ?? answer ?? parent ?? incident;
  if (plain === undefined && !late && cancel === "none" && signals.length === 0 && commands.size === 0)
    return null;
  const sent = [...commands];
  return JSON.stringify({
    held,
    late,
    answer,
    answeredAt,
    parent,
    cancel,
    signals,
    commands: sent,
    incident,
  });
}
