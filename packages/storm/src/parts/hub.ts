import { WheelworkError, type AnyHub, type Spoke } from "@wheelwork/core";
import type { Bus, EngineHealth, EngineStats, Message, Store, Worker } from "@wheelwork/engine";
import type { Channel, LogRecord } from "@wheelwork/engine/cluster";
import {
  admit,
  checkWorkers,
  collectHubs,
  DeadLetters,
  guarded,
  offer,
  place,
  readInbox,
  refusedHub,
  rootOf,
  publishReply,
  retrying,
  ShardHost,
  shardOf,
  tooOld,
  type Feed,
  type InboxEntry,
  type RetryPolicy,
  type Routed,
} from "@wheelwork/engine/parts";
import { randomUUID } from "node:crypto";
import { getHeapStatistics } from "node:v8";
import { FailTuple, type Bolt, type Context, type Output, type Tuple } from "../multilang/component.ts";
import type { StormApp, StormConfig } from "./app.ts";
import { CoordinatedClock } from "./coordinator.ts";
import { forwarded, unwrapped } from "./lane-records.ts";
import { stormLogger } from "./logger.ts";
import { every, realPorts, type StormLog, type StormPorts } from "./ports.ts";
import { Losses } from "./losses.ts";
import { BoltOffice } from "./post-office.ts";
import { Reclaim } from "./reclaim.ts";
import {
  attemptId,
  hubStreams,
  keyOfShard,
  spoutGroup,
  TupleBatcher,
  type AttemptEnd,
  type AttemptOrder,
  type AttemptOutcome,
  type AttemptProgress,
  type AttemptWait,
  type CallbackOrder,
  type Publication,
  type Published,
} from "./streams.ts";
import { receive, subscribe } from "./worker.ts";

type Streams = typeof hubStreams;

/** A record, and the tuple that brought it. */
interface SpoutRecord extends LogRecord {
  readonly tuple: Tuple;
}

const hour = 3_600_000;
const day = 24 * hour;

/** The log of a shard on Storm: its spouts keep their own places, so that the store keeps none. */
const noLog = "storm";
const claiming: RetryPolicy = { minMs: 200, maxMs: 5000 };
/** Entries that are not for the inbox on Storm, each with the reason of its dead letter. */
const excluded: Readonly<Partial<Record<InboxEntry["type"], string>>> = {
  relayReply: "on Storm, replies to relays do not come through the inbox",
};
/**
 * What Storm's own spout reads where a key is not UTF-8. Other keys are read as the same, so nobody could be answered, and one request
 * would have the answer of another.
 */
const replacement = "\ufffd";
const notUtf8 = "its key is not UTF-8, so that nobody could be answered";
/** How long an answer may take to the broker and back before it is sent once more, in milliseconds. */
const publishWithinMs = 5000;
/** How often is looked whether records were deleted before they were read, in milliseconds. */
const watchMs = 2000;

/** What a run with ten open calls takes in memory, in bytes; larger requests take more. */
const runBytes = 15_000;

/** Half of the heap may be runs; what comes beyond it is failed, and comes again. */
const runsThatFit = (): number => Math.floor(getHeapStatistics().heap_size_limit / 2 / runBytes);

/** An attempt that a worker bolt makes. */
interface Elsewhere {
  readonly resolve: (outcome: AttemptOutcome["outcome"]) => void;
  readonly waits: () => void;
  readonly progress: (value: unknown) => void;
}

interface Unpublished {
  readonly since: number;
  readonly done: () => void;
  readonly failed: (error: Error) => void;
}

/**
 * The proof of concept's HubBolt: one shard of the runs, and the only durable part. A tuple of a spout is acked when what it asks for is
 * committed; what goes out after a commit may be lost, and is sent again when a deadline, a sweep or a claim finds it missing.
 */
export class HubBolt implements Bolt<Streams> {
  readonly streams = hubStreams;
  readonly #app: StormApp;
  readonly #config: StormConfig;
  readonly #ports: StormPorts;
  #hubs: ReadonlyMap<string, AnyHub> = new Map();
  readonly #channels: ReadonlyMap<string, Channel>;
  readonly #topics: ReadonlyMap<string, Channel>;
  readonly #claim = randomUUID();
  /** Attempts that worker bolts make. */
  readonly #attempts = new Map<string, Elsewhere>();
  #log: StormLog;
  /** From which record on those of a partition are young enough, and until when that holds. */
  readonly #young = new Map<string, { readonly from: Promise<number>; readonly until: number }>();
  readonly #letters: DeadLetters<SpoutRecord>;
  readonly #unpublished = new Map<string, Unpublished[]>();
  readonly #receivers = new Map<string, Set<(message: Message) => void>>();
  #clock: CoordinatedClock;
  #publications: TupleBatcher<Publication> | undefined = undefined;
  #output: Output<Streams> | undefined = undefined;
  /** The key that leads to this task, and its shard. */
  #key = "";
  #index = -1;
  #host: ShardHost | undefined = undefined;
  #office: BoltOffice | undefined = undefined;
  #claimed = Promise.withResolvers<void>();
  #reclaim: Reclaim | undefined = undefined;
  readonly #end = new AbortController();

  constructor(app: StormApp, config: StormConfig, ports: StormPorts = realPorts) {
    this.#app = guarded(app);
    this.#config = config;
    this.#ports = ports;
    this.#clock = new CoordinatedClock(ports.clock, this.#claim, () => {});
    this.#log = this.#connect();
    this.#channels = new Map((app.channels ?? []).map((channel) => [channel.name, channel]));
    this.#topics = new Map((app.channels ?? []).map((channel) => [channel.from, channel]));
    this.#letters = new DeadLetters(async (topic, message, { tuple }) => {
      this.#say({ topic, message }, tuple);
      return true;
    }, this.#app.observe);
  }

  #connect(): StormLog {
    return this.#ports.connect(this.#config, "bolt-hub");
  }

  open(context: Context, output: Output<Streams>): void {
    const { clock } = this.#ports;
    const shards = context.tasksOf(context.component).length;
    this.#output = output;
    this.#index = context.index;
    this.#key = keyOfShard(context.index, shards);
    const callbacks = new TupleBatcher<CallbackOrder>(clock, 1, (key, orders) =>
      output.emit("stream-to-bolt-coordinator", [key, JSON.stringify(orders)]),
    );
    this.#clock = new CoordinatedClock(clock, this.#claim, (order) => callbacks.add(this.#key, order));
    this.#publications = new TupleBatcher<Publication>(clock, 1, (key, items) =>
      output.emit("stream-hub-bolt-to-nb", [key, JSON.stringify(items)]),
    );
    every(clock, publishWithinMs / 5, () => this.#sweep());
    if (context.index === 0) this.#watchTopics(String(context.conf["topology.name"]), output);
    this.#reclaim = new Reclaim(clock, this.#claim, keyOfShard(context.index, shards, this.#key), {
      ask: (key, order) => output.emit("stream-to-bolt-coordinator", [key, JSON.stringify([order])]),
      claimAgain: () => {
        this.#claimed = Promise.withResolvers<void>();
        void this.#claimUntilDone(context, shards, output);
      },
    });
    // Tuples wait for it one by one, since Storm must hear from this process meanwhile.
    void this.#claimUntilDone(context, shards, output);
  }

  /** One hub looks after the topics of the spout for all. */
  #watchTopics(topology: string, output: Output<Streams>): void {
    const losses = new Losses();
    const { observe } = this.#app;
    const look = async (topic: string): Promise<void> => {
      for (const message of losses.found(topic, await this.#log.progress(spoutGroup(topology), topic))) {
        output.error(`WW_LOG_LOST: ${message}; their senders get no answer`);
        observe?.({ name: "log-lost", topic, message });
      }
    };
    const lookAtAll = (): void => {
      for (const topic of [...this.#topics.keys(), this.#config.inbox])
        // A broker that is away now is asked again.
        look(topic).catch(() => {});
    };
    // Before the spout has gone on with what is left.
    lookAtAll();
    every(this.#ports.clock, watchMs, lookAtAll);
  }

  execute(tuple: Tuple): void | Promise<void> {
    const { component, stream, values } = tuple;
    switch (component) {
      case "bolt-worker":
        for (const told of parse<AttemptOutcome | AttemptWait | AttemptProgress>(values)) {
          const attempt = this.#attempts.get(told.id);
          if ("waits" in told) attempt?.waits();
          else if ("lives" in told) attempt?.progress(told.progress);
          else attempt?.resolve(told.outcome);
        }
        return undefined;
      case "bolt-coordinator":
        if (stream === "stream-bolt-coordinator-begun") this.#clock.tellAgain();
        else this.#calledBack(values[0], parse<{ claim: string; id: number }>(values));
        return undefined;
      case "bolt-to-nb":
        for (const published of parse<Published>(values)) this.#published(published);
        return undefined;
      case "spout-worker":
        return receive(this.#receivers, values);
      default:
        return this.#take(recordOf(tuple, this.#ports.clock.wallMs()));
    }
  }

  #calledBack(key: unknown, callbacks: readonly { readonly claim: string; readonly id: number }[]): void {
    if (this.#reclaim?.heard(key, callbacks) === true) return;
    for (const callback of callbacks) this.#clock.calledBack(callback);
  }

  /** What is not committed is not told: the shard is read back, and what is under way made again. */
  uncaught(thrown: unknown): void {
    // It may have been the client of Kafka.
    this.#log.close().catch(() => {});
    this.#log = this.#connect();
    this.#young.clear();
    this.#host?.shard.reloadFromStore(thrown);
  }

  /** How the shard is, for monitoring. */
  health(): EngineHealth {
    const none = { ready: false, status: "starting", liveRuns: 0, openAttempts: 0, queued: 0 } as const;
    return this.#host?.health() ?? none;
  }

  /** Figures of the shard, if this task has it. */
  async stats(): Promise<EngineStats> {
    return { shards: this.#host === undefined ? [] : [await this.#host.stats(this.#index)] };
  }

  async close(): Promise<void> {
    this.#end.abort();
    this.#reclaim?.end();
    // Outcomes are tuples, and none comes any more.
    await this.#host?.stop(0);
    await this.#office?.stop();
    await this.#log.close();
    await this.#app.close?.();
  }

  // ---- the claim ----

  async #claimUntilDone(context: Context, shards: number, output: Output<Streams>): Promise<void> {
    const { index } = context;
    const claim = async (): Promise<void> => {
      if (shards !== this.#config.shards)
        throw new WheelworkError(
          "WW_CONFIG",
          `bolt-hub has ${shards} tasks, and the store ${this.#config.shards} shards`,
        );
      await this.#begin(context, output);
      output.log(`the shard ${index} of ${shards} is claimed`);
      this.#claimed.resolve();
    };
    const onFailure = (error: unknown): void =>
      output.error(`the shard ${index} cannot be claimed yet: ${messageOf(error)}`);
    await retrying(this.#ports.clock, claiming, claim, { signal: this.#end.signal, onFailure });
  }

  async #begin(context: Context, output: Output<Streams>): Promise<void> {
    const { workers, observe, tracing, limits, retentionMs, historyRetentionMs, schedules = [] } = this.#app;
    const hubs = collectHubs(this.#app.hubs, schedules);
    checkWorkers(hubs, workers);
    this.#hubs = hubs;
    const { random } = this.#ports;
    const { shards } = this.#config;
    const hasWorkers = context.tasksOf("bolt-worker").length > 0;
    const store = this.#ports.openStore(this.#config, context.index);
    const feed: Feed = {
      log: noLog,
      begin: async () => ({ from: 0, end: 0 }),
      end: () => {},
      publish: (reply) =>
        publishReply(reply, {
          channels: this.#channels,
          send: (topic, message, id) => this.#publish({ topic, message, id }),
          observe,
          logger: stormLogger(output),
        }),
    };
    let sent = 0;
    const office = new BoltOffice({
      hubs,
      clock: this.#ports.clock,
      index: context.index,
      host: () => host,
      shards,
      inbox: this.#config.inbox,
      openStore: (shard) => this.#ports.openStore(this.#config, shard),
      publish: (topic, message) => this.#publish({ topic, message, id: `post:${this.#claim}:${++sent}` }),
    });
    const host: ShardHost = new ShardHost({
      hubs,
      workers: hasWorkers ? this.#elsewhere(workers, context, output, () => host.shard.now()) : workers,
      store,
      bus: this.#bus(output),
      replies: { kind: "log", inbox: { topic: this.#config.inbox, partition: this.#index }, relays: false },
      posts: office.office,
      schedules,
      isOurs: (key) => shardOf(rootOf(key), shards) === context.index,
      clock: this.#clock,
      logger: stormLogger(output),
      random,
      ...(observe === undefined ? {} : { observe }),
      ...(tracing === undefined ? {} : { tracing }),
      limits: { liveRuns: runsThatFit(), ...limits },
      ...(retentionMs === undefined ? {} : { retentionMs }),
      ...(historyRetentionMs === undefined ? {} : { historyRetentionMs }),
      feed,
      onEnded: (why) => this.#over(output, host, () => this.#letGo(office, store), why),
      builtIn: [refusedHub],
    });
    try {
      await host.start();
    } catch (error) {
      await host.stop(0);
      await this.#letGo(office, store);
      throw error;
    }
    this.#host = host;
    this.#office = office;
  }

  async #letGo(office: BoltOffice, store: Store): Promise<void> {
    await office.stop();
    await store.close();
  }

  /** Another process has the shard, or its store has lost commits: tuples are failed until it may be claimed again (I21). */
  #over(output: Output<Streams>, host: ShardHost, letGo: () => Promise<void>, { message }: Error): void {
    output.error(`this process has lost its shard: ${message}`);
    this.#host = undefined;
    host
      .stop()
      .then(letGo)
      .catch(() => {});
    this.#reclaim?.begin();
  }

  // ---- what comes in ----

  async #take(record: SpoutRecord): Promise<void> {
    await this.#claimed.promise;
    const routed = (await this.#isTooOld(record)) ? { reason: tooOld } : this.#read(record);
    if ("reason" in routed) return void (await this.#letters.bury(record, routed.reason));
    const { key, entry } = routed;
    // One whose key cannot be stored is found in the shard of its hash, one to a hub with a lane in that of the lane. It goes there
    // through the inbox.
    if (shardOf(key, this.#config.shards) !== this.#index)
      return this.#say({ topic: this.#config.inbox, message: forwarded(key, entry, record) }, record.tuple);
    const result = await offer(this.#working(), key, entry);
    if (result === "refused") throw new FailTuple("the shard cannot take it now");
    if (result === "durable") return;
    await this.#letters.bury(record, result.reason, entry.type === "request" ? entry.origin : undefined);
  }

  /** What a record says to its shard, or why it is a dead letter. */
  #read(record: LogRecord): Routed {
    const channel = this.#topics.get(record.topic);
    if (channel !== undefined) {
      if (record.key.includes(replacement)) return { reason: notUtf8 };
      const admitted = admit(channel, record);
      return "reason" in admitted ? admitted : place(this.#hubs, admitted.key, admitted.entry);
    }
    try {
      const given = unwrapped(record);
      const entry = readInbox(given);
      const reason = excluded[entry.type];
      return reason === undefined ? place(this.#hubs, given.key, entry) : { reason };
    } catch (error) {
      return { reason: messageOf(error) };
    }
  }

  /** Whether a record is older than answers are kept. Storm's spout hands on no times: its place tells. */
  async #isTooOld({ topic, partition, offset }: LogRecord): Promise<boolean> {
    const { retentionMs = 7 * day } = this.#app;
    // A wall clock may be wrong. That of the shard has been compared with the database.
    const now = this.#working().shard.now();
    const place = `${topic}/${partition}`;
    try {
      let young = this.#young.get(place);
      if (young === undefined || young.until < now) {
        // What is here for less than this is young enough until it is looked up again.
        const forMs = Math.min(hour, retentionMs / 10);
        const from = this.#log.since(topic, partition, Math.max(0, now - retentionMs + forMs));
        this.#young.set(place, (young = { from, until: now + forMs }));
      }
      if (offset >= (await young.from)) return false;
      return offset < (await this.#log.since(topic, partition, now - retentionMs));
    } catch (error) {
      this.#young.delete(place);
      throw new FailTuple(String(error));
    }
  }

  #working(): ShardHost {
    if (this.#host === undefined) throw new FailTuple("another process has the shard");
    return this.#host;
  }

  /** The tuple that caused it is done when the broker has it: it is anchored. */
  #say(publication: Publication, tuple: Tuple): void {
    this.#output?.emit("stream-hub-bolt-to-nb", [this.#key, JSON.stringify([publication])], [tuple]);
  }

  // ---- what goes out ----

  /** Workers whose attempts are made by worker bolts. */
  #elsewhere(
    workers: readonly Worker[],
    context: Context,
    output: Output<Streams>,
    now: () => number,
  ): Worker[] {
    const post = new TupleBatcher<AttemptOrder | AttemptEnd>(
      this.#ports.clock,
      context.tasksOf("bolt-worker").length,
      (key, items) => output.emit("stream-hub-bolt-to-worker-bolt", [key, JSON.stringify(items)]),
    );
    return workers.map((worker) =>
      worker.outcomes === "inbox" ? worker : this.#ordering(worker, post, now),
    );
  }

  /** Has the attempts of a spoke made by worker bolts. */
  #ordering(
    { spoke, outcomes }: Worker,
    post: TupleBatcher<AttemptOrder | AttemptEnd>,
    now: () => number,
  ): Worker {
    return {
      spoke: asTheHubHasIt(spoke),
      otherProcess: true,
      attempt: (input, attempt) =>
        new Promise((resolve) => {
          const {
            runKey: request,
            call,
            epoch,
            createdAt,
            deadline,
            key,
            late,
            lastProgress,
            fence,
            trace,
          } = attempt;
          // The messages back of a relay come to one task: the attempt is made there.
          const to = typeof outcomes === "object" ? outcomes.key(input, attempt) : request;
          const id = attemptId(request, createdAt, call, attempt.attempt);
          this.#attempts.set(id, {
            resolve: (outcome) => {
              this.#attempts.delete(id);
              resolve(outcome);
            },
            waits: () => attempt.postpone(now() + spoke.timeoutMs),
            progress: (value) => attempt.progress(value as never),
          });
          attempt.onAbort(() => {
            if (!this.#attempts.delete(id)) return;
            post.add(to, { end: id });
            resolve({ kind: "timeout" });
          });
          const order = {
            spoke: spoke.name,
            request,
            call,
            attempt: attempt.attempt,
            epoch,
            createdAt,
            deadline,
            input,
          };
          const withinMs = Math.max(0, deadline - now());
          const more = {
            ...(key === undefined ? {} : { key }),
            ...(late ? { late } : {}),
            ...(lastProgress === undefined ? {} : { progress: lastProgress }),
            ...(fence === undefined ? {} : { fence }),
            ...(trace === undefined ? {} : { trace }),
          };
          post.add(to, { ...order, withinMs, ...more });
        }),
    };
  }

  #bus(output: Output<Streams>): Bus {
    return {
      // Storm's own writer of topics knows no headers.
      publish: (topic, message) =>
        message.headers === undefined
          ? output.emit("stream-hub-bolt-to-fl", [message.key, message.value, topic])
          : this.#publications?.add(this.#key, { topic, message }),
      subscribe: (topic, take) => subscribe(this.#receivers, topic, take),
    };
  }

  #publish(publication: Publication & { readonly id: string }): Promise<void> {
    const { id } = publication;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = { since: this.#ports.clock.monotonicMs(), done: resolve, failed: reject };
    const others = this.#unpublished.get(id);
    if (others === undefined) this.#unpublished.set(id, [waiting]);
    else others.push(waiting);
    this.#publications?.add(this.#key, publication);
    return promise;
  }

  #published(published: Published): void {
    const id = typeof published === "string" ? published : published.id;
    const waiting = this.#unpublished.get(id) ?? [];
    this.#unpublished.delete(id);
    for (const { done, failed } of waiting) {
      if (typeof published === "string") done();
      else failed(new WheelworkError("WW_TOO_LARGE", published.refused));
    }
  }

  /** An answer of which nothing was heard is sent once more: its tuple may be lost, or the word that it is there. */
  #sweep(): void {
    const before = this.#ports.clock.monotonicMs() - publishWithinMs;
    for (const [id, waiting] of this.#unpublished) {
      if ((waiting[0]?.since ?? before) >= before) continue;
      this.#unpublished.delete(id);
      for (const { failed } of waiting) failed(new Error("nothing was heard of it"));
    }
  }
}

/** Heartbeats come as tuples: so much later may the hub hear of one, in milliseconds, besides the time of a heartbeat. */
const heartbeatDelayMs = 3000;

/**
 * A spoke whose attempts the worker bolts make. They have the tokens of a rate: the hub would count each attempt twice. It only
 * holds back what they cannot begin. They notice a worker that is silent, and the hub a bolt that is.
 */
function asTheHubHasIt(spoke: Spoke): Spoke {
  const { limit, heartbeatMs } = spoke;
  return {
    ...spoke,
    limit: limit === undefined ? undefined : { ...limit, perSecond: Number.POSITIVE_INFINITY },
    heartbeatMs: heartbeatMs === undefined ? undefined : 2 * heartbeatMs + heartbeatDelayMs,
  };
}

const parse = <T>(values: Tuple["values"]): readonly T[] => JSON.parse(String(values[1])) as readonly T[];

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A record as Storm's Kafka spout hands it on: without headers and time, as if it were written just now. */
function recordOf(tuple: Tuple, timestampMs: number): SpoutRecord {
  const [topic, partition, offset, key, value] = tuple.values;
  return {
    topic: String(topic),
    partition: Number(partition),
    offset: Number(offset),
    key: String(key ?? ""),
    value: String(value ?? ""),
    headers: {},
    timestampMs,
    tuple,
  };
}
