import type { Answer, AnyHub, Hub, HistoryEvent, Labels, SignalTypes } from "@wheelwork/core";
import type { Activity, RequestFilter } from "../ports/filter.ts";
import type { BulkCommand } from "../ports/bulks.ts";
import type { RequestStatus } from "../ports/ports.ts";
import type { AuditOptions } from "./audit.ts";
import type { BulkHandle, BulkOptions, BulkPage } from "./bulks.ts";
import type { EventsOptions, EventsPage } from "./events.ts";
import type { HistoryPage, HistoryPageOptions } from "./past.ts";
import type { RunHandle } from "./run-handle.ts";
import type { RunUpdate, WatchOptions } from "./run-watch.ts";
import type { ScheduleHandle, ScheduleView } from "./schedules.ts";
import type { EngineStats } from "./stats.ts";
import type { Supposition, WhatIf } from "./what-if.ts";

/** How a request came in: a new one, or one whose key is known already. */
export interface Submitted {
  /**
   * The request id: the key that was given, or one made up (32 hex digits: 12 of the time, 20 at random). For a hub with `exclusive`,
   * a mark of the lane follows it: `my-key@~0123456789abcdef`. Ask for the request by this id.
   */
  readonly id: string;
  readonly known: boolean;
}

/** Options of a new request. */
export interface SubmitOptions {
  /** The request key: the same key is the same run and gets the same answer (I5). Default: a new one. */
  readonly key?: string;
  /** The caller's own deadline, in milliseconds; it can only shorten the hub's. It counts from now, also where the request waits. */
  readonly deadlineMs?: number;
  /**
   * When the request begins, in milliseconds since 1970: its deadline counts from then, and so does `deadlineMs`. Until then it is
   * pending, and a cancel ends it. If nobody works at that time, it begins as soon as somebody does. A time that is over: now.
   */
  readonly startAt?: number;
  /**
   * Only of a hub with `exclusive`: how urgent it is, a whole number from -1000 to 1000. It goes before those that came up to so many
   * minutes earlier. Default: 0.
   */
  readonly priority?: number;
  /**
   * A new request that would wait for longer than this until the engine begins it is refused at once, with WW_OVERLOADED; in
   * milliseconds. It counts where the engine has more to do than it can, and only where this process works on the request's shard.
   * Default: among the first 256 that are under way, a request waits until its turn comes.
   */
  readonly beginWithinMs?: number;
  /**
   * What has caused the request, as W3C Trace Context writes it: its trace goes on with what the request does. What is not valid counts
   * as absent. Default: the active span, if the engine has the option `tracing`.
   */
  readonly traceparent?: string;
  /** Handed on with `traceparent`. */
  readonly tracestate?: string;
  /** Who sends it, such as `token:ci`: kept in the history, and in the audit list. Default: nobody knows. */
  readonly by?: string;
}

/** Options of a command. */
export interface CommandOptions {
  /** The command counts once under it, however often it is sent. Default: a new one. */
  readonly commandId?: string;
  /** Who gives it, such as `token:ci`: kept in the history, and in the audit list. Default: nobody knows. */
  readonly by?: string;
}

/** One page of the audit list: the commands that somebody gave who had shown who it is, the newest first. */
export interface AuditPage {
  readonly items: readonly {
    /** In milliseconds since 1970. */
    readonly at: number;
    /** Who gave it. */
    readonly by: string;
    readonly command: "submit" | "signal" | "cancel" | "retry" | "resolve";
    /** The request id. Of a command to a schedule: that of the schedule. */
    readonly id: string;
    readonly hub: string;
    /** The name of the signal, or of the command to a schedule. */
    readonly signal?: string;
  }[];
  /** Give it to the next call to get the next page; absent on the last one. */
  readonly cursor?: string;
}

/** A request as `request(id)` shows it. */
export interface RequestView {
  readonly id: string;
  readonly hub: string;
  readonly version: number;
  readonly status: RequestStatus;
  readonly state: string;
  readonly createdAt: number;
  readonly answeredAt: number | undefined;
  readonly endedAt: number | undefined;
  readonly request: unknown;
  /** What the hub has made of the request, for lists. Absent: nothing. */
  readonly labels?: Labels;
  readonly answer: Answer | undefined;
  /** What the view of the hub makes of the data, while the run lives and after. Only hubs with a `view` have one. */
  readonly view?: unknown;
  /** Why there is no view: the function threw, or did not return plain JSON. */
  readonly viewProblem?: string;
  /** Only while the run lives. */
  readonly data?: unknown;
  /** The calls that are open, 1,000 at most. */
  readonly openCalls?: readonly OpenCallView[];
  /** How many open calls `openCalls` does not show. Absent: none. */
  readonly moreCalls?: number;
  /** How many inputs of a long round have no call yet. */
  readonly inputsLeft?: number;
  readonly incident?: {
    readonly at: number;
    readonly error: object;
    /** What is kept for the retry, the oldest first: 1,000 at most. */
    readonly inputs: readonly object[];
    /** How many more are kept. */
    readonly moreInputs?: number;
  };
  /** Only while it waits for its time. */
  readonly startAt?: number;
  /** Only while the run lives, of a hub with `exclusive`. */
  readonly lane?: LaneView;
}

/** The lane of a request: who is in its way, and when its turn is. */
export interface LaneView {
  readonly name: string;
  readonly key: string;
  /** How many go first, itself included, from 1. Absent: it does not wait for its turn. */
  readonly position?: number;
  /** Until when it waits, in milliseconds of engine time. Absent: it does not wait. */
  readonly waitsUntil?: number;
  /** The request whose answer it waits for (`join`). */
  readonly joins?: string;
  /** The requests that hold the places. Absent where another node works on the request. */
  readonly holders?: readonly string[];
}

/** A call that has not settled. */
export interface OpenCallView {
  readonly call: number;
  readonly callee: string;
  readonly attempt: number;
  readonly due: number | undefined;
  readonly input: unknown;
  /** What its worker has said of its progress, as far as it is stored. */
  readonly progress?: unknown;
}

/** How many requests have what in common. */
export interface RequestCounts {
  /** How many there are. */
  readonly count: number;
  /** By hub, status and state. */
  readonly states: readonly {
    readonly hub: string;
    readonly status: RequestStatus;
    /** Only of running ones. */
    readonly activity?: Activity;
    readonly state: string;
    readonly count: number;
  }[];
  /** Those that have ended, by hub and answer. */
  readonly outcomes: readonly {
    readonly hub: string;
    readonly outcome: Answer["kind"];
    /** Only of errors. */
    readonly code?: string;
    readonly count: number;
  }[];
}

/** Options of `requests`. */
export interface RequestsOptions extends RequestFilter {
  /**
   * The order. `newest` and `oldest`: by the time at which requests were accepted. `duration`: those whose answer took longest, first;
   * only answered ones are listed. `attempts`: running ones with the highest attempt of an open call first; others are not listed. Default:
   * `newest`.
   */
  readonly order?: "newest" | "oldest" | "duration" | "attempts";
  /** How many requests a page has at most: 1,000 at most. Default: 50. */
  readonly limit?: number;
  /** That of the page before. */
  readonly cursor?: string;
}

/** Incidents of one kind: parked runs of a hub that stand in one state, with one error. */
export interface IncidentGroup {
  readonly hub: string;
  readonly state: string;
  /** Absent: an earlier version has parked them, and they have not been written since. */
  readonly code?: string;
  /** The first line of the message, with N for each number and id, and … for each text in quotation marks. Absent as above. */
  readonly message?: string;
  readonly count: number;
}

/** Options of `search`. All that is given must hold. */
export interface SearchOptions extends RequestsOptions {
  /** A part of a field's name or of a value, anywhere in the request or the view, in upper or lower case. */
  readonly text?: string;
  /**
   * Values by their paths: `{ "request.customer.id": 42, "view.percent": 100 }`. In a list, a name that is no position means any of its
   * entries.
   */
  readonly values?: Readonly<Record<string, string | number | boolean | null>>;
  /** How long to search, in milliseconds: 10,000 at most. Default: 500. */
  readonly withinMs?: number;
}

/** One page of the list of requests. */
export interface RequestPage {
  readonly items: readonly {
    readonly id: string;
    readonly hub: string;
    readonly version: number;
    readonly status: RequestStatus;
    readonly state: string;
    readonly createdAt: number;
    readonly answeredAt: number | undefined;
    /** Only of a running one: what it does. */
    readonly activity?: Activity;
    /** Only of an ended one: how it was answered. */
    readonly outcome?: Answer["kind"];
    /** The code of the error that was the answer of an ended one, or that has parked it. */
    readonly code?: string;
    /** Only while the run lives, of a hub with `exclusive`. */
    readonly lane?: { readonly name: string; readonly key: string };
    /** What the hub has made of the request, for lists. Absent: nothing. */
    readonly labels?: Labels;
  }[];
  /** Give it to the next call to get the next page; absent on the last one. */
  readonly cursor?: string;
}

/** A lane that somebody is in. */
export interface LaneSummary {
  readonly name: string;
  readonly key: string;
  /** How many requests may work in it at once. Absent: no hub of this engine has the lane. */
  readonly places?: number;
  /** How many places are taken. */
  readonly held: number;
  /** How many requests wait for their turn. */
  readonly waiting: number;
  /** The requests that hold the places, 100 at most. */
  readonly holders: readonly string[];
}

/** Lanes, those with the longest queues first. */
export interface LanePage {
  readonly lanes: readonly LaneSummary[];
  /** How many lanes there are, also those that are not listed. */
  readonly total: number;
}

/** A shard: who works on it, and how far it has come. */
export interface ShardSummary {
  readonly shard: number;
  /** This process works on it. */
  readonly isHere: boolean;
  /** Who has claimed it last: host, process and a random number. Absent: nobody yet, or it is not known. */
  readonly owner?: string;
  /** How often it was claimed. */
  readonly epoch?: number;
  /** How many batches are committed. */
  readonly batches?: number;
  /** The engine time of the last commit, in milliseconds since 1970. */
  readonly lastCommitAt?: number;
  /** How far it has read its inbox: the offset of the next record. */
  readonly position?: number;
  /** How many records of its inbox it has not read. Absent: it has no inbox, or its broker is away. */
  readonly lag?: number;
  /** Answers that are not known to be published, counted up to 1000. */
  readonly unpublished?: number;
  /** How many committed batches the server of the store has lost. */
  readonly lost?: number;
  /** How large its store is, in bytes. All shards of one database are in the same tables. */
  readonly storeBytes?: number;
  /** Why nothing is known of it, or what is wrong with it. */
  readonly problem?: string;
}

/** A record that could not be processed. */
export interface DeadLetterView {
  /** Its partition and its offset in the topic of the dead letters, such as `0:42`. */
  readonly place: string;
  /** When it became a dead letter, in milliseconds since 1970. */
  readonly at: number;
  /** The key as the sender of the request gave it. */
  readonly key: string;
  /** Why it could not be processed. */
  readonly reason: string;
  /** Where the record was: a replay sends it there. */
  readonly origin: { readonly topic: string; readonly partition: number; readonly offset: number };
  readonly value: string;
  /** The record was too large for the topic of the dead letters: its value is only at `origin`. */
  readonly isShort: boolean;
}

/** The newest dead letters of a topic, oldest first. */
export interface DeadLetterPage {
  /** Whose dead letters they are. */
  readonly topic: string;
  readonly letters: readonly DeadLetterView[];
  /** There are older ones, too. */
  readonly hasMore: boolean;
}

/** What a command did. `ended`: too late, the run is over. */
export type CommandResult = "accepted" | "ended";

/** Whether the engine works. */
export interface EngineHealth {
  /** It takes requests. */
  readonly ready: boolean;
  readonly status: "starting" | "running" | "store-lost" | "stopping" | "stopped";
  /** Why it does not take requests, if nobody has stopped it: the message of an error. */
  readonly reason?: string;
  /**
   * What somebody must look after although it takes requests: parts of the store that are damaged, shards of a cluster that this node
   * cannot work on, and records of channels that were deleted before they were read.
   */
  readonly warnings?: readonly string[];
  readonly liveRuns: number;
  readonly openAttempts: number;
  readonly queued: number;
}

/** Options of `stop`. */
export interface StopOptions {
  /** How long attempts that are under way may go on, in milliseconds. 0: they are aborted at once. */
  readonly drainMs?: number;
}

/** The engine as callers see it: where requests go in, and answers come out. */
export interface Engine {
  /**
   * Claims the store and begins to work. An engine starts once.
   * @throws WheelworkError WW_STARTED when it has been started or stopped before; WW_CLOCK when the clock is far ahead of
   * the last commit; what the store says.
   */
  start(): Promise<void>;
  /**
   * Takes no new requests and begins no attempts. Lets those that are under way in this process end within `drainMs`
   * milliseconds (default: the option of the engine, 5000), and then aborts them. Commits what is open, and stops. Runs that
   * have not ended go on at the next start.
   */
  stop(options?: StopOptions): Promise<void>;
  /**
   * Accepts a request: when it returns, the request is durable and will get exactly one answer.
   * @throws WheelworkError WW_INVALID_REQUEST (all problems listed), WW_KEY_REUSED (the key has another body), WW_BUSY (another request
   * is in the way, and its hub does not let this one wait; retryable, and `details.holders` says which),
   * WW_OVERLOADED, WW_STOPPING, WW_STORE_UNAVAILABLE (retryable), WW_HUB_UNKNOWN.
   */
  submit<I>(hub: Hub<I> | string, request: I, options?: SubmitOptions): Promise<Submitted>;
  /** The answer to a request; undefined if there is none within `waitMs` (default: wait until there is one). */
  answer(id: string, options?: { readonly waitMs?: number }): Promise<Answer | undefined>;
  /** Submits and waits for the answer. */
  call<I, O, E extends string>(hub: Hub<I, O, E>, request: I, options?: SubmitOptions): Promise<Answer<O, E>>;
  /**
   * One request with the types of its hub: its signals, its answer, and its state and view as they change. It asks nothing yet.
   * @throws WheelworkError WW_HUB_UNKNOWN.
   */
  run<I, O, E extends string, S = unknown>(
    hub: Hub<I, O, E> & SignalTypes<S>,
    id: string,
  ): RunHandle<O, E, S>;
  /** A schedule by its name: to look at it, to pause and to trigger it. It asks nothing yet. */
  schedule(name: string): ScheduleHandle;
  /** All schedules that this engine was given. */
  schedules(): Promise<readonly ScheduleView[]>;
  /** @throws WheelworkError WW_NOT_FOUND. */
  request(id: string): Promise<RequestView>;
  /**
   * A page of requests. Of incidents, those of calls of hubs and of tells are listed too. The status `lost`
   * lists the tells that have failed for good; the answer of each says why.
   * @throws WheelworkError WW_INVALID_REQUEST.
   */
  requests(options?: RequestsOptions): Promise<RequestPage>;
  /**
   * Looks inside of the requests that a filter means, one after the other. A page may have few requests, or none: as long as it has a
   * cursor, there are requests that were not looked at. The narrower the filter, the sooner all are.
   * @throws WheelworkError WW_INVALID_REQUEST.
   */
  search(options: SearchOptions): Promise<RequestPage>;
  /** How many requests a filter means: exactly. @throws WheelworkError WW_INVALID_REQUEST. */
  count(filter?: RequestFilter): Promise<number>;
  /** The same, by state and by outcome. @throws WheelworkError WW_INVALID_REQUEST. */
  facets(filter?: RequestFilter): Promise<RequestCounts>;
  /**
   * Incidents in groups of one kind, the largest group first, with exact counts. The filter `message` of `requests` lists a group.
   * @throws WheelworkError WW_INVALID_REQUEST.
   */
  incidents(filter?: Pick<RequestFilter, "hub" | "state" | "code">): Promise<readonly IncidentGroup[]>;
  /**
   * What happened to a request, oldest first: all of it, or `limit` events at most after so many others. A history only grows, so
   * that these numbers name the same events for ever. If a run lives for long, its first events are archived (`historyRetentionMs`):
   * then the history begins with an event `archived`, which stands for so many of them. It comes first in each part that would
   * begin with one of them. `nextAfter` says where the next part begins.
   * @throws WheelworkError WW_NOT_FOUND, WW_INVALID_REQUEST.
   */
  history(
    id: string,
    part?: { readonly after?: number; readonly limit?: number },
  ): Promise<readonly HistoryEvent[]>;
  /**
   * A page of what happened to a request, from any event on and in both directions. Events keep their numbers.
   * @throws WheelworkError WW_NOT_FOUND, WW_INVALID_REQUEST.
   */
  historyPage(id: string, options?: HistoryPageOptions): Promise<HistoryPage>;
  /**
   * The request as it was after its event of this number, from 0: its state, its data, its view, its open calls. All is made of the events
   * before, so of a run whose first events are archived nothing is known.
   * @throws WheelworkError WW_NOT_FOUND, WW_INVALID_REQUEST.
   */
  requestAt(id: string, event: number): Promise<RequestView>;
  /**
   * Tells how a request goes: its state, its view and its answer, as it is now, and then at the end of each committed turn that has
   * changed one of them. Nothing is left out or told twice, and the last update has the answer. It goes on while the store is away, and
   * when another process takes the request over. A reader that is slow gets what it has missed from the history.
   * @throws WheelworkError WW_NOT_FOUND, WW_INVALID_REQUEST; WW_STOPPING when the engine stops.
   */
  watch(id: string, options?: WatchOptions): AsyncIterable<RunUpdate>;
  /**
   * Tells what happens to all runs of all shards, page by page: each committed event once, and those of one shard in their order. Every
   * page, and every event, has a position: `events({ after })` goes on behind it, at any time, in any process, and with any filter.
   * The first page comes at once, and has no events. It goes on while the store is away, and when other processes take shards over.
   * Nothing waits for a reader that is slow: it reads from the stores, for as long as answers are kept.
   * @throws WheelworkError WW_INVALID_REQUEST; WW_EVENTS_GONE when what follows the position is not kept any more; WW_STOPPING when
   * the engine stops.
   */
  events(options?: EventsOptions): AsyncIterable<EventsPage>;
  /**
   * What would happen to a request if something happened now: its next events, and the request as it would be. Nothing is stored, and no
   * worker is called: the handlers of the hub decide on a copy of the run.
   * @throws WheelworkError WW_NOT_FOUND, WW_INVALID_INPUT, WW_SIGNAL_UNKNOWN, WW_HUB_UNKNOWN.
   */
  whatIf(id: string, supposition: Supposition): Promise<WhatIf>;
  /** Asks a run to end early. @throws WheelworkError WW_NOT_FOUND. */
  cancel(id: string, options?: CommandOptions): Promise<CommandResult>;
  /**
   * Sends a signal to a run. Under a `commandId` it counts once, for as long as answers are kept since it came: sent again after
   * the end of the run, it is `accepted` if the run has taken it before.
   * @throws WheelworkError WW_NOT_FOUND, WW_SIGNAL_UNKNOWN, WW_INVALID_INPUT, WW_KEY_REUSED (another signal has this
   * `commandId`), WW_OVERLOADED.
   */
  signal(id: string, name: string, payload: unknown, options?: CommandOptions): Promise<CommandResult>;
  /**
   * Gives one command to all requests that a filter means, as a run that goes on beside: it is durable when this resolves, and goes on
   * after a crash. Without a status the filter means those that can take the command: of a retry or a resolve incidents, of a
   * cancel or a signal pending and running ones. Only requests accepted until now get the command. `bulk(id)` shows it.
   * @throws WheelworkError WW_INVALID_REQUEST, also if the filter says nothing; WW_KEY_REUSED (the key has another command or
   * filter), WW_SIGNAL_UNKNOWN, WW_INVALID_INPUT.
   */
  startBulk(command: BulkCommand, filter: RequestFilter, options?: BulkOptions): Promise<Submitted>;
  /** How many requests a bulk would mean now: exactly, by state. @throws WheelworkError as `startBulk`. */
  previewBulk(command: BulkCommand, filter: RequestFilter): Promise<RequestCounts>;
  /** A bulk by its id: to look at it, to pause and to cancel it. It asks nothing yet. */
  bulk(id: string): BulkHandle;
  /** A page of bulks, the newest first. @throws WheelworkError WW_INVALID_REQUEST. */
  bulks(page?: { readonly limit?: number; readonly cursor?: string }): Promise<BulkPage>;
  /** Makes the turn of a parked run again. @throws WheelworkError WW_NOT_FOUND, WW_NOT_INCIDENT. */
  retry(id: string, options?: CommandOptions): Promise<CommandResult>;
  /**
   * Ends a parked run with the error WW_INCIDENT. The message is a text of 1 to 8,000 characters.
   * @throws WheelworkError WW_NOT_FOUND, WW_NOT_INCIDENT, WW_INVALID_INPUT.
   */
  resolve(id: string, message: string, options?: CommandOptions): Promise<CommandResult>;
  /**
   * A page of the commands that somebody gave (the option `by`), the newest first: requests, signals, cancels, retries, resolves,
   * and commands to schedules. Commands that were refused or had come before are not in it. With `id` and another filter, and
   * among commands that an earlier version has kept, a page may have few commands, or none: as long as it has a cursor, there are commands
   * that were not looked at.
   * @throws WheelworkError WW_INVALID_REQUEST.
   */
  audit(options?: AuditOptions): Promise<AuditPage>;
  /** The hubs that this engine serves, by name. */
  readonly hubs: ReadonlyMap<string, AnyHub>;
  health(): EngineHealth;
  /**
   * The lanes that somebody is in, those with the longest queues first: `limit` of them at most (default 50, 1000 at most).
   * @throws WheelworkError WW_INVALID_REQUEST.
   */
  lanes(filter?: { readonly name?: string; readonly limit?: number }): Promise<LanePage>;
  /** All shards, also those that other processes work on. One that cannot be read says why. */
  allShards(): Promise<readonly ShardSummary[]>;
  /**
   * The newest records that could not be processed, `limit` of them at most (default 50, 1000 at most). `topic` is the topic that they
   * came from; default: the inbox. An embedded engine reads no topics.
   * @throws WheelworkError WW_NOT_SUPPORTED, WW_INVALID_REQUEST, WW_NOT_FOUND when there is no such topic, WW_BUS_UNAVAILABLE.
   */
  deadLetters(filter?: { readonly topic?: string; readonly limit?: number }): Promise<DeadLetterPage>;
  /**
   * Sends a dead letter back to where it came from. It stays in its own topic.
   * @throws WheelworkError WW_NOT_FOUND when there is none at this place, and those of `deadLetters`.
   */
  replayDeadLetter(place: string, options?: { readonly topic?: string }): Promise<void>;
  /** Figures of the shards that this process works on. `createMetrics` shows them with others. */
  stats(): Promise<EngineStats>;
}
