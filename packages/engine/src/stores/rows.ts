import type { Answer, RunStatus } from "@wheelwork/core";
import type { Downtime, LogProgress, RequestRow, StoredAnswer, StoredRun } from "../ports/ports.ts";

// Stores on SQL name their columns alike, so that one place knows what a row says. Drivers differ in what they make of a
// number (PostgreSQL's bigint is a text) and of a truth value (SQLite has 1 and 0).

/** A row as the driver gives it. */
export type Row = Record<string, unknown>;

/** A column that may be NULL, as a number. */
export const optionalNumber = (value: unknown): number | undefined =>
  value === null || value === undefined ? undefined : Number(value);

const isTrue = (value: unknown): boolean => value === true || value === 1;

/** A line of the list of requests: a row of the table `run`, or of `request`. */
export function requestRowOf(row: Row): RequestRow {
  return {
    key: String(row["key"]),
    hub: String(row["hub"]),
    version: Number(row["version"]),
    status: row["status"] as RunStatus,
    state: String(row["state"]),
    createdAt: Number(row["created_at"]),
    answeredAt: optionalNumber(row["answered_at"]),
  };
}

/** A row of the table `run`. @throws SyntaxError when its snapshot is not JSON. */
export function storedRunOf(row: Row): StoredRun {
  return {
    ...requestRowOf(row),
    hot: isTrue(row["hot"]),
    due: optionalNumber(row["due"]),
    root: isTrue(row["root"]),
    snapshot: JSON.parse(String(row["snapshot"])) as StoredRun["snapshot"],
  };
}

/** A row of the table `request`. @throws SyntaxError when its answer or its request is not JSON. */
export function storedAnswerOf(row: Row): StoredAnswer {
  return {
    ...requestRowOf(row),
    answeredAt: Number(row["answered_at"]),
    endedAt: optionalNumber(row["ended_at"]),
    hash: String(row["hash"]),
    root: isTrue(row["root"]),
    firstSeq: Number(row["first_seq"]),
    lastSeq: Number(row["last_seq"]),
    ...(row["reply_to"] === null ? {} : { replyTo: String(row["reply_to"]) }),
    answer: JSON.parse(String(row["answer"])) as Answer,
    request: JSON.parse(String(row["request"])) as unknown,
  };
}

/** The downtimes of a shard, by its row. @throws SyntaxError when they are not JSON. */
export function downtimesOf({ downtimes }: Row): { downtimes?: readonly Downtime[] } {
  return typeof downtimes === "string" ? { downtimes: JSON.parse(downtimes) as Downtime[] } : {};
}

/** How far a shard has come with its log, by its row; empty for a shard that reads none. */
export function logProgressOf({ log, position, published }: Row): { logProgress?: LogProgress } {
  if (published === null) return {};
  // An operator who lets a shard begin its log anew sets log and position to NULL: what is published stays known.
  const place = typeof log === "string" ? { log, position: Number(position) } : { log: "", position: 0 };
  return { logProgress: { ...place, published: Number(published) } };
}
