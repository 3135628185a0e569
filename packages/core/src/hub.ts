import { checkChart, end, stay, type ChartFacts } from "./chart.ts";

export { end, stay };
import { durationText } from "./duration.ts";
import { WheelworkError } from "./errors.ts";
import type { DeepReadonly } from "./json.ts";
import {
  eachLogic,
  endLogic,
  pickLogic,
  sequenceLogic,
  tellLogic,
  waitLogic,
  type StateLogic,
  type Step,
} from "./logic.ts";
import type { In, Out, Schema } from "./schema.ts";
import { isDuration, namePattern, type Callable, type Failed, type Failure, type Outcome } from "./spoke.ts";

/** The row of one state: which event leads to which state. */
export type Row = { readonly [event: string]: string };
/** A chart: state × event → state, as plain data. The first state is the initial one. */
export type Chart = { readonly [state: string]: typeof end | Row };

/** The chart `C` with each target checked: a state of `C`, or `stay`. */
export type CheckedChart<C> = {
  readonly [S in keyof C]: C[S] extends string
    ? typeof end
    : { readonly [Ev in keyof C[S]]: C[S][Ev] extends typeof stay ? typeof stay : Extract<keyof C, string> };
};

/** All events of a row. */
export type EventsOf<R> = Extract<keyof R, string>;
/** The events of a row that lead to another entry of a state, not those that stay. */
export type MovesOf<R> = { [Ev in EventsOf<R>]: R[Ev] extends typeof stay ? never : Ev }[EventsOf<R>];
/** Every event of a chart. */
export type AnyEventOf<C> = { [S in keyof C]: C[S] extends string ? never : EventsOf<C[S]> }[keyof C];

declare const raised: unique symbol;
/** An event that a handler raises, with the change of the run's data that goes with it. Made by `s.raise`. */
export interface Raise<Ev extends string> {
  readonly raise: Ev;
  readonly patch?: object;
  readonly [raised]?: Ev;
}

/** What a handler of an outcome may return: the name of an event of its row, or `s.raise(event, patch)`. */
export type Next<Ev extends string> = Ev | Raise<Ev>;

/** A call as outcome handlers see it. */
export interface CallView<I> {
  readonly input: DeepReadonly<I>;
  /** Position in the round, from 0. */
  readonly index: number;
}

/** Handles an outcome: the name of the event that it raises, or a function that finds it. */
export type OnOutcome<Ev extends string, D, V, I> =
  Ev | ((data: DeepReadonly<D>, value: DeepReadonly<V>, call: CallView<I>) => Next<Ev>);

/**
 * The outcomes of a call, handled exhaustively: success, error and timeout; or success and any failure; or all alike.
 */
export type OnOutcomes<OkEv extends string, FailEv extends string, D, I, O, E extends string> =
  | {
      readonly ok: OnOutcome<OkEv, D, O, I>;
      readonly error: OnOutcome<FailEv, D, Failed<E>, I>;
      readonly timeout: OnOutcome<FailEv, D, { readonly kind: "timeout" }, I>;
      readonly failed?: never;
      readonly settled?: never;
    }
  | {
      readonly ok: OnOutcome<OkEv, D, O, I>;
      readonly failed: OnOutcome<FailEv, D, Failure<E>, I>;
      readonly error?: never;
      readonly timeout?: never;
      readonly settled?: never;
    }
  | {
      readonly settled: OnOutcome<FailEv, D, Outcome<O, E>, I>;
      readonly ok?: never;
      readonly error?: never;
      readonly timeout?: never;
      readonly failed?: never;
    };

/**
 * What the deadline of a wait raises: the name of an event, or the event with a function that gives the patch. `open`
 * lists the calls that have not settled. The name is not left to a function, so that it is known before the hub runs
 * which states come after a deadline.
 */
export type OnDeadline<MoveEv extends string, D, I = unknown> =
  | MoveEv
  | {
      readonly raise: MoveEv;
      readonly patch: (data: DeepReadonly<D>, open: readonly CallView<I>[]) => Partial<D>;
    };

/** What every state that waits takes. */
export interface WaitOptions<MoveEv extends string, D, I = unknown> {
  /** What happens when the hub's deadline, or `withinMs`, has passed. */
  readonly deadline: OnDeadline<MoveEv, D, I>;
  /** Longest stay in this state, in milliseconds. Compulsory where the state can be entered after the hub's deadline. */
  readonly withinMs?: number;
}

/** Options of `s.call`. */
export type CallOptions<Ev extends string, MoveEv extends string, D, I, O, E extends string> = WaitOptions<
  MoveEv,
  D,
  I
> &
  OnOutcomes<MoveEv, MoveEv, D, I, O, E> & {
    readonly input: (data: DeepReadonly<D>) => I;
    /** An idempotency key of your own; it is prefixed with the spoke's name and the request. */
    readonly key?: (input: DeepReadonly<I>) => string;
    readonly "~row"?: Ev;
  };

/** Options of `s.each`. */
export type EachOptions<Ev extends string, MoveEv extends string, D, I, O, E extends string> = WaitOptions<
  MoveEv,
  D,
  I
> &
  OnOutcomes<Ev, Ev, D, I, O, E> & {
    /** One call each, side by side. None: `done` at once. `null`: start nothing and wait for the deadline. */
    readonly inputs: (data: DeepReadonly<D>) => readonly I[] | null;
    /** Raised when every call has settled and none has moved the run. */
    readonly done: MoveEv | ((data: DeepReadonly<D>) => Next<MoveEv>);
    /** At most so many at the same time. Default: all. */
    readonly limit?: number;
    /**
     * Holds an event that leaves the state until the calls that have started are settled (or the deadline passes), so
     * that no work lands after the clean-up that follows. Calls that have not started are given up. Default false.
     */
    readonly drain?: boolean;
    readonly key?: (input: DeepReadonly<I>, index: number) => string;
  };

/** One step of `s.sequence`; made by `s.step`. */
export interface SequenceStep<D> {
  readonly step: Step;
  readonly "~data"?: (data: D) => void;
}

/** What `s` offers to the behaviour of one state: its events and its run's data are checked by the compiler. */
export interface StateBuilder<R, D, Sig extends SignalSchemas> {
  /** An event of this state's row, and the change of the data that goes with it. */
  raise<Ev extends EventsOf<R>>(event: Ev, patch?: Partial<D>): Raise<Ev>;
  /** Chooses an event from the data, at once. */
  pick(choose: (data: DeepReadonly<D>) => Next<MovesOf<R>>): Behaviour<R, D>;
  /** Calls a spoke or a hub once. */
  call<I, O, E extends string>(
    callee: Callable<I, O, E>,
    options: CallOptions<EventsOf<R>, MovesOf<R>, D, NoInfer<I>, NoInfer<O>, NoInfer<E>>,
  ): Behaviour<R, D>;
  /** Calls a spoke or a hub once for each input, side by side. */
  each<I, O, E extends string>(
    callee: Callable<I, O, E>,
    options: EachOptions<EventsOf<R>, MovesOf<R>, D, NoInfer<I>, NoInfer<O>, NoInfer<E>>,
  ): Behaviour<R, D>;
  /** One step of a `sequence`: `ok` keeps what the call gave. */
  step<I, O, E extends string>(
    callee: Callable<I, O, E>,
    options: {
      readonly input: (data: DeepReadonly<D>) => NoInfer<I>;
      readonly ok?: (data: DeepReadonly<D>, output: DeepReadonly<NoInfer<O>>) => Partial<D>;
    },
  ): SequenceStep<D>;
  /** Calls one after another; the first that fails ends it. */
  sequence(
    steps: readonly SequenceStep<D>[],
    options: WaitOptions<MovesOf<R>, D> & {
      readonly failed: OnOutcome<MovesOf<R>, D, Failure, unknown>;
      readonly done: MovesOf<R> | ((data: DeepReadonly<D>) => Next<MovesOf<R>>);
    },
  ): Behaviour<R, D>;
  /** Waits for a signal from outside. One that came before is taken at once. */
  wait(
    options: WaitOptions<MovesOf<R>, D> & {
      readonly on: {
        readonly [S in keyof Sig]?:
          MovesOf<R> | ((data: DeepReadonly<D>, payload: DeepReadonly<Out<Sig[S]>>) => Next<EventsOf<R>>);
      };
    },
  ): Behaviour<R, D>;
  /** Fire and forget, by name: hands work to a spoke, does not wait, and goes on. `null`: hands out nothing. */
  tell<I>(
    spoke: Callable<I, unknown, string>,
    options: { readonly input: (data: DeepReadonly<D>) => NoInfer<I> | null; readonly next: MovesOf<R> },
  ): Behaviour<R, D>;
}

declare const behaves: unique symbol;
/** The behaviour of a state with the row `R`. Made by `s`. */
export interface Behaviour<R, D> {
  readonly logic: StateLogic;
  readonly [behaves]?: (row: R, data: D) => void;
}

/** A request that a hub answers with an error of its own. Made by `s.fail` in an end state. */
export interface Failing<E extends string> {
  readonly "~fail": { readonly code: E; readonly message: string; readonly details?: unknown };
}

/** What the behaviour of an end state gets besides the data. */
export interface EndBuilder<E extends string> {
  /** Answers the request with an error. */
  fail(code: E, message: string, details?: unknown): Failing<E>;
}

/** What hangs on each state: the name of an event (pass), a behaviour, or, in an end state, the answer. */
export type Behaviours<C, D, R, E extends string, Sig extends SignalSchemas> = {
  readonly [S in keyof C]: C[S] extends string
    ? (data: DeepReadonly<D>, s: EndBuilder<E>) => R | Failing<E>
    : MovesOf<C[S]> | ((s: StateBuilder<C[S], D, Sig>) => Behaviour<C[S], D>);
};

/** Signals that a hub takes, by name. */
export type SignalSchemas = { readonly [name: string]: Schema };

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
> {
  readonly request: Req;
  readonly reply: Rep;
  /** Codes with which the hub may answer a request with an error. Default: none. */
  readonly errors?: readonly E[];
  /** Bounds the work, from the commit that accepts the request, in milliseconds. */
  readonly deadlineMs: number | ((request: Out<Req>) => number);
  readonly chart: C & CheckedChart<C>;
  /** The data of a new run. It must be plain JSON. */
  readonly data: (request: Out<Req>) => D;
  readonly signals?: Sig;
  /**
   * The event that a cancel raises, in the first state that has it. Without one, a cancel closes the open calls and
   * answers with the error WW_CANCELLED.
   */
  readonly cancel?:
    | NoInfer<AnyEventOf<C>>
    | {
        readonly raise: NoInfer<AnyEventOf<C>>;
        readonly patch: (data: DeepReadonly<D>) => Partial<D>;
      };
  /** Raise it when you change the chart or the data. Default 1. */
  readonly version?: number;
  /** From each older version: what a live run of it becomes in the next one. */
  readonly migrate?: { readonly [fromVersion: number]: (run: MigratedRun) => MigratedRun };
}

/** A hub: the definition of how one kind of request is worked and answered. Other hubs can call it. */
export interface Hub<I = unknown, O = unknown, E extends string = string> extends Callable<I, O, E> {
  readonly kind: "hub";
  readonly definition: HubDefinition;
}

/** Any hub, whatever its types: `Hub<I>` takes inputs, so hubs of all types meet only here. */
export type AnyHub = Hub<never>;

/** A hub as the kernel sees it. */
export interface HubDefinition {
  readonly name: string;
  readonly version: number;
  readonly request: Schema<unknown, unknown>;
  readonly reply: Schema<unknown, unknown>;
  readonly errors: readonly string[];
  readonly chart: Chart;
  readonly initial: string;
  readonly states: ReadonlyMap<string, StateDefinition>;
  readonly deadlineMs: (request: unknown) => number;
  readonly data: (request: unknown) => unknown;
  readonly signals: SignalSchemas;
  readonly cancel: { readonly raise: string; readonly patch?: (data: unknown) => object } | undefined;
  readonly migrate: { readonly [fromVersion: number]: (run: MigratedRun) => MigratedRun };
  /** The hubs and spokes that it calls, by name. */
  readonly callees: ReadonlyMap<string, Callable>;
  /** Time that the states after the deadline may take, in milliseconds, beyond the deadline itself. */
  readonly afterDeadlineMs: number;
  /** When each request is answered at the latest: a sentence for people. */
  readonly answerBy: string;
}

/** One state as the kernel sees it. */
export interface StateDefinition {
  readonly name: string;
  readonly row: Row;
  readonly logic: StateLogic;
  /** The state can be entered after the hub's deadline: it belongs to the clean-up. */
  readonly late: boolean;
  /** For a late state: the longest time from its entry to the answer, in milliseconds. */
  readonly remainingMs: number;
}

/** The hub of a chart, erased to what its callers need. */
type MadeHub<Req extends Schema, Rep extends Schema, E extends string> = Hub<In<Req>, Out<Rep>, E>;

/**
 * Defines a hub by its chart (the seed's FlowCrudServiceFsm).
 * @param behaviours What each state does, by its name.
 * @throws WheelworkError WW_BAD_HUB with every problem: unreachable states, dead ends, endless cycles of states that
 * pass, edges to nowhere, waits after the deadline that have no `withinMs`.
 */
export function hub<
  Req extends Schema,
  Rep extends Schema,
  const C extends object,
  D extends object,
  const E extends string = never,
  Sig extends SignalSchemas = Record<never, never>,
>(
  name: string,
  spec: HubSpec<Req, Rep, C, D, E, Sig>,
  behaviours: Behaviours<NoInfer<C>, NoInfer<D>, In<NoInfer<Rep>>, NoInfer<E>, NoInfer<Sig>>,
): MadeHub<Req, Rep, E> {
  const chart = spec.chart as unknown as Chart;
  const logics = new Map<string, StateLogic>();
  for (const [state, behaviour] of Object.entries(behaviours as Record<string, unknown>)) {
    logics.set(state, logicOf(chart[state], behaviour));
  }
  return defineHub(name, spec as unknown as ErasedSpec, chart, logics) as MadeHub<Req, Rep, E>;
}

/** A specification without its types. */
export type ErasedSpec = HubSpec<Schema, Schema, Chart, object, string, SignalSchemas>;

/** Checks a chart with its logics and makes the hub; charts and handlers meet here. */
export function defineHub(
  name: string,
  spec: ErasedSpec,
  chart: Chart,
  logics: ReadonlyMap<string, StateLogic>,
): Hub {
  const { deadlineMs, cancel } = spec;
  const problems: { path: string; message: string }[] = [];
  if (!namePattern.test(name)) {
    problems.push({ path: "name", message: "must be a letter, then letters, digits, '_', '.' or '-'" });
  }
  if (typeof deadlineMs === "number" && !isDuration(deadlineMs)) {
    problems.push({ path: "deadlineMs", message: "must be a finite number above 0 (I6)" });
  }
  const version = spec.version ?? 1;
  if (!Number.isInteger(version) || version < 1) {
    problems.push({ path: "version", message: "must be an integer from 1" });
  }
  const event = typeof cancel === "object" ? cancel.raise : cancel;
  if (
    event !== undefined &&
    !Object.values(chart).some((row) => typeof row === "object" && Object.hasOwn(row, event))
  ) {
    problems.push({ path: "cancel", message: `no state has the event ${event}` });
  }
  for (const [state, logic] of logics) {
    const unknown = (logic.signals ?? []).filter((signal) => !Object.hasOwn(spec.signals ?? {}, signal));
    for (const signal of unknown)
      problems.push({ path: `behaviours.${state}.on`, message: `the hub takes no signal ${signal}` });
  }
  const facts: ChartFacts = checkChart(chart, logics);
  problems.push(...facts.problems);
  if (problems.length > 0) {
    throw new WheelworkError("WW_BAD_HUB", `the hub ${JSON.stringify(name)} cannot be used`, {
      problems,
      next: "Correct the chart, or its behaviours, as listed.",
    });
  }
  const callees = new Map<string, Callable>();
  const states = new Map<string, StateDefinition>();
  for (const [state, row] of Object.entries(chart)) {
    const logic = logics.get(state) as StateLogic;
    for (const callee of logic.callees) callees.set(callee.name, callee);
    states.set(state, {
      name: state,
      // Without a prototype, so that no event is found that the chart does not have.
      row: Object.assign(Object.create(null) as Row, row === end ? {} : row),
      logic,
      late: facts.late.has(state),
      remainingMs: facts.remainingMs.get(state) ?? 0,
    });
  }
  const { afterDeadlineMs } = facts;
  const bound =
    typeof deadlineMs === "number"
      ? durationText(deadlineMs + afterDeadlineMs)
      : `its deadline${afterDeadlineMs === 0 ? "" : ` + ${durationText(afterDeadlineMs)}`}`;
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
    data: spec.data as (request: unknown) => unknown,
    signals: spec.signals ?? {},
    cancel:
      event === undefined
        ? undefined
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

function logicOf(row: string | Row | undefined, behaviour: unknown): StateLogic {
  if (typeof behaviour === "string") return pickLogic(() => behaviour, behaviour);
  if (typeof row !== "object")
    return endLogic(behaviour as (data: unknown, s: EndBuilder<string>) => unknown);
  return (behaviour as (s: unknown) => Behaviour<unknown, unknown>)(builder).logic;
}

const step = (callee: Callable, options: Omit<Step, "callee">): { step: Step } => ({
  step: { callee, ...options },
});

/** `s`, without its types: nothing in it depends on the state. */
const builder = {
  raise: (event: string, patch?: object) =>
    patch === undefined ? { raise: event } : { raise: event, patch },
  pick: (choose: Parameters<typeof pickLogic>[0]) => ({ logic: pickLogic(choose) }),
  call: (callee: Callable, options: Parameters<typeof eachLogic>[1]) => ({
    logic: eachLogic(callee, {
      ...options,
      inputs: (data: unknown) => [(options as unknown as { input: (data: unknown) => unknown }).input(data)],
      single: true,
    }),
  }),
  each: (callee: Callable, options: Parameters<typeof eachLogic>[1]) => ({
    logic: eachLogic(callee, options),
  }),
  step,
  sequence: (steps: readonly { step: Step }[], options: Parameters<typeof sequenceLogic>[1]) => ({
    logic: sequenceLogic(
      steps.map((made) => made.step),
      options,
    ),
  }),
  wait: (options: Parameters<typeof waitLogic>[0]) => ({ logic: waitLogic(options) }),
  tell: (callee: Callable, options: Parameters<typeof tellLogic>[1]) => ({
    logic: tellLogic(callee, options),
  }),
};
