import type { Origin } from "./inbox.ts";
import type { Log, LogRecord } from "../ports/log.ts";
import type { Message } from "../ports/ports.ts";

/** Where the dead letters of a topic are kept. */
export const deadLetterTopic = (topic: string): string => `${topic}-dlt`;

const reasonHeader = "dlt-reason";
const placeHeaders = ["dlt-topic", "dlt-partition", "dlt-offset"] as const;

/** A message that could not be processed, with the reason and the place that it came from. */
export function deadLetter(message: Message, reason: string, { topic, partition, offset }: Origin): Message {
  const headers = {
    ...message.headers,
    [reasonHeader]: reason.slice(0, 2000),
    [placeHeaders[0]]: topic,
    [placeHeaders[1]]: String(partition),
    [placeHeaders[2]]: String(offset),
  };
  return { key: message.key, value: message.value, headers };
}

/** A dead letter as it is listed. */
export interface DeadLetter {
  readonly offset: number;
  readonly partition: number;
  readonly key: string;
  readonly value: string;
  readonly reason: string;
  readonly origin: Origin;
  readonly at: number;
}

/** Reads a dead letter. */
export function readDeadLetter(record: LogRecord): DeadLetter {
  const [topic, partition, offset] = placeHeaders.map((name) => record.headers[name] ?? "");
  return {
    offset: record.offset,
    partition: record.partition,
    key: record.key,
    value: record.value,
    reason: record.headers[reasonHeader] ?? "",
    origin: { topic: topic ?? "", partition: Number(partition), offset: Number(offset) },
    at: record.timestampMs,
  };
}

/** Sends a dead letter to the place that it came from, as it was: what was wrong has been set right meanwhile. */
export async function replayDeadLetter(log: Log, record: LogRecord): Promise<void> {
  const { origin } = readDeadLetter(record);
  const headers = Object.fromEntries(
    Object.entries(record.headers).filter(([name]) => !name.startsWith("dlt-")),
  );
  // Not every partition is one that Kafka would choose by the key: those of the inboxes are the shards.
  await log.append(origin.topic, { key: record.key, value: record.value, headers }, origin.partition);
}
