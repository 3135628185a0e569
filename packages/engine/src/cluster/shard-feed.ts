import { WheelworkError, type AnyHub } from "@wheelwork/core";
import { replyMessage, requestItem } from "../delivery/admit.ts";
import type { Channel } from "../delivery/channel.ts";
import { deadLetter, deadLetterTopic } from "../delivery/dead-letters.ts";
import { readInbox, type InboxEntry, type Origin } from "../delivery/inbox.ts";
import type { Log, LogReading, LogRecord, LogTopic } from "../ports/log.ts";
import type { Clock, EngineEvent } from "../ports/ports.ts";
import type { Reply } from "../shard/outbox.ts";
import type { Feed, Shard } from "../shard/shard.ts";

const minRetryMs = 100;
const maxRetryMs = 5000;
/** How often is looked whether what waited in the topics of relays has been handed on, in milliseconds. */
const passMs = 50;

interface FeedOptions {
  readonly log: Log;
  readonly inbox: string;
  readonly logId: string;
  readonly shard: number;
  readonly hubs: ReadonlyMap<string, AnyHub>;
  readonly channels: ReadonlyMap<string, Channel>;
  readonly observe: ((signal: EngineEvent) => void) | undefined;
  readonly clock: Clock;
  /** Resolves when what waits in the topics of relays now has gone to its shard or into its inbox. */
  readonly passRelays?: (isWanted: () => boolean) => Promise<void>;
  readonly owner: () => Shard | undefined;
  readonly onLost: (error: Error) => void;
}

/** Inputs that a shard may have queued before its log waits. */
const maxQueued = 20_000;

/** What a shard reads from its inbox, and publishes through the channels. */
export class ShardFeed implements Feed {
  readonly #options: FeedOptions;
  #reading: LogReading | undefined = undefined;
  /** Of which claim the records are: those of an earlier one are dropped. */
  #turn = 0;

  constructor(options: FeedOptions) {
    this.#options = options;
  }

  get log(): string {
    return this.#options.logId;
  }

  async begin(position: number | undefined): ReturnType<Feed["begin"]> {
    this.end();
    const turn = this.#turn;
    const { log, inbox, shard, onLost } = this.#options;
    const reading = await log.read(inbox, shard, position, {
      records: async (records) => {
        if (turn !== this.#turn) return;
        for (const record of records) this.#take(record);
        while (turn === this.#turn && (this.#options.owner()?.sizes.queued ?? 0) > maxQueued)
          await new Promise<void>((resolve) => void this.#options.clock.after(10, resolve));
      },
      lost: (error) => {
        if (turn === this.#turn) onLost(error);
      },
    });
    if (turn === this.#turn) this.#reading = reading;
    else reading.stop();
    // The position is one of another topic, if this one was made anew meanwhile.
    const logId = logIdOf(inbox, await log.topic(inbox));
    if (logId !== this.log) {
      reading.stop();
      throw new WheelworkError(
        "WW_LOG_LOST",
        `the log of the shard is ${logId} by now, and was ${this.log}`,
        {
          next: "A topic that was deleted and made anew has lost requests. See the page on deploying: a recreated topic.",
        },
      );
    }
    const { from, end } = reading;
    const { passRelays } = this.#options;
    if (passRelays === undefined) return { from, end };
    return { from, end, later: this.#endAfter(passRelays, turn, end) };
  }

  /** The end of the inbox once it has all that waits in the topics of relays now. */
  async #endAfter(
    passRelays: (isWanted: () => boolean) => Promise<void>,
    turn: number,
    end: number,
  ): Promise<number> {
    const { log, inbox, shard, clock } = this.#options;
    while (turn === this.#turn) {
      try {
        await passRelays(() => turn === this.#turn);
        return await log.end(inbox, shard);
      } catch {
        await new Promise<void>((resolve) => void clock.after(passMs, resolve));
      }
    }
    return end;
  }

  end(): void {
    this.#turn++;
    this.#reading?.stop();
    this.#reading = undefined;
  }

  async publish(reply: Reply): Promise<void> {
    const published = replyMessage(this.#options.channels, reply);
    // Nobody here knows that channel any more: the answer stays where it is stored.
    if (published === undefined) return;
    await this.#options.log.publish(published.topic, published.message);
  }

  #take(record: LogRecord): void {
    const shard = this.#options.owner();
    if (shard === undefined) return;
    const { key, offset } = record;
    let entry: InboxEntry;
    try {
      entry = readInbox(record);
      switch (entry.type) {
        case "request":
          return this.#request(shard, record, entry);
        case "response": {
          const { spoke, call, attempt, epoch, outcome } = entry;
          return shard.outcome(spoke, entry.run ?? key, { call, attempt, epoch }, outcome, offset);
        }
        case "heard": {
          const { spoke, correlation, outcome } = entry;
          return shard.feed({ kind: "relayReply", key, spoke, correlation, outcome, offset });
        }
        case "command": {
          const done = { resolve: () => {}, reject: () => {} };
          return shard.feed({ kind: "input", key: entry.run ?? key, input: entry.input, done, offset });
        }
      }
    } catch (error) {
      this.#bury(shard, record, error instanceof Error ? error.message : String(error));
      shard.feed({ kind: "mark", offset });
    }
  }

  #request(shard: Shard, record: LogRecord, entry: Extract<InboxEntry, { type: "request" }>): void {
    shard.feed({
      ...requestItem(this.#options.hubs, record.key, entry),
      offset: record.offset,
      accept: () => {},
      // Its sender gets the stored answer; what it asked for is kept for whoever wants to know.
      refuse: (error) => this.#bury(shard, record, error.message, entry.origin),
    });
  }

  /** The shard's position does not pass the record before its dead letter is durable. */
  #bury(shard: Shard, record: LogRecord, reason: string, origin?: Origin): void {
    const { log, inbox, observe, clock } = this.#options;
    const { topic, partition, offset } = record;
    observe?.({ name: "dead-letter", topic: origin?.topic ?? topic, reason });
    const sent =
      origin === undefined
        ? ""
        : `; it was sent to ${origin.topic}, partition ${origin.partition}, offset ${origin.offset}`;
    const letter = deadLetter(record, reason.split("\n")[0] + sent, { topic, partition, offset });
    const release = shard.pinOffset(offset);
    const turn = this.#turn;
    const send = (retryMs: number): void => {
      log.append(deadLetterTopic(inbox), letter).then(release, () => {
        if (turn === this.#turn) clock.after(retryMs, () => send(Math.min(retryMs * 2, maxRetryMs)));
      });
    };
    send(minRetryMs);
  }
}

export const logIdOf = (inbox: string, { id }: LogTopic): string => `${inbox}/${id}`;
