import {
  WheelworkError,
  type Answer,
  type AnyHub,
  type HistoryEvent,
  type RemoteCaller,
  type RunEvent,
  type TraceContext,
} from "@wheelwork/core";
import { Run, type Ignored, type Input, type RunOrigin } from "@wheelwork/core/kernel";
import type { FacetCount, StoreFilter, RequestList } from "../ports/filter.ts";
import type { AuditAbout, AuditBatch, AuditPlace, Clock, RequestRow, StoredAnswer } from "../ports/ports.ts";
import type { Schedule } from "../schedules/schedule.ts";
import type { Tracing } from "../ports/trace.ts";
import type { DeadLetterPage, EngineHealth, ShardSummary } from "./api.ts";
import type { CommandInput } from "./commands.ts";
import type { ShardStats } from "./stats.ts";
import type { HistoryEnd, HistoryPart, HistoryRange } from "../ports/history.ts";
import type { JournalTail } from "./journal-tail.ts";
import type { LaneFilter, LongestLanes } from "./lane-list.ts";
import type { CheckedBody } from "./validate.ts";

/** A new request, checked, on its way to its shard. */
export interface NewRequest {
  readonly key: string;
  /** This engine made the key, so that nobody else can have used it. */
  readonly fresh: boolean;
  readonly hub: string;
  /** The request as the caller gave it. The owner of a remote shard checks it again. */
  readonly given: unknown;
  readonly body: CheckedBody;
  readonly deadlineMs: number | undefined;
  readonly priority: number | undefined;
  /** When it begins, in milliseconds since 1970. */
  readonly startAt: number | undefined;
  /** It is refused if it would wait for longer, in milliseconds. */
  readonly beginWithinMs?: number | undefined;
  /** What has caused it. */
  readonly trace: TraceContext | undefined;
  /** Who sent it, if that is known. */
  readonly givenBy?: string | undefined;
  /** A run that was accepted has started it: it is taken, however much there is to do. */
  readonly isOwed: boolean;
  /** A call in another shard has begun it. */
  readonly caller?: RemoteCaller;
  /** The body is what the schema has made, and that does not accept it again. Only with `caller`. */
  readonly transformed?: true;
}

/** What a shard knows of a request. */
export interface RequestRecord {
  /** Its run, as long as there is one; or else its stored answer. */
  readonly known: Run | StoredAnswer;
  /** Its answer, once that is committed. */
  readonly answer: Answer | undefined;
  /** Who holds the places of its lane, by their keys, and its place in the queue; absent where only the store is asked. */
  readonly lane?: { readonly holders: readonly string[]; readonly position?: number } | undefined;
}

/** The body of a request, and its hash. */
export const bodyOf = (known: RequestRecord["known"]): Pick<RunOrigin, "request" | "hash"> =>
  known instanceof Run ? known.origin : known;

/**
 * The events of a run, as they are committed. What it keeps for its reader is bounded: what a slow reader has missed is in the
 * history.
 */
export interface RunFeed {
  /** A copy of the run, as it was when the feed began. undefined: it has ended, or nobody has counted its events. */
  readonly run: Run | undefined;
  /** The events after so many, oldest first; empty: there are none yet. undefined: ask the history. */
  after(count: number): readonly RunEvent[] | undefined;
  /** It has missed something: another one must take its place. */
  readonly isOver: boolean;
  /** Resolves once there may be more than the last time, the shard may have moved, or the feed has ended. */
  more(): Promise<void>;
  end(): void;
}

/** The shard may have moved while somebody waited: look up who has it now, and ask once more. */
export const askAgain = Symbol("ask again");

/**
 * One shard, as requests and questions reach it: `LocalShard` if this process works on it, `RemoteShard` if another one may.
 * Each method rejects with WW_NOT_FOUND only if there is no such request for certain; a shard that cannot tell rejects with a
 * retryable WheelworkError.
 */
export interface ShardAccess {
  /**
   * Takes a request. It is durable when this resolves, with whether its key was known before.
   * @throws WheelworkError WW_KEY_REUSED, WW_INVALID_REQUEST if the key is new and the body is not valid, or a retryable one.
   */
  submit(request: NewRequest): Promise<boolean>;
  /** Waits for an answer, for `waitMs` at most (Infinity: for ever); undefined: there is none yet. */
  answer(key: string, waitMs: number): Promise<Answer | typeof askAgain | undefined>;
  lookUp(key: string): Promise<RequestRecord>;
  /** Begins to follow a run. */
  follow(key: string): Promise<RunFeed>;
  /** The journal, for those who read what happens to all runs. */
  readonly tail: JournalTail;
  /** What is committed of what happened to a request, oldest first. */
  history(key: string, range: HistoryRange): Promise<readonly HistoryEvent[]>;
  /** The last events of that. */
  historyEnd(key: string, end: HistoryEnd): Promise<HistoryPart>;
  /** The first rows of a part of a list: as many as its limit if there are so many, and in any order. */
  list(list: RequestList): Promise<readonly RequestRow[]>;
  /** How many requests a filter means, by facet. */
  facets(filter: StoreFilter): Promise<readonly FacetCount[]>;
  /** The lanes of the shard with the longest queues. */
  lanes(filter: LaneFilter): Promise<LongestLanes>;
  /** Who works on the shard, and how far it has come. */
  summary(): Promise<Omit<ShardSummary, "shard" | "lag">>;
  /** The commands that somebody gave, batch by batch, the newest first: see `Store.audit`. */
  audit(before: AuditPlace, limit: number, about?: AuditAbout): Promise<readonly AuditBatch[]>;
  /** The time there, in milliseconds since 1970: engine time, or the wall clock's where only the store is asked. */
  now(): number;
  /** Gives a command to a run. It is durable when this resolves, or has changed nothing for the reason that is given. */
  command(key: string, input: Input): Promise<Ignored | undefined>;
  /**
   * As `command`, for a command with an id: it has been decided when this resolves. Rejects with a retryable error if nobody has come
   * to it for a while; it may be sent again then, under the same id.
   */
  deliver(key: string, input: CommandInput): Promise<Ignored | undefined>;
}

/** The dead letters of the topics that an engine reads. */
export interface Letters {
  /** See `Engine.deadLetters`. */
  list(filter: { readonly topic?: string; readonly limit: number }): Promise<DeadLetterPage>;
  /** See `Engine.replayDeadLetter`. */
  replay(place: string, topic?: string): Promise<void>;
}

/** The shards behind an engine: one in an embedded engine, all of a cluster in a node or a client. */
export interface Shards {
  readonly hubs: ReadonlyMap<string, AnyHub>;
  /** Those that the engine has, by name. */
  readonly schedules?: ReadonlyMap<string, Schedule>;
  readonly clock: Clock;
  readonly tracing?: Tracing | undefined;
  readonly status: EngineHealth["status"];
  health(): EngineHealth;
  /** Absent: this process works on none. */
  stats?(): Promise<readonly ShardStats[]>;
  /** Absent: it reads no topics. */
  readonly letters?: Letters;
  /** Where the inbox of a shard ends; undefined: its broker is away. Absent: there are no inboxes. */
  inboxEnd?(shard: number): Promise<number | undefined>;
  start(): Promise<void>;
  stop(drainMs: number | undefined): Promise<void>;
  /** The shard of a request, or of a run that it has begun. */
  of(key: string): ShardAccess;
  all(): Iterable<ShardAccess>;
}

/** What a caller is told of an error: stores and logs that are away throw whatever their drivers do. */
export const toldOf = (error: unknown): WheelworkError =>
  error instanceof WheelworkError
    ? error
    : new WheelworkError("WW_STORE_UNAVAILABLE", "the store, or the log, cannot be reached at the moment", {
        next: "Ask again later.",
        retryable: true,
        cause: error,
      });

/** The answer to a request. If its run is damaged in the store, the answer may be there all the same. */
export async function givenAnswer(
  known: Promise<Pick<RequestRecord, "answer">>,
  stored: () => Promise<Answer | undefined>,
): Promise<Answer | undefined> {
  try {
    return (await known).answer;
  } catch (error) {
    if (!(error instanceof WheelworkError && error.code === "WW_STORE_CORRUPT")) throw error;
    const answer = await stored();
    if (answer === undefined) throw error;
    return answer;
  }
}

/** Whether the caller may try again. */
export const isRetryable = (error: unknown): boolean => error instanceof WheelworkError && error.retryable;
