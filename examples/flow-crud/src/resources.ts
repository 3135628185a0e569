import type { DatabaseSync, StatementSync } from "node:sqlite";
import { worker, type Worker } from "wheelwork";
import { GroupCommit, openDatabase, type DatabaseDurability } from "./database.ts";
import { defaultSwitches, pathOf } from "./network.ts";
import type { FlowSpokes } from "./spokes.ts";

/** What the pool has given to a request. */
export interface Allocation {
  readonly request: string;
  readonly flowid: string;
  readonly cookie: number;
  readonly meter: number;
  readonly path: readonly string[];
  readonly rules: number;
  /** The request is known to have ended well: the flow is up. */
  readonly up: boolean;
}

/** What the pool can be set to. */
export interface ResourcePoolOptions {
  /** How many meters there are. Default 1,000,000. */
  readonly meters?: number;
  readonly durability?: DatabaseDurability;
  /** How long a released request is remembered, in milliseconds. Default 7 days. */
  readonly rememberMs?: number;
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

const day = 86_400_000;

/** The application's resources: cookies and meters, kept with their flows in a small database of its own. */
export class ResourcePool {
  readonly #db: DatabaseSync;
  readonly #group: GroupCommit;
  readonly #statements: Readonly<Record<keyof typeof sql, StatementSync>>;
  readonly #meters: number;
  readonly #rememberMs: number;
  readonly #wallMs: () => number;
  #closed = false;

  constructor(path: string, options: ResourcePoolOptions = {}) {
    const { soon = (task: () => void) => void setImmediate(task) } = options;
    this.#meters = options.meters ?? 1_000_000;
    this.#rememberMs = options.rememberMs ?? 7 * day;
    this.#wallMs = options.wallMs ?? Date.now;
    this.#db = openDatabase(path, schema, options.durability);
    this.#group = new GroupCommit(this.#db, (task) => soon(() => void (this.#closed || task())));
    const prepared = Object.entries(sql).map(([name, text]) => [name, this.#db.prepare(text)] as const);
    this.#statements = Object.fromEntries(prepared) as Record<keyof typeof sql, StatementSync>;
  }

  /**
   * Gives a request a cookie and a meter. The same idempotency key gets the same ones again.
   * @returns Or why not: there is no meter left, or the request has released its resources already.
   */
  allocate(
    key: string,
    wanted: {
      readonly request: string;
      readonly flowid: string;
      readonly path: readonly string[];
      readonly rules: number;
    },
  ): Promise<Allocation | "exhausted" | "released"> {
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

  /** Takes back all that a request has; it gets nothing from now on. Whether it had anything. */
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

/** The workers of PathComputer, RuleComputer and ResourcePool. */
export function resourceWorkers(
  spokes: FlowSpokes,
  pool: ResourcePool,
  switches = defaultSwitches,
): Worker[] {
  return [
    worker(spokes.computePath, ({ length }) => ({ path: pathOf(length, switches) })),
    worker(spokes.computeRules, ({ length }) => ({ rules: Array.from({ length }, (_, ruleid) => ruleid) })),
    worker(spokes.allocate, async ({ flowid, length, path }, context) => {
      const wanted = { request: context.requestId, flowid, path, rules: length };
      const given = await pool.allocate(context.idempotencyKey, wanted);
      if (given === "exhausted") return context.fail("exhausted", "no meter is left");
      if (given === "released") return context.fail("released", "the request has released its resources");
      return { cookie: given.cookie, meter: given.meter };
    }),
    worker(spokes.release, async ({ flowid }, context) => ({
      released: await pool.release(context.requestId, flowid),
    })),
  ];
}
