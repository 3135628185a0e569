import type { Hub } from "./hub.ts";
import { abandonWithin, plainLike, scalar, synchronous, textOf, type Compared } from "./plain.ts";
import { bytesOf, isFull, maxOpened, type InputsLeft } from "./round.ts";
import { accepts, check, type Schema } from "./schema.ts";
import { WheelworkError } from "./errors.ts";
import { nameOf, signalOf, startOf, type Addressee, type Posting } from "./post.ts";
import type { Callable, Outcome, Spoke } from "./spoke.ts";
import type { Stated } from "./stated.ts";
import { countsAs } from "./stored.ts";
import type { TimerClock, TimerLogic } from "./timers.ts";

/*
 * A logic is what one state does. It is the one form that the kernel knows: `s.call`, `s.each` and the others of a
 * chart become logics (hub.ts), and so do the functions of a hub by handlers (handlers.ts).
 *
 *   kind        when the run enters the state       what then leaves the state
 *   pass        raises its fixed event              (left already)
 *   pick        raises an event that it chooses     (left already)
 *   tell        gives a spoke work, raises `next`   (left already)
 *   start       starts another run, raises `next`   (left already)
 *   signal      sends a signal, raises `next`       (left already)
 *   call, each  opens one call for each input       an event of an outcome that moves, or `done` after the last one
 *   all         opens the call of each part             the same (all.ts)
 *   sequence    opens the first call                `failed`, or `done`; each success opens the next call
 *   wait        nothing                             an event of a signal that moves
 *   handlers    what the handler asks for           the handler answers, or goes to the clean-up
 *   answer      gives the answer, raises `next`     (left already)
 *   end         gives the answer                    the run has ended
 *
 * Every kind that waits takes signals, has timers (timers.ts), and also leaves by its deadline event, except in the clean-up.
 *
 * A logic is split in two. What chart.ts checks and diagrams show before any run is plain data: the callees, the fixed
 * event, the event of the deadline, the timers, the signals. The rest are functions of the run's data. They are pure,
 * and return a `Turn`: a request to the kernel, which validates it and makes events of it (turn.ts).
 */

/** What a logic asks for in one turn. All of it is optional: a turn may just go on waiting. */
export interface Turn {
  /** The event that it raises. */
  readonly raise?: string;
  /** What changes in the run's data. */
  readonly patch?: object;
  /** The calls to open. */
  readonly open?: readonly CallRequest[];
  /** Tags of open calls to close, if the turn stays. */
  readonly close?: readonly string[];
  /** What it has for others, without waiting for what comes of it. */
  readonly posts?: readonly Posting[];
  /** The answer, in an end state. */
  readonly answer?: unknown;
  /** Timers to set, in milliseconds from now, or to take back (null), by name. Only hubs by handlers ask for this. */
  readonly after?: { readonly [timer: string]: number | null };
}

/** Calls to open, all of one callee. */
export interface CallRequest {
  readonly callee: Callable;
  /** The input of each call, as it is kept. */
  readonly inputs: readonly unknown[];
  /** The idempotency key of each call, where the hub gives its own. */
  readonly keys?: readonly string[];
  /** Position of the first call in its round. Default 0. */
  readonly index?: number;
  /** How many inputs the round has. Only if these are some of them. */
  readonly of?: number;
  /** What a hub by handlers gave the call, to recognise it. */
  readonly tag?: string;
  /** The callee's schema does not accept what it has made of the inputs (stored.ts). */
  readonly transformed?: true;
}

/** A call as the kernel shows it to a logic. */
export interface OpenCall {
  readonly input: unknown;
  /** Position in its round, from 0. */
  readonly index: number;
  readonly tag: string | undefined;
  /** The name of the hub or spoke that is called. */
  readonly callee: string;
}

/** What a state does, in the one form that the kernel knows. */
export interface StateLogic {
  readonly kind:
    | "pass"
    | "pick"
    | "call"
    | "each"
    | "all"
    | "sequence"
    | "wait"
    | "tell"
    | "start"
    | "signal"
    | "answer"
    | "end"
    | "handlers";
  /** The hubs and spokes that it may call, tell something, start or send a signal. */
  readonly callees: readonly Callable[];
  /** The hub that it starts or sends a signal. It may be known by its name only. */
  readonly addressee?: string;
  /** The signal that it sends. */
  readonly sends?: string;
  /** The event that it raises at once, where that is fixed (pass, tell). */
  readonly passes?: string;
  /** What the hub's deadline raises. Present in every state that waits before the clean-up, and only there. */
  readonly deadline?: DeadlineEvent;
  /** Its timers, in the order in which they are written. */
  readonly timers?: readonly TimerLogic[];
  /** A wait for signals that no time bounds. Only after the hub's answer. */
  readonly idle?: boolean;
  /** An end without a reply: the hub has answered before. */
  readonly isAnswered?: boolean;
  /** How many calls of a round run at the same time. A function is evaluated after each turn; 0 pauses the round. */
  readonly limit?: number | ((data: unknown) => number);
  /** An event that leaves the state waits for the running attempts. */
  readonly drain?: boolean;
  /** The signals that it takes. */
  readonly signals?: readonly string[];
  /** What its options say before any run. Only of a state of a chart. */
  readonly stated?: Stated;
  /** The run enters the state. `most`: how many calls of a round it opens at most. */
  enter(data: unknown, most?: number): Turn;
  /** How many inputs its round has. */
  count?(data: unknown): number;
  /** The next calls of a round that has inputs left, `most` at most. */
  more?(left: InputsLeft, most?: number): CallRequest;
  /** A call has settled. `remaining`: how many calls are still open. */
  outcome?(data: unknown, call: OpenCall, outcome: Outcome, remaining: number): Turn;
  /** Every call of the round has settled. */
  done?(data: unknown): Turn;
  /** Says which call it opens at a position of its round, if it opens one there. */
  callAt?(data: unknown): (index: number) => CallRequest | undefined;
  /** One of its signals has come. `now`: engine time, which its sender need not know. */
  signal?(data: unknown, name: string, payload: unknown, now: number): Turn;
  /** One of its timers has fired. */
  fired?(data: unknown, timer: string, open: readonly OpenCall[], clock: TimerClock): Turn;
  /** A timer that a hub by handlers has set has fired. */
  setFired?(data: unknown, timer: string): Turn;
}

/** What the hub's deadline raises. The patch is told which calls are open. */
export interface DeadlineEvent {
  readonly raise: string;
  readonly patch?: (data: unknown, open: readonly OpenCall[]) => object;
}

/** Whether a run may stay in the state. */
export const isWaiting = ({ kind }: StateLogic): boolean =>
  kind === "call" ||
  kind === "each" ||
  kind === "all" ||
  kind === "sequence" ||
  kind === "wait" ||
  kind === "handlers";

/** Handles an outcome: the name of the event that it raises, or a function that chooses it. */
export type Handler = string | ((data: unknown, value: unknown, call: OpenCall) => string | Turn);
type SignalHandler = string | ((data: unknown, payload: unknown) => string | Turn);
type TimeOf = TimerLogic["ms"];

/** The options of every state that waits. */
export interface Waiting {
  readonly deadline?: string | DeadlineEvent;
  readonly after?: { readonly [event: string]: TimeOf | Omit<TimerLogic, "event"> };
  readonly on?: { readonly [signal: string]: SignalHandler };
}

/** The options of `s.call` and `s.each`, without their types. */
interface RoundOptions extends Waiting {
  readonly inputs: (data: unknown) => readonly unknown[] | null;
  readonly ok?: Handler;
  readonly error?: Handler;
  readonly timeout?: Handler;
  readonly failed?: Handler;
  readonly settled?: Handler;
  readonly done?: string | ((data: unknown) => string | Turn);
  readonly limit?: StateLogic["limit"];
  readonly drain?: boolean;
  readonly key?: (input: unknown, index: number) => string;
  /** It is `s.call`: one call, and no `done`. */
  readonly single?: boolean;
}

/** One call of a sequence. */
export interface Step {
  readonly callee: Callable;
  readonly input: (data: unknown) => unknown;
  /** Gives the change of the data after a success. The input of the next step sees it. */
  readonly ok?: (data: unknown, output: unknown) => object;
}

/**
 * What a handler of an author returned: the name of an event, or what `s.raise` has made. Anything else would stay without a word, such
 * as a patch without an event, or nothing since a `return` is missing.
 */
function toTurn(next: string | Turn): Turn {
  if (typeof next === "string") return { raise: next };
  synchronous(next, "a handler");
  if (typeof next === "object" && next !== null && next.raise !== undefined) return next;
  abandonWithin(next);
  const what = typeof next === "object" && next !== null ? "an object" : textOf(next);
  throw new WheelworkError("WW_DEFECT", `a handler returned ${what}, which raises nothing`, {
    next: "Return s.raise(event, patch), or the name of an event. Then retry the incident.",
  });
}

/** The turn of a handler that is the name of an event, or a function that chooses it. */
export const turnBy = <Given extends readonly unknown[]>(
  handler: string | ((...given: Given) => string | Turn),
  ...given: Given
): Turn => toTurn(typeof handler === "string" ? handler : handler(...given));

/** The parts of a logic that concern its wait. */
export function waiting({ deadline, after = {}, on }: Waiting): Partial<StateLogic> {
  const timers = Object.entries(after).map(([event, timer]) =>
    typeof timer === "object" ? { event, ...timer } : { event, ms: timer },
  );
  return {
    ...(deadline === undefined ? {} : { deadline: deadlineEvent(deadline) }),
    ...(timers.length === 0 ? {} : { timers, fired: firing(timers) }),
    ...(on === undefined ? {} : { signals: Object.keys(on), signal: taking(on) }),
  };
}

/** What a deadline raises, from how authors say it. */
export const deadlineEvent = (deadline: string | DeadlineEvent): DeadlineEvent =>
  typeof deadline === "string" ? { raise: deadline } : deadline;

function firing(timers: readonly TimerLogic[]): NonNullable<StateLogic["fired"]> {
  return (data, event, open, clock) => {
    const patch = timers.find((timer) => timer.event === event)?.patch;
    return patch === undefined ? { raise: event } : { raise: event, patch: patch(data, open, clock) };
  };
}

function taking(on: { readonly [signal: string]: SignalHandler }): NonNullable<StateLogic["signal"]> {
  return (data, name, payload) => {
    const handler = on[name] as SignalHandler;
    return turnBy(handler, data, payload);
  };
}

/** Chooses an event from the data. `fixed`: the event is always this one, so the state passes. */
export function pickLogic(choose: (data: unknown) => string | Turn, fixed?: string): StateLogic {
  return {
    kind: fixed === undefined ? "pick" : "pass",
    callees: [],
    ...(fixed === undefined ? {} : { passes: fixed }),
    enter: (data) => toTurn(choose(data)),
  };
}

/** A round: calls of one callee, side by side. */
export function eachLogic(callee: Callable, options: RoundOptions): StateLogic {
  const { done, settled, ok, key } = options;
  const error = options.error ?? options.failed;
  const timeout = options.timeout ?? options.failed;
  const handle = (handler: Handler, data: unknown, value: unknown, call: OpenCall): Turn =>
    typeof handler === "string" ? fixedTurn(handler) : toTurn(handler(data, value, call));
  // One object for each event that is only a name: rounds are the hottest path.
  const turns = new Map<string, Turn>();
  const fixedTurn = (event: string): Turn => {
    let turn = turns.get(event);
    if (turn === undefined) turns.set(event, (turn = { raise: event }));
    return turn;
  };
  const listOf = (data: unknown): readonly unknown[] | null => {
    const inputs: unknown = synchronous(options.inputs(data), "the inputs of a round");
    if (inputs === null || Array.isArray(inputs)) return inputs;
    abandonWithin(inputs);
    throw new WheelworkError("WW_DEFECT", `the inputs of a round are ${textOf(inputs)}, and no list`, {
      next: "Return an array, or null. Then retry the incident.",
    });
  };
  // The inputs of rounds that have some left. They follow from the data: this saves making them again for each part.
  const lists = new WeakMap<InputsLeft, readonly unknown[]>();
  const callsOf = (inputs: readonly unknown[], from: number, most: number): CallRequest => {
    try {
      return requestCalls(callee, inputs, key, from, most);
    } catch (error) {
      // The first wrong one stops it, and each may be a promise.
      abandonWithin(inputs);
      throw error;
    }
  };
  const partOf = (inputs: readonly unknown[], from: number, most: number): CallRequest => {
    const request = callsOf(inputs, from, most);
    const isWhole = from === 0 && request.inputs.length === inputs.length;
    return isWhole ? request : { ...request, index: from, of: inputs.length };
  };
  return {
    kind: options.single === true ? "call" : "each",
    callees: [callee],
    ...waiting(options),
    ...(options.limit === undefined ? {} : { limit: options.limit }),
    ...(options.drain === undefined ? {} : { drain: options.drain }),
    enter: (data, most = maxOpened) => {
      const inputs = listOf(data);
      // Start nothing, and wait for the deadline.
      if (inputs === null) return {};
      if (inputs.length === 0 && done !== undefined) return turnBy(done, data);
      return { open: [partOf(inputs, 0, most)] };
    },
    count: (data) => listOf(data)?.length ?? 0,
    more: (left, most = maxOpened) => {
      const { data, from, of } = left;
      const inputs = lists.get(left) ?? listOf(data);
      if (inputs?.length !== of)
        throw new WheelworkError(
          "WW_DEFECT",
          `a round had ${of} inputs when it began, and has ${inputs?.length ?? "none"} now`,
          {
            next: "Make `inputs` a pure function of the data, and raise the version of the hub when you change it. Then retry the incident.",
          },
        );
      lists.set(left, inputs);
      return partOf(inputs, from, most);
    },
    callAt: (data) => {
      let inputs: readonly unknown[] | null | undefined;
      return (index) => {
        if (inputs === undefined) inputs = listOf(data);
        return inputs === null || index >= inputs.length
          ? undefined
          : requestCalls(callee, inputs, key, index, 1);
      };
    },
    outcome: (data, call, outcome) => {
      if (settled !== undefined) return handle(settled, data, outcome, call);
      if (outcome.kind === "ok") return handle(ok as Handler, data, outcome.output, call);
      return handle((outcome.kind === "error" ? error : timeout) as Handler, data, outcome, call);
    },
    ...(done === undefined
      ? {}
      : { done: typeof done === "string" ? () => fixedTurn(done) : (data: unknown) => toTurn(done(data)) }),
  };
}

/** Calls one after another. */
export function sequenceLogic(
  steps: readonly Step[],
  options: Waiting & {
    readonly failed: Handler;
    readonly done: string | ((data: unknown) => string | Turn);
    readonly drain?: boolean;
  },
): StateLogic {
  const { failed, done, drain } = options;
  const finish = (data: unknown): Turn => turnBy(done, data);
  const request = (index: number, data: unknown): CallRequest => {
    const { callee, input } = steps[index] as Step;
    return { ...requestCalls(callee, [synchronous(input(data), "the input of a step")]), index };
  };
  return {
    kind: "sequence",
    callees: steps.map((step) => step.callee),
    ...waiting(options),
    ...(drain === undefined ? {} : { drain }),
    enter: (data) => (steps.length === 0 ? finish(data) : { open: [request(0, data)] }),
    callAt: (data) => (index) => (index < steps.length ? request(index, data) : undefined),
    outcome: (data, call, outcome) => {
      if (outcome.kind !== "ok") {
        return turnBy(failed, data, outcome, call);
      }
      const patch = synchronous(steps[call.index]?.ok?.(data, outcome.output), "the ok of a step") ?? {};
      if (call.index + 1 >= steps.length) return { patch };
      return { patch, open: [request(call.index + 1, { ...(data as object), ...patch })] };
    },
    done: finish,
  };
}

/** Waits for a signal, or for a timer. */
export function waitLogic(options: Waiting & { readonly idle?: boolean }): StateLogic {
  const logic: StateLogic = { kind: "wait", callees: [], ...waiting(options), enter: () => ({}) };
  return options.idle === true ? { ...logic, idle: true } : logic;
}

/** Gives a spoke work and goes on. An input of `null` gives it nothing. */
export function tellLogic(
  callee: Callable,
  options: { readonly input: (data: unknown) => unknown; readonly next: string },
): StateLogic {
  return {
    kind: "tell",
    callees: [callee],
    passes: options.next,
    enter: (data) => {
      const input = synchronous(options.input(data), "the input of a tell");
      if (input === null) return { raise: options.next };
      return { raise: options.next, posts: [tellOf(callee, input)] };
    },
  };
}

/**
 * What a spoke is told. The run of a tell calls the spoke, and makes of the input then what the schema makes of it.
 * @throws WheelworkError WW_INVALID_INPUT.
 */
export function tellOf(callee: Callable, input: unknown): Posting {
  validInput(callee, inputSchema(callee), input);
  return { kind: "tell", spoke: callee.name, input };
}

/** Starts a run of a hub that outlives this one, and goes on. An input of `null` starts nothing. */
export function startLogic(
  to: Addressee,
  options: {
    readonly input: (data: unknown) => unknown;
    readonly key?: (data: unknown) => unknown;
    readonly startAt?: (data: unknown) => unknown;
    readonly next: string;
  },
): StateLogic {
  return {
    kind: "start",
    ...addressed(to),
    passes: options.next,
    enter: (data) => {
      const input = synchronous(options.input(data), "the input of a start");
      if (input === null) return { raise: options.next };
      return {
        raise: options.next,
        posts: [startOf(to, input, options.key?.(data), options.startAt?.(data))],
      };
    },
  };
}

/** Sends a signal to another run, and goes on. An id of `null` sends nothing. */
export function signalLogic(
  to: Addressee,
  options: {
    readonly id: (data: unknown) => unknown;
    readonly signal: string;
    readonly payload: (data: unknown) => unknown;
    readonly next: string;
  },
): StateLogic {
  const { id: idOf, signal, payload, next } = options;
  return {
    kind: "signal",
    ...addressed(to),
    sends: signal,
    passes: next,
    enter: (data) => {
      const id = scalar(idOf(data), "the id of a signal's run");
      if (id === null) return { raise: next };
      const value = synchronous(payload(data), "the payload of a signal");
      return { raise: next, posts: [signalOf(to, id, signal, value)] };
    },
  };
}

const addressed = (to: Addressee): Pick<StateLogic, "callees" | "addressee"> => ({
  callees: typeof to === "string" ? [] : [to],
  addressee: nameOf(to),
});

/** Makes an answer of the data. `s.fail` marks an error, so that a reply may be any value. */
type Reply = (data: unknown, s: { fail(code: string, message: string, details?: unknown): never }) => unknown;

const fail = (code: string, message: string, details?: unknown): never =>
  ({ "~fail": details === undefined ? { code, message } : { code, message, details } }) as never;

/** Ends the run with an answer. */
export function endLogic(reply: Reply): StateLogic {
  return { kind: "end", callees: [], enter: (data) => ({ answer: reply(data, { fail }) }) };
}

/** Ends a run that has given its answer before. */
export const answeredEnd: StateLogic = { kind: "end", callees: [], isAnswered: true, enter: () => ({}) };

/** Gives the answer, and goes on. */
export function answerLogic(reply: Reply, { next }: { readonly next: string }): StateLogic {
  return {
    kind: "answer",
    callees: [],
    passes: next,
    enter: (data) => ({ raise: next, answer: reply(data, { fail }) }),
  };
}

/**
 * Calls of one callee, with inputs that match its schema, copied as they are kept: those from a position on, `most` at most, and fewer
 * if they are large.
 * @throws WheelworkError WW_INVALID_INPUT with every problem of the first wrong input. That is a defect of the hub.
 */
export function requestCalls(
  callee: Callable,
  inputs: readonly unknown[],
  key?: (input: unknown, index: number) => string,
  from = 0,
  most = inputs.length,
): CallRequest {
  let transformed = false;
  let bytes = 0;
  const compared: Compared = { values: 0, isSame: true };
  const what = `the input of ${callee.name}`;
  const schema = inputSchema(callee);
  const checked: unknown[] = [];
  const to = Math.min(from + most, inputs.length);
  for (let index = from; index < to && !isFull(checked, inputs.length, bytes); index++) {
    const given = inputs[index];
    const valid = validInput(callee, schema, given);
    compared.isSame = true;
    const input = plainLike(countsAs(schema, valid), given, compared, "WW_DEFECT", what);
    // A schema accepts what it has made if it has changed nothing. Otherwise only a second check tells, which takes longer.
    transformed ||= !compared.isSame && !accepts(schema, valid);
    bytes += bytesOf(input, inputs.length);
    checked.push(input);
  }
  const request: CallRequest =
    key === undefined
      ? { callee, inputs: checked }
      : {
          callee,
          inputs: checked,
          keys: checked.map((input, index) => scalar(key(input, from + index), "the key of a call")),
        };
  return transformed ? { ...request, transformed } : request;
}

/** The schema of what a callee is given. */
export const inputSchema = (callee: Callable): Schema =>
  callee.kind === "hub" ? (callee as Hub).definition.request : (callee as Spoke).input;

function validInput(callee: Callable, schema: Schema, input: unknown): unknown {
  const checked = check(schema, input);
  if (checked.problems === undefined) return checked.value;
  throw new WheelworkError(
    "WW_INVALID_INPUT",
    `the hub called the ${callee.kind} ${callee.name} with an input that is not valid`,
    {
      problems: checked.problems,
      next: "Correct the hub. Then retry the incident.",
    },
  );
}
