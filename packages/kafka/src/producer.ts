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

/** Records of one request to the brokers. */
const maxRecords = 2000;

/**
 * Sends records in the order in which they are given, one request at a time: what comes meanwhile is the next request, so
 * that many small messages cost few requests.
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

  /** Resolves once all replicas that must have it, have it. */
  send(topic: string, message: Message, partition?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(unavailable("nothing can be sent", new Error("the bus is closed")));
      this.#waiting.push({ topic, partition, message, resolve, reject });
      // All that this turn of the event loop sends goes together.
      this.#sending ??= new Promise<void>((begin) => void setImmediate(begin)).then(() => this.#run());
    });
  }

  /** Waits for what is under way, and ends. */
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
        // Its sequence numbers may have a gap now, which the broker would refuse for ever.
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
      // An idempotent producer of this client tries for ever when it is told to try at most once.
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
