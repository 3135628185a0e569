import type { AnyHub } from "@wheelwork/core";
import type { Engine, EngineEvent, Store, Worker } from "@wheelwork/engine";
import {
  clusterTopics,
  createClient,
  createNode,
  type Channel,
  type ClusterNode,
  type NodeOptions,
} from "@wheelwork/engine/cluster";
import {
  FaultyStore,
  MemoryBroker,
  MemoryLog,
  MemoryStore,
  SimulatedClock,
  type FaultPlan,
  type SimulatedProcess,
} from "@wheelwork/testing";

/** A node in a process of its own. */
export interface Member {
  readonly node: ClusterNode;
  readonly process: SimulatedProcess;
  readonly stores: readonly FaultyStore[];
  readonly signals: readonly EngineEvent[];
}

/** What the nodes of a test are made of. */
export interface NodesOptions {
  readonly shards: number;
  readonly hub: AnyHub;
  readonly workers: (process: SimulatedProcess) => readonly Worker[];
  /** Topics besides those of the channel, with their partitions. */
  readonly topics?: Readonly<Record<string, number>>;
  /** What the channel does otherwise. */
  readonly channel?: Partial<Channel>;
  /** The most bytes of a record. Default: no bound. */
  readonly maxBytes?: number;
  /** How long a record takes to the broker, in milliseconds. Default: no time. */
  readonly logMs?: number;
  /** Options of the nodes that are to differ. */
  readonly options?: Partial<NodeOptions>;
}

/** Nodes over one log and one store for each shard, all in memory; requests are JSON on `in`, answers on `out`. */
export class Nodes {
  readonly clock = new SimulatedClock();
  readonly broker: MemoryBroker;
  readonly outside: MemoryLog;
  readonly disks: readonly MemoryStore[];
  readonly #options: NodesOptions;
  readonly #channel: Channel;

  constructor(options: NodesOptions) {
    const { shards, hub, topics = {}, maxBytes = Number.POSITIVE_INFINITY, logMs = 0 } = options;
    this.broker = new MemoryBroker({ clock: this.clock, maxBytes, delayMs: () => logMs });
    this.outside = new MemoryLog(this.broker, { clock: this.clock });
    this.#options = options;
    this.#channel = {
      name: "test",
      from: "in",
      to: "out",
      hub: hub as never,
      request: ({ value }) => JSON.parse(value) as unknown,
      answer: (answer) => ({ value: JSON.stringify(answer) }),
      ...options.channel,
    };
    this.disks = Array.from({ length: shards }, () => new MemoryStore());
    for (const { name, partitions = 1 } of clusterTopics({ shards, channels: [this.#channel] }))
      this.broker.createTopic(name, partitions);
    for (const [name, partitions] of Object.entries(topics)) this.broker.createTopic(name, partitions);
  }

  /** Starts a node, and waits until it works on a shard; a commit takes so long, and has the faults that are given. */
  async node(
    commitMs: number,
    faultAt?: FaultPlan["faultAt"],
    more: Partial<NodeOptions> = {},
  ): Promise<Member> {
    const member = await this.begin(commitMs, faultAt, more);
    await this.clock.runUntil(() => member.node.shards.length > 0, 60_000);
    return member;
  }

  /** The same without waiting for a shard. */
  async begin(
    commitMs: number,
    faultAt?: FaultPlan["faultAt"],
    more: Partial<NodeOptions> = {},
  ): Promise<Member> {
    const process = this.clock.process();
    const stores: FaultyStore[] = [];
    const signals: EngineEvent[] = [];
    const { shards, hub, workers, options } = this.#options;
    const node = createNode({
      hubs: [hub],
      drainMs: 0,
      workers: workers(process),
      shards,
      store: (shard) => {
        const store = new FaultyStore((this.disks[shard] as MemoryStore).reopen(), {
          later: (task) => void process.after(commitMs, task),
          ...(faultAt === undefined ? {} : { faultAt }),
        });
        stores.push(store);
        return store;
      },
      log: new MemoryLog(this.broker, { clock: process, sends: () => process.alive }),
      channels: [this.#channel],
      clock: process,
      observe: (signal) => void signals.push(signal),
      ...options,
      ...more,
    });
    await this.clock.runUntil(node.start(), 60_000);
    return { node, process, stores, signals };
  }

  /** Starts a process that leaves all work to the nodes. `store`: what it reads a shard from, if not from the disk itself. */
  async client(
    store = (shard: number): Store => (this.disks[shard] as MemoryStore).reopen(),
  ): Promise<Engine> {
    const { clock } = this;
    const { shards, hub } = this.#options;
    const log = new MemoryLog(this.broker, { clock });
    const client = createClient({ hubs: [hub], shards, log, store, clock });
    await clock.runUntil(client.start(), 60_000);
    return client;
  }

  async ask(key: string, request: object): Promise<void> {
    await this.clock.runUntil(this.outside.append("in", { key, value: JSON.stringify(request) }));
  }

  /** The answers that are published under a key, each with its id. */
  answers(key: string): string[] {
    return this.broker
      .records("out")
      .filter((record) => record.key === key)
      .map(({ value, headers }) => `${headers["ce_id"]} ${value}`);
  }

  async answered(key: string, times = 1): Promise<readonly string[]> {
    await this.clock.runUntil(() => this.answers(key).length >= times, 60_000);
    return this.answers(key);
  }

  /** How far the group has noted that a partition is settled. */
  noted(topic = "in", partition = 0): number | undefined {
    return this.broker.committed("wheelwork", topic, partition);
  }

  /** The keys of all that was ever written to a topic. */
  keys(topic: string): string[] {
    return this.broker.records(topic).map(({ key }) => key);
  }
}
