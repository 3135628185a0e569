import type { AnyHub, WheelworkError } from "@wheelwork/core";
import { secretsOfAll, type HubDefinition } from "@wheelwork/core/kernel";
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Suspects } from "../attempts/suspects.ts";
import { nextTurn, systemClock } from "../ports/clock.ts";
import { Harms } from "../ports/harms.ts";
import { givenKey, scheduleKey } from "../ports/keys.ts";
import { defaultLogger } from "../ports/logger.ts";
import type { Bus, Clock, EngineEvent, Logger, ShardState, Store } from "../ports/ports.ts";
import type { ReplyPath } from "../ports/reply-path.ts";
import type { Feed } from "../shard/feed.ts";
import { checkDowntimeOf, type ShardLimits } from "../shard/options.ts";
import { countLanes, countRuns } from "../shard/counts.ts";
import { defaultMemoryBytes } from "../shard/memory.ts";
import { scheduleHub } from "../schedules/hub.ts";
import { collectSchedules, type Schedule } from "../schedules/schedule.ts";
import { Damages } from "../shard/damages.ts";
import { harming } from "../shard/harming.ts";
import { noticing } from "../shard/noticing.ts";
import { Shard } from "../shard/shard.ts";
import { checkLog } from "../shard/tenure.ts";
import { deploy } from "./deploy.ts";
import type { EngineHealth } from "./api.ts";
import { bulkHub, bulkWorkers } from "./bulk-hub.ts";
import { callHub } from "./calls.ts";
import type { ShardStats } from "./stats.ts";
import { tellHubs } from "./hubs.ts";
import { postWorker, type PostOffice } from "./posts.ts";
import {
  defaultDrainMs,
  defaultMaxDowntimeMs,
  defaultAuditRetentionMs,
  defaultRetentionMs,
  historyRetentionOf,
  type CommonOptions,
} from "./options.ts";

/** What a shard needs of the engine that works on it. */
export interface ShardHostOptions extends Omit<CommonOptions, "hubs"> {
  /** See `collectHubs`. */
  readonly hubs: ReadonlyMap<string, AnyHub>;
  /** Whoever opened it closes it, once the host has stopped. */
  readonly store: Store;
  readonly bus: Bus;
  readonly replies: ReplyPath;
  /** Where inputs come from besides callers. Default: nowhere. */
  readonly feed?: Feed;
  /** The shard has ended by itself, and is not claimed again: see `ShardOptions.onEnded`. */
  readonly onEnded?: (why: WheelworkError) => void;
  /** A part of the store is damaged (WW_STORE_CORRUPT), and the rest goes on. Each place is told once. */
  readonly onDamage?: (damage: WheelworkError) => void;
  /** See `ShardOptions.suspects`. */
  readonly suspects?: Suspects;
  /** How posts of its runs reach other runs. */
  readonly posts: PostOffice;
  /** Whether a run belongs in the shard. Default: all do. */
  readonly isOurs?: (key: string) => boolean;
  /** Hubs that no user defines. */
  readonly builtIn?: readonly HubDefinition[];
}

/** What the loop may hold where nobody says otherwise. */
const defaultLimits: ShardLimits = {
  queuedRequests: 10_000,
  liveRuns: 200_000,
  memoryBytes: defaultMemoryBytes(),
  lateMs: 100,
  batchInputs: 5_000,
  checkpointEvents: 50_000,
  checkpointRuns: 300,
  openedCalls: 500,
  bulkPage: 500,
  horizonMs: 60_000,
};

/** How a shard stands; undefined: nobody has claimed it yet, or a claim says what is wrong with the store. */
async function stateOf(store: Store): Promise<ShardState | undefined> {
  try {
    return await store.peek();
  } catch {
    return undefined;
  }
}

const maxDowntimeOf = ({
  maxDowntimeMs = defaultMaxDowntimeMs,
}: Pick<CommonOptions, "maxDowntimeMs">): number => maxDowntimeMs;

/** Whether a claim would not be refused for the clock (WW_CLOCK). */
export async function fitsClock(
  store: Store,
  clock: Clock,
  options: Pick<CommonOptions, "maxDowntimeMs">,
): Promise<boolean> {
  const state = await store.peek();
  try {
    checkDowntimeOf(state, clock.wallMs(), maxDowntimeOf(options));
    return true;
  } catch {
    return false;
  }
}

/** An event with the key that its sender gave. */
const asGiven = (event: EngineEvent): EngineEvent =>
  "key" in event && givenKey(event.key) !== event.key ? { ...event, key: givenKey(event.key) } : event;

/** How many things one purge deletes at most. */
const purgeLimit = 500;
/**
 * When the first purge comes after the start, the next one if there is more to delete, and if not; in milliseconds. The first
 * one leaves time to notice a wrong clock: an hour, or the retention if that is shorter.
 */
const [firstPurgeMs, minPurgeMs, nextPurgeMs, idlePurgeMs] = [3_600_000, 1000, 50, 60_000];

/** A shard with all that it works with, under one life: the loop, its hubs with the built-in ones, and its purges. */
export class ShardHost {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly shard: Shard;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #retentionMs: number;
  readonly #historyRetentionMs: number;
  readonly #auditRetentionMs: number;
  readonly #options: ShardHostOptions;
  readonly #schedules: ReadonlyMap<string, Schedule>;
  readonly #damages: Damages;
  /** The store, which tells what is damaged in it. */
  readonly store: Store;
  #cancelPurge: () => void = () => {};
  #stopped = false;

  constructor(options: ShardHostOptions) {
    const { hubs, bus, replies, feed, suspects, onEnded, builtIn = [], observe, posts } = options;
    const told = [...options.workers, postWorker(posts)];
    const limits = { ...defaultLimits, ...options.limits };
    const workers = [...told, ...bulkWorkers(posts, limits.bulkPage)];
    const { clock = systemClock, logger = defaultLogger(), random = Math.random } = options;
    this.#options = options;
    this.#damages = new Damages(logger, observe, options.onDamage);
    const harms = new Harms();
    const store = (this.store = noticing(harming(options.store, harms), (damage) =>
      this.#damages.tell(damage),
    ));
    this.hubs = hubs;
    this.#clock = clock;
    this.#logger = logger;
    this.#retentionMs = options.retentionMs ?? defaultRetentionMs;
    this.#historyRetentionMs = historyRetentionOf(options);
    this.#auditRetentionMs = options.auditRetentionMs ?? defaultAuditRetentionMs;
    this.#schedules = collectSchedules(options.schedules);
    const secrets = secretsOfAll(hubs);
    const definitions = [
      ...Array.from(hubs.values(), ({ definition }) => definition),
      ...[...tellHubs(told), callHub(), bulkHub, scheduleHub(this.#schedules), ...builtIn].map(
        (definition): HubDefinition => ({ ...definition, secrets }),
      ),
    ];
    this.shard = new Shard({
      store,
      harms,
      clock,
      bus,
      replies,
      logger,
      hubs: new Map(definitions.map((definition) => [definition.name, definition])),
      workers,
      random,
      owner: `${hostname()}:${process.pid}:${randomUUID()}`,
      observe: observe === undefined ? undefined : (event) => observe(asGiven(event)),
      tracing: options.tracing,
      redact: options.redact,
      limits,
      retentionMs: this.#retentionMs,
      maxDowntimeMs: maxDowntimeOf(options),
      ...(feed === undefined ? {} : { feed }),
      ...(suspects === undefined ? {} : { suspects }),
      ...(onEnded === undefined ? {} : { onEnded }),
    });
  }

  /** Claims the shard and begins to work. @throws WheelworkError what the store, the hubs or the log say. */
  async start(): Promise<void> {
    await this.#lookFirst();
    await this.shard.start();
    const { isOurs = () => true } = this.#options;
    const ours = [...this.#schedules.values()].filter(({ name }) => isOurs(scheduleKey(name)));
    if (ours.length > 0) deploy(this.shard, ours, this.#clock, this.#logger);
    this.#schedulePurge(Math.min(firstPurgeMs, Math.max(minPurgeMs, this.#retentionMs)));
  }

  /** A claim fences whoever works on the shard, so one that is of no use must not be made: the shard may be another cluster's. */
  async #lookFirst(): Promise<void> {
    const { feed, store } = this.#options;
    const state = await stateOf(store);
    if (state === undefined) return;
    checkDowntimeOf(state, this.#clock.wallMs(), maxDowntimeOf(this.#options));
    if (feed !== undefined) checkLog(state, feed);
  }

  /** Lets the attempts under way end within `drainMs` milliseconds, commits what is decided, and stops. */
  stop(drainMs = this.#options.drainMs ?? defaultDrainMs): Promise<void> {
    this.#stopped = true;
    this.#cancelPurge();
    return this.shard.stop(drainMs);
  }

  health(): EngineHealth {
    const { status, sizes, reason } = this.shard;
    const { liveRuns, openAttempts, queued } = sizes;
    const ready = status === "running";
    const { warnings } = this.#damages;
    return {
      ready,
      status,
      ...(reason === undefined ? {} : { reason }),
      ...(warnings.length === 0 ? {} : { warnings }),
      liveRuns,
      openAttempts,
      queued,
    };
  }

  /** Figures of the shard as it is now. */
  async stats(shard: number, lag?: number): Promise<ShardStats> {
    const { status, sizes } = this.shard;
    const { openAttempts, queued, callbacks, unpublished } = sizes;
    const figures = { openAttempts, queued, callbacks, unpublished };
    const storeBytes = await this.#sizeOfStore();
    const runs = await countRuns(this.shard.liveRuns(), this.#clock);
    const lanes = countLanes(this.shard.lanes());
    const more = {
      ...(lag === undefined ? {} : { lag }),
      ...(storeBytes === undefined ? {} : { storeBytes }),
    };
    return { shard, status, ...figures, runs, lanes, ...more };
  }

  /** A store that is away says nothing of it, and the other figures are told all the same. */
  async #sizeOfStore(): Promise<number | undefined> {
    try {
      return await this.#options.store.sizeBytes?.();
    } catch {
      return undefined;
    }
  }

  /** Deletes what has outlived its retention, a little at a time, so that requests do not wait for it. */
  #schedulePurge(delayMs: number): void {
    if (this.#stopped) return;
    this.#cancelPurge = this.#clock.after(delayMs, () => {
      this.#purge().then(
        (isOver) => this.#schedulePurge(isOver ? idlePurgeMs : nextPurgeMs),
        (error: unknown) => {
          const message = "answers and events that have outlived their retention could not be deleted";
          this.#logger.warn({ error: String(error) }, message);
          this.#schedulePurge(idlePurgeMs);
        },
      );
    });
  }

  /** Whether there is nothing more to delete. */
  async #purge(): Promise<boolean> {
    const requests = await this.shard.purge(purgeLimit);
    if (requests > 0) this.#options.observe?.({ name: "purged", requests });
    // In another turn of the loop: each of them may take some milliseconds.
    await nextTurn(this.#clock);
    const hasMore = await this.shard.archive(this.#historyRetentionMs, purgeLimit);
    const hasMoreAudit = await this.shard.purgeAudit(this.#auditRetentionMs, purgeLimit);
    this.shard.wake();
    // A request may go only after what it has begun has gone.
    return requests === 0 && !hasMore && !hasMoreAudit;
  }
}
