import type { LogRecord } from "@wheelwork/engine/cluster";
import { Bulking } from "../bulking.ts";
import { Followers } from "../following.ts";
import { mayBeForgotten, setBackMs } from "../plans.ts";
import type { SimulatedSystem } from "../systems.ts";
import { Asking, type Processes } from "./asking.ts";
import { Ledger } from "./ledger.ts";
import { Operators } from "./operators.ts";
import type { ShardsPlan } from "./plan.ts";
import { bodyOf, Requests } from "./requests.ts";
import { inbox, problemOf, Stage } from "./stage.ts";

/** What acts in a scene besides clients and operators: the processes, and what goes wrong with them. */
export interface Actors {
  /** Starts the processes. */
  begin(): void;
  /** Plans what goes wrong. */
  schedule(): void;
  /** From here on nothing goes wrong any more. */
  becalm(): void;
  /** What is not done yet, besides requests; empty: nothing. */
  unrest?(): string;
  /** All has come to rest: holds what is there against what must never be. */
  check(): void;
  /** Whether a dead letter need not be looked at. Default: none. */
  excuses?(letter: LogRecord): boolean;
  /** Ends all processes. */
  end(): void;
}

/** How often an operator looks for incidents when nothing goes wrong any more, in milliseconds. */
const operateMs = 2_000;
/** What would come once too often has so much time to do so, in milliseconds. */
const restMs = 10_000;

/** Several shards in a simulation, with all who deal with them; a world adds the processes that own them. */
export class Scene {
  readonly stage: Stage;
  readonly ledger: Ledger;
  readonly requests: Requests;
  readonly #operators: Operators;
  readonly #followers: Followers;
  readonly #bulking: Bulking;
  /** When the last thing that is planned happens. */
  #lastAt = 0;

  constructor(system: SimulatedSystem, plan: ShardsPlan, processes: Processes) {
    this.stage = new Stage(system, plan);
    const { stage } = this;
    const { clock, chronicle } = stage;
    this.ledger = new Ledger({
      inbox,
      shards: plan.shards,
      lagMs: 5 + 10 * plan.storeMs,
      now: () => clock.monotonicMs(),
      mayBeForgotten: (at) => mayBeForgotten(plan, at, clock.monotonicMs()),
      say: (what, details) => chronicle.say(what, undefined, details),
      bodyOf: (hub, request) => bodyOf(stage, hub, request),
    });
    const asking = new Asking(stage, processes);
    this.requests = new Requests(stage, this.ledger, asking);
    this.#operators = new Operators(stage, this.ledger, asking, this.requests);
    const saw = (what: string, details: string): void => {
      chronicle.count(what);
      chronicle.say(what, undefined, details);
    };
    this.#bulking = new Bulking({
      bulks: plan.bulks,
      opened: stage.opened,
      clock,
      scaleMs: stage.scaleMs,
      checks: this.ledger.bulks,
      any: (who) => asking.any(who),
      mayBeLost: (key) => this.ledger.lost.has(key),
      mayBeForgotten: () => plan.retentionMs !== undefined,
      demand: (...found) => this.ledger.demand(...found),
      saw,
    });
    this.#followers = new Followers({
      ...plan,
      scaleMs: stage.scaleMs,
      clock,
      checks: this.ledger.streams,
      any: (who) => asking.any(who),
      hubs: stage.opened.hubs.map(({ name, definition }) => ({
        name,
        states: [...definition.states.keys()],
      })),
      saw,
      surprise: (error) => this.#unexpected(error),
    });
  }

  /** Lets something be done at a time; what it throws must never be. */
  at(ms: number, task: () => Promise<void>): void {
    this.#lastAt = Math.max(this.#lastAt, ms);
    this.stage.clock.after(ms, () => {
      task().catch((error: unknown) => this.#unexpected(error));
    });
  }

  #unexpected(error: unknown): void {
    this.ledger.demand("outside", false, () => `unexpected: ${problemOf(error)}`);
  }

  async play(actors: Actors): Promise<void> {
    const { clock, chronicle, plan, scaleMs } = this.stage;
    actors.begin();
    this.#planAll();
    this.#followers.begin();
    actors.schedule();
    // Answers that are not kept for ever are forgotten in the end.
    if (plan.retentionMs !== undefined)
      this.#lastAt = Math.max(this.#lastAt, plan.forMs + plan.retentionMs + 90_000);
    try {
      await clock.advance(plan.forMs);
      this.#becalm(actors);
      const patienceMs = 240_000 + scaleMs * 100 + setBackMs(plan);
      await clock.runUntil(() => this.#unrest(actors) === "", patienceMs);
      await clock.runUntil(this.#operators.pauseSchedules(), 60_000);
      await clock.runUntil(() => this.#unrest(actors) === "", 60_000 + scaleMs * 20);
      await clock.advance(restMs);
      await this.#followers.finish();
      await this.#bulking.look();
      await this.#operators.look();
      for (const shard of chronicle.traces.keys())
        chronicle.see(shard, { type: "ended", problem: undefined });
      await this.#check(actors);
    } catch (error) {
      const text = `it never comes to rest: ${problemOf(error)}; ${this.#unrest(actors)}`;
      this.ledger.demand("I6", false, () => text);
    } finally {
      actors.end();
    }
  }

  #planAll(): void {
    const { requests, commands, scheduleCommands, reads, replays } = this.stage.plan;
    for (const [place, { at, again }] of requests.entries()) {
      this.at(at, () => this.requests.send(place, false));
      for (const { afterMs, differs } of again)
        this.at(at + afterMs, () => this.requests.send(place, differs));
    }
    for (const command of commands) this.at(command.at, () => this.#operators.command(command));
    for (const command of scheduleCommands)
      this.at(command.at, () => this.#operators.scheduleCommand(command));
    for (const read of reads) this.at(read.at, () => this.#operators.read(read));
    for (const { at, give } of this.#bulking.planned()) this.at(at, give);
    for (const { at, letter } of replays) this.at(at, () => this.#operators.replay(letter));
  }

  /** From here on nothing fails: all that was accepted must come to its end by itself. */
  #becalm(actors: Actors): void {
    this.stage.defective = false;
    this.stage.chronicle.say("calm");
    actors.becalm();
    const operate = (): void => {
      this.at(0, () => this.#operators.lookAfter());
      this.at(0, () => this.#bulking.goOn());
      this.stage.clock.after(operateMs, operate);
    };
    operate();
  }

  /** What is not done yet; empty: nothing. */
  #unrest(actors: Actors): string {
    if (this.stage.clock.monotonicMs() < this.#lastAt + restMs) return "not all has been sent";
    return this.requests.unrest() || this.#bulking.unrest() || (actors.unrest?.() ?? "");
  }

  async #check(actors: Actors): Promise<void> {
    const { ledger, requests, stage } = this;
    requests.check();
    ledger.checkPublished();
    actors.check();
    ledger.checkLetters(
      (letter) => letter.value === "" || requests.isOther(letter),
      (letter) => actors.excuses?.(letter) ?? false,
    );
    const checking = Promise.resolve(stage.opened.check?.(requests.ended()) ?? []);
    await stage.clock.runUntil(checking, 60_000);
    const problems = await checking;
    for (const problem of problems) ledger.demand("outside", false, () => problem);
  }
}
