import { WheelworkError } from "./errors.ts";
import type { Exclusive } from "./exclusive.ts";
import type { LabelsOf } from "./labels.ts";
import { end } from "./chart.ts";
import {
  defineHub,
  type AnySchema,
  type ErasedSpec,
  type Hub,
  type MigratedRun,
  type NewRun,
} from "./hub.ts";
import { type CallView, type Failing, type SignalSchemas, type SignalTypes, type Takes } from "./states.ts";
import type { Before, DataUnknown, Declared, Once, OnceElse, Seen, Synchronous } from "./inference.ts";
import type { DeepReadonly } from "./json.ts";
import {
  answeredEnd,
  answerLogic,
  requestCalls,
  tellOf,
  type CallRequest,
  type OpenCall,
  type StateLogic,
  type Turn,
} from "./logic.ts";
import { signalOf, startOf, textFor, type Addressee, type Posting } from "./post.ts";
import type { StoredData, StoredSchema, StoredSchemas } from "./json-types.ts";
import { isDuration } from "./duration.ts";
import { kinds, required, soundOptions, type OptionKinds } from "./options.ts";
import { handlersOptions } from "./option-tables.ts";
import {
  abandonWithin,
  demandFields,
  plain,
  plainPatch,
  scalar,
  setField,
  synchronous,
  textOf,
} from "./plain.ts";
import type { In, Out, Schema } from "./schema.ts";
import { nameText, type Callable, type Outcome } from "./spoke.ts";

/*
 * A hub by handlers runs on the same kernel as a hub by chart. It has one fixed chart of four states:
 *
 *   Working     `request` on entering, `response`, `signal` and `timer` while it waits
 *                 Answered -> Done        CleanUp (cleanUp(), a cancel, the deadline) -> CleaningUp
 *   CleaningUp  `timeout` on entering, then the same while it waits, `cleanUpMs` at most
 *                 Answered -> Done        TimeoutRaised -> GivenUp
 *   Done        gives the answer of the handler
 *   GivenUp     answers with a timeout
 *
 * One that may answer first (`answered`) has three more:
 *
 *   Answering   gives the answer        AnsweredFirst (of Working) -> Answering -> Serving
 *   Serving     `answered` on entering, then the same as Working while it waits, for ever if need be
 *                 Served (end(), a cancel) -> Ended
 *   Ended       the run has answered before
 *
 * A handler gets an object, `s`, which collects what it asks for. When the handler returns, this becomes one `Turn`.
 *
 * Three things must outlive a turn, and a chart has no place for them: the number of open calls, why the run cleans up,
 * and the answer on the way to `Done`. They are stored in the run's data under the name `~handlers`. Handlers do not
 * see them there.
 */

/** A call that has settled, as `response` gets it. */
export interface SettledCall extends CallView<unknown> {
  /** The name of the hub or spoke that was called. */
  readonly callee: string;
  /** The `tag` that `s.call` was given. */
  readonly tag: string | undefined;
}

/** What a handler may do in one turn. All of it takes effect when the turn is committed, or nothing does. */
export interface Handling<D, R, E extends string> {
  /** The run's data, with what `patch` has changed in this turn. */
  readonly data: DeepReadonly<D>;
  /** How many calls have not settled, those of this turn included. */
  readonly open: number;
  /** The deadline has passed, the run was cancelled, or `cleanUp` was called: only the clean-up is left. */
  readonly cleaningUp: boolean;
  /** The run has given its answer (`answer`, `answerError`), and goes on. */
  readonly answered: boolean;
  /** Changes the data. A field set to undefined is removed. */
  patch(change: Partial<D>): void;
  /**
   * Sets a timer, which fires so many milliseconds from now: `timer` is called with its name. A timer of this name that was set
   * before is replaced. `null` takes it back. The timers of the work end with it, and those of the clean-up with the run.
   */
  after(timer: string, ms: number | null): void;
  /** Calls a hub or a spoke of the declaration's `calls`. Its outcome comes to `response`. */
  call<I, O, F extends string>(
    callee: Callable<I, O, F>,
    input: NoInfer<I>,
    options?: { readonly tag?: string; readonly key?: string },
  ): void;
  /** Gives a spoke of the declaration's `calls` work, and does not wait for the outcome. It has a day. */
  tell<I>(spoke: Callable<I, unknown, string> & { readonly kind: "spoke" }, input: NoInfer<I>): void;
  /**
   * Starts a run of a hub that is independent of this one and outlives it. `key`: that of the request; the default is one that no
   * other start has. A hub that cannot be named here yet is given by its name.
   */
  start<I>(
    hub: (Callable<I, unknown, string> & { readonly kind: "hub" }) | string,
    input: NoInfer<I>,
    options?: { readonly key?: string; readonly startAt?: number },
  ): void;
  /** Sends a signal to another run, by the id of its request. The page on other runs says what becomes of it. */
  signalRun<S = { readonly [signal: string]: unknown }, N extends keyof S & string = keyof S & string>(
    hub: (Callable<never, unknown, string> & { readonly kind: "hub" } & SignalTypes<S> & Takes<S>) | string,
    id: string,
    signal: N,
    payload: NoInfer<S[N]>,
  ): void;
  /** Closes all open calls and goes to the clean-up: `timeout` is called with the cause `request`. */
  cleanUp(): void;
  /**
   * Closes all open calls, answers with a result, and goes on: `answered` is called next. After that no deadline runs. The run lives
   * until a handler calls `end`, or somebody cancels it. Not in the clean-up, and once.
   */
  answer(value: R): void;
  /** As `answer`, with an error that the hub declares. */
  answerError<T>(code: E, message: string, details?: T & StoredData<T>): void;
  /** Ends a run that has answered. Its open calls are closed. */
  end(): void;
  /** Closes all open calls and ends the run with a result. */
  reply(value: R): void;
  /** Closes all open calls and ends the run with an error that the hub declares. */
  fail<T>(code: E, message: string, details?: T & StoredData<T>): void;
}

/** Why a run goes to its clean-up: its deadline, a cancel, or a call of `cleanUp`. */
export type CleanUpCause = "deadline" | "cancel" | "request";

/**
 * The handlers of a hub: plain functions with conditionals. They must be pure and synchronous, like those of a chart. A
 * hub that declares signals needs a handler for them.
 */
export type Handlers<D, R, E extends string, Sig extends SignalSchemas> = WorkHandlers<D, R, E> &
  (keyof Sig extends never ? { readonly signal?: never } : SignalHandler<D, R, E, Sig>);

/** The handlers that every hub has. */
export interface WorkHandlers<D, R, E extends string> {
  /** The request has come. */
  readonly request: (s: Handling<D, R, E>) => Synchronous;
  /** A call has settled. */
  readonly response: (s: Handling<D, R, E>, call: SettledCall, outcome: Outcome) => Synchronous;
  /** The work is over without an answer. Clean up what it left behind, within `cleanUpMs`. */
  readonly timeout: (s: Handling<D, R, E>, cause: CleanUpCause) => Synchronous;
  /** The run has answered, and goes on: see `answer`. Hubs that answer first need it. */
  readonly answered?: (s: Handling<D, R, E>) => Synchronous;
  /** A timer that `after` has set has fired. Hubs that set timers need it. */
  readonly timer?: (s: Handling<D, R, E>, timer: string) => Synchronous;
}

/** The handler of a hub's signals. */
export interface SignalHandler<D, R, E extends string, Sig extends SignalSchemas> {
  readonly signal: (
    s: Handling<D, R, E>,
    signal: {
      [N in keyof Sig]: { readonly name: N; readonly payload: DeepReadonly<Out<Sig[N]>> };
    }[keyof Sig],
  ) => Synchronous;
}

/** The handlers, once the data is known. Until then, anything: see inference.ts. */
export type HandlersOnce<D, R, E extends string, Sig extends SignalSchemas> = OnceElse<
  D,
  Handlers<Awaited<D>, R, E, Sig>,
  Partial<Handlers<any, R, E, Sig>> & { readonly [other: string]: unknown }
>;

/** The declaration of a hub by handlers. */
export interface HandlersSpec<
  Req extends Schema,
  Rep extends Schema,
  D extends object,
  E extends string,
  Sig extends SignalSchemas,
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
  /** What requests are found by, as in a hub by chart. Default: none. */
  readonly labels?: Once<D, LabelsOf<Out<Req>>>;
  /** Bounds the clean-up, in milliseconds. If it does not answer by then, the answer is a timeout. */
  readonly cleanUpMs: Once<D, number>;
  /** The hubs and spokes that the handlers may call. */
  readonly calls: Once<D, readonly Callable<never, unknown, string>[]>;
  /**
   * The data of a new run. It must be plain JSON. Write it before `view`, which uses its type. To use the id of the request
   * later, keep it here, as in a hub by chart.
   */
  readonly data: (request: Out<Req>, run: NewRun) => D & StoredData<D>;
  /** Default: none. */
  readonly signals?: Once<D, Sig & StoredSchemas<Sig>>;
  /** What is shown of the data, as in a hub by chart. Default: none. */
  readonly view?: ((data: Seen<D>) => V & StoredData<V>) | Before<D>;
  /** Fields that nobody should see, as in a hub by chart. */
  readonly secret?: Once<D, readonly string[]>;
  /** Raise it when you change the data. Default: 1. */
  readonly version?: Once<D, number>;
  /** For each older version: what the data of a live run becomes in the next version. */
  readonly migrate?: Once<
    D,
    { readonly [fromVersion: number]: (data: Readonly<Record<string, unknown>>) => object }
  >;
}

/** What is kept for the handlers, beside the author's data. */
interface Kept {
  /** How many calls have not settled. */
  readonly open: number;
  readonly cause?: CleanUpCause;
  readonly answer?: unknown;
}

const kept = "~handlers";

/** The longest tag of a call, and name of a timer, in characters. */
const maxTextLength = 1000;

/** The run's data as it is stored: the author's data and `Kept`. */
interface Stored {
  readonly [kept]: Kept;
}

const keep = (change: Kept): Stored => ({ [kept]: change });

const chart = {
  Working: { Answered: "Done", CleanUp: "CleaningUp" },
  CleaningUp: { Answered: "Done", TimeoutRaised: "GivenUp" },
  GivenUp: end,
  Done: end,
} as const;

/** That of a hub which may answer first. */
const answeringChart = {
  ...chart,
  Working: { ...chart.Working, AnsweredFirst: "Answering" },
  Answering: { Next: "Serving" },
  Serving: { Served: "Ended", CleanUp: "Ended" },
  Ended: end,
} as const;

/**
 * Defines a hub by handlers, as FlowCrudService of the original proof of concept was. It makes the same promise as a
 * hub by chart, and runs on the same kernel. Its diagram shows only that it works, cleans up, or is done.
 * @param name A letter, then letters, digits, `_`, `.` or `-`; 100 characters at most.
 * @param spec The declaration. `calls` lists the hubs and spokes that handlers may call.
 * @throws WheelworkError WW_BAD_HUB with every problem.
 */
export function hubByHandlers<
  Req extends Schema = AnySchema,
  Rep extends Schema = AnySchema,
  D extends object = DataUnknown,
  const E extends string = never,
  Sig extends SignalSchemas = Record<never, never>,
  V = unknown,
>(
  name: string,
  spec: Declared<
    HandlersSpec<Req, Rep, D, E, Sig, V>,
    D,
    "request" | "reply" | "deadlineMs" | "cleanUpMs" | "calls"
  >,
  handlers: HandlersOnce<NoInfer<D>, In<NoInfer<Rep>>, NoInfer<E>, NoInfer<Sig>>,
): Hub<In<Req>, Out<Rep>, E> & SignalTypes<{ readonly [N in keyof Sig]: In<Sig[N]> }> {
  type AnySpec = HandlersSpec<Schema, Schema, object, string, SignalSchemas, unknown>;
  const { sound, problems } = soundOptions<AnySpec>(spec, handlersOptions, "a hub by handlers");
  const found = soundOptions(handlers, handlerKinds, "a hub's handlers", "handlers");
  problems.push(...found.problems);
  // What is missing is among the problems, and the hub is not made.
  const declared = sound as AnySpec;
  const signals = Object.keys(declared.signals ?? {});
  const own: Own = {
    handlers: handlers as unknown as Own["handlers"],
    callees: (declared.calls ?? []) as readonly Callable[],
    signals,
  };
  if (signals.length > 0 && found.problems.length === 0 && own.handlers.signal === undefined)
    problems.push({ path: "handlers.signal", message: "must be a function: the hub declares signals" });
  const logics = new Map<string, StateLogic>([
    ["Working", working(own)],
    // What is wrong with the time is said below, by its name.
    ["CleaningUp", cleaningUp(own, isDuration(declared.cleanUpMs) ? declared.cleanUpMs : 1)],
    [
      "GivenUp",
      {
        kind: "end",
        callees: [],
        enter: () => ({
          answer: failing("WW_TIMEOUT", `the hub ${name} did not finish its clean-up in time`),
        }),
      },
    ],
    ["Done", { kind: "end", callees: [], enter: (data) => ({ answer: (data as Stored)[kept].answer }) }],
  ]);
  const answersFirst = found.sound.answered !== undefined;
  if (answersFirst) {
    const answer = (data: unknown): unknown => (data as Stored)[kept].answer;
    logics.set("Answering", answerLogic(answer, { next: "Next" }));
    logics.set("Serving", serving(own));
    logics.set("Ended", answeredEnd);
  }
  const erased = {
    ...declared,
    cancel: { raise: "CleanUp", patch: () => keep({ open: 0, cause: "cancel" }) },
    data: (request: unknown, run: NewRun) => ({
      ...fieldsOf(declared.data(request, run), `what data of the hub ${nameText(name)} returned`),
      ...keep({ open: 0 }),
    }),
    ...(declared.view === undefined ? {} : { view: viewing(declared.view as (data: object) => unknown) }),
    migrate: migratingAll(declared.migrate),
  };
  const states = answersFirst ? answeringChart : chart;
  return defineHub(name, erased as unknown as ErasedSpec, states, logics, problems) as Hub<
    In<Req>,
    Out<Rep>,
    E
  >;
}

const { fn } = kinds;
const handlerKinds: OptionKinds<WorkHandlers<object, unknown, string> & { readonly signal?: unknown }> = {
  request: required(fn),
  response: required(fn),
  timeout: required(fn),
  answered: fn,
  timer: fn,
  signal: fn,
};

/** The author's migrations. What is none is left as it is, and refused with all that is wrong with the hub. */
const migratingAll = (migrate: unknown): unknown =>
  typeof migrate !== "object" || migrate === null
    ? migrate
    : Object.fromEntries(
        Object.entries(migrate).map(([from, move]: [string, unknown]) => [
          from,
          typeof move === "function" ? migrating(move as Parameters<typeof migrating>[0]) : move,
        ]),
      );

/** The author's migration sees only the author's data. */
function migrating(
  move: (data: Readonly<Record<string, unknown>>) => object,
): (run: MigratedRun) => MigratedRun {
  return ({ state, data: { [kept]: own, ...data } }) => ({
    state,
    data: { ...fieldsOf(move(data), "what migrate returned"), [kept]: own },
  });
}

/** What an author's function gave to be spread. @throws WheelworkError WW_DEFECT when it is no object with fields. */
function fieldsOf(given: object, what: string): object {
  demandFields(synchronous(given, what), what);
  // A copy that has a bound, before it is spread.
  return plain(given, "WW_DEFECT", what);
}

/** The author's view sees only the author's data. */
function viewing(view: (data: object) => unknown): (data: unknown) => unknown {
  return (stored) => {
    const { [kept]: _, ...data } = stored as Stored;
    return view(Object.freeze(data));
  };
}

/** What the author has declared, without its types. */
interface Own {
  readonly handlers: Handlers<object, unknown, string, { readonly [name: string]: Schema }>;
  readonly callees: readonly Callable[];
  readonly signals: readonly string[];
}

function working(own: Own): StateLogic {
  const { handlers, callees, signals } = own;
  return {
    kind: "handlers",
    callees,
    signals,
    deadline: { raise: "CleanUp", patch: () => keep({ open: 0, cause: "deadline" }) },
    enter: (data) => take(own, data, "work", 0, (s) => handlers.request(s)),
    ...common(own, "work"),
  };
}

function cleaningUp(own: Own, cleanUpMs: number): StateLogic {
  const { handlers, callees, signals } = own;
  return {
    kind: "handlers",
    callees,
    signals,
    timers: [{ event: "TimeoutRaised", ms: cleanUpMs }],
    // Entering this state has closed the calls of the work.
    enter: (data) =>
      take(own, data, "cleanUp", 0, (s) => handlers.timeout(s, (data as Stored)[kept].cause ?? "request")),
    ...common(own, "cleanUp"),
  };
}

/** After the answer: nothing bounds it, and a cancel ends it. */
function serving(own: Own): StateLogic {
  const { handlers, callees, signals } = own;
  return {
    kind: "handlers",
    idle: true,
    callees,
    signals,
    enter: (data) => take(own, data, "serve", 0, (s) => handlers.answered?.(s)),
    ...common(own, "serve"),
  };
}

/** What a run by handlers does: it works, cleans up, or goes on after its answer. */
type Phase = "work" | "cleanUp" | "serve";

function common(own: Own, phase: Phase): Pick<StateLogic, "outcome" | "signal" | "fired" | "setFired"> {
  const { handlers } = own;
  return {
    outcome: (data, call, outcome) =>
      take(own, data, phase, 1, (s) => handlers.response(s, settledCall(call), outcome)),
    signal: (data, name, payload) =>
      take(own, data, phase, 0, (s) => handlers.signal(s, { name, payload } as never)),
    fired: (_data, event) => ({ raise: event }),
    setFired: (data, timer) => take(own, data, phase, 0, (s) => handlers.timer?.(s, timer)),
  };
}

function settledCall(call: OpenCall): SettledCall {
  return { callee: call.callee, tag: call.tag, input: call.input as SettledCall["input"], index: call.index };
}

/** Calls a handler, and makes its turn. `settled`: how many calls its input has settled. */
function take(
  own: Own,
  data: unknown,
  phase: Phase,
  settled: number,
  run: (s: Handling<object, unknown, string>) => unknown,
): Turn {
  const turn = new HandlingTurn(own, data as Stored, phase, settled);
  try {
    // Nobody will see what an asynchronous one throws after its first await, or what is within a list of promises.
    scalar(run(turn as Handling<object, unknown, string>), "a handler");
    return turn.turn();
  } catch (error) {
    turn.abandon();
    throw error;
  }
}

/** How a turn leaves its state, and the answer that it gives. */
interface Leaving {
  readonly by: "Answered" | "AnsweredFirst" | "CleanUp" | "Served";
  readonly answer?: unknown;
}

/** What a handler asks for in one turn. It is what handlers get as `s`. */
class HandlingTurn {
  data: DeepReadonly<object>;
  readonly cleaningUp: boolean;
  readonly answered: boolean;
  readonly #callees: readonly Callable[];
  readonly #handlers: Own["handlers"];
  readonly #calls: CallRequest[] = [];
  #patch: object = {};
  #open: number;
  /** How it leaves its state, and the answer that it gives. */
  #leaves: Leaving | undefined = undefined;
  #after: Record<string, number | null> | undefined = undefined;
  readonly #posts: Posting[] = [];

  constructor({ callees, handlers }: Own, stored: Stored, phase: Phase, settled: number) {
    const { [kept]: own, ...data } = stored;
    this.data = Object.freeze(data);
    this.cleaningUp = phase === "cleanUp";
    this.answered = phase === "serve";
    this.#callees = callees;
    this.#handlers = handlers;
    this.#open = own.open - settled;
  }

  get open(): number {
    return this.#open;
  }

  patch(change: object | undefined): void {
    if (change === undefined) return;
    // What the handler sees of it in this turn is what is stored.
    const kept = plainPatch(change, this.data, "the patch of a handler") as object;
    const data = { ...this.data, ...kept } as Record<string, unknown>;
    for (const [name, value] of Object.entries(kept)) if (value === undefined) delete data[name];
    this.data = Object.freeze(data);
    this.#patch = { ...this.#patch, ...kept };
  }

  after(timer: string, ms: number | null): void {
    if (this.#handlers.timer === undefined)
      throw new WheelworkError(
        "WW_DEFECT",
        `a handler set the timer ${timer}, and its hub has no handler for it`,
        {
          next: "Give the hub a handler `timer`. Then retry the incident.",
        },
      );
    setField((this.#after ??= {}), textFor(timer, "the name of a timer", maxTextLength), ms);
  }

  call(
    callee: Callable,
    input: unknown,
    options: { readonly tag?: string; readonly key?: string } = {},
  ): void {
    this.#demandDeclared(callee);
    demandFields(options, `the options of a call of ${callee.name}`);
    const { tag, key } = options;
    abandonWithin(options);
    if (tag !== undefined && tag !== "") textFor(tag, `the tag of a call of ${callee.name}`, maxTextLength);
    const request = requestCalls(callee, [input], key === undefined ? undefined : () => key);
    this.#calls.push(tag === undefined ? request : { ...request, tag });
    this.#open++;
  }

  #demandDeclared(callee: Callable): void {
    if (this.#callees.includes(callee)) return;
    abandonWithin(callee);
    const { name } = callee;
    throw new WheelworkError(
      "WW_DEFECT",
      `a handler called ${textOf(name)}, which its hub does not declare`,
      {
        next: "Add it to the hub's `calls`. Then retry the incident.",
      },
    );
  }

  tell(spoke: Callable, input: unknown): void {
    this.#demandDeclared(spoke);
    this.#posts.push(tellOf(spoke, input));
  }

  start(
    hub: Addressee,
    input: unknown,
    options: { readonly key?: string; readonly startAt?: number } = {},
  ): void {
    if (typeof hub !== "string") this.#demandDeclared(hub);
    demandFields(options, "the options of a start");
    const { key, startAt } = options;
    abandonWithin(options);
    this.#posts.push(startOf(hub, input, key, startAt));
  }

  signalRun(hub: Addressee, id: string, signal: string, payload: unknown): void {
    if (typeof hub !== "string") this.#demandDeclared(hub);
    this.#posts.push(signalOf(hub, id, signal, payload));
  }

  cleanUp(): void {
    if (this.cleaningUp || this.answered) {
      const why = this.answered ? "has answered" : "cleans up already";
      throw new WheelworkError("WW_DEFECT", `a handler called cleanUp, but the run ${why}`, {
        next: "Call it only while `cleaningUp` and `answered` are false. Then retry the incident.",
      });
    }
    this.#leave({ by: "CleanUp" });
  }

  answer(value: unknown): void {
    this.#answerFirst(value);
  }

  answerError(code: string, message: string, details?: unknown): void {
    this.#answerFirst(failing(code, message, details));
  }

  end(): void {
    if (!this.answered)
      throw new WheelworkError("WW_DEFECT", "a handler called end, and the run has not answered", {
        next: "Call reply or fail. Then retry the incident.",
      });
    this.#leave({ by: "Served" });
  }

  reply(value: unknown): void {
    this.#conclude(value);
  }

  fail(code: string, message: string, details?: unknown): void {
    this.#conclude(failing(code, message, details));
  }

  #answerFirst(answer: unknown): void {
    if (this.#handlers.answered === undefined)
      throw new WheelworkError(
        "WW_DEFECT",
        "a handler answered first, and its hub has no handler for what follows",
        {
          next: "Give the hub a handler `answered`. Then retry the incident.",
        },
      );
    if (this.cleaningUp)
      throw new WheelworkError("WW_DEFECT", "a handler answered first in the clean-up", {
        next: "Call reply or fail there. Then retry the incident.",
      });
    this.#demandUnanswered();
    this.#leave({ by: "AnsweredFirst", answer });
  }

  #conclude(answer: unknown): void {
    this.#demandUnanswered();
    this.#leave({ by: "Answered", answer });
  }

  #demandUnanswered(): void {
    if (!this.answered) return;
    throw new WheelworkError("WW_DEFECT", "a handler gave an answer, and the run has answered before", {
      next: "Call end. Then retry the incident.",
    });
  }

  #leave(leaves: Leaving): void {
    const before = this.#leaves;
    if (before !== undefined) {
      const isAnswer = (by: string): boolean => by === "Answered" || by === "AnsweredFirst";
      const twice = isAnswer(before.by) && isAnswer(leaves.by);
      throw new WheelworkError(
        "WW_DEFECT",
        twice
          ? "a handler gave two answers in one turn"
          : "a handler gave an answer and called cleanUp in one turn",
        {
          next: twice
            ? "Call reply or fail once. Then retry the incident."
            : "Do one of the two. Then retry the incident.",
        },
      );
    }
    this.#leaves = leaves;
  }

  /** Nothing comes of what the handler asked for. Nobody waits for promises within it. */
  abandon(): void {
    abandonWithin([this.#patch, this.#posts, this.#after, this.#leaves?.answer]);
  }

  /**
   * All that the handler asked for. Calls of a turn that leaves its state are dropped: they would be closed at once.
   */
  turn(): Turn {
    const turn = this.#next();
    return this.#posts.length === 0 ? turn : { ...turn, posts: this.#posts };
  }

  #next(): Turn {
    const change = this.#patch;
    if (this.#leaves !== undefined) {
      const { by, ...own } = this.#leaves;
      const cause = by === "CleanUp" ? { cause: "request" as const } : {};
      return { raise: by, patch: { ...change, ...keep({ open: 0, ...cause, ...own }) } };
    }
    const turn = { patch: { ...change, ...keep({ open: this.#open }) }, open: this.#calls };
    return this.#after === undefined ? turn : { ...turn, after: this.#after };
  }
}

function failing(code: string, message: string, details?: unknown): Failing<string> {
  return { "~fail": details === undefined ? { code, message } : { code, message, details } };
}
