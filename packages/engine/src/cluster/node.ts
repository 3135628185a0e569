import { WheelworkError, type AnyHub } from "@wheelwork/core";
import { demandOptions } from "@wheelwork/core/kernel";
import { hostname } from "node:os";
import { Suspects } from "../attempts/suspects.ts";
import { isRouted } from "../attempts/worker.ts";
import type { InboxEntry } from "../delivery/inbox.ts";
import { LogLetters } from "../delivery/letters.ts";
import { offer, type OfferResult } from "../delivery/offer.ts";
import { systemClock } from "../ports/clock.ts";
import { guarded } from "../ports/guards.ts";
import { rootOf, shardOf } from "../ports/keys.ts";
import type { Membership, Partitions } from "../ports/log.ts";
import type { Clock, Logger, MaybePromise } from "../ports/ports.ts";
import { pause } from "../ports/retry.ts";
import type { Tracing } from "../ports/trace.ts";
import type { Letters, ShardAccess, Shards } from "../requests/access.ts";
import type { EngineHealth } from "../requests/api.ts";
import { checkWorkers, collectHubs, servedBy } from "../requests/hubs.ts";
import { officeOf } from "../requests/posts.ts";
import { RequestService } from "../requests/service.ts";
import type { ShardStats } from "../requests/stats.ts";
import { collectSchedules, type Schedule } from "../schedules/schedule.ts";
import { ShardAssignment, type AssignmentEffects } from "./assignment.ts";
import type { ClusterNode, NodeOptions, ShardView } from "./options.ts";
import { OwnedShard, type OwnedShardOptions } from "./owned-shard.ts";
import { HostClock } from "./host-clock.ts";
import { RemoteShards } from "../delivery/remote-shard.ts";
import { SentRequests } from "../delivery/sent.ts";
import { Routing } from "./routing.ts";
import { nodeOptions } from "./option-tables.ts";
import { checkInbox, defaultInbox } from "./topics.ts";

/** For how long a shard may be without its store before the node lets others try, in milliseconds. */
const patienceMs = 5000;
const probeMs = 1000;

/** What the shards of a node have in common. */
type CommonOwnedOptions = Omit<OwnedShardOptions, "onEnded" | "onDamage" | "onReplaced" | "onLost">;

/** Makes a node. Call `start` next. @throws WheelworkError WW_CONFIG with every problem. */
export function createNode(options: NodeOptions): ClusterNode {
  return new NodeService(new Node(options));
}

class NodeService extends RequestService implements ClusterNode {
  readonly #node: Node;

  constructor(node: Node) {
    super(node);
    this.#node = node;
  }

  get shards(): readonly ShardView[] {
    return this.#node.views();
  }
}

/** A member of the group: works on the shards that the group gives it, and knows how to reach all others. */
class Node implements Shards {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly schedules: ReadonlyMap<string, Schedule>;
  readonly clock: Clock;
  readonly tracing: Tracing | undefined;
  readonly #options: NodeOptions;
  readonly #logger: Logger;
  /** How long attempts may go on while the node stops. */
  #drainMs: number | undefined = undefined;
  #stopping: Promise<void> | undefined = undefined;
  readonly #inbox: string;
  readonly #name: string;
  readonly #routing: Routing;
  /** By the number of the shard. */
  readonly #assignments: readonly ShardAssignment<OwnedShard>[];
  readonly #remotes: RemoteShards;
  readonly #sent = new SentRequests();
  readonly #detach: (() => void)[] = [];
  #membership: Membership | undefined = undefined;
  #state: "new" | "running" | "suspended" | "stopped" = "new";
  #cancelWatch: () => void = () => {};
  readonly #hostClock: HostClock;

  constructor(all: NodeOptions) {
    const given = demandOptions<NodeOptions>(all, nodeOptions, "a node");
    this.clock = given.clock ?? systemClock;
    this.#hostClock = new HostClock(this.clock, () => given.store(0));
    const options = { ...guarded(given), log: this.#hostClock.dated(given.log) };
    const { log, shards, workers, channels = [], observe, retentionMs } = options;
    this.#options = options;
    this.hubs = collectHubs(options.hubs, options.schedules);
    this.schedules = collectSchedules(options.schedules);
    checkWorkers(this.hubs, workers);
    for (const { hub } of channels) servedBy(this.hubs, hub);
    this.tracing = options.tracing;
    this.#logger = options.logger;
    this.#inbox = options.inbox ?? defaultInbox;
    this.#name = options.name ?? `${hostname()}:${process.pid}`;
    this.#remotes = new RemoteShards(
      { log, store: options.store, inbox: this.#inbox, retentionMs, sent: this.#sent },
      this.#hostClock,
    );
    this.#routing = new Routing({
      log,
      membership: () => this.#membership,
      inbox: this.#inbox,
      shards,
      clock: this.clock,
      wallMs: () => this.#hostClock.wallMs(),
      logger: this.#logger,
      observe,
      offer: (key, entry) => this.#offer(key, entry),
      hubs: this.hubs,
      channels,
      workers,
      retentionMs,
      onLost: (error) => this.#options.onFailure?.(error),
    });
    const common = this.#ownedOptions();
    this.#assignments = Array.from(
      { length: shards },
      (_, shard) => new ShardAssignment(this.#effects(shard, common)),
    );
  }

  /** What all shards of this node need. */
  #ownedOptions(): CommonOwnedOptions {
    const { workers, channels = [] } = this.#options;
    return {
      node: this.#options,
      hubs: this.hubs,
      // Workers without their subscriptions: these are the node's, not a shard's.
      workers: workers.map(({ spoke, attempt, outcomes, otherProcess }) => ({
        spoke,
        attempt,
        ...(outcomes === undefined ? {} : { outcomes }),
        ...(otherProcess === undefined ? {} : { otherProcess }),
      })),
      suspects: new Suspects(),
      sent: this.#sent,
      posts: officeOf(() => new RequestService(this)),
      channels: new Map(channels.map((channel) => [channel.name, channel])),
      inbox: this.#inbox,
      clock: this.clock,
      hostClock: this.#hostClock,
      isOpen: () => this.#state !== "stopped",
      ...(this.#routing.hasRelays ? { passRelays: (isWanted) => this.#routing.passRelays(isWanted) } : {}),
    };
  }

  async start(): Promise<void> {
    const { log, shards, workers } = this.#options;
    await checkInbox(log, this.#inbox, shards);
    await this.#hostClock.begin();
    await this.#routing.begin();
    for (const worker of workers) {
      if (worker.outcomes === "inbox" || isRouted(worker.outcomes)) continue;
      const detach = worker.attach?.(log);
      if (detach !== undefined) this.#detach.push(detach);
    }
    this.#state = "running";
    await this.#join();
    this.#watch();
  }

  stop(drainMs?: number): Promise<void> {
    // A later call may leave the attempts less time.
    if (this.#stopping !== undefined && drainMs !== undefined)
      for (const { owned } of this.#assignments) void owned?.shard.stop(drainMs);
    this.#stopping ??= this.#stop(drainMs);
    return this.#stopping;
  }

  async #stop(drainMs: number | undefined): Promise<void> {
    this.#state = "stopped";
    this.#drainMs = drainMs;
    this.#cancelWatch();
    const noteAll = this.#routing.end();
    this.#assign([]);
    await this.#settled();
    for (const assignment of this.#assignments) assignment.end();
    // What the shards have committed at last need not come once more.
    await noteAll();
    await this.#leave();
    for (const detach of this.#detach.splice(0)) detach();
    await this.#remotes.close();
  }

  get status(): EngineHealth["status"] {
    switch (this.#state) {
      case "new":
        return "starting";
      case "suspended":
        return "store-lost";
      default:
        return this.#state;
    }
  }

  health(): EngineHealth {
    const shards = this.#assignments.flatMap(({ owned }) => (owned === undefined ? [] : [owned.health]));
    const damages = this.#assignments.flatMap(({ owned }, shard) =>
      (owned?.health.warnings ?? []).map((warning) => `shard ${shard}: ${warning}`),
    );
    const sum = (of: (health: EngineHealth) => number): number =>
      shards.reduce((all, one) => all + of(one), 0);
    const broken = this.#assignments.flatMap(({ failure }, shard) =>
      failure === undefined ? [] : [`shard ${shard}: ${failure}`],
    );
    const warnings = [...broken, ...damages, ...this.#routing.losses];
    return {
      ready: this.#state === "running",
      status: this.status,
      ...(warnings.length === 0 ? {} : { warnings }),
      liveRuns: sum(({ liveRuns }) => liveRuns),
      openAttempts: sum(({ openAttempts }) => openAttempts),
      queued: sum(({ queued }) => queued),
    };
  }

  async stats(): Promise<readonly ShardStats[]> {
    const owned = [...this.#assignments.entries()].flatMap(([shard, { owned: one }]) =>
      one === undefined ? [] : [[shard, one] as const],
    );
    return Promise.all(
      owned.map(async ([shard, one]) => {
        const end = await this.inboxEnd(shard);
        return one.stats(shard, end === undefined ? undefined : Math.max(0, end - one.shard.position));
      }),
    );
  }

  get letters(): Letters {
    return new LogLetters(this.#options.log, this.#inbox);
  }

  inboxEnd(shard: number): Promise<number | undefined> {
    // A broker that is away says nothing of it.
    return this.#options.log.end(this.#inbox, shard).catch(() => undefined);
  }

  views(): ShardView[] {
    return this.#assignments.flatMap(({ owned }, shard) => (owned === undefined ? [] : [owned.view(shard)]));
  }

  of(key: string): ShardAccess {
    return this.#access(this.#shardOf(key));
  }

  all(): Iterable<ShardAccess> {
    return this.#assignments.map((_, shard) => this.#access(shard));
  }

  /** The call of a hub, and a tell, live in the shard of their root. */
  #shardOf(key: string): number {
    return shardOf(rootOf(key), this.#options.shards);
  }

  #access(shard: number): ShardAccess {
    return this.#assignments[shard]?.owned?.access ?? this.#remotes.of(shard);
  }

  // ---- the group ----

  async #join(): Promise<void> {
    const { log, group = "wheelwork" } = this.#options;
    const inboxes = (wanted: (assignment: ShardAssignment<OwnedShard>) => boolean): Partitions => ({
      topic: this.#inbox,
      partitions: [...this.#assignments.keys()].filter((shard) =>
        wanted(this.#assignments[shard] as ShardAssignment<OwnedShard>),
      ),
    });
    this.#membership = await log.join({
      group,
      topics: [this.#inbox, ...this.#routing.topics],
      state: () => ({
        owns: [inboxes(({ isWanted }) => isWanted), ...this.#routing.owns],
        refuses: [inboxes(({ isRefused }) => isRefused)],
      }),
      assigned: (partitions) => {
        if (this.#state === "running") this.#assign(partitions);
      },
      failed: (error) => {
        this.#logger.error({ node: this.#name, error: error.message }, "the node has no place in its group");
        this.#options.onFailure?.(error);
      },
    });
  }

  async #leave(): Promise<void> {
    const membership = this.#membership;
    this.#membership = undefined;
    await membership?.leave();
  }

  #assign(assigned: readonly Partitions[]): void {
    const inboxes = new Set(assigned.find(({ topic }) => topic === this.#inbox)?.partitions);
    for (const [shard, assignment] of this.#assignments.entries()) assignment.assign(inboxes.has(shard));
    this.#routing.assign(assigned);
  }

  async #settled(): Promise<void> {
    await Promise.all(this.#assignments.map((assignment) => assignment.settled()));
  }

  /** The short way: what is for a shard of this node need not go through its inbox. */
  #offer(key: string, entry: InboxEntry): MaybePromise<OfferResult> {
    const owned = this.#assignments[this.#shardOf(key)]?.owned;
    return owned === undefined ? "refused" : offer({ shard: owned.shard, hubs: this.hubs }, key, entry);
  }

  // ---- shards: claimed and let go, as their assignments say ----

  #effects(shard: number, options: CommonOwnedOptions): AssignmentEffects<OwnedShard> {
    const { observe, onFailure } = this.#options;
    const [logger, node] = [this.#logger, this.#name];
    return {
      clock: this.clock,
      claim: async () => {
        const owned = await OwnedShard.claim(shard, {
          ...options,
          onEnded: (why) => this.#assignments[shard]?.ended(why),
          onDamage: (damage) => onFailure?.(damage),
          onReplaced: () => this.#assignments[shard]?.outdated(),
          onLost: (why) => this.#routing.lost(this.#inbox, shard, why),
        });
        logger.info({ shard, node }, "a shard is claimed");
        observe?.({ name: "shard-claimed", shard });
        return owned;
      },
      release: async (owned) => {
        // Another node waits for a shard that moves, so only a node that stops lets its attempts end.
        await owned.release(this.#state === "stopped" ? this.#drainMs : 0);
        logger.info({ shard, node }, "a shard is let go");
        observe?.({ name: "shard-released", shard });
      },
      isFit: () => OwnedShard.isFit(shard, options),
      isLatest: (owned) => owned.isLatest(),
      isLost: (owned) => owned.isLost,
      rejoin: () => this.#membership?.rejoin(),
      report: (what, error) => {
        switch (what) {
          case "not-claimed":
            return logger.warn({ shard, error: error.message }, "a shard could not be claimed");
          case "not-released":
            return logger.warn({ shard, error: error.message }, "a shard was not let go in good order");
          case "refused":
            logger.error(
              { shard, error: error.message },
              "this node is older than a shard, or lacks its hubs, and refuses it",
            );
            // Of hubs another node may have more. A store has one version for all shards, and this node is of no use to it.
            if (error instanceof WheelworkError && error.code === "WW_STORE_NEWER") onFailure?.(error);
            return observe?.({ name: "shard-refused", shard });
          case "taken-over":
            logger.warn({ shard, node }, "a shard was taken over by another owner");
            return observe?.({ name: "shard-fenced", shard });
          case "failed":
            logger.error({ shard, error: error.message }, "the shard cannot be worked on");
            return onFailure?.(error);
        }
      },
    };
  }

  // ---- without the store ----

  /** A node that cannot reach the store lets others try: it leaves the group until it can. */
  #watch(): void {
    this.#cancelWatch = this.clock.after(probeMs, () => {
      for (const assignment of this.#assignments) assignment.check();
      const before = this.clock.monotonicMs() - patienceMs;
      const isLost = this.#assignments.some(({ lostSince }) => lostSince !== undefined && lostSince < before);
      if (this.#state === "running" && isLost) void this.#suspend();
      if (this.#state === "running") this.#hostClock.compareAgain();
      if (this.#state !== "stopped") this.#watch();
    });
  }

  async #suspend(): Promise<void> {
    this.#state = "suspended";
    this.#logger.error(
      { node: this.#name },
      "the store cannot be reached: the node leaves its group until it can",
    );
    this.#assign([]);
    await this.#leave();
    while (this.#state === "suspended" && !(await this.#reachesStore())) await pause(this.clock, probeMs);
    if (this.#state !== "suspended") return;
    this.#state = "running";
    this.#logger.info({ node: this.#name }, "the store is back: the node joins its group again");
    await this.#join();
  }

  async #reachesStore(): Promise<boolean> {
    const store = this.#options.store(0);
    try {
      await store.find([]);
      return true;
    } catch {
      return false;
    } finally {
      await store.close();
    }
  }
}
