import { compatibilityPartitioner, Producer, ProduceAcks, stringSerializers } from "@platformatic/kafka";
import type { Message } from "@wheelwork/engine";
import type { clientOptions } from "./connection.ts";
import { unavailable } from "./errors.ts";

interface Waiting {
  readonly topic: string;
  readonly partition: number | undefined;
  readonly message: Message;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** How many records one request to the brokers holds, at most. */
const maxRecords = 2000;

/**
 * Sends records in their order, with one request to the brokers at a time. Records that come meanwhile go with the next
 * request. So many small records need few requests.
 */
export class BatchingProducer {
  readonly #options: ReturnType<typeof clientOptions>;
  #producer: Producer<string, string, string, string> | undefined = undefined;
  #waiting: Waiting[] = [];
  #sending: Promise<void> | undefined = undefined;
  #closed = false;

  constructor(options: ReturnType<typeof clientOptions>) {
    this.#options = options;
  }

  /**
   * Sends a record. Resolves once all in-sync replicas have it.
   * @throws WheelworkError WW_BUS_UNAVAILABLE or WW_CONFIG. The record may have been written nevertheless.
   */
  send(topic: string, message: Message, partition?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(unavailable("the record was not sent", new Error("the bus is closed")));
      this.#waiting.push({ topic, partition, message, resolve, reject });
      // It waits for the end of this turn of the event loop: all records of the turn go in one request.
      this.#sending ??= new Promise<void>((begin) => void setImmediate(begin)).then(() => this.#run());
    });
  }

  /** Waits until all given records are sent, and ends. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#sending;
    await this.#producer?.close().catch(() => {});
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, maxRecords);
      try {
        await this.#open().send({
          acks: ProduceAcks.ALL,
          messages: batch.map(({ topic, partition, message: { key, value, headers } }) => ({
            topic,
            key,
            value,
            ...(partition === undefined ? {} : { partition }),
            ...(headers === undefined ? {} : { headers }),
          })),
        });
        for (const { resolve } of batch) resolve();
      } catch (error) {
        // The sequence numbers of the producer may have a gap now. The broker would refuse all later records.
        this.#discard();
        const topics = [...new Set(batch.map(({ topic }) => topic))].join(", ");
        const failure = unavailable(`${batch.length} records could not be written to ${topics}`, error);
        for (const { reject } of batch) reject(failure);
      }
    }
    this.#sending = undefined;
  }

  #open(): Producer<string, string, string, string> {
    this.#producer ??= new Producer({
      ...this.#options,
      idempotent: true,
      // With 0 or 1, an idempotent producer of this client retries without end.
      retries: 3,
      retryDelay: 200,
      partitioner: compatibilityPartitioner,
      serializers: stringSerializers,
    });
    return this.#producer;
  }

  #discard(): void {
    const producer = this.#producer;
    this.#producer = undefined;
    void producer?.close().catch(() => {});
  }
}
