import type { Answer, ArchivedEvents, RunEvent, RunLane, WheelworkError } from "@wheelwork/core";
import type {
  AuditBatch,
  AuditEntry,
  Damaged,
  DamagedAnswer,
  DamagedLaneRun,
  DamagedRun,
  Downtime,
  Found,
  LaneRun,
  LogProgress,
  RequestRow,
  RequestStatus,
  RunEvents,
  StoredAnswer,
  StoredRun,
} from "../ports/ports.ts";
import type { Activity, Facet } from "../ports/filter.ts";
import type { Harm } from "../ports/harms.ts";
import { isDamaged } from "../ports/damage.ts";
import { incidentIn, jsonOf, labelsIn } from "./labels.ts";
import { answerChecksum, readPart, sealed, unsealed, wrongChecksum, type AnswerTexts } from "./checksums.ts";

// Stores on SQL name their columns alike, so that one place knows what a row says. Drivers differ in what they make of a
// number (PostgreSQL's bigint is a text) and of a truth value (SQLite has 1 and 0).

/** A row as the driver gives it. */
export type Row = Record<string, unknown>;

/** A column that may be NULL, as a number. */
export const optionalNumber = (value: unknown): number | undefined =>
  value === null || value === undefined ? undefined : Number(value);

const isTrue = (value: unknown): boolean => value === true || value === 1;

/** So many names of hubs, states and statuses are kept. */
const maxNames = 10_000;
const names = new Map<string, string>();

/** A text of a column that has few texts: a driver makes another one for each row, and a run in memory keeps it. */
function nameOf(value: unknown): string {
  const text = String(value);
  const known = names.get(text);
  if (known !== undefined) return known;
  if (names.size < maxNames) names.set(text, text);
  return text;
}

/** A line of the list of requests: a row of the table `run`, or of `request`. */
function requestRowOf(row: Row): RequestRow {
  return {
    key: String(row["key"]),
    hub: nameOf(row["hub"]),
    version: Number(row["version"]),
    status: nameOf(row["status"]) as RequestStatus,
    state: nameOf(row["state"]),
    createdAt: Number(row["created_at"]),
    answeredAt: optionalNumber(row["answered_at"]),
    ...laneOf(row),
    ...labelsIn(row),
  };
}

/** A line of a list: the facet says the rest. */
export function listedRowOf(row: Row, { hub, status, state, activity, outcome, code }: Facet): RequestRow {
  return {
    ...requestRowOf({ ...row, hub, status, state }),
    ...(activity === undefined ? {} : { activity }),
    ...(outcome === undefined ? {} : { outcome }),
    ...(code === undefined ? {} : { code }),
  };
}

/** The lane of a run, for its row. */
export const laneText = ({ lane }: StoredRun): string | null =>
  lane === undefined ? null : JSON.stringify(lane);

/** For lists. The run itself knows its lane, so that a damaged column harms no list. */
const laneOf = ({ lane }: Row): { readonly lane?: RunLane } => {
  const given = jsonOf<RunLane>(lane);
  return given === undefined ? {} : { lane: given };
};

/** A row of the table `run` that has a lane. */
export function laneRunOf(row: Row): LaneRun | DamagedLaneRun {
  const { key, hub, status } = row as { key: string; hub: string; status: LaneRun["status"] };
  return orDamaged(
    () => {
      const lane = readPart(`the lane of ${key}`, () => JSON.parse(String(row["lane"])) as RunLane);
      return { key, hub, status, lane };
    },
    () => ({ key }),
  );
}

/** What is read, or what is left of it. */
function orDamaged<T, U>(read: () => T, left: () => U): T | (U & Damaged) {
  try {
    return read();
  } catch (error) {
    return { ...left(), damage: error as WheelworkError };
  }
}

/** A row of the table `run`. */
export const readRunOf = (row: Row): StoredRun | DamagedRun =>
  orDamaged(
    () => storedRunOf(row),
    () => columnsOfRun(row),
  );

/** A row of the table `run`. @throws WheelworkError WW_STORE_CORRUPT when its snapshot is damaged. */
export function storedRunOf(row: Row): StoredRun {
  const key = String(row["key"]);
  const { seq, ...snapshot } = readPart(
    `the run ${key}`,
    () => JSON.parse(unsealed(String(row["snapshot"]), key)) as WrittenSnapshot,
  );
  return { ...columnsOfRun(row), ...(seq === undefined ? {} : { seq }), snapshot };
}

function columnsOfRun(row: Row): Omit<StoredRun, "snapshot" | "seq"> {
  return {
    ...requestRowOf(row),
    ...incidentIn(row),
    ...(row["attempts"] === null ? {} : { attempts: optionalNumber(row["attempts"]) }),
    ...(typeof row["activity"] === "string" ? { activity: nameOf(row["activity"]) as Activity } : {}),
    status: nameOf(row["status"]) as StoredRun["status"],
    hot: isTrue(row["hot"]),
    due: optionalNumber(row["due"]),
    root: isTrue(row["root"]),
  };
}

/** A snapshot as its row has it, with the last batch that it knows. */
type WrittenSnapshot = StoredRun["snapshot"] & Pick<StoredRun, "seq">;

/** The snapshot of a run, for its row. */
export const snapshotText = ({ key, snapshot, seq }: StoredRun): string =>
  sealed(JSON.stringify(seq === undefined ? snapshot : { ...snapshot, seq }), key);

/** A part of a history, for its row. */
export const historyText = ({ key, events }: RunEvents): string => sealed(JSON.stringify(events), key);

/** What archiving must know of a part of a history. */
export interface PartSummary {
  /** When its last event happened. */
  readonly lastAt: number;
  readonly events: number;
  /** The state that the part leaves the run in; null: it enters none. */
  readonly state: string | null;
}

/** A part of a history in short, for its row. */
export function summaryOf(events: readonly RunEvent[]): PartSummary {
  const entered = events.findLast(({ type }) => type === "entered") as
    { readonly state?: string } | undefined;
  return { lastAt: events.at(-1)?.at ?? 0, events: events.length, state: entered?.state ?? null };
}

/** A row of the table `archived`. */
export const archivedOf = (row: Row): ArchivedEvents => ({
  type: "archived",
  at: Number(row["last_at"]),
  events: Number(row["events"]),
  state: String(row["state"] ?? ""),
});

/** A row of the table `history`. @throws WheelworkError WW_STORE_CORRUPT when it is damaged. */
export const historyOf = (key: string, text: unknown): RunEvent[] =>
  readPart(`the history of ${key}`, () => JSON.parse(unsealed(String(text), key)) as RunEvent[]);

/** The long texts of an answer, for its row, and their checksum. The data comes with the end, and has a checksum of its own. */
export function answerTexts(
  stored: StoredAnswer,
): AnswerTexts & { readonly checksum: number; readonly data: string | null } {
  const { key, hub, hash, createdAt, answeredAt } = stored;
  const answer = JSON.stringify(stored.answer);
  const request = JSON.stringify(stored.request) ?? "null";
  const checksum = answerChecksum({ key, hub, hash, createdAt, answeredAt, answer, request });
  return { key, hub, hash, createdAt, answeredAt, answer, request, checksum, data: dataText(stored) };
}

/** The data of a run that has ended, for the row of its answer, if its hub has a view. */
export const dataText = ({ key, data }: StoredAnswer): string | null =>
  data === undefined ? null : sealed(JSON.stringify(data), key);

/** A row of the table `request`. @throws WheelworkError WW_STORE_CORRUPT when it is damaged. */
const storedAnswerOf = (row: Row): StoredAnswer =>
  readPart(`the answer to ${String(row["key"])}`, () => readAnswer(row));

/** What is stored under a key, by its rows. */
export function foundOf(runRow: Row | undefined, answerRow: Row | undefined): Found {
  const run = runRow === undefined ? undefined : readRunOf(runRow);
  const answer = answerRow === undefined ? undefined : readAnswerOf(answerRow);
  const damagedRun = run !== undefined && isDamaged(run) ? run : undefined;
  const damagedAnswer = answer !== undefined && isDamaged(answer) ? answer : undefined;
  return {
    run: damagedRun === undefined ? (run as StoredRun | undefined) : undefined,
    answer: damagedAnswer === undefined ? (answer as StoredAnswer | undefined) : undefined,
    ...(damagedRun === undefined ? {} : { damagedRun }),
    ...(damagedAnswer === undefined ? {} : { damagedAnswer }),
  };
}

const readAnswerOf = (row: Row): StoredAnswer | DamagedAnswer =>
  orDamaged(
    () => storedAnswerOf(row),
    () => ({ ...requestRowOf(row), ...replyToOf(row) }),
  );

const replyToOf = (row: Row): { readonly replyTo?: string } =>
  row["reply_to"] === null ? {} : { replyTo: String(row["reply_to"]) };

function readAnswer(row: Row): StoredAnswer {
  const summary = requestRowOf(row);
  const [answer, request, hash] = [row["answer"], row["request"], row["hash"]].map(String) as [
    string,
    string,
    string,
  ];
  const answeredAt = Number(row["answered_at"]);
  const checksum = optionalNumber(row["checksum"]);
  if (
    checksum !== undefined &&
    checksum !== answerChecksum({ ...summary, answeredAt, hash, answer, request })
  )
    throw wrongChecksum();
  return {
    ...summary,
    answeredAt,
    endedAt: optionalNumber(row["ended_at"]),
    hash,
    root: isTrue(row["root"]),
    firstSeq: Number(row["first_seq"]),
    lastSeq: Number(row["last_seq"]),
    ...replyToOf(row),
    ...(typeof row["data"] === "string"
      ? { data: JSON.parse(unsealed(row["data"], summary.key)) as unknown }
      : {}),
    answer: JSON.parse(answer) as Answer,
    request: JSON.parse(request) as unknown,
  };
}

/** The downtimes of a shard, by its row. @throws WheelworkError WW_STORE_CORRUPT when they are damaged: too much would be deleted. */
export function downtimesOf({ downtimes }: Row): { downtimes?: readonly Downtime[] } {
  if (typeof downtimes !== "string") return {};
  return {
    downtimes: readPart("what is known of downtimes", () => JSON.parse(downtimes) as Downtime[]),
  };
}

/** The runs that damaged batches have harmed, by the row of their shard. @throws WheelworkError WW_STORE_CORRUPT when that is damaged. */
export function harmsOf({ harms }: Row): { harms?: readonly Harm[] } {
  if (typeof harms !== "string") return {};
  return { harms: readPart("what is known of damaged batches", () => JSON.parse(harms) as Harm[]) };
}

/** Whether the owner before the one that has just claimed the shard has stopped in order, by its row. */
export function afterStopOf({ epoch, stopped }: Row): { afterStop?: true } {
  return stopped !== null && Number(stopped) === Number(epoch) - 1 ? { afterStop: true } : {};
}

/** How far a shard has come with its log, by its row; empty for a shard that reads none. */
export function logProgressOf({ log, position, published }: Row): { logProgress?: LogProgress } {
  if (published === null) return {};
  // An operator who lets a shard begin its log anew sets log and position to NULL: what is published stays known.
  const place = typeof log === "string" ? { log, position: Number(position) } : { log: "", position: 0 };
  return { logProgress: { ...place, published: Number(published) } };
}

/** A row of the audit list. */
export const auditBatchOf = (row: Row): AuditBatch => {
  const [at, seq] = [Number(row["at"]), Number(row["seq"])];
  const entries = (): AuditEntry[] =>
    readPart(`the commands of batch ${seq}`, () => JSON.parse(String(row["entries"])) as AuditEntry[]);
  return orDamaged<AuditBatch, AuditBatch>(
    () => ({ at, seq, entries: entries() }),
    () => ({ at, seq, entries: [] }),
  );
};
