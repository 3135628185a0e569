import type { AnyHub } from "@wheelwork/core";
import { systemClock } from "../ports/clock.ts";
import type { Bus, Clock, Store } from "../ports/ports.ts";
import type { ShardAccess, Shards } from "../requests/access.ts";
import type { Engine, EngineHealth } from "../requests/api.ts";
import { checkWorkers, collectHubs } from "../requests/hubs.ts";
import { LocalShard } from "../requests/local-shard.ts";
import type { CommonOptions } from "../requests/options.ts";
import { RequestService } from "../requests/service.ts";
import { ShardHost } from "../requests/shard-host.ts";
import { SqliteStore, type Durability } from "../stores/sqlite.ts";
import { LocalBus } from "./local-bus.ts";

/** What an embedded engine needs. */
export interface EngineOptions extends CommonOptions {
  /** The file of the SQLite store, or a store of your own. */
  readonly store: string | Store;
  /** How much a commit waits for the disk. Default `full`. Only for a file. */
  readonly durability?: Durability;
  /** Default: a bus within the process. */
  readonly bus?: Bus;
}

/**
 * Makes an embedded engine: one process, one SQLite file, workers in the process. Call `start` next.
 * @throws WheelworkError WW_CONFIG with every problem (a spoke without a worker, two hubs of one name), and those of the
 * store: WW_STORE_LOCKED, WW_COMMITS_LOST, WW_STORE_CORRUPT, WW_STORE_NEWER, WW_STORE_UNAVAILABLE.
 */
export function createEngine(options: EngineOptions): Engine {
  return new RequestService(new EmbeddedShard(options));
}

/** The one shard of an embedded engine. It is all there is, and never moves. */
export class EmbeddedShard implements Shards {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly clock: Clock;
  readonly host: ShardHost;
  readonly #options: EngineOptions;
  readonly #store: Store;
  readonly #access: ShardAccess;
  #stopping: Promise<void> | undefined = undefined;

  constructor(options: EngineOptions) {
    const { workers, store, durability, bus = new LocalBus(), clock = systemClock } = options;
    this.#options = options;
    this.hubs = collectHubs(options.hubs);
    checkWorkers(this.hubs, workers);
    this.clock = clock;
    this.#store =
      typeof store === "string"
        ? new SqliteStore(store, durability === undefined ? {} : { durability })
        : store;
    this.host = new ShardHost({
      ...options,
      hubs: this.hubs,
      store: this.#store,
      bus,
      replies: { kind: "process" },
      clock,
    });
    this.#access = new LocalShard(this.host.shard, this.#store, clock);
  }

  get status(): EngineHealth["status"] {
    return this.host.shard.status;
  }

  health(): EngineHealth {
    return this.host.health();
  }

  async start(): Promise<void> {
    const { logger } = this.#options;
    for (const { definition } of this.hubs.values())
      logger?.info({ version: definition.version }, definition.answerBy);
    try {
      await this.host.start();
    } catch (error) {
      await this.#closeStore();
      throw error;
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.host.stop().then(() => this.#closeStore());
    return this.#stopping;
  }

  of(): ShardAccess {
    return this.#access;
  }

  all(): Iterable<ShardAccess> {
    return [this.#access];
  }

  /** A store that the caller opened is closed by the caller. */
  async #closeStore(): Promise<void> {
    if (typeof this.#options.store === "string") await this.#store.close();
  }
}
