import { admit } from "./admit.ts";
import type { Channel } from "./channel.ts";
import { deadLetter, deadLetterTopic } from "./dead-letters.ts";
import { inboxMessage } from "./inbox.ts";
import type { Log, LogReading, LogRecord, Membership } from "./log.ts";
import type { Clock, EngineSignal, Logger } from "./ports.ts";
import { shardOf } from "./shards.ts";

/** What a router needs of its node. */
export interface RouterOptions {
  readonly log: Log;
  readonly membership: () => Membership | undefined;
  readonly inbox: string;
  readonly shards: number;
  readonly retentionMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observe: ((signal: EngineSignal) => void) | undefined;
}

const shortestRetryMs = 50;
const longestRetryMs = 2000;

/**
 * Takes the requests of one partition of a channel to the inboxes of their shards. The group notes how far it has come
 * after they are there, so that some come twice after a failure: their keys are known by then.
 */
export class Router {
  readonly #options: RouterOptions;
  readonly #channel: Channel;
  readonly #partition: number;
  #reading: LogReading | undefined = undefined;
  #ended = false;
  #position = 0;

  constructor(options: RouterOptions, channel: Channel, partition: number) {
    this.#options = options;
    this.#channel = channel;
    this.#partition = partition;
    void this.#begin();
  }

  /** Records that are not routed yet, as far as is known. */
  get position(): number {
    return this.#position;
  }

  end(): void {
    this.#ended = true;
    this.#reading?.stop();
  }

  async #begin(): Promise<void> {
    await this.#persist(async () => {
      const membership = this.#options.membership();
      if (membership === undefined) throw new Error("the node has no place in its group");
      const from = await membership.committed(this.#channel.from, this.#partition);
      if (this.#ended) return;
      this.#reading = await this.#options.log.read(this.#channel.from, this.#partition, from, {
        records: (records) => this.#route(records),
        lost: (error) => this.#lost(error),
      });
      this.#position = this.#reading.from;
      if (this.#ended) this.#reading.stop();
    }, `the requests of ${this.#channel.from}`);
  }

  /** Records are gone before they were read, or the topic is another one: somebody must look after it. */
  #lost(error: Error): void {
    this.#options.logger.error(
      { topic: this.#channel.from, partition: this.#partition, error: error.message },
      "requests are lost",
    );
    this.#options.observe?.({ name: "log-lost", topic: this.#channel.from, message: error.message });
  }

  async #route(records: readonly LogRecord[]): Promise<void> {
    await this.#persist(async () => {
      await Promise.all(records.map((record) => this.#append(record)));
    }, "the inbox");
    const last = records.at(-1);
    if (last === undefined || this.#ended) return;
    this.#position = last.offset + 1;
    try {
      await this.#options.membership()?.commit(last.topic, last.partition, last.offset + 1);
    } catch (error) {
      // They come once more, after the next failure.
      this.#options.logger.warn({ error: String(error) }, "how far a topic is read could not be noted");
    }
  }

  async #append(record: LogRecord): Promise<void> {
    const { log, inbox, shards, clock, retentionMs, observe } = this.#options;
    const { topic, partition, offset } = record;
    const admitted = admit(this.#channel, record, clock.wallMs() - retentionMs);
    if ("reason" in admitted) {
      const { reason } = admitted;
      observe?.({ name: "dead-letter", topic, reason });
      return log.append(deadLetterTopic(topic), deadLetter(record, reason, { topic, partition, offset }));
    }
    const { key, entry } = admitted;
    return log.append(inbox, inboxMessage(key, entry), shardOf(key, shards));
  }

  /** Tries until it succeeds, or this partition is another node's. */
  async #persist(task: () => Promise<void>, what: string): Promise<void> {
    for (let retryMs = shortestRetryMs; !this.#ended; retryMs = Math.min(retryMs * 2, longestRetryMs)) {
      try {
        return await task();
      } catch (error) {
        this.#options.logger.warn({ error: String(error) }, `${what} cannot be reached yet`);
        await new Promise<void>((resolve) => void this.#options.clock.after(retryMs, resolve));
      }
    }
  }
}
