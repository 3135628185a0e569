import type { DatabaseSync, StatementSync } from "node:sqlite";
import { WheelworkError } from "wheelwork";
import { GroupCommit, openDatabase, type DatabaseDurability, type GroupOptions } from "../database.ts";
import { BookedFlowStore } from "./booked-flow-store.ts";
import { Books, type Counters } from "./books.ts";
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
import { segmentOf } from "./graph.ts";
import type { BookMark, StoredSwitch } from "./store.ts";

/** What the store in a file can be set to. */
export interface SqliteFlowStoreOptions {
  readonly durability?: DatabaseDurability;
  /** How long the guard of a flow is kept after the flow is gone, in milliseconds. Default: a week. */
  readonly rememberMs?: number;
  /** How long one transaction may take in which many operations come together, in milliseconds: the rest waits for its turn. Default 50. */
  readonly turnMs?: number;
  /** For tests. Runs a task after what is ready now. */
  readonly soon?: (task: () => void) => void;
  /** For tests. What puts the log on the disk. */
  readonly sync?: GroupOptions["sync"];
  /** For tests. Milliseconds since 1970. */
  readonly wallMs?: () => number;
}

// What one flow has comes together: it is written to one page, and needs no index of its own.
const shareTable = `
CREATE TABLE IF NOT EXISTS share (
  link_key TEXT NOT NULL REFERENCES link,
  flow_id TEXT NOT NULL REFERENCES flow,
  kbps INTEGER NOT NULL CHECK (kbps >= 0),
  PRIMARY KEY (flow_id, link_key)
) WITHOUT ROWID;`;

/** In files of earlier versions, the rows of `share` are in the order of their links. */
function sortShares(db: DatabaseSync): void {
  const first = db.prepare("SELECT name FROM pragma_table_info('share') WHERE pk = 1").get();
  if (first?.["name"] !== "link_key") return;
  db.exec(`
BEGIN IMMEDIATE;
ALTER TABLE share RENAME TO former_share;
${shareTable}
INSERT INTO share SELECT link_key, flow_id, kbps FROM former_share;
DROP TABLE former_share;
COMMIT`);
}

// `flow.record` has a flow with its layouts. What flows have of the network is in tables of its own as well, so that the database itself
// refuses that two have the same, or more of a link than it has.
const schema = `
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  next_path INTEGER NOT NULL
);
INSERT OR IGNORE INTO state VALUES (1, 0, 1);
CREATE TRIGGER IF NOT EXISTS state_rises BEFORE UPDATE ON state
WHEN NEW.version < OLD.version OR NEW.next_path < OLD.next_path
BEGIN SELECT RAISE(ABORT, 'versions and ids of paths are never given again'); END;
CREATE TABLE IF NOT EXISTS switch (switch_id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS link (
  link_key TEXT PRIMARY KEY,
  from_switch TEXT NOT NULL REFERENCES switch,
  from_port INTEGER NOT NULL,
  to_switch TEXT NOT NULL REFERENCES switch,
  to_port INTEGER NOT NULL,
  is_up INTEGER NOT NULL,
  cost INTEGER NOT NULL CHECK (cost >= 0),
  latency_ms REAL NOT NULL CHECK (latency_ms >= 0),
  is_latency_set INTEGER NOT NULL,
  bandwidth INTEGER NOT NULL,
  used INTEGER NOT NULL,
  CHECK (used BETWEEN 0 AND bandwidth)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS flow (
  flow_id TEXT PRIMARY KEY,
  record TEXT NOT NULL,
  gone_at INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS flow_gone ON flow (gone_at) WHERE gone_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS path (
  path_id INTEGER PRIMARY KEY,
  flow_id TEXT NOT NULL REFERENCES flow
);
CREATE TABLE IF NOT EXISTS endpoint (
  switch_id TEXT NOT NULL REFERENCES switch,
  port INTEGER NOT NULL,
  vlan INTEGER NOT NULL CHECK (vlan BETWEEN 0 AND 4095),
  flow_id TEXT NOT NULL REFERENCES flow,
  PRIMARY KEY (switch_id, port, vlan)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vlan (
  switch_id TEXT NOT NULL REFERENCES switch,
  vlan INTEGER NOT NULL CHECK (vlan BETWEEN 2 AND 4094),
  path_id INTEGER NOT NULL REFERENCES path,
  PRIMARY KEY (switch_id, vlan)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meter (
  switch_id TEXT NOT NULL REFERENCES switch,
  meter INTEGER NOT NULL CHECK (meter BETWEEN 32 AND 2500),
  path_id INTEGER NOT NULL REFERENCES path,
  PRIMARY KEY (switch_id, meter)
) WITHOUT ROWID;
${shareTable}
CREATE INDEX IF NOT EXISTS path_flow ON path (flow_id);
CREATE INDEX IF NOT EXISTS endpoint_flow ON endpoint (flow_id);
CREATE TABLE IF NOT EXISTS book (id INTEGER PRIMARY KEY CHECK (id = 0), name TEXT NOT NULL, generation INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS vlan_path ON vlan (path_id);
CREATE INDEX IF NOT EXISTS meter_path ON meter (path_id);
`;

const sql = {
  dataVersion: "PRAGMA data_version",
  state: "SELECT * FROM state",
  switches: "SELECT record FROM switch",
  links: "SELECT * FROM link",
  flows: "SELECT record FROM flow WHERE gone_at IS NULL",
  flow: "SELECT record FROM flow WHERE flow_id = ? AND gone_at IS NOT NULL",
  paths: "SELECT * FROM path",
  endpoints: "SELECT * FROM endpoint",
  vlans: "SELECT * FROM vlan",
  meters: "SELECT * FROM meter",
  shares: "SELECT * FROM share",
  putState: "UPDATE state SET version = ?, next_path = ?",
  putSwitch:
    "INSERT INTO switch VALUES (?, ?) ON CONFLICT (switch_id) DO UPDATE SET record = excluded.record",
  putLink: `INSERT INTO link VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (link_key) DO UPDATE SET is_up = excluded.is_up,
    cost = excluded.cost, latency_ms = excluded.latency_ms, is_latency_set = excluded.is_latency_set,
    bandwidth = excluded.bandwidth, used = excluded.used`,
  putFlow:
    "INSERT INTO flow VALUES (?, ?, ?) ON CONFLICT (flow_id) DO UPDATE SET record = excluded.record, gone_at = excluded.gone_at",
  forget: `DELETE FROM flow WHERE flow_id IN
    (SELECT flow_id FROM flow WHERE gone_at < ? ORDER BY gone_at LIMIT 100)`,
  addPath: "INSERT INTO path VALUES (?, ?)",
  addEndpoint: "INSERT INTO endpoint VALUES (?, ?, ?, ?)",
  addVlan: "INSERT INTO vlan VALUES (?, ?, ?)",
  addMeter: "INSERT INTO meter VALUES (?, ?, ?)",
  addShare: "INSERT INTO share VALUES (?, ?, ?)",
  removePath: "DELETE FROM path WHERE path_id = ?",
  removeEndpoint: "DELETE FROM endpoint WHERE switch_id = ? AND port = ? AND vlan = ?",
  removeVlan: "DELETE FROM vlan WHERE switch_id = ? AND vlan = ?",
  removeMeter: "DELETE FROM meter WHERE switch_id = ? AND meter = ?",
  removeShare: "DELETE FROM share WHERE link_key = ? AND flow_id = ?",
};

/** How long after a look for guards to forget the next one follows, in milliseconds. */
const forgetEveryMs = 1_000;

/** An operation has failed by itself, and not by the database. */
class OperationError extends Error {
  constructor(cause: unknown) {
    super("an operation has failed", { cause });
  }
}

/**
 * The store of one process, in a file. What it decides by is in memory. What comes in one turn of the event loop shares one commit, and is
 * written together: a link on which ten flows begin is written once. The store notices if another process has written, and reads all anew.
 */
export class SqliteFlowStore extends BookedFlowStore {
  readonly #db: DatabaseSync;
  readonly #group: GroupCommit;
  readonly #statements: Readonly<Record<keyof typeof sql, StatementSync>>;
  readonly #rememberMs: number;
  readonly #wallMs: () => number;
  #books = new Books();
  /** What the file said of writes by others when the books were read; undefined: they must be read. */
  #dataVersion: unknown;
  /** The counters that the file has. */
  #counters: Counters | undefined;
  #forgotAt = 0;
  #closed = false;

  /**
   * Opens the file, and creates missing tables.
   * @throws WheelworkError WW_STORE_UNAVAILABLE.
   */
  constructor(path: string, options: SqliteFlowStoreOptions = {}) {
    super();
    const { soon = (task: () => void) => void setImmediate(task), turnMs = 50 } = options;
    this.#rememberMs = options.rememberMs ?? rememberMs;
    this.#wallMs = options.wallMs ?? Date.now;
    this.#db = openDatabase(path, schema, options.durability, sortShares);
    this.#group = new GroupCommit(this.#db, {
      soon,
      turnMs,
      begun: () => this.#refresh(),
      ending: () => this.#save(),
      // The books know more than the file: they must be read.
      undone: () => (this.#dataVersion = undefined),
      disk: "aside",
      ...(options.sync === undefined ? {} : { sync: options.sync }),
    });
    const prepared = Object.entries(sql).map(([name, text]) => [name, this.#db.prepare(text)] as const);
    this.#statements = Object.fromEntries(prepared) as Record<keyof typeof sql, StatementSync>;
  }

  lastBook(): Promise<BookMark | undefined> {
    return this.read(() => {
      const row = this.#db.prepare("SELECT name, generation FROM book").get();
      return row === undefined ? undefined : bookMarkOf(row);
    });
  }

  async noteBook({ name, generation }: BookMark): Promise<void> {
    this.#checkOpen();
    const write = this.#group.run(() => {
      this.#db.prepare("INSERT OR REPLACE INTO book VALUES (0, ?, ?)").run(name, generation);
    });
    await write.catch((cause: unknown) => {
      throw unavailable(cause);
    });
  }

  audit(): Promise<readonly string[]> {
    return this.read(() => auditOf(this.#dump()));
  }

  /** Ends when all that was asked for is done. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#group.run(() => {}).catch(() => {});
    this.#group.close();
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new WheelworkError("WW_STORE_UNAVAILABLE", "the store of flows is closed", {
      next: "Open it again.",
    });
  }

  protected async read<T>(read: (books: Books) => T): Promise<T> {
    this.#checkOpen();
    try {
      // Nobody is told of what the disk does not have yet.
      await this.#group.settled();
    } catch (cause) {
      throw unavailable(cause);
    }
    this.#checkOpen();
    this.#refresh();
    return read(this.#books);
  }

  protected known<T>(look: (books: Books, now: number) => T): T {
    return look(this.#books, this.#wallMs());
  }

  protected async write<T>(work: (books: Books, now: number) => T, flowId?: string): Promise<T> {
    this.#checkOpen();
    try {
      return await this.#group.run(() => this.#perform(work, flowId));
    } catch (cause) {
      // Nobody knows whether it is on the disk.
      this.#dataVersion = undefined;
      throw cause instanceof OperationError ? cause.cause : unavailable(cause);
    }
  }

  /** Does one operation on the books, which are those of the file and of what its group has done before. */
  #perform<T>(work: (books: Books, now: number) => T, flowId: string | undefined): T {
    if (flowId !== undefined && this.#books.find(flowId) === undefined) {
      const row = this.#statements.flow.get(flowId);
      if (row !== undefined) this.#books.admit(recordOfText(String(row["record"])));
    }
    try {
      return work(this.#books, this.#wallMs());
    } catch (cause) {
      throw new OperationError(cause);
    }
  }

  /** Writes what the operations of a group have changed. */
  #save(): void {
    const { flows, removed, added, links, switches } = this.#books.takeChanges();
    this.#books.dismiss();
    const to = this.#statements;
    for (const claim of removed.values()) if (claim.kind !== "path") this.#remove(claim);
    for (const claim of removed.values()) if (claim.kind === "path") this.#remove(claim);
    for (const switchId of switches) to.putSwitch.run(switchId, JSON.stringify(this.#books.switch(switchId)));
    for (const { key, arcs, isUp, cost, latencyMs, isLatencySet, bandwidth, used } of links) {
      const { from, fromPort, to: end, toPort } = segmentOf(arcs[0]);
      const properties = [Number(isUp), cost, latencyMs, Number(isLatencySet), bandwidth, used] as const;
      to.putLink.run(key, from, fromPort, end, toPort, ...properties);
    }
    for (const [flowId, record] of flows) to.putFlow.run(flowId, textOf(record), goneAtOf(record));
    for (const claim of added.values()) if (claim.kind === "path") to.addPath.run(claim.pathId, claim.flowId);
    for (const claim of added.values()) this.#add(claim);
    const { counters } = this.#books;
    if (counters !== this.#counters) to.putState.run(counters.version, counters.nextPath);
    this.#counters = counters;
    const now = this.#wallMs();
    if (now - this.#forgotAt < forgetEveryMs) return;
    this.#forgotAt = now;
    to.forget.run(now - this.#rememberMs);
  }

  #add(claim: Claim): void {
    const { addEndpoint, addVlan, addMeter, addShare } = this.#statements;
    switch (claim.kind) {
      case "endpoint":
        addEndpoint.run(claim.switchId, claim.port, claim.vlan, claim.flowId);
        break;
      case "vlan":
        addVlan.run(claim.switchId, claim.vlan, claim.pathId);
        break;
      case "meter":
        addMeter.run(claim.switchId, claim.meter, claim.pathId);
        break;
      case "share":
        addShare.run(claim.link, claim.flowId, claim.kbps);
        break;
      case "path":
    }
  }

  #remove(claim: Claim): void {
    const { removePath, removeEndpoint, removeVlan, removeMeter, removeShare } = this.#statements;
    switch (claim.kind) {
      case "path":
        removePath.run(claim.pathId);
        break;
      case "endpoint":
        removeEndpoint.run(claim.switchId, claim.port, claim.vlan);
        break;
      case "vlan":
        removeVlan.run(claim.switchId, claim.vlan);
        break;
      case "meter":
        removeMeter.run(claim.switchId, claim.meter);
        break;
      case "share":
        removeShare.run(claim.link, claim.flowId);
    }
  }

  /** Reads the books if they are not those of the file. */
  #refresh(): void {
    const dataVersion = this.#statements.dataVersion.get()?.["data_version"];
    if (dataVersion === this.#dataVersion) return;
    this.#load();
    this.#dataVersion = dataVersion;
  }

  #load(): void {
    this.#books = booksOf(this.#content());
    this.#counters = this.#books.counters;
  }

  /** What the books are made of. */
  #content(): Omit<Dump, "claims"> {
    const from = this.#statements;
    const state = from.state.get() as Row;
    return {
      counters: { version: Number(state["version"]), nextPath: Number(state["next_path"]) },
      switches: from.switches.all().map(({ record }) => JSON.parse(String(record)) as StoredSwitch),
      links: from.links.all().map(linkOf),
      flows: from.flows.all().map(({ record }) => recordOfText(String(record))),
    };
  }

  #dump(): Dump {
    const from = this.#statements;
    return {
      ...this.#content(),
      claims: [
        ...from.paths.all().map((row) => claimOf("path", row)),
        ...from.endpoints.all().map((row) => claimOf("endpoint", row)),
        ...from.vlans.all().map((row) => claimOf("vlan", row)),
        ...from.meters.all().map((row) => claimOf("meter", row)),
        ...from.shares.all().map((row) => claimOf("share", row)),
      ],
    };
  }
}

const unavailable = (cause: unknown): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", "the store of flows cannot be written", {
    next: "Check that the disk is not full and that the file may be written to.",
    retryable: true,
    cause,
  });
