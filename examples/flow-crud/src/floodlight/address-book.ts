import { randomUUID } from "node:crypto";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { addressOf, isSameRule, type Rule } from "../controller/model.ts";
import type { BookMark } from "../controller/store.ts";
import { GroupCommit, openDatabase, type DatabaseDurability, type GroupOptions } from "../database.ts";

/**
 * What is to be at an address of a switch:
 *
 * ```
 *   wanted    the rule. The switch may have it. It is noted before the switch is told.
 *   owed      the rule, whatever comes: if the switch is away, or refuses it, it gets it later.
 *   refused   what was there before, if that was proven: the switch did not take the rule, as far as is known.
 *   installed the rule. The switch has taken it, which is proven, and gets it again whenever it loses it.
 *   removed   nothing. The switch may have the rule still.
 *   absent    nothing. It is proven that the switch does not have the rule.
 * ```
 *
 * What is said later about an address (a higher `seq`) begins anew. What is said earlier changes nothing. With the same `seq`, a place goes
 * from above to below only, but for `refused`, which the same command may make `wanted` again.
 */
export type PlaceState = "wanted" | "owed" | "refused" | "installed" | "removed" | "absent";

/** What the book says about an address of a switch. */
export interface Place {
  readonly switchId: string;
  readonly address: string;
  /** The number of the last command about it. */
  readonly seq: number;
  readonly state: PlaceState;
  /** The rule that the last command was about. */
  readonly rule: Rule;
  /** What was proven to be there before that; null: nothing. It stands if the switch refuses the rule. */
  readonly previous: Rule | null;
}

/** The rule that a switch should have at a place; null: none. */
export function dueAt({ state, rule, previous }: Pick<Place, "state" | "rule" | "previous">): Rule | null {
  if (state === "refused") return previous;
  return state === "removed" || state === "absent" ? null : rule;
}

interface Row extends Place {
  readonly id: number;
}

/** A place, and what it was before it was noted anew. */
export interface Noted {
  readonly address: string;
  readonly rule: Rule;
  /** undefined: nothing was ever said about it. */
  readonly before: PlaceState | undefined;
}

// `meter`: the meter that the rule there uses. The rows are in the order of their first command, so that the rows of one group of commands
// share pages: a group writes few of them. `name`: tells the book from one that was made anew. `stray`: switches that may have meters of
// flows of which this book does not know. `floor`: see `Fresh`.
const schema = `
CREATE TABLE IF NOT EXISTS place (
  id INTEGER PRIMARY KEY,
  switch TEXT NOT NULL,
  address TEXT NOT NULL,
  seq INTEGER NOT NULL,
  state TEXT NOT NULL,
  rule TEXT NOT NULL,
  previous TEXT,
  meter INTEGER,
  at INTEGER NOT NULL,
  UNIQUE (switch, address)
);
CREATE INDEX IF NOT EXISTS place_obliged ON place (at) WHERE state IN ('owed', 'removed');
CREATE INDEX IF NOT EXISTS place_absent ON place (at) WHERE state = 'absent';
CREATE INDEX IF NOT EXISTS place_meter ON place (switch, meter) WHERE meter IS NOT NULL;
CREATE TABLE IF NOT EXISTS name (id INTEGER PRIMARY KEY CHECK (id = 0), name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stray (switch TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS floor (id INTEGER PRIMARY KEY CHECK (id = 0), seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS speaker (id INTEGER PRIMARY KEY CHECK (id = 0), generation INTEGER NOT NULL);
`;

const mostRemembered = 50_000;
const fencesPerPurge = 1000;
const purgeEveryMs = 60_000;

/** What a book says that is made anew, of what its switches may have in truth. */
export interface Fresh {
  readonly places: readonly Place[];
  /** Commands up to this number are older than the book: about places that are not in it, they put nothing on a switch. */
  readonly floor: number;
  /** Switches that may have more than the places say. */
  readonly switches: readonly string[];
}

/** What a book is made with. */
export interface AddressBookOptions {
  readonly path: string;
  readonly durability: DatabaseDurability;
  /** How long a place stays absent, in milliseconds: a command that is late by less changes nothing. */
  readonly fenceMs: number;
  readonly soon: (task: () => void) => void;
  readonly wallMs: () => number;
  /** For tests: what puts the log on the disk. */
  readonly sync?: GroupOptions["sync"];
}

/**
 * What each switch should have, by address, durable in a file. A switch has no fence, and forgets everything when it is started anew. So
 * what was said is noted here first, and what is noted decides what a switch gets whenever it connects.
 */
export class AddressBook {
  readonly #options: AddressBookOptions;
  readonly #db: DatabaseSync;
  readonly #group: GroupCommit;
  readonly #statements = new Map<string, StatementSync>();
  /** Places that were read or written lately: one command asks for each of its places several times. */
  readonly #lately = new Lately();
  /** See `Fresh`. */
  #floor: number;
  /** See the table. */
  readonly #stray: Set<string>;
  #purgeAt = 0;

  /** @throws WheelworkError WW_STORE_UNAVAILABLE */
  constructor(options: AddressBookOptions) {
    this.#options = options;
    this.#db = openDatabase(options.path, schema, options.durability);
    this.#group = new GroupCommit(this.#db, {
      soon: options.soon,
      disk: "aside",
      ...(options.sync === undefined ? {} : { sync: options.sync }),
    });
    this.#floor = Number(
      this.#statement("SELECT coalesce(max(seq), -1) AS floor FROM floor").get()?.["floor"],
    );
    this.#stray = new Set(
      this.#statement("SELECT switch FROM stray")
        .all()
        .map((row) => String(row["switch"])),
    );
  }

  /** What the book is, and how often it was opened: see `nextGeneration`. */
  mark(): BookMark {
    this.#statement("INSERT OR IGNORE INTO name VALUES (0, ?)").run(randomUUID());
    const named = this.#statement("SELECT name FROM name").get();
    const opened = this.#statement("SELECT coalesce(max(generation), 0) AS generation FROM speaker").get();
    return { name: String(named?.["name"]), generation: Number(opened?.["generation"]) };
  }

  /**
   * A number that none of the earlier owners of this file has had, and, clocks permitting, no owner of another file. It is above what the owner
   * of another file has had that noted `above`: it has used the next one.
   */
  nextGeneration(above = 0): bigint {
    const row = this.#statement(
      `INSERT INTO speaker (id, generation) VALUES (0, ?)
       ON CONFLICT (id) DO UPDATE SET generation = max(generation + 1, excluded.generation) RETURNING generation`,
    ).get(Math.max(Math.floor(this.#options.wallMs()), above + 1));
    return BigInt(Number(row?.["generation"]));
  }

  /** The number of the last command about any address; 0: there was none, as far as is noted. */
  lastCommand(): number {
    return Number(this.#statement("SELECT coalesce(max(seq), 0) AS last FROM place").get()?.["last"]);
  }

  /** All places where a switch should have something, or must not have something that it may have. */
  places(): Place[] {
    return this.#statement("SELECT * FROM place WHERE state <> 'absent'").all().map(toPlace);
  }

  /** Replaces all that the book says. */
  replace({ places, floor, switches }: Fresh): Promise<void> {
    return this.#write(() => {
      this.#db.exec("DELETE FROM place; DELETE FROM stray; DELETE FROM floor");
      this.#lately.clear();
      for (const place of places) this.#put(place, undefined);
      this.#statement("INSERT INTO floor VALUES (0, ?)").run(floor);
      for (const switchId of switches) this.#statement("INSERT INTO stray VALUES (?)").run(switchId);
      this.#floor = floor;
      this.#stray.clear();
      for (const switchId of switches) this.#stray.add(switchId);
    });
  }

  /** Whether a switch may have meters of flows of which the book does not know. */
  mayStray(switchId: string): boolean {
    return this.#stray.has(switchId);
  }

  /** Takes meters of a switch of which the book does not know for meters of flows that are gone: they must go. */
  async disposeOf(switchId: string, meters: readonly Rule[]): Promise<void> {
    await this.#write(() => {
      for (const { address, rule, known } of meters.map((rule) => this.#known(switchId, rule)))
        if (known === undefined)
          this.#put({ switchId, address, seq: this.#floor, state: "removed", rule, previous: null }, known);
      this.#statement("DELETE FROM stray WHERE switch = ?").run(switchId);
    });
    this.#stray.delete(switchId);
  }

  get(switchId: string, address: string): Place | undefined {
    return this.#row(switchId, address);
  }

  #row(switchId: string, address: string): Row | undefined {
    const known = this.#lately.get(switchId, address);
    if (known !== undefined) return known;
    const row = this.#statement("SELECT * FROM place WHERE switch = ? AND address = ?").get(
      switchId,
      address,
    );
    if (row === undefined) return undefined;
    const place = toPlace(row);
    this.#lately.put(place);
    return place;
  }

  /**
   * Notes that a switch shall have rules. The result comes once it is on the disk: the places that were noted.
   *
   * Without `must` all of them are, or, if something later was said about one of them, none (`fenced`). With it, those about which nothing
   * later was said: of the others, what was said later counts.
   */
  want(switchId: string, seq: number, rules: readonly Rule[], must: boolean): Promise<Noted[] | "fenced"> {
    return this.#write(() => {
      const all = rules.map((rule) => this.#known(switchId, rule));
      const open = all.filter(({ rule, known }) => isOpen(known, seq, rule, this.#floor));
      if (!must && open.length < all.length) return "fenced";
      for (const { address, rule, known } of open) {
        const state = must ? "owed" : "wanted";
        if (known === undefined || known.seq < seq) {
          const previous = known === undefined ? null : standingAt(known);
          this.#put({ switchId, address, seq, state, rule, previous }, known);
        } else if (known.state === "refused" || (must && known.state === "wanted"))
          this.#put({ ...known, state }, known);
      }
      return open.map(({ address, rule, known }) => ({ address, rule, before: known?.state }));
    });
  }

  /** Notes that the switch has taken what it was told at these places. The result: whether all of them are still to be so. */
  prove(switchId: string, seq: number, addresses: readonly string[]): Promise<boolean> {
    return this.#write(() => {
      let areDue = true;
      for (const address of addresses) {
        const known = this.#row(switchId, address);
        if (known === undefined || known.seq !== seq || isGone(known)) areDue = false;
        else if (known.state !== "installed")
          this.#put({ ...known, state: "installed", previous: null }, known);
      }
      return areDue;
    });
  }

  /** Notes that the switch has refused what it was told at these places. What is owed stays so. */
  refuse(switchId: string, seq: number, addresses: readonly string[]): Promise<void> {
    return this.#change(switchId, seq, addresses, "wanted", "refused");
  }

  /** Notes that what is at these places is somebody else's, and was never ours. */
  disown(switchId: string, seq: number, addresses: readonly string[]): Promise<void> {
    return this.#change(switchId, seq, addresses, "wanted", "absent");
  }

  /**
   * Notes that a switch shall not have what is at the places of these rules, unless something later was said. The result: the places that
   * it may have still. One of which nothing was ever said was never sent: it is absent.
   */
  remove(switchId: string, seq: number, rules: readonly Rule[]): Promise<Noted[]> {
    return this.#write(() => {
      const left: Noted[] = [];
      for (const { address, rule, known } of rules.map((rule) => this.#known(switchId, rule))) {
        if (known !== undefined && known.seq > seq) continue;
        const state = known === undefined || known.state === "absent" ? "absent" : "removed";
        if (known?.seq !== seq || known.state !== state)
          this.#put({ switchId, address, seq, state, rule: known?.rule ?? rule, previous: null }, known);
        if (state === "removed") left.push({ address, rule: known?.rule ?? rule, before: known?.state });
      }
      this.#purge();
      return left;
    });
  }

  /**
   * It is proven that these places are empty: if `isProof` says so when it is noted. What a connection has proven does not count once there is
   * a new one, which may have put there again what it needs. The result: whether it counts.
   */
  confirm(
    switchId: string,
    places: readonly { readonly address: string; readonly seq: number }[],
    isProof: () => boolean = () => true,
  ): Promise<boolean> {
    return this.#write(() => {
      const counts = isProof();
      if (counts)
        for (const { address, seq } of places) this.#set(switchId, seq, address, "removed", "absent");
      return counts;
    });
  }

  /** Whether a place is still as the command with this number has left it. */
  isCurrent(switchId: string, seq: number, address: string): boolean {
    const known = this.get(switchId, address);
    return known?.seq === seq && !isGone(known);
  }

  /** Whether a place is still to be emptied, as the command with this number says. */
  isToBeEmpty(switchId: string, seq: number, address: string): boolean {
    const known = this.get(switchId, address);
    return known?.seq === seq && known.state === "removed";
  }

  /** Resolves when all that the book says is on the disk. It holds until the event loop goes on. */
  async settled(): Promise<void> {
    await this.#group.settled();
  }

  /**
   * All places where a switch should have something, or must not have something that it may have. Whoever tells the switch so waits for
   * `settled` first.
   */
  ofSwitch(switchId: string): Place[] {
    return this.#statement("SELECT * FROM place WHERE switch = ? AND state <> 'absent'")
      .all(switchId)
      .map(toPlace);
  }

  /** Whether a rule that a switch should have uses a meter. */
  isMeterUsed(switchId: string, meter: number): boolean {
    const row = this.#statement("SELECT 1 FROM place WHERE switch = ? AND meter = ? LIMIT 1").get(
      switchId,
      meter,
    );
    return row !== undefined;
  }

  /** What is owed, or to be removed, and not proven yet: the oldest first, and how much there is in all. */
  unconfirmed(limit: number): { readonly count: number; readonly places: readonly Place[] } {
    const obliged = "state IN ('owed', 'removed')";
    const rows = this.#statement(`SELECT * FROM place WHERE ${obliged} ORDER BY at LIMIT ?`).all(limit);
    const count = this.#statement(`SELECT count(*) AS n FROM place WHERE ${obliged}`).get();
    return { count: Number(count?.["n"]), places: rows.map(toPlace) };
  }

  close(): void {
    this.#statements.clear();
    this.#group.close();
  }

  #known(switchId: string, rule: Rule) {
    const address = addressOf(rule);
    return { address, rule, known: this.#row(switchId, address) };
  }

  #change(
    switchId: string,
    seq: number,
    addresses: readonly string[],
    from: PlaceState,
    to: PlaceState,
  ): Promise<void> {
    return this.#write(() => {
      for (const address of addresses) this.#set(switchId, seq, address, from, to);
    });
  }

  #set(switchId: string, seq: number, address: string, from: PlaceState, to: PlaceState): void {
    const known = this.#row(switchId, address);
    if (known?.seq === seq && known.state === from) this.#put({ ...known, state: to }, known);
  }

  /** `known`: the row of the place; undefined: it has none. */
  #put(place: Place, known: Row | undefined): void {
    const { switchId, address, seq, state, rule, previous } = place;
    const due = dueAt(place);
    const meter = due?.kind === "rule" ? due.meter : null;
    const [before, now] = [previous === null ? null : JSON.stringify(previous), this.#options.wallMs()];
    let id = known?.id;
    if (id === undefined) {
      const { lastInsertRowid } = this.#statement(
        "INSERT INTO place (switch, address, seq, state, rule, previous, meter, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      ).run(switchId, address, seq, state, JSON.stringify(rule), before, meter, now);
      id = Number(lastInsertRowid);
    } else if (known?.rule === rule)
      this.#statement(
        "UPDATE place SET seq = ?, state = ?, previous = ?, meter = ?, at = ? WHERE id = ?",
      ).run(seq, state, before, meter, now, id);
    else
      this.#statement(
        "UPDATE place SET seq = ?, state = ?, rule = ?, previous = ?, meter = ?, at = ? WHERE id = ?",
      ).run(seq, state, JSON.stringify(rule), before, meter, now, id);
    this.#lately.put({ ...place, id });
  }

  /** Writes with the next group. If that is undone, what was remembered meanwhile does not hold. */
  async #write<T>(write: () => T): Promise<T> {
    try {
      return await this.#group.run(write);
    } catch (error) {
      this.#lately.clear();
      throw error;
    }
  }

  /** A place is absent for as long as a command can be late, not for ever. What is not confirmed stays. */
  #purge(): void {
    const now = this.#options.wallMs();
    if (now < this.#purgeAt) return;
    const { changes } = this.#statement(
      `DELETE FROM place WHERE id IN
         (SELECT id FROM place WHERE state = 'absent' AND at < ? ORDER BY at LIMIT ${fencesPerPurge})`,
    ).run(now - this.#options.fenceMs);
    if (changes > 0) this.#lately.clear();
    this.#purgeAt = changes === fencesPerPurge ? now : now + purgeEveryMs;
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
}

/** Places by switch and address. When there are too many, all are forgotten. */
class Lately {
  readonly #bySwitch = new Map<string, Map<string, Row>>();
  #size = 0;

  get(switchId: string, address: string): Row | undefined {
    return this.#bySwitch.get(switchId)?.get(address);
  }

  put(place: Row): void {
    if (this.#size >= mostRemembered) this.clear();
    let places = this.#bySwitch.get(place.switchId);
    if (places === undefined) this.#bySwitch.set(place.switchId, (places = new Map()));
    const before = places.size;
    places.set(place.address, place);
    this.#size += places.size - before;
  }

  clear(): void {
    this.#bySwitch.clear();
    this.#size = 0;
  }
}

const isGone = ({ state }: Place): boolean => state === "removed" || state === "absent";

/** Whether a command may change a place, or repeats what was said. */
function isOpen(known: Place | undefined, seq: number, rule: Rule, floor: number): boolean {
  const isOld = seq <= floor;
  if (known === undefined) return !isOld;
  if (known.seq < seq) return true;
  return known.seq === seq && !isGone(known) && isSameRule(known.rule, rule);
}

/** What stands at a place if the next rule there is refused. */
function standingAt(known: Place): Rule | null {
  if (known.state === "installed" || known.state === "owed") return known.rule;
  return isGone(known) ? null : known.previous;
}

const toPlace = (row: Readonly<Record<string, unknown>>): Row => ({
  id: Number(row["id"]),
  switchId: String(row["switch"]),
  address: String(row["address"]),
  seq: Number(row["seq"]),
  state: row["state"] as PlaceState,
  rule: JSON.parse(String(row["rule"])) as Rule,
  previous: row["previous"] === null ? null : (JSON.parse(String(row["previous"])) as Rule),
});
