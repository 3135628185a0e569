import { randomUUID } from "node:crypto";
import { Pool, type PoolClient, type QueryResult } from "pg";
import { WheelworkError } from "wheelwork";
import { BookedFlowStore } from "./booked-flow-store.ts";
import { Books, type Changes } from "./books.ts";
import type { Claim } from "./claims.ts";
import {
  auditOf,
  bookMarkOf,
  booksOf,
  claimOf,
  goneAtOf,
  linkOf,
  recordOfText,
  rememberMs,
  textOf,
  type Dump,
  type Row,
} from "./flow-rows.ts";
import { beginOf, claimsOf, tables, tablesOf } from "./flow-schema-postgres.ts";
import { segmentOf } from "./graph.ts";
import type { BookMark, StoredSwitch } from "./store.ts";

/** What the store in PostgreSQL can be set to. */
export interface PostgresFlowStoreOptions {
  /** The schema of its tables, in lower case. Default `flow_controller`. */
  readonly schema?: string;
  /** How long the guard of a flow is kept after the flow is gone, in milliseconds. Default: a week. */
  readonly rememberMs?: number;
  /** For tests. Milliseconds since 1970. */
  readonly wallMs?: () => number;
}

/** How long a statement, or an attempt to connect, may take, in milliseconds. */
const timeoutMs = 5_000;

/** How often a job is tried when another writer came between. */
const tries = 10;
/** How much one transaction does: so many jobs, and no more after so many milliseconds. The other processes wait meanwhile. */
const mostJobs = 500;
const turnMs = 500;
/** How long a process may stand still in a transaction, in milliseconds. Those that wait for it wait longer. */
const standstillMs = 2_500;
/** How long it may take to read all that there is, in milliseconds. */
const loadMs = 60_000;

/** Something to be done with the books. */
interface Job {
  readonly work: (books: Books, now: number) => unknown;
  readonly writes: boolean;
  /** The flow that it is about, of which the guard is needed. */
  readonly flowId: string | undefined;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
  attempts: number;
  /** It goes alone, since a batch with it has failed. */
  isAlone: boolean;
}

/** A job has failed by itself, and not by the database. */
class JobError extends Error {
  readonly job: Job;
  constructor(job: Job, cause: unknown) {
    super("a job has failed", { cause });
    this.job = job;
  }
}

/**
 * The store of several processes, in PostgreSQL. One of them writes at a time. Each keeps the books in memory: a transaction begins by
 * reading what others have changed since. What is asked while a transaction is under way goes together with the next one.
 */
export class PostgresFlowStore extends BookedFlowStore {
  readonly #server: Pool;
  readonly #schema: string;
  readonly #rememberMs: number;
  readonly #wallMs: () => number;
  #books = new Books();
  /** The revision that the books have; undefined: they must be read. */
  #revision: number | undefined;
  /** The name of that revision; undefined: it has none. */
  #token: string | undefined;
  #isPrepared = false;
  #jobs: Job[] = [];
  #working: Promise<void> | undefined;
  #closed = false;

  /** Connects and creates missing tables at the first use. */
  constructor(connectionString: string, options: PostgresFlowStoreOptions = {}) {
    super();
    this.#schema = options.schema ?? "flow_controller";
    this.#rememberMs = options.rememberMs ?? rememberMs;
    this.#wallMs = options.wallMs ?? Date.now;
    this.#server = new Pool({
      connectionString,
      max: 2,
      application_name: "flow-crud",
      connectionTimeoutMillis: timeoutMs,
      statement_timeout: timeoutMs,
      // The server keeps the bound itself, unless it is frozen, or cut off.
      query_timeout: timeoutMs + 1_000,
      // A process that stands still must not keep the others from writing.
      idle_in_transaction_session_timeout: standstillMs,
    });
    // A statement that loses its connection fails by itself. Between statements, the next one connects anew. Meanwhile the database may have
    // been restored from a backup.
    this.#server.on("error", () => (this.#revision = undefined));
  }

  async lastBook(): Promise<BookMark | undefined> {
    const [row] = await this.#query(`SELECT name, generation FROM ${this.#schema}.book`);
    return row === undefined ? undefined : bookMarkOf(row);
  }

  async noteBook({ name, generation }: BookMark): Promise<void> {
    await this.#query(
      `INSERT INTO ${this.#schema}.book VALUES (0, $1, $2)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, generation = excluded.generation`,
      [name, generation],
    );
  }

  async #query(text: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    this.#checkOpen();
    try {
      await this.#prepare();
      return (await this.#server.query<Record<string, unknown>>(text, [...values])).rows;
    } catch (cause) {
      throw unavailable(cause);
    }
  }

  async audit(): Promise<readonly string[]> {
    this.#checkOpen();
    let client: PoolClient | undefined;
    try {
      await this.#prepare();
      client = await this.#connect();
      const content = contentOf(await many(client, beginOf(this.#schema, undefined, false)));
      const results = await many(client, claimsOf(this.#schema));
      await client.query("COMMIT");
      client.release();
      const claims = tables.flatMap((kind, index) =>
        ((results[index]?.rows ?? []) as Row[]).map((row) => claimOf(kind, row)),
      );
      return auditOf({ ...content, claims });
    } catch (cause) {
      client?.release(true);
      throw unavailable(cause);
    }
  }

  /** Ends when all that was asked for is done. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#working;
    await this.#server.end();
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new WheelworkError("WW_STORE_UNAVAILABLE", "the store of flows is closed", {
      next: "Open it again.",
    });
  }

  protected read<T>(work: (books: Books) => T): Promise<T> {
    return this.#ask(work, false, undefined);
  }

  protected known<T>(look: (books: Books, now: number) => T): T {
    return look(this.#books, this.#wallMs());
  }

  protected write<T>(work: (books: Books, now: number) => T, flowId?: string): Promise<T> {
    return this.#ask(work, true, flowId);
  }

  async #ask<T>(
    work: (books: Books, now: number) => T,
    writes: boolean,
    flowId: string | undefined,
  ): Promise<T> {
    this.#checkOpen();
    return new Promise<T>((resolve, reject) => {
      this.#jobs.push({ work, writes, flowId, resolve, reject, attempts: 0, isAlone: false });
      this.#working ??= this.#workOff();
    });
  }

  async #workOff(): Promise<void> {
    // What comes in the same turn goes with the first transaction.
    await Promise.resolve();
    while (this.#jobs.length > 0) {
      const alone = this.#jobs.findIndex(({ isAlone }) => isAlone);
      const batch = this.#jobs.splice(0, alone === 0 ? 1 : alone < 0 ? mostJobs : Math.min(alone, mostJobs));
      try {
        const results = await this.#perform(batch);
        const [done, left] = [batch.slice(0, results.length), batch.slice(results.length)];
        for (const [index, { resolve }] of done.entries()) resolve(results[index] as never);
        this.#jobs.unshift(...left);
      } catch (error) {
        // Nobody knows whether it was written, and the books know more than the database.
        this.#revision = undefined;
        this.#jobs.unshift(...batch.filter((job) => this.#isTriedAgain(job, batch, error)));
      }
    }
    this.#working = undefined;
  }

  /** Whether a job of a batch that has failed is tried again. If not, it is rejected. Each is guarded, so it does no harm twice. */
  #isTriedAgain(job: Job, batch: readonly Job[], error: unknown): boolean {
    if (error instanceof JobError) {
      if (job !== error.job) return true;
      job.reject(error.cause);
      return false;
    }
    job.attempts++;
    if (isRace(error) && job.attempts < tries) return true;
    if (isOfServer(error) && batch.length > 1) {
      // One of them is to blame, and the others are not.
      job.isAlone = true;
      return true;
    }
    job.reject(unavailable(error));
    return false;
  }

  async #connect(): Promise<PoolClient> {
    const client = await this.#server.connect();
    // The query under way fails by itself. Without a listener, a lost connection would end the process as well.
    if (!client.listeners("error").includes(ignore)) client.on("error", ignore);
    return client;
  }

  async #prepare(): Promise<void> {
    if (this.#isPrepared) return;
    await this.#server.query(tablesOf(this.#schema));
    this.#isPrepared = true;
  }

  /** Does the jobs of a batch in one transaction. @returns The results of those that it had the time for, in their order. */
  async #perform(batch: readonly Job[]): Promise<unknown[]> {
    await this.#prepare();
    const writes = batch.some((job) => job.writes);
    const client = await this.#connect();
    let hasFailed = true;
    try {
      await this.#refresh(client, writes);
      await this.#admit(client, batch);
      const now = this.#wallMs();
      const results: unknown[] = [];
      const begin = performance.now();
      for (const job of batch) {
        try {
          results.push(job.work(this.#books, now));
        } catch (cause) {
          throw new JobError(job, cause);
        }
        if (performance.now() - begin > turnMs) break;
      }
      this.#books.dismiss();
      const changes = this.#books.takeChanges();
      const token = randomUUID();
      const revision = await this.#save(client, changes, now, token);
      await client.query("COMMIT");
      if (revision !== this.#revision) this.#token = token;
      this.#revision = revision;
      hasFailed = false;
      return results;
    } finally {
      // A connection whose transaction has not ended is closed, and so the transaction ends.
      client.release(hasFailed);
    }
  }

  /** Begins a transaction, and brings the books up to date. */
  async #refresh(client: PoolClient, writes: boolean): Promise<void> {
    this.#revision ??= await this.#load(client);
    const content = contentOf(await many(client, beginOf(this.#schema, this.#revision, writes)));
    const known = this.#revision;
    const isOther = this.#token !== undefined && content.tokens.get(known) !== this.#token;
    if (known < content.forgotten || content.revision < known || isOther) {
      // What has gone meanwhile is not to be found any more, or the database was restored from a backup.
      await client.query("ROLLBACK");
      this.#revision = undefined;
      return this.#refresh(client, writes);
    }
    if (known !== content.revision) this.#books.update(content);
    this.#revision = content.revision;
    this.#token = content.tokens.get(content.revision);
  }

  /** Reads all. It keeps nobody from writing meanwhile. @returns The revision of the books. */
  async #load(client: PoolClient): Promise<number> {
    await client.query(`SET statement_timeout = ${loadMs}`);
    const content = contentOf(await many(client, beginOf(this.#schema, undefined, false), loadMs));
    await client.query(`COMMIT; SET statement_timeout = ${timeoutMs}`);
    this.#books = booksOf(content);
    this.#token = content.tokens.get(content.revision);
    return content.revision;
  }

  /** Reads the guards of flows that are gone. */
  async #admit(client: PoolClient, batch: readonly Job[]): Promise<void> {
    const missing = batch.flatMap(({ flowId }) =>
      flowId === undefined || this.#books.has(flowId) ? [] : [flowId],
    );
    if (missing.length === 0) return;
    const { rows } = await client.query<{ record: string }>(
      "SELECT record FROM flow WHERE flow_id = ANY ($1) AND gone_at IS NOT NULL",
      [missing],
    );
    for (const { record } of rows) this.#books.admit(recordOfText(record));
  }

  /** Writes what has changed. @returns The revision from now on. */
  async #save(client: PoolClient, changes: Changes, now: number, token: string): Promise<number> {
    const { flows, links, switches, added, removed } = changes;
    const known = this.#revision as number;
    if (flows.size + links.size + switches.size === 0) return known;
    const { version, nextPath } = this.#books.counters;
    const written = {
      revision: known + 1,
      token,
      version,
      nextPath,
      forgetBefore: now - this.#rememberMs,
      switches: [...switches].map((switchId) => ({
        switch_id: switchId,
        record: JSON.stringify(this.#books.switch(switchId)),
      })),
      links: [...links].map(({ key, arcs, isUp, cost, latencyMs, isLatencySet, bandwidth, used }) => {
        const { from, fromPort, to, toPort } = segmentOf(arcs[0]);
        return {
          link_key: key,
          from_switch: from,
          from_port: fromPort,
          to_switch: to,
          to_port: toPort,
          is_up: isUp,
          cost,
          latency_ms: latencyMs,
          is_latency_set: isLatencySet,
          bandwidth,
          used,
        };
      }),
      flows: [...flows.values()].map((record) => ({
        flow_id: record.flowId,
        record: textOf(record),
        gone_at: goneAtOf(record),
      })),
      added: rowsOf(added.values()),
      removed: rowsOf(removed.values()),
    };
    await client.query(`SELECT ${this.#schema}.apply_changes($1)`, [JSON.stringify(written)]);
    return known + 1;
  }
}

const ignore = (): void => {};

/** The rows of claims, by their tables. */
function rowsOf(claims: Iterable<Claim>): Record<Claim["kind"], Row[]> {
  const rows: Record<Claim["kind"], Row[]> = { path: [], endpoint: [], vlan: [], meter: [], share: [] };
  for (const claim of claims) {
    const all = { ...claim } as Partial<Record<string, unknown>>;
    rows[claim.kind].push({
      switch_id: all["switchId"],
      port: all["port"],
      vlan: all["vlan"],
      meter: all["meter"],
      path_id: all["pathId"],
      flow_id: all["flowId"],
      link_key: all["link"],
      kbps: all["kbps"],
    });
  }
  return rows;
}

/** The results of the statements of one text. */
const many = async (client: PoolClient, text: string, withinMs = timeoutMs): Promise<QueryResult[]> => {
  const query = { text, query_timeout: withinMs + 1_000 };
  return (await client.query(query)) as unknown as QueryResult[];
};

/** What a transaction has read as it began. */
function contentOf(results: readonly QueryResult[]): Omit<Dump, "claims"> & {
  readonly revision: number;
  readonly forgotten: number;
  readonly tokens: ReadonlyMap<number, string>;
} {
  const [states = [], switches = [], links = [], flows = [], lineage = []] = results
    .slice(2)
    .map(({ rows }) => rows as Row[]);
  const state = states[0] as Row;
  return {
    counters: { version: Number(state["version"]), nextPath: Number(state["next_path"]) },
    revision: Number(state["revision"]),
    forgotten: Number(state["forgotten"]),
    tokens: new Map(lineage.map(({ revision, token }) => [Number(revision), String(token)])),
    switches: switches.map(({ record }) => JSON.parse(String(record)) as StoredSwitch),
    links: links.map(linkOf),
    flows: flows.map(({ record }) => recordOfText(String(record))),
  };
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "";

/** Whether another writer came between: a serialization failure, a deadlock, or a constraint that what the books knew did not show. */
const isRace = (error: unknown): boolean => /^(?:40|23)...$|^55P03$/.test(codeOf(error));

/** Whether the server has refused it, and is there: not that it shuts down, starts, or has no connection left. */
const isOfServer = (error: unknown): boolean =>
  /^[0-9A-Z]{5}$/.test(codeOf(error)) && !/^(?:57|53|08|25)/.test(codeOf(error));

/** It may have been done or not. Each step can be repeated. */
const unavailable = (cause: unknown): WheelworkError =>
  cause instanceof WheelworkError
    ? cause
    : new WheelworkError("WW_STORE_UNAVAILABLE", "the store of flows cannot be reached", {
        next: "Check that the PostgreSQL server runs and can be reached.",
        retryable: true,
        cause,
      });
