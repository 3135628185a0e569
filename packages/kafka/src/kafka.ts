import { Admin, ListOffsetTimestamps } from "@platformatic/kafka";
import type { Message } from "@wheelwork/engine";
import type {
  Log,
  LogReader,
  LogReading,
  LogRecord,
  LogTopic,
  MemberOptions,
  Membership,
} from "@wheelwork/engine/cluster";
import { demandOptions } from "@wheelwork/core/kernel";
import { retrying, systemClock, type RetryPolicy } from "@wheelwork/engine/parts";
import { clientOptions, kafkaOptions, type KafkaOptions } from "./connection.ts";
import { broken, isUnknownTopic, unavailable } from "./errors.ts";
import { GroupMembership } from "./group.ts";
import { BatchingProducer } from "./producer.ts";
import { PartitionReader } from "./reader.ts";
import { ensureTopics, topicSettings, type TopicSettings, type TopicSpec } from "./topics.ts";

/** How far a consumer group has come with a partition. */
export interface GroupProgress {
  /** The first record that the partition still has. */
  readonly first: number;
  /** The group's note of what it reads next; undefined: none. */
  readonly committed: number | undefined;
}

/** Kafka as the bus of relays, and as the logs of a cluster. */
export interface Kafka extends Log {
  /**
   * Creates the topics that are not there.
   * @throws WheelworkError WW_CONFIG when one that is there has another number of partitions; WW_BUS_UNAVAILABLE.
   */
  ensureTopics(topics: readonly TopicSpec[]): Promise<void>;
  /** How a topic is kept: its copies, and its settings. @throws WheelworkError WW_CONFIG when there is none, WW_BUS_UNAVAILABLE. */
  settings(topic: string): Promise<TopicSettings>;
  /**
   * The offset of the first record of a partition that was written at a time or later, in milliseconds since 1970; the end
   * when there is none.
   */
  since(topic: string, partition: number, timeMs: number): Promise<number>;
  /** How far a group has come with each partition of a topic, in their order. */
  progress(group: string, topic: string): Promise<readonly GroupProgress[]>;
  /** Resolves when every subscription that there is has begun: it gets what is published from then on. */
  ready(): Promise<void>;
}

/**
 * Connects to Kafka when it is first used. Messages are written by an idempotent producer to all replicas in sync; their
 * key chooses the partition as Java's clients do. Close it yourself: engines do not.
 * @throws WheelworkError WW_CONFIG when the options are not valid.
 */
export function kafka(options: KafkaOptions): Kafka {
  return new KafkaLog(options);
}

class KafkaLog implements Kafka {
  readonly #options: ReturnType<typeof clientOptions>;
  readonly #sessionTimeoutMs: number;
  readonly #producer: BatchingProducer;
  readonly #reader: PartitionReader;
  readonly #members = new Set<GroupMembership>();
  #admin: Admin | undefined = undefined;
  readonly #subscriptions = new Map<string, Subscription>();

  constructor(given: KafkaOptions) {
    const options = demandOptions<KafkaOptions>(given, kafkaOptions, "kafka");
    this.#options = clientOptions(options);
    this.#sessionTimeoutMs = options.sessionTimeoutMs ?? 6000;
    this.#producer = new BatchingProducer(this.#options);
    this.#reader = new PartitionReader(this.#options);
  }

  ensureTopics(topics: readonly TopicSpec[]): Promise<void> {
    return ensureTopics(this.#options, topics);
  }

  settings(topic: string): Promise<TopicSettings> {
    return topicSettings(this.#options, topic);
  }

  async topic(name: string): Promise<LogTopic> {
    this.#admin ??= new Admin(this.#options);
    try {
      const known = (await this.#admin.metadata({ topics: [name], forceUpdate: true })).topics.get(name);
      if (known !== undefined) return { id: known.id, partitions: known.partitionsCount };
    } catch (error) {
      if (!isUnknownTopic(error)) throw unavailable(`the topic ${name} could not be looked at`, error);
    }
    throw broken("WW_CONFIG", `there is no topic ${name}`, "Create it, or let `ensureTopics` do so.");
  }

  end(topic: string, partition: number): Promise<number> {
    return this.#reader.end(topic, partition);
  }

  publish(topic: string, message: Message): Promise<void> {
    return this.#producer.send(topic, message);
  }

  append(topic: string, message: Message, partition?: number): Promise<void> {
    return this.#producer.send(topic, message, partition);
  }

  subscribe(topic: string, receive: (message: Message) => void): () => void {
    let subscription = this.#subscriptions.get(topic);
    if (subscription === undefined) {
      subscription = new Subscription(this, this.#reader, topic);
      this.#subscriptions.set(topic, subscription);
    }
    const { receivers } = subscription;
    receivers.add(receive);
    return () => {
      receivers.delete(receive);
      if (receivers.size > 0) return;
      subscription.end();
      if (this.#subscriptions.get(topic) === subscription) this.#subscriptions.delete(topic);
    };
  }

  async ready(): Promise<void> {
    await Promise.all(Array.from(this.#subscriptions.values(), ({ ready }) => ready));
  }

  read(topic: string, partition: number, from: number | undefined, reader: LogReader): Promise<LogReading> {
    return this.#reader.read(topic, partition, from ?? "beginning", reader);
  }

  since(topic: string, partition: number, timeMs: number): Promise<number> {
    return this.#reader.since(topic, partition, Math.floor(timeMs));
  }

  async progress(group: string, topic: string): Promise<readonly GroupProgress[]> {
    const { partitions: count } = await this.topic(topic);
    const admin = (this.#admin ??= new Admin(this.#options));
    const all = Array.from({ length: count }, (_, partitionIndex) => partitionIndex);
    try {
      const [listed] = await admin.listOffsets({
        topics: [
          {
            name: topic,
            partitions: all.map((partitionIndex) => ({
              partitionIndex,
              timestamp: ListOffsetTimestamps.EARLIEST,
            })),
          },
        ],
      });
      const groups = await admin.listConsumerGroupOffsets({
        groups: [{ groupId: group, topics: [{ name: topic, partitionIndexes: all }] }],
      });
      const firsts = new Map(listed?.partitions.map((one) => [one.partitionIndex, Number(one.offset)]));
      const noted = groups.flatMap(({ topics }) => topics).find(({ name }) => name === topic);
      const committed = new Map(
        noted?.partitions.map((one) => [one.partitionIndex, Number(one.committedOffset)]),
      );
      return all.map((partition) => {
        const offset = committed.get(partition) ?? -1;
        return { first: firsts.get(partition) ?? 0, committed: offset < 0 ? undefined : offset };
      });
    } catch (error) {
      throw unavailable(`how far ${group} has read ${topic} could not be asked`, error);
    }
  }

  async join(member: MemberOptions): Promise<Membership> {
    const membership = new GroupMembership(this.#options, member, this.#sessionTimeoutMs);
    this.#members.add(membership);
    void membership.join();
    return membership;
  }

  async close(): Promise<void> {
    for (const subscription of this.#subscriptions.values()) subscription.end();
    await Promise.all(Array.from(this.#members, (member) => member.leave()));
    await this.#reader.close();
    await this.#producer.close();
    await this.#admin?.close().catch(() => {});
  }
}

const subscribing: RetryPolicy = { minMs: 50, maxMs: 2000 };
/** How often a subscription looks whether its topic has more partitions than before, in milliseconds. */
const refreshMs = 5000;

/** All partitions of a topic, from now on, for any number of receivers. */
class Subscription {
  readonly receivers = new Set<(message: Message) => void>();
  readonly ready: Promise<void>;
  readonly #log: Log;
  readonly #reader: PartitionReader;
  readonly #topic: string;
  readonly #readings = new Set<LogReading>();
  /** What is published from here on is wanted, though it takes a moment until it can be read. */
  readonly #since: number;
  readonly #setReady: () => void;
  /** Aborted when the subscription ends or begins again: earlier readings no longer count. */
  #current = new AbortController();

  constructor(log: Log, reader: PartitionReader, topic: string) {
    this.#log = log;
    this.#reader = reader;
    this.#topic = topic;
    this.#since = Date.now();
    ({ promise: this.ready, resolve: this.#setReady } = Promise.withResolvers<void>());
    this.#begin();
  }

  end(): void {
    this.#current.abort();
    this.#setReady();
    this.#stopReading();
  }

  #begin(): void {
    this.#current.abort();
    this.#current = new AbortController();
    const { signal } = this.#current;
    void retrying(systemClock, subscribing, () => this.#read(signal), { signal });
  }

  /** Reads all partitions from the first moment of the subscription on. */
  async #read(signal: AbortSignal): Promise<void> {
    // A try that failed half-way has left some.
    this.#stopReading();
    await this.#readFrom(0, signal);
    this.#setReady();
    this.#refreshLater(signal);
  }

  /** Reads the partitions from one on. */
  async #readFrom(first: number, signal: AbortSignal): Promise<void> {
    const { partitions } = await this.#log.topic(this.#topic);
    for (let partition = first; partition < partitions; partition++) {
      const reading = await this.#reader.read(
        this.#topic,
        partition,
        { since: this.#since },
        {
          records: (records) => this.#receive(records),
          // The topic was created again, or cut: read what it holds now. Other partitions may report the same.
          lost: () => {
            if (!signal.aborted) this.#begin();
          },
        },
      );
      if (signal.aborted) return reading.stop();
      this.#readings.add(reading);
    }
  }

  /** Somebody may add partitions to the topic. */
  #refreshLater(signal: AbortSignal): void {
    const cancel = systemClock.after(refreshMs, () => {
      signal.removeEventListener("abort", cancel);
      if (signal.aborted) return;
      this.#readFrom(this.#readings.size, signal).then(
        () => this.#refreshLater(signal),
        // What was read of the new ones is in the set. The rest is looked up again.
        () => this.#refreshLater(signal),
      );
    });
    signal.addEventListener("abort", cancel);
  }

  #stopReading(): void {
    for (const reading of this.#readings) reading.stop();
    this.#readings.clear();
  }

  #receive(records: readonly LogRecord[]): void {
    for (const given of records) {
      const record = { ...given, value: given.value.toWellFormed() };
      for (const receive of this.receivers) {
        try {
          receive(record);
        } catch {
          // A receiver that throws has missed a message. The others have not.
        }
      }
    }
  }
}
