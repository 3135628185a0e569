import type { DatabaseSync, StatementSync } from "node:sqlite";
import { GroupCommit, openDatabase, type DatabaseDurability } from "../database.ts";
import { switchOf } from "../network.ts";
import {
  keyOfRule,
  keysOf,
  pageOfRules,
  type HeldRules,
  type InstalledRule,
  type RulesFilter,
  type RulesPage,
  type Switches,
} from "./switches.ts";
import type { AnswerWord, Command } from "./wire.ts";

/** What simulated switches can be set to. */
export interface SimulatedOptions {
  /** The file of the rule tables. */
  readonly path: string;
  readonly switches: number;
  /** Rules that one switch holds; more are refused. */
  readonly tableSize: number;
  readonly durability: DatabaseDurability;
  /** How long a removed rule stays fenced, in milliseconds. */
  readonly fenceMs: number;
  readonly soon: (task: () => void) => void;
  readonly wallMs: () => number;
  /** The requests that have rules, whatever the file says. Default: those of the file. */
  readonly adopts?: readonly HeldRules[] | undefined;
}

// `fence`: rules that were removed, whether or not they had been installed. A fence outlives its rule, or an install
// that was under way during the removal would bring the rule back.
const schema = `
CREATE TABLE IF NOT EXISTS rule (
  key TEXT PRIMARY KEY,
  flowid TEXT NOT NULL,
  ruleid INTEGER NOT NULL,
  switch TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rule_flowid ON rule (flowid);
CREATE TABLE IF NOT EXISTS fence (key TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fence_at ON fence (at);
`;

const columns = "key, switch, flowid, ruleid, substr(key, 1, 32) AS cookie";

const fencesPerPurge = 1000;
const purgeEveryMs = 60_000;

/**
 * Simulated switches with their rule tables, durable in a file of their own. A rule is named by the key of its command, so a
 * command that comes again changes nothing, and a removal touches only what the same request installed: two requests
 * for one flow never remove each other's rules.
 */
export class SimulatedSwitches implements Switches {
  readonly #options: SimulatedOptions;
  readonly #db: DatabaseSync;
  readonly #group: GroupCommit;
  readonly #statements: Readonly<
    Record<
      "install" | "has" | "remove" | "fence" | "fenced" | "purge" | "ofAll" | "ofFlow" | "countFlow",
      StatementSync
    >
  >;
  /** Rules of each switch; undefined: to be counted. */
  #sizes: Map<string, number> | undefined = undefined;
  #purgeAt = 0;

  constructor(options: SimulatedOptions) {
    this.#options = options;
    this.#db = openDatabase(options.path, schema, options.durability);
    this.#group = new GroupCommit(this.#db, { soon: options.soon });
    this.#statements = {
      install: this.#db.prepare(
        "INSERT OR IGNORE INTO rule (key, flowid, ruleid, switch) VALUES (?, ?, ?, ?)",
      ),
      has: this.#db.prepare("SELECT 1 FROM rule WHERE key = ?"),
      remove: this.#db.prepare("DELETE FROM rule WHERE key = ? RETURNING switch"),
      ofAll: this.#db.prepare(`SELECT ${columns} FROM rule WHERE key > ? ORDER BY key LIMIT ?`),
      ofFlow: this.#db.prepare(
        `SELECT ${columns} FROM rule WHERE flowid = ? AND key > ? ORDER BY key LIMIT ?`,
      ),
      countFlow: this.#db.prepare("SELECT count(*) AS count FROM rule WHERE flowid = ?"),
      fence: this.#db.prepare("INSERT OR IGNORE INTO fence (key, at) VALUES (?, ?)"),
      fenced: this.#db.prepare("SELECT 1 FROM fence WHERE key = ?"),
      purge: this.#db.prepare(
        `DELETE FROM fence WHERE key IN (SELECT key FROM fence WHERE at < ? ORDER BY at LIMIT ${fencesPerPurge})`,
      ),
    };
    if (options.adopts !== undefined) this.#adopt(options.adopts);
  }

  /** Has the rules of these requests from now on, but for those that were removed, and no others. */
  #adopt(held: readonly HeldRules[]): void {
    this.#db.exec("BEGIN; CREATE TEMP TABLE held (cookie TEXT PRIMARY KEY) WITHOUT ROWID");
    const note = this.#db.prepare("INSERT OR IGNORE INTO held VALUES (?)");
    for (const one of held) {
      note.run(one.cookie);
      for (let ruleid = 0; ruleid < one.rules; ruleid++) {
        const key = keyOfRule(one, ruleid);
        if (this.#statements.fenced.get(key) === undefined)
          this.#statements.install.run(key, one.flowid, ruleid, switchOf(ruleid, this.#options.switches));
      }
    }
    this.#db.exec("DELETE FROM rule WHERE substr(key, 1, 32) NOT IN (SELECT cookie FROM held)");
    this.#db.exec("COMMIT; DROP TABLE held");
  }

  countOf(cookie: string): number {
    const row = this.#db
      .prepare("SELECT count(*) AS n FROM rule WHERE key >= ? AND key < ?")
      .get(...keysOf(cookie));
    return Number(row?.["n"]);
  }

  async execute(command: Command): Promise<AnswerWord> {
    try {
      return await this.#group.run(() => this.#execute(command));
    } catch (error) {
      // The group was undone: what was counted meanwhile does not hold.
      this.#sizes = undefined;
      throw error;
    }
  }

  /** The rules that the switches hold, of one flow or of all, in the order of request and rule. */
  rules(flowid?: string): InstalledRule[] {
    const order = "ORDER BY cookie, ruleid";
    const rows =
      flowid === undefined
        ? this.#db.prepare(`SELECT ${columns} FROM rule ${order}`).all()
        : this.#db.prepare(`SELECT ${columns} FROM rule WHERE flowid = ? ${order}`).all(flowid);
    return rows.map(toRule);
  }

  /**
   * Some of these rules, in the order of their keys. It costs as much as its page, however many rules there are: they are
   * counted while they come and go, and only those of one flow when somebody asks.
   */
  page(filter: RulesFilter): RulesPage {
    const { flowid, cursor = "", limit } = filter;
    const { ofAll, ofFlow, countFlow } = this.#statements;
    const rows = flowid === undefined ? ofAll.all(cursor, limit + 1) : ofFlow.all(flowid, cursor, limit + 1);
    const count =
      flowid === undefined
        ? [...this.#counted().values()].reduce((sum, size) => sum + size, 0)
        : Number(countFlow.get(flowid)?.["count"]);
    return pageOfRules(rows, filter, count, toRule);
  }

  /** What they were told to remove is gone when they say so. */
  unconfirmed(): RulesPage {
    return { count: 0, rules: [] };
  }

  close(): Promise<void> {
    this.#db.close();
    return Promise.resolve();
  }

  #execute(command: Command): AnswerWord {
    const { key } = command;
    switch (command.command) {
      case "install":
        return this.#install(command);
      case "validate":
        return this.#statements.has.get(key) === undefined ? "missing" : "validated";
      case "remove":
        return this.#remove(key);
      case "validate-removed":
        // Absent alone is not enough: without its fence, an install that is still under way would bring the rule back.
        return this.#statements.fenced.get(key) === undefined ? "unremoved" : "absent";
      default:
        return "";
    }
  }

  #install({ key, flowid, ruleid }: Command): AnswerWord {
    const { install, has, fenced } = this.#statements;
    if (fenced.get(key) !== undefined) return "fenced";
    const name = switchOf(ruleid, this.#options.switches);
    const sizes = this.#counted();
    const size = sizes.get(name) ?? 0;
    if (size >= this.#options.tableSize) return has.get(key) === undefined ? "table-full" : "installed";
    if (install.run(key, flowid, ruleid, name).changes === 1) sizes.set(name, size + 1);
    return "installed";
  }

  #remove(key: string): AnswerWord {
    const { remove, fence } = this.#statements;
    const now = this.#options.wallMs();
    const removed = remove.get(key);
    if (removed !== undefined) {
      const sizes = this.#counted();
      const name = String(removed["switch"]);
      sizes.set(name, (sizes.get(name) ?? 1) - 1);
    }
    fence.run(key, now);
    this.#purge(now);
    return "removed";
  }

  /** Fences are kept for as long as an install can be late, not for ever. */
  #purge(now: number): void {
    if (now < this.#purgeAt) return;
    const { changes } = this.#statements.purge.run(now - this.#options.fenceMs);
    this.#purgeAt = changes === fencesPerPurge ? now : now + purgeEveryMs;
  }

  #counted(): Map<string, number> {
    if (this.#sizes === undefined) {
      const rows = this.#db.prepare("SELECT switch, count(*) AS size FROM rule GROUP BY switch").all();
      this.#sizes = new Map(rows.map((row) => [String(row["switch"]), Number(row["size"])]));
    }
    return this.#sizes;
  }
}

const toRule = (row: Readonly<Record<string, unknown>>): InstalledRule => ({
  switch: String(row["switch"]),
  flowid: String(row["flowid"]),
  ruleid: Number(row["ruleid"]),
  cookie: String(row["cookie"]),
});
