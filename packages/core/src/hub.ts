import { checkChart, end, stay, takenSignals, type ChartFacts } from "./chart.ts";

import { durationText } from "./duration.ts";
import { problemsOfMigrate } from "./migrations.ts";
import { demandsOf, WheelworkError, type Problem } from "./errors.ts";
import { exclusiveOf, queueMsOf, type Exclusive, type ExclusiveDefinition } from "./exclusive.ts";
import type { Before, Change, DataUnknown, Declared, NoOthers, Once, OnceElse, Seen } from "./inference.ts";
import type { LabelsOf } from "./labels.ts";
import {
  deadlineEvent,
  answeredEnd,
  endLogic,
  isWaiting,
  pickLogic,
  type DeadlineEvent,
  type StateLogic,
} from "./logic.ts";
import type { StoredData, StoredSchema, StoredSchemas } from "./json-types.ts";
import type { In, Out, Schema } from "./schema.ts";
import { soundOptions } from "./options.ts";
import { hubOptions } from "./option-tables.ts";
import { secretPaths, type SecretPath } from "./secrets.ts";
import { demandOwnCodes, nameText, type Callable } from "./spoke.ts";
import {
  type Row,
  type Chart,
  type CheckedChart,
  type AnyEventOf,
  type CallView,
  type Behaviour,
  answered,
  type EndBuilder,
  type SignalTypes,
  type StatesOnce,
  type SignalSchemas,
} from "./states.ts";
import { stateBuilder } from "./state-builder.ts";
import { withoutLogic } from "./stated.ts";
import { isName, mustBeName } from "./text.ts";

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

/** A chart whose targets are not checked yet. It has the names of the states, for completion. */
type Sketch<C> = {
  readonly [S in keyof C]: typeof end | { readonly [event: string]: Extract<keyof C, string> | typeof stay };
};

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
  const { sound, problems } = soundOptions<ErasedSpec>(spec, hubOptions, "a hub");
  const { chart } = sound;
  const given: unknown = behaviours;
  if (typeof given !== "object" || given === null)
    problems.push({ path: "behaviours", message: "must be an object with what each state does" });
  // Nothing can be said of the states.
  if (chart === undefined || typeof given !== "object" || given === null) throw badHub(name, problems);
  const logics = new Map<string, StateLogic>();
  for (const [state, behaviour] of Object.entries(given)) {
    logics.set(state, logicOf(chart[state], behaviour));
  }
  return defineHub(name, sound, chart, logics, problems) as MadeHub<Req, Rep, E, Sig>;
}

/** A specification without its types. */
export type ErasedSpec = HubSpec<Schema, Schema, Chart, object, string, SignalSchemas, never, unknown>;

const badHub = (name: unknown, problems: readonly Problem[]): WheelworkError =>
  new WheelworkError("WW_BAD_HUB", `the hub ${nameText(name)} cannot be used`, {
    problems,
    next: "Correct what is listed.",
  });

/**
 * Checks a chart with its logics, and makes the hub. Hubs by chart and hubs by handlers both come through here. `sound`: the options
 * that are as they should be. `known`: what is wrong with the others.
 * @throws WheelworkError WW_BAD_HUB with every problem.
 */
export function defineHub(
  name: string,
  sound: Partial<ErasedSpec>,
  chart: Chart,
  logics: ReadonlyMap<string, StateLogic>,
  known: readonly Problem[] = [],
): Hub {
  // What is missing is among the problems.
  const spec = sound as ErasedSpec;
  const { deadlineMs, cancel } = spec;
  const problems = [...known];
  const demand = demandsOf(problems);
  demand(isName(name), "name", mustBeName);
  demandOwnCodes(spec.errors ?? [], demand);
  const version = spec.version ?? 1;
  problems.push(...problemsOfMigrate(spec.migrate, version));
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
  for (const signal of spec.dropSignals ?? [])
    if (!Object.hasOwn(spec.signals ?? {}, signal))
      problems.push({ path: "dropSignals", message: `the hub declares no signal ${signal}` });
  const deadline = spec.deadline === undefined ? undefined : deadlineEvent(spec.deadline as DeadlineEvent);
  const facts: ChartFacts = checkChart(chart, logics, {
    deadline,
    cleanUp: spec.cleanUp,
    cancel: cancel === end ? end : event,
  });
  problems.push(...facts.problems);
  if (problems.length > 0) throw badHub(name, problems);
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
