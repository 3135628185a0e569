import {
  letterAt,
  listDeadLetters,
  readDeadLetter,
  replayDeadLetter,
  type Log,
} from "@wheelwork/engine/cluster";
import { say } from "./output.ts";

/** Sends dead letters back to the topics that they came from: those at the given places, or all. Places are looked up first. */
export async function replay(log: Log, topic: string, places: readonly string[] | undefined): Promise<void> {
  const wanted =
    places ?? (await listDeadLetters(log, topic, Number.MAX_SAFE_INTEGER)).letters.map(({ place }) => place);
  const records = await Promise.all(wanted.map((place) => letterAt(log, topic, place)));
  for (const record of records) {
    await replayDeadLetter(log, record);
    say(`replayed ${record.partition}:${record.offset} to ${readDeadLetter(record).origin.topic}`);
  }
}
