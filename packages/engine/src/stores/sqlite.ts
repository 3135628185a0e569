import type { HistoryEvent } from "@wheelwork/core";
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import type { FacetCount, StoreFilter, RequestList } from "../ports/filter.ts";
import { rootOf } from "../ports/keys.ts";
import { decodeBatch, encodeBatch, encodeRuns, isJournalOnly, readBatch, timeOf } from "./journal.ts";
import {
  answerTexts,
  afterStopOf,
  archivedOf,
  auditBatchOf,
  dataText,
  downtimesOf,
  foundOf,
  harmsOf,
  historyOf,
  historyText,
  laneRunOf,
  laneText,
  logProgressOf,
  optionalNumber,
  snapshotText,
  readRunOf,
  summaryOf,
  type PartSummary,
} from "./rows.ts";
import type {
  AuditAbout,
  AuditBatch,
  AuditEntry,
  AuditPlace,
  Batch,
  BegunRuns,
  Checkpoint,
  Claim,
  Commit,
  DamagedBatch,
  DamagedLaneRun,
  DamagedRun,
  DueRuns,
  Found,
  LaneRun,
  MaybePromise,
  PinnedStore,
  RequestRow,
  ShardState,
  Store,
  StoredAnswer,
  StoredRun,
} from "../ports/ports.ts";
import { auditTerm, auditTerms } from "./audit-terms.ts";
import { incidentText, labelsText } from "./labels.ts";
import { isTaken, isUnstorable, refusedContent } from "./refused.ts";
import { fenced, isOfContent, isOfDisk, isReadOnly } from "./sqlite-errors.ts";
import { isDamage, openError, SqliteFile } from "./sqlite-file.ts";
import { ReadOnlyFile } from "./sqlite-readonly.ts";
import { KeyIndex } from "./sqlite-keys.ts";
import { SqliteFacets } from "./sqlite-facets.ts";
import { SqlitePins } from "./sqlite-pins.ts";
import type { PinnedTables } from "./sqlite-readers.ts";
import { finish } from "./slices.ts";
import { migrateSchema } from "./sqlite-schema.ts";

/** How much a commit waits for the disk: `full`: until it is on it; `normal`: a power failure may undo the last ones. */
export type Durability = "full" | "normal";

/** Options of the SQLite store. */
export interface SqliteOptions {
  /** Default `full`. */
  readonly durability?: Durability;
  /** Reads a file that no engine works on, and writes nothing, not even beside it. Default: false. */
  readonly readOnly?: boolean;
  /** How long the lists and counts of a running engine are read in one turn of the loop, in milliseconds. Default: 1. */
  readonly sliceMs?: number;
}

/** A log beside the database that is longer than this is worth a warning, in bytes. It has 16 MB, as a rule. */
const maxLogBytes = 256_000_000;

/** What one portion archives at most, in bytes: the loop stands still meanwhile. */
const maxArchivedBytes = 2_000_000;

/** Rows of runs in lanes that are read at once. */
const maxLaneRows = 1000;

const newestBatches = "ORDER BY at DESC, seq DESC LIMIT ?";
const auditBefore = `SELECT at, seq, entries FROM audit WHERE (at, seq) < (?, ?) ${newestBatches}`;
/** With those of earlier versions, which may have anything. */
const auditAbout = `SELECT * FROM (
    SELECT * FROM (SELECT at, seq, entries FROM audit_term CROSS JOIN audit USING (at, seq)
      WHERE term = ? AND (at, seq) < (?, ?) ${newestBatches})
    UNION ALL
    SELECT * FROM (SELECT at, seq, entries FROM audit INDEXED BY audit_former
      WHERE indexed = 0 AND (at, seq) < (?, ?) ${newestBatches})
  ) ${newestBatches}`;

type Row = Record<string, SQLInputValue>;

/** The store of the embedded engine: one SQLite file, one owner at a time, any number of readers. */
export class SqliteStore implements Store {
  readonly #file: SqliteFile | ReadOnlyFile;
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #statements = new Map<string, StatementSync>();
  /** Read when it is needed, and once more after a transaction that failed. */
  #keys: KeyIndex | undefined = undefined;
  #facets: SqliteFacets | undefined = undefined;
  /** undefined: nothing is written meanwhile. */
  readonly #pins: SqlitePins | undefined = undefined;
  #epoch = 0;
  #checkpoint = 0;
  /** The last batch that this object has committed. */
  #written = { seq: -1, now: 0 };
  #purgedTo = 0;

  /**
   * Opens the file, creates it if there is none, and locks it against other owners.
   * @throws WheelworkError WW_CONFIG when the path names no file of one name, WW_STORE_LOCKED, WW_STORE_CORRUPT,
   * WW_STORE_NEWER, WW_STORE_UNAVAILABLE. With `readOnly`, WW_STORE_LOCKED says that an engine works on the file.
   */
  constructor(path: string, options: SqliteOptions = {}) {
    this.#path = path;
    this.#file = options.readOnly === true ? new ReadOnlyFile(path) : new SqliteFile(path);
    this.#db = this.#file.db;
    if (options.readOnly === true) return;
    try {
      const db = this.#db;
      db.exec("PRAGMA journal_mode = WAL");
      db.exec(`PRAGMA synchronous = ${options.durability === "normal" ? "NORMAL" : "FULL"}`);
      db.exec("PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY");
      db.exec("PRAGMA busy_timeout = 5000");
      migrateSchema(db, path);
    } catch (error) {
      this.#file.close();
      throw openError(error, path);
    }
    this.#file.verify();
    this.#pins = new SqlitePins(this.#file, (tables) => this.#indexOf(tables), options.sliceMs);
  }

  claim(owner: string, again = false): Claim {
    return this.#transaction(() => {
      if (again && this.#get("SELECT owner FROM shard WHERE id = 0")?.["owner"] !== owner) throw fenced();
      this.#run(
        `INSERT INTO shard (id, epoch, owner, engine_time, checkpoint) VALUES (0, 1, ?, 0, 0)
         ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1, owner = excluded.owner`,
        owner,
      );
      const shard = this.#get("SELECT * FROM shard WHERE id = 0") as Row;
      this.#checkpoint = Number(shard["checkpoint"]);
      this.#epoch = Number(shard["epoch"]);
      return {
        epoch: this.#epoch,
        ...this.#lastCommit(shard),
        ...afterStopOf(shard),
        ...downtimesOf(shard),
        ...harmsOf(shard),
        ...logProgressOf(shard),
      };
    });
  }

  check(): string | undefined {
    this.#file.verify();
    this.#file.verifyLock();
    if (this.#file instanceof ReadOnlyFile) return undefined;
    if (!this.#isOwner()) throw fenced();
    const logBytes = this.#file.logBytes();
    if (logBytes < maxLogBytes) return undefined;
    return `${this.#file.path}-wal has ${Math.round(logBytes / 1e6)} MB, and grows while somebody reads the database in one transaction: end that, or make the disk larger`;
  }

  peek(): ShardState {
    const shard = this.#get("SELECT * FROM shard WHERE id = 0");
    if (shard === undefined) return { owner: "", epoch: 0, engineTime: 0, seq: 0, checkpoint: 0 };
    return {
      owner: String(shard["owner"]),
      epoch: Number(shard["epoch"]),
      ...this.#lastCommit(shard),
      checkpoint: Number(shard["checkpoint"]),
      ...harmsOf(shard),
      ...logProgressOf(shard),
    };
  }

  /** The number and the time of the last commit: those of the last record after the checkpoint, or of the checkpoint. */
  #lastCommit(shard: Row): { readonly seq: number; readonly engineTime: number } {
    const checkpoint = Number(shard["checkpoint"]);
    const engineTime = Number(shard["engine_time"]);
    const last = this.#get("SELECT seq FROM journal WHERE seq > ? ORDER BY seq DESC LIMIT 1", checkpoint);
    if (last === undefined) return { seq: checkpoint, engineTime };
    const seq = Number(last["seq"]);
    return { seq, engineTime: Math.max(engineTime, this.#lastTime(seq, checkpoint)) };
  }

  /** When the last batch was committed that can be read. */
  #lastTime(seq: number, checkpoint: number): number {
    for (let at = seq; at > checkpoint; at--) {
      try {
        return this.#timeOf(at);
      } catch (error) {
        if ((error as { code?: unknown }).code !== "WW_STORE_CORRUPT") throw error;
      }
    }
    return 0;
  }

  /** When a batch was committed. Its record is read only if this object has not written it: it may be long, and `peek` is often asked. */
  #timeOf(seq: number): number {
    if (this.#written.seq === seq) return this.#written.now;
    return timeOf(seq, this.#get("SELECT record FROM journal WHERE seq = ?", seq)?.["record"]);
  }

  *journal(after = this.#checkpoint): Iterable<Batch | DamagedBatch> {
    // Not an open iterator: a replay reads other rows in between.
    const sql = "SELECT seq, record, runs FROM journal WHERE seq > ? ORDER BY seq LIMIT 1";
    for (let row = this.#get(sql, after); row !== undefined; row = this.#get(sql, row["seq"] as number)) {
      yield readBatch(Number(row["seq"]), row["record"], row["runs"]);
    }
  }

  hubVersions(except: ReadonlySet<string>): { hub: string; version: number }[] {
    // Walks the index from one (hub, version) to the next, however many runs have it.
    const found: { hub: string; version: number }[] = [];
    const nextHub = "SELECT hub, version FROM run WHERE hub > ? ORDER BY hub, version LIMIT 1";
    // SQLite begins a search for pairs beyond this one at the first that is equal, and reads all of these.
    const nextVersion = "SELECT hub, version FROM run WHERE hub = ? AND version > ? ORDER BY version LIMIT 1";
    let row = this.#get(nextHub, "");
    while (row !== undefined) {
      const { hub, version } = row as { hub: string; version: number };
      if (this.#hasRun(hub, version, except)) found.push({ hub, version });
      row = this.#get(nextVersion, hub, version) ?? this.#get(nextHub, hub);
    }
    return found;
  }

  #hasRun(hub: string, version: number, except: ReadonlySet<string>): boolean {
    const sql = "SELECT id, key FROM run WHERE hub = ? AND version = ? AND id > ? ORDER BY id LIMIT 1";
    let row = this.#get(sql, hub, version, 0);
    while (row !== undefined && except.has(String(row["key"])))
      row = this.#get(sql, hub, version, row["id"] as number);
    return row !== undefined;
  }

  *hotRuns(): Iterable<StoredRun | DamagedRun> {
    // One by one, as the journal: runs may be large, and a page of them would not fit into a memory that all of them fit into.
    const sql = "SELECT * FROM run WHERE hot = 1 AND id > ? ORDER BY id LIMIT 1";
    for (let row = this.#get(sql, 0); row !== undefined; row = this.#get(sql, row["id"] as number))
      yield readRunOf(row);
  }

  *laneRuns(): Iterable<LaneRun | DamagedLaneRun> {
    const sql =
      "SELECT id, key, hub, status, lane FROM run WHERE lane IS NOT NULL AND id > ? ORDER BY id LIMIT ?";
    for (let after = 0; ;) {
      const rows = this.#all(sql, after, maxLaneRows);
      yield* rows.map(laneRunOf);
      if (rows.length < maxLaneRows) return;
      after = rows.at(-1)?.["id"] as number;
    }
  }

  dueRuns(after: { readonly due: number; readonly key: string }, before: number, limit: number): DueRuns {
    const sql =
      "SELECT * FROM run WHERE hot = 0 AND due < ? AND (due, key) > (?, ?) ORDER BY due, key LIMIT ?";
    const rows = this.#all(sql, before, after.due, after.key, limit);
    const runs = rows.map(readRunOf);
    if (runs.length === limit) return { runs, next: undefined };
    const next = this.#get("SELECT due FROM run WHERE hot = 0 AND due >= ? ORDER BY due LIMIT 1", before);
    return { runs, next: optionalNumber(next?.["due"]) };
  }

  find(keys: readonly string[]): Found[] {
    if (keys.length === 1) return [this.#findOne(keys[0] as string)];
    // One statement for all keys: nearly all of them are new.
    const runs = this.#all(runsUnder, JSON.stringify(keys));
    const index = this.#keyIndex();
    const recent = keys.flatMap((key) => index.recent(key) ?? []);
    const others = recent.length === 0 ? keys : keys.filter((key) => index.recent(key) === undefined);
    const rows = this.#all(requestsUnder, JSON.stringify(others));
    if (recent.length > 0) rows.push(...this.#all(requestsOf, JSON.stringify(recent)));
    const runOf = new Map(runs.map((row) => [String(row["key"]), row]));
    const answerOf = new Map(rows.map((row) => [String(row["key"]), row]));
    return keys.map((key) => foundOf(runOf.get(key), answerOf.get(key)));
  }

  /** A lone request finds its key at half the cost of a list of keys. */
  #findOne(key: string): Found {
    const run = this.#get("SELECT * FROM run WHERE key = ?", key);
    const id = this.#keyIndex().find(key);
    const row =
      id === undefined ? undefined : this.#get("SELECT * FROM request WHERE id = ? AND key = ?", id, key);
    return foundOf(run, row);
  }

  *history(key: string): Iterable<readonly HistoryEvent[]> {
    const part = "SELECT id, events FROM history WHERE key = ? AND id > ? ORDER BY id LIMIT 1";
    let archived = 0;
    for (let after = 0; ;) {
      // Looked at before each part: those that come next may have been archived since the last one.
      const gone = this.#get("SELECT * FROM archived WHERE key = ?", key);
      if (gone !== undefined && Number(gone["events"]) > archived) {
        archived = Number(gone["events"]);
        yield [archivedOf(gone)];
        continue;
      }
      const row = this.#get(part, key, after);
      if (row === undefined) break;
      yield historyOf(key, row["events"]);
      after = row["id"] as number;
    }
    // Nothing can happen between the look that has found no further part and this one.
    const ended = this.#get(
      "SELECT first_seq, last_seq FROM request WHERE id = ? AND key = ? AND ended_at IS NOT NULL",
      this.#keyIndex().find(key) ?? 0,
      key,
    );
    if (ended === undefined) return;
    const [first, last] = [Number(ended["first_seq"]), Number(ended["last_seq"])];
    const batch = "SELECT seq, record FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1";
    for (let row = this.#get(batch, first - 1, last); row !== undefined;) {
      const seq = Number(row["seq"]);
      yield decodeBatch(seq, row["record"], key).flatMap(({ events }) => events);
      row = this.#get(batch, seq, last);
    }
  }

  list(list: RequestList): MaybePromise<RequestRow[]> {
    return finish(this.#facetIndex().list(list));
  }

  facets(filter: StoreFilter): MaybePromise<FacetCount[]> {
    return finish(this.#facetIndex().counts(filter));
  }

  pin(): PinnedStore | undefined {
    return this.#pins?.pin();
  }

  audit({ at, seq }: AuditPlace, limit: number, about: AuditAbout = {}): AuditBatch[] {
    const term = auditTerm(about);
    const rows =
      term === undefined
        ? this.#all(auditBefore, at, seq, limit)
        : this.#all(auditAbout, term, at, seq, limit, at, seq, limit, limit);
    return rows.map(auditBatchOf);
  }

  purgeAudit(before: number, limit: number): boolean {
    return this.#transaction(() => {
      if (!this.#isOwner()) return false;
      const rows = this.#all(
        "SELECT at, seq, entries FROM audit WHERE at < ? ORDER BY at, seq LIMIT ?",
        before,
        limit,
      );
      for (const { at, seq, entries } of rows.map(auditBatchOf)) {
        this.#run("DELETE FROM audit WHERE at = ? AND seq = ?", at, seq);
        for (const term of auditTerms(entries))
          this.#run("DELETE FROM audit_term WHERE term = ? AND at = ? AND seq = ?", term, at, seq);
      }
      return rows.length >= limit;
    });
  }

  commit(commit: Commit): void {
    this.#write(commit);
    const { checkpoint, now, seq } = commit;
    this.#written = { seq, now };
    if (checkpoint !== undefined) this.#checkpoint = Math.max(this.#checkpoint, checkpoint.covers ?? seq);
  }

  takes(commit: Commit): Promise<boolean> {
    return isTaken((undo) => this.#write(commit, undo));
  }

  /** @throws WheelworkError WW_STORE_REFUSED when SQLite never takes this. */
  #write(commit: Commit, undo?: () => never): void {
    try {
      this.#writeAll(commit, undo);
    } catch (error) {
      throw isUnstorable(error) || isOfContent(error) ? refusedContent(error) : error;
    }
  }

  #writeAll(commit: Commit, undo: (() => never) | undefined): void {
    // One statement is a transaction by itself, without the cost of BEGIN and COMMIT.
    if (undo === undefined && isJournalOnly(commit)) {
      return this.#guard(() => {
        this.#append(commit);
        this.#pins?.changed();
        this.#file.verifyOften();
      });
    }
    this.#transaction(() => {
      this.#append(commit);
      const keys = this.#keyIndex();
      for (const answer of commit.answers) this.#writeAnswer(answer, keys);
      if (commit.answers.length > 0) keys.file(commit.answers.length);
      if (commit.logProgress !== undefined) {
        const { log, position, published } = commit.logProgress;
        this.#run(
          "UPDATE shard SET log = ?, position = ?, published = ? WHERE id = 0",
          log,
          position,
          published,
        );
      }
      if (commit.downtimes !== undefined)
        this.#run("UPDATE shard SET downtimes = ? WHERE id = 0", JSON.stringify(commit.downtimes));
      if (commit.harms !== undefined)
        this.#run("UPDATE shard SET harms = ? WHERE id = 0", JSON.stringify(commit.harms));
      if (commit.audit !== undefined) this.#writeAudit(commit.audit, commit);
      if (commit.stops === true) this.#run("UPDATE shard SET stopped = epoch WHERE id = 0");
      if (commit.checkpoint !== undefined) this.#writeCheckpoint(commit.checkpoint, commit);
      this.#facetIndex().write();
      undo?.();
    });
  }

  #writeAudit(audit: readonly AuditEntry[], { now, seq }: Commit): void {
    this.#run(
      "INSERT INTO audit (at, seq, entries, indexed) VALUES (?, ?, ?, 1)",
      now,
      seq,
      JSON.stringify(audit),
    );
    for (const term of auditTerms(audit))
      this.#run("INSERT INTO audit_term (term, at, seq) VALUES (?, ?, ?)", term, now, seq);
  }

  /** One statement fences and writes. The shard's row is only read: a page that each commit changes is written by each. */
  #append({ seq, now, journal, epoch }: Commit): void {
    const { changes } = this.#run(
      "INSERT INTO journal (seq, record, runs) SELECT ?, ?, ? FROM shard WHERE id = 0 AND epoch = ?",
      seq,
      encodeBatch(now, journal),
      encodeRuns(seq, journal),
      epoch,
    );
    if (changes !== 1) throw fenced();
  }

  purge(endedBefore: number, limit: number, begun: BegunRuns): number {
    return this.#transaction(() => {
      if (!this.#isOwner()) return 0;
      const keys = this.#keyIndex();
      let purged = 0;
      // Rows are in the order of their answers. Those that ended late, or have not, or whose runs are known, are passed over and
      // come again when the young rows are reached; there may be many of them, so that one purge looks at so many pages at most.
      for (let page = 0; page < 20 && purged < limit; page++) {
        const most = limit - purged;
        const rows = this.#all(
          `SELECT id, key, created_at, answered_at, ended_at, facet, labels FROM request WHERE id > ?
            ORDER BY id LIMIT ?`,
          this.#purgedTo,
          most,
        );
        const old = rows.filter(({ answered_at: answeredAt }) => Number(answeredAt) < endedBefore);
        for (const row of old) {
          const { id, ended_at: endedAt } = row;
          const key = String(row["key"]);
          this.#purgedTo = Number(id);
          if (endedAt === null || Number(endedAt) >= endedBefore) continue;
          if (rootOf(key) === key && (this.#hasLivingRun(key, begun) || keys.hasBegun(key))) continue;
          this.#run("DELETE FROM request WHERE id = ?", id as number);
          this.#facetIndex().remove(row);
          keys.remove(key);
          this.#run("DELETE FROM history WHERE key = ?", key);
          this.#run("DELETE FROM archived WHERE key = ?", key);
          purged++;
        }
        if (old.length === most) continue;
        this.#purgedTo = 0;
        break;
      }
      this.#facetIndex().write();
      // The history of a run that has not ended, up to the last checkpoint, is in a separate table.
      const oldest =
        this.#get("SELECT checkpoint FROM request WHERE ended_at IS NOT NULL ORDER BY id LIMIT 1")?.[
          "checkpoint"
        ] ?? this.#checkpoint;
      const { changes } = this.#run(
        "DELETE FROM journal WHERE seq <= ?",
        this.#lastBefore(endedBefore, Number(oldest), limit),
      );
      // As many as the limit: there is more to delete, be it requests or what they had in the journal.
      return Math.max(purged, Number(changes));
    });
  }

  /**
   * The last batch of the journal before a time, of the first ones up to `last`, `limit` at most: whoever reads all events gets the
   * later ones, also while no request has ended. One that is damaged keeps nothing.
   */
  #lastBefore(time: number, last: number, limit: number): number {
    const seqs = this.#all("SELECT seq FROM journal WHERE seq <= ? ORDER BY seq LIMIT ?", last, limit);
    let [from, to] = [0, seqs.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#isBefore(time, Number(seqs[middle]?.["seq"]))) from = middle + 1;
      else to = middle;
    }
    return Number(seqs[from - 1]?.["seq"] ?? 0);
  }

  #isBefore(time: number, seq: number): boolean {
    try {
      return this.#timeOf(seq) < time;
    } catch {
      return true;
    }
  }

  archive(before: number, limit: number): boolean {
    return this.#transaction(() => {
      if (!this.#isOwner()) return false;
      const parts = this.#all(oldParts, before, limit);
      let bytes = 0;
      for (const { id, key, last_at: lastAt, count, state, bytes: size } of parts) {
        // What is deleted is read page by page.
        if (bytes >= maxArchivedBytes) return true;
        bytes += Number(size);
        const of = { lastAt: Number(lastAt), events: Number(count), state: state as string | null };
        const part = count === null ? this.#summarize(id as number, key as string) : of;
        if (part === undefined || part.lastAt >= before) continue;
        if (this.#hasEnded(key as string))
          this.#run("UPDATE history SET last_at = NULL WHERE id = ?", id as number);
        else this.#archivePart(id as number, key as string, part);
      }
      return parts.length === limit;
    });
  }

  /** Adds to a part of an earlier version what archiving must know. Nothing is known of one that is damaged: it stays. */
  #summarize(id: number, key: string): PartSummary | undefined {
    let part: PartSummary | undefined;
    try {
      part = summaryOf(historyOf(key, this.#get("SELECT events FROM history WHERE id = ?", id)?.["events"]));
    } catch {
      // Whoever reads the history is told of it.
    }
    const { lastAt = null, events = null, state = null } = part ?? {};
    this.#run("UPDATE history SET last_at = ?, count = ?, state = ? WHERE id = ?", lastAt, events, state, id);
    return part;
  }

  #archivePart(id: number, key: string, { lastAt, events, state }: PartSummary): void {
    this.#run("DELETE FROM history WHERE id = ?", id);
    this.#run(
      `INSERT INTO archived (key, events, last_at, state) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
         events = events + excluded.events, last_at = excluded.last_at, state = coalesce(excluded.state, state)`,
      key,
      events,
      lastAt,
      state,
    );
  }

  #hasEnded(key: string): boolean {
    const ended = "SELECT 1 FROM request WHERE id = ? AND key = ? AND ended_at IS NOT NULL";
    return this.#get(ended, this.#keyIndex().find(key) ?? 0, key) !== undefined;
  }

  #isOwner(): boolean {
    return Number(this.#get("SELECT epoch FROM shard WHERE id = 0")?.["epoch"] ?? 0) === this.#epoch;
  }

  /** Whether a run lives that a request has begun. The keys of such runs begin with that of the request and '/', which '0' follows. */
  #hasLivingRun(root: string, { living, ended }: BegunRuns): boolean {
    if (living.has(root)) return true;
    const next = "SELECT key FROM run WHERE key > ? AND key < ? ORDER BY key LIMIT 1";
    let row = this.#get(next, `${root}/`, `${root}0`);
    while (row !== undefined && ended.has(String(row["key"])))
      row = this.#get(next, row["key"] as string, `${root}0`);
    return row !== undefined;
  }

  sizeBytes(): number {
    return this.#file.bytes();
  }

  close(): void {
    if (!this.#db.isOpen) return;
    this.#pins?.close();
    this.#statements.clear();
    this.#file.close();
  }

  #keyIndex(): KeyIndex {
    this.#keys ??= new KeyIndex({
      run: (sql, ...values) => this.#run(sql, ...values),
      get: (sql, ...values) => this.#get(sql, ...values),
      all: (sql, ...values) => this.#all(sql, ...values),
    });
    return this.#keys;
  }

  #facetIndex(): SqliteFacets {
    this.#facets ??= new SqliteFacets({
      run: (sql, ...values) => this.#run(sql, ...values),
      get: (sql, ...values) => this.#get(sql, ...values),
      all: (sql, ...values) => this.#all(sql, ...values),
    });
    return this.#facets;
  }

  /** The same, of what is pinned. */
  #indexOf(tables: PinnedTables): SqliteFacets {
    const get: PinnedTables["get"] = (sql, ...values) => this.#guard(() => tables.get(sql, ...values));
    const all: PinnedTables["all"] = (sql, ...values) => this.#guard(() => tables.all(sql, ...values));
    return new SqliteFacets({ get, all, run: neverWritten }, this.#facetIndex().known);
  }

  #writeAnswer(answer: StoredAnswer, keys: KeyIndex): void {
    const { key, state, status, version, createdAt, answeredAt, firstSeq, lastSeq } = answer;
    const endedAt = answer.endedAt ?? null;
    const known = keys.find(key);
    const facets = this.#facetIndex();
    const facet = facets.idOf(answer);
    const labels = labelsText(answer);
    if (known !== undefined) {
      // The first answer stays; what its run did after it is told.
      const { changes } = this.#run(
        `UPDATE request SET state = ?, status = ?, version = ?, ended_at = ?, first_seq = ?, last_seq = ?, data = ?, facet = ?
         WHERE id = ? AND key = ?`,
        state,
        status,
        version,
        endedAt,
        firstSeq,
        lastSeq,
        dataText(answer),
        facet,
        known,
        key,
      );
      if (changes === 1) return facets.add({ facet, key, createdAt, answeredAt, labels, id: known });
    }
    const texts = answerTexts(answer);
    const id = keys.add(key);
    facets.add({ facet, key, createdAt, answeredAt, labels, id });
    this.#run(
      `INSERT INTO request (id, key, hub, version, hash, state, status, created_at, answered_at, ended_at, root, answer,
         request, first_seq, last_seq, checkpoint, reply_to, checksum, data, facet, labels)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      id,
      key,
      answer.hub,
      version,
      answer.hash,
      state,
      status,
      createdAt,
      answeredAt,
      endedAt,
      answer.root ? 1 : 0,
      texts.answer,
      texts.request,
      firstSeq,
      lastSeq,
      this.#checkpoint,
      answer.replyTo ?? null,
      texts.checksum,
      texts.data,
      facet,
      labels,
    );
  }

  #writeCheckpoint({ runs, ended, histories, covers }: Checkpoint, { seq, now }: Commit): void {
    const facets = this.#facetIndex();
    for (const run of runs) {
      const former = this.#get(
        "SELECT key, facet, created_at, labels, incident FROM run WHERE key = ?",
        run.key,
      );
      if (former !== undefined) facets.remove(former);
      const facet = facets.idOf(run);
      const labels = labelsText(run);
      const incident = incidentText(run);
      this.#run(
        `INSERT INTO run (key, hub, version, status, state, created_at, answered_at, hot, due, root, lane, activity, facet, labels,
           incident, attempts, snapshot)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (key) DO UPDATE SET hub = excluded.hub, version = excluded.version, status = excluded.status,
           state = excluded.state, created_at = excluded.created_at, answered_at = excluded.answered_at,
           hot = excluded.hot, due = excluded.due, root = excluded.root, lane = excluded.lane,
           activity = excluded.activity, facet = excluded.facet, labels = excluded.labels, incident = excluded.incident,
           attempts = excluded.attempts, snapshot = excluded.snapshot`,
        run.key,
        run.hub,
        run.version,
        run.status,
        run.state,
        run.createdAt,
        run.answeredAt ?? null,
        run.hot ? 1 : 0,
        run.due ?? null,
        run.root ? 1 : 0,
        laneText(run),
        run.activity ?? null,
        facet,
        labels,
        incident,
        run.attempts ?? null,
        snapshotText(run),
      );
      const isIndexed = labels !== null || incident !== null;
      const id = !isIndexed ? 0 : Number(this.#get("SELECT id FROM run WHERE key = ?", run.key)?.["id"]);
      const { key, createdAt, answeredAt, due, attempts } = run;
      facets.add({ facet, key, createdAt, answeredAt, due, attempts, labels, incident, id });
    }
    for (const key of ended) {
      const gone = this.#get(
        "DELETE FROM run WHERE key = ? RETURNING key, facet, created_at, labels, incident",
        key,
      );
      if (gone !== undefined) facets.remove(gone);
    }
    for (const part of histories) {
      const { lastAt, events, state } = summaryOf(part.events);
      this.#run(
        "INSERT INTO history (key, events, last_at, count, state) VALUES (?, ?, ?, ?, ?)",
        part.key,
        historyText(part),
        lastAt,
        events,
        state,
      );
    }
    this.#run(
      "UPDATE shard SET checkpoint = max(checkpoint, ?), engine_time = ? WHERE id = 0",
      covers ?? seq,
      now,
    );
  }

  #transaction<T>(body: () => T): T {
    return this.#guard(() => this.#inTransaction(body));
  }

  #inTransaction<T>(body: () => T): T {
    // As statements, they are not parsed again for each commit.
    this.#run("BEGIN IMMEDIATE");
    try {
      const result = body();
      this.#run("COMMIT");
      // Nobody is told of what nobody finds again: it counts as a commit whose outcome is unknown.
      this.#file.verifyOften();
      return result;
    } catch (error) {
      this.#keys = undefined;
      this.#facets = undefined;
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    } finally {
      this.#pins?.changed();
    }
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }

  #run(sql: string, ...values: SQLInputValue[]): { changes: number | bigint } {
    return this.#statement(sql).run(...values);
  }

  #get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#guard(() => this.#statement(sql).get(...values) as Row | undefined);
  }

  #all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#guard(() => this.#statement(sql).all(...values) as Row[]);
  }

  /** Tells damage, and a file that cannot be written, from other errors. */
  #guard<T>(body: () => T): T {
    try {
      return body();
    } catch (error) {
      throw isDamage(error) || isReadOnly(error) || isOfDisk(error) ? openError(error, this.#path) : error;
    }
  }
}

const neverWritten = (): never => {
  throw new Error("what is pinned is only read");
};

const oldParts = `SELECT id, key, last_at, count, state, octet_length(events) AS bytes FROM history
  WHERE last_at < ? ORDER BY last_at, id LIMIT ?`;
const runsUnder = "SELECT run.* FROM json_each(?) AS asked CROSS JOIN run ON run.key = asked.value";
const requestsUnder = `SELECT request.* FROM json_each(?) AS asked CROSS JOIN request_key ON request_key.key = asked.value
  CROSS JOIN request ON request.id = request_key.id AND request.key = request_key.key`;
const requestsOf =
  "SELECT request.* FROM json_each(?) AS asked CROSS JOIN request ON request.id = asked.value";
