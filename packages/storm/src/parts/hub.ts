import { WheelworkError } from "@wheelwork/core";
import {
  deadLetterTopic,
  shardOf,
  systemClock,
  type Bus,
  type Channel,
  type LogRecord,
  type Message,
  type Store,
  type Worker,
} from "@wheelwork/engine";
import {
  admit,
  deadLetter,
  inboxMessage,
  readInbox,
  refusedHub,
  replyMessage,
  requestItem,
  ShardEngine,
  tooOld,
  type Feed,
  type InboxEntry,
  type Origin,
  type Reply,
} from "@wheelwork/engine/parts";
import { kafka, type Kafka } from "@wheelwork/kafka";
import { postgresStore } from "@wheelwork/postgres";
import { randomUUID } from "node:crypto";
import { getHeapStatistics } from "node:v8";
import { FailTuple, type Bolt, type Context, type Output, type Tuple } from "../multilang/component.ts";
import type { StormApp, StormConfig } from "./app.ts";
import { clientSecurity } from "./security.ts";
import { CoordinatedClock } from "./coordinator.ts";
import { stormLogger } from "./logger.ts";
import {
  attemptId,
  hubStreams,
  keyOfShard,
  TupleBatcher,
  type AttemptEnd,
  type AttemptOrder,
  type AttemptOutcome,
  type CallbackOrder,
  type Publication,
} from "./streams.ts";
import { receive, subscribe } from "./worker.ts";

type Streams = typeof hubStreams;
type RequestEntry = Extract<InboxEntry, { type: "request" }>;

const hour = 3_600_000;
const day = 24 * hour;

/** The log of a shard on Storm: its spouts keep their own places, so that the store keeps none. */
const noLog = "storm";
const minRetryMs = 200;
const maxRetryMs = 5000;
/** How long an answer may take to the broker and back before it is sent once more, in milliseconds. */
const publishWithinMs = 5000;

/** What a run with ten open calls takes in memory, in bytes; larger requests take more. */
const runBytes = 15_000;

/** Half of the heap may be runs; what comes beyond it is failed, and comes again. */
const runsThatFit = (): number => Math.floor(getHeapStatistics().heap_size_limit / 2 / runBytes);

interface Unpublished {
  readonly since: number;
  readonly done: () => void;
  readonly failed: (error: Error) => void;
}

/**
 * The seed's HubBolt: one shard of the runs, and the only durable part. A tuple of a spout is acked when what it asks for is
 * committed; what goes out after a commit may be lost, and is sent again when a deadline, a sweep or a claim finds it missing.
 */
export class HubBolt implements Bolt<Streams> {
  readonly streams = hubStreams;
  readonly #app: StormApp;
  readonly #config: StormConfig;
  readonly #channels: ReadonlyMap<string, Channel>;
  readonly #topics: ReadonlyMap<string, Channel>;
  readonly #claim = randomUUID();
  /** Attempts that worker bolts make. */
  readonly #attempts = new Map<string, (outcome: AttemptOutcome["outcome"]) => void>();
  #log: Kafka;
  /** From which record on those of a partition are young enough, and until when that holds. */
  readonly #young = new Map<string, { readonly from: Promise<number>; readonly until: number }>();
  readonly #unpublished = new Map<string, Unpublished[]>();
  readonly #receivers = new Map<string, Set<(message: Message) => void>>();
  #clock: CoordinatedClock = new CoordinatedClock(this.#claim, () => {});
  #publications: TupleBatcher<Publication> | undefined = undefined;
  #output: Output<Streams> | undefined = undefined;
  /** The key that leads to this task, and its shard. */
  #key = "";
  #index = -1;
  #engine: ShardEngine | undefined = undefined;
  readonly #claimed = Promise.withResolvers<void>();
  #ended = false;

  constructor(app: StormApp, config: StormConfig) {
    this.#app = app;
    this.#config = config;
    this.#log = this.#connect();
    this.#channels = new Map((app.channels ?? []).map((channel) => [channel.name, channel]));
    this.#topics = new Map((app.channels ?? []).map((channel) => [channel.from, channel]));
  }

  #connect(): Kafka {
    const { brokers, security } = this.#config;
    return kafka({ brokers, clientId: "bolt-hub", ...clientSecurity(security) });
  }

  open(context: Context, output: Output<Streams>): void {
    const shards = context.tasksOf(context.component).length;
    this.#output = output;
    this.#index = context.index;
    this.#key = keyOfShard(context.index, shards);
    const callbacks = new TupleBatcher<CallbackOrder>(1, (key, orders) =>
      output.emit("stream-to-bolt-coordinator", [key, JSON.stringify(orders)]),
    );
    this.#clock = new CoordinatedClock(this.#claim, (order) => callbacks.add(this.#key, order));
    this.#publications = new TupleBatcher<Publication>(1, (key, items) =>
      output.emit("stream-hub-bolt-to-nb", [key, JSON.stringify(items)]),
    );
    setInterval(() => this.#sweep(), publishWithinMs / 5).unref();
    // Tuples wait for it one by one, since Storm must hear from this process meanwhile.
    void this.#claimUntilDone(context, shards, output);
  }

  execute(tuple: Tuple): void | Promise<void> {
    const { component, stream, values } = tuple;
    switch (component) {
      case "bolt-worker":
        for (const { id, outcome } of parse<AttemptOutcome>(values)) this.#attempts.get(id)?.(outcome);
        return undefined;
      case "bolt-coordinator":
        if (stream === "stream-bolt-coordinator-begun") this.#clock.tellAgain();
        else
          for (const callback of parse<{ claim: string; id: number }>(values))
            this.#clock.calledBack(callback);
        return undefined;
      case "bolt-to-nb":
        for (const id of parse<string>(values)) this.#published(id);
        return undefined;
      case "spout-worker":
        return receive(this.#receivers, values);
      default:
        return this.#take(recordOf(values), tuple);
    }
  }

  /** What is not committed is not told: the shard is read back, and what is under way made again. */
  uncaught(thrown: unknown): void {
    // It may have been the client of Kafka.
    this.#log.close().catch(() => {});
    this.#log = this.#connect();
    this.#young.clear();
    this.#engine?.shard.reloadFromStore(thrown);
  }

  async close(): Promise<void> {
    this.#ended = true;
    await this.#engine?.stop();
    await this.#log.close();
    await this.#app.close?.();
  }

  // ---- the claim ----

  async #claimUntilDone(context: Context, shards: number, output: Output<Streams>): Promise<void> {
    const { index } = context;
    for (let retryMs = minRetryMs; !this.#ended; retryMs = Math.min(retryMs * 2, maxRetryMs)) {
      try {
        if (shards !== this.#config.shards)
          throw new WheelworkError(
            "WW_CONFIG",
            `bolt-hub has ${shards} tasks, and the store ${this.#config.shards} shards`,
          );
        await this.#begin(context, output);
        output.log(`the shard ${index} of ${shards} is claimed`);
        return this.#claimed.resolve();
      } catch (error) {
        output.error(
          `the shard ${index} cannot be claimed yet: ${error instanceof Error ? error.message : String(error)}`,
        );
        await new Promise((resolve) => void setTimeout(resolve, retryMs));
      }
    }
  }

  async #begin(context: Context, output: Output<Streams>): Promise<void> {
    const { hubs, workers, observe, limits, retentionMs } = this.#app;
    const { databaseUrl, schema, shards } = this.#config;
    const hasWorkers = context.tasksOf("bolt-worker").length > 0;
    const store = postgresStore({
      connectionString: databaseUrl,
      shard: context.index,
      shards,
      ...(schema === undefined ? {} : { schema }),
    });
    const feed: Feed = {
      log: noLog,
      begin: async () => ({ from: 0, end: 0 }),
      end: () => {},
      publish: (reply) => this.#publish(reply),
    };
    const engine: ShardEngine = new ShardEngine(
      {
        hubs,
        workers: hasWorkers ? this.#elsewhere(workers, context, output, () => engine.shard.now()) : workers,
        store,
        bus: this.#bus(output),
        clock: this.#clock,
        logger: stormLogger(output),
        ...(observe === undefined ? {} : { observe }),
        limits: { liveRuns: runsThatFit(), ...limits },
        ...(retentionMs === undefined ? {} : { retentionMs }),
      },
      {
        feed,
        replies: { kind: "log", inbox: { topic: this.#config.inbox, partition: this.#index }, relays: false },
        onEnded: (why) => this.#over(output, store, why),
        builtIn: [refusedHub],
      },
    );
    try {
      await engine.start();
    } catch (error) {
      await engine.stop();
      await store.close();
      throw error;
    }
    this.#engine = engine;
  }

  /**
   * Another process has the shard, or its store has lost commits: its tuples are failed from now on, and only a new start
   * claims again (I21).
   */
  #over(output: Output<Streams>, store: Store, { message }: Error): void {
    output.error(`this process does no more: ${message}`);
    this.#engine = undefined;
    store.close()?.catch(() => {});
  }

  // ---- what comes in ----

  async #take(record: LogRecord, tuple: Tuple): Promise<void> {
    await this.#claimed.promise;
    if (await this.#isTooOld(record)) return this.#bury(record, tooOld, tuple);
    const channel = this.#topics.get(record.topic);
    if (channel !== undefined) {
      const admitted = admit(channel, record);
      if ("reason" in admitted) return this.#bury(record, admitted.reason, tuple);
      const { key, entry } = admitted;
      // One whose key cannot be stored is found in the shard of its hash, and goes there through the inbox.
      if (shardOf(key, this.#config.shards) !== this.#index)
        return this.#say({ topic: this.#config.inbox, message: inboxMessage(key, entry) }, tuple);
      return this.#request(record, key, entry, tuple);
    }
    let entry: InboxEntry;
    try {
      entry = readInbox(record);
    } catch (error) {
      return this.#bury(record, error instanceof Error ? error.message : String(error), tuple);
    }
    if (entry.type === "request") return this.#request(record, record.key, entry, tuple);
    if (entry.type === "heard")
      return this.#bury(record, "on Storm, no messages of relays come through the inbox", tuple);
    const { shard } = this.#working();
    const { run = record.key } = entry;
    try {
      if (entry.type === "command") return void (await shard.command(run, entry.input));
      const { spoke, call, attempt, epoch, outcome } = entry;
      await shard.respond(spoke, run, { call, attempt, epoch }, outcome);
    } catch (error) {
      throw new FailTuple(String(error));
    }
  }

  #request(record: LogRecord, key: string, entry: RequestEntry, tuple: Tuple): Promise<void> {
    const { hubs, shard } = this.#working();
    return new Promise((resolve, reject) => {
      shard.request({
        ...requestItem(hubs, key, entry),
        accept: () => resolve(),
        refuse: (error) => {
          if (error.retryable) return reject(new FailTuple(error.message));
          // Its sender gets the stored answer; what it asked for is kept for whoever wants to know.
          this.#bury(record, error.message, tuple, entry.origin);
          resolve();
        },
      });
    });
  }

  /** Whether a record is older than answers are kept. Storm's spout hands on no times: its place tells. */
  async #isTooOld({ topic, partition, offset }: LogRecord): Promise<boolean> {
    const { retentionMs = 7 * day } = this.#app;
    const now = systemClock.wallMs();
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

  #working(): ShardEngine {
    if (this.#engine === undefined) throw new FailTuple("another process has the shard");
    return this.#engine;
  }

  #bury(record: LogRecord, reason: string, tuple: Tuple, origin?: Origin): void {
    const { topic, partition, offset } = record;
    this.#app.observe?.({ name: "dead-letter", topic: origin?.topic ?? topic, reason });
    const place = origin ?? { topic, partition, offset };
    const message = deadLetter(record, reason.split("\n")[0] ?? "", place);
    // A record of a channel goes to the channel's own dead letters.
    const letters = deadLetterTopic(topic);
    this.#say({ topic: letters, message }, tuple);
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
      spoke,
      attempt: (input, attempt) =>
        new Promise((resolve) => {
          const { requestId: request, call, epoch, deadline, key } = attempt;
          // The messages back of a relay come to one task: the attempt is made there.
          const to = typeof outcomes === "object" ? outcomes.key(input, attempt) : request;
          const id = attemptId(request, call, attempt.attempt);
          this.#attempts.set(id, (outcome) => {
            this.#attempts.delete(id);
            resolve(outcome);
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
            deadline,
            input,
          };
          const withinMs = Math.max(0, deadline - now());
          post.add(to, key === undefined ? { ...order, withinMs } : { ...order, withinMs, key });
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

  #publish(reply: Reply): Promise<void> {
    const published = replyMessage(this.#channels, reply);
    // Nobody knows that channel any more: the answer stays where it is stored.
    if (published === undefined) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = { since: systemClock.monotonicMs(), done: resolve, failed: reject };
    const others = this.#unpublished.get(reply.id);
    if (others === undefined) this.#unpublished.set(reply.id, [waiting]);
    else others.push(waiting);
    this.#publications?.add(this.#key, { ...published, id: reply.id });
    return promise;
  }

  #published(id: string): void {
    const waiting = this.#unpublished.get(id) ?? [];
    this.#unpublished.delete(id);
    for (const { done } of waiting) done();
  }

  /** An answer of which nothing was heard is sent once more: its tuple may be lost, or the word that it is there. */
  #sweep(): void {
    const before = systemClock.monotonicMs() - publishWithinMs;
    for (const [id, waiting] of this.#unpublished) {
      if ((waiting[0]?.since ?? before) >= before) continue;
      this.#unpublished.delete(id);
      for (const { failed } of waiting) failed(new Error("nothing was heard of it"));
    }
  }
}

const parse = <T>(values: Tuple["values"]): readonly T[] => JSON.parse(String(values[1])) as readonly T[];

/** A record as Storm's Kafka spout hands it on: without headers and time. */
const recordOf = ([topic, partition, offset, key, value]: Tuple["values"]): LogRecord => ({
  topic: String(topic),
  partition: Number(partition),
  offset: Number(offset),
  key: String(key ?? ""),
  value: String(value ?? ""),
  headers: {},
  timestampMs: Date.now(),
});
