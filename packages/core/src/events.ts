import type { Labels } from "./labels.ts";
import type { Post } from "./post.ts";
import type { Failure } from "./spoke.ts";

/*
 * Events are the store. A run is what `apply` makes of its events, and nothing else. The same list serves three
 * readers:
 *
 *   the journal    holds the events of each batch. A restart applies them again.
 *   the memory     holds the runs that the loop works on. `apply` is the only code that changes them.
 *   the history    is what users read of a request: its events, in their order.
 *
 * Rules for events, which hold for ever, since old journals must still replay:
 *   - An event carries the state after it, not the change that a handler meant: deadlines are points in time, calls
 *     have their numbers, retries have the time of the next attempt. So replay needs no code of a hub, no clock and no
 *     random number, and gives the same run under any version of the hub.
 *   - `apply` never decides and never refuses. It checks only what would show that the store is corrupt.
 *   - Events are plain JSON (I19). Where JSON has no undefined, `unset` names the fields of the data to remove.
 *   - All times (`at`, `due`, `deadline`, `answerBy`) are milliseconds of engine time.
 *
 * A checkpoint stores a whole run (snapshot.ts), so that a restart need not begin at its first event. What follows from
 * an event for the outside world is in effects.ts.
 */

/** The answer to a request: the hub's result, an error (the hub's or the engine's), or a timeout. */
export type Answer<R = unknown, E extends string = string> =
  | { readonly kind: "result"; readonly value: R }
  | {
      readonly kind: "error";
      readonly code: E | "WW_CANCELLED" | "WW_INCIDENT" | "WW_BUSY" | "WW_REPLACED";
      readonly message: string;
      readonly details?: unknown;
    }
  | {
      readonly kind: "timeout";
      readonly code: "WW_TIMEOUT";
      readonly message: string;
      /** Why there was no answer in time, if the engine knows: the run was parked by an exception. */
      readonly details?: { readonly incident: IncidentSummary };
    };

/** What those who asked may know of an incident. The stack is for operators. */
export interface IncidentSummary {
  readonly code: string;
  readonly message: string;
  /** The state that the run is parked in. Empty: it could not begin. */
  readonly state: string;
}

/** Where a run stands. `pending`: it waits for its turn. `incident`: it is parked, after an exception in a handler (I16). */
export type RunStatus = "pending" | "running" | "incident" | "ended";

/** The lane of a run (pending.ts). A run that works, or is parked, holds a place there until it has ended. */
export interface RunLane {
  readonly name: string;
  readonly key: string;
  /** The run whose place it shares: it belongs to the calls of that run. Absent: it holds one itself. */
  readonly shares?: string;
  /** Only while it holds a place, or shares one: a number that rises with each grant of a place in this lane. */
  readonly fence?: number;
  /** Only while it is pending: those with a lower rank go first. A time, in milliseconds. */
  readonly rank?: number;
  /** Only while it is pending: it waits for the answer of this run, and for no place. */
  readonly joins?: string;
  /** It stays in memory: requests that come later look at it. */
  readonly stays?: true;
}

/** A place in a lane that a run holds, or shares. */
export interface HeldPlace {
  readonly name: string;
  readonly key: string;
  /** The run that was granted it. */
  readonly place: string;
  /** It tells the place from later ones. Absent only of places that were granted before there were fences. */
  readonly fence?: number;
}

/** The call of another shard that has begun a run. */
export interface RemoteCaller {
  /** The run there that waits for the answer: the carrier of the call. */
  readonly carrier: string;
  /** When that run was created: its key may be used again. */
  readonly since: number;
  /** How many calls of hubs are above the run, this one included. */
  readonly depth: number;
  /** The places that the runs above it hold: what they call shares these. */
  readonly places?: readonly HeldPlace[];
}

/** Where a run belongs in a trace, in words of W3C Trace Context. */
export interface TraceContext {
  /** `traceparent`: the span that has caused the run. */
  readonly parent: string;
  /** `tracestate`. */
  readonly state?: string;
  /** The run may outlive that span: it has a trace of its own, with a link to it. */
  readonly link?: true;
}

/** Calls that one turn opens together. They have the same callee and the same deadline, and differ in their inputs. */
export interface OpenedCalls {
  /** The hub or spoke that is called. */
  readonly callee: string;
  /** The callee is a hub. */
  readonly hub?: true;
  /** Number of the first call. The others follow. A run never uses a number again (I3). */
  readonly first: number;
  /** Position of the first call in its round, from 0. The others follow. Default 0. */
  readonly index?: number;
  /** How many inputs the round has. Only if it opens its calls in parts: the next ones are opened later. */
  readonly of?: number;
  /** What a hub by handlers gave the call, to recognise it. */
  readonly tag?: string;
  /** The input of each call. */
  readonly inputs: readonly unknown[];
  /** The idempotency key of each call, where the hub gives its own. */
  readonly keys?: readonly string[];
  /** The callee's schema does not accept what it has made of the inputs, so they cannot be checked again (stored.ts). */
  readonly transformed?: true;
  /** How many start at once. Default: all. The others are queued: the round has a limit. */
  readonly started?: number;
  /** Deadline of the first attempt, in milliseconds of engine time. Absent for a call of a hub: its run has its own. */
  readonly due?: number;
}

/** A timer of the state that the run waits in. */
export interface Timer {
  /** What it raises: an event of the chart. For a hub by handlers that has set it: its name. */
  readonly event: string;
  /** When it fires, in milliseconds since the run entered the state. It is armed anew if this changes. */
  readonly ms: number;
  /** When it fires, in milliseconds of engine time. */
  readonly due: number;
  /** It has fired, and the run has stayed. */
  readonly fired?: true;
  /** A hub by handlers has set it: it is not written in the chart. */
  readonly set?: true;
}

/** An input that is kept while a run is parked: the one that failed, and those that came later. */
export interface ParkedInput {
  readonly kind:
    "start" | "outcome" | "due" | "callDue" | "signal" | "buffered" | "cancel" | "recheck" | "open";
  readonly [field: string]: unknown;
}

/** What an event changes in the data. See `RunEvent`. */
export interface DataChange {
  readonly patch?: object;
  readonly unset?: readonly string[];
  readonly grown?: Readonly<Record<string, object>>;
}

/** What an event brings after which the run is in the same state. See `RunEvent`. */
export interface Stay extends DataChange {
  readonly by?: string;
  readonly held?: string;
  readonly timers?: readonly Timer[];
  readonly closes?: readonly number[];
  readonly calls?: readonly OpenedCalls[];
}

/** What the sender of a request has said of its way through its lane. */
export interface ArrivalBounds {
  readonly priority?: number;
  /** Bounds the wait and the work together, in milliseconds from when it comes there. */
  readonly deadlineMs?: number;
}

/**
 * Something that happened to a run. The events of a run, in their order, are its history. All times are milliseconds of
 * engine time. In every event:
 * - `at`: when it was decided;
 * - `by`: the event of the chart that a handler raised;
 * - `patch`, `unset`, `grown`: what changes in the run's data: fields with new values, fields to remove, and fields that hold
 *   a long list or map, with the items or entries that are added to it;
 * - `calls`: calls that it opens;
 * - `closes`: the numbers of open calls that it closes by their tags;
 * - `held`: the event that the round holds from now on, until its running attempts are over;
 * - `timers`: all timers of the state, if they are not the same as before;
 * - `givenBy`: who gave the command from which this event and those of the same turn follow, if somebody has shown who it is.
 */
export type RunEvent = Happening & { readonly givenBy?: string };

type Happening =
  /** The request is accepted. */
  | {
      readonly type: "started";
      readonly at: number;
      readonly hub: string;
      /** Version of the hub. */
      readonly version: number;
      readonly request: unknown;
      /** Hash of the canonical request body. */
      readonly hash: string;
      readonly data: unknown;
      /** When the work must be done. */
      readonly deadline: number;
      /** If the hub gives no answer by then, the engine does. */
      readonly answerBy: number;
      /** The call of another run that started this one. */
      readonly parent?: { readonly key: string; readonly call: number };
      /** Instead of `parent`: the call is in another shard. */
      readonly caller?: RemoteCaller;
      /** Where to publish the answer, besides storing it. */
      readonly replyTo?: string;
      /** Where it belongs in a trace, if something else has caused it. */
      readonly trace?: TraceContext;
      /** Only of a hub with a lane. */
      readonly lane?: RunLane;
      readonly labels?: Labels;
    }
  /** The request is accepted, and is pending: all places of its lane are taken, or its time has not come (`startAt`). */
  | {
      readonly type: "accepted";
      readonly at: number;
      readonly hub: string;
      readonly version: number;
      readonly request: unknown;
      readonly hash: string;
      readonly lane?: RunLane;
      /** See `RunStart.recheck`. */
      readonly recheck?: "always" | "never";
      /** It begins, or comes to its lane, at this time. */
      readonly startAt?: number;
      /** Only with `startAt`: how it comes to its lane then. */
      readonly arrival?: ArrivalBounds;
      /** Until when it waits. */
      readonly due: number;
      /** If it has no answer by then, the engine gives one. */
      readonly answerBy: number;
      readonly parent?: { readonly key: string; readonly call: number };
      readonly caller?: RemoteCaller;
      readonly replyTo?: string;
      readonly trace?: TraceContext;
      readonly labels?: Labels;
    }
  /** Its time has come, and all places of its lane are taken. */
  | {
      readonly type: "arrived";
      readonly at: number;
      readonly lane: RunLane;
      /** Until when it waits. */
      readonly due: number;
      readonly answerBy: number;
    }
  /** It has a place in its lane, or its time has come. Its deadline counts from here. */
  | {
      readonly type: "granted";
      readonly at: number;
      /** Of one whose time has come. */
      readonly lane?: RunLane;
      /** Of one that has waited for its place: see `RunLane`. */
      readonly fence?: number;
      readonly version: number;
      readonly data: unknown;
      readonly deadline: number;
      readonly answerBy: number;
      /** Of one whose hub could not give them before. */
      readonly labels?: Labels;
    }
  /** The run enters a state. All its open calls are closed first (I12), unless a migration has `kept` them. */
  | (DataChange & {
      readonly type: "entered";
      readonly at: number;
      readonly state: string;
      /** Absent in the first state, and after a migration to another state. */
      readonly by?: string;
      /** When the wait that begins here is due: by the hub's deadline or a timer. Absent if the run does not wait. */
      readonly due?: number;
      readonly timers?: readonly Timer[];
      /** Names of kept signals that are dropped: no state that takes them can be reached any more. */
      readonly drops?: readonly string[];
      /** The new `answerBy`, if it moves. */
      readonly answerBy?: number;
      /** From here on the run cleans up: the hub's deadline no longer counts. Only in the first such state. */
      readonly late?: true;
      /** A cancel led here. */
      readonly cancelled?: true;
      /** A migration has renamed the state: its open calls go on, with their numbers, attempts and keys. */
      readonly kept?: true;
      readonly calls?: readonly OpenedCalls[];
    })
  /** A call is over, and its outcome has been handled. */
  | (Stay & {
      readonly type: "settled";
      readonly at: number;
      readonly call: number;
      readonly outcome: "ok" | Failure;
    })
  /** The round has opened its next calls. */
  | { readonly type: "opened"; readonly at: number; readonly calls: readonly OpenedCalls[] }
  /** A timer has fired, and the run stays in its state, or holds the event until its running attempts are over. */
  | (Stay & {
      readonly type: "fired";
      readonly at: number;
      readonly timer: string;
    })
  /** An attempt has failed, and another one follows. */
  | {
      readonly type: "failed";
      readonly at: number;
      readonly call: number;
      readonly attempt: number;
      readonly failure: Failure;
      /** When the next attempt begins. */
      readonly due: number;
    }
  /** An attempt begins: the first one of a queued call, or a repetition. */
  | {
      readonly type: "attempt";
      readonly at: number;
      readonly call: number;
      readonly attempt: number;
      /** When it times out. Absent for a call of a hub. */
      readonly due?: number;
      /** The process has died while it ran, more than once: it is made again, and no other suspect beside it (deaths.ts). */
      readonly alone?: true;
    }
  /** The process has ended while attempts were under way, and another one makes them again. */
  | {
      readonly type: "died";
      readonly at: number;
      readonly attempts: readonly {
        readonly call: number;
        /** How often that has happened to its present attempt. */
        readonly deaths: number;
      }[];
    }
  /** The attempt has waited for a place at its worker, or still waits. That is not its time, so it times out later. */
  | {
      readonly type: "waited";
      readonly at: number;
      readonly call: number;
      readonly attempt: number;
      /** When it times out. */
      readonly due: number;
    }
  /** The worker of an attempt has said how far it is. Its next attempt goes on from there. */
  | {
      readonly type: "progressed";
      readonly at: number;
      readonly call: number;
      readonly attempt: number;
      readonly value: unknown;
    }
  /** The run tells a spoke something. It does not wait for the outcome. */
  | {
      readonly type: "told";
      readonly at: number;
      readonly call: number;
      readonly spoke: string;
      /** Only in old histories: it has started a run of this hub. */
      readonly hub?: true;
      readonly input: unknown;
    }
  /** The run starts another one, or sends it a signal. It does not wait for what comes of it. */
  | { readonly type: "posted"; readonly at: number; readonly call: number; readonly post: Post }
  /** A signal has come. */
  | (Stay & {
      readonly type: "signalled";
      readonly at: number;
      /** Id of the command. */
      readonly id: string;
      /** Of what the sender sent, if it gave the id. */
      readonly hash?: string;
      /** Another run has posted it: that run, and which of its posts it is. */
      readonly post?: { readonly from: string; readonly number: number };
      /** So many of the oldest ids of commands does the run forget: they are older than answers are kept. */
      readonly forgets?: number;
      readonly signal: string;
      readonly payload: unknown;
      /** Its schema does not accept what it has made of the payload, so that it cannot be checked again (stored.ts). */
      readonly transformed?: true;
      /** The state has taken it. Otherwise the run keeps it until a state takes it (`received`). */
      readonly taken?: true;
      /** Nobody takes it, now or later. */
      readonly dropped?: true;
    })
  /** A state has taken a kept signal, the oldest of this name. */
  | (Stay & {
      readonly type: "received";
      readonly at: number;
      readonly signal: string;
    })
  /** A cancel is accepted. It moves the run in the first state that has its event. */
  | (DataChange & {
      readonly type: "cancelling";
      readonly at: number;
      /** Id of the command. */
      readonly id: string;
      readonly held?: string;
    })
  /**
   * The request has its answer, and the run goes on: with its clean-up, if the engine has answered since `answerBy` has passed,
   * or with what the hub does after its own answer (`own`). After that no deadline runs.
   */
  | { readonly type: "answered"; readonly at: number; readonly answer: Answer; readonly own?: true }
  /** The run has ended. `answer` is absent if the request had its answer before. `id`: of the resolve that has ended it. */
  | { readonly type: "ended"; readonly at: number; readonly answer?: Answer; readonly id?: string }
  /** A handler has thrown: the run is parked, with the input that it failed on (I16). */
  | {
      readonly type: "incident";
      readonly at: number;
      readonly error: { readonly code: string; readonly message: string; readonly stack?: string };
      readonly input: ParkedInput;
    }
  /** The time of a clean-up passed while nobody worked: it begins anew. */
  | {
      readonly type: "rearmed";
      readonly at: number;
      readonly due: number;
      readonly timers?: readonly Timer[];
      /** The new `answerBy`, if it moves. */
      readonly answerBy?: number;
    }
  /** An input came while the run was parked. It is kept for the retry. */
  | { readonly type: "parked"; readonly at: number; readonly input: ParkedInput }
  /**
   * A retry has been accepted: the run is no longer parked. `left`: it is until all that it keeps is decided, over several
   * batches (`redelivered`).
   */
  | {
      readonly type: "resumed";
      readonly at: number;
      readonly id: string;
      readonly hash?: string;
      readonly left?: true;
    }
  /** A retry has decided so many kept inputs, the first ones. `last`: none is left, and the run is no longer parked. */
  | { readonly type: "redelivered"; readonly at: number; readonly count: number; readonly last?: true }
  /** The run has moved to another version of its hub. `data` is absent if it stayed as it was. */
  | {
      readonly type: "migrated";
      readonly at: number;
      readonly version: number;
      readonly data?: unknown;
      /** Of a round that has inputs without a call: how many it has in this version, and the data of which they are made, unless it is `data`. */
      readonly round?: { readonly of: number; readonly data?: unknown };
      readonly timers?: readonly Timer[];
      /** Of a run whose hub could not give them before: its first turn is made again. */
      readonly labels?: Labels;
    }
  /** The input of an open call lacked fields that today's schema of the callee fills in. */
  | { readonly type: "filled"; readonly at: number; readonly call: number; readonly input: unknown };

/** The first events of a run that has lived for long: they are no longer stored. */
export interface ArchivedEvents {
  readonly type: "archived";
  /** When the last of them happened. */
  readonly at: number;
  /** How many they are. */
  readonly events: number;
  /** The state that they have left the run in. Empty: it had entered none. */
  readonly state: string;
}

/**
 * An event of a history, as it is read. A history whose first events are archived begins with `archived`, which stands for all of
 * them. No run is made of it.
 */
export type HistoryEvent = RunEvent | ArchivedEvents;

/** A signal that no state has taken yet. */
export interface KeptSignal {
  readonly signal: string;
  readonly payload: unknown;
  readonly transformed?: true;
}
