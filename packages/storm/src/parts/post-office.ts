import type { AnyHub } from "@wheelwork/core";
import type { Clock, Message, Store } from "@wheelwork/engine";
import {
  LocalShard,
  officeOf,
  RemoteShards,
  RequestService,
  rootOf,
  shardOf,
  type PostOffice,
  type ShardAccess,
  type ShardHost,
  type Shards,
} from "@wheelwork/engine/parts";
import { routed } from "./lane-records.ts";

/** How the hub's bolt reaches the runs of all tasks. */
export interface OfficeOptions {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly clock: Clock;
  /** The shard of this task. */
  readonly index: number;
  readonly host: () => ShardHost;
  readonly shards: number;
  readonly inbox: string;
  readonly openStore: (shard: number) => Store;
  /** Resolves when the broker has the message. */
  readonly publish: (topic: string, message: Message) => Promise<void>;
}

/**
 * Takes posts, and the commands of bulks, to other runs: to those of this task at once, and to those of other tasks through the inbox. No task can ask another
 * one, so their stores tell whether they have taken it, as a client of a cluster looks it up.
 */
export class BoltOffice implements Shards {
  readonly office: PostOffice;
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly clock: Clock;
  readonly status = "running";
  readonly #options: OfficeOptions;
  readonly #remotes: RemoteShards;

  constructor(options: OfficeOptions) {
    this.#options = options;
    this.hubs = options.hubs;
    this.clock = options.clock;
    const { inbox, openStore, publish } = options;
    const append = (topic: string, message: Message): Promise<void> => publish(topic, routed(message));
    this.#remotes = new RemoteShards({ inbox, store: openStore, log: { append } }, options.clock);
    const service = new RequestService(this);
    this.office = officeOf(() => service);
  }

  of(key: string): ShardAccess {
    return this.#shard(shardOf(rootOf(key), this.#options.shards));
  }

  all(): Iterable<ShardAccess> {
    return Array.from({ length: this.#options.shards }, (_, shard) => this.#shard(shard));
  }

  #shard(shard: number): ShardAccess {
    const { index, host, clock } = this.#options;
    return shard === index ? new LocalShard(host().shard, host().store, clock) : this.#remotes.of(shard);
  }

  health(): ReturnType<ShardHost["health"]> {
    return this.#options.host().health();
  }

  async start(): Promise<void> {}

  stop(): Promise<void> {
    return this.#remotes.close();
  }
}
