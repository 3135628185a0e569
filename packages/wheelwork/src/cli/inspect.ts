import type { ShardState } from "@wheelwork/engine";
import { deadLetterTopic, unpublishedAnswers, type LogReading } from "@wheelwork/engine/cluster";
import type { Place } from "./place.ts";

/** Each batch with answers costs a query, and an outage may leave very many of them. */
const maxCounted = 1000;

/** What the store and the inbox of a shard say. */
interface Inspected {
  readonly shard: number;
  readonly state: ShardState | undefined;
  /** Answers that are not known to be published, counted up to `maxCounted`. */
  readonly unpublished: number | undefined;
  /** Where its inbox ends. */
  readonly end: number | undefined;
  readonly problem: string | undefined;
}

const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";

async function inspect(place: Place, shard: number): Promise<Inspected> {
  const problems: string[] = [];
  const store = place.store(shard);
  let state: ShardState | undefined;
  let unpublished: number | undefined;
  let end: number | undefined;
  try {
    state = await store.peek();
    unpublished = await unpublishedAnswers(store, state, maxCounted);
  } catch (error) {
    problems.push(messageOf(error));
  } finally {
    await store.close();
  }
  if (state?.lost !== undefined)
    problems.push(
      `the server has lost ${state.lost} of its batches that were committed: see docs/durability.md`,
    );
  try {
    const reading: LogReading = await place.log.read(place.inbox, shard, undefined, {
      records: () => {},
      lost: () => {},
    });
    ({ end } = reading);
    reading.stop();
    const { id } = await place.log.topic(place.inbox);
    const logProgress = state?.logProgress?.log === "" ? undefined : state?.logProgress;
    if (logProgress !== undefined && logProgress.log !== `${place.inbox}/${id}`)
      problems.push("its inbox is another topic than the one it has read");
    else if (logProgress !== undefined && logProgress.position < reading.from)
      problems.push(`its inbox begins at ${reading.from}, and it has read up to ${logProgress.position}`);
    else if (logProgress !== undefined && logProgress.position > end)
      problems.push(`its inbox ends at ${end}, and it has read up to ${logProgress.position}`);
  } catch (error) {
    problems.push(messageOf(error));
  }
  return { shard, state, unpublished, end, problem: problems.length === 0 ? undefined : problems.join("; ") };
}

function answers(count: number | undefined): string {
  if (count === undefined) return "?";
  if (count >= maxCounted) return `${maxCounted} answers or more`;
  return count === 1 ? "1 answer" : `${count} answers`;
}

/** What the stores and the inboxes of all shards say. */
export const inspectAll = (place: Place): Promise<Inspected[]> =>
  Promise.all(Array.from({ length: place.shards }, (_, shard) => inspect(place, shard)));

/** Prints a table of the shards: who owns each, how far it has come, and how far it is behind. */
export async function listShards(place: Place): Promise<boolean> {
  const rows = [["shard", "epoch", "batches", "position", "lag", "unpublished", "last commit", "owner"]];
  const all = await inspectAll(place);
  for (const { shard, state, unpublished, end, problem } of all) {
    const { logProgress } = state ?? {};
    const lag = end === undefined || state === undefined ? "?" : `${end - (logProgress?.position ?? 0)}`;
    const at = state === undefined || state.engineTime === 0 ? "" : new Date(state.engineTime).toISOString();
    const owner = problem ?? (state?.owner === "" ? "(never claimed)" : (state?.owner ?? "?"));
    rows.push([
      `${shard}`,
      `${state?.epoch ?? "?"}`,
      `${state?.seq ?? "?"}`,
      `${logProgress?.position ?? 0}`,
      lag,
      answers(unpublished),
      at,
      owner,
    ]);
  }
  print(rows);
  return all.every(({ problem }) => problem === undefined);
}

/** What is wrong with the topics that a node needs. `ok` is told what is right. */
export async function topicProblems(place: Place, ok: (line: string) => void = () => {}): Promise<string[]> {
  const problems: string[] = [];
  try {
    const { partitions } = await place.log.topic(place.inbox);
    const added = partitions > place.shards ? `, ${partitions - place.shards} of them without a shard` : "";
    if (partitions >= place.shards) ok(`the topic ${place.inbox} has ${partitions} partitions${added}`);
    else
      problems.push(
        `the topic ${place.inbox} has ${partitions} partitions, and the cluster ${place.shards} shards`,
      );
  } catch (error) {
    problems.push(messageOf(error));
  }
  try {
    await place.log.topic(deadLetterTopic(place.inbox));
    ok(`the topic ${deadLetterTopic(place.inbox)} is there`);
  } catch (error) {
    problems.push(messageOf(error));
  }
  return problems;
}

/** Checks what a node needs, and prints what is wrong. Whether all is well. */
export async function check(place: Place): Promise<boolean> {
  const ok = (line: string): void => void process.stdout.write(`ok       ${line}\n`);
  const problems = await topicProblems(place, ok);
  if (problems.length === 0) {
    const all = await inspectAll(place);
    const broken = all.filter(({ problem }) => problem !== undefined);
    problems.push(...broken.map(({ shard, problem }) => `shard ${shard}: ${problem}`));
    if (broken.length === 0) ok(`the store has ${all.length} shards, and each goes on where its inbox is`);
  }
  for (const problem of problems) process.stdout.write(`problem  ${problem}\n`);
  return problems.length === 0;
}

/** Prints rows as a table. */
export function print(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  for (const row of rows)
    process.stdout.write(
      `${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()}\n`,
    );
}
