import { WheelworkError } from "@wheelwork/core";
import { textOf } from "@wheelwork/core/kernel";
import type { Log, LogRecord } from "../ports/log.ts";
import type { Letters } from "../requests/access.ts";
import type { DeadLetterPage, DeadLetterView } from "../requests/api.ts";
import { deadLetterTopic, readDeadLetter, replayDeadLetter } from "./dead-letters.ts";

/** The dead letters of a cluster, as its nodes and clients see them. */
export class LogLetters implements Letters {
  readonly #log: Log;
  readonly #inbox: string;

  constructor(log: Log, inbox: string) {
    this.#log = log;
    this.#inbox = inbox;
  }

  list({
    topic = this.#inbox,
    limit,
  }: {
    readonly topic?: string;
    readonly limit: number;
  }): Promise<DeadLetterPage> {
    return listDeadLetters(this.#log, topic, limit);
  }

  async replay(place: string, topic = this.#inbox): Promise<void> {
    await replayDeadLetter(this.#log, await letterAt(this.#log, topic, place));
  }
}

/** The newest dead letters of a topic, oldest first. @throws WheelworkError WW_NOT_FOUND when it has none, WW_BUS_UNAVAILABLE. */
export async function listDeadLetters(log: Log, topic: string, limit: number): Promise<DeadLetterPage> {
  const letters = deadLetterTopic(topic);
  const partitions = await partitionsOf(log, letters);
  const parts = await Promise.all(
    Array.from({ length: partitions }, (_, partition) => readLast(log, letters, partition, limit)),
  );
  const records = parts
    .flatMap((part) => part.records)
    .toSorted((a, b) => a.timestampMs - b.timestampMs || a.partition - b.partition || a.offset - b.offset);
  return {
    topic,
    letters: records.slice(-limit).map(viewOf),
    hasMore: records.length > limit || parts.some(({ hasMore }) => hasMore),
  };
}

/** How many partitions a topic has. @throws WheelworkError WW_NOT_FOUND when there is none. */
async function partitionsOf(log: Log, topic: string): Promise<number> {
  try {
    return (await log.topic(topic)).partitions;
  } catch (error) {
    if (!(error instanceof WheelworkError) || error.code !== "WW_CONFIG") throw error;
    throw new WheelworkError("WW_NOT_FOUND", `there is no topic ${textOf(topic)}`, {
      next: "Name the topic that the records came from: the inbox, or that of a channel.",
      cause: error,
    });
  }
}

/** The record of a dead letter. @throws WheelworkError WW_NOT_FOUND. */
export async function letterAt(log: Log, topic: string, place: string): Promise<LogRecord> {
  const letters = deadLetterTopic(topic);
  const [, partition, offset] = /^(\d{1,9}):(\d{1,15})$/.exec(place) ?? [];
  const at = { partition: Number(partition), offset: Number(offset) };
  const partitions = await partitionsOf(log, letters);
  if (partition !== undefined && at.partition < partitions) {
    const record = await recordAt(log, letters, at.partition, at.offset);
    if (record !== undefined) return record;
  }
  throw new WheelworkError(
    "WW_NOT_FOUND",
    `there is no dead letter at ${textOf(place)} of ${textOf(letters)}`,
    {
      next: "Take the places from the list: wheelwork dead-letters list.",
    },
  );
}

async function recordAt(
  log: Log,
  topic: string,
  partition: number,
  offset: number,
): Promise<LogRecord | undefined> {
  try {
    const { records } = await readFrom(log, topic, partition, offset, 1);
    return records.find((record) => record.offset === offset);
  } catch (error) {
    if (isLost(error)) return undefined;
    throw error;
  }
}

interface Part {
  readonly records: readonly LogRecord[];
  readonly hasMore: boolean;
}

/** The last records of a partition. What was deleted meanwhile is left out. */
async function readLast(log: Log, topic: string, partition: number, limit: number): Promise<Part> {
  const end = await log.end(topic, partition);
  const most = Number.POSITIVE_INFINITY;
  if (end > limit) {
    try {
      const { records } = await readFrom(log, topic, partition, end - limit, most);
      return { records, hasMore: true };
    } catch (error) {
      if (!isLost(error)) throw error;
    }
  }
  const { records, from } = await readFrom(log, topic, partition, undefined, most);
  return { records, hasMore: from < end - limit };
}

/** The records of a partition that are there now, from an offset on; undefined: from its beginning. */
async function readFrom(
  log: Log,
  topic: string,
  partition: number,
  offset: number | undefined,
  most: number,
): Promise<{ readonly records: readonly LogRecord[]; readonly from: number }> {
  const records: LogRecord[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => {});
  // Records may come before the reading is known.
  let end = Number.POSITIVE_INFINITY;
  const look = (): void => {
    if (records.length >= most || (records.at(-1)?.offset ?? -1) >= end - 1) resolve();
  };
  const reading = await log.read(topic, partition, offset, {
    records: (given) => {
      records.push(...given);
      look();
    },
    lost: reject,
  });
  try {
    ({ end } = reading);
    look();
    if (reading.end > reading.from) await promise;
  } finally {
    reading.stop();
  }
  return { records: records.slice(0, most), from: reading.from };
}

const isLost = (error: unknown): boolean => error instanceof WheelworkError && error.code === "WW_LOG_LOST";

function viewOf(record: LogRecord): DeadLetterView {
  const { partition, offset, ...letter } = readDeadLetter(record);
  return { place: `${partition}:${offset}`, ...letter };
}
