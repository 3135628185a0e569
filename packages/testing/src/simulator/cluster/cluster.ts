import type { EngineEvent } from "@wheelwork/engine";
import { Asking } from "../shards/asking.ts";
import { responseInHeaders, serveExternally } from "../shards/external.ts";
import { Ledger } from "../shards/ledger.ts";
import { Operators } from "../shards/operators.ts";
import { bodyOf, Requests } from "../shards/requests.ts";
import { inbox, problemOf, Stage } from "../shards/stage.ts";
import type { SimulatedSystem } from "../systems.ts";
import { count } from "../world.ts";
import { Faults } from "./faults.ts";
import { Inboxes } from "./inboxes.ts";
import type { Member } from "./member.ts";
import { Members } from "./members.ts";
import { Owners } from "./owners.ts";
import type { ClusterPlan } from "./plan.ts";
import { RoutedRelays } from "./relays.ts";

/** A cluster, its log and stores, and all who deal with it. */
export class Cluster {
  readonly plan: ClusterPlan;
  readonly stage: Stage;
  readonly ledger: Ledger;
  readonly inboxes: Inboxes;
  readonly relays: RoutedRelays;
  readonly owners: Owners;
  readonly members: Members;
  readonly faults: Faults;
  /** The topics of spokes that external workers serve. */
  readonly external: ReadonlyMap<string, string>;
  readonly #requests: Requests;
  readonly #operators: Operators;
  #numbers = 0;
  /** When the last thing that is planned happens. */
  #lastAt = 0;

  constructor(system: SimulatedSystem, plan: ClusterPlan) {
    this.plan = plan;
    this.stage = new Stage(system, plan);
    const { stage } = this;
    const { clock, chronicle, broker } = stage;
    const now = (): number => clock.monotonicMs();
    const bodyAt = (hub: string, request: unknown) => bodyOf(stage, hub, request);
    const say = (what: string, details: string): void => chronicle.say(what, undefined, details);
    this.ledger = new Ledger({ inbox, now, say, bodyOf: bodyAt });
    const { ledger } = this;
    this.inboxes = new Inboxes({
      inbox,
      shards: plan.shards,
      ledger,
      now,
      inboxId: () => broker.topic(inbox)?.id ?? "",
      bodyOf: bodyAt,
    });
    this.members = new Members(this);
    const asking = new Asking(stage, this.members);
    this.#requests = new Requests(stage, ledger, asking);
    this.#operators = new Operators(stage, ledger, asking, this.#requests);
    this.owners = new Owners(stage, ledger, this.inboxes, this.#requests);
    this.external = serveExternally(stage, responseInHeaders, (task) => this.#plan(0, task));
    this.relays = new RoutedRelays(stage, this.inboxes);
    this.faults = new Faults(this);
    stage.wrote = (record) => {
      ledger.wrote(record);
      this.inboxes.wrote(record);
      this.relays.wrote(record);
    };
  }

  /** A number for another owner of a shard. */
  owner(): number {
    return ++this.#numbers;
  }

  signal(member: Member, { name }: EngineEvent): void {
    const { chronicle } = this.stage;
    count(chronicle.signals, name);
    if (name.startsWith("shard-") || name === "log-lost") chronicle.say(name, member);
  }

  async play(): Promise<void> {
    const { plan, ledger, members } = this;
    const { clock, chronicle, scaleMs } = this.stage;
    for (let number = 0; number < plan.nodes; number++) members.boot();
    this.#planAll();
    this.faults.begin();
    // Answers that are not kept for ever are forgotten in the end.
    if (plan.retentionMs !== undefined)
      this.#lastAt = Math.max(this.#lastAt, plan.forMs + plan.retentionMs + 90_000);
    try {
      await clock.advance(plan.forMs);
      this.#becalm();
      await clock.runUntil(() => this.#unrest() === "", 240_000 + scaleMs * 100);
      // What would come once too often has the time to do so.
      await clock.advance(10_000);
      await this.#operators.look();
      for (const shard of chronicle.traces.keys())
        chronicle.see(shard, { type: "ended", problem: undefined });
      this.#check();
    } catch (error) {
      ledger.demand("I6", false, () => `it never comes to rest: ${problemOf(error)}; ${this.#unrest()}`);
    } finally {
      for (const { process } of members.all) process.kill();
    }
  }

  #planAll(): void {
    const { requests, commands, reads, replays } = this.plan;
    for (const [place, { at, again }] of requests.entries()) {
      this.#plan(at, () => this.#requests.send(place, false));
      for (const { afterMs, differs } of again)
        this.#plan(at + afterMs, () => this.#requests.send(place, differs));
    }
    for (const command of commands) this.#plan(command.at, () => this.#operators.command(command));
    for (const read of reads) this.#plan(read.at, () => this.#operators.read(read));
    for (const { at, letter } of replays) this.#plan(at, () => this.#operators.replay(letter));
  }

  #plan(at: number, task: () => Promise<void>): void {
    this.#lastAt = Math.max(this.#lastAt, at);
    this.stage.clock.after(at, () => {
      task().catch((error: unknown) => {
        this.ledger.demand("outside", false, () => `unexpected: ${problemOf(error)}`);
      });
    });
  }

  /** From here on nothing fails: all that was accepted must come to its end by itself. */
  #becalm(): void {
    this.faults.becalm();
    this.stage.chronicle.say("calm");
    this.members.becalm();
    const operate = (): void => {
      this.#plan(0, () => this.#operators.lookAfter());
      this.stage.clock.after(2_000, operate);
    };
    operate();
  }

  /** What is not done yet; empty: nothing. */
  #unrest(): string {
    if (this.stage.clock.monotonicMs() < this.#lastAt + 10_000) return "not all has been sent";
    return this.#requests.unrest();
  }

  #check(): void {
    const { ledger, stage } = this;
    this.#requests.check();
    ledger.checkPublished();
    this.owners.checkRouted();
    ledger.checkLetters((letter) => letter.value === "" || this.#requests.isOther(letter));
    const problems = stage.opened.check?.(this.#requests.ended()) ?? [];
    for (const problem of problems) ledger.demand("outside", false, () => problem);
  }
}
