import {
  listen,
  OpenFlowError,
  type FlowStats,
  type MeterConfig,
  type SpeakerOptions,
} from "@wheelwork/openflow";
import { systemClock, type Clock } from "wheelwork";
import {
  addressOf,
  isMeterOfFlow,
  switchIdOf,
  type FlowRule,
  type MeterRule,
  type Rule,
} from "../controller/model.ts";
import { cookieOfPath } from "../controller/rules.ts";
import type { Discrepancy, Speaker, SpeakerAnswer, SpeakerCommand } from "../controller/speaker.ts";
import type { DatabaseDurability } from "../database.ts";
import { AddressBook, type AddressBookOptions, type Noted } from "./address-book.ts";
import { isSettled, repairsOf, type Repairs } from "./repairs.ts";
import {
  additionOf,
  addressOfFlow,
  deletionsAt,
  isAsTold,
  isMeterAsTold,
  isOfFlow,
  matchOf,
  meterDeletion,
  meterMod,
  meterRuleOf,
  ruleOf,
} from "./rule-messages.ts";
import type { DrivenSwitch, SwitchSource } from "./switch-source.ts";
import { defaultFenceMs } from "./switches.ts";

/** What a speaker is made with. */
export interface SwitchSpeakerOptions {
  /** The file that notes what the switches should have. Only one process may open it. */
  readonly path: string;
  /** Default `full`. */
  readonly durability?: DatabaseDurability;
  /** How long an install that comes late cannot bring a removed rule back, in milliseconds. Default 7 days. */
  readonly fenceMs?: number;
  /**
   * How often a switch that is connected is compared with what it should have, in milliseconds. Default 60,000. After it has refused something it
   * is tried again sooner.
   */
  readonly compareMs?: number;
  /** Gets the book before a switch connects. If it fails, nothing is opened. */
  readonly begin?: (book: AddressBook) => Promise<unknown>;
  /** Called for what a person should look at: a switch that refuses what it should have. */
  readonly onProblem?: (problem: string) => void;
  /** For tests: what puts the log of the book on the disk. */
  readonly sync?: AddressBookOptions["sync"];
  /** For tests: the clock. Without `after`, switches are compared only when they connect. */
  readonly clock?: Pick<Clock, "soon" | "wallMs"> & Partial<Pick<Clock, "after">>;
}

/** So soon a switch is asked again that has refused something, in milliseconds. That doubles up to `compareMs`. */
const againMs = 1_000;

/** A connection with a switch. */
interface Link {
  readonly switchId: string;
  readonly one: DrivenSwitch;
  /** The ports that it has. */
  readonly ports: Set<number>;
  /** It has been told what it should have. What it is told from now on comes after that. */
  isReady: boolean;
  /** Meters that are to be removed, and that a rule still uses. They go with it. */
  readonly heldMeters: Map<string, Noted & { readonly seq: number }>;
  /** Cancels the next comparison. */
  cancel: () => void;
}

/** What puts the rule of an address on its switch. */
interface Addition {
  readonly address: string;
  readonly message: ReturnType<typeof additionOf>;
}

type Install = Extract<SpeakerCommand, { command: "install" }>;
type Remove = Extract<SpeakerCommand, { command: "remove" }>;
type Read = Extract<SpeakerCommand, { command: "read" }>;

const everyBit = 0xffff_ffff_ffff_ffffn;
const tableFull = { errorType: 5, code: 1 };
const meterExists = { errorType: 12, code: 1 };
const outOfMeters = { errorType: 12, code: 10 };

const done = (unconfirmed = 0): SpeakerAnswer => ({ answer: "done", unconfirmed });
const fenced: SpeakerAnswer = { answer: "fenced" };

/**
 * Drives the switches of a network: any that connect. What holds is what holds of `OpenFlowSwitches`:
 *
 * - what a switch should have, or must not have, is noted on the disk before the switch is told (address-book.ts);
 * - a switch has one connection and one queue, and what an earlier connection had under way cannot land any more;
 * - only the reply to a barrier and what was read back count as an answer;
 * - a switch that connects is compared with the book before anything else (repairs.ts), and from time to time after that: it may have refused
 *   something for which it has room now, or somebody may have changed it by hand;
 * - rules of others, told by their cookies, are left alone. An address that one of them has is refused.
 */
export class SwitchSpeaker implements Speaker {
  readonly #book: AddressBook;
  readonly #source: SwitchSource;
  readonly #onProblem: (problem: string) => void;
  readonly #links = new Map<string, Link>();
  readonly #clock: NonNullable<SwitchSpeakerOptions["clock"]>;
  readonly #compareMs: number;
  #isClosed = false;

  private constructor(options: SwitchSpeakerOptions, book: AddressBook, source: SwitchSource) {
    this.#book = book;
    this.#source = source;
    this.#clock = options.clock ?? systemClock;
    this.#compareMs = options.compareMs ?? 60_000;
    this.#onProblem = options.onProblem ?? (() => {});
    source.on("switch", (one) => this.#connected(one));
    source.on("refused", (error, remote) => this.#onProblem(`${remote}: ${error.message}`));
    source.on("error", (error) => this.#onProblem(`nothing more can connect: ${error.message}`));
  }

  /**
   * Opens the book, and listens for switches.
   * @throws WheelworkError WW_STORE_UNAVAILABLE. OpenFlowError WW_OF_CONFIG. The error of the system, such as EADDRINUSE.
   */
  static open(
    options: SwitchSpeakerOptions & { readonly listen?: Omit<SpeakerOptions, "generation"> },
  ): Promise<SwitchSpeaker> {
    const { requestTimeoutMs = 2000 } = options.listen ?? {};
    return SwitchSpeaker.over(
      (generation) => listen({ ...options.listen, generation, requestTimeoutMs }),
      options,
    );
  }

  /** The same, over another source of connections. `generation`: switches obey none below it. */
  static async over(
    source: (generation: bigint) => Promise<SwitchSource>,
    options: SwitchSpeakerOptions,
  ): Promise<SwitchSpeaker> {
    const clock = options.clock ?? systemClock;
    const book = new AddressBook({
      path: options.path,
      durability: options.durability ?? "full",
      fenceMs: options.fenceMs ?? defaultFenceMs,
      soon: (task) => clock.soon(task),
      wallMs: () => clock.wallMs(),
      ...(options.sync === undefined ? {} : { sync: options.sync }),
    });
    try {
      await options.begin?.(book);
      return new SwitchSpeaker(options, book, await source(book.nextGeneration()));
    } catch (error) {
      book.close();
      throw error;
    }
  }

  /** The port that switches connect to; 0: they connect to a socket file, or are simulated. */
  get port(): number {
    return this.#source.port;
  }

  /** The switches that are connected, and have what they should have. */
  get connected(): readonly string[] {
    return [...this.#links.values()].filter(({ isReady }) => isReady).map(({ switchId }) => switchId);
  }

  async execute(command: SpeakerCommand): Promise<SpeakerAnswer | undefined> {
    const fault = faultIn(command);
    if (fault !== undefined) return { answer: "refused", reason: fault, isFull: false };
    try {
      switch (command.command) {
        case "install":
          return await this.#install(command);
        case "remove":
          return await this.#remove(command);
        case "read":
          return await this.#read(command);
      }
    } catch (error) {
      // The connection has ended, or the switch says nothing: nobody knows what has come of it.
      if (error instanceof OpenFlowError || this.#isClosed) return undefined;
      throw error;
    }
  }

  unconfirmed(limit: number): ReturnType<Speaker["unconfirmed"]> {
    const { count, places } = this.#book.unconfirmed(limit);
    const rules = places.map(({ switchId, address, rule }) => ({ switchId, cookie: rule.cookie, address }));
    return { count, rules };
  }

  /** Ends the connections, and closes the book. What was not proven then has no answer. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const { cancel } of this.#links.values()) cancel();
    await this.#source.close();
    this.#book.close();
  }

  // ---- install ----

  async #install(command: Install): Promise<SpeakerAnswer | undefined> {
    const { switchId, seq, rules, must } = command;
    const before = this.#ready(switchId);
    if (before === undefined && !must) return { answer: "away" };
    const noPort = before && noPortIn(before, rules);
    if (noPort !== undefined && !must) return { answer: "refused", reason: noPort, isFull: false };
    const noted = await this.#book.want(switchId, seq, rules, must);
    if (noted === "fenced") return fenced;
    const link = this.#ready(switchId);
    if (!must) return link === undefined ? undefined : this.#tell(link, seq, noted, false);
    // It is done when the switch is back.
    if (link === undefined) return done(noted.length);
    return this.#obliged(link, noted.length, () => this.#tell(link, seq, noted, true));
  }

  /** Tells a switch what was noted, and looks whether it has it then. */
  async #tell(link: Link, seq: number, noted: readonly Noted[], must: boolean): Promise<SpeakerAnswer> {
    const { switchId, one } = link;
    const attempt = new Attempt();
    const additions = noted.flatMap(({ address, rule }) =>
      rule.kind === "rule" ? [{ address, message: additionOf(rule) }] : [],
    );
    for (const { address } of await this.#heldByOthers(link, additions))
      attempt.refuse(address, `a rule of somebody else is at ${address}`);
    for (const { address, rule } of noted) {
      const reason = noPortIn(link, [rule]);
      if (reason !== undefined) attempt.refuse(address, reason);
    }
    // If one of several is refused before anything was sent, the others are not sent either.
    if (!attempt.isRefused || must) {
      if (additions.length < noted.length) await this.#tellMeters(link, seq, noted, attempt);
      // Something else may have been said meanwhile. From here to `apply` nothing is waited for, so what is said later is told later.
      const told = additions.filter(
        ({ address }) => attempt.isOpen(address) && this.#book.isCurrent(switchId, seq, address),
      );
      const refused = await refusals(() => one.apply(told.map(({ message }) => message)));
      for (const { index, name, errorType, code } of refused)
        attempt.refuse(told[index]?.address ?? "", name, is({ errorType, code }, tableFull));
      const cookies = new Set(told.map(({ message }) => message.cookie));
      const has = await this.#withCookies(one, cookies);
      for (const { address, message } of told) {
        const isThere = has.get(message.cookie)?.some((stats) => isAsTold(message, stats)) === true;
        if (isThere) attempt.proven.push(address);
        else if (attempt.isOpen(address) && this.#book.isCurrent(switchId, seq, address))
          attempt.refuse(address, `the switch has taken the rule at ${address} and does not have it`);
      }
    }
    const areDue = await this.#book.prove(switchId, seq, attempt.proven);
    if (attempt.disowned.length > 0) await this.#book.disown(switchId, seq, attempt.disowned);
    if (attempt.isRefused) {
      const proven = new Set(attempt.proven);
      const others = noted.map(({ address }) => address).filter((address) => !proven.has(address));
      await this.#book.refuse(switchId, seq, others);
    }
    // A rule may have let go of its meter.
    if (link.heldMeters.size > 0) await this.#obliged(link, 0, () => this.#clear(link, seq, []));
    if (attempt.isRefused) {
      // It is due all the same.
      if (must) this.#compareLater(link, againMs);
      return { answer: "refused", reason: attempt.reasons, isFull: attempt.isFull };
    }
    return must || (areDue && attempt.proven.length === noted.length) ? done() : fenced;
  }

  /** Meters come first: a rule that uses one that is not there is refused. */
  async #tellMeters(link: Link, seq: number, noted: readonly Noted[], attempt: Attempt): Promise<void> {
    const { one, switchId } = link;
    const meters = noted.filter(
      (place): place is Noted & { rule: MeterRule } =>
        place.rule.kind === "meter" &&
        attempt.isOpen(place.address) &&
        this.#book.isCurrent(switchId, seq, place.address),
    );
    if (meters.length === 0) return;
    const existing: typeof meters = [];
    for (const refusal of await refusals(() => one.apply(meters.map(({ rule }) => meterMod("add", rule))))) {
      const meter = meters[refusal.index] as (typeof meters)[number];
      if (is(refusal, meterExists)) existing.push(meter);
      else attempt.refuse(meter.address, refusal.name, is(refusal, outOfMeters));
    }
    const read = await Promise.all(meters.map(({ rule }) => meterOf(one, rule.meter)));
    const has = new Map(read.map((meter) => [meter?.meterId, meter]));
    const isRight = ({ rule }: { rule: MeterRule }): boolean => {
      const there = has.get(rule.meter);
      return there !== undefined && isMeterAsTold(rule, there);
    };
    const changed: typeof meters = [];
    for (const meter of existing) {
      if (isRight(meter)) continue;
      const isOurs = meter.before !== undefined && meter.before !== "absent";
      if (isOurs && this.#book.isCurrent(switchId, seq, meter.address)) changed.push(meter);
      else if (!isOurs) {
        attempt.refuse(meter.address, `somebody else has a meter ${meter.rule.meter}`);
        attempt.disowned.push(meter.address);
      }
    }
    const refused = await refusals(() => one.apply(changed.map(({ rule }) => meterMod("modify", rule))));
    for (const { index, name } of refused) attempt.refuse(changed[index]?.address ?? "", name);
    const areChanged = new Set(changed);
    for (const meter of meters)
      if (attempt.isOpen(meter.address) && (areChanged.has(meter) || isRight(meter)))
        attempt.proven.push(meter.address);
  }

  /** The places where a rule is that is not ours: it would be gone, and nobody would say so. */
  async #heldByOthers({ one }: Link, additions: readonly Addition[]): Promise<Addition[]> {
    const found = await Promise.all(
      additions.map(({ message: { match } }) => one.flows({ tableId: 0, match })),
    );
    return additions.filter(({ address }, index) =>
      found[index]?.some((stats) => !isOfFlow(stats.cookie) && addressOfFlow(stats) === address),
    );
  }

  async #withCookies(one: DrivenSwitch, cookies: ReadonlySet<bigint>): Promise<Map<bigint, FlowStats[]>> {
    const read = [...cookies].map(async (cookie) => {
      const found = await one.flows({ cookie, cookieMask: everyBit });
      return [cookie, found] as const;
    });
    return new Map(await Promise.all(read));
  }

  // ---- remove ----

  async #remove({ switchId, seq, rules }: Remove): Promise<SpeakerAnswer> {
    const noted = await this.#book.remove(switchId, seq, rules);
    if (noted.length === 0) return done();
    const link = this.#ready(switchId);
    // It is done when the switch is back.
    if (link === undefined) return done(noted.length);
    return this.#obliged(link, noted.length, () => this.#clear(link, seq, noted));
  }

  async #clear(link: Link, seq: number, noted: readonly Noted[]): Promise<SpeakerAnswer> {
    const { switchId, one, heldMeters } = link;
    // What was said later about a place has been told already, or is told after this. From here to `apply` nothing is waited for.
    const open = noted
      .filter(({ address }) => this.#book.isToBeEmpty(switchId, seq, address))
      .map((place) => ({ ...place, seq }));
    for (const place of open) if (place.rule.kind === "meter") heldMeters.set(place.address, place);
    const meters = [...heldMeters.values()].filter((place) => {
      const isOpen = this.#book.isToBeEmpty(switchId, place.seq, place.address);
      if (!isOpen) heldMeters.delete(place.address);
      return isOpen && !this.#book.isMeterUsed(switchId, (place.rule as MeterRule).meter);
    });
    const flows = open.filter(({ rule }) => rule.kind === "rule");
    await one.apply([
      ...flows.flatMap(({ rule }) => deletionsAt(rule as FlowRule)),
      ...meters.map(({ rule }) => meterDeletion((rule as MeterRule).meter)),
    ]);
    // What was said later meanwhile is held still.
    for (const { address, seq } of meters)
      if (heldMeters.get(address)?.seq === seq) heldMeters.delete(address);
    const isProven = await this.#book.confirm(switchId, [...flows, ...meters], () => this.#isNewest(link));
    // The switch has connected again. It gets what it must have with its new connection.
    if (!isProven) return done(open.length);
    return done(open.filter(({ address }) => heldMeters.has(address)).length);
  }

  /**
   * Does what must be done in the end. If nobody knows what has come of it, the connection ends: the switch connects again, is compared
   * with the book, and gets what it must have.
   */
  async #obliged(link: Link, count: number, act: () => Promise<SpeakerAnswer>): Promise<SpeakerAnswer> {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof OpenFlowError)) throw error;
      link.one.close();
      return done(count);
    }
  }

  // ---- read ----

  async #read({ switchId, rules }: Read): Promise<SpeakerAnswer> {
    const link = this.#ready(switchId);
    if (link === undefined) return { answer: "away" };
    const { one } = link;
    const flowRules = rules.filter((rule) => rule.kind === "rule");
    const [has, meters, all] = await Promise.all([
      Promise.all(flowRules.map((rule) => one.flows({ tableId: 0, match: matchOf(rule) }))),
      one.meters(),
      one.aggregate(),
    ]);
    const discrepancies: Discrepancy[] = [];
    let [packets, bytes] = [0, 0];
    for (const [index, rule] of flowRules.entries()) {
      const address = addressOf(rule);
      const there = has[index]?.find((stats) => addressOfFlow(stats) === address);
      if (there !== undefined && isAsTold(additionOf(rule), there)) {
        packets += Number(there.packets);
        bytes += Number(there.bytes);
      } else discrepancies.push({ rule, found: (there && ruleOf(one.datapathId, there)) ?? null });
    }
    for (const rule of rules) {
      if (rule.kind !== "meter") continue;
      const there = meters.find(({ meterId }) => meterId === rule.meter);
      if (there !== undefined && isMeterAsTold(rule, there)) continue;
      // A meter has no cookie: whose it is, only the book knows.
      const cookie =
        this.#book.get(switchId, addressOf(rule))?.rule.cookie ?? cookieOfPath({ id: 0 }, "forward");
      discrepancies.push({
        rule,
        found: there === undefined ? null : meterRuleOf(one.datapathId, cookie, there),
      });
    }
    return {
      answer: "read",
      discrepancies,
      packets,
      bytes,
      totalRules: all.flows,
      totalMeters: meters.length,
    };
  }

  // ---- connections ----

  #ready(switchId: string): Link | undefined {
    const link = this.#links.get(switchId);
    return link?.isReady === true ? link : undefined;
  }

  #isNewest(link: Link): boolean {
    return this.#links.get(link.switchId) === link;
  }

  #connected(one: DrivenSwitch): void {
    const switchId = switchIdOf(one.datapathId);
    const link: Link = {
      switchId,
      one,
      ports: new Set(),
      isReady: false,
      heldMeters: new Map(),
      cancel: () => {},
    };
    this.#links.set(switchId, link);
    one.on("end", () => {
      link.cancel();
      if (this.#isNewest(link)) this.#links.delete(switchId);
    });
    const gone = new Set<number>();
    one.on("portStatus", ({ reason, port: { port } }) => {
      if (reason === "delete") gone.add(port);
      else gone.delete(port);
      if (reason === "delete") link.ports.delete(port);
      else link.ports.add(port);
    });
    this.#bringUp(link, gone).then(
      (isRight) => this.#compareLater(link, isRight ? this.#compareMs : againMs),
      (error: unknown) => this.#giveUp(link, error),
    );
  }

  #giveUp({ one, switchId }: Link, error: unknown): void {
    if (!this.#isClosed) this.#onProblem(`switch ${switchId} is not as it should be: ${String(error)}`);
    // It connects again, and gets another try.
    one.close();
  }

  /** Compares a switch again, and makes it have what it should have. */
  #compareLater(link: Link, delayMs: number): void {
    link.cancel();
    if (this.#isClosed || !this.#isNewest(link)) return;
    link.cancel =
      this.#clock.after?.(delayMs, () => {
        this.#repair(link).then(
          (isRight) =>
            this.#compareLater(link, isRight ? this.#compareMs : Math.min(2 * delayMs, this.#compareMs)),
          (error: unknown) => this.#giveUp(link, error),
        );
      }) ?? (() => {});
  }

  async #compare({ one, switchId }: Link): Promise<Repairs> {
    const [flows, meters] = await Promise.all([one.flows(), one.meters()]);
    if (this.#book.mayStray(switchId)) await this.#book.disposeOf(switchId, flowMetersIn(one, meters));
    await this.#book.settled();
    return repairsOf(this.#book.ofSwitch(switchId), { flows, meters });
  }

  /** Makes a switch have what it should have, and then lets commands come to it. The result is whether it has taken all of it. */
  async #bringUp(link: Link, gone: ReadonlySet<number>): Promise<boolean> {
    for (const { port } of await link.one.ports()) if (!gone.has(port)) link.ports.add(port);
    return this.#repair(link);
  }

  async #repair(link: Link): Promise<boolean> {
    const { one, switchId } = link;
    let repairs = await this.#compare(link);
    // A switch that has lost very much gets it in parts: as much as its queue may hold. What changes meanwhile is in the next part.
    for (let round = 0; !isSettled(repairs) && round < 100; round++) {
      const { messages } = repairs;
      await refusals(() => one.apply(messages.slice(0, 2000)));
      repairs = await this.#compare(link);
      if (repairs.messages.length >= messages.length) break;
    }
    await this.#book.settled();
    // From here to `apply` nothing is waited for: what the book says is what the switch is told, and commands come after it.
    repairs = repairsOf(this.#book.ofSwitch(switchId), repairs.state);
    for (const problem of repairs.problems) this.#onProblem(`switch ${switchId}: ${problem}`);
    for (const place of repairs.heldMeters)
      link.heldMeters.set(place.address, { ...place, before: undefined });
    link.isReady = true;
    const refused = await refusals(() => one.apply(repairs.messages));
    if (refused.length > 0) {
      const names = [...new Set(refused.map(({ name }) => name))].join(", ");
      this.#onProblem(
        `switch ${switchId} has refused ${refused.length} changes that it should have: ${names}`,
      );
    }
    const failed = new Set(refused.map(({ index }) => repairs.placeOf.get(index)));
    await this.#book.confirm(
      switchId,
      repairs.emptied.filter((place) => !failed.has(place.address)),
      () => this.#isNewest(link),
    );
    for (const [seq, places] of Map.groupBy(repairs.filled, (place) => place.seq)) {
      const addresses = places.map(({ address }) => address).filter((address) => !failed.has(address));
      await this.#book.prove(switchId, seq, addresses);
    }
    return refused.length === 0;
  }
}

/** What has come of the rules of one command. */
class Attempt {
  readonly proven: string[] = [];
  /** Places that are somebody else's. */
  readonly disowned: string[] = [];
  isFull = false;
  readonly #refused = new Map<string, string>();

  refuse(address: string, reason: string, isFull = false): void {
    this.#refused.set(address, reason);
    this.isFull ||= isFull;
  }

  isOpen(address: string): boolean {
    return !this.#refused.has(address);
  }

  get isRefused(): boolean {
    return this.#refused.size > 0;
  }

  get reasons(): string {
    return [...new Set(this.#refused.values())].join("; ");
  }
}

interface WireRefusal {
  readonly errorType: number;
  readonly code: number;
}

const is = (one: WireRefusal, other: WireRefusal): boolean =>
  one.errorType === other.errorType && one.code === other.code;

/** What of a group of messages was refused. The others were done. */
async function refusals(apply: () => Promise<void>): Promise<OpenFlowError["refusals"]> {
  try {
    await apply();
    return [];
  } catch (error) {
    if (error instanceof OpenFlowError && error.code === "WW_OF_REFUSED") return error.refusals;
    throw error;
  }
}

/** A meter of a switch; undefined: it does not have it. */
async function meterOf(one: DrivenSwitch, meterId: number): Promise<MeterConfig | undefined> {
  try {
    const [meter] = await one.meters(meterId);
    return meter;
  } catch (error) {
    if (error instanceof OpenFlowError && error.code === "WW_OF_REFUSED") return undefined;
    throw error;
  }
}

/** Why a switch cannot have these rules: it would take one that leads to a port that it does not have. */
function noPortIn({ ports }: Link, rules: readonly Rule[]): string | undefined {
  for (const rule of rules) {
    if (rule.kind === "meter") continue;
    for (const action of rule.actions)
      if (action.type === "output" && action.port !== "in" && !ports.has(action.port))
        return `the switch has no port ${action.port}`;
  }
  return undefined;
}

/** The meters of a switch that flows may have had. */
const flowMetersIn = (one: DrivenSwitch, meters: readonly MeterConfig[]): MeterRule[] =>
  meters
    .filter(({ meterId }) => isMeterOfFlow(meterId))
    .map((meter) => meterRuleOf(one.datapathId, cookieOfPath({ id: 0 }, "forward"), meter));

/** Why a command cannot be. */
function faultIn({ switchId, rules }: SpeakerCommand): string | undefined {
  const other = rules.find((rule) => rule.switchId !== switchId);
  if (other !== undefined) return `a rule of switch ${other.switchId} is in a command for switch ${switchId}`;
  const addresses = new Set(rules.map(addressOf));
  return addresses.size < rules.length ? "two rules of one command have the same address" : undefined;
}
