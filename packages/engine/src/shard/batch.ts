import type { WheelworkError } from "@wheelwork/core";
import type { Call, Run } from "@wheelwork/core/kernel";
import type { RunEvent, TraceContext } from "@wheelwork/core";
import type { AuditEntry, Commit, EngineEvent, Found } from "../ports/ports.ts";
import type { IgnoredReason, InputItem, Item, RequestItem } from "./items.ts";
import type { ListedAs } from "./listed.ts";
import type { Reply } from "./outbox.ts";

/** A run in memory. */
export interface LiveRun {
  readonly run: Run;
  /** Where in `history` the events begin that are not committed; -1: all are committed. */
  stagedFrom: number;
  /** The last batch with events of this run that is not committed, and where in `history` these begin. */
  batch: Batch | undefined;
  batchFrom: number;
  /** The run has an answer that is not committed. */
  answering: boolean;
  /** It is carried that its round opens its next calls. */
  opens: boolean;
  /** Events since a checkpoint last wrote a part of the history, and the number of the batch in which they begin. */
  history: RunEvent[];
  firstSeq: number;
  /** The run has changed since its row was written, or has no row. */
  dirty: boolean;
  /** The run has a row. */
  stored: boolean;
  /** What lists say of it by its row; undefined: nothing. */
  listed: ListedAs | undefined;
  /** The last batch that the row knows, if the run was read back from it. */
  rowSeq: number;
  /** About how many bytes its values had when they were last weighed, and the run with them. */
  values: number;
  weight: number;
}

/** A run that was parked by an exception. */
interface ParkedRun {
  readonly hub: string;
  readonly key: string;
  readonly state: string;
  readonly createdAt: number;
  readonly trace: TraceContext | undefined;
  readonly error: Extract<RunEvent, { type: "incident" }>["error"];
}

/** A run whose part of a batch the store never takes. */
export interface Culprit {
  readonly key: string;
  /** Its row is at fault, or what it has kept so far: that stays as it is until the run ends. Otherwise its last events are. */
  readonly isRow: boolean;
  /** What the store said. */
  readonly error: WheelworkError;
}

/** What a batch does once it is committed, and never before (I9). */
interface BatchEffects {
  /** Attempts to make. The number says which: a later attempt may be decided by then, in a batch that is not committed. */
  readonly attempts: {
    readonly call: Call;
    readonly attempt: number;
    /** The process that made it has ended, or lost its memory: it is made again, and its time begins anew. */
    readonly anew?: true;
  }[];
  readonly closed: Call[];
  readonly answered: LiveRun[];
  readonly accepted: { readonly item: RequestItem; readonly known: boolean }[];
  readonly refused: { readonly item: RequestItem | InputItem; readonly error: WheelworkError }[];
  readonly commanded: { readonly item: InputItem; readonly ignored: IgnoredReason | undefined }[];
  /** Replies to relays that came without the inbox: who handed them over is told. */
  readonly relayReplies: (() => void)[];
  /** Stored answers that somebody asked for again. */
  readonly repeated: Reply[];
  readonly parked: ParkedRun[];
  readonly observed: EngineEvent[];
}

/** What one commit writes, and what happens after it. */
export interface Batch {
  /** What the batch has consumed: it is decided again if the batch cannot be committed. */
  items: readonly Item[];
  /** What the store holds under the keys that the items name. */
  found: ReadonlyMap<string, Found>;
  /** Runs that the batch has changed. */
  readonly touched: LiveRun[];
  /** Runs whose row of the answer is written. */
  readonly answers: LiveRun[];
  readonly ended: LiveRun[];
  readonly effects: BatchEffects;
  /** The commands that somebody gave. */
  readonly audit: AuditEntry[];
  /** How many items and callbacks it has decided, and how many events it has made. */
  inputs: number;
  events: number;
  /** How many items of earlier batches, or of its own, it has decided besides. */
  carried: number;
  /** Engine time of its first decision, and of its last. */
  since: number;
  now: number;
  decideMs: number;
  /** How late the latest of its callbacks was, if it has called some back, and somebody wants to know. */
  lateMs: number | undefined;
  /** What is written; undefined while the batch is open, or if nothing has changed. */
  commit: Commit | undefined;
}

/** A batch without anything in it. */
export const emptyBatch = (): Batch => ({
  items: [],
  found: new Map(),
  touched: [],
  answers: [],
  ended: [],
  effects: {
    attempts: [],
    closed: [],
    answered: [],
    accepted: [],
    refused: [],
    commanded: [],
    relayReplies: [],
    repeated: [],
    parked: [],
    observed: [],
  },
  audit: [],
  inputs: 0,
  events: 0,
  carried: 0,
  since: Number.POSITIVE_INFINITY,
  now: 0,
  decideMs: 0,
  lateMs: undefined,
  commit: undefined,
});
