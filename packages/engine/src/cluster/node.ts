import { WheelworkError, type Answer, type AnyHub, type Hub, type RunEvent } from "@wheelwork/core";
import { Run, type Input } from "@wheelwork/core/kernel";
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { isRouted, type RoutedOutcomes, type Worker } from "../attempts/worker.ts";
import { admit, hashedKey, isStorable } from "../delivery/admit.ts";
import { refusedHub, type Channel } from "../delivery/channel.ts";
import { deadLetterTopic } from "../delivery/dead-letters.ts";
import { inboxMessage, type InboxEntry } from "../delivery/inbox.ts";
import { offer, type OfferResult } from "../delivery/offer.ts";
import { Router, type Routed, type Source } from "../delivery/router.ts";
import { ShardEngine, type EngineOptions } from "../embedded/engine.ts";
import { systemClock } from "../ports/clock.ts";
import { rootOf, shardOf } from "../ports/keys.ts";
import type { Log, LogRecord, Membership, Partitions } from "../ports/log.ts";
import { silent } from "../ports/logger.ts";
import type { Clock, Logger, MaybePromise, RequestRow, Store, StoredAnswer } from "../ports/ports.ts";
import type {
  CommandResult,
  Engine,
  EngineHealth,
  RequestPage,
  RequestView,
  Submitted,
  SubmitOptions,
} from "../requests/api.ts";
import { commandResult, notFound } from "../requests/commands.ts";
import { checkWorkers, collectHubs, servedBy } from "../requests/hubs.ts";
import { hashOf, newKey, validRequest, validSignal } from "../requests/validate.ts";
import { pageOf, placeOf, viewOfAnswer, viewOfRun } from "../requests/views.ts";
import { unavailable } from "../shard/shard.ts";
import { RemoteShardReader } from "./remote-shard-reader.ts";
import { logIdOf, ShardFeed } from "./shard-feed.ts";

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
  /** Something that only people can set right: the node has let go of a shard, or may not join its group. */
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

/**
 * A node of a cluster, as its program sees it: an engine whose requests may belong to any node. What is not this node's
 * goes through the inbox of its shard, and is read from the store, so that every node answers for all.
 */
export interface ClusterNode extends Engine {
  /** The shards that this node works on. */
  readonly shards: readonly ShardView[];
}

interface Owned {
  readonly engine: ShardEngine;
  readonly store: Store;
}

const minRetryMs = 100;
const maxRetryMs = 5000;
/** How long a submit waits for another node to accept it, in milliseconds. */
const maxAcceptMs = 5000;
/** For how long an answer is watched for before it is looked up again: its shard may be this node's by then. */
const maxWatchMs = 2000;
/** For how long a shard may be without its store before the node lets others try. */
const patienceMs = 5000;
const probeMs = 1000;
/** How often is looked whether what waited in the topics of relays has been handed on, in milliseconds. */
const passMs = 50;
const day = 86_400_000;

/** Makes a node. Call `start` next. @throws WheelworkError WW_CONFIG with every problem. */
export function createNode(options: NodeOptions): ClusterNode {
  return new Node(options);
}

/** What a client of a cluster needs: it works on nothing itself. */
export type ClientOptions = Omit<NodeOptions, "workers" | "channels" | "group" | "onFailure">;

/**
 * Makes an engine that leaves all work to others: what is asked of it goes through the inboxes of the shards, and what it
 * tells is read from their stores. Call `start` next. @throws WheelworkError WW_CONFIG with every problem.
 */
export function createClient(options: ClientOptions): Engine {
  return new Node({ ...options, workers: [] }, true);
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
  /** The topics that the outcomes of relays come through, with those of their workers. */
  readonly #relays: ReadonlyMap<string, readonly Relay[]>;
  /** Where the partitions of these topics ended when the node began. */
  readonly #begins = new Map<string, readonly number[]>();
  readonly #owned = new Map<number, Owned>();
  readonly #wanted = new Set<number>();
  /** Shards whose stored runs need hubs that this node does not have. */
  readonly #refused = new Set<number>();
  /** Shards that were taken over by another owner: only a new assignment counts. */
  readonly #fenced = new Set<number>();
  /** Shards that another node has had since they were claimed. */
  readonly #outdated = new WeakSet<Owned>();
  readonly #changing = new Map<number, Promise<void>>();
  readonly #routers = new Map<string, Router>();
  readonly #detach: (() => void)[] = [];
  #membership: Membership | undefined = undefined;
  #state: "new" | "running" | "suspended" | "stopped" = "new";
  #cancelWatch: () => void = () => {};
  readonly #lostSince = new Map<number, number>();
  /** Shards of other nodes that something was asked of. */
  readonly #remotes = new Map<number, RemoteShardReader>();

  readonly #isClient: boolean;

  constructor(options: NodeOptions, isClient = false) {
    this.#options = options;
    this.#isClient = isClient;
    this.hubs = collectHubs(options.hubs);
    if (!isClient) checkWorkers(this.hubs, options.workers);
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silent;
    this.#inbox = options.inbox ?? "wheelwork-inbox";
    this.#name = options.name ?? `${hostname()}:${process.pid}`;
    this.#channels = new Map((options.channels ?? []).map((channel) => [channel.name, channel]));
    this.#workers = options.workers.map(({ spoke, attempt, outcomes }) =>
      outcomes === undefined ? { spoke, attempt } : { spoke, attempt, outcomes },
    );
    const relays = options.workers.flatMap(({ spoke, outcomes }) =>
      isRouted(outcomes) ? [{ ...outcomes, spoke: spoke.name }] : [],
    );
    this.#relays = Map.groupBy(relays, ({ topic }) => topic);
    const { shards } = options;
    if (!Number.isInteger(shards) || shards < 1)
      throw config(`shards is ${shards}`, "It is an integer of at least 1.");
    for (const { hub, from } of this.#channels.values()) {
      servedBy(this.hubs, hub);
      if (this.#relays.has(from))
        throw config(`a channel and a relay both read ${from}`, "Give each a topic of its own.");
    }
  }

  async start(): Promise<void> {
    const { log, shards, workers } = this.#options;
    const { partitions } = await log.topic(this.#inbox);
    if (partitions !== shards) {
      throw config(
        `the topic ${this.#inbox} has ${partitions} partitions, and the cluster ${shards} shards`,
        "A request belongs to the shard that its key names, for good: start with that number, or with another topic and another store.",
      );
    }
    for (const { from } of this.#channels.values()) await log.topic(from);
    for (const topic of this.#relays.keys()) {
      const { partitions: count } = await log.topic(topic);
      const ends = Array.from({ length: count }, (_, partition) => log.end(topic, partition));
      this.#begins.set(topic, await Promise.all(ends));
    }
    for (const worker of workers) {
      if (worker.outcomes === "inbox" || isRouted(worker.outcomes)) continue;
      const detach = worker.attach?.(log);
      if (detach !== undefined) this.#detach.push(detach);
    }
    this.#state = "running";
    if (this.#isClient) return;
    await this.#join();
    this.#watch();
  }

  // ---- requests, wherever they belong ----

  async submit<I>(hub: Hub<I> | string, request: I, options: SubmitOptions = {}): Promise<Submitted> {
    this.#demandOpen();
    const definition = servedBy(this.hubs, hub as Hub<never> | string);
    const valid = validRequest(definition, request, options);
    const key = options.key ?? newKey(Math.floor(this.#clock.wallMs()));
    const owned = this.#ownerOf(key);
    if (owned !== undefined) {
      const { id, known } = await owned.submit(definition.name, request, { ...options, key });
      return { id, known };
    }
    const hash = hashOf(definition.name, valid);
    const elsewhere = this.#remoteOf(key);
    const watched = await elsewhere.watch(key);
    try {
      const known = options.key === undefined ? undefined : await elsewhere.lookUp(key);
      if (known !== undefined) return this.#sameBody(key, known.hash, hash, true);
      const { deadlineMs } = options;
      const entry = { hub: definition.name, request, ...(deadlineMs === undefined ? {} : { deadlineMs }) };
      await this.#append(key, { type: "request", ...entry });
      const started = await this.#within(watched.accepted);
      if (started === undefined) {
        // Nobody has come to it yet. It is durable, and will be answered; but what else was sent under its key may go first.
        if (options.key === undefined) return { id: key, known: false };
        throw undecided(key);
      }
      return this.#sameBody(key, started.hash, hash, false);
    } finally {
      watched.end();
    }
  }

  #sameBody(id: string, hash: string, mine: string, known: boolean): Submitted {
    if (hash === mine) return { id, known };
    throw new WheelworkError(
      "WW_KEY_REUSED",
      `the request key ${id} belongs to a request with another body (I5)`,
      {
        next: "Use a new key for a new request.",
      },
    );
  }

  answer(id: string, options: { readonly waitMs?: number } = {}): Promise<Answer | undefined> {
    return this.#known(id, (key) => this.#answer(key, options));
  }

  async #answer(id: string, options: { readonly waitMs?: number }): Promise<Answer | undefined> {
    this.#demandOpen();
    const { waitMs } = options;
    const until = waitMs === undefined ? Number.POSITIVE_INFINITY : this.#clock.monotonicMs() + waitMs;
    for (;;) {
      const left = until - this.#clock.monotonicMs();
      const owned = this.#ownerOf(id);
      if (owned !== undefined) {
        try {
          return await owned.answer(
            id,
            left === Number.POSITIVE_INFINITY ? {} : { waitMs: Math.max(0, left) },
          );
        } catch (error) {
          // The shard may have gone to another node, which answers.
          if (!isRetryable(error) || this.#state === "stopped" || left <= 0) throw error;
          await this.#pause(probeMs / 10);
          continue;
        }
      }
      const elsewhere = this.#remoteOf(id);
      const watched = await elsewhere.watch(id);
      try {
        const known = await elsewhere.lookUp(id);
        if (known === undefined) throw notFound(id);
        if (known.answer !== undefined || left <= 0) return known.answer;
        const answer = await this.#within(watched.answered, Math.min(left, maxWatchMs));
        if (answer !== undefined) return answer;
      } finally {
        watched.end();
      }
    }
  }

  async call<I, O, E extends string>(
    hub: Hub<I, O, E>,
    request: I,
    options?: SubmitOptions,
  ): Promise<Answer<O, E>> {
    const { id } = await this.submit(hub as Hub<I>, request, options);
    return (await this.answer(id)) as Answer<O, E>;
  }

  request(given: string): Promise<RequestView> {
    return this.#known(given, async (id) => {
      this.#demandOpen();
      const owned = this.#ownerOf(id);
      if (owned !== undefined) return owned.request(id);
      const known = await this.#lookUp(id);
      return known instanceof Run ? viewOfRun(known, true) : viewOfAnswer(known);
    });
  }

  async requests(filter: Parameters<Engine["requests"]>[0] = {}): Promise<RequestPage> {
    this.#demandOpen();
    const { status, hub } = filter;
    const { limit, before } = placeOf(filter);
    const rows: RequestRow[] = [];
    for (let shard = 0; shard < this.#options.shards; shard++) {
      const owned = this.#owned.get(shard);
      if (owned === undefined) {
        const asked = {
          limit: limit + 1,
          ...(status === undefined ? {} : { status }),
          ...(hub === undefined ? {} : { hub }),
        };
        rows.push(...(await this.#remote(shard).list(before === undefined ? asked : { ...asked, before })));
      } else {
        const { items } = await owned.engine.requests({ ...filter, limit: Math.min(1000, limit + 1) });
        rows.push(...items.map(({ id, ...row }) => ({ key: id, ...row })));
      }
    }
    return pageOf(rows, limit);
  }

  history(given: string): Promise<readonly RunEvent[]> {
    return this.#known(given, async (id) => {
      this.#demandOpen();
      const owned = this.#ownerOf(id);
      if (owned !== undefined) return owned.history(id);
      const events = await this.#remoteOf(id).history(id);
      if (events.length === 0) throw notFound(id);
      return events;
    });
  }

  cancel(
    given: string,
    { commandId = randomUUID() }: { readonly commandId?: string } = {},
  ): Promise<CommandResult> {
    const input: Input = { kind: "cancel", id: commandId };
    return this.#known(given, (id) => this.#command(id, input, (engine) => engine.cancel(id, { commandId })));
  }

  signal(
    given: string,
    name: string,
    payload: unknown,
    { commandId = randomUUID() }: { readonly commandId?: string } = {},
  ): Promise<CommandResult> {
    return this.#known(given, async (id) => {
      const owned = this.#ownerOf(id);
      if (owned !== undefined) return owned.signal(id, name, payload, { commandId });
      const { hub } = await this.#lookUp(id);
      const valid = validSignal(hub, this.hubs.get(hub)?.definition, name, payload);
      const input: Input = { kind: "signal", id: commandId, signal: name, payload: valid };
      return this.#command(id, input, (engine) => engine.signal(id, name, payload, { commandId }));
    });
  }

  retry(
    given: string,
    { commandId = randomUUID() }: { readonly commandId?: string } = {},
  ): Promise<CommandResult> {
    const input: Input = { kind: "retry", id: commandId };
    return this.#known(given, (id) => this.#command(id, input, (engine) => engine.retry(id, { commandId })));
  }

  resolve(
    given: string,
    message: string,
    { commandId = randomUUID() }: { readonly commandId?: string } = {},
  ): Promise<CommandResult> {
    const input: Input = { kind: "resolve", id: commandId, message };
    return this.#known(given, (id) =>
      this.#command(id, input, (engine) => engine.resolve(id, message, { commandId })),
    );
  }

  /** A command of this node's shard is given at once; another goes through the inbox, and is durable when this returns. */
  async #command(
    id: string,
    input: Input,
    give: (engine: ShardEngine) => Promise<CommandResult>,
  ): Promise<CommandResult> {
    this.#demandOpen();
    const owned = this.#ownerOf(id);
    if (owned !== undefined) return give(owned);
    const known = await this.#lookUp(id);
    if (!(known instanceof Run)) return "ended";
    const isParked = known.status === "incident";
    if ((input.kind === "retry" || input.kind === "resolve") && !isParked)
      return commandResult(id, "not-incident");
    await this.#append(id, { type: "command", input });
    return "accepted";
  }

  health(): EngineHealth {
    const engines = Array.from(this.#owned.values(), ({ engine }) => engine.health());
    const sum = (of: (health: EngineHealth) => number): number =>
      engines.reduce((all, one) => all + of(one), 0);
    const status = {
      new: "starting",
      running: "running",
      suspended: "store-lost",
      stopped: "stopped",
    } as const;
    return {
      ready: this.#state === "running",
      status: status[this.#state],
      liveRuns: sum(({ liveRuns }) => liveRuns),
      openAttempts: sum(({ openAttempts }) => openAttempts),
      queued: sum(({ queued }) => queued),
    };
  }

  #shardOf(key: string): number {
    // The call of a hub, and a tell, live in the shard of their root.
    return shardOf(rootOf(key), this.#options.shards);
  }

  #ownerOf(key: string): ShardEngine | undefined {
    return this.#owned.get(this.#shardOf(key))?.engine;
  }

  #remoteOf(key: string): RemoteShardReader {
    return this.#remote(this.#shardOf(key));
  }

  #remote(shard: number): RemoteShardReader {
    let elsewhere = this.#remotes.get(shard);
    if (elsewhere === undefined)
      this.#remotes.set(shard, (elsewhere = new RemoteShardReader(this.#options.store(shard), this.#clock)));
    return elsewhere;
  }

  /** Asks for what is stored under an id; a sender's own key that could not be stored is found under its hash. */
  async #known<T>(id: string, ask: (id: string) => Promise<T>): Promise<T> {
    if (isStorable(id)) return ask(id);
    try {
      return await ask(id);
    } catch (error) {
      if (!isNotFound(error)) throw error;
      return ask(hashedKey(id)).catch((other: unknown) => {
        throw isNotFound(other) ? error : other;
      });
    }
  }

  async #lookUp(id: string): Promise<Run | StoredAnswer> {
    this.#demandOpen();
    const known = await this.#remoteOf(id).lookUp(id);
    if (known === undefined) throw notFound(id);
    return known;
  }

  #append(key: string, entry: InboxEntry): Promise<void> {
    return this.#options.log.append(this.#inbox, inboxMessage(key, entry), this.#shardOf(key));
  }

  #demandOpen(): void {
    if (this.#state === "running" || this.#state === "suspended") return;
    throw unavailable();
  }

  #pause(ms: number): Promise<void> {
    return new Promise<void>((resolve) => void this.#clock.after(ms, resolve));
  }

  /** What a promise gives within some time; undefined: nothing. */
  #within<T>(promise: Promise<T>, ms: number = maxAcceptMs): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(ms, () => resolve(undefined));
      promise.then(resolve, reject).finally(cancel);
    });
  }

  async stop(): Promise<void> {
    if (this.#state === "stopped") return;
    this.#state = "stopped";
    this.#cancelWatch();
    const routers = [...this.#routers.values()];
    this.#assign([]);
    await Promise.all(this.#changing.values());
    // What the shards have committed at last need not come once more.
    await Promise.all(routers.map((router) => router.note()));
    await this.#leave();
    for (const detach of this.#detach.splice(0)) detach();
    await Promise.all(Array.from(this.#remotes.values(), (elsewhere) => elsewhere.close()));
    this.#remotes.clear();
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
    const channels = Array.from(this.#channels.values(), ({ from }) => from);
    const topics = [this.#inbox, ...channels, ...this.#relays.keys()];
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
      failed: (error) => {
        this.#logger.error({ node: this.#name, error: error.message }, "the node has no place in its group");
        this.#options.onFailure?.(error);
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
    for (const [shard, owned] of this.#owned) if (this.#wanted.has(shard)) void this.#confirm(shard, owned);
    const routes = new Map<string, () => Router>();
    for (const source of this.#sources()) {
      for (const partition of assigned.find(({ topic }) => topic === source.topic)?.partitions ?? [])
        routes.set(`${source.topic}/${partition}`, () => this.#router(source, partition));
    }
    for (const [place, router] of this.#routers) {
      if (routes.has(place)) continue;
      router.end();
      this.#routers.delete(place);
    }
    for (const [place, open] of routes) if (!this.#routers.has(place)) this.#routers.set(place, open());
  }

  #sources(): Source[] {
    const { retentionMs = 7 * day } = this.#options;
    const channels = Array.from(this.#channels.values(), (channel): Source => ({
      topic: channel.from,
      route: (record) => [admit(channel, record, this.#clock.wallMs() - retentionMs)],
    }));
    const relays = Array.from(this.#relays, ([topic, list]): Source => ({
      topic,
      route: (record) => list.flatMap((relay) => heardBy(relay, record)),
      begins: this.#begins.get(topic) ?? [],
    }));
    return [...channels, ...relays];
  }

  #router(source: Source, partition: number): Router {
    const { log, shards, observe } = this.#options;
    const options = {
      log,
      membership: (): Membership | undefined => this.#membership,
      inbox: this.#inbox,
      shards,
      clock: this.#clock,
      logger: this.#logger,
      observe,
      offer: (key: string, entry: InboxEntry) => this.#offer(key, entry),
    };
    return new Router(options, source, partition);
  }

  /** The short way: what is for a shard of this node need not go through its inbox. */
  #offer(key: string, entry: InboxEntry): MaybePromise<OfferResult> {
    const owned = this.#ownerOf(key);
    return owned === undefined ? "refused" : offer({ shard: owned.shard, hubs: this.hubs }, key, entry);
  }

  /**
   * What waits in the topics of relays now has been handed on, to where it does not get lost; false: nobody wants to know
   * any more.
   */
  async #passRelays(isWanted: () => boolean): Promise<void> {
    const ends = new Map<string, number>();
    const { log } = this.#options;
    for (const [topic, begins] of this.#begins)
      for (const partition of begins.keys())
        ends.set(`${topic}/${partition}`, await log.end(topic, partition));
    while (isWanted()) {
      for (const [place, end] of ends) {
        const slash = place.lastIndexOf("/");
        const [topic, partition] = [place.slice(0, slash), Number(place.slice(slash + 1))];
        const position =
          this.#routers.get(place)?.position ?? (await this.#membership?.committed(topic, partition)) ?? 0;
        if (position >= end) ends.delete(place);
      }
      if (ends.size === 0) return;
      await this.#pause(passMs);
    }
  }

  // ---- shards: claimed and let go, one change at a time ----

  /**
   * The shard is this node's again, or still. Another one may have had it meanwhile, while this one stood still: then it is
   * claimed anew, since without anything to commit nobody would notice.
   */
  async #confirm(shard: number, owned: Owned): Promise<void> {
    for (let retryMs = minRetryMs; this.#owned.get(shard) === owned;) {
      try {
        const { epoch } = await owned.store.peek();
        if (epoch <= owned.engine.shard.epoch) return;
        this.#outdated.add(owned);
        return this.#change(shard);
      } catch {
        await this.#pause(retryMs);
        retryMs = Math.min(retryMs * 2, maxRetryMs);
      }
    }
  }

  /** Brings a shard to what is wanted of it. */
  #change(shard: number): void {
    if (this.#changing.has(shard)) return;
    const changing = this.#changeShard(shard).finally(() => this.#changing.delete(shard));
    this.#changing.set(shard, changing);
  }

  async #changeShard(shard: number): Promise<void> {
    for (let retryMs = minRetryMs; ;) {
      // Whoever asked last is served: it may have changed while this waited.
      await Promise.resolve();
      const owned = this.#owned.get(shard);
      const wanted = this.#wanted.has(shard) && !this.#fenced.has(shard);
      const isLet = owned !== undefined && (!wanted || this.#outdated.has(owned));
      if (!isLet && wanted === (owned !== undefined)) return;
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
      retryMs = Math.min(retryMs * 2, maxRetryMs);
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
      this.#options.observe?.({ name: "shard-refused", shard });
      this.#membership?.rejoin();
      return true;
    }
    if (
      code === "WW_LOG_LOST" ||
      code === "WW_COMMITS_LOST" ||
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
    const part: { engine?: ShardEngine; feed?: ShardFeed } = {};
    const feedOn = (logId: string): ShardFeed =>
      new ShardFeed({
        log,
        inbox: this.#inbox,
        logId,
        shard,
        hubs: this.hubs,
        channels: this.#channels,
        observe,
        logger: this.#logger,
        clock: this.#clock,
        ...(this.#relays.size === 0
          ? {}
          : { passRelays: (isWanted: () => boolean) => this.#passRelays(isWanted) }),
        owner: () => part.engine?.shard,
        onLost: (error) => {
          observe?.({ name: "log-lost", topic: this.#inbox, message: error.message });
          this.#fail(shard, error);
        },
      });
    try {
      const feed = (part.feed = feedOn(logIdOf(this.#inbox, await log.topic(this.#inbox))));
      const engine = new ShardEngine(
        {
          hubs,
          workers: this.#workers,
          store,
          bus: log,
          logger: this.#logger,
          clock: this.#clock,
          ...(observe === undefined ? {} : { observe }),
          ...(limits === undefined ? {} : { limits }),
          ...(retentionMs === undefined ? {} : { retentionMs }),
          ...(random === undefined ? {} : { random }),
          ...(strict === undefined ? {} : { strict }),
        },
        {
          feed,
          replies: { kind: "log", inbox: { topic: this.#inbox, partition: shard }, relays: true },
          onEnded: (why) => this.#ended(shard, why),
          builtIn: [refusedHub],
        },
      );
      part.engine = engine;
      await engine.start();
      this.#owned.set(shard, { engine, store });
      this.#lostSince.delete(shard);
      this.#logger.info({ shard, node: this.#name }, "a shard is claimed");
      observe?.({ name: "shard-claimed", shard });
      return undefined;
    } catch (error) {
      part.feed?.end();
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

  #ended(shard: number, why: WheelworkError): void {
    if (why.code === "WW_STORE_LOCKED") this.#wasFenced(shard);
    else this.#fail(shard, why);
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
    this.#logger.error({ shard, error: error.message }, "the shard cannot be worked on");
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

const isNotFound = (error: unknown): boolean =>
  error instanceof WheelworkError && error.code === "WW_NOT_FOUND";

/** A relay whose messages back are shared out. */
interface Relay extends RoutedOutcomes {
  readonly spoke: string;
}

/** What a message back says to a shard, if the relay understands it. */
function heardBy(relay: Relay, record: LogRecord): Routed[] {
  const heard = relay.read(record);
  if (heard === undefined) return [];
  const { request: key, correlation, outcome } = heard;
  return [{ key, entry: { type: "relayReply", spoke: relay.spoke, correlation, outcome } }];
}

const isRetryable = (error: unknown): boolean => error instanceof WheelworkError && error.retryable;

const undecided = (key: string): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", `nobody has accepted the request ${key} yet`, {
    next: "Send it again, with the same key: its shard is on its way to another node, or its store is away.",
    retryable: true,
  });

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
