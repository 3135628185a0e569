import type { HistoryEvent } from "@wheelwork/core";
import type {
  AuditAbout,
  AuditBatch,
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
  FacetCount,
  Found,
  LaneRun,
  StoreFilter,
  RequestList,
  RequestRow,
  ShardState,
  Store,
  StoredRun,
} from "@wheelwork/engine";
import {
  decodeBatch,
  KnownFacets,
  encodeBatch,
  encodeRuns,
  readBatch,
  historyOf,
  historyText,
  incidentText,
  labelsText,
  laneRunOf,
  isTaken,
  refusedContent,
  afterStopOf,
  archivedOf,
  auditBatchOf,
  auditTerm,
  auditTerms,
  downtimesOf,
  foundOf,
  harmsOf,
  logProgressOf,
  optionalNumber,
  readRunOf,
  snapshotText,
  summaryOf,
  type Row,
} from "@wheelwork/engine/stores";
import type { ClientBase } from "pg";
import { demandOptions, kinds, type OptionKinds } from "@wheelwork/core/kernel";
import { Connections } from "./connections.ts";
import { IndexChanges, labelCellColumns, labelledColumns } from "./labels.ts";
import { cellColumns, countRows, facetIdOf, listRows, missingFacets, withFacets } from "./lists.ts";
import type { ConnectionOptions } from "./options.ts";
import { connectionOptions } from "./option-tables.ts";
import { connectionsOf, type PostgresPool } from "./pool.ts";
import {
  commitsLost,
  configError,
  fenced,
  isContent,
  isLockTimeout,
  lacksTable,
  unavailable,
  unclaimed,
} from "./errors.ts";
import {
  checkEncoding,
  createPeriod,
  dropPeriods,
  journalPeriodMs,
  journalPeriods,
  journalTable,
  prepareSchema,
} from "./schema.ts";

import {
  answerColumns,
  columnsOf,
  runColumns,
  statements,
  withTexts,
  type StatementName,
} from "./statements.ts";

/** Where a shard is kept. */
export interface PostgresOptions extends ConnectionOptions {
  /** Connections that it shares with other shards; the options of connections are the pool's then. */
  readonly pool?: PostgresPool;
  /** Which shard this store is, from 0. Default 0. */
  readonly shard?: number;
  /** How many shards the store has: fixed when it is created. Default 1. */
  readonly shards?: number;
}

const storeOptions: OptionKinds<PostgresOptions> = {
  ...connectionOptions,
  pool: kinds.having("a pool", "close"),
  shard: kinds.whole(0),
  shards: kinds.whole(1),
};

/**
 * A shard on PostgreSQL 15 or later. It connects when an engine claims it, and connects again whenever it must; whoever
 * made it closes it after the engine has stopped. Its promises reject with WheelworkErrors: WW_STORE_UNAVAILABLE (the
 * server cannot be reached, or did not answer in time), WW_STORE_LOCKED (another owner has claimed the shard),
 * WW_COMMITS_LOST (the server has lost what was committed, as after a failover), WW_STORE_NEWER, WW_STORE_CORRUPT and WW_CONFIG.
 * @throws WheelworkError WW_CONFIG when the options are not valid.
 */
export function postgresStore(options: PostgresOptions): Store {
  return new PostgresStore(options);
}

/** Columns of a text that one statement takes at most; a longer checkpoint is written with several statements. */
const maxBytes = 8_000_000;

/** Parts of histories of an earlier version that are read at once. */
const maxDatedParts = 20;

const claimAttempts = 10;

class PostgresStore implements Store {
  readonly #connections: Connections;
  readonly #sharesConnections: boolean;
  readonly #shard: number;
  readonly #shards: number;
  readonly #sql: ReturnType<typeof statements>;
  #prepared = false;
  #owner = "";
  #epoch = 0;
  #checkpoint = 0;
  /** Facets that are committed, as of this claim: a server that takes over may lack some. */
  #facets = new KnownFacets();
  /** Periods that have their partition. */
  #periods = new Set<number>();

  constructor(given: PostgresOptions) {
    const options = demandOptions<PostgresOptions>(given, storeOptions, "a store on PostgreSQL");
    const { shard = 0, shards = 1, pool, ...connection } = options;
    if (shard >= shards) {
      throw configError(
        `shard ${shard} of ${shards} is not valid`,
        "shards is an integer of at least 1, and shard one from 0 that is below it.",
      );
    }
    this.#shard = shard;
    this.#shards = shards;
    this.#sql = statements(journalTable(shard));
    if (pool !== undefined && Object.keys(connection).length > 0)
      throw configError(
        `the pool has connections, and the store is given others: ${Object.keys(connection).join()}`,
        "Give these options to postgresPool.",
      );
    this.#sharesConnections = pool !== undefined;
    this.#connections = pool === undefined ? new Connections(connection) : connectionsOf(pool);
  }

  /** The tables of the shard, and its part of those that all shards share. */
  async sizeBytes(): Promise<number> {
    const [size] = await this.#read("size", [`^${journalTable(this.#shard)}(_[0-9]+)?$`, "^journal_"]);
    return Math.round(Number(size?.["own"] ?? 0) + Number(size?.["shared"] ?? 0) / this.#shards);
  }

  async probe(): Promise<number> {
    const [server] = await this.#read("probe", []);
    checkEncoding(server?.["encoding"]);
    return Number(server?.["server_ms"]);
  }

  async claim(owner: string, again = false): Promise<Claim> {
    await this.#prepare();
    // Compared and swapped: a claim that was given up, and that the server carries out late, must not fence a later one.
    for (let attempt = 0; attempt < claimAttempts; attempt++) {
      await this.#markLost();
      const [now] = await this.#write("shard", [this.#shard]);
      if (now === undefined) throw unavailable(`shard ${this.#shard} has no row`);
      if (now["lost"] !== null) throw commitsLost(this.#shard, Number(now["lost"]), Number(now["seq"]));
      if (again && now["owner"] !== owner) throw fenced(this.#shard);
      const [claimed] = await this.#write("claim", [this.#shard, owner, now["epoch"]]);
      if (claimed === undefined) continue;
      this.#owner = owner;
      this.#facets = new KnownFacets();
      this.#epoch = Number(claimed["epoch"]);
      this.#checkpoint = Number(claimed["checkpoint"]);
      this.#periods = new Set(
        await this.#connections.transaction(async (client) => journalPeriods(client, this.#shard)),
      );
      const seq = Number(claimed["seq"]);
      const lost = (this.#connections.committed.get(this.#shard) ?? 0) - seq;
      this.#connections.committed.set(this.#shard, seq);
      return {
        epoch: this.#epoch,
        engineTime: Number(claimed["engine_time"]),
        seq,
        serverMs: Number(claimed["server_ms"]),
        ...afterStopOf(claimed),
        ...downtimesOf(claimed),
        ...harmsOf(claimed),
        ...(lost > 0 ? { lost } : {}),
        ...logProgressOf(claimed),
      };
    }
    throw unavailable(`others claim shard ${this.#shard} all the time`);
  }

  async check(): Promise<undefined> {
    const [epoch, owner] = [this.#epoch, this.#owner];
    let shard: Row | undefined;
    try {
      [shard] = await this.#read("shard", [this.#shard]);
    } catch {
      // A server that cannot be reached now may be back before the next commit, which says so if not.
      return undefined;
    }
    const isOwner = Number(shard?.["epoch"]) === epoch && shard?.["owner"] === owner;
    if (!isOwner && epoch === this.#epoch) throw fenced(this.#shard);
    return undefined;
  }

  async peek(): Promise<ShardState> {
    const [shard] = await this.#read("peek", [this.#shard]).catch((error: unknown) => {
      if (lacksTable(error)) return [];
      throw error;
    });
    if (shard === undefined) throw unclaimed(this.#shard);
    return {
      owner: String(shard["owner"]),
      epoch: Number(shard["epoch"]),
      engineTime: Number(shard["engine_time"]),
      seq: Number(shard["seq"]),
      checkpoint: Number(shard["checkpoint"]),
      serverMs: Number(shard["server_ms"]),
      ...(shard["lost"] === null ? {} : { lost: Number(shard["lost"]) - Number(shard["seq"]) }),
      ...harmsOf(shard),
      ...logProgressOf(shard),
    };
  }

  async *journal(after = this.#checkpoint): AsyncIterable<Batch | DamagedBatch> {
    for (let last = after; ;) {
      const rows = await this.#read("journal", [last]);
      for (const { seq, record, runs } of rows) yield readBatch(Number(seq), record, runs);
      const end = rows.at(-1);
      if (end === undefined) return;
      last = Number(end["seq"]);
    }
  }

  async hubVersions(ended: ReadonlySet<string>): Promise<{ hub: string; version: number }[]> {
    const rows = await this.#read("hubVersions", [this.#shard, [...ended]]);
    return rows.map(({ hub, version }) => ({ hub: String(hub), version: Number(version) }));
  }

  async *hotRuns(): AsyncIterable<StoredRun | DamagedRun> {
    for (let last = ""; ;) {
      const rows = await this.#read("hotRuns", [this.#shard, last]);
      for (const row of rows) yield readRunOf(row);
      const end = rows.at(-1);
      if (end === undefined) return;
      last = String(end["key"]);
    }
  }

  async *laneRuns(): AsyncIterable<LaneRun | DamagedLaneRun> {
    for (let last = ""; ;) {
      const rows = await this.#read("laneRuns", [this.#shard, last]);
      yield* rows.map(laneRunOf);
      const end = rows.at(-1);
      if (end === undefined) return;
      last = String(end["key"]);
    }
  }

  async dueRuns(
    after: { readonly due: number; readonly key: string },
    before: number,
    limit: number,
  ): Promise<DueRuns> {
    const values = [this.#shard, after.due, after.key, before, limit];
    const runs = (await this.#read("dueRuns", values)).map(readRunOf);
    if (runs.length === limit) return { runs, next: undefined };
    const [next] = await this.#read("nextDue", [this.#shard, before]);
    return { runs, next: optionalNumber(next?.["due"]) };
  }

  async find(keys: readonly string[]): Promise<Found[]> {
    const rows = await this.#read("find", [this.#shard, keys]);
    return rows.map(({ run, answered }) =>
      foundOf(run === null ? undefined : (run as Row), answered === null ? undefined : (answered as Row)),
    );
  }

  async *history(key: string): AsyncIterable<readonly HistoryEvent[]> {
    let [part, batch, archived] = [0, 0, 0];
    for (;;) {
      const rows = await this.#read("history", [this.#shard, key, part, batch]);
      let isOver = true;
      for (const { place, events, record, ...row } of rows) {
        if (row["archived"] !== null) {
          const gone = archivedOf({ ...row, events: row["archived"] });
          if (gone.events > archived) yield [gone];
          archived = gone.events;
          continue;
        }
        isOver = false;
        if (record === null) {
          part = Number(place);
          yield historyOf(key, events);
        } else {
          batch = Number(place);
          yield decodeBatch(batch, record, key).flatMap((entry) => entry.events);
        }
      }
      if (isOver) return;
    }
  }

  list(list: RequestList): Promise<RequestRow[]> {
    return listRows((statement) => this.#connections.read(statement), this.#shard, list);
  }

  facets(filter: StoreFilter): Promise<FacetCount[]> {
    return countRows((statement) => this.#connections.read(statement), this.#shard, filter);
  }

  async commit(commit: Commit): Promise<void> {
    try {
      await this.#commit(commit);
    } catch (error) {
      throw isContent(error) ? refusedContent(error) : error;
    }
  }

  takes(commit: Commit): Promise<boolean> {
    return isTaken(async (undo) => {
      try {
        await this.#commit(commit, undo);
      } catch (error) {
        throw isContent(error) ? refusedContent(error) : error;
      }
    });
  }

  /** `undo`: the commit is tried out in a transaction, which this ends. */
  async #commit(commit: Commit, undo?: () => never): Promise<void> {
    const { checkpoint, downtimes, harms, seq, now, epoch, logProgress, stops, audit } = commit;
    const covers = checkpoint?.covers ?? seq;
    const period = Math.floor(now / journalPeriodMs);
    // All texts are made before anything is sent.
    const record = Buffer.from(encodeBatch(now, commit.journal));
    const come = [logProgress?.log ?? null, logProgress?.position ?? null, logProgress?.published ?? null];
    const commands = audit === undefined ? [null, null] : [JSON.stringify(audit), auditTerms(audit)];
    const runs = Buffer.from(encodeRuns(seq, commit.journal));
    const values = [this.#shard, epoch, this.#owner, now, seq, period, record, ...come, ...commands, runs];
    const answered = commit.answers.map(withTexts);
    const missing = missingFacets(this.#facets, [...commit.answers, ...(checkpoint?.runs ?? [])]);
    const chunks = checkpoint === undefined ? undefined : chunksOf(checkpoint);
    if (!this.#periods.has(period)) {
      await this.#connections.transaction(async (client) => createPeriod(client, this.#shard, period));
      this.#periods.add(period);
    }
    const isLabelled = commit.answers.some(({ labels }) => labels !== undefined);
    const name = answered.length === 0 ? "commit" : isLabelled ? "commitLabelled" : "commitAnswers";
    const batchWith = (facets: KnownFacets): unknown[] => {
      if (answered.length === 0) return values;
      const rows = answered.map((row) => ({ ...row, facet: facetIdOf(row.stored, facets) }));
      const changes = new IndexChanges();
      for (const { stored, facet } of rows) changes.add({ ...stored, facet, labels: labelsText(stored) });
      const columns = [...columnsOf(answerColumns, rows), ...cellColumns(changes.cells())];
      if (isLabelled)
        columns.push(...labelledColumns(changes.come), ...labelCellColumns(changes.labelCells()));
      return [...values, ...columns];
    };
    const isPlain =
      chunks === undefined &&
      [downtimes, harms, stops].every((part) => part === undefined) &&
      missing.length === 0;
    if (isPlain && undo === undefined) {
      if ((await this.#write(name, batchWith(this.#facets))).length !== 1) await this.#refuse(epoch);
      this.#connections.committed.set(this.#shard, seq);
      return;
    }
    let facets = this.#facets;
    const done = await this.#connections.transaction(async (client) => {
      if (missing.length > 0) facets = await withFacets(client, this.#facets, missing);
      const fence = await client.query(this.#statement(name, batchWith(facets)));
      if (fence.rowCount !== 1) return false;
      if (downtimes !== undefined)
        await client.query(this.#statement("downtimes", [this.#shard, JSON.stringify(downtimes)]));
      if (harms !== undefined)
        await client.query(this.#statement("harms", [this.#shard, JSON.stringify(harms)]));
      if (stops === true) await client.query(this.#statement("stopped", [this.#shard]));
      if (chunks !== undefined) {
        const changes = new IndexChanges();
        for (const chunk of chunks) await this.#writeChunk(client, chunk, facets, changes);
        await this.#changeIndex(client, changes);
        await client.query(this.#statement("checkpointed", [this.#shard, covers]));
      }
      undo?.();
      return true;
    });
    if (!done) await this.#refuse(epoch);
    this.#facets = facets;
    this.#connections.committed.set(this.#shard, seq);
    if (chunks !== undefined) this.#checkpoint = Math.max(this.#checkpoint, covers);
  }

  async purge(endedBefore: number, limit: number, { living, ended }: BegunRuns): Promise<number> {
    const values = [this.#shard, this.#epoch, this.#owner, endedBefore, limit, [...living], [...ended]];
    // The counters come last, so that commits hardly wait for them.
    const count = await this.#connections.transaction(async (client) => {
      const { rows } = await client.query<Row>(this.#statement("purge", values));
      const changes = new IndexChanges();
      for (const row of rows) changes.remove(row);
      await this.#changeIndex(client, changes);
      return rows.length;
    });
    if (count < limit) await this.#dropPeriods(endedBefore);
    return count;
  }

  async audit({ at, seq }: AuditPlace, limit: number, about: AuditAbout = {}): Promise<AuditBatch[]> {
    const values = [this.#shard, at, seq, limit];
    const term = auditTerm(about);
    const rows = await (term === undefined
      ? this.#read("audit", values)
      : this.#read("auditAbout", [...values, term]));
    return rows.map(auditBatchOf);
  }

  async purgeAudit(before: number, limit: number): Promise<boolean> {
    const values = [this.#shard, this.#epoch, this.#owner, before, limit];
    return this.#connections.transaction(async (client) => {
      const { rows } = await client.query<Row>(this.#statement("purgeAudit", values));
      const gone = rows
        .map(auditBatchOf)
        .flatMap(({ at, seq, entries }) => auditTerms(entries).map((term) => [term, at, seq] as const));
      const columns = [gone.map(([term]) => term), gone.map(([, at]) => at), gone.map(([, , seq]) => seq)];
      if (gone.length > 0) await client.query(this.#statement("purgeTerms", [this.#shard, ...columns]));
      return rows.length >= limit;
    });
  }

  /** Writes a part of a checkpoint, and counts which rows come to a facet and which go. */
  async #writeChunk(
    client: ClientBase,
    chunk: Chunk,
    facets: KnownFacets,
    changes: IndexChanges,
  ): Promise<void> {
    const gone = ({ rows }: { readonly rows: readonly Row[] }): void => {
      for (const row of rows) changes.remove(row);
    };
    if (chunk.runs !== undefined) {
      const keys = chunk.runs.map(({ key }) => key);
      gone(await client.query<Row>(this.#statement("former", [this.#shard, keys])));
      for (const run of chunk.runs) {
        const { key, createdAt, answeredAt, due, attempts } = run;
        const texts = { labels: labelsText(run), incident: incidentText(run) };
        changes.add({ facet: facetIdOf(run, facets), key, createdAt, answeredAt, due, attempts, ...texts });
      }
    }
    const written = await client.query<Row>(this.#statement(...chunk.statement(this.#shard, facets)));
    if (chunk.runs === undefined) gone(written);
  }

  async #changeIndex(client: ClientBase, changes: IndexChanges): Promise<void> {
    const run = async (name: StatementName, columns: readonly unknown[][]): Promise<void> => {
      if (columns[0]?.length !== 0) await client.query(this.#statement(name, [this.#shard, ...columns]));
    };
    const cells = changes.cells().filter(({ count }) => count !== 0);
    await run("cells", cellColumns(cells));
    await run("dropCells", cellColumns(cells.filter(({ count }) => count < 0)).slice(0, 3));
    // A row that is written once more goes first.
    await run("dropLabelled", labelledColumns(changes.gone).slice(0, 4));
    await run("labelled", labelledColumns(changes.come));
    const labels = changes.labelCells().filter(({ count }) => count !== 0);
    await run("labelCells", labelCellColumns(labels));
    await run("dropLabelCells", labelCellColumns(labels.filter(({ count }) => count < 0)).slice(0, 4));
  }

  async archive(before: number, limit: number): Promise<boolean> {
    if (await this.#dateParts()) return true;
    const values = [this.#shard, this.#epoch, this.#owner, before, limit];
    const [archived] = await this.#connections.read(this.#statement("archive", values));
    return Number(archived?.["count"]) >= limit;
  }

  /** Adds to some parts of an earlier version what archiving must know; whether there may be more of them. */
  async #dateParts(): Promise<boolean> {
    const parts = await this.#read("undated", [this.#shard, maxDatedParts]);
    if (parts.length === 0) return false;
    const rows = parts.map(({ id, key, events: text }) => {
      try {
        const { lastAt, events, state } = summaryOf(historyOf(String(key), text));
        return [key, id, lastAt, events, state];
      } catch {
        // It stays. Whoever reads the history is told of it.
        return [key, id, null, null, null];
      }
    });
    await this.#write("dated", [this.#shard, ...transposed(rows)]);
    return true;
  }

  async close(): Promise<void> {
    if (!this.#sharesConnections) await this.#connections.close();
  }

  /** Drops the parts of the journal before a time that no history needs any more. Who reads all events gets the later ones. */
  async #dropPeriods(time: number): Promise<void> {
    const [shard] = await this.#read("needed", [this.#shard]);
    if (shard === undefined || shard["owner"] !== this.#owner || Number(shard["epoch"]) !== this.#epoch)
      return;
    const period = Math.floor(Math.min(Number(shard["engine_time"]), time) / journalPeriodMs);
    try {
      await this.#connections.transaction(async (client) =>
        dropPeriods(client, this.#shard, period, Number(shard["needed"])),
      );
    } catch (error) {
      // Somebody reads it for long, such as a dump: the next purge tries again.
      if (!isLockTimeout(error)) throw error;
    }
  }

  async #prepare(): Promise<void> {
    if (this.#prepared) return;
    const { schema } = this.#connections;
    await this.#connections.transaction(async (client: ClientBase) =>
      prepareSchema(client, schema, this.#shard, this.#shards),
    );
    this.#prepared = true;
  }

  /** Marks the shards whose commits the server has lost. Their present owner must hear of it, too. */
  async #markLost(): Promise<void> {
    const { committed, toleratesLoss } = this.#connections;
    if (toleratesLoss || committed.size === 0) return;
    const marked = await this.#write("markLost", [[...committed.keys()], [...committed.values()]]);
    // When somebody has accepted the loss, what was seen before it counts no more.
    for (const { id } of marked) committed.delete(Number(id));
  }

  /** The fence let nothing through: another owner, or a server that has lost commits, as after a failover. */
  async #refuse(epoch: number): Promise<never> {
    const [shard] = await this.#write("shard", [this.#shard]);
    const seq = Number(shard?.["seq"]);
    const lost = shard?.["lost"] ?? null;
    if (lost !== null) throw commitsLost(this.#shard, Number(lost), seq);
    // Looked into at the next claim, which owners that the server knows no longer make, too.
    if (seq < (this.#connections.committed.get(this.#shard) ?? 0))
      throw unavailable(
        `the server has lost commits: the last batch of shard ${this.#shard} is number ${seq}`,
      );
    if (Number(shard?.["epoch"]) !== epoch || shard?.["owner"] !== this.#owner) throw fenced(this.#shard);
    throw unavailable(`the last batch of shard ${this.#shard} is number ${seq}, which is not the one before`);
  }

  #statement(name: StatementName, values: readonly unknown[]) {
    const text = this.#sql[name];
    // On a shared connection, a name stands for one text: those that name the shard's own table have names of their own.
    const isOwn = text.includes(journalTable(this.#shard));
    return { name: isOwn ? `${name} ${this.#shard}` : name, text, values: [...values] };
  }

  #write(name: StatementName, values: readonly unknown[]): Promise<Row[]> {
    return this.#connections.write(this.#statement(name, values));
  }

  #read(name: StatementName, values: readonly unknown[]): Promise<Row[]> {
    return this.#connections.read(this.#statement(name, values));
  }
}

/** A part of a checkpoint. */
interface Chunk {
  /** The runs that it writes. */
  readonly runs?: readonly StoredRun[];
  readonly statement: (shard: number, facets: KnownFacets) => [StatementName, readonly unknown[]];
}

/** A checkpoint as statements, none of them with more than it may hold. */
function chunksOf({ runs, ended, histories }: Checkpoint): Chunk[] {
  const written = runs.map((run) => ({ run, text: snapshotText(run) }));
  const parts = histories.map((part) => {
    const { lastAt, events, state } = summaryOf(part.events);
    return { columns: [part.key, lastAt, events, state], text: historyText(part) };
  });
  const chunks: Chunk[] = [];
  for (const rows of pages(written)) {
    chunks.push({
      runs: rows.map(({ run }) => run),
      statement: (shard, facets) => {
        const columns = rows.map(({ run, text }) => ({ run, facet: facetIdOf(run, facets), snapshot: text }));
        return ["runs", [shard, ...columnsOf(runColumns, columns)]];
      },
    });
  }
  for (const rows of pages(parts)) {
    const columns = transposed(rows.map((row) => [...row.columns, row.text]));
    chunks.push({ statement: (shard) => ["histories", [shard, ...columns]] });
  }
  if (ended.length > 0) chunks.push({ statement: (shard) => ["ended", [shard, ended]] });
  return chunks;
}

const transposed = (rows: readonly unknown[][]): unknown[][] =>
  (rows[0] ?? []).map((_, column) => rows.map((row) => row[column]));

/** Rows that one statement takes. `text` is the long part of each. */
function* pages<T extends { readonly text: string }>(rows: readonly T[]): Iterable<T[]> {
  let page: T[] = [];
  let bytes = 0;
  for (const row of rows) {
    page.push(row);
    bytes += row.text.length;
    if (bytes < maxBytes) continue;
    yield page;
    page = [];
    bytes = 0;
  }
  if (page.length > 0) yield page;
}
