import { WheelworkError } from "@wheelwork/core";
import { readDeadLetter, replayDeadLetter, type Log, type LogRecord } from "@wheelwork/engine/cluster";
import { print } from "./inspect.ts";

/** All dead letters of a topic that are there now. */
async function read(log: Log, topic: string): Promise<LogRecord[]> {
  const { partitions } = await log.topic(topic);
  const records: LogRecord[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let last = -1;
    const reading = await log.read(topic, partition, undefined, {
      records: (given) => {
        records.push(...given);
        last = given.at(-1)?.offset ?? last;
        if (last >= reading.end - 1) resolve();
      },
      lost: reject,
    });
    if (reading.end > reading.from) await promise;
    reading.stop();
  }
  return records.toSorted((a, b) => a.timestampMs - b.timestampMs);
}

/** A text of several lines, as a column of a table shows it. */
const inOneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, " ");

/** Prints the dead letters of a topic, oldest first. */
export async function listDeadLetters(log: Log, topic: string): Promise<void> {
  const letters = (await read(log, topic)).map(readDeadLetter);
  const rows = letters.map(({ partition, offset, at, key, reason, origin, value, isShort }) => [
    `${partition}:${offset}`,
    new Date(at).toISOString(),
    key === "" ? "(no key)" : key,
    `${origin.topic}:${origin.partition}:${origin.offset}`,
    inOneLine(reason),
    isShort
      ? "(too large: it is at its origin)"
      : inOneLine(value.length > 60 ? `${value.slice(0, 57)}...` : value),
  ]);
  if (rows.length === 0) process.stdout.write(`there are no dead letters in ${topic}\n`);
  else print([["place", "at", "key", "origin", "reason", "value"], ...rows]);
}

/** Sends dead letters back to the topics that they came from: all, or those at the given places. */
export async function replay(log: Log, topic: string, places: readonly string[]): Promise<void> {
  const records = await read(log, topic);
  const placeOf = ({ partition, offset }: LogRecord): string => `${partition}:${offset}`;
  const unknown = places.filter((place) => !records.some((record) => placeOf(record) === place));
  if (unknown.length > 0) {
    throw new WheelworkError("WW_NOT_FOUND", `there is no dead letter at ${unknown.join(", ")} of ${topic}`, {
      next: "Take the places from the list: wheelwork dead-letters list.",
    });
  }
  const wanted = places.length === 0 ? records : records.filter((record) => places.includes(placeOf(record)));
  for (const record of wanted) {
    await replayDeadLetter(log, record);
    process.stdout.write(`replayed ${placeOf(record)} to ${readDeadLetter(record).origin.topic}\n`);
  }
}
