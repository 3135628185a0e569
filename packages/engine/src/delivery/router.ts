import { WheelworkError } from "@wheelwork/core";
import { shardOf } from "../ports/keys.ts";
import type { Log, LogReading, LogRecord, Membership } from "../ports/log.ts";
import type { Clock, EngineEvent, Logger, MaybePromise, Message } from "../ports/ports.ts";
import { retrying, type RetryPolicy } from "../ports/retry.ts";
import { refusalOf, refusedHub } from "./channel.ts";
import { appendLetter, DeadLetters } from "./dead-letters.ts";
import { inboxMessage, type InboxEntry } from "./inbox.ts";
import type { OfferResult } from "./offer.ts";
import { isTooLarge } from "./replies.ts";

/** What a router needs of its node. */
export interface RouterOptions {
  readonly log: Log;
  readonly membership: () => Membership | undefined;
  readonly inbox: string;
  readonly shards: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observe: ((signal: EngineEvent) => void) | undefined;
  /** Called when records were deleted before they were read. */
  readonly lost: (topic: string, partition: number, error: Error) => void;
  /** The short way: offers an entry to its shard, if this node works on it, and refuses it otherwise. */
  readonly offer: (key: string, entry: InboxEntry) => MaybePromise<OfferResult>;
}

/** What a record says to a shard, or why it is a dead letter. */
export type Routed = { readonly key: string; readonly entry: InboxEntry } | { readonly reason: string };

/** A topic whose partitions the group distributes, and what its records say to the shards. */
export interface Source {
  readonly topic: string;
  /** Partitions before this one are not for routers. Default: 0. */
  readonly firstPartition?: number;
  readonly route: (record: LogRecord) => readonly Routed[];
  /**
   * Only of a topic of relays: where each partition is read from first. Records that are gone do not matter there: a deadline
   * finds each attempt whose reply was lost.
   */
  readonly begins?: readonly number[];
}

const routing: RetryPolicy = { minMs: 50, maxMs: 2000 };
/** So many records may be read and not settled. Then nothing more is read. */
const maxUnsettled = 5000;
/** How often the group is told how far a partition is settled, in milliseconds. What was settled since then may come twice. */
const noteMs = 100;

/**
 * Takes the records of one partition to their shards: directly to those of this node, and through their inboxes to others.
 *
 * A record is settled once its effect is durable: its request is committed, its entry is in an inbox, or its dead letter is
 * there. Records settle in any order. The group notes the position before the first one that is not settled. So after a
 * failure some records come twice, and their keys are known by then (I5).
 */
export class Router {
  readonly #options: RouterOptions;
  readonly #source: Source;
  readonly #partition: number;
  readonly #letters: DeadLetters;
  readonly #end = new AbortController();
  #reading: LogReading | undefined = undefined;
  /** All records before this offset have been read. */
  #next = 0;
  /** Records that are read and not settled, in their order. Another set after a cut. */
  #unsettled = new Set<number>();
  /** What the group knows of the position. */
  #noted = 0;
  #noting = false;
  /** The position could not be told, and has not been since. */
  #isUnnoted = false;
  /** Goes on reading, when fewer records are unsettled. */
  #goOn: () => void = () => {};
  /** The topic no longer has the records that were to be read next: it is read from its beginning. */
  #isCut = false;
  /** Something could not be written, and nothing has been since. */
  #isStuck = false;

  constructor(options: RouterOptions, source: Source, partition: number) {
    this.#options = options;
    this.#source = source;
    this.#partition = partition;
    const { log, logger, observe } = options;
    const write = (topic: string, letter: Message): Promise<void> =>
      appendLetter((tried) => log.append(topic, tried), letter, logger);
    this.#letters = new DeadLetters(
      (topic, letter) => this.#persist(() => write(topic, letter), "the topic of dead letters"),
      observe,
    );
    void this.#begin();
  }

  /** All records before this offset are settled. */
  get position(): number {
    const [first] = this.#unsettled;
    return first ?? this.#next;
  }

  /** Reads no more. What is not settled is left to the next node that reads the partition. */
  end(): void {
    this.#end.abort();
    this.#reading?.stop();
    this.#goOn();
  }

  get #ended(): boolean {
    return this.#end.signal.aborted;
  }

  /** Tells the group how far this partition is settled. */
  async note(): Promise<void> {
    const { position } = this;
    if (position === this.#noted) return;
    try {
      await this.#options.membership()?.commit(this.#source.topic, this.#partition, position);
      this.#noted = position;
      this.#isUnnoted = false;
    } catch (error) {
      // Without the note, records come once more after the next failure.
      const fields = { topic: this.#source.topic, error: String(error) };
      if (!this.#isUnnoted)
        this.#options.logger.warn(fields, "how far a topic is read could not be noted yet");
      this.#isUnnoted = true;
    }
  }

  async #begin(): Promise<void> {
    const { topic, begins } = this.#source;
    await this.#persist(async () => {
      const membership = this.#options.membership();
      if (membership === undefined) throw new Error("the node has no place in its group");
      const known = this.#isCut ? undefined : await membership.committed(topic, this.#partition);
      if (this.#ended) return;
      const from = known ?? (this.#isCut ? undefined : begins?.[this.#partition]);
      // The next node that reads the partition must not begin later.
      if (known === undefined && from !== undefined) await membership.commit(topic, this.#partition, from);
      const reading = await this.#read(from);
      this.#reading = reading;
      this.#next = Math.max(this.#next, reading.from);
      this.#noted = this.#isCut ? -1 : reading.from;
      if (this.#ended) return reading.stop();
      this.#noteSoon();
    }, `the records of ${topic}`);
  }

  async #read(from: number | undefined): Promise<LogReading> {
    const { topic } = this.#source;
    try {
      return await this.#options.log.read(topic, this.#partition, from, {
        records: (records) => this.#route(records),
        lost: (error) => this.#lost(error),
      });
    } catch (error) {
      if (isLogLost(error)) this.#cut(error);
      throw error;
    }
  }

  /** Records were deleted before they were read, or the topic is another one; or it may not be read (WW_CONFIG). */
  #lost(error: Error): void {
    if (isLogLost(error)) this.#cut(error);
    void this.#begin();
  }

  /** What the topic still has is read from its beginning. Senders of the rest are not answered: somebody must know of them. */
  #cut(error: Error): void {
    this.#isCut = true;
    this.#next = 0;
    this.#unsettled = new Set();
    const { topic, begins } = this.#source;
    // Attempts whose replies were lost have a deadline.
    if (begins === undefined) this.#options.lost(topic, this.#partition, error);
  }

  #route(records: readonly LogRecord[]): MaybePromise<void> {
    for (const record of records) {
      this.#unsettled.add(record.offset);
      this.#next = record.offset + 1;
      void this.#settle(record, this.#unsettled);
    }
    if (this.#unsettled.size < maxUnsettled || this.#ended) return undefined;
    return new Promise<void>((resolve) => void (this.#goOn = resolve));
  }

  async #settle(record: LogRecord, unsettled: Set<number>): Promise<void> {
    for (const routed of this.#source.route(record)) if (!(await this.#deliver(record, routed))) return;
    unsettled.delete(record.offset);
    if (this.#unsettled.size < maxUnsettled) this.#goOn();
    this.#noteSoon();
  }

  /** Whether the effect of a record is durable; false: the partition is another node's by now. */
  async #deliver(record: LogRecord, routed: Routed): Promise<boolean> {
    if ("reason" in routed) return this.#letters.bury(record, routed.reason);
    const { key, entry } = routed;
    const result = await this.#options.offer(key, entry);
    if (result === "durable") return true;
    if (result !== "refused") return this.#letters.bury(record, result.reason);
    return this.#persist(async () => {
      try {
        await this.#append(key, entry);
      } catch (error) {
        if (!isTooLarge(error)) throw error;
        await this.#append(key, shortEntry(entry, error));
      }
    }, "the inbox");
  }

  #append(key: string, entry: InboxEntry): Promise<void> {
    const { log, inbox, shards } = this.#options;
    const message = inboxMessage(key, entry);
    return log.append(inbox, message, shardOf(message.key, shards));
  }

  #noteSoon(): void {
    if (this.#noting || this.#ended || this.position === this.#noted) return;
    this.#noting = true;
    this.#options.clock.after(noteMs, () => {
      if (this.#ended) return;
      void this.note().finally(() => {
        this.#noting = false;
        this.#noteSoon();
      });
    });
  }

  /** Tries until it succeeds; false: the partition is another node's by now. */
  async #persist(task: () => Promise<void>, what: string): Promise<boolean> {
    const { clock, logger } = this.#options;
    const onFailure = (error: unknown): void => {
      if (isLogLost(error)) return;
      // Many records wait for the same broker: one line says so.
      if (!this.#isStuck) logger.warn({ error: String(error) }, `${what} cannot be reached yet`);
      this.#isStuck = true;
    };
    const isDone = await retrying(clock, routing, task, { signal: this.#end.signal, onFailure });
    if (isDone) this.#isStuck = false;
    return isDone;
  }
}

const isLogLost = (error: unknown): error is WheelworkError =>
  error instanceof WheelworkError && error.code === "WW_LOG_LOST";

/** What goes through the inbox instead of an entry that the inbox will never take: its sender is refused, its attempt fails. */
function shortEntry(entry: InboxEntry, error: WheelworkError): InboxEntry {
  switch (entry.type) {
    case "request": {
      const { request: _, ...rest } = entry;
      return { ...rest, hub: refusedHub.name, request: { message: refusalOf(error) } };
    }
    case "response":
    case "relayReply":
      return { ...entry, outcome: { kind: "error", code: error.code, message: error.message } };
    case "progress":
      return { ...entry, value: undefined };
    case "command":
      throw error;
  }
}
