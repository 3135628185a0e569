import type { DatabaseSync, StatementSync } from "node:sqlite";
import { GroupCommit, openDatabase, type DatabaseDurability } from "../database.ts";
import { numberOfSwitch } from "../network.ts";
import {
  keyOfRule,
  keysOf,
  pageOfRules,
  type HeldRules,
  type InstalledRule,
  type RulesFilter,
  type RulesPage,
} from "./switches.ts";
import type { Command } from "./wire.ts";

/**
 * What a rule should be:
 *
 * ```
 *   wanted    its switch should have it, and may have it. It is noted before the switch is told.
 *   refused   its switch did not take it, as far as is known. It may have taken an earlier copy of the command.
 *   installed its switch has taken it, which is proven. It should have it from now on, also if it loses it and then refuses it.
 *   removed   its switch must not have it, and may have it still.
 *   absent    its switch does not have it, and gets it never again. That is proven.
 * ```
 *
 * It goes from above to below only, but for `refused`, which a new command may make `wanted` again.
 */
export type RuleState = "wanted" | "refused" | "installed" | "removed" | "absent";

/** Whether a switch should have a rule. */
export const isDue = ({ state }: { readonly state: RuleState }): boolean =>
  state === "wanted" || state === "installed";

/** A rule as the book has it. */
export interface BookedRule {
  readonly key: string;
  /** The number of its switch, from 1. */
  readonly switch: number;
  readonly state: RuleState;
  /** The cookie that it has on its switch; undefined: it was never on one. */
  readonly cookie: bigint | undefined;
}

/** Cookies begin with this byte. So rules of others are told from ours. */
const mark = 0x57n << 56n;

/** What finds the rules with our mark. */
export const ours = { cookie: mark, cookieMask: 0xffn << 56n } as const;

/** So many bits of a cookie are the number of the rule; the others are that of its request. */
const ruleBits = 20;

/** Rules of one request have numbers below this. */
export const maxRules = 2 ** ruleBits;

// `owner`: the numbers of requests. None is given twice, so that no rule is taken for that of another request. `rule`: the states.
const schema = `
CREATE TABLE IF NOT EXISTS owner (
  number INTEGER PRIMARY KEY AUTOINCREMENT CHECK (number < 1 << 36),
  request TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS rule (
  key TEXT PRIMARY KEY,
  flowid TEXT NOT NULL,
  ruleid INTEGER NOT NULL,
  switch INTEGER NOT NULL,
  owner INTEGER,
  state TEXT NOT NULL,
  at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rule_flowid ON rule (flowid, state);
CREATE INDEX IF NOT EXISTS rule_switch ON rule (switch, state);
CREATE INDEX IF NOT EXISTS rule_state ON rule (state, at);
CREATE INDEX IF NOT EXISTS rule_owner ON rule (owner);
CREATE TABLE IF NOT EXISTS speaker (id INTEGER PRIMARY KEY CHECK (id = 0), generation INTEGER NOT NULL);
`;

/** The rules that switches should have: see `isDue`. */
const due = "state IN ('wanted', 'installed')";

const fencesPerPurge = 1000;
const purgeEveryMs = 60_000;

/** What a book is made with. */
export interface RuleBookOptions {
  readonly path: string;
  readonly switches: number;
  readonly durability: DatabaseDurability;
  /** How long a rule stays absent, in milliseconds: an install that is late by less does not bring it back. */
  readonly fenceMs: number;
  readonly soon: (task: () => void) => void;
  readonly wallMs: () => number;
}

/**
 * What real switches should have, durable in a file. A switch has no fence, and forgets everything when it is started anew. So what was
 * asked of it is noted here first, and what is noted decides what it gets whenever it connects.
 */
export class RuleBook {
  readonly #options: RuleBookOptions;
  readonly #db: DatabaseSync;
  readonly #group: GroupCommit;
  readonly #statements = new Map<string, StatementSync>();
  #purgeAt = 0;
  /** How many rules are due; undefined: to be counted. */
  #dueCount: number | undefined = undefined;

  constructor(options: RuleBookOptions) {
    this.#options = options;
    this.#db = openDatabase(options.path, schema, options.durability);
    this.#group = new GroupCommit(this.#db, { soon: options.soon });
  }

  /** A number that none of the earlier owners of this file has had, and, clocks permitting, no owner of another file. */
  nextGeneration(): bigint {
    const now = Math.floor(this.#options.wallMs());
    const row = this.#statement(
      `INSERT INTO speaker (id, generation) VALUES (0, ?)
       ON CONFLICT (id) DO UPDATE SET generation = max(generation + 1, excluded.generation) RETURNING generation`,
    ).get(now);
    return BigInt(Number(row?.["generation"]));
  }

  /** Notes that switches should have the rules of these requests, but for those that were removed, and no others. */
  adopt(held: readonly HeldRules[]): Promise<void> {
    return this.#write(() => {
      const now = this.#options.wallMs();
      const cookies = new Set(held.map(({ cookie }) => cookie));
      for (const { cookie, ruleid } of this.rules()) {
        const known = cookies.has(cookie) ? undefined : this.get(keyOfRule({ cookie }, ruleid));
        if (known !== undefined) this.#set(known, "removed");
      }
      for (const one of held) {
        const { cookie, flowid, rules } = one;
        this.#own(cookie);
        for (let ruleid = 0; ruleid < rules; ruleid++)
          this.#statement(
            `INSERT OR IGNORE INTO rule (key, flowid, ruleid, switch, owner, state, at)
             SELECT ?, ?, ?, ?, number, 'installed', ? FROM owner WHERE request = ?`,
          ).run(keyOfRule(one, ruleid), flowid, ruleid, this.#switchOf(ruleid), now, cookie);
      }
      this.#dueCount = undefined;
    });
  }

  /** How many rules a request should have. */
  countOf(cookie: string): number {
    const row = this.#statement(`SELECT count(*) AS n FROM rule WHERE key >= ? AND key < ? AND ${due}`).get(
      ...keysOf(cookie),
    );
    return Number(row?.["n"]);
  }

  /** Gives a request a number, if it has none. */
  #own(request: string): void {
    // Not INSERT OR IGNORE, which uses up a number each time.
    this.#statement(
      "INSERT INTO owner (request) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM owner WHERE request = ?)",
    ).run(request, request);
  }

  get(key: string): BookedRule | undefined {
    const row = this.#statement("SELECT * FROM rule WHERE key = ?").get(key);
    return row === undefined ? undefined : toBooked(row);
  }

  /** Notes that a rule is wanted, unless it is removed. The result is what is noted then, once it is on the disk. */
  want(command: Command): Promise<BookedRule> {
    return this.#write(() => {
      const { key, cookie: request, flowid, ruleid } = command;
      const known = this.get(key);
      if (known !== undefined && known.state !== "refused") return known;
      if (known === undefined) {
        this.#own(request);
        this.#statement(
          `INSERT INTO rule (key, flowid, ruleid, switch, owner, state, at)
           SELECT ?, ?, ?, ?, number, 'wanted', ? FROM owner WHERE request = ?`,
        ).run(key, flowid, ruleid, this.#switchOf(ruleid), this.#options.wallMs(), request);
        this.#counts(1);
      } else this.#set(known, "wanted");
      return this.get(key) as BookedRule;
    });
  }

  /** Notes that the switch has taken a rule. The result is what is noted then. */
  prove(key: string): Promise<BookedRule> {
    return this.#write(() => {
      const known = this.get(key) as BookedRule;
      if (known.state === "wanted" || known.state === "refused") this.#set(known, "installed");
      return this.get(key) as BookedRule;
    });
  }

  /** Notes that the switch has refused a rule. It may take another copy of the command yet. */
  refuse(key: string): Promise<void> {
    return this.#write(() => {
      const known = this.get(key);
      if (known?.state === "wanted") this.#set(known, "refused");
    });
  }

  /** Notes that a rule must not be there, nor come any more. One that was never wanted was never sent: it is absent. */
  remove({ key, flowid, ruleid }: Command): Promise<BookedRule> {
    return this.#write(() => {
      const known = this.get(key);
      if (known === undefined) {
        this.#statement(
          "INSERT INTO rule (key, flowid, ruleid, switch, state, at) VALUES (?, ?, ?, ?, 'absent', ?)",
        ).run(key, flowid, ruleid, this.#switchOf(ruleid), this.#options.wallMs());
      } else if (known.state !== "absent") this.#set(known, "removed");
      this.#purge();
      return this.get(key) as BookedRule;
    });
  }

  /** It is proven that these rules are gone. */
  confirm(keys: readonly string[]): Promise<void> {
    return this.#write(() => {
      for (const key of keys) {
        const known = this.get(key);
        if (known?.state === "removed") this.#set(known, "absent");
      }
    });
  }

  /** The rules that a switch should have, and those that it must not have and may have. */
  ofSwitch(number: number): { readonly due: readonly BookedRule[]; readonly removed: readonly BookedRule[] } {
    const all = this.#statement(
      "SELECT * FROM rule WHERE switch = ? AND state IN ('wanted', 'installed', 'removed')",
    )
      .all(number)
      .map(toBooked);
    return { due: all.filter(isDue), removed: all.filter(({ state }) => state === "removed") };
  }

  /** The rules that switches should have of one flow or of all, in the order of request and rule. */
  rules(flowid?: string): InstalledRule[] {
    const order = "ORDER BY substr(key, 1, 32), ruleid";
    const rows =
      flowid === undefined
        ? this.#statement(`SELECT * FROM rule WHERE ${due} ${order}`).all()
        : this.#statement(`SELECT * FROM rule WHERE flowid = ? AND ${due} ${order}`).all(flowid);
    return rows.map(toRule);
  }

  /** Some of these rules, in the order of their keys. */
  page(filter: RulesFilter): RulesPage {
    const { flowid, cursor = "", limit } = filter;
    const [of, given] = flowid === undefined ? [due, []] : [`flowid = ? AND ${due}`, [flowid]];
    const rows = this.#statement(`SELECT * FROM rule WHERE ${of} AND key > ? ORDER BY key LIMIT ?`).all(
      ...given,
      cursor,
      limit + 1,
    );
    const count = flowid === undefined ? (this.#dueCount ??= this.#count(due)) : this.#count(of, flowid);
    return pageOfRules(rows, filter, count, toRule);
  }

  /** Rules that are removed, and may still be there: the oldest first. */
  unconfirmed(limit: number): RulesPage {
    const rows = this.#statement("SELECT * FROM rule WHERE state = 'removed' ORDER BY at LIMIT ?").all(limit);
    return { count: this.#count("state = 'removed'"), rules: rows.map(toRule) };
  }

  close(): void {
    this.#statements.clear();
    this.#db.close();
  }

  #switchOf(ruleid: number): number {
    return numberOfSwitch(ruleid, this.#options.switches);
  }

  #set(known: BookedRule, state: RuleState): void {
    this.#statement("UPDATE rule SET state = ?, at = ? WHERE key = ?").run(
      state,
      this.#options.wallMs(),
      known.key,
    );
    this.#counts(Number(isDue({ state })) - Number(isDue(known)));
  }

  /** Some more rules are due. They are not counted before somebody asks. */
  #counts(more: number): void {
    if (this.#dueCount !== undefined) this.#dueCount += more;
  }

  /** Writes with the next group. If that is undone, what was counted meanwhile does not hold. */
  async #write<T>(write: () => T): Promise<T> {
    try {
      return await this.#group.run(write);
    } catch (error) {
      this.#dueCount = undefined;
      throw error;
    }
  }

  #count(where: string, ...values: readonly string[]): number {
    return Number(this.#statement(`SELECT count(*) AS n FROM rule WHERE ${where}`).get(...values)?.["n"]);
  }

  /** A rule is absent for as long as an install can be late, not for ever. What is not confirmed stays. */
  #purge(): void {
    const now = this.#options.wallMs();
    if (now < this.#purgeAt) return;
    const purged = this.#statement(
      `DELETE FROM rule WHERE key IN
         (SELECT key FROM rule WHERE state = 'absent' AND at < ? ORDER BY at LIMIT ${fencesPerPurge}) RETURNING owner`,
    ).all(now - this.#options.fenceMs);
    for (const owner of new Set(purged.map((row) => row["owner"] as number | null)))
      this.#statement(
        "DELETE FROM owner WHERE number = ? AND number NOT IN (SELECT owner FROM rule WHERE owner = ?)",
      ).run(owner, owner);
    this.#purgeAt = purged.length === fencesPerPurge ? now : now + purgeEveryMs;
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
}

type Row = Readonly<Record<string, unknown>>;

const toBooked = (row: Row): BookedRule => ({
  key: String(row["key"]),
  switch: Number(row["switch"]),
  state: row["state"] as RuleState,
  cookie:
    row["owner"] === null
      ? undefined
      : mark | (BigInt(Number(row["owner"])) << BigInt(ruleBits)) | BigInt(Number(row["ruleid"])),
});

const toRule = (row: Row): InstalledRule => ({
  switch: `sw-${Number(row["switch"])}`,
  flowid: String(row["flowid"]),
  ruleid: Number(row["ruleid"]),
  cookie: String(row["key"]).slice(0, 32),
});
