import type { RemoteCaller, RunEvent, RunLane, TraceContext } from "./events.ts";
import type { Outcome } from "./spoke.ts";

/** What a decision may know besides the run and the input (I1). */
export interface Env {
  /** Engine time, in whole milliseconds. */
  readonly now: number;
  /** Engine time when the present owner claimed the shard, in milliseconds. Nobody worked just before it. */
  readonly since?: number;
  /** How many calls of a round one turn opens at most. Default 500. */
  readonly maxOpened?: number;
  /** A number in [0, 1) for the jitter of retries. */
  readonly random: number;
  /** Absent: no run forgets an id. */
  readonly memory?: CommandMemory | undefined;
}

/** Ids that came before these times, in engine time, may be forgotten (commands.ts). */
export interface CommandMemory {
  readonly commandsSince: number;
  readonly postsSince: number;
}

/** Which post a signal is: the run that has posted it, and a number that rises with each post of that run. */
export interface Posted {
  readonly from: string;
  readonly number: number;
}

/** See the input `cancel`. */
export const callersCancel = "parent";

/** What can happen to a run that has started. */
export type Input =
  /** An attempt has ended. `epoch` is the run's epoch when the attempt began. */
  | {
      readonly kind: "outcome";
      readonly call: number;
      readonly attempt: number;
      readonly epoch: number;
      readonly outcome: Outcome;
    }
  /**
   * The time of a call has come: its attempt times out, or its next attempt begins. `due`: the attempt has waited for a place
   * at its worker, or still waits, so that it has time until then.
   */
  | { readonly kind: "callDue"; readonly call: number; readonly due?: number }
  /** The worker of an attempt has said how far it is. */
  | {
      readonly kind: "progress";
      readonly call: number;
      readonly attempt: number;
      readonly epoch: number;
      readonly value: unknown;
    }
  /** The deadline of the open wait, or `answerBy`, has passed. */
  | { readonly kind: "due" }
  | (CommandInput & {
      readonly kind: "signal";
      readonly signal: string;
      readonly payload: unknown;
      /** Another run has posted it. */
      readonly post?: Posted;
      /** It was kept with an incident, so that its schema may have changed since. */
      readonly stored?: true;
      /** See the event `signalled`. */
      readonly transformed?: true;
    })
  /**
   * The run goes on in another process, or was parked. What it has stored is held against the schemas of today. `calls`: only the
   * inputs of these.
   */
  | { readonly kind: "recheck"; readonly calls?: readonly number[] }
  /**
   * A process has ended with these attempts under way. `deaths`: how often that is now. `lone`: the call that was the only
   * suspect among all attempts under way.
   */
  | {
      readonly kind: "died";
      readonly attempts: readonly {
        readonly call: number;
        readonly attempt: number;
        readonly deaths: number;
      }[];
      readonly lone?: number;
    }
  /** The round has inputs without a call, and no call that is queued (round.ts). */
  | { readonly kind: "open" }
  /** A suspect may begin (deaths.ts). */
  | { readonly kind: "begin"; readonly call: number; readonly attempt: number }
  /** The run is no longer parked. It takes the signals that came meanwhile, if it waits for them. */
  | { readonly kind: "buffered" }
  /** `callersCancel` is the id of the cancel by which a caller gives its call up. */
  | (Given & { readonly kind: "cancel"; readonly id: string })
  | (CommandInput & { readonly kind: "retry" })
  | (Given & { readonly kind: "resolve"; readonly id: string; readonly message: string });

/** Who gave a command, if that is known. */
type Given = { readonly givenBy?: string };

/** A command that may come once more. */
interface CommandInput extends Given {
  readonly id: string;
  /** Of what the sender sent, if it gave the id: another body under the id is refused. */
  readonly hash?: string;
}

/**
 * Why an input changed nothing.
 * - `late`: the call is closed. `stale`: the input names an earlier attempt or epoch, or its time has not come (I3,
 *   I4).
 * - `duplicate`: a command with this id has been accepted before, or the run is being cancelled already.
 * - `reused`: a command with this id, but with another body, has been accepted before.
 * - `spent`: the run has taken as many named signals as it can remember.
 * - `full`: the run keeps as many signals or parked inputs as it may.
 * - `cleaning-up`: the run is past its work, so there is nothing left to cancel.
 * - `ended`, `not-incident`: the status of the run does not allow the command.
 */
export type Ignored =
  "full" | "late" | "stale" | "duplicate" | "reused" | "spent" | "ended" | "cleaning-up" | "not-incident";

/** What follows from an input: events to persist and apply, in order. Nothing has happened yet. */
export interface Decision {
  readonly events: readonly RunEvent[];
  readonly ignored?: Ignored;
  /** Inputs that came while the run was parked. Decide them next, once the events are applied. */
  readonly redeliver?: readonly Input[];
}

/** What a new run is made from. The hub's schema has validated the request. */
export interface StartOptions {
  readonly request: unknown;
  /** An earlier process has stored it, so that it is held against the schema of today (stored.ts). */
  readonly isStored?: true;
  /** Hash of the canonical request body. It tells a repetition from another request under the same key. */
  readonly hash: string;
  /** The client's own deadline, in milliseconds from now. It can only shorten the hub's. */
  readonly deadlineMs?: number;
  /** The call of another run that started this one. */
  readonly parent?: { readonly key: string; readonly call: number };
  /** Instead of `parent`: the call is in another shard. */
  readonly caller?: RemoteCaller;
  /** Where to publish the answer, besides storing it. */
  readonly replyTo?: string;
  /** Where it belongs in a trace. */
  readonly trace?: TraceContext;
  /** Who sent it, if that is known. */
  readonly givenBy?: string;
  /** The place in its lane that it begins with. */
  readonly lane?: RunLane;
}
