import { WheelworkError, type AnyHub } from "@wheelwork/core";
import { demandOptions, kinds, required, type OptionKinds } from "@wheelwork/core/kernel";
import { systemClock } from "../ports/clock.ts";
import { guarded } from "../ports/guards.ts";
import type { Bus, Clock, Logger, Store } from "../ports/ports.ts";
import type { Tracing } from "../ports/trace.ts";
import type { ShardAccess, Shards } from "../requests/access.ts";
import type { Engine, EngineHealth } from "../requests/api.ts";
import { checkWorkers, collectHubs } from "../requests/hubs.ts";
import { LocalShard } from "../requests/local-shard.ts";
import type { CommonOptions } from "../requests/options.ts";
import { busKind, commonOptions, storeKind } from "../requests/option-tables.ts";
import { officeOf } from "../requests/posts.ts";
import { RequestService } from "../requests/service.ts";
import { ShardHost } from "../requests/shard-host.ts";
import type { ShardStats } from "../requests/stats.ts";
import { collectSchedules, type Schedule } from "../schedules/schedule.ts";
import { stopping } from "../shard/options.ts";
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
  /**
   * The engine has ended by itself, and takes nothing any more: another engine has taken its store over (WW_STORE_LOCKED), or
   * the store has lost commits (WW_COMMITS_LOST). `health` says so, too. Most programs end their process here.
   */
  readonly onFailure?: (error: WheelworkError) => void;
}

const { either, fn, oneOf, text } = kinds;
const engineOptions: OptionKinds<EngineOptions> = {
  ...commonOptions,
  store: required(either(text(4096), storeKind, "must be the path of a file, or a store")),
  durability: oneOf("full", "normal"),
  bus: busKind,
  onFailure: fn,
};

/** How often an engine looks whether its store is still its own, in milliseconds. */
const watchMs = 2000;
/** How often a warning of the store is repeated, in milliseconds. */
const warningMs = 600_000;

/**
 * Makes an embedded engine: one process, one SQLite file, workers in the process. Call `start` next.
 * @throws WheelworkError WW_CONFIG with every problem (a spoke without a worker, two hubs of one name, a store that is no file), and those of the
 * store: WW_STORE_LOCKED, WW_COMMITS_LOST, WW_STORE_CORRUPT, WW_STORE_NEWER, WW_STORE_UNAVAILABLE.
 */
export function createEngine(options: EngineOptions): Engine {
  return new RequestService(new EmbeddedShard(options));
}

/** The one shard of an embedded engine. It is all there is, and never moves. */
export class EmbeddedShard implements Shards {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly schedules: ReadonlyMap<string, Schedule>;
  readonly clock: Clock;
  readonly tracing: Tracing | undefined;
  readonly host: ShardHost;
  readonly #options: EngineOptions & { readonly logger: Logger };
  readonly #store: Store;
  readonly #access: ShardAccess;
  #stopping: Promise<void> | undefined = undefined;
  #hasClosed = false;
  #nextWarningAt = 0;
  #cancelWatch: () => void = () => {};

  constructor(given: EngineOptions) {
    const options = guarded(demandOptions<EngineOptions>(given, engineOptions, "an engine"));
    const { workers, store, durability, bus = new LocalBus(), clock = systemClock, onFailure } = options;
    this.#options = options;
    this.hubs = collectHubs(options.hubs, options.schedules);
    this.schedules = collectSchedules(options.schedules);
    checkWorkers(this.hubs, workers);
    this.clock = clock;
    this.tracing = options.tracing;
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
      posts: officeOf(() => new RequestService(this)),
      clock,
      onEnded: (why) => onFailure?.(why),
    });
    this.#access = new LocalShard(this.host.shard, this.host.store, clock);
  }

  get status(): EngineHealth["status"] {
    return this.host.shard.status;
  }

  health(): EngineHealth {
    return this.host.health();
  }

  async stats(): Promise<readonly ShardStats[]> {
    return [await this.host.stats(0)];
  }

  async start(): Promise<void> {
    const { logger } = this.#options;
    for (const { definition } of this.hubs.values())
      logger.info({ version: definition.version }, definition.answerBy);
    if (this.#hasClosed)
      throw new WheelworkError("WW_STARTED", "the engine has closed its store after a start that failed", {
        next: "Make another one with createEngine, and start that.",
      });
    try {
      await this.host.start();
    } catch (error) {
      await this.#closeStore();
      throw this.#stopping === undefined ? error : stopping();
    }
    if (this.#stopping !== undefined) throw stopping();
    this.#watch();
  }

  stop(drainMs?: number): Promise<void> {
    this.#cancelWatch();
    const stopped = this.host.stop(drainMs);
    this.#stopping ??= stopped.then(() => this.#closeStore());
    return this.#stopping;
  }

  /** A store that was taken away is noticed without a commit, too. */
  #watch(): void {
    const store = this.#store;
    if (store.check === undefined || this.#stopping !== undefined) return;
    this.#cancelWatch = this.clock.after(watchMs, () => {
      void this.#check(store).finally(() => this.#watch());
    });
  }

  async #check(store: Store): Promise<void> {
    if (this.status !== "running") return;
    try {
      const warning = await store.check?.();
      const now = this.clock.monotonicMs();
      if (warning === undefined || now < this.#nextWarningAt) return;
      this.#nextWarningAt = now + warningMs;
      const { logger } = this.#options;
      logger.warn({}, warning);
    } catch (error) {
      if (this.#stopping === undefined) this.host.shard.storeFailed(error);
    }
  }

  of(): ShardAccess {
    return this.#access;
  }

  all(): Iterable<ShardAccess> {
    return [this.#access];
  }

  /** A store that the caller opened is closed by the caller. */
  async #closeStore(): Promise<void> {
    if (typeof this.#options.store !== "string") return;
    this.#hasClosed = true;
    await this.#store.close();
  }
}
