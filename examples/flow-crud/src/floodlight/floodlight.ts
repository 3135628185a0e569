import { systemClock, type Bus, type Clock } from "wheelwork";
import type { DatabaseDurability } from "../database.ts";
import { defaultSwitches } from "../network.ts";
import { originalTopics, type FlowTopics } from "../topics.ts";
import { passagesOf, seeded, type Faults, type Passage } from "./faults.ts";
import { SimulatedSwitches } from "./simulated-switches.ts";
import {
  defaultFenceMs,
  type HeldRules,
  type InstalledRule,
  type RulesFilter,
  type RulesPage,
  type Switches,
} from "./switches.ts";
import { answerMessage, readCommand, type Command } from "./wire.ts";

/** What the simulated controller can be set to. */
export interface FloodlightOptions {
  /** What it drives. Default: simulated switches. */
  readonly drives?: Switches;
  /** How many simulated switches there are. Default 8. */
  readonly switches?: number;
  /** Rules that one simulated switch holds; more are refused with `table-full`. Default: no limit. */
  readonly tableSize?: number;
  /** The requests whose rules simulated switches have, whatever their file says. Default: those of the file. */
  readonly adopts?: readonly HeldRules[] | undefined;
  /** Default: none. */
  readonly faults?: Faults;
  /** Numbers in [0, 1) from which the faults are drawn. Default: from seed 1. */
  readonly random?: () => number;
  /** Whether an answer waits until what it says is on the disk. Default `full`. */
  readonly durability?: DatabaseDurability;
  /**
   * How long an install that comes late cannot bring a removed rule back, in milliseconds. It must be longer than a message
   * may be under way, and longer than the application may be down in the middle of a clean-up. Default 7 days.
   */
  readonly fenceMs?: number;
  /** Where it gets commands, and where it says what came of them. Default: the topics of the original proof of concept. */
  readonly topics?: Pick<FlowTopics, "commands" | "commandReplies">;
  /** For tests: the clock. */
  readonly clock?: Pick<Clock, "after" | "soon" | "wallMs">;
  /** Called for messages that are no commands, and for commands that could not be stored. */
  readonly onProblem?: (problem: string) => void;
}

/** So many rules are listed at once. */
const maxListed = 1000;

/**
 * A switch controller, as the Floodlight of the original proof of concept. It takes commands from the bus, has its switches execute them,
 * and answers. It plays the outside world: it knows nothing of hubs. It can lose, double and reorder messages.
 */
export class Floodlight {
  readonly #bus: Bus;
  readonly #topics: Pick<FlowTopics, "commands" | "commandReplies">;
  readonly #switches: Switches;
  readonly #faults: Faults;
  readonly #random: () => number;
  readonly #clock: Pick<Clock, "after" | "soon" | "wallMs">;
  readonly #onProblem: (problem: string) => void;
  readonly #unsubscribe: () => void;
  /** What cancels the messages that are under way. */
  readonly #timers = new Set<() => void>();
  #closed = false;

  /** Listens for commands. The file `path` has the rule tables of simulated switches. */
  constructor(path: string, bus: Bus, options: FloodlightOptions = {}) {
    this.#bus = bus;
    this.#topics = options.topics ?? originalTopics;
    this.#clock = options.clock ?? systemClock;
    this.#faults = options.faults ?? {};
    this.#random = options.random ?? seeded(1);
    this.#onProblem = options.onProblem ?? (() => {});
    this.#switches =
      options.drives ??
      new SimulatedSwitches({
        path,
        switches: options.switches ?? defaultSwitches,
        tableSize: options.tableSize ?? Number.POSITIVE_INFINITY,
        durability: options.durability ?? "full",
        fenceMs: options.fenceMs ?? defaultFenceMs,
        soon: (task) => this.#clock.soon(() => void (this.#closed || task())),
        wallMs: () => this.#clock.wallMs(),
        adopts: options.adopts,
      });
    this.#unsubscribe = bus.subscribe(this.#topics.commands, (message) => {
      const command = readCommand(message);
      if (command === undefined)
        this.#onProblem(`not a command: ${message.key} ${message.value}`.slice(0, 300));
      else this.#take(command);
    });
  }

  /** The rules that the switches should hold, of one flow or of all. */
  rules(flowid?: string): InstalledRule[] {
    return this.#switches.rules(flowid);
  }

  /** Some of these rules, and how many there are. */
  rulesPage(filter: RulesFilter): RulesPage {
    return this.#switches.page(filter);
  }

  /** How many rules the switches should have of a request, by its cookie. */
  countOf(cookie: string): number {
    return this.#switches.countOf(cookie);
  }

  /** Rules that were to be removed, and may still be on a switch that is away. */
  unconfirmed(limit = maxListed): RulesPage {
    return this.#switches.unconfirmed(limit);
  }

  /** Stops listening. Commands that were not stored yet are lost, as they are when the process dies. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unsubscribe();
    for (const cancel of this.#timers) cancel();
    await this.#switches.close();
  }

  #take(command: Command): void {
    for (const passage of passagesOf(this.#faults, this.#random)) {
      // The third error switch of the original proof of concept: the controller does nothing, and does not answer.
      if (command.error === "IN_FL" || passage.there === undefined) continue;
      this.#after(passage.there, () => void this.#execute(command, passage));
    }
  }

  async #execute(command: Command, { back }: Passage): Promise<void> {
    let word;
    try {
      word = await this.#switches.execute(command);
    } catch (error) {
      if (!this.#closed)
        this.#onProblem(`${command.command} ${command.key} could not be stored: ${String(error)}`);
      return;
    }
    if (word === undefined || back === undefined) return;
    this.#after(back, () => {
      const { commandReplies } = this.#topics;
      Promise.resolve(this.#bus.publish(commandReplies, answerMessage(command, word))).catch(
        (error: unknown) =>
          this.#onProblem(`the answer to ${command.key} could not be sent: ${String(error)}`),
      );
    });
  }

  /** Runs a task after a delay, or at once if there is none. After `close` it runs nothing. */
  #after(delayMs: number, task: () => void): void {
    if (this.#closed) return;
    if (delayMs === 0) return task();
    const cancel = this.#clock.after(delayMs, () => {
      this.#timers.delete(cancel);
      task();
    });
    this.#timers.add(cancel);
  }
}
