import { compatibilityPartitioner, Producer, ProduceAcks, serializersFrom } from "@platformatic/kafka";
import type { Message } from "@wheelwork/engine";
import { bytesOf } from "./bytes.ts";
import type { clientOptions } from "./connection.ts";
import { isOfTopic, isTooLarge, tooLarge, unavailable } from "./errors.ts";

interface Waiting {
  readonly topic: string;
  readonly partition: number | undefined;
  readonly message: Message;
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * How many records one request to the brokers holds, at most, and how many bytes of them; or one record that has more. A broker
 * takes about 1 MB for a partition at once (`max.message.bytes`), unless it is set otherwise.
 */
const maxRecords = 2000;
const maxBytes = 500_000;
/** A broker closes the connection of a larger request, which looks like a network that fails: such a record is not sent. */
export const maxRecordBytes = 64 * 1024 * 1024;

function sizeOf({ key, value, headers = {} }: Message): number {
  let bytes = Buffer.byteLength(key) + Buffer.byteLength(value);
  for (const name in headers) bytes += Buffer.byteLength(name) + Buffer.byteLength(headers[name] ?? "");
  return bytes;
}

/**
 * Sends records in their order, with one request to the brokers at a time. Records that come meanwhile go with the next
 * request. So many small records need few requests.
 *
 * A topic that takes nothing (it is gone, may not be written, or has too few replicas) must not hold up the others: a request fails as
 * a whole. So such a topic has requests of its own, until one of them succeeds.
 */
export class BatchingProducer {
  readonly #options: ReturnType<typeof clientOptions>;
  readonly #all: Requests;
  /** The topics that have requests of their own. */
  readonly #apart = new Map<string, Requests>();
  #closed = false;

  constructor(options: ReturnType<typeof clientOptions>) {
    this.#options = options;
    this.#all = new Requests(options, (topic) => this.#setApart(topic));
  }

  /**
   * Sends a record. Resolves once all in-sync replicas have it.
   * @throws WheelworkError WW_BUS_UNAVAILABLE or WW_CONFIG: the record may have been written nevertheless. WW_TOO_LARGE: the
   * topic will never take it.
   */
  send(topic: string, message: Message, partition?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(unavailable("the record was not sent", new Error("the bus is closed")));
      const bytes = sizeOf(message);
      if (bytes > maxRecordBytes) return reject(tooLarge(topic, bytes));
      const requests = this.#apart.get(topic) ?? this.#all;
      requests.add([{ topic, partition, message, bytes, resolve, reject }]);
    });
  }

  /** Waits until all given records are sent, and ends. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#all.close();
    await Promise.all(Array.from(this.#apart.values(), (requests) => requests.close()));
  }

  #setApart(topic: string): void {
    if (this.#apart.has(topic)) return;
    const requests = new Requests(
      this.#options,
      () => {},
      () => {
        this.#apart.delete(topic);
        void requests.close();
      },
    );
    this.#apart.set(topic, requests);
    // What waits already comes before what is given from now on.
    requests.add(this.#all.takeAll(topic));
  }
}

/** Requests to the brokers, one after the other. */
class Requests {
  readonly #options: ReturnType<typeof clientOptions>;
  readonly #failed: (topic: string) => void;
  readonly #recovered: () => void;
  #producer: Producer<string, string, string, string> | undefined = undefined;
  #waiting: Waiting[] = [];
  #sending: Promise<void> | undefined = undefined;

  /**
   * @param failed Called when a topic takes nothing, although others may.
   * @param recovered Called when something has been written, and nothing more waits.
   */
  constructor(
    options: ReturnType<typeof clientOptions>,
    failed: (topic: string) => void,
    recovered: () => void = () => {},
  ) {
    this.#options = options;
    this.#failed = failed;
    this.#recovered = recovered;
  }

  add(records: readonly Waiting[]): void {
    if (records.length === 0) return;
    this.#waiting.push(...records);
    // It waits for the end of this turn of the event loop: all records of the turn go in one request.
    this.#sending ??= new Promise<void>((begin) => void setImmediate(begin)).then(() => this.#run());
  }

  /** Takes out what waits for a topic. */
  takeAll(topic: string): Waiting[] {
    const taken = this.#waiting.filter((one) => one.topic === topic);
    this.#waiting = this.#waiting.filter((one) => one.topic !== topic);
    return taken;
  }

  /** Waits until all given records are sent, and ends. */
  async close(): Promise<void> {
    await this.#sending;
    await this.#producer?.close().catch(() => {});
  }

  async #run(): Promise<void> {
    let isWritten = false;
    while (this.#waiting.length > 0) isWritten = await this.#write(this.#take());
    this.#sending = undefined;
    if (isWritten) this.#recovered();
  }

  /** What goes with the next request. */
  #take(): Waiting[] {
    let count = 0;
    for (let bytes = 0; count < this.#waiting.length && count < maxRecords; count++) {
      bytes += this.#waiting[count]?.bytes ?? 0;
      if (bytes > maxBytes && count > 0) break;
    }
    return this.#waiting.splice(0, count);
  }

  /** Whether the records are written. */
  async #write(batch: readonly Waiting[]): Promise<boolean> {
    try {
      await this.#open().send({
        acks: ProduceAcks.ALL,
        messages: batch.map(({ topic, partition, message: { key, value, headers, timestampMs } }) => ({
          topic,
          key,
          value,
          ...(partition === undefined ? {} : { partition }),
          ...(headers === undefined ? {} : { headers }),
          ...(timestampMs === undefined ? {} : { timestamp: BigInt(Math.floor(timestampMs)) }),
        })),
      });
      for (const { resolve } of batch) resolve();
      return true;
    } catch (error) {
      // The sequence numbers of the producer may have a gap now. The broker would refuse all later records.
      this.#discard();
      await this.#refused(batch, error);
      return false;
    }
  }

  /**
   * Records that are together too large are sent in halves, until it is known which one is too large alone: it must not hold back
   * the others. Records of several topics are sent topic by topic. Some of them may be written twice by that, as after any other
   * failure.
   */
  async #refused(batch: readonly Waiting[], error: unknown): Promise<void> {
    const [first] = batch;
    if (isTooLarge(error)) {
      if (batch.length === 1 && first !== undefined)
        return first.reject(tooLarge(first.topic, first.bytes, error));
      const half = Math.ceil(batch.length / 2);
      await this.#write(batch.slice(0, half));
      await this.#write(batch.slice(half));
      return;
    }
    const topics = Map.groupBy(batch, ({ topic }) => topic);
    if (isOfTopic(error) && topics.size > 1) {
      for (const part of topics.values()) await this.#write(part);
      return;
    }
    if (isOfTopic(error) && first !== undefined) this.#failed(first.topic);
    const names = [...topics.keys()].join(", ");
    const failure = unavailable(`${batch.length} records could not be written to ${names}`, error);
    for (const { reject } of batch) reject(failure);
  }

  #open(): Producer<string, string, string, string> {
    this.#producer ??= new Producer({
      ...this.#options,
      idempotent: true,
      // With 0 or 1, an idempotent producer of this client retries without end.
      retries: 3,
      retryDelay: 200,
      partitioner: compatibilityPartitioner,
      serializers: serializersFrom((text: string | undefined) => (text === undefined ? text : bytesOf(text))),
    });
    return this.#producer;
  }

  #discard(): void {
    const producer = this.#producer;
    this.#producer = undefined;
    void producer?.close().catch(() => {});
  }
}
