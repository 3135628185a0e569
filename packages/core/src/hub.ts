import type { Part as ErasedPart } from "./all.ts";
import { checkChart, end, stay, takenSignals, type ChartFacts } from "./chart.ts";

export { end, stay };
import { durationText } from "./duration.ts";
import { WheelworkError, type Problem } from "./errors.ts";
import { exclusiveOf, queueMsOf, type Exclusive, type ExclusiveDefinition } from "./exclusive.ts";
import type { Before, Change, DataUnknown, Declared, NoOthers, Once, OnceElse, Seen } from "./inference.ts";
import type { DeepReadonly } from "./json.ts";
import { checkLabels, type LabelsOf } from "./labels.ts";
import {
  deadlineEvent,
  answeredEnd,
  endLogic,
  isWaiting,
  pickLogic,
  type DeadlineEvent,
  type StateLogic,
  type Step,
} from "./logic.ts";
import type { StoredData, StoredSchema, StoredSchemas } from "./json-types.ts";
import type { In, Out, Schema } from "./schema.ts";
import { unknownOfHub } from "./option-names.ts";
import { secretPaths, type SecretPath } from "./secrets.ts";
import {
  isDuration,
  mustBeDuration,
  mustBeName,
  namePattern,
  type Callable,
  type Failed,
  type Failure,
  type Outcome,
} from "./spoke.ts";
import { stateBuilder } from "./state-builder.ts";
import { withoutLogic } from "./stated.ts";
import type { TimerClock } from "./timers.ts";

/** The row of one state: for each event, the state that it leads to, or `stay`. */
export type Row = { readonly [event: string]: string };
/** A chart: state × event → state, as plain data. Runs begin in the first state. */
export type Chart = { readonly [state: string]: typeof end | Row };

/** The chart `C` with each target checked by the compiler: a state of `C`, or `stay`. */
export type CheckedChart<C> = {
  readonly [S in keyof C]: C[S] extends string
    ? typeof end
    : { readonly [Ev in keyof C[S]]: Extract<keyof C, string> | typeof stay };
};

/** A chart whose targets are not checked yet. It has the names of the states, for completion. */
type Sketch<C> = {
  readonly [S in keyof C]: typeof end | { readonly [event: string]: Extract<keyof C, string> | typeof stay };
};

/** All events of a row. */
export type EventsOf<R> = Extract<keyof R, string>;
/** The events of a row that enter a state. The others stay. */
export type MovesOf<R> = { [Ev in EventsOf<R>]: R[Ev] extends typeof stay ? never : Ev }[EventsOf<R>];
/** Every event of a chart. */
export type AnyEventOf<C> = { [S in keyof C]: C[S] extends string ? never : EventsOf<C[S]> }[keyof C];

declare const raised: unique symbol;
/** An event that a handler raises, and the change of the run's data that goes with it. `s.raise` makes it. */
export interface Raise<Ev extends string> {
  readonly raise: Ev;
  readonly patch?: object;
  readonly close?: readonly string[];
  readonly [raised]?: Ev;
}

/** What a handler may return: the name of an event of its row, or `s.raise(event, patch)`. */
export type Next<Ev extends string> = Ev | Raise<Ev>;

/** A call, as handlers of outcomes see it. */
export interface CallView<I> {
  readonly input: DeepReadonly<I>;
  /** Position in its round, from 0. */
  readonly index: number;
}

/** Handles an outcome: the name of the event to raise, or a pure function that chooses it. */
export type OnOutcome<Ev extends string, D, V, I> =
  Ev | ((data: DeepReadonly<D>, value: DeepReadonly<V>, call: CallView<I>) => Next<Ev>);

/**
 * Handlers for every outcome of a call, in one of three forms:
 * - `ok`, `error` and `timeout`;
 * - `ok` and `failed`, which is for errors and timeouts;
 * - `settled`, for all outcomes alike.
 *
 * The order of the fields counts. Where some are missing, the compiler drops forms in this order until one is left, and
 * says what that one lacks.
 */
export type OnOutcomes<Ev extends string, D, I, O, E extends string> =
  | {
      readonly settled?: never;
      readonly failed?: never;
      readonly ok: OnOutcome<Ev, D, O, I>;
      readonly error: OnOutcome<Ev, D, Failed<E>, I>;
      readonly timeout: OnOutcome<Ev, D, { readonly kind: "timeout" }, I>;
    }
  | {
      readonly ok: OnOutcome<Ev, D, O, I>;
      readonly failed: OnOutcome<Ev, D, Failure<E>, I>;
      readonly error?: never;
      readonly timeout?: never;
      readonly settled?: never;
    }
  | {
      readonly settled: OnOutcome<Ev, D, Outcome<O, E>, I>;
      readonly ok?: never;
      readonly error?: never;
      readonly timeout?: never;
      readonly failed?: never;
    };

/**
 * What the deadline of a wait raises: the name of an event, or the event and a function that gives the patch. `open`
 * lists the calls that have not settled. The event itself is never computed. So it is known before any run which states
 * may come after a deadline, and how long they take.
 */
export type OnDeadline<MoveEv extends string, D, I, K extends PropertyKey> =
  | MoveEv
  | {
      readonly raise: MoveEv;
      readonly patch: (data: DeepReadonly<D>, open: readonly CallView<I>[]) => Partial<D> & NoOthers<K, D>;
    };

/**
 * When a timer fires, in milliseconds since the run entered the state: a constant, or a pure function of the data. It is
 * evaluated when the run enters the state, after each outcome, signal and timer that stays, and after a migration. Another
 * value arms the timer anew, also if it has fired. `null` disarms it.
 */
export type TimerMs<D> = number | ((data: DeepReadonly<D>, clock: TimerClock) => number | null);

/**
 * When a timer fires, and what it changes in the data then. `open` lists the calls that have not settled, and `now` of the clock is
 * when it fires: it may be late, if nobody worked when it was due.
 */
export type OnTimer<D, I, K extends PropertyKey = never> =
  | TimerMs<D>
  | {
      readonly ms: TimerMs<D>;
      readonly patch?: (
        data: DeepReadonly<D>,
        open: readonly CallView<I>[],
        clock: TimerClock,
      ) => Partial<D> & NoOthers<K, D>;
    };

/** The options of every state that waits. `R` is its row. `K` is the names of the fields in its patches, for
 * `NoOthers`. */
export interface WaitOptions<R, D, I, Sig extends SignalSchemas, K extends PropertyKey> {
  /** What to raise when the hub's deadline has passed. Default: the hub's `deadline`. Not in the clean-up. */
  readonly deadline?: OnDeadline<MovesOf<R>, D, I, K>;
  /**
   * Timers of the state, each by the event that it raises. In the clean-up, one that leaves the state must have a constant
   * time. Of timers that are due at the same time, the one that is written first fires first, after the hub's deadline.
   */
  readonly after?: { readonly [Ev in EventsOf<R>]?: OnTimer<D, I, K> };
  /** Signals that the state takes, in the order in which they have come. One that came before the run entered it is taken at once. */
  readonly on?: {
    readonly [S in keyof Sig]?:
      EventsOf<R> | ((data: DeepReadonly<D>, payload: DeepReadonly<Out<Sig[S]>>) => Next<EventsOf<R>>);
  };
}

/** An option of every state that calls. */
interface DrainOptions {
  /**
   * Holds an event that leaves the state until the running attempts are over, or the deadline passes (in the clean-up: a
   * timer fires). So no work lands after the clean-up that follows. Calls that are queued or in backoff are given up, and
   * the state takes no signal any more. Default: false.
   */
  readonly drain?: boolean;
}

/** Options of `s.call`. */
export type CallOptions<
  R,
  D,
  I,
  O,
  E extends string,
  Sig extends SignalSchemas,
  K extends PropertyKey,
> = WaitOptions<R, D, I, Sig, K> &
  DrainOptions &
  OnOutcomes<MovesOf<R>, D, I, O, E> & {
    readonly input: (data: DeepReadonly<D>) => I;
    /** Your own idempotency key for the call. The worker gets it with the spoke's name and the request before it. */
    readonly key?: (input: DeepReadonly<I>) => string;
  };

/** Options of `s.each`. */
export type EachOptions<
  R,
  D,
  I,
  O,
  E extends string,
  Sig extends SignalSchemas,
  K extends PropertyKey,
> = WaitOptions<R, D, I, Sig, K> &
  DrainOptions &
  OnOutcomes<EventsOf<R>, D, I, O, E> & {
    /**
     * One call for each input, side by side. No inputs: `done` at once. `null`: start nothing and wait for the
     * deadline.
     */
    readonly inputs: (data: DeepReadonly<D>) => readonly I[] | null;
    /** What to raise when every call has settled and none has moved the run. */
    readonly done: MovesOf<R> | ((data: DeepReadonly<D>) => Next<MovesOf<R>>);
    /**
     * How many calls run at the same time. The others are queued. Default: all run. A pure function of the data is evaluated
     * after each outcome, signal and timer that stays. 0 starts no more calls: those that run go on.
     */
    readonly limit?: number | ((data: DeepReadonly<D>) => number);
    /** Your own idempotency key for each call. */
    readonly key?: (input: DeepReadonly<I>, index: number) => string;
  };

/** One call of `s.all`, as handlers of outcomes see it. */
export interface PartView<I> extends CallView<I> {
  /** The name of its part. */
  readonly tag: string;
}

/** Handles an outcome of a part. */
export type OnPart<R, D, V, I> =
  EventsOf<R> | ((data: DeepReadonly<D>, value: DeepReadonly<V>, call: PartView<I>) => Next<EventsOf<R>>);

/** How failures are handled: `failed` is for errors and timeouts that have no handler of their own. */
export interface OnFailures<R, D, I, E extends string> {
  readonly error?: OnPart<R, D, Failed<E>, I>;
  readonly timeout?: OnPart<R, D, { readonly kind: "timeout" }, I>;
  readonly failed?: OnPart<R, D, Failure<E>, I>;
}

/** Options of `s.part`. */
export interface PartOptions<R, D, I, O, E extends string> extends OnFailures<R, D, I, E> {
  /** `null`: the part calls nothing. */
  readonly input: (data: DeepReadonly<D>) => I | null;
  /** Default: a success changes nothing. An event that leaves the state closes the calls of the other parts: a race. */
  readonly ok?: OnPart<R, D, O, I>;
  /** Your own idempotency key for the call. */
  readonly key?: (input: DeepReadonly<I>) => string;
}

/** Options of `s.all`. Its `error`, `timeout` and `failed` are for the failures that a part does not handle. */
export type AllOptions<R, D, Sig extends SignalSchemas, K extends PropertyKey> = WaitOptions<
  R,
  D,
  unknown,
  Sig,
  K
> &
  DrainOptions &
  OnFailures<R, D, unknown, string> & {
    /** For failures that nobody else handles. */
    readonly failed: OnPart<R, D, Failure, unknown>;
    /** What to raise when every call has settled and none has moved the run. If no part calls anything: at once. */
    readonly done: MovesOf<R> | ((data: DeepReadonly<D>) => Next<MovesOf<R>>);
  };

/** One part of `s.all`. `s.part` makes it. */
export interface Part<R, D> {
  readonly part: ErasedPart;
  readonly "~part"?: (row: R, data: D) => void;
}

/** One step of `s.sequence`. `s.step` makes it. */
export interface SequenceStep<D> {
  readonly step: Step;
  readonly "~data"?: (data: D) => void;
}

/**
 * What `s` offers to one state. The compiler checks its events against the state's row, and its data against the hub's.
 */
export interface StateBuilder<R, D, Sig extends SignalSchemas, Rep, E extends string> {
  /**
   * Raises an event of this state's row and changes the data. A field set to undefined is removed. `close` names parts of
   * `s.all` whose calls are closed, if the event stays: what they may still bring is ignored.
   */
  raise<Ev extends EventsOf<R>>(
    event: Ev,
    patch?: Partial<D>,
    options?: { readonly close?: readonly string[] },
  ): Raise<Ev>;
  /** Does not wait: chooses an event from the data. */
  pick(choose: (data: DeepReadonly<D>) => Next<MovesOf<R>>): Behaviour<R, D>;
  /** Calls a spoke or a hub once. */
  call<I, O, E extends string, K extends PropertyKey = never>(
    callee: Callable<I, O, E>,
    options: CallOptions<R, D, NoInfer<I>, NoInfer<O>, NoInfer<E>, Sig, K>,
  ): Behaviour<R, D>;
  /** Calls a spoke or a hub once for each input, side by side. */
  each<I, O, E extends string, K extends PropertyKey = never>(
    callee: Callable<I, O, E>,
    options: EachOptions<R, D, NoInfer<I>, NoInfer<O>, NoInfer<E>, Sig, K>,
  ): Behaviour<R, D>;
  /** One call of `all`. */
  part<I, O, E extends string>(
    callee: Callable<I, O, E>,
    options: PartOptions<R, D, NoInfer<I>, NoInfer<O>, NoInfer<E>>,
  ): Part<R, D>;
  /** Calls several spokes and hubs once each, side by side. The name of a part is the `tag` of its call. */
  all<K extends PropertyKey = never>(
    parts: { readonly [name: string]: Part<R, D> },
    options: AllOptions<R, D, Sig, K>,
  ): Behaviour<R, D>;
  /** One step of a `sequence`. `ok` returns what to change in the data. */
  step<I, O, E extends string, K extends PropertyKey = never>(
    callee: Callable<I, O, E>,
    options: {
      readonly input: (data: DeepReadonly<D>) => NoInfer<I>;
      readonly ok?: (data: DeepReadonly<D>, output: DeepReadonly<NoInfer<O>>) => Partial<D> & NoOthers<K, D>;
    },
  ): SequenceStep<D>;
  /** Makes calls one after another. The first one that fails ends it. */
  sequence<K extends PropertyKey = never>(
    steps: readonly SequenceStep<D>[],
    options: WaitOptions<R, D, unknown, Sig, K> &
      DrainOptions & {
        readonly failed: OnOutcome<MovesOf<R>, D, Failure, unknown>;
        readonly done: MovesOf<R> | ((data: DeepReadonly<D>) => Next<MovesOf<R>>);
      },
  ): Behaviour<R, D>;
  /**
   * Waits for a signal from outside, or for a timer. `idle`: for ever, if need be. That is for states after the hub's answer:
   * something that lives as long as it gets signals, and that a cancel ends.
   */
  wait<K extends PropertyKey = never>(
    options: WaitOptions<R, D, unknown, Sig, K> & { readonly idle?: boolean },
  ): Behaviour<R, D>;
  /**
   * Answers the request, as an end does, and goes on by `next`. After that no deadline runs: each wait needs a timer with a
   * constant time, or is idle. The behaviour of an end that follows is `answered`.
   */
  answer(
    reply: (data: DeepReadonly<D>, s: EndBuilder<E>) => Rep | Failing<E>,
    options: { readonly next: MovesOf<R> },
  ): Behaviour<R, D>;
  /** Gives a spoke work, does not wait for the outcome, and goes on. It has a day. `null`: gives it nothing. */
  tell<I>(
    spoke: Callable<I, unknown, string> & { readonly kind: "spoke" },
    options: { readonly input: (data: DeepReadonly<D>) => NoInfer<I> | null; readonly next: MovesOf<R> },
  ): Behaviour<R, D>;
  /**
   * Starts a run of a hub that is independent of this one and outlives it, does not wait for its answer, and goes on. `null`:
   * starts nothing. A hub that cannot be named here yet is given by its name; its input is then checked when the run starts.
   */
  start<I>(
    hub: (Callable<I, unknown, string> & { readonly kind: "hub" }) | string,
    options: {
      readonly input: (data: DeepReadonly<D>) => NoInfer<I> | null;
      /** The key of the request: the same key is the same request. Default: one that no other start has. */
      readonly key?: (data: DeepReadonly<D>) => string;
      /** When it begins, in milliseconds since 1970. Default: now. */
      readonly startAt?: (data: DeepReadonly<D>) => number;
      readonly next: MovesOf<R>;
    },
  ): Behaviour<R, D>;
  /**
   * Sends a signal to another run, and goes on. The run gets it once, and after all that this run has sent it before. If there
   * is no such run, or it has ended, the signal is lost: it is listed (`status: "lost"`), and this run goes on all the same.
   */
  signalRun<S = AnySignals, N extends keyof S & string = keyof S & string>(
    hub: (Callable<never, unknown, string> & { readonly kind: "hub" } & SignalTypes<S> & Takes<S>) | string,
    options: {
      /** The id of the request, or its key if the hub has no lane. `null`: sends nothing. */
      readonly id: (data: DeepReadonly<D>) => string | null;
      readonly signal: N;
      readonly payload: (data: DeepReadonly<D>) => NoInfer<S[N]>;
      readonly next: MovesOf<R>;
    },
  ): Behaviour<R, D>;
}

/** Signals of a hub that is known by its name only. */
interface AnySignals {
  readonly [signal: string]: unknown;
}

declare const behaves: unique symbol;
/** The behaviour of a state with the row `R`. The functions of `s` make it. */
export interface Behaviour<R, D> {
  readonly logic: StateLogic;
  readonly [behaves]?: (row: R, data: D) => void;
}

/** An error of the hub, as the answer. `s.fail` of an end state makes it. */
export interface Failing<E extends string> {
  readonly "~fail": { readonly code: E; readonly message: string; readonly details?: unknown };
}

declare const noReply: unique symbol;
/** The reply of an end whose request was answered before: none. */
export interface Answered {
  readonly [noReply]: true;
}

/** The behaviour of an end that is reached after a state that answers (`s.answer`). */
export const answered = (): Answered => answeredAlready;

const answeredAlready = {} as Answered;

/** What an end state gets besides the data. */
export interface EndBuilder<E extends string> {
  /** Answers the request with an error that the hub declares. Return what it returns. */
  fail<T>(code: E, message: string, details?: T & StoredData<T>): Failing<E>;
}

/**
 * What each state does: the name of an event (the state passes), a behaviour, or, in an end state, the answer: `answered` if a
 * state before it has always given it. An end that is also reached before the answer returns it, and is called only then.
 */
export type Behaviours<C, D, R, E extends string, Sig extends SignalSchemas> = {
  readonly [S in keyof C]: C[S] extends string
    ? (data: DeepReadonly<D>, s: EndBuilder<E>) => R | Failing<E> | Answered
    : MovesOf<C[S]> | ((s: StateBuilder<C[S], D, Sig, R, E>) => Behaviour<C[S], D>);
};

/** What each state does, once the data is known. Until then, anything: see inference.ts. */
export type StatesOnce<C, D, R, E extends string, Sig extends SignalSchemas> = OnceElse<
  D,
  Behaviours<C, Awaited<D>, R, E, Sig>,
  { readonly [S in keyof C]?: string | Behaviours<C, any, R, E, Sig>[S] } & {
    readonly [state: string]: unknown;
  }
>;

/** The signals that a hub takes: for each name, the schema of its payload. */
export type SignalSchemas = { readonly [name: string]: Schema };

/** The run that begins, as `data` sees it. What `data` keeps of it is stored with the rest. */
export interface NewRun {
  /** The id of the request, by which others ask for it, send it signals and cancel it. Of a call of a hub: that of its own run. */
  readonly id: string;
  /** The key of the request: for a hub with a lane, the id without the mark of the lane. Of a call of a hub: its id. */
  readonly key: string;
  /** The time, in milliseconds of engine time. */
  readonly now: number;
}

/** A run as `migrate` sees it. */
export interface MigratedRun {
  readonly state: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** The declaration of a hub. */
export interface HubSpec<
  Req extends Schema,
  Rep extends Schema,
  C,
  D extends object,
  E extends string,
  Sig extends SignalSchemas,
  K extends PropertyKey,
  V,
> {
  /** The schema of requests. What it makes of them is stored, so it must be JSON. */
  readonly request: Once<D, Req & StoredSchema<Req>>;
  /** The schema of results. What it makes of them is stored, so it must be JSON. */
  readonly reply: Once<D, Rep & StoredSchema<Rep>>;
  /** Codes of the errors that the hub may answer with. Default: none. */
  readonly errors?: Once<D, readonly E[]>;
  /** Bounds the work, in milliseconds from when the request is accepted, or from when its turn comes (`exclusive`). */
  readonly deadlineMs: Once<D, number | ((request: Out<Req>) => number)>;
  /** Which requests exclude one another, and what one does that comes while others work. Default: all run side by side. */
  readonly exclusive?: Once<D, Exclusive<Out<Req>>>;
  /**
   * What requests are found by, besides what the engine knows of them: `labels: ({ tenant }) => ({ tenant })`. They are stored once,
   * when the request is accepted. 8 at most, each a text of 1 to 200 characters. Whoever may list requests sees them. Default: none.
   */
  readonly labels?: Once<D, LabelsOf<Out<Req>>>;
  /** State × event → state, or `stay`. Runs begin in the first state. */
  readonly chart: OnceElse<D, CheckedChart<C>, C | Sketch<C>>;
  /**
   * The data of a new run. It must be plain JSON. Write it before `cancel`, `deadline` and `view`, which use its type. To use the
   * id of the request later, keep it here: `data: (request, { id }) => ({ id, … })`.
   */
  readonly data: (request: Out<Req>, run: NewRun) => D & StoredData<D>;
  /** Default: none. */
  readonly signals?: Once<D, Sig & StoredSchemas<Sig>>;
  /**
   * The event that a cancel raises, in the first state that has it. Default: the deadline's event of the state, as if the
   * time were over now: a hub that knows how to clean up after its deadline cleans up after a cancel, too. With `end`, a
   * cancel closes the open calls and answers with the error WW_CANCELLED at once: nothing is cleaned up.
   */
  readonly cancel?:
    | Once<D, NoInfer<AnyEventOf<C>>>
    | typeof end
    | {
        readonly raise: Once<D, NoInfer<AnyEventOf<C>>>;
        readonly patch: ((data: Seen<D>) => NoInfer<Change<D>> & NoOthers<K, NoInfer<D>>) | Before<D>;
      };
  /**
   * What `request(id)` and `GET /requests/{id}` show of the data, as `view`: progress, for example. It is called whenever somebody
   * asks, while the run lives and after. It must be a pure function that returns plain JSON. If it throws, the view says
   * so, and the run does not notice. Default: none.
   */
  readonly view?: ((data: Seen<D>) => V & StoredData<V>) | Before<D>;
  /**
   * The event that the hub's deadline raises, in each state that waits and names no other. States that it leads to are the
   * clean-up, and all that follow them.
   */
  readonly deadline?:
    | Once<D, NoInfer<AnyEventOf<C>>>
    | {
        readonly raise: Once<D, NoInfer<AnyEventOf<C>>>;
        readonly patch:
          | ((
              data: Seen<D>,
              open: readonly CallView<unknown>[],
            ) => NoInfer<Change<D>> & NoOthers<K, NoInfer<D>>)
          | Before<D>;
      };
  /**
   * States that are clean-up besides those that the deadline's event leads to, such as the compensation that an error reaches.
   * The hub's deadline does not count in them, nor in all that follow them, and a cancel changes nothing.
   */
  readonly cleanUp?: Once<D, readonly NoInfer<Extract<keyof C, string>>[]>;
  /**
   * Fields that nobody should see: `card`, or `payment.card` for the field of another one. Each field of that name is hidden over
   * HTTP, however deep, and what messages of failures repeat of it is hidden in histories and logs. See docs/security.md.
   */
  readonly secret?: Once<D, readonly string[]>;
  /** Signals that are dropped if they come while no state takes them. Default: a signal is kept until a state takes it. */
  readonly dropSignals?: Once<D, readonly NoInfer<Extract<keyof Sig, string>>[]>;
  /** Raise it when you change the chart or the data. Default: 1. */
  readonly version?: Once<D, number>;
  /** For each older version: what a live run becomes in the next version. */
  readonly migrate?: Once<D, { readonly [fromVersion: number]: (run: MigratedRun) => MigratedRun }>;
}

/** A hub: how one kind of request is worked on and answered. Other hubs can call it. */
export interface Hub<I = unknown, O = unknown, E extends string = string> extends Callable<I, O, E> {
  readonly kind: "hub";
  /** For engines and tools. */
  readonly definition: HubDefinition;
}

/** The signals of a hub: for each name, the payload as its sender gives it. */
export interface SignalTypes<S> {
  /** For the compiler only. Never set. */
  readonly "~signals"?: (signals: S) => void;
}

/** Goes beside the type of a hub that gets a signal: refuses one that takes none. */
export type Takes<S> = keyof S extends never ? { readonly "the hub takes no signals": never } : unknown;

/** Any hub. `Hub<I>` is contravariant in its input `I`, so `Hub<never>` is what all hubs have in common. */
export type AnyHub = Hub<never>;

/** A hub as the kernel sees it: `HubSpec` without its types, and what its chart says. */
export interface HubDefinition {
  readonly name: string;
  readonly version: number;
  readonly request: Schema<unknown, unknown>;
  readonly reply: Schema<unknown, unknown>;
  readonly errors: readonly string[];
  readonly chart: Chart;
  /** The state in which runs begin. */
  readonly initial: string;
  readonly states: ReadonlyMap<string, StateDefinition>;
  readonly deadlineMs: (request: unknown) => number;
  /** Its lane. undefined: its requests run side by side. */
  readonly exclusive: ExclusiveDefinition | undefined;
  /** What makes the labels of a request (labels.ts). */
  readonly labels: LabelsOf<unknown> | undefined;
  readonly data: (request: unknown, run: NewRun) => unknown;
  readonly signals: SignalSchemas;
  /** What is shown of the data. */
  readonly view: ((data: unknown) => unknown) | undefined;
  /** Fields that nobody should see. */
  readonly secrets: readonly SecretPath[];
  readonly dropSignals: ReadonlySet<string>;
  /** What a cancel raises. `end`: it ends the run at once. Undefined: the deadline's event of the state. */
  readonly cancel:
    { readonly raise: string; readonly patch?: (data: unknown) => object } | typeof end | undefined;
  readonly migrate: { readonly [fromVersion: number]: (run: MigratedRun) => MigratedRun };
  /** The hubs and spokes that it calls, by name. */
  readonly callees: ReadonlyMap<string, Callable>;
  /** The longest time that the clean-up takes after the deadline, in milliseconds. */
  readonly afterDeadlineMs: number;
  /** By when each request is answered: a sentence for people. */
  readonly answerBy: string;
}

/** One state as the kernel sees it. */
export interface StateDefinition {
  readonly name: string;
  readonly row: Row;
  readonly logic: StateLogic;
  /** A run may enter the state after the hub's deadline: it belongs to the clean-up. */
  readonly late: boolean;
  /** For a late state: the longest time from entering it to the answer, in milliseconds. 0 for the others. */
  readonly remainingMs: number;
  /** The signals that it takes, or a state that can be reached from it. */
  readonly takes: ReadonlySet<string>;
}

export type AnySchema = Schema<any, any>;

/** The hub of a chart, without the types that its callers do not need. */
type MadeHub<Req extends Schema, Rep extends Schema, E extends string, Sig extends SignalSchemas> = Hub<
  In<Req>,
  Out<Rep>,
  E
> &
  SignalTypes<{ readonly [N in keyof Sig]: In<Sig[N]> }>;

/**
 * Defines a hub by its chart, as FlowCrudServiceFsm of the original proof of concept was.
 * @param name A letter, then letters, digits, `_`, `.` or `-`; 100 characters at most.
 * @param behaviours What each state does, by its name.
 * @throws WheelworkError WW_BAD_HUB with every problem. Examples: edges to states that do not exist, unreachable
 * states, dead ends, endless cycles of states that pass, waits in the clean-up without a constant timer or in a cycle.
 */
export function hub<
  const C extends object,
  Req extends Schema = AnySchema,
  Rep extends Schema = AnySchema,
  D extends object = DataUnknown,
  const E extends string = never,
  Sig extends SignalSchemas = Record<never, never>,
  K extends PropertyKey = never,
  V = unknown,
>(
  name: string,
  spec: Declared<HubSpec<Req, Rep, C, D, E, Sig, K, V>, D, "request" | "reply" | "deadlineMs" | "chart">,
  behaviours: StatesOnce<NoInfer<C>, NoInfer<D>, In<NoInfer<Rep>>, NoInfer<E>, NoInfer<Sig>>,
): MadeHub<Req, Rep, E, Sig> {
  const erased = spec as unknown as ErasedSpec;
  const { chart } = erased;
  const logics = new Map<string, StateLogic>();
  for (const [state, behaviour] of Object.entries(behaviours as Record<string, unknown>)) {
    logics.set(state, logicOf(chart[state], behaviour));
  }
  return defineHub(name, erased, chart, logics, unknownOfHub(erased)) as MadeHub<Req, Rep, E, Sig>;
}

/** A specification without its types. */
export type ErasedSpec = HubSpec<Schema, Schema, Chart, object, string, SignalSchemas, never, unknown>;

/**
 * Checks a chart with its logics, and makes the hub. Hubs by chart and hubs by handlers both come through here. `unknown`: what the
 * declaration has that is no option.
 * @throws WheelworkError WW_BAD_HUB with every problem.
 */
export function defineHub(
  name: string,
  spec: ErasedSpec,
  chart: Chart,
  logics: ReadonlyMap<string, StateLogic>,
  unknown: readonly Problem[] = [],
): Hub {
  const { deadlineMs, cancel } = spec;
  const problems = [...unknown];
  if (!namePattern.test(name)) {
    problems.push({ path: "name", message: mustBeName });
  }
  if (typeof deadlineMs === "number" && !isDuration(deadlineMs)) {
    problems.push({ path: "deadlineMs", message: mustBeDuration });
  }
  const version = spec.version ?? 1;
  if (!Number.isInteger(version) || version < 1) {
    problems.push({ path: "version", message: "must be a whole number from 1" });
  }
  const event = cancel === end ? undefined : typeof cancel === "object" ? cancel.raise : cancel;
  if (
    event !== undefined &&
    !Object.values(chart).some((row) => typeof row === "object" && Object.hasOwn(row, event))
  ) {
    problems.push({ path: "cancel", message: `no state has the event ${event}` });
  }
  for (const [state, logic] of logics) {
    const unknown = (logic.signals ?? []).filter((signal) => !Object.hasOwn(spec.signals ?? {}, signal));
    for (const signal of unknown)
      problems.push({ path: `behaviours.${state}.on`, message: `the hub declares no signal ${signal}` });
  }
  const exclusive = exclusiveOf(spec.exclusive as Exclusive<unknown> | undefined, problems);
  checkLabels(spec.labels, problems);
  for (const signal of spec.dropSignals ?? [])
    if (!Object.hasOwn(spec.signals ?? {}, signal))
      problems.push({ path: "dropSignals", message: `the hub declares no signal ${signal}` });
  for (const path of spec.secret ?? [])
    if (typeof path !== "string" || path.split(".").includes(""))
      problems.push({
        path: "secret",
        message: "must be names of fields, with dots between those of a path",
      });
  const deadline = spec.deadline === undefined ? undefined : deadlineEvent(spec.deadline as DeadlineEvent);
  const facts: ChartFacts = checkChart(chart, logics, {
    deadline,
    cleanUp: spec.cleanUp,
    cancel: cancel === end ? end : event,
  });
  problems.push(...facts.problems);
  if (problems.length > 0) {
    throw new WheelworkError("WW_BAD_HUB", `the hub ${JSON.stringify(name)} cannot be used`, {
      problems,
      next: "Correct what is listed.",
    });
  }
  const callees = new Map<string, Callable>();
  const states = new Map<string, StateDefinition>();
  const taken = takenSignals(chart, logics);
  for (const [state, row] of Object.entries(chart)) {
    const late = facts.late.has(state);
    const given = logics.get(state) as StateLogic;
    const takesDeadline = deadline !== undefined && !late && given.deadline === undefined && isWaiting(given);
    const logic = takesDeadline ? { ...given, deadline } : given;
    for (const callee of logic.callees) callees.set(callee.name, callee);
    states.set(state, {
      name: state,
      // It has no prototype: an event named "toString" must not find anything.
      row: Object.assign(Object.create(null) as Row, row === end ? {} : row),
      logic,
      late,
      remainingMs: facts.remainingMs.get(state) ?? 0,
      takes: taken.get(state) as ReadonlySet<string>,
    });
  }
  const { afterDeadlineMs } = facts;
  const bound =
    typeof deadlineMs === "number"
      ? durationText(queueMsOf(exclusive, deadlineMs) + deadlineMs + afterDeadlineMs)
      : `its deadline${waitText(exclusive)}${afterDeadlineMs === 0 ? "" : ` + ${durationText(afterDeadlineMs)}`}`;
  const definition: HubDefinition = {
    name,
    version,
    request: spec.request,
    reply: spec.reply,
    errors: spec.errors ?? [],
    chart,
    initial: Object.keys(chart)[0] as string,
    states,
    deadlineMs:
      typeof deadlineMs === "number" ? () => deadlineMs : (deadlineMs as (request: unknown) => number),
    exclusive,
    labels: spec.labels as LabelsOf<unknown> | undefined,
    data: spec.data as HubDefinition["data"],
    signals: spec.signals ?? {},
    view: spec.view as ((data: unknown) => unknown) | undefined,
    secrets: secretPaths(spec.secret ?? []),
    dropSignals: new Set(spec.dropSignals),
    cancel:
      event === undefined
        ? cancel === end
          ? end
          : undefined
        : typeof cancel === "object"
          ? { raise: event, patch: cancel.patch as (data: unknown) => object }
          : { raise: event },
    migrate: spec.migrate ?? {},
    callees,
    afterDeadlineMs,
    answerBy: `${name} answers each request within ${bound}`,
  };
  return Object.freeze({ kind: "hub" as const, name, errors: definition.errors, definition });
}

/** How long a request may wait for its turn, for people. */
const waitText = (exclusive: ExclusiveDefinition | undefined): string =>
  exclusive === undefined
    ? ""
    : exclusive.queueMs === undefined
      ? ", and as long for its turn,"
      : ` + ${durationText(exclusive.queueMs)}`;

const noBehaviour = withoutLogic("pass", {
  problems: [
    { path: "", message: "must be the name of an event, or a function that returns what s has made" },
  ],
  events: [],
});

/** A string passes. The behaviour of an end state is its reply, and all others are made by `s`. */
function logicOf(row: string | Row | undefined, behaviour: unknown): StateLogic {
  if (behaviour === answered) return answeredEnd;
  if (typeof behaviour === "string") return pickLogic(() => behaviour, behaviour);
  if (typeof behaviour !== "function") return noBehaviour;
  if (typeof row !== "object")
    return endLogic(behaviour as (data: unknown, s: EndBuilder<string>) => unknown);
  const made: unknown = (behaviour as (s: unknown) => unknown)(stateBuilder);
  return (made as Partial<Behaviour<unknown, unknown>> | undefined)?.logic ?? noBehaviour;
}
