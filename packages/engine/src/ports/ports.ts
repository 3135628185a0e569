import type {
  Answer,
  HistoryEvent,
  Labels,
  Outcome,
  RunEvent,
  RunLane,
  RunSpan,
  RunStatus,
  TraceContext,
  WheelworkError,
} from "@wheelwork/core";
import type { IncidentKind, RunSnapshot } from "@wheelwork/core/kernel";
import type { Activity, FacetCount, StoreFilter, RequestList } from "./filter.ts";
import type { Harm } from "./harms.ts";

/** A value now, or later: a store in the same process commits at once, one over a network does not. */
export type MaybePromise<T> = T | Promise<T>;

/** The time, and what runs later. Simulated in tests; the engine asks nothing else for the time. */
export interface Clock {
  /** Wall clock, in milliseconds since 1970. Read at the first claim. */
  wallMs(): number;
  /** Monotonic time in milliseconds, from any origin. It goes on while the host is suspended. */
  monotonicMs(): number;
  /**
   * Runs `task` after at least `delayMs`, which is 2^31 - 1 at most: a fraction of a millisecond early it may be, since
   * timers of operating systems count in whole ones. A delay below 0 is 0: its time is over. What is due at the same time runs in the order in which it was
   * planned. The result cancels it.
   */
  after(delayMs: number, task: () => void): () => void;
  /** Runs `task` soon, after what is ready now, promises included, and before time passes. */
  soon(task: () => void): void;
}

/** A message of the bus. */
export interface Message {
  readonly key: string;
  readonly value: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** When it was written, in milliseconds since 1970. Absent: now, by the clock of this host. Not every bus keeps it. */
  readonly timestampMs?: number;
}

/** Messages out and back, for relay workers. At least once where the bus is durable; in-process it is not. */
export interface Bus {
  publish(topic: string, message: Message): MaybePromise<void>;
  /** Calls `receive` for each message of the topic, from now on; the result ends it. */
  subscribe(topic: string, receive: (message: Message) => void): () => void;
}

/** Where a request stands. `lost`: a tell that has failed for good. Its run has ended. */
export type RequestStatus = RunStatus | "lost";

/** What is stored of a live run at a checkpoint. */
export interface StoredRun {
  readonly key: string;
  readonly hub: string;
  readonly version: number;
  readonly status: RunStatus;
  readonly state: string;
  /** Only of a running one. */
  readonly activity?: Activity | undefined;
  readonly createdAt: number;
  readonly answeredAt: number | undefined;
  /** The run must be in memory: it has open calls, or is the child of one that has. */
  readonly hot: boolean;
  /** When the run is due next, at the earliest; undefined: never. */
  readonly due: number | undefined;
  readonly root: boolean;
  /** Only of a hub with a lane: the same as in the snapshot. */
  readonly lane?: RunLane | undefined;
  /** Only of a hub that labels its requests: the same as in the snapshot. */
  readonly labels?: Labels | undefined;
  /** Only of a running one: the highest attempt of its open calls. */
  readonly attempts?: number | undefined;
  /** Only of a run that is parked, for lists. */
  readonly incident?: IncidentKind | undefined;
  readonly snapshot: RunSnapshot;
  /** The last batch whose events the snapshot has; absent: that of the checkpoint that wrote it. */
  readonly seq?: number;
}

/** A run that waits in a lane, or that has a place there. */
export interface LaneRun extends Pick<StoredRun, "key" | "hub" | "status"> {
  readonly lane: RunLane;
}

/** What is stored of a request that has its answer. */
export interface StoredAnswer {
  readonly key: string;
  readonly hub: string;
  readonly version: number;
  readonly hash: string;
  readonly state: string;
  readonly status: RequestStatus;
  readonly createdAt: number;
  readonly answeredAt: number;
  readonly endedAt: number | undefined;
  readonly root: boolean;
  readonly answer: Answer;
  readonly request: unknown;
  /** Where the answer is published, besides being stored. */
  readonly replyTo?: string;
  /** Only of a hub that labels its requests. They never change. */
  readonly labels?: Labels | undefined;
  /** The last data of a run that has ended, if its hub has a view: the view is made of it whenever somebody asks. */
  readonly data?: unknown;
  /** The batches of the journal that hold the run's events since a checkpoint last wrote a part of its history. */
  readonly firstSeq: number;
  readonly lastSeq: number;
}

/** The events of one run in a batch, in order. */
export interface RunEvents {
  readonly key: string;
  readonly events: readonly RunEvent[];
}

/** How far a shard has come with the log that its inputs come from, and with the answers that it publishes. */
export interface LogProgress {
  /**
   * The log's identity: a topic that was made anew is another log. Empty once an operator has let the shard begin anew, at
   * the beginning of whatever log it has by then.
   */
  readonly log: string;
  /** All records before this offset are consumed. */
  readonly position: number;
  /** The answers of all batches up to this one are published. */
  readonly published: number;
}

/** A time in which nobody worked on the shard, in engine time. */
export interface Downtime {
  /** The last commit before it. */
  readonly from: number;
  /** The claim after it. */
  readonly to: number;
}

/** Everything that one batch writes, in one transaction (I9). */
export interface Commit {
  readonly epoch: number;
  /** Number of the batch: one more than that of the batch before. */
  readonly seq: number;
  /** Engine time of the batch, in milliseconds. */
  readonly now: number;
  /** What happened: appended to the journal. */
  readonly journal: readonly RunEvents[];
  /** Requests that were answered, or whose run ended after its answer: written as they are now. The end of a run comes once. */
  readonly answers: readonly StoredAnswer[];
  readonly checkpoint?: Checkpoint;
  /** The downtimes that retention must know, in place of those before. */
  readonly downtimes?: readonly Downtime[];
  /** The runs that damaged batches have harmed, in place of those before. */
  readonly harms?: readonly Harm[];
  /** The owner stops in order: this is its last batch. */
  readonly stops?: true;
  /** The commands of the batch that somebody gave, in their order. */
  readonly audit?: readonly AuditEntry[];
  /** Only of a shard that reads a log. */
  readonly logProgress?: LogProgress;
}

/**
 * Live runs as they are after a batch. Several commits may write the runs that have changed, a part each. Once all are written, a
 * restart needs the journal only after the batch that wrote the first part.
 */
export interface Checkpoint {
  /**
   * The last batch that a restart need not replay. Absent: the batch of this commit. It never makes the store forget that of an
   * earlier commit: 0 changes nothing.
   */
  readonly covers?: number;
  /** Runs that have changed since they were last written. */
  readonly runs: readonly StoredRun[];
  /** Runs that have a row and have ended. */
  readonly ended: readonly string[];
  /** What these runs did since a part of their history was last written. */
  readonly histories: readonly RunEvents[];
}

/** What an owner finds when it claims the shard. */
export interface Claim {
  readonly epoch: number;
  /** Engine time of the last commit. */
  readonly engineTime: number;
  /** Number of the last batch. */
  readonly seq: number;
  /** Batches that this owner has seen committed, and that the store no longer has: it goes on without them. */
  readonly lost?: number;
  /** The owner before this one has stopped in order (`Commit.stops`). Absent: it may have died at work. */
  readonly afterStop?: true;
  /** Those of the last commit that had some, oldest first. */
  readonly downtimes?: readonly Downtime[];
  /** Those of the last commit that had some, or that an operator has added. */
  readonly harms?: readonly Harm[];
  /** That of the last commit that had some. */
  readonly logProgress?: LogProgress;
  /** The wall clock of the store's server, in milliseconds since 1970. Absent: the store has no clock but the engine's. */
  readonly serverMs?: number;
}

/** How a shard stands. For processes that do not own it. */
export interface ShardState extends Claim {
  /** Who claimed it last. */
  readonly owner: string;
  /** The batch of the last checkpoint. */
  readonly checkpoint: number;
}

/** A command that somebody gave who has shown who it is. */
export interface AuditEntry {
  /** Engine time of its decision, in milliseconds. */
  readonly at: number;
  /** Who gave it. */
  readonly by: string;
  readonly command: "submit" | "signal" | "cancel" | "retry" | "resolve";
  /** The key of the request. */
  readonly key: string;
  readonly hub: string;
  /** The name of the signal. */
  readonly signal?: string;
}

/** Which commands are meant. All that is given must hold. */
export interface AuditAbout {
  /** Who gave it. */
  readonly by?: string;
  readonly command?: AuditEntry["command"];
  readonly hub?: string;
  /** The request id. */
  readonly id?: string;
}

/** Before which batch: its time, and its number. */
export interface AuditPlace {
  readonly at: number;
  readonly seq: number;
}

/** The commands of a batch. `at` is the time of the batch: none of them is later, and those of earlier batches are not either. */
export interface AuditBatch extends AuditPlace {
  /** Empty if they are damaged. */
  readonly entries: readonly AuditEntry[];
  readonly damage?: WheelworkError;
}

/** A line of the list of requests. */
export interface RequestRow {
  readonly key: string;
  readonly hub: string;
  readonly version: number;
  readonly status: RequestStatus;
  readonly state: string;
  readonly createdAt: number;
  readonly answeredAt: number | undefined;
  /** Only of a running one. */
  readonly activity?: Activity | undefined;
  /** How an ended one was answered. */
  readonly outcome?: Answer["kind"] | undefined;
  /** The code of the error that was the answer, or that has parked the run. */
  readonly code?: string | undefined;
  /** Only of a run that lives, of a hub with a lane. */
  readonly lane?: RunLane | undefined;
  readonly labels?: Labels | undefined;
}

/** What is stored under a key. */
export interface Found {
  /** The run as of the last checkpoint that wrote it; it may have moved on, or ended, since. */
  readonly run: StoredRun | undefined;
  readonly answer: StoredAnswer | undefined;
  /** The run is there and cannot be read. */
  readonly damagedRun?: DamagedRun;
  /** The answer is there and cannot be read. */
  readonly damagedAnswer?: DamagedAnswer;
  /** Nothing is there of the run, and a damaged batch may have had it. */
  readonly missingRun?: Damaged;
}

/** What is damaged in the store. It harms nobody but those who ask for it: see damage.ts. */
export interface Damaged {
  /** WW_STORE_CORRUPT, with the place. */
  readonly damage: WheelworkError;
}

/** A run whose snapshot cannot be read: nobody can go on with it. The rest is what its other columns say. */
export type DamagedRun = Omit<StoredRun, "snapshot" | "seq"> & Damaged;

/** An answer that cannot be read. The rest is what its other columns say. */
export interface DamagedAnswer extends RequestRow, Damaged {
  readonly replyTo?: string;
}

/** A run that is in a lane which cannot be read. */
export interface DamagedLaneRun extends Damaged {
  readonly key: string;
}

/** A batch of the journal whose record cannot be read. */
export interface DamagedBatch extends Damaged {
  readonly seq: number;
  /** The hashes of the keys of its runs. Absent: nobody knows which runs it was about. */
  readonly runs?: readonly number[];
}

/** Stored runs that are due. */
export interface DueRuns {
  readonly runs: readonly (StoredRun | DamagedRun)[];
  /** When the next run after these is due; undefined: none is. Only known where `runs` is shorter than the limit. */
  readonly next: number | undefined;
}

/** A batch of the journal. */
export interface Batch {
  readonly seq: number;
  /** Engine time of the batch, in milliseconds. */
  readonly at: number;
  /** How long its record is, as it is stored. */
  readonly bytes: number;
  readonly entries: readonly RunEvents[];
}

/** What a store hands out one by one; a store over a network page by page behind it. */
export type Rows<T> = Iterable<T> | AsyncIterable<T>;

/**
 * A durable home for the runs of one shard. All that the engine knows must be rebuilt from it. What it gives at once, the
 * loop goes on with at once; what it promises, the loop waits for.
 * Any error means that the outcome is unknown: the owner drops its memory and claims anew. WW_STORE_REFUSED alone means more.
 */
export interface Store {
  /**
   * Looks at the store before anything is claimed. The result is the wall clock of its server, in milliseconds since 1970.
   * @throws WheelworkError WW_CONFIG when nobody can work with the store until somebody has corrected something.
   */
  probe?(): MaybePromise<number>;
  /**
   * Takes the shard over: no earlier owner can commit from now on (I21).
   * @param owner A name that no other engine ever has.
   * @param again This owner claims again after a failure: if another one has claimed since, it gets WW_STORE_LOCKED, since
   * an owner that was fenced never takes the shard back by itself.
   * @throws WheelworkError WW_COMMITS_LOST when the store has lost what was committed, and nobody has accepted that.
   */
  claim(owner: string, again?: boolean): MaybePromise<Claim>;
  /**
   * Whether the store is still what was claimed. Asked every few seconds, so that an engine without work notices it, too.
   * The result is a warning for operators, if there is something to warn of.
   * @throws WheelworkError WW_STORE_LOCKED when another owner has claimed the shard; WW_STORE_UNAVAILABLE when what is open
   * was deleted or replaced.
   */
  check?(): MaybePromise<string | undefined>;
  /** How the shard stands now: anybody may ask. */
  peek(): MaybePromise<ShardState>;
  /** The journal after a batch, by default the one of the last checkpoint, batch by batch. */
  journal(after?: number): Rows<Batch | DamagedBatch>;
  /** The hubs and versions of the runs at the last checkpoint, without those runs that have ended since. */
  hubVersions(
    ended: ReadonlySet<string>,
  ): MaybePromise<readonly { readonly hub: string; readonly version: number }[]>;
  /** Runs that must be in memory, at the last checkpoint. */
  hotRuns(): Rows<StoredRun | DamagedRun>;
  /** Runs that wait in a lane, or that have a place there, at the last checkpoint. There may be very many. */
  laneRuns(): Rows<LaneRun | DamagedLaneRun>;
  /** Runs that are not hot and are due after a place and before a time, in the order (due, key), `limit` at most. */
  dueRuns(
    after: { readonly due: number; readonly key: string },
    before: number,
    limit: number,
  ): MaybePromise<DueRuns>;
  /** What is stored under each key, in the order of the keys. */
  find(keys: readonly string[]): MaybePromise<readonly Found[]>;
  /**
   * A run's history as far as it is stored, part by part: what a live run did since a checkpoint is not in it. A part may be empty.
   * The shard may go on between two parts; what is given is the beginning of the history nevertheless.
   * If its first events are archived, a part has one event `archived`, which stands for all events before the next part. If events
   * are archived while parts are read, another such part may come.
   */
  history(key: string): Rows<readonly HistoryEvent[]>;
  /**
   * Requests whose run is in the store, live or ended, in the order of the list. A request has two rows while its run has ended and
   * the row of the run is still there.
   */
  list(list: RequestList): MaybePromise<readonly RequestRow[]>;
  /**
   * How many rows a list of all requests with the filter has, by facet: exact, and at about the same cost however many there are. Facets
   * without rows are left out.
   */
  facets(filter: StoreFilter): MaybePromise<readonly FacetCount[]>;
  /**
   * Lists and counts of what is committed by now. They may take many turns of the loop, and what is committed meanwhile changes
   * nothing in them. undefined: that is not possible now. Then, and if the store lacks this, whoever lists or counts takes into account
   * what happens meanwhile.
   */
  pin?(): PinnedStore | undefined;
  /**
   * @throws WheelworkError WW_STORE_REFUSED when the store never takes such content (a text that is too long, a value that it
   * cannot hold). Nothing was written then.
   */
  commit(commit: Commit): MaybePromise<void>;
  /**
   * Whether a commit would fail with WW_STORE_REFUSED. Nothing is written. With it, the owner finds the run that is at fault;
   * without it, a batch that is refused fails again and again.
   */
  takes?(commit: Commit): MaybePromise<boolean>;
  /**
   * Deletes answers and histories of runs that ended before a time; how many things it deleted, `limit` at most: as many
   * as that, and there is more to delete. It keeps a request while a run that the request has begun is known: its key must
   * not be free before those of its runs are. Such a run is in memory, or its row is stored, or its answer. So what a request has
   * begun may go with one purge, and the request itself with the next one. An owner that another one has replaced deletes
   * nothing, because it does not know which runs live.
   */
  purge(endedBefore: number, limit: number, begun: BegunRuns): MaybePromise<number>;
  /**
   * Archives the events of live runs that happened before a time: it deletes them, and the history says how many they were. It takes
   * whole parts of histories, the oldest first, `limit` at most, and fewer if they are large. The result is whether there is more.
   * What a run did since its last checkpoint stays, and so does all that a run had when it ended. An owner that another one has
   * replaced archives nothing.
   */
  archive(before: number, limit: number): MaybePromise<boolean>;
  /**
   * The commands that somebody gave, batch by batch, the newest first: of batches before a place, `limit` at most. `about`: each batch
   * that has a command like that, by an index, and perhaps others.
   */
  audit(before: AuditPlace, limit: number, about?: AuditAbout): MaybePromise<readonly AuditBatch[]>;
  /** Deletes such commands of batches before a time, `limit` batches at most; whether there is more. An owner that another one has
   * replaced deletes nothing. */
  purgeAudit(before: number, limit: number): MaybePromise<boolean>;
  /** How large the store is, with its log. Absent: it cannot tell, or others know better. */
  sizeBytes?(): MaybePromise<number>;
  close(): MaybePromise<void>;
}

/** What a store had at one moment. */
export interface PinnedStore extends Pick<Store, "list" | "facets"> {
  /** Call it once, when all that was asked for has come: the store keeps more than it needs until then. */
  end(): void;
}

/** What the owner knows of the runs that requests have begun, and the rows of its store do not say yet. */
export interface BegunRuns {
  /** The stored keys of the requests that have begun a run that is in memory. */
  readonly living: ReadonlySet<string>;
  /** The keys of runs that have ended, and whose rows the next checkpoint deletes. */
  readonly ended: ReadonlySet<string>;
}

/** A logger: what the engine needs of pino. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Something that happened in the engine, for metrics and traces. Names are stable. */
export type EngineEvent =
  | {
      readonly name: "batch";
      readonly inputs: number;
      readonly events: number;
      readonly commitMs: number;
      readonly decideMs: number;
      /** How late the latest of its callbacks was. Absent: it has called nobody back. */
      readonly lateMs?: number;
    }
  /** A run has done something: it is committed. */
  | {
      readonly name: "span";
      readonly key: string;
      readonly hub: string;
      readonly version: number;
      readonly createdAt: number;
      /** It serves a request: it is no call of a hub, and no tell. */
      readonly isRequest: boolean;
      readonly trace?: TraceContext | undefined;
      readonly span: RunSpan;
    }
  | { readonly name: "accepted" | "known" | "refused"; readonly hub: string; readonly key: string }
  | {
      readonly name: "answered";
      readonly hub: string;
      readonly key: string;
      readonly answer: Answer["kind"];
      readonly durationMs: number;
    }
  | {
      readonly name: "attempt";
      readonly callee: string;
      readonly key: string;
      readonly call: number;
      readonly attempt: number;
    }
  | {
      readonly name: "outcome";
      readonly callee: string;
      readonly key: string;
      readonly call: number;
      readonly outcome: Outcome["kind"];
      /** Of a worker of this process: how long the attempt has waited for a place, and how long its worker took. */
      readonly waitMs?: number;
      readonly workMs?: number;
    }
  /** An attempt has ended without success, and another one follows in `inMs` milliseconds. */
  | {
      readonly name: "retry";
      readonly callee: string;
      readonly key: string;
      readonly call: number;
      /** The attempt that has failed, and how. */
      readonly attempt: number;
      readonly failure: string;
      readonly inMs: number;
    }
  /** The time of an attempt has passed. */
  | {
      readonly name: "attempt-timeout";
      readonly callee: string;
      readonly key: string;
      readonly call: number;
      readonly attempt: number;
    }
  /** The process before this one has ended while the attempt was under way: so often by now. */
  | {
      readonly name: "attempt-died";
      readonly callee: string;
      readonly key: string;
      readonly call: number;
      readonly attempt: number;
      readonly deaths: number;
    }
  /** A tell has failed for good. `key` names its run: see its history. */
  | { readonly name: "tell-lost"; readonly spoke: string; readonly key: string; readonly reason: string }
  | { readonly name: "ignored"; readonly key: string; readonly reason: string }
  | { readonly name: "incident"; readonly hub: string; readonly key: string; readonly code: string }
  | {
      readonly name: "migrated";
      readonly hub: string;
      readonly key: string;
      readonly from: number;
      readonly to: number;
    }
  | { readonly name: "checkpoint"; readonly runs: number }
  | { readonly name: "purged"; readonly requests: number }
  | { readonly name: "dead-letter"; readonly topic: string; readonly reason: string }
  /** The topic of a channel will never take an answer. A short error was published in its place, if it takes that. */
  | {
      readonly name: "answer-unpublishable";
      readonly key: string;
      readonly topic: string;
      readonly reason: string;
    }
  | { readonly name: "log-lost"; readonly topic: string; readonly message: string }
  /** A part of the store is damaged. It was needed, and the rest goes on without it. Each process tells each place once. */
  | { readonly name: "damaged"; readonly message: string }
  | {
      readonly name: "shard-claimed" | "shard-released" | "shard-fenced" | "shard-refused";
      readonly shard: number;
    }
  | { readonly name: "store-lost" | "commits-lost"; readonly message: string }
  | { readonly name: "store-back" };
