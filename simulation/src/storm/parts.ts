import { externalWorker, type Worker } from "@wheelwork/engine";
import type { StormApp, StormConfig, StormLog, StormPorts } from "@wheelwork/storm/parts";
import { MemoryLog, type MemoryLogOptions } from "@wheelwork/testing";
import {
  count,
  drawFor,
  inbox,
  observed,
  seeAttempt,
  type AttemptsIn,
  type Seen,
  type Stage,
} from "@wheelwork/testing/simulator";
import type { Child } from "./child.ts";
import type { Faults } from "./faults.ts";
import type { Hubs } from "./hubs.ts";
import { isSound, type StormPlan } from "./plan.ts";

type Message = Parameters<StormLog["publish"]>[1];

/** The log of a part, which also knows the times of records. */
class PartLog extends MemoryLog {
  readonly #stage: Stage;

  constructor(stage: Stage, options: MemoryLogOptions) {
    super(stage.broker, options);
    this.#stage = stage;
  }

  override publish(topic: string, message: Message): Promise<void> {
    this.#stage.broker.createTopic(topic);
    return super.publish(topic, message);
  }

  async since(topic: string, partition: number, timeMs: number): Promise<number> {
    const end = await this.end(topic, partition);
    const records = this.#stage.broker.records(topic).filter((record) => record.partition === partition);
    return records.find(({ timestampMs }) => timestampMs >= timeMs)?.offset ?? end;
  }

  /** Nobody deletes records here. */
  async progress(): Promise<readonly []> {
    return [];
  }
}

/** What the parts of the topology are given: the application, and their ports. */
export class Parts {
  readonly config: StormConfig;
  readonly #plan: StormPlan;
  readonly #stage: Stage;
  readonly #hubs: Hubs;
  readonly #faults: Faults;
  /** The topics of spokes that external workers serve. */
  readonly #external: ReadonlyMap<string, string>;
  #made = 0;

  constructor(
    plan: StormPlan,
    stage: Stage,
    hubs: Hubs,
    faults: Faults,
    external: ReadonlyMap<string, string>,
  ) {
    this.#plan = plan;
    this.#stage = stage;
    this.#hubs = hubs;
    this.#faults = faults;
    this.#external = external;
    this.config = { brokers: "in memory", databaseUrl: "in memory", shards: plan.shards, inbox };
  }

  /** The workers of one process, as the topology is made of them. */
  get workers(): readonly Worker[] {
    return this.#stage.opened.workers();
  }

  app(child: Child): StormApp {
    const { opened, chronicle, channels } = this.#stage;
    const { retentionMs, historyRetentionMs, limits } = this.#plan;
    return {
      hubs: this.#stage.hubsOf(child.jvm.version),
      schedules: this.#stage.schedulesOf(child.jvm.version),
      workers: opened.workers().map((worker) => this.#worker(worker, child)),
      channels,
      limits,
      observe: ({ name }) => {
        if (child.process.alive) count(chronicle.signals, name);
      },
      ...(retentionMs === undefined ? {} : { retentionMs }),
      ...(historyRetentionMs === undefined ? {} : { historyRetentionMs }),
    };
  }

  #worker(worker: Worker, child: Child): Worker {
    const isHub = child.task.component === "bolt-hub";
    const where = this.#where(child, isHub);
    const topic = this.#external.get(worker.spoke.name);
    if (topic === undefined) return observed(worker, where);
    const sent = externalWorker(worker.spoke as never, { topic });
    return {
      ...sent,
      attempt: (input, context, ports) => {
        seeAttempt(worker, where, context);
        return sent.attempt(input, context, ports);
      },
    };
  }

  /** A worker bolt makes what a hub has handed out: it may be over, or made twice. */
  #where(child: Child, isHub: boolean): AttemptsIn {
    const stage = this.#stage;
    const see = (seen: Seen & { readonly request: string }): void =>
      stage.chronicle.see(stage.shardOf(seen.request), seen);
    // The owner must take the outcome, if no tuple can be lost.
    const hears = (request: string): number =>
      isSound(this.#plan) ? (this.#hubs.ownerOf(stage.shardOf(request)) ?? 0) : 0;
    return {
      plan: this.#plan,
      honest: stage.honest,
      process: child.process,
      acts: () => child.process.alive,
      numberFor: () => (isHub ? (child.owner ?? 0) : 0),
      see: (seen) => see(seen.type === "outcome" && !isHub ? { ...seen, node: hears(seen.request) } : seen),
    };
  }

  ports(child: Child): StormPorts {
    const { process, jvm, task } = child;
    const log = (): StormLog =>
      new PartLog(this.#stage, {
        clock: process,
        sends: () => process.alive,
        reaches: () => !jvm.logGone,
        faultAt: (topic, message) =>
          this.#faults.append(child, task.component, topic, message, () => child.kill()),
      });
    return {
      clock: process,
      random: drawFor(this.#plan.seed, "jitter", ++this.#made),
      connect: log,
      openStore: (_config, shard) => this.#hubs.openStore(child, shard, this.#faults),
    };
  }
}
