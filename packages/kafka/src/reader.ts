import { Consumer, ListOffsetTimestamps } from "@platformatic/kafka";
import type { LogReader, LogReading, LogRecord } from "@wheelwork/engine/cluster";
import { pause, retrying, systemClock, type RetryPolicy } from "@wheelwork/engine/parts";
import type { clientOptions } from "./connection.ts";
import { textOf } from "./bytes.ts";
import { maxRecordBytes } from "./producer.ts";
import { broken, isOfTopic, isUnknownTopic, kafkaErrors, unavailable } from "./errors.ts";

type FetchResponse = Awaited<ReturnType<Consumer["fetch"]>>;
type Topics = Awaited<ReturnType<Consumer["metadata"]>>["topics"];
type FetchedPartition = FetchResponse["responses"][number]["partitions"][number];

/** How long the broker holds a request that it has nothing for, in milliseconds. */
const waitMs = 100;
/** How long to wait while all readers have enough to do, in milliseconds. */
const busyMs = 5;
const fetching: RetryPolicy = { minMs: 50, maxMs: 1000 };
/** How often a partition that was just created is looked at until it has its leader, and the pause between, in milliseconds. */
const leaderAttempts = 30;
const leaderPauseMs = 100;
/** After how long a partition is looked for again that cannot be read now, in milliseconds. */
const awayMs = 1000;
const maxBytes = 4 * 1024 * 1024;
const appendTime = 1 << 3;
const controlBatch = 1 << 5;
/** Records that wait for a reader, before its partition is left out of the requests to the brokers. */
const maxQueued = 5000;

const none = 0;
const offsetOutOfRange = 1;
const topicAuthorizationFailed = 29;

class Reading implements LogReading {
  readonly topic: string;
  readonly partition: number;
  /** The identity of the topic when the reading began. A topic that is deleted and created again has another one. */
  readonly topicId: string;
  readonly from: number;
  readonly end: number;
  readonly reader: LogReader;
  position: number;
  stopped = false;
  /** Until then it is left out of the requests, in monotonic time: its topic is not there, or its partition has no leader. */
  awayUntil = 0;
  /** Records that the reader has not taken yet. */
  #queue: LogRecord[] = [];
  #busy = false;
  readonly #stop: (reading: Reading) => void;

  constructor(
    place: { topic: string; partition: number; topicId: string; from: number; end: number },
    reader: LogReader,
    stop: (reading: Reading) => void,
  ) {
    this.topic = place.topic;
    this.partition = place.partition;
    this.topicId = place.topicId;
    this.from = place.from;
    this.end = place.end;
    this.position = place.from;
    this.reader = reader;
    this.#stop = stop;
  }

  /** Has so much to do that nothing more is fetched for it. */
  get full(): boolean {
    return this.#queue.length >= maxQueued;
  }

  give(records: LogRecord[]): void {
    if (this.#queue.length === 0) this.#queue = records;
    else this.#queue.push(...records);
    if (!this.#busy) void this.#pump();
  }

  async #pump(): Promise<void> {
    this.#busy = true;
    while (this.#queue.length > 0 && !this.stopped) {
      const records = this.#queue;
      this.#queue = [];
      try {
        const taken = this.reader.records(records);
        if (taken instanceof Promise) await taken;
      } catch {
        // A reader that throws has lost these records, and must handle that itself.
      }
    }
    this.#busy = false;
  }

  stop(): void {
    this.stopped = true;
    this.#queue = [];
    this.#stop(this);
  }
}

/**
 * The transactions that were aborted, as a broker tells them with the records of a partition. The client leaves some of their
 * records out, but not those of a transaction that is larger than one response, nor of the first of two of one producer.
 */
class AbortedTransactions {
  /** In their order. */
  readonly #ahead: { readonly producerId: bigint; readonly firstOffset: bigint }[];
  /** The producers whose transaction goes on at the present batch. */
  readonly #open = new Set<bigint>();

  constructor(told: NonNullable<FetchedPartition["abortedTransactions"]>) {
    this.#ahead = told.toSorted((a, b) => Number(a.firstOffset - b.firstOffset));
  }

  /** Whether a batch belongs to one of them. Ask for each batch, in their order. */
  has(batch: NonNullable<FetchedPartition["records"]>[number], lastOffset: number): boolean {
    for (
      let [next] = this.#ahead;
      next !== undefined && next.firstOffset <= lastOffset;
      [next] = this.#ahead
    ) {
      this.#open.add(next.producerId);
      this.#ahead.shift();
    }
    if (!this.#open.has(batch.producerId)) return false;
    // The broker writes such a batch where a transaction ends.
    if ((batch.attributes & controlBatch) !== 0) this.#open.delete(batch.producerId);
    return true;
  }
}

/**
 * Reads partitions from positions of its callers' choosing: no group is involved, nothing is committed, and what has been
 * fetched for a reading that was stopped is dropped.
 */
export class PartitionReader {
  readonly #options: ReturnType<typeof clientOptions>;
  readonly #readings = new Set<Reading>();
  #consumer: Consumer | undefined = undefined;
  #running = false;
  readonly #closed = new AbortController();

  constructor(options: ReturnType<typeof clientOptions>) {
    this.#options = options;
  }

  /** `from`: an offset, the beginning, or what was written since a time (in milliseconds since 1970). */
  async read(
    topic: string,
    partition: number,
    from: number | "beginning" | { readonly since: number },
    reader: LogReader,
  ): Promise<LogReading> {
    const { topicId, first, end, since } = await this.#look(topic, partition, from);
    if (topicId === undefined || !Number.isFinite(first) || !Number.isFinite(end)) {
      throw broken("WW_CONFIG", `there is no partition ${partition} of the topic ${topic}`, "Create it.");
    }
    const begin = from === "beginning" ? first : typeof from === "number" ? from : since;
    if (begin < first || begin > end) throw lost(topic, partition, begin, `it holds ${first} to ${end}`);
    const reading = new Reading({ topic, partition, topicId, from: begin, end }, reader, (stopped) =>
      this.#readings.delete(stopped),
    );
    this.#readings.add(reading);
    this.#start();
    return reading;
  }

  /** The offset of the first record that was written at a time or later (in milliseconds since 1970), or the end. */
  async since(topic: string, partition: number, timeMs: number): Promise<number> {
    return (await this.#look(topic, partition, { since: timeMs })).since;
  }

  /** The offset of what is written next. */
  async end(topic: string, partition: number): Promise<number> {
    const { topicId, end } = await this.#look(topic, partition, "beginning");
    if (topicId !== undefined && Number.isFinite(end)) return end;
    throw broken("WW_CONFIG", `there is no partition ${partition} of the topic ${topic}`, "Create it.");
  }

  /** What the partition holds. One that was just created may not have its leader yet. */
  async #look(topic: string, partition: number, from: number | "beginning" | { readonly since: number }) {
    for (let attempt = 1; ; attempt++) {
      try {
        const consumer = this.#open();
        const topicId = (await consumer.metadata({ topics: [topic], forceUpdate: true })).topics.get(
          topic,
        )?.id;
        const partitions = { [topic]: [partition] };
        const offsetOf = async (timestamp: bigint): Promise<number> => {
          const offsets = await consumer.listOffsets({ topics: [topic], partitions, timestamp });
          return Number(offsets.get(topic)?.[partition]);
        };
        const first = await offsetOf(ListOffsetTimestamps.EARLIEST);
        const end = await offsetOf(ListOffsetTimestamps.LATEST);
        const written = typeof from === "object" ? await offsetOf(BigInt(from.since)) : -1;
        return { topicId, first, end, since: written < 0 ? end : written };
      } catch (error) {
        const settling = kafkaErrors(error).some((name) => /LEADER/.test(name));
        if (!settling || attempt === leaderAttempts)
          throw unavailable(`partition ${partition} of ${topic} could not be looked at`, error);
        await pause(systemClock, leaderPauseMs);
      }
    }
  }

  async close(): Promise<void> {
    this.#closed.abort();
    for (const reading of this.#readings) reading.stop();
    await this.#consumer?.close(true).catch(() => {});
  }

  #open(): Consumer {
    this.#consumer ??= new Consumer({
      ...this.#options,
      groupId: "none",
      autocommit: false,
      minBytes: 1,
      maxWaitTime: waitMs,
    });
    return this.#consumer;
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#loop().finally(() => (this.#running = false));
  }

  async #loop(): Promise<void> {
    const { signal } = this.#closed;
    while (this.#readings.size > 0 && !signal.aborted)
      await retrying(systemClock, fetching, () => this.#fetchNext(), { signal });
  }

  async #fetchNext(): Promise<void> {
    const wanted = this.#wanted();
    if (wanted.length === 0) return pause(systemClock, busyMs);
    try {
      await this.#fetch(wanted);
    } catch (error) {
      // The broker may be down, or has handed partitions over. A new client has no stale connections or sessions.
      const consumer = this.#consumer;
      this.#consumer = undefined;
      void consumer?.close(true).catch(() => {});
      throw error;
    }
  }

  /** A request names a partition once: those who read the same one take turns. */
  #wanted(): Reading[] {
    const wanted = new Map<string, Reading>();
    const now = systemClock.monotonicMs();
    for (const reading of this.#readings) {
      const place = `${reading.topicId} ${reading.partition}`;
      const isReady = !reading.full && reading.awayUntil <= now;
      if (isReady && !wanted.has(place)) wanted.set(place, reading);
    }
    for (const reading of wanted.values()) {
      this.#readings.delete(reading);
      this.#readings.add(reading);
    }
    return [...wanted.values()];
  }

  /** One request to each broker that leads some of the partitions. */
  async #fetch(wanted: readonly Reading[]): Promise<void> {
    const consumer = this.#open();
    const topics = await this.#topicsOf(consumer, wanted);
    const byLeader = new Map<number, Reading[]>();
    for (const reading of wanted) {
      const { topic, topicId, partition, position } = reading;
      const known = topics.get(topic);
      if (known !== undefined && known.id !== topicId) {
        const why = "the topic was deleted, or deleted and created again";
        this.#lost(reading, lost(topic, partition, position, why));
        continue;
      }
      const leader = known?.partitions[partition]?.leader ?? -1;
      reading.awayUntil = leader < 0 ? systemClock.monotonicMs() + awayMs : 0;
      if (leader < 0) continue;
      const led = byLeader.get(leader);
      if (led === undefined) byLeader.set(leader, [reading]);
      else led.push(reading);
    }
    const fetched = await Promise.allSettled(
      [...byLeader].map(([node, readings]) => this.#fetchFrom(consumer, node, readings)),
    );
    const failed = fetched.find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") throw failed.reason;
  }

  /** The topics that the brokers know. One that they do not know, or that may not be read, holds up no others. */
  async #topicsOf(consumer: Consumer, wanted: readonly Reading[]): Promise<Topics> {
    const names = [...new Set(wanted.map(({ topic }) => topic))];
    const forceUpdate = wanted.some(({ awayUntil }) => awayUntil > 0);
    let topics: Topics;
    try {
      ({ topics } = await consumer.metadata({ topics: names, forceUpdate }));
    } catch (error) {
      if (!isOfTopic(error)) throw error;
      topics = new Map();
      for (const name of names) {
        const one = await this.#topicOf(consumer, name, wanted);
        if (one !== undefined) topics.set(name, one);
      }
    }
    // A request asks for all topics that the client knows of.
    for (const name of names) {
      if (!topics.has(name)) consumer.topics.untrack(name);
      else if (!consumer.topics.has(name)) consumer.topics.track(name);
    }
    return topics;
  }

  async #topicOf(consumer: Consumer, name: string, wanted: readonly Reading[]) {
    try {
      return (await consumer.metadata({ topics: [name], forceUpdate: true })).topics.get(name);
    } catch (error) {
      if (!isOfTopic(error)) throw error;
      if (!isUnknownTopic(error))
        for (const reading of wanted)
          if (reading.topic === name)
            this.#lost(reading, unavailable(`the topic ${name} could not be read`, error));
      return undefined;
    }
  }

  async #fetchFrom(consumer: Consumer, node: number, readings: readonly Reading[]): Promise<void> {
    const byTopic = Map.groupBy(readings, ({ topicId }) => topicId);
    const request = [...byTopic].map(([topicId, list]) => ({
      topicId,
      partitions: list.map(({ partition, position }) => ({
        partition,
        currentLeaderEpoch: -1,
        fetchOffset: BigInt(position),
        lastFetchedEpoch: -1,
        partitionMaxBytes: maxBytes,
      })),
    }));
    let response: FetchResponse;
    let failure: unknown;
    try {
      response = await consumer.fetch({
        node,
        minBytes: 1,
        maxBytes: maxBytes * 4,
        maxWaitTime: waitMs,
        topics: request,
      });
    } catch (error) {
      const partial = (error as { response?: FetchResponse }).response;
      if (partial === undefined || kafkaErrors(error).includes("FETCH_SESSION_ID_NOT_FOUND")) throw error;
      response = partial;
      failure = error;
    }
    for (const { topicId, partitions } of response.responses) {
      for (const part of partitions) {
        const reading = readings.find(
          (one) => one.topicId === topicId && one.partition === part.partitionIndex,
        );
        if (reading === undefined || reading.stopped) continue;
        if (part.errorCode === offsetOutOfRange) {
          const { topic, partition, position } = reading;
          this.#lost(reading, lost(topic, partition, position, `it begins at ${part.logStartOffset}`));
          failure = undefined;
        } else if (part.errorCode === topicAuthorizationFailed) {
          const { topic, partition } = reading;
          this.#lost(reading, unavailable(`partition ${partition} of ${topic} could not be read`, failure));
          failure = undefined;
        } else if (part.errorCode === none) {
          this.#give(reading, part);
        }
      }
    }
    if (failure !== undefined) throw failure;
  }

  #give(reading: Reading, part: FetchedPartition): void {
    const records: LogRecord[] = [];
    const aborted = new AbortedTransactions(part.abortedTransactions ?? []);
    for (const batch of part.records ?? []) {
      const first = Number(batch.firstOffset);
      const next = first + batch.lastOffsetDelta + 1;
      if (!aborted.has(batch, next - 1) && (batch.attributes & controlBatch) === 0) {
        const isAppendTime = (batch.attributes & appendTime) !== 0;
        for (const record of batch.records) {
          const offset = first + record.offsetDelta;
          if (offset < reading.position) continue;
          records.push({
            topic: reading.topic,
            partition: reading.partition,
            offset,
            ...contentOf(record),
            timestampMs: Number(
              isAppendTime ? batch.maxTimestamp : batch.firstTimestamp + record.timestampDelta,
            ),
          });
        }
      }
      reading.position = Math.max(reading.position, next);
    }
    if (records.length > 0) reading.give(records);
  }

  #lost(reading: Reading, error: Error): void {
    reading.stop();
    reading.reader.lost(error);
  }
}

type Content = Pick<LogRecord, "key" | "value" | "headers" | "oversizeBytes">;
type FetchedRecord = NonNullable<FetchedPartition["records"]>[number]["records"][number];

/** A broker bounds what is compressed, and some hundred bytes may stand for a gigabyte, which no text can hold. */
function contentOf({ key, value, headers }: FetchedRecord): Content {
  const parts: readonly (Buffer | null | undefined)[] = [key, value, ...headers.flat()];
  const oversizeBytes = parts.reduce((sum, part) => sum + (part?.length ?? 0), 0);
  if (oversizeBytes > maxRecordBytes)
    return {
      key: (key?.length ?? 0) > maxRecordBytes ? "" : textIn(key),
      value: "",
      headers: {},
      oversizeBytes,
    };
  return {
    key: textIn(key),
    value: textIn(value),
    headers: Object.fromEntries(headers.map(([name, given]) => [textIn(name), textIn(given)])),
  };
}

const textIn = (bytes: Buffer | null | undefined): string => (bytes ? textOf(bytes) : "");

const lost = (topic: string, partition: number, offset: number, why: string): Error =>
  broken(
    "WW_LOG_LOST",
    `offset ${offset} of partition ${partition} of ${topic} cannot be read: ${why}`,
    "Records were deleted before they were read, or the topic is another one. See the page on deploying: lost records.",
  );
