import type { DatabaseSync, StatementSync } from "node:sqlite";
import { GroupCommit, openDatabase, type DatabaseDurability } from "./database.ts";
import {
  defaults,
  type Held,
  type PoolOptions,
  type ResourcePool,
  type Resources,
  type Wanted,
} from "./resources.ts";

/** What the pool has given to a request. */
export interface Allocation extends Wanted, Resources {
  /** The request is known to have ended well: the flow is up. */
  readonly up: boolean;
}

/** What the pool can be set to. */
export interface SqlitePoolOptions extends PoolOptions {
  readonly durability?: DatabaseDurability;
  /** For tests. Runs a task after what is ready now. */
  readonly soon?: (task: () => void) => void;
  readonly wallMs?: () => number;
}

// `released`: requests that have given their resources back. They may not allocate again, or an attempt that was under
// way during the release would leave resources that nobody gives back.
const schema = `
CREATE TABLE IF NOT EXISTS allocation (
  cookie INTEGER PRIMARY KEY AUTOINCREMENT,
  idempotency_key TEXT NOT NULL UNIQUE,
  request TEXT NOT NULL,
  flowid TEXT NOT NULL,
  meter INTEGER NOT NULL UNIQUE,
  path TEXT NOT NULL,
  rules INTEGER NOT NULL,
  up INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS allocation_request ON allocation (request);
CREATE INDEX IF NOT EXISTS allocation_flowid ON allocation (flowid);
CREATE INDEX IF NOT EXISTS allocation_pending ON allocation (cookie) WHERE up = 0;
CREATE TABLE IF NOT EXISTS free_meter (meter INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS released (request TEXT PRIMARY KEY, flowid TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS released_flowid ON released (flowid);
CREATE INDEX IF NOT EXISTS released_at ON released (at);
`;

const sql = {
  known: "SELECT * FROM allocation WHERE idempotency_key = ?",
  isReleased: "SELECT 1 FROM released WHERE request = ?",
  freeMeter: "DELETE FROM free_meter WHERE meter = (SELECT min(meter) FROM free_meter) RETURNING meter",
  lastMeter: "SELECT max(meter) AS meter FROM allocation",
  insert: `INSERT INTO allocation (idempotency_key, request, flowid, meter, path, rules) VALUES (?, ?, ?, ?, ?, ?) RETURNING *`,
  remove: "DELETE FROM allocation WHERE request = ? RETURNING meter",
  addMeter: "INSERT INTO free_meter (meter) VALUES (?)",
  release: "INSERT OR IGNORE INTO released (request, flowid, at) VALUES (?, ?, ?)",
  forget:
    "DELETE FROM released WHERE request IN (SELECT request FROM released WHERE at < ? ORDER BY at LIMIT 100)",
  activate: "UPDATE allocation SET up = 1 WHERE request = ?",
  ofFlow: "SELECT * FROM allocation WHERE flowid = ? ORDER BY cookie DESC",
  pending: "SELECT * FROM allocation WHERE up = 0 AND cookie > ? ORDER BY cookie LIMIT 1000",
  lastReleased: "SELECT request FROM released WHERE flowid = ? ORDER BY at DESC LIMIT 1",
};

/** The pool of one process. It keeps the flows too, in its own small database. */
export class SqliteResourcePool implements ResourcePool {
  readonly #db: DatabaseSync;
  readonly #group: GroupCommit;
  readonly #statements: Readonly<Record<keyof typeof sql, StatementSync>>;
  readonly #meters: number;
  readonly #rememberMs: number;
  readonly #wallMs: () => number;
  #closed = false;

  constructor(path: string, options: SqlitePoolOptions = {}) {
    const { soon = (task: () => void) => void setImmediate(task) } = options;
    this.#meters = options.meters ?? defaults.meters;
    this.#rememberMs = options.rememberMs ?? defaults.rememberMs;
    this.#wallMs = options.wallMs ?? Date.now;
    this.#db = openDatabase(path, schema, options.durability);
    this.#group = new GroupCommit(this.#db, { soon: (task) => soon(() => void (this.#closed || task())) });
    const prepared = Object.entries(sql).map(([name, text]) => [name, this.#db.prepare(text)] as const);
    this.#statements = Object.fromEntries(prepared) as Record<keyof typeof sql, StatementSync>;
  }

  allocate(key: string, wanted: Wanted): Promise<Allocation | "exhausted" | "released"> {
    const { known, isReleased, freeMeter, lastMeter, insert, release } = this.#statements;
    return this.#group.run(() => {
      const before = known.get(key);
      if (before !== undefined) return toAllocation(before);
      if (isReleased.get(wanted.request) !== undefined) return "released";
      const meter = freeMeter.get()?.["meter"] ?? Number(lastMeter.get()?.["meter"] ?? 0) + 1;
      const { request, flowid, path, rules } = wanted;
      if (Number(meter) > this.#meters) {
        // It gets nothing later either: an attempt that is still under way elsewhere must not find a meter after all.
        release.run(request, flowid, this.#wallMs());
        return "exhausted";
      }
      return toAllocation(insert.get(key, request, flowid, meter, JSON.stringify(path), rules) as Row);
    });
  }

  release(request: string, flowid: string): Promise<boolean> {
    const { remove, addMeter, release, forget } = this.#statements;
    return this.#group.run(() => {
      const now = this.#wallMs();
      const removed = remove.all(request);
      for (const { meter } of removed) addMeter.run(meter as number);
      release.run(request, flowid, now);
      forget.run(now - this.#rememberMs);
      return removed.length > 0;
    });
  }

  /** Notes that a request has ended well. */
  async activate(request: string): Promise<void> {
    await this.#group.run(() => this.#statements.activate.run(request));
  }

  /** What all requests have. */
  held(): readonly Held[] {
    return this.#db
      .prepare("SELECT request, flowid, rules FROM allocation ORDER BY cookie")
      .all()
      .map(toHeld);
  }

  /** What the newest requests have that are known to have ended well. */
  newestUp(limit: number): readonly Held[] {
    return this.#db
      .prepare("SELECT request, flowid, rules FROM allocation WHERE up = 1 ORDER BY cookie DESC LIMIT ?")
      .all(limit)
      .map(toHeld);
  }

  /** What the requests for a flow have, the newest first. */
  allocationsOf(flowid: string): Allocation[] {
    return this.#statements.ofFlow.all(flowid).map(toAllocation);
  }

  /** What requests have of which is not known yet how they ended: the next thousand after a cookie. */
  pendingAfter(cookie: number): Allocation[] {
    return this.#statements.pending.all(cookie).map(toAllocation);
  }

  /** The last request for a flow that has released its resources. */
  lastReleased(flowid: string): string | undefined {
    return this.#statements.lastReleased.get(flowid)?.["request"] as string | undefined;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#db.close();
  }
}

type Row = Record<string, unknown>;

const toHeld = ({ request, flowid, rules }: Row): Held => ({
  request: String(request),
  flowid: String(flowid),
  rules: Number(rules),
});

function toAllocation(row: Row): Allocation {
  return {
    request: String(row["request"]),
    flowid: String(row["flowid"]),
    cookie: Number(row["cookie"]),
    meter: Number(row["meter"]),
    path: JSON.parse(String(row["path"])) as string[],
    rules: Number(row["rules"]),
    up: row["up"] === 1,
  };
}
