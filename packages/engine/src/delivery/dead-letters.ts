import { WheelworkError } from "@wheelwork/core";
import { givenKey, isStoredKey, rootOf, shardOf } from "../ports/keys.ts";
import type { Log, LogRecord } from "../ports/log.ts";
import type { EngineEvent, Logger, Message } from "../ports/ports.ts";
import { isInboxEntry, type Origin } from "./inbox.ts";
import { isTooLarge, tooLong } from "./replies.ts";

/*
 * A dead letter is a record that cannot be processed. It is kept as it was, in the dead-letter topic of its topic. Headers
 * say why it is there, and where the record was: its origin.
 *
 * The origin is always the place of that very record, since a replay sends these bytes back, and only the readers of that
 * topic understand them. So a request that came through a channel has the channel as its origin where the channel's record
 * was refused, and the inbox where its entry was refused: the entry is in the inbox's words, which the channel could not
 * read. Nothing is lost by the second way: the entry names its hub and where its answer goes, and needs no channel that may
 * have changed or gone. Where the request came in is told with the reason.
 */

/** The topic that keeps the dead letters of a topic. */
export const deadLetterTopic = (topic: string): string => `${topic}-dlt`;

const ownPrefix = "dlt-";
const reasonHeader = `${ownPrefix}reason`;
const shortHeader = `${ownPrefix}short`;
const placeHeaders = [`${ownPrefix}topic`, `${ownPrefix}partition`, `${ownPrefix}offset`] as const;

/** All that a letter says itself. */
const ownHeaders: ReadonlySet<string> = new Set([reasonHeader, shortHeader, ...placeHeaders]);

/** The most characters of a reason. Kafka headers take any text, but the size of a record is bounded. */
const maxReason = 2000;

/** Of the key of a record, a short letter has so many characters. */
const maxShortKey = 200;

/** Whether a message is a dead letter. */
export const isDeadLetter = ({ headers }: Message): boolean => headers?.[reasonHeader] !== undefined;

/** A dead letter without the record: where it was, and why it is dead. The record itself stays in its topic. */
export function shortLetter({ key, headers = {} }: Message): Message {
  const own = Object.entries(headers).filter(([name]) => ownHeaders.has(name));
  return {
    key: key.slice(0, maxShortKey).toWellFormed(),
    value: "",
    headers: { ...Object.fromEntries(own), [shortHeader]: "true" },
  };
}

/**
 * Writes a dead letter. The letter has more headers than its record, so that it may be too large where the record was not: then a
 * short one is written. A topic that takes not even that never gets a letter; the log says so.
 * @throws WheelworkError of the broker, if it may succeed later.
 */
export async function appendLetter(
  append: (letter: Message) => Promise<unknown>,
  letter: Message,
  logger: Logger,
): Promise<void> {
  for (const tried of [letter, shortLetter(letter)]) {
    try {
      return void (await append(tried));
    } catch (error) {
      if (!isTooLarge(error)) throw error;
    }
  }
  logger.error(
    { ...shortLetter(letter).headers },
    "a dead letter is too large for its topic, and was not written",
  );
}

/** Keeps the records that cannot be processed. */
export class DeadLetters<R extends LogRecord = LogRecord> {
  readonly #append: (topic: string, letter: Message, record: R) => Promise<boolean>;
  readonly #observe: ((signal: EngineEvent) => void) | undefined;

  /**
   * @param append Writes a letter. Its result is passed on by `bury`: whether the letter is durable; false: the caller has
   * stopped before, and leaves the record to the next one.
   */
  constructor(
    append: (topic: string, letter: Message, record: R) => Promise<boolean>,
    observe?: (signal: EngineEvent) => void,
  ) {
    this.#append = append;
    this.#observe = observe;
  }

  /**
   * Keeps a record, with the whole reason up to 2,000 characters.
   * @param sentTo Where the request of the record came in, if that is another topic. The reason says so, and the event
   * `dead-letter` names that topic.
   * @returns Whether the letter is durable.
   */
  bury(record: R, why: string, sentTo?: Origin): Promise<boolean> {
    const { topic, partition, offset } = record;
    const isElsewhere = sentTo !== undefined && sentTo.topic !== topic;
    const reason = reasonOf(why, isElsewhere ? sentTo : undefined);
    this.#observe?.({ name: "dead-letter", topic: isElsewhere ? sentTo.topic : topic, reason });
    const headers = {
      ...sendersHeaders(record),
      [reasonHeader]: reason,
      [placeHeaders[0]]: topic,
      [placeHeaders[1]]: String(partition),
      [placeHeaders[2]]: String(offset),
      ...(record.oversizeBytes === undefined ? {} : { [shortHeader]: "true" }),
    };
    return this.#append(deadLetterTopic(topic), { key: record.key, value: record.value, headers }, record);
  }
}

/**
 * The headers of a record that are none of a letter: one that a sender has made would say what is not so, and be as large as the sender
 * likes.
 */
const sendersHeaders = ({ headers }: LogRecord): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith(ownPrefix)));

function reasonOf(why: string, sentTo: Origin | undefined): string {
  const addition =
    sentTo === undefined
      ? ""
      : `\n  It was sent to ${sentTo.topic}, partition ${sentTo.partition}, offset ${sentTo.offset}.`;
  const room = maxReason - addition.length;
  const text = why.length > room ? `${why.slice(0, room - 1)}…` : why;
  // A cut may leave half of a character, which no encoding of a header can carry.
  return text.toWellFormed() + addition;
}

/** A dead letter as it is listed. */
export interface DeadLetter {
  readonly offset: number;
  readonly partition: number;
  /** The key as the sender of the request gave it. */
  readonly key: string;
  readonly value: string;
  /** Why it could not be processed: an error with all its lines, up to 2,000 characters. */
  readonly reason: string;
  /** Where the record was: a replay sends it there. */
  readonly origin: Origin;
  /** When it became a dead letter, in milliseconds since 1970. */
  readonly at: number;
  /** The record was too large for this topic. Its value and headers are only at `origin`, as long as that topic keeps them. */
  readonly isShort: boolean;
}

/** Reads a dead letter. */
export function readDeadLetter(record: LogRecord): DeadLetter {
  const [topic, partition, offset] = placeHeaders.map((name) => record.headers[name] ?? "");
  return {
    offset: record.offset,
    partition: record.partition,
    key: isInboxEntry(record) && isStoredKey(record.key) ? givenKey(record.key) : record.key,
    value: record.value,
    reason: record.headers[reasonHeader] ?? "",
    origin: { topic: topic ?? "", partition: Number(partition), offset: Number(offset) },
    at: record.timestampMs,
    isShort: record.headers[shortHeader] !== undefined,
  };
}

/**
 * Sends a dead letter to the topic that it came from, as it was: what was wrong has been set right meanwhile.
 * @throws WheelworkError WW_CONFIG when there is no such topic any more; WW_LOG_LOST when the record of a short letter is gone;
 * WW_TOO_LARGE; WW_BUS_UNAVAILABLE.
 */
export async function replayDeadLetter(log: Log, letter: LogRecord): Promise<void> {
  const { origin, isShort } = readDeadLetter(letter);
  const record = isShort ? await recordAt(log, origin) : letter;
  if (record.oversizeBytes !== undefined)
    throw new WheelworkError("WW_TOO_LARGE", tooLong(record.oversizeBytes), {
      next: "Its sender must send less.",
    });
  const headers = sendersHeaders(record);
  const { partitions } = await log.topic(origin.topic);
  const partition = partitionOf(record, origin, partitions);
  await log.append(origin.topic, { key: record.key, value: record.value, headers }, partition);
}

/** Reads one record. */
async function recordAt(log: Log, { topic, partition, offset }: Origin): Promise<LogRecord> {
  const { promise, resolve, reject } = Promise.withResolvers<LogRecord | undefined>();
  const reading = await log.read(topic, partition, offset, {
    records: ([first]) => resolve(first),
    lost: reject,
  });
  try {
    const record = offset < reading.end ? await promise : undefined;
    if (record?.offset === offset) return record;
  } finally {
    reading.stop();
  }
  throw new WheelworkError("WW_LOG_LOST", `the topic ${topic} no longer has the record of this dead letter`, {
    next: "Its sender must send it again.",
  });
}

/**
 * The partition that takes a record back.
 *
 * In an inbox it is the shard of the key, with as many shards as there are now. Kafka would choose another partition by the
 * key. The old partition is wrong, too, if the cluster was made again with another number of shards: the request would run
 * in a shard where nobody looks for it.
 *
 * In other topics it is the old partition, or that of the key if the topic has fewer partitions by now. Nodes route records
 * from any partition.
 */
function partitionOf(record: LogRecord, origin: Origin, partitions: number): number | undefined {
  if (isInboxEntry(record)) return shardOf(rootOf(record.key), partitions);
  return origin.partition < partitions ? origin.partition : undefined;
}
