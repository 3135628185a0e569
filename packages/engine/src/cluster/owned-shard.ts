import type { Answer, AnyHub, WheelworkError } from "@wheelwork/core";
import type { Suspects } from "../attempts/suspects.ts";
import type { Worker } from "../attempts/worker.ts";
import { refusedHub, type Channel } from "../delivery/channel.ts";
import type { SentRequests } from "../delivery/sent.ts";
import { rootOf, shardOf } from "../ports/keys.ts";
import { defaultLogger } from "../ports/logger.ts";
import type { Clock, Store } from "../ports/ports.ts";
import { pause } from "../ports/retry.ts";
import { askAgain, isRetryable, type NewRequest, type RequestRecord } from "../requests/access.ts";
import { LocalShard } from "../requests/local-shard.ts";
import { defaultRetentionMs } from "../requests/options.ts";
import type { PostOffice } from "../requests/posts.ts";
import { fitsClock, ShardHost } from "../requests/shard-host.ts";
import type { Shard } from "../shard/shard.ts";
import type { NodeOptions, ShardView } from "./options.ts";
import { logIdOf, ShardFeed } from "./shard-feed.ts";

/** What a shard needs of its node. */
export interface OwnedShardOptions {
  readonly node: NodeOptions;
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly workers: readonly Worker[];
  readonly channels: ReadonlyMap<string, Channel>;
  readonly inbox: string;
  readonly clock: Clock;
  /** For what is asked of records that others have written. */
  readonly hostClock: Clock;
  /** How posts reach the runs of all shards. */
  readonly posts: PostOffice;
  /** Those of all shards of the node. */
  readonly suspects: Suspects;
  /** What the node has sent to the inboxes of shards that it did not have. It may have one of them by now. */
  readonly sent: SentRequests;
  /** See `ShardFeed`. Absent if there are no relays. */
  readonly passRelays?: (isWanted: () => boolean) => Promise<void>;
  /** The shard cannot go on under this claim: see `ShardOptions.onEnded`, and `LogReader.lost`. */
  readonly onEnded: (why: Error) => void;
  /** See `ShardHostOptions.onDamage`. */
  readonly onDamage: (damage: Error) => void;
  /** See `ShardFeed`. */
  readonly onReplaced: () => void;
  readonly onLost: (why: Error) => void;
  /** Whether the node still answers questions. */
  readonly isOpen: () => boolean;
}

/** How long after a shard has let go its new owner is looked up, in milliseconds. */
const movedMs = 100;

/** While somebody waits for an answer, the shard may go to another node: then that one is asked. */
class MovableShard extends LocalShard {
  readonly #options: OwnedShardOptions;

  constructor(shard: Shard, store: Store, options: OwnedShardOptions) {
    super(shard, store, options.clock);
    this.#options = options;
  }

  /** As of a request that comes through the inbox, where nobody knows who made the key. */
  protected override hashOf({ body }: NewRequest): string {
    return body.hash();
  }

  override async lookUp(key: string): Promise<RequestRecord> {
    const record = await super.lookUp(key);
    this.#options.sent.found(key);
    return record;
  }

  protected override async missing(key: string): Promise<WheelworkError> {
    return this.#options.sent.doubt(key) ?? (await super.missing(key));
  }

  override async answer(key: string, waitMs: number): Promise<Answer | typeof askAgain | undefined> {
    try {
      return await super.answer(key, waitMs);
    } catch (error) {
      const { clock, isOpen } = this.#options;
      // It is in the inbox, and the shard has not come to it yet.
      if (this.#options.sent.has(key) && waitMs <= 0) return undefined;
      if (!isRetryable(error) || !isOpen() || waitMs <= 0) throw error;
      await pause(clock, movedMs);
      return askAgain;
    }
  }
}

/** A shard that this node has claimed: its store, its loop, and what the loop reads. */
export class OwnedShard {
  readonly access: LocalShard;
  readonly shard: Shard;
  readonly #host: ShardHost;
  readonly #store: Store;

  private constructor(host: ShardHost, options: OwnedShardOptions) {
    const { store } = host;
    this.#host = host;
    this.#store = store;
    this.shard = host.shard;
    this.access = new MovableShard(host.shard, store, options);
  }

  /** Claims the shard, and begins to work on it. If that fails, nothing stays behind. */
  static async claim(number: number, options: OwnedShardOptions): Promise<OwnedShard> {
    const { node, hubs, workers, channels, inbox, clock, hostClock, posts, suspects, passRelays } = options;
    const { onDamage, onEnded, onLost, onReplaced } = options;
    const { log, observe, retentionMs = defaultRetentionMs } = node;
    const store = node.store(number);
    let feed: ShardFeed | undefined;
    let host: ShardHost | undefined;
    try {
      feed = new ShardFeed({
        log,
        inbox,
        logId: logIdOf(inbox, await log.topic(inbox)),
        shard: number,
        shards: node.shards,
        hubs,
        channels,
        observe,
        logger: node.logger ?? defaultLogger(),
        clock: hostClock,
        ...(passRelays === undefined ? {} : { passRelays }),
        owner: () => host?.shard,
        retentionMs,
        onEnded,
        onLost,
        onReplaced,
      });
      host = new ShardHost({
        ...node,
        hubs,
        workers,
        store,
        bus: log,
        replies: { kind: "log", inbox: { topic: inbox, partition: number }, relays: true },
        clock,
        feed,
        posts,
        isOurs: (key) => shardOf(rootOf(key), node.shards) === number,
        suspects,
        onEnded: (why: WheelworkError) => onEnded(why),
        onDamage,
        builtIn: [refusedHub],
      });
      await host.start();
      return new OwnedShard(host, options);
    } catch (error) {
      feed?.end();
      await host?.stop(0);
      await store.close();
      throw error;
    }
  }

  /** Whether a claim would not be refused for the clock of this node (WW_CLOCK). It claims nothing. */
  static async isFit(
    number: number,
    { node, clock }: Pick<OwnedShardOptions, "node" | "clock">,
  ): Promise<boolean> {
    const store = node.store(number);
    try {
      return await fitsClock(store, clock, node);
    } finally {
      await store.close();
    }
  }

  /** Lets the shard go. `drainMs`: how long its attempts may go on; undefined: as the options of the node say. */
  async release(drainMs: number | undefined): Promise<void> {
    await this.#host.stop(drainMs);
    await this.#store.close();
  }

  get isLost(): boolean {
    return this.shard.status === "store-lost";
  }

  /** Whether nobody has claimed the shard since. */
  async isLatest(): Promise<boolean> {
    const { epoch } = await this.#store.peek();
    return epoch <= this.shard.epoch;
  }

  get health(): ReturnType<ShardHost["health"]> {
    return this.#host.health();
  }

  stats(shard: number, lag: number | undefined): ReturnType<ShardHost["stats"]> {
    return this.#host.stats(shard, lag);
  }

  view(shard: number): ShardView {
    const { status, position, sizes } = this.shard;
    const { liveRuns, queued, unpublished } = sizes;
    return { shard, status, position, liveRuns, queued, unpublished };
  }
}
