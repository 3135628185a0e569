import { WheelworkError, type AnyHub } from "@wheelwork/core";
import type { Channel } from "../delivery/channel.ts";
import { appendLetter, DeadLetters } from "../delivery/dead-letters.ts";
import { inboxMessage, readInbox, type InboxEntry, type Origin } from "../delivery/inbox.ts";
import { tooOld } from "../delivery/admit.ts";
import { offer } from "../delivery/offer.ts";
import { place, type Placed } from "../delivery/place.ts";
import { isTooLarge, publishReply } from "../delivery/replies.ts";
import { rootOf, shardOf } from "../ports/keys.ts";
import type { Log, LogReading, LogRecord, LogTopic } from "../ports/log.ts";
import type { Clock, EngineEvent, Logger, Message } from "../ports/ports.ts";
import { pause, retrying, type RetryPolicy } from "../ports/retry.ts";
import type { Reply } from "../shard/outbox.ts";
import type { Feed } from "../shard/feed.ts";
import type { Shard } from "../shard/shard.ts";

const burying: RetryPolicy = { minMs: 100, maxMs: 5000 };
const moving: RetryPolicy = { minMs: 50, maxMs: 2000 };
const passing: RetryPolicy = { minMs: 50, maxMs: 1000 };
/** How often is looked for an inbox that was cut, deleted or created again. */
const returning: RetryPolicy = { minMs: 50, maxMs: 2000 };

/** Inputs that a shard may have queued before its log waits, and how often is looked whether it still has, in milliseconds. */
const maxQueued = 20_000;
const queuedMs = 10;

interface FeedOptions {
  readonly log: Log;
  readonly inbox: string;
  readonly logId: string;
  readonly shard: number;
  readonly shards: number;
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly channels: ReadonlyMap<string, Channel>;
  readonly observe: ((signal: EngineEvent) => void) | undefined;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Resolves when what waits in the topics of relays now has gone to its shard or into its inbox. */
  readonly passRelays?: (isWanted: () => boolean) => Promise<void>;
  readonly owner: () => Shard | undefined;
  /** How long answers are kept, in milliseconds. */
  readonly retentionMs: number;
  /** The inbox may no longer be read: the shard cannot go on under this claim. */
  readonly onEnded: (error: Error) => void;
  /** Records were deleted before they were read. The reading goes on. */
  readonly onLost: (error: Error) => void;
  /** The inbox is another one by now, and its positions mean nothing: the shard is to be claimed anew. */
  readonly onReplaced: () => void;
}

/**
 * The inbox of a shard, which is one partition of a topic, as the shard reads it; and the channels that its answers go to.
 *
 * **Positions.** The inbox is only a queue: the store says how far it has been consumed. Each batch commits, with what it
 * decides, the offset after the last record that it consumed. So a record counts once: after a failure the shard reads on
 * from the position of its last commit, and what it had read beyond that comes again.
 *
 * **Pinned offsets.** A record that becomes a dead letter has an effect outside the store. The position must not pass it
 * before the letter is durable, or a crash in between would lose the record. So its offset is pinned: the shard goes on
 * deciding later records, but commits no position beyond the pinned record. If the shard fails meanwhile, the record is
 * read again and gets a second letter; it is never without one.
 *
 * **Wrong partitions.** A record whose key belongs to another shard, or a request without the mark of its lane, is
 * appended to the partition of that shard, and its offset is pinned until then. So it may be moved twice, and counts
 * once, as any other record that comes twice.
 *
 * **Catch-up.** When a shard is claimed, its inbox may hold outcomes that arrived while nobody worked on it. They go
 * before overdue callbacks, so that an outage does not turn work that is done into timeouts. `begin` therefore tells where
 * the inbox ends, and the shard reads up to there first. Replies to relays may not even be in the inbox yet, but in topics
 * that any node routes: then `later` tells the end of the inbox once all of them have been routed.
 *
 * **Lost records.** If the inbox no longer has what was to be read next, somebody must know, since nobody answers the senders. But
 * nothing can bring the records back, so the shard goes on with what the inbox still has. A topic that was deleted and created
 * again has other positions: the shard is claimed anew, and reads it from its beginning. A broker may also have lost the end of a
 * partition. Then what is there is read once more from its beginning: keys that are known count once, and what is so old that
 * its answer may be gone becomes a dead letter (I5).
 *
 * **Readings.** All that belongs to one claim is in one `InboxReading`. A new claim, or the end, discards it as a whole.
 */
export class ShardFeed implements Feed {
  readonly #options: FeedOptions;
  #reading: InboxReading | undefined = undefined;

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  get log(): string {
    return this.#options.logId;
  }

  /** Topics of the same name, one after the other. */
  replaces(log: string): boolean {
    return log.slice(0, log.lastIndexOf("/")) === this.#options.inbox;
  }

  begin(position: number | undefined, isReplaced = false): ReturnType<Feed["begin"]> {
    this.end();
    this.#reading = new InboxReading(this.#options);
    return this.#reading.begin(position, isReplaced);
  }

  end(): void {
    this.#reading?.end();
    this.#reading = undefined;
  }

  publish(reply: Reply): Promise<void> {
    const { log } = this.#options;
    return publishReply(reply, {
      ...this.#options,
      send: async (topic, message) => log.publish(topic, message),
    });
  }
}

/** One reading of the inbox, from a claim to the next one or to the end. All that is under way stops when it ends. */
class InboxReading {
  readonly #options: FeedOptions;
  readonly #letters: DeadLetters;
  readonly #end = new AbortController();
  #reading: LogReading | undefined = undefined;
  #hasMoved = false;
  /** All records before this offset have been read. */
  #next = 0;
  /** Where the next record was to be read when the inbox had lost its end: those before it come once more. */
  #readBefore = 0;

  constructor(options: FeedOptions) {
    this.#options = options;
    const { clock, logger, observe } = options;
    const onFailure = (error: unknown, failures: number): void => {
      const fields = { shard: options.shard, error: String(error) };
      if (failures === 1) logger.warn(fields, "a dead letter cannot be written yet: its shard waits for it");
    };
    const { signal } = this.#end;
    this.#letters = new DeadLetters(
      (topic, letter) =>
        retrying(clock, burying, () => this.#writeLetter(topic, letter), { signal, onFailure }),
      observe,
    );
  }

  async begin(position: number | undefined, isReplaced: boolean): ReturnType<Feed["begin"]> {
    const { log, inbox, logId, onLost, passRelays } = this.#options;
    let lost = isReplaced ? createdAgain(inbox) : undefined;
    let reading: LogReading;
    try {
      reading = await this.#read(position);
    } catch (error) {
      if (!isLogLost(error)) throw error;
      lost = error;
      reading = await this.#read(undefined);
    }
    // If the topic was deleted and created again meanwhile, the position is one of the old topic.
    const present = logIdOf(inbox, await log.topic(inbox));
    if (present !== logId) {
      reading.stop();
      throw new WheelworkError("WW_BUS_UNAVAILABLE", `the topic ${inbox} was created again just now`, {
        retryable: true,
      });
    }
    if (lost !== undefined && !this.#isOver) onLost(lost);
    if (position !== undefined && position > reading.end) this.#readBefore = reading.end;
    const { from, end } = reading;
    this.#next = Math.max(this.#next, from);
    if (passRelays === undefined) return { from, end };
    return { from, end, later: this.#endAfter(passRelays, end) };
  }

  async #read(position: number | undefined): Promise<LogReading> {
    const { log, inbox, shard } = this.#options;
    const reading = await log.read(inbox, shard, position, {
      records: (records) => this.#take(records),
      lost: (error) => this.#lost(error),
    });
    this.#reading = reading;
    if (this.#isOver) reading.stop();
    return reading;
  }

  /** The reading has ended. */
  #lost(error: Error): void {
    const { clock, inbox, logger, onEnded } = this.#options;
    if (this.#isOver) return;
    if (!isLogLost(error)) return onEnded(error);
    const onFailure = (problem: unknown, failures: number): void => {
      if (failures === 1) logger.error({ inbox, error: String(problem) }, "the inbox cannot be read");
    };
    const { signal } = this.#end;
    void retrying(clock, returning, () => this.#goOn(error), { signal, onFailure });
  }

  /** Reads what the inbox still has. While there is none, the shard works on what it has, and this is tried again. */
  async #goOn(error: Error): Promise<void> {
    const { log, inbox, logId, onLost, onReplaced, owner } = this.#options;
    if (logIdOf(inbox, await log.topic(inbox)) !== logId) {
      if (!this.#isOver) onReplaced();
      // The next claim ends this reading. If there is none now, it is asked for again.
      throw createdAgain(inbox);
    }
    const next = this.#next;
    const { from, end } = await this.#read(undefined);
    if (this.#isOver) return;
    onLost(error);
    if (next > end) this.#readBefore = end;
    // Nothing may come for a long time, and what is lost is not told twice.
    else owner()?.feed({ kind: "mark", offset: from - 1 });
  }

  end(): void {
    this.#end.abort();
    this.#reading?.stop();
  }

  #writeLetter(topic: string, letter: Message): Promise<void> {
    const { log, logger } = this.#options;
    return appendLetter((tried) => log.append(topic, tried), letter, logger);
  }

  get #isOver(): boolean {
    return this.#end.signal.aborted;
  }

  /** The end of the inbox once it has all that waits in the topics of relays now. */
  async #endAfter(passRelays: (isWanted: () => boolean) => Promise<void>, end: number): Promise<number> {
    const { log, inbox, shard, clock } = this.#options;
    let later = end;
    const pass = async (): Promise<void> => {
      await passRelays(() => !this.#isOver);
      later = await log.end(inbox, shard);
    };
    await retrying(clock, passing, pass, { signal: this.#end.signal });
    return later;
  }

  async #take(records: readonly LogRecord[]): Promise<void> {
    const { owner, clock } = this.#options;
    if (this.#isOver) return;
    const shard = owner();
    this.#next = (records.at(-1)?.offset ?? this.#next - 1) + 1;
    if (shard !== undefined) for (const record of records) this.#offer(shard, record);
    while (!this.#isOver && (owner()?.sizes.queued ?? 0) > maxQueued)
      await pause(clock, queuedMs, this.#end.signal);
  }

  #offer(shard: Shard, record: LogRecord): void {
    const { key, offset } = record;
    let entry: InboxEntry;
    try {
      entry = readInbox(record);
    } catch (error) {
      this.#bury(shard, record, error instanceof Error ? error.message : String(error));
      return shard.feed({ kind: "mark", offset });
    }
    const placed = place(this.#options.hubs, key, entry);
    if (placed.key !== key || shardOf(rootOf(key), this.#options.shards) !== this.#options.shard) {
      this.#move(shard, record, placed);
      return shard.feed({ kind: "mark", offset });
    }
    if (entry.type === "request" && offset < this.#readBefore && this.#isOld(record)) {
      this.#bury(shard, record, tooOld, entry.origin);
      return shard.feed({ kind: "mark", offset });
    }
    const result = offer({ shard, hubs: this.#options.hubs }, key, entry, offset);
    // Only a request waits for a decision.
    if (!(result instanceof Promise)) return;
    void result.then((decided) => {
      if (typeof decided !== "object") return;
      this.#bury(shard, record, decided.reason, entry.type === "request" ? entry.origin : undefined);
    });
  }

  #isOld({ timestampMs }: LogRecord): boolean {
    const { clock, retentionMs } = this.#options;
    return timestampMs < clock.wallMs() - retentionMs;
  }

  /** Its producer has chosen the partition by itself, and wrongly: nobody would look for the request in this shard. */
  #move(shard: Shard, record: LogRecord, placed: Placed): void {
    const { log, inbox, shards, clock, logger } = this.#options;
    const { offset } = record;
    // What its producer has written stays as it is, unless the request belongs under another key.
    const message =
      placed.key === record.key
        ? { key: record.key, value: record.value, headers: record.headers }
        : inboxMessage(placed.key, placed.entry);
    const to = shardOf(message.key, shards);
    if (!this.#hasMoved)
      logger.warn({ inbox, from: record.partition, to }, "a record is moved to the partition of its shard");
    this.#hasMoved = true;
    const release = shard.pinOffset(offset);
    const move = async (): Promise<void> => {
      try {
        await log.append(inbox, message, to);
        release();
      } catch (error) {
        if (!isTooLarge(error)) throw error;
        this.#bury(shard, record, error.message);
        release();
      }
    };
    void retrying(clock, moving, move, { signal: this.#end.signal });
  }

  #bury(shard: Shard, record: LogRecord, reason: string, sentTo?: Origin): void {
    const release = shard.pinOffset(record.offset);
    void this.#letters.bury(record, reason, sentTo).then((isDurable) => {
      if (isDurable) release();
    });
  }
}

const isLogLost = (error: unknown): error is WheelworkError =>
  error instanceof WheelworkError && error.code === "WW_LOG_LOST";

const createdAgain = (inbox: string): WheelworkError =>
  new WheelworkError("WW_LOG_LOST", `the topic ${inbox} was deleted and created again`, {
    next: "What it held and no shard had read is lost: its senders get no answer. The shards go on with the new topic.",
  });

/** The identity of an inbox: a topic that is deleted and created again is another log. */
export const logIdOf = (inbox: string, { id }: LogTopic): string => `${inbox}/${id}`;
