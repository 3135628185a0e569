import { WheelworkError, type AnyHub } from "@wheelwork/core";
import { hostname } from "node:os";
import type { Engine } from "./api.ts";
import { refusalOf, refusedHub, type Channel } from "./channel.ts";
import { systemClock } from "./clock.ts";
import { deadLetter, deadLetterTopic } from "./dead-letters.ts";
import {
  checkWorkers,
  collectHubs,
  hashOf,
  servedBy,
  ShardEngine,
  validRequest,
  type EngineOptions,
} from "./engine.ts";
import { readInbox, type InboxEntry } from "./inbox.ts";
import type { Log, LogReading, LogRecord, Membership, Partitions } from "./log.ts";
import type { Reply } from "./outbox.ts";
import type { Clock, EngineSignal, Logger, Store } from "./ports.ts";
import { Router } from "./router.ts";
import type { Feed, Shard } from "./shard.ts";
import type { Worker } from "./worker.ts";

/** What a node of a cluster needs. All nodes of one cluster have the same topics, shards and store. */
export interface NodeOptions extends Omit<EngineOptions, "store" | "bus" | "durability"> {
  /** How many shards the cluster has: fixed when its store is created. */
  readonly shards: number;
  /** Opens the store of a shard. It is closed when the shard is another node's. */
  readonly store: (shard: number) => Store;
  readonly log: Log;
  /** The topic of the inboxes, with a partition for each shard. Default `wheelwork-inbox`. */
  readonly inbox?: string;
  /** The nodes of one cluster are one group. Default `wheelwork`. */
  readonly group?: string;
  /** How requests come in, and answers go out, besides the methods of `Engine`. */
  readonly channels?: readonly Channel[];
  /** The name of this node in the store and in logs. Default: host and process. */
  readonly name?: string;
  /** Something that only people can set right: the node has let go of the shard. */
  readonly onFailure?: (error: Error) => void;
}

/** A shard as a node sees it. */
export interface ShardView {
  readonly shard: number;
  readonly status: ReturnType<Engine["health"]>["status"];
  readonly position: number;
  readonly liveRuns: number;
  readonly queued: number;
  readonly unpublished: number;
}

/** A node of a cluster, as its program sees it. */
export interface ClusterNode {
  /** Joins the group; the shards come as the group shares them out. */
  start(): Promise<void>;
  /** Hands its shards over, and leaves. */
  stop(): Promise<void>;
  /** The shards that this node works on. */
  readonly shards: readonly ShardView[];
}

interface Owned {
  readonly engine: ShardEngine;
  readonly store: Store;
}

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const shortestRetryMs = 100;
const longestRetryMs = 5000;
/** For how long a shard may be without its store before the node lets others try. */
const patienceMs = 5000;
const probeMs = 1000;
const day = 86_400_000;

/** Makes a node. Call `start` next. @throws WheelworkError WW_CONFIG with every problem. */
export function createNode(options: NodeOptions): ClusterNode {
  return new Node(options);
}

class Node implements ClusterNode {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly #options: NodeOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #inbox: string;
  readonly #name: string;
  readonly #channels: ReadonlyMap<string, Channel>;
  /** Workers without their subscriptions: these are the node's, not a shard's. */
  readonly #workers: readonly Worker[];
  readonly #owned = new Map<number, Owned>();
  readonly #wanted = new Set<number>();
  /** Shards whose stored runs need hubs that this node does not have. */
  readonly #refused = new Set<number>();
  /** Shards that were taken over by another owner: only a new assignment counts. */
  readonly #fenced = new Set<number>();
  readonly #changing = new Map<number, Promise<void>>();
  readonly #routers = new Map<string, Router>();
  readonly #detach: (() => void)[] = [];
  #logId = "";
  #membership: Membership | undefined = undefined;
  #state: "new" | "running" | "suspended" | "stopped" = "new";
  #cancelWatch: () => void = () => {};
  readonly #lostSince = new Map<number, number>();

  constructor(options: NodeOptions) {
    this.#options = options;
    this.hubs = collectHubs(options.hubs);
    checkWorkers(this.hubs, options.workers);
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silent;
    this.#inbox = options.inbox ?? "wheelwork-inbox";
    this.#name = options.name ?? `${hostname()}:${process.pid}`;
    this.#channels = new Map((options.channels ?? []).map((channel) => [channel.name, channel]));
    this.#workers = options.workers.map(({ spoke, attempt }) => ({ spoke, attempt }));
    const { shards } = options;
    if (!Number.isInteger(shards) || shards < 1)
      throw config(`shards is ${shards}`, "It is an integer of at least 1.");
    for (const { hub } of options.channels ?? []) servedBy(this.hubs, hub);
  }

  async start(): Promise<void> {
    const { log, shards, workers } = this.#options;
    const { id, partitions } = await log.topic(this.#inbox);
    if (partitions !== shards) {
      throw config(
        `the topic ${this.#inbox} has ${partitions} partitions, and the cluster ${shards} shards`,
        "A request belongs to the shard that its key names, for good: start with that number, or with another topic and another store.",
      );
    }
    this.#logId = `${this.#inbox}/${id}`;
    for (const { from } of this.#channels.values()) await log.topic(from);
    for (const worker of workers) {
      const detach = worker.attach?.(log);
      if (detach !== undefined) this.#detach.push(detach);
    }
    this.#state = "running";
    await this.#join();
    this.#watch();
  }

  async stop(): Promise<void> {
    if (this.#state === "stopped") return;
    this.#state = "stopped";
    this.#cancelWatch();
    this.#assign([]);
    await Promise.all(this.#changing.values());
    await this.#leave();
    for (const detach of this.#detach.splice(0)) detach();
  }

  get shards(): readonly ShardView[] {
    return Array.from(this.#owned, ([shard, { engine }]) => {
      const { position, sizes } = engine.shard;
      const { status, liveRuns, queued } = engine.health();
      return { shard, status, position, liveRuns, queued, unpublished: sizes.unpublished };
    });
  }

  // ---- the group ----

  async #join(): Promise<void> {
    const topics = [this.#inbox, ...Array.from(this.#channels.values(), ({ from }) => from)];
    const group = this.#options.group ?? "wheelwork";
    const inboxes = (partitions: Iterable<number>): Partitions => ({
      topic: this.#inbox,
      partitions: [...partitions],
    });
    const membership = await this.#options.log.join({
      group,
      topics: [...new Set(topics)],
      state: () => ({
        owns: [inboxes(this.#wanted), ...this.#routed()],
        refuses: [inboxes(this.#refused)],
      }),
      assigned: (partitions) => {
        if (this.#state === "running") this.#assign(partitions);
      },
    });
    this.#membership = membership;
  }

  async #leave(): Promise<void> {
    const membership = this.#membership;
    this.#membership = undefined;
    await membership?.leave();
  }

  #routed(): Partitions[] {
    const byTopic = Map.groupBy(this.#routers.keys(), (place) => place.slice(0, place.lastIndexOf("/")));
    return Array.from(byTopic, ([topic, places]) => ({
      topic,
      partitions: places.map((place) => Number(place.slice(place.lastIndexOf("/") + 1))),
    }));
  }

  #assign(assigned: readonly Partitions[]): void {
    const inboxes = assigned.find(({ topic }) => topic === this.#inbox)?.partitions ?? [];
    this.#wanted.clear();
    for (const shard of inboxes) if (!this.#refused.has(shard)) this.#wanted.add(shard);
    this.#fenced.clear();
    for (const shard of new Set([...this.#owned.keys(), ...this.#wanted])) this.#change(shard);
    const routes = new Map<string, () => Router>();
    for (const channel of this.#channels.values()) {
      for (const partition of assigned.find(({ topic }) => topic === channel.from)?.partitions ?? [])
        routes.set(`${channel.from}/${partition}`, () => this.#router(channel, partition));
    }
    for (const [place, router] of this.#routers) {
      if (routes.has(place)) continue;
      router.end();
      this.#routers.delete(place);
    }
    for (const [place, open] of routes) if (!this.#routers.has(place)) this.#routers.set(place, open());
  }

  #router(channel: Channel, partition: number): Router {
    const { log, shards, retentionMs = 7 * day, observe } = this.#options;
    const membership = (): Membership | undefined => this.#membership;
    const options = { log, membership, inbox: this.#inbox, shards, retentionMs, clock: this.#clock, observe };
    return new Router({ ...options, logger: this.#logger }, channel, partition);
  }

  // ---- shards: claimed and let go, one change at a time ----

  /** Brings a shard to what is wanted of it. */
  #change(shard: number): void {
    if (this.#changing.has(shard)) return;
    const changing = this.#changeShard(shard).finally(() => this.#changing.delete(shard));
    this.#changing.set(shard, changing);
  }

  async #changeShard(shard: number): Promise<void> {
    for (let retryMs = shortestRetryMs; ;) {
      // Whoever asked last is served: it may have changed while this waited.
      await Promise.resolve();
      const owned = this.#owned.get(shard);
      const wanted = this.#wanted.has(shard) && !this.#fenced.has(shard);
      if (wanted === (owned !== undefined)) return;
      if (owned !== undefined) {
        await this.#release(shard, owned);
        continue;
      }
      const failure = await this.#claim(shard);
      if (failure === undefined) continue;
      this.#logger.warn({ shard, error: failure.message }, "a shard could not be claimed");
      if (!this.#lostSince.has(shard)) this.#lostSince.set(shard, this.#clock.monotonicMs());
      if (this.#givesUp(shard, failure)) continue;
      await new Promise<void>((resolve) => void this.#clock.after(retryMs, resolve));
      retryMs = Math.min(retryMs * 2, longestRetryMs);
    }
  }

  /** Whether this node lets others try the shard. */
  #givesUp(shard: number, failure: Error): boolean {
    const code = failure instanceof WheelworkError ? failure.code : undefined;
    if (code === "WW_HUB_UNKNOWN") {
      this.#refused.add(shard);
      this.#wanted.delete(shard);
      this.#logger.error(
        { shard, error: failure.message },
        "this node lacks hubs of a shard, and refuses it",
      );
      this.#membership?.rejoin();
      return true;
    }
    if (
      code === "WW_LOG_LOST" ||
      code === "WW_CONFIG" ||
      code === "WW_STORE_NEWER" ||
      code === "WW_STORE_CORRUPT"
    ) {
      this.#wanted.delete(shard);
      this.#logger.error({ shard, error: failure.message }, "the shard cannot be worked on");
      this.#options.onFailure?.(failure);
      return true;
    }
    return false;
  }

  async #claim(shard: number): Promise<Error | undefined> {
    const { log, store: open, limits, retentionMs, random, strict, observe, hubs } = this.#options;
    const store = open(shard);
    const part: { engine?: ShardEngine } = {};
    const feed = new ShardFeed({
      log,
      inbox: this.#inbox,
      logId: this.#logId,
      shard,
      hubs: this.hubs,
      channels: this.#channels,
      observe,
      clock: this.#clock,
      owner: () => part.engine?.shard,
      onLost: (error) => this.#fail(shard, error),
    });
    try {
      const engine = new ShardEngine(
        {
          hubs,
          workers: this.#workers,
          store,
          bus: {
            publish: (topic, message) => log.publish(topic, message),
            subscribe: (topic, receive) => log.subscribe(topic, receive),
            replyTo: { topic: this.#inbox, partition: shard },
          },
          logger: this.#logger,
          clock: this.#clock,
          ...(observe === undefined ? {} : { observe }),
          ...(limits === undefined ? {} : { limits }),
          ...(retentionMs === undefined ? {} : { retentionMs }),
          ...(random === undefined ? {} : { random }),
          ...(strict === undefined ? {} : { strict }),
        },
        { feed, onFenced: () => this.#wasFenced(shard), builtIn: [refusedHub] },
      );
      part.engine = engine;
      await engine.start();
      this.#owned.set(shard, { engine, store });
      this.#lostSince.delete(shard);
      this.#logger.info({ shard, node: this.#name }, "a shard is claimed");
      observe?.({ name: "shard-claimed", shard });
      return undefined;
    } catch (error) {
      feed.end();
      await part.engine?.stop();
      await store.close();
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  async #release(shard: number, { engine, store }: Owned): Promise<void> {
    await engine.stop();
    await store.close();
    this.#owned.delete(shard);
    this.#lostSince.delete(shard);
    this.#logger.info({ shard, node: this.#name }, "a shard is let go");
    this.#options.observe?.({ name: "shard-released", shard });
  }

  /** Another owner has the shard: it is dropped, and only a new assignment brings it back. */
  #wasFenced(shard: number): void {
    this.#logger.warn({ shard, node: this.#name }, "a shard was taken over by another owner");
    this.#options.observe?.({ name: "shard-fenced", shard });
    this.#fenced.add(shard);
    this.#change(shard);
    // If it is still this node's, the group says so once more.
    this.#clock.after(probeMs, () => {
      if (this.#fenced.has(shard) && this.#wanted.has(shard)) this.#membership?.rejoin();
    });
  }

  #fail(shard: number, error: Error): void {
    this.#wanted.delete(shard);
    this.#logger.error({ shard, error: error.message }, "the inbox of a shard is lost");
    this.#options.observe?.({ name: "log-lost", topic: this.#inbox, message: error.message });
    this.#change(shard);
    this.#options.onFailure?.(error);
  }

  // ---- without the store ----

  /** A node that cannot reach the store, lets others try: it leaves the group until it can. */
  #watch(): void {
    this.#cancelWatch = this.#clock.after(probeMs, () => {
      const now = this.#clock.monotonicMs();
      for (const [shard, { engine }] of this.#owned) {
        if (engine.health().status !== "store-lost") this.#lostSince.delete(shard);
        else if (!this.#lostSince.has(shard)) this.#lostSince.set(shard, now);
      }
      const lost = [...this.#lostSince.values()].some((since) => now - since > patienceMs);
      if (this.#state === "running" && lost) void this.#suspend();
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
    this.#lostSince.clear();
    await this.#leave();
    while (this.#state === "suspended" && !(await this.#reachesStore()))
      await new Promise<void>((resolve) => void this.#clock.after(probeMs, resolve));
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

interface FeedOptions {
  readonly log: Log;
  readonly inbox: string;
  readonly logId: string;
  readonly shard: number;
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly channels: ReadonlyMap<string, Channel>;
  readonly observe: ((signal: EngineSignal) => void) | undefined;
  readonly clock: Clock;
  readonly owner: () => Shard | undefined;
  readonly onLost: (error: Error) => void;
}

/** Inputs that a shard may have queued before its log waits. */
const mostQueued = 20_000;

/** What a shard reads from its inbox, and publishes through the channels. */
class ShardFeed implements Feed {
  readonly #options: FeedOptions;
  #reading: LogReading | undefined = undefined;
  /** Of which claim the records are: those of an earlier one are dropped. */
  #turn = 0;

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  get log(): string {
    return this.#options.logId;
  }

  async begin(position: number | undefined): Promise<{ readonly from: number; readonly end: number }> {
    this.end();
    const turn = this.#turn;
    const { log, inbox, shard, onLost } = this.#options;
    const reading = await log.read(inbox, shard, position, {
      records: async (records) => {
        if (turn !== this.#turn) return;
        for (const record of records) this.#take(record);
        while (turn === this.#turn && (this.#options.owner()?.sizes.queued ?? 0) > mostQueued)
          await new Promise<void>((resolve) => void this.#options.clock.after(10, resolve));
      },
      lost: (error) => {
        if (turn === this.#turn) onLost(error);
      },
    });
    if (turn === this.#turn) this.#reading = reading;
    else reading.stop();
    return { from: reading.from, end: reading.end };
  }

  end(): void {
    this.#turn++;
    this.#reading?.stop();
    this.#reading = undefined;
  }

  async publish({ key, replyTo, id, answer }: Reply): Promise<void> {
    const space = replyTo.indexOf(" ");
    const channel = this.#options.channels.get(space < 0 ? replyTo : replyTo.slice(0, space));
    // Nobody here knows that channel any more: the answer stays where it is stored.
    if (channel === undefined) return;
    const { value, headers } = channel.answer(answer);
    const message = {
      key: space < 0 ? key : replyTo.slice(space + 1),
      value,
      headers: { ...headers, ce_id: id },
    };
    await this.#options.log.publish(channel.to, message);
  }

  #take(record: LogRecord): void {
    const shard = this.#options.owner();
    if (shard === undefined) return;
    const { key, offset } = record;
    let entry: InboxEntry;
    try {
      entry = readInbox(record);
      switch (entry.type) {
        case "request":
          return this.#request(shard, record, entry);
        case "response": {
          const { spoke, call, attempt, epoch, outcome } = entry;
          return shard.outcome(spoke, key, { call, attempt, epoch }, outcome, offset);
        }
        case "command": {
          const done = { resolve: () => {}, reject: () => {} };
          return shard.feed({ kind: "input", key, input: entry.input, done, offset });
        }
      }
    } catch (error) {
      this.#bury(shard, record, error instanceof Error ? error.message : String(error));
      shard.feed({ kind: "mark", offset });
    }
  }

  #request(shard: Shard, record: LogRecord, entry: Extract<InboxEntry, { type: "request" }>): void {
    const { key, offset } = record;
    const { deadlineMs, replyTo, origin } = entry;
    let { hub, request } = entry;
    if (hub !== refusedHub.name) {
      try {
        request = validRequest(servedBy(this.#options.hubs, hub), request, {});
      } catch (error) {
        [hub, request] = [refusedHub.name, { message: refusalOf(error) }];
      }
    }
    shard.feed({
      kind: "request",
      key,
      hub,
      request,
      hash: hashOf(hub, request),
      fresh: false,
      offset,
      ...(deadlineMs === undefined ? {} : { deadlineMs }),
      ...(replyTo === undefined ? {} : { replyTo }),
      accept: () => {},
      // Its sender gets the stored answer; what it asked for is kept for whoever wants to know.
      refuse: (error) => this.#bury(shard, record, error.message, origin),
    });
  }

  /** The shard's position does not pass the record before its dead letter is durable. */
  #bury(
    shard: Shard,
    record: LogRecord,
    reason: string,
    origin?: { topic: string; partition: number; offset: number },
  ): void {
    const { log, inbox, observe, clock } = this.#options;
    const { topic, partition, offset } = record;
    observe?.({ name: "dead-letter", topic: origin?.topic ?? topic, reason });
    const letter = deadLetter(record, reason, origin ?? { topic, partition, offset });
    const release = shard.hold(offset);
    const turn = this.#turn;
    const send = (retryMs: number): void => {
      log.append(deadLetterTopic(inbox), letter).then(release, () => {
        if (turn === this.#turn) clock.after(retryMs, () => send(Math.min(retryMs * 2, longestRetryMs)));
      });
    };
    send(shortestRetryMs);
  }
}

const config = (message: string, next: string): WheelworkError =>
  new WheelworkError("WW_CONFIG", message, { next });

/** The topics that a cluster needs besides those of its channels' partners, with the partitions that they must have. */
export function clusterTopics(
  options: Pick<NodeOptions, "shards" | "inbox" | "channels">,
): { name: string; partitions?: number }[] {
  const inbox = options.inbox ?? "wheelwork-inbox";
  return [
    { name: inbox, partitions: options.shards },
    { name: deadLetterTopic(inbox) },
    ...(options.channels ?? []).flatMap(({ from, to }) => [
      { name: from },
      { name: to },
      { name: deadLetterTopic(from) },
    ]),
  ];
}
