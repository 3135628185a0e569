import type { AnyHub } from "@wheelwork/core";
import { externalWorker, silentLogger, type Message, type Store, type Worker } from "@wheelwork/engine";
import {
  createNode,
  type ClusterNode,
  type MemberOptions,
  type Membership,
  type Partitions,
} from "@wheelwork/engine/cluster";
import type { SimulatedProcess } from "../../clock.ts";
import { MemoryLog } from "../../memory-log.ts";
import { isRouted, observed, seeAttempt, type AttemptsIn } from "../attempts.ts";
import { drawClock, drawFor } from "../plans.ts";
import type { Askable } from "../shards/asking.ts";
import { SimulatedStore, type StoreFault, type StoreUser } from "../store.ts";
import type { Seen } from "../trace.ts";
import type { Cluster } from "./cluster.ts";
import { shardsOf } from "./owners.ts";
import type { ClusterPlan } from "./plan.ts";

/** The log of a process, which is told what it works on, and how much there is to read. */
class MemberLog extends MemoryLog {
  assigned: (partitions: readonly Partitions[]) => void = () => {};
  looked: (topic: string, partition: number, end: number) => void = () => {};

  override join(options: MemberOptions): Promise<Membership> {
    const assigned = (partitions: readonly Partitions[]): void => {
      this.assigned(partitions);
      options.assigned(partitions);
    };
    return super.join({ ...options, assigned });
  }

  override async end(topic: string, partition: number): Promise<number> {
    const end = await super.end(topic, partition);
    this.looked(topic, partition, end);
    return end;
  }

  override publish(topic: string, message: Message): Promise<void> {
    this.needs(topic);
    return super.publish(topic, message);
  }

  override subscribe(topic: string, receive: (message: Message) => void): () => void {
    this.needs(topic);
    return super.subscribe(topic, receive);
  }

  /** The topics of relays are made when somebody uses them first. */
  needs: (topic: string) => void = () => {};
}

/** One process with a node of the cluster in it. */
export class Member implements AttemptsIn, Askable {
  readonly number: number;
  readonly process: SimulatedProcess;
  readonly engine: ClusterNode;
  readonly version: number;
  /** The owners that it is, by shard. */
  readonly owners = new Map<number, number>();
  readonly death: Promise<void>;
  logGone = false;
  storeGone = false;
  hangsUntil = 0;
  ready = false;
  stopping = false;
  /** Since when nothing was in its way, in simulated time. */
  wellSince = 0;
  readonly #cluster: Cluster;
  #die: () => void = () => {};

  constructor(cluster: Cluster, number: number, version: number) {
    const { plan, stage } = cluster;
    const { clock, broker, chronicle } = stage;
    this.#cluster = cluster;
    this.number = number;
    this.version = version;
    this.process = clock.process(plan.isSkewed ? drawClock(plan.seed, number) : {});
    this.death = new Promise((resolve) => (this.#die = resolve));
    const log = new MemberLog(broker, {
      clock: this.process,
      sends: () => this.process.alive,
      reaches: () => !this.logGone,
      faultAt: (topic, message) => cluster.faults.append(this, topic, message),
    });
    log.assigned = (partitions) => this.#assigned(shardsOf(partitions));
    log.looked = (...looked) => {
      for (const owner of this.owners.values()) cluster.inboxes.looked(owner, ...looked);
    };
    log.needs = (topic) => broker.createTopic(topic);
    this.engine = createNode({
      hubs: this.hubs,
      schedules: stage.schedulesOf(version),
      workers: stage.opened.workers().map((worker) => this.#worker(worker)),
      shards: plan.shards,
      store: (shard) => this.#store(shard),
      log,
      logger: silentLogger,
      drainMs: number % 3 === 2 ? 1000 : 0,
      channels: stage.channels,
      name: `node ${number}`,
      clock: this.process,
      random: drawFor(plan.seed, "jitter", number),
      limits: plan.limits,
      ...(plan.retentionMs === undefined ? {} : { retentionMs: plan.retentionMs }),
      ...(plan.historyRetentionMs === undefined ? {} : { historyRetentionMs: plan.historyRetentionMs }),
      observe: (signal) => {
        if (this.process.alive) cluster.signal(this, signal);
      },
      onFailure: (error) => {
        if (this.process.alive) chronicle.say("failure", this, error.message);
      },
    });
  }

  get hubs(): readonly AnyHub[] {
    return this.#cluster.stage.hubsOf(this.version);
  }

  /** How long its stores still hang, in milliseconds. */
  get hangMs(): number {
    return Math.max(0, this.hangsUntil - this.#cluster.stage.clock.monotonicMs());
  }

  /** Whether it can be asked something. */
  get able(): boolean {
    return this.process.alive && this.ready && !this.stopping && !this.process.frozen;
  }

  owns(shard: number): boolean {
    return this.engine.shards.some((owned) => owned.shard === shard);
  }

  hasOwned(shard: number): boolean {
    return this.owners.has(shard);
  }

  /** The group tells it what to work on. */
  #assigned(shards: readonly number[]): void {
    if (!this.process.alive) return;
    this.#cluster.stage.chronicle.say("assigned", this, shards.join(", "));
    this.#cluster.owners.assigned(this, shards);
  }

  /** As `kill -9`. */
  kill(): void {
    if (!this.process.alive) return;
    this.process.kill();
    this.#cluster.owners.see(this, "died");
    this.#cluster.stage.chronicle.say("died", this);
    this.#die();
  }

  // ---- attempts ----

  get plan(): ClusterPlan {
    return this.#cluster.plan;
  }

  get honest(): boolean {
    return this.#cluster.stage.honest;
  }

  acts(): boolean {
    return this.process.alive;
  }

  numberFor(request: string): number {
    return this.owners.get(this.#cluster.stage.shardOf(request)) ?? 0;
  }

  see(seen: Seen & { readonly request: string }): void {
    const { stage } = this.#cluster;
    stage.chronicle.see(stage.shardOf(seen.request), seen);
  }

  #worker(worker: Worker): Worker {
    const topic = this.#cluster.external.get(worker.spoke.name);
    if (isRouted(worker)) return this.#cluster.relays.observed(observed(worker, this));
    if (topic === undefined) return observed(worker, this);
    const sent = externalWorker(worker.spoke as never, { topic });
    return {
      ...sent,
      attempt: (input, context, ports) => {
        seeAttempt(worker, this, context);
        // One that cannot be sent has failed.
        return Promise.resolve(sent.attempt(input, context, ports)).catch((error: unknown) => {
          const { runKey: request, call, attempt } = context;
          const node = this.numberFor(request);
          this.see({ type: "outcome", node, request, call, attempt, outcome: { kind: "broken" } });
          throw error;
        });
      },
    };
  }

  // ---- stores ----

  #store(shard: number): Store {
    const cluster = this.#cluster;
    const { stage } = cluster;
    const number = cluster.owner();
    const user: StoreUser = {
      number,
      process: this.process,
      server: { clock: stage.clock, delayMs: () => stage.delay("store", stage.plan.storeMs) + this.hangMs },
      see: (seen) => cluster.owners.seeOfStore(this, shard, number, seen),
      storeFault: (operation) => cluster.faults.at(operation, this) as StoreFault | undefined,
      reachStore: () => {
        if (this.storeGone) throw new Error("the store cannot be reached, as planned");
      },
      kill: () => this.kill(),
    };
    return new SimulatedStore(stage.open(shard), user);
  }
}
