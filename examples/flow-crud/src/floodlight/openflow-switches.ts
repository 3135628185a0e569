import {
  flowMod,
  listen,
  match,
  meaningOf,
  OpenFlowError,
  ports,
  type FlowMod,
  type PortStatus,
  type SpeakerOptions,
} from "@wheelwork/openflow";
import { systemClock, type Clock } from "wheelwork";
import { hexOf } from "../controller/model.ts";
import type { DatabaseDurability } from "../database.ts";
import { defaultSwitches, numberOfSwitch, portTo } from "../network.ts";
import { isDue, maxRules, ours, RuleBook, type BookedRule } from "./rule-book.ts";
import type { DrivenSwitch, SwitchSource } from "./switch-source.ts";
import {
  defaultFenceMs,
  type HeldRules,
  type InstalledRule,
  type RulesFilter,
  type RulesPage,
  type Switches,
} from "./switches.ts";
import type { AnswerWord, Command } from "./wire.ts";

/** What real switches are driven with. */
export interface OpenFlowOptions {
  /** The file that notes what the switches should have. Only one process may open it. */
  readonly path: string;
  /** How many switches the ring has: their datapath ids are 1 to this. Default 8. */
  readonly switches?: number;
  /** Where the switches connect, and how. */
  readonly listen?: Pick<SpeakerOptions, "port" | "host" | "path" | "tls">;
  /** Other parts of this process drive the same switches: one that is none of the ring is left to them, and not sent away. */
  readonly isShared?: boolean;
  /** How long a switch may take to answer, in milliseconds. Then nobody knows what has come of it. Default 2000. */
  readonly requestTimeoutMs?: number;
  /** Default `full`. */
  readonly durability?: DatabaseDurability;
  /** See `FloodlightOptions.fenceMs`. Default 7 days. */
  readonly fenceMs?: number;
  /**
   * The requests that have rules, whatever the file says. Rules that the file does not know get new cookies. Default: those of the file.
   */
  readonly adopts?: readonly HeldRules[] | undefined;
  /** Gets the book before a switch connects. If it throws, nothing is opened. */
  readonly begin?: (book: Pick<RuleBook, "countOf">) => void;
  /** Called for what a person should look at: a switch that nobody expects, or one that refuses what it should have. */
  readonly onProblem?: (problem: string) => void;
  /** For tests: the clock. */
  readonly clock?: Pick<Clock, "soon" | "wallMs">;
}

/** The rules of flows come before the defaults of a switch, which have the priority 0. */
const priority = 100;

const everyBit = 0xffff_ffff_ffff_ffffn;

/** A connection with a switch. */
interface Link {
  readonly one: DrivenSwitch;
  /** The ports that it has. */
  readonly ports: Set<number>;
  /** It has been told what it should have. What it is told from now on comes after that. */
  isReady: boolean;
}

/**
 * Real switches, over OpenFlow 1.3: a ring of them, as `npm run network` makes it.
 *
 * Nothing is lost and nothing comes late, since
 *
 * - what a switch should have is noted on the disk before the switch is told (rule-book.ts);
 * - a switch has one connection and one queue, so that a removal is behind the install that it removes. What an earlier connection had
 *   under way cannot land any more: each connection begins with a new master, and a switch obeys no other;
 * - only the reply to a barrier, or what was read back, counts as an answer. Without it, nobody is answered;
 * - a switch that connects is compared with the book before anything else: what it has too much is removed, also what it was told while
 *   nobody knows what came of it, and what it lacks is added.
 *
 * So a removal is an obligation. If its switch is away, it outlives the answer of its request, and is done when the switch is back.
 */
export class OpenFlowSwitches implements Switches {
  readonly #switches: number;
  readonly #book: RuleBook;
  readonly #speaker: SwitchSource;
  readonly #onProblem: (problem: string) => void;
  readonly #isShared: boolean;
  readonly #links = new Map<number, Link>();
  #isClosed = false;

  private constructor(options: OpenFlowOptions, book: RuleBook, speaker: SwitchSource) {
    this.#switches = options.switches ?? defaultSwitches;
    this.#book = book;
    this.#speaker = speaker;
    this.#onProblem = options.onProblem ?? (() => {});
    this.#isShared = options.isShared ?? false;
    speaker.on("switch", (one) => this.#connected(one));
    speaker.on("refused", (error, remote) => this.#onProblem(`${remote}: ${error.message}`));
    speaker.on("error", (error) => this.#onProblem(`nothing more can connect: ${error.message}`));
  }

  /**
   * Opens the book, and listens for switches.
   * @throws WheelworkError WW_STORE_UNAVAILABLE. OpenFlowError WW_OF_CONFIG. The error of the system, such as EADDRINUSE.
   */
  static open(options: OpenFlowOptions): Promise<OpenFlowSwitches> {
    const requestTimeoutMs = options.requestTimeoutMs ?? 2000;
    return OpenFlowSwitches.over(
      (generation) => listen({ ...options.listen, generation, requestTimeoutMs }),
      options,
    );
  }

  /** The same, over another source of connections. `generation`: switches obey none below it. */
  static async over(
    source: (generation: bigint) => Promise<SwitchSource>,
    options: OpenFlowOptions,
  ): Promise<OpenFlowSwitches> {
    const clock = options.clock ?? systemClock;
    const book = new RuleBook({
      path: options.path,
      switches: options.switches ?? defaultSwitches,
      durability: options.durability ?? "full",
      fenceMs: options.fenceMs ?? defaultFenceMs,
      soon: (task) => clock.soon(task),
      wallMs: () => clock.wallMs(),
    });
    try {
      if (options.adopts !== undefined) await book.adopt(options.adopts);
      options.begin?.(book);
      return new OpenFlowSwitches(options, book, await source(book.nextGeneration()));
    } catch (error) {
      book.close();
      throw error;
    }
  }

  /** The port that switches connect to; 0: they connect to a socket file. */
  get port(): number {
    return this.#speaker.port;
  }

  /** The switches that are connected, and have what they should have. */
  get connected(): readonly number[] {
    return [...this.#links].filter(([, { isReady }]) => isReady).map(([number]) => number);
  }

  async execute(command: Command): Promise<AnswerWord | undefined> {
    try {
      switch (command.command) {
        case "install":
          return await this.#install(command);
        case "validate":
          return await this.#validate(command);
        case "remove":
          return await this.#remove(command);
        case "validate-removed":
          // Absent alone is not enough: an install that is still under way would bring the rule back.
          return this.#book.get(command.key)?.state === "absent" ? "absent" : "unremoved";
        default:
          return "";
      }
    } catch (error) {
      // The connection has ended, or the switch says nothing: whatever has come of it.
      if (error instanceof OpenFlowError || this.#isClosed) return undefined;
      throw error;
    }
  }

  rules(flowid?: string): InstalledRule[] {
    return this.#book.rules(flowid);
  }

  page(filter: RulesFilter): RulesPage {
    return this.#book.page(filter);
  }

  unconfirmed(limit: number): RulesPage {
    return this.#book.unconfirmed(limit);
  }

  countOf(cookie: string): number {
    return this.#book.countOf(cookie);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#speaker.close();
    this.#book.close();
  }

  async #install(command: Command): Promise<AnswerWord | undefined> {
    const { key, ruleid } = command;
    if (ruleid >= maxRules) return "refused";
    const before = this.#book.get(key);
    if (before?.state === "removed" || before?.state === "absent") return "fenced";
    const number = before?.switch ?? numberOfSwitch(ruleid, this.#switches);
    const link = this.#ready(number);
    // Nothing is noted for a switch that is not told.
    if (link === undefined) return undefined;
    if (!this.#leadsOn(link, number)) return "refused";
    const rule = await this.#book.want(command);
    // A removal may have come meanwhile, and then the rule must not.
    if (!isDue(rule) || !isDue(this.#book.get(key) ?? rule)) return "fenced";
    try {
      await link.one.apply([this.#flowOf(rule)]);
      return isDue(await this.#book.prove(key)) ? "installed" : "fenced";
    } catch (error) {
      const refusal =
        error instanceof OpenFlowError && error.code === "WW_OF_REFUSED" ? error.refusals[0] : undefined;
      if (refusal === undefined) throw error;
      await this.#book.refuse(key);
      return refusal.errorType === 5 && refusal.code === 1 ? "table-full" : "refused";
    }
  }

  async #validate({ key }: Command): Promise<AnswerWord | undefined> {
    const rule = this.#book.get(key);
    if (rule === undefined || !isDue(rule)) return "missing";
    const link = this.#ready(rule.switch);
    if (link === undefined) return undefined;
    const found = await link.one.flows({ cookie: rule.cookie as bigint, cookieMask: everyBit });
    const meaning = meaningOf(this.#flowOf(rule));
    return found.some((one) => meaningOf(one) === meaning) ? "validated" : "missing";
  }

  async #remove(command: Command): Promise<AnswerWord | undefined> {
    const rule = await this.#book.remove(command);
    if (rule.state === "absent") return "removed";
    const link = this.#ready(rule.switch);
    // It is done when the switch is back.
    if (link === undefined) return undefined;
    await link.one.apply([deletion(rule.cookie as bigint)]);
    await this.#book.confirm([rule.key]);
    return "removed";
  }

  #ready(number: number): Link | undefined {
    const link = this.#links.get(number);
    return link?.isReady === true ? link : undefined;
  }

  // ---- connections ----

  #connected(one: DrivenSwitch): void {
    const number = Number(one.datapathId);
    if (number < 1 || number > this.#switches) {
      if (this.#isShared) return;
      this.#onProblem(
        `a switch with the datapath id ${one.datapathId} has connected: it is none of the network`,
      );
      return one.close();
    }
    const link: Link = { one, ports: new Set(), isReady: false };
    this.#links.set(number, link);
    one.on("end", () => {
      if (this.#links.get(number) === link) this.#links.delete(number);
    });
    one.on("portStatus", (status) => notePort(link, status));
    this.#bringUp(number, link).catch((error: unknown) => {
      if (!this.#isClosed) this.#onProblem(`switch ${number} is not as it should be: ${String(error)}`);
      // It connects again, and gets another try.
      one.close();
    });
  }

  /** Makes a switch have what it should have, and then lets commands come to it. */
  async #bringUp(number: number, link: Link): Promise<void> {
    const { one } = link;
    for (const { port } of await one.ports()) link.ports.add(port);
    const has = await one.flows(ours);
    // From here to `apply` nothing is waited for: what the book says is what the switch is told, and commands come after it.
    const { due, removed } = this.#book.ofSwitch(number);
    const wanted = due.map((rule) => this.#flowOf(rule));
    const should = new Map(wanted.map((rule) => [rule.cookie, meaningOf(rule)]));
    const deletions: FlowMod[] = [];
    const right = new Set<bigint>();
    for (const [cookie, rules] of Map.groupBy(has, (rule) => rule.cookie)) {
      const [only] = rules;
      if (rules.length === 1 && only !== undefined && should.get(cookie) === meaningOf(only))
        right.add(cookie);
      else deletions.push(deletion(cookie));
    }
    const missing = wanted.filter(({ cookie }) => !right.has(cookie));
    link.isReady = true;
    try {
      await one.apply([...deletions, ...missing]);
    } catch (error) {
      if (!(error instanceof OpenFlowError) || error.code !== "WW_OF_REFUSED") throw error;
      // The others were done. Whoever validates these is told that they are missing.
      this.#onProblem(
        `switch ${number} has refused ${error.refusals.length} rules that it should have: ${error.message}`,
      );
    }
    await this.#book.confirm(removed.map(({ key }) => key));
  }

  // ---- rules ----

  /** Whether a switch has the port that its rules lead to: it would take a rule for a port that it does not have. */
  #leadsOn({ ports: has }: Link, number: number): boolean {
    const port = this.#portOf(number);
    return port === ports.inPort || has.has(port);
  }

  #portOf(number: number): number {
    return this.#switches === 1 ? ports.inPort : portTo(numberOfSwitch(number, this.#switches));
  }

  /** The rule on its switch. What it matches has its cookie in it: two rules that match the same would replace each other. */
  #flowOf({ cookie = 0n, switch: number }: BookedRule): FlowMod {
    return flowMod({
      cookie,
      priority,
      match: match({ ethType: 0x86dd, ipv6Dst: addressOf(cookie) }),
      instructions: [{ type: "applyActions", actions: [{ type: "output", port: this.#portOf(number) }] }],
    });
  }
}

/** Removes what has a cookie, from all tables. */
const deletion = (cookie: bigint): FlowMod =>
  flowMod({ command: "delete", tableId: 0xff, cookie, cookieMask: everyBit });

/** The address that the packets of a rule go to: a local one that ends with the cookie. */
function addressOf(cookie: bigint): string {
  const digits = hexOf(cookie);
  return `fd57::${digits.replaceAll(/(.{4})(?!$)/g, "$1:")}`;
}

function notePort({ ports: known }: Link, { reason, port: { port } }: PortStatus): void {
  if (reason === "delete") known.delete(port);
  else known.add(port);
}
