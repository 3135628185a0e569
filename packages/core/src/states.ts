import type { Part as ErasedPart } from "./all.ts";
import { end, stay } from "./chart.ts";

import type { NoOthers, OnceElse } from "./inference.ts";
import type { DeepReadonly } from "./json.ts";
import { type StateLogic, type Step } from "./logic.ts";
import type { StoredData } from "./json-types.ts";
import type { Out, Schema } from "./schema.ts";
import { type Callable, type Failed, type Failure, type Outcome } from "./spoke.ts";
import type { TimerClock } from "./timers.ts";

/*
 * What a hub says about its states: the types of charts, and of `s`, with which each state says what it does.
 */

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

/** The signals of a hub: for each name, the payload as its sender gives it. */
export interface SignalTypes<S> {
  /** For the compiler only. Never set. */
  readonly "~signals"?: (signals: S) => void;
}

/** Goes beside the type of a hub that gets a signal: refuses one that takes none. */
export type Takes<S> = keyof S extends never ? { readonly "the hub takes no signals": never } : unknown;
