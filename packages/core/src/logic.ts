import type { Hub } from "./hub.ts";
import { check } from "./schema.ts";
import { WheelworkError } from "./errors.ts";
import type { Callable, Outcome, Spoke } from "./spoke.ts";

/** What a state's logic asks for in one turn. */
export interface Turn {
  /** The event that it raises. */
  readonly raise?: string;
  readonly patch?: object;
  readonly open?: readonly CallRequest[];
  /** A spoke that is told, without waiting. */
  readonly tell?: { readonly callee: Callable; readonly input: unknown };
  /** The answer, in an end state. */
  readonly answer?: unknown;
}

/** Calls that a turn opens: one callee, one input each. */
export interface CallRequest {
  readonly callee: Callable;
  readonly inputs: readonly unknown[];
  readonly keys?: readonly string[];
  readonly index?: number;
  readonly tag?: string;
}

/** A call as the kernel shows it to a logic. */
export interface OpenCall {
  readonly input: unknown;
  readonly index: number;
  readonly tag: string | undefined;
  readonly callee: string;
}

/** What a state does: the one interface that the kernel knows, whatever the hub was written as. */
export interface StateLogic {
  readonly kind: "pass" | "pick" | "call" | "each" | "sequence" | "wait" | "tell" | "end" | "handlers";
  readonly callees: readonly Callable[];
  /** The event that it raises by itself at once, where that is fixed (pass, tell). */
  readonly passes?: string;
  /** Whether it waits for something; if so it has a deadline. */
  readonly deadline?: {
    readonly raise: string;
    readonly patch?: (data: unknown, open: readonly OpenCall[]) => object;
  };
  readonly withinMs?: number;
  readonly limit?: number;
  readonly drain?: boolean;
  /** Signals that it takes. */
  readonly signals?: readonly string[];
  enter(data: unknown): Turn;
  outcome?(data: unknown, call: OpenCall, outcome: Outcome, remaining: number): Turn;
  /** Every call of the round has settled. */
  done?(data: unknown): Turn;
  signal?(data: unknown, name: string, payload: unknown): Turn;
}

type Handler = string | ((data: unknown, value: unknown, call: OpenCall) => string | Turn);
type Deadline =
  string | { readonly raise: string; readonly patch: (data: unknown, open: readonly OpenCall[]) => object };

interface Waiting {
  readonly deadline: Deadline;
  readonly withinMs?: number;
}

interface RoundOptions extends Waiting {
  readonly inputs: (data: unknown) => readonly unknown[] | null;
  readonly ok?: Handler;
  readonly error?: Handler;
  readonly timeout?: Handler;
  readonly failed?: Handler;
  readonly settled?: Handler;
  readonly done?: string | ((data: unknown) => string | Turn);
  readonly limit?: number;
  readonly drain?: boolean;
  readonly key?: (input: unknown, index: number) => string;
  readonly single?: boolean;
}

/** One call of a sequence. */
export interface Step {
  readonly callee: Callable;
  readonly input: (data: unknown) => unknown;
  readonly ok?: (data: unknown, output: unknown) => object;
}

const toTurn = (next: string | Turn): Turn => (typeof next === "string" ? { raise: next } : next);

/** The parts of a logic that concern its wait. */
function waiting(options: Waiting): Pick<StateLogic, "deadline" | "withinMs"> {
  const deadline = typeof options.deadline === "string" ? { raise: options.deadline } : options.deadline;
  return options.withinMs === undefined ? { deadline } : { deadline, withinMs: options.withinMs };
}

/** An event chosen from the data; `fixed` where it is always the same (a state that passes). */
export function pickLogic(choose: (data: unknown) => string | Turn, fixed?: string): StateLogic {
  return {
    kind: fixed === undefined ? "pick" : "pass",
    callees: [],
    ...(fixed === undefined ? {} : { passes: fixed }),
    enter: (data) => toTurn(choose(data)),
  };
}

/** One concurrent round of calls of one callee. */
export function eachLogic(callee: Callable, options: RoundOptions): StateLogic {
  const { done, settled, ok, key } = options;
  const error = options.error ?? options.failed;
  const timeout = options.timeout ?? options.failed;
  const handle = (handler: Handler, data: unknown, value: unknown, call: OpenCall): Turn =>
    typeof handler === "string" ? fixedTurn(handler) : toTurn(handler(data, value, call));
  const turns = new Map<string, Turn>();
  const fixedTurn = (event: string): Turn => {
    let turn = turns.get(event);
    if (turn === undefined) turns.set(event, (turn = { raise: event }));
    return turn;
  };
  return {
    kind: options.single === true ? "call" : "each",
    callees: [callee],
    ...waiting(options),
    ...(options.limit === undefined ? {} : { limit: options.limit }),
    ...(options.drain === undefined ? {} : { drain: options.drain }),
    enter: (data) => {
      const inputs = options.inputs(data);
      if (inputs === null) return {};
      if (inputs.length === 0 && done !== undefined)
        return typeof done === "string" ? { raise: done } : toTurn(done(data));
      return { open: [requestCalls(callee, inputs, key)] };
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
  options: Waiting & { readonly failed: Handler; readonly done: string | ((data: unknown) => string | Turn) },
): StateLogic {
  const { failed, done } = options;
  const finish = (data: unknown): Turn => (typeof done === "string" ? { raise: done } : toTurn(done(data)));
  const request = (index: number, data: unknown): CallRequest => {
    const { callee, input } = steps[index] as Step;
    return { ...requestCalls(callee, [input(data)]), index };
  };
  return {
    kind: "sequence",
    callees: steps.map((step) => step.callee),
    ...waiting(options),
    enter: (data) => (steps.length === 0 ? finish(data) : { open: [request(0, data)] }),
    outcome: (data, call, outcome) => {
      if (outcome.kind !== "ok") {
        return typeof failed === "string" ? { raise: failed } : toTurn(failed(data, outcome, call));
      }
      const patch = steps[call.index]?.ok?.(data, outcome.output) ?? {};
      if (call.index + 1 >= steps.length) return { patch };
      return { patch, open: [request(call.index + 1, { ...(data as object), ...patch })] };
    },
    done: finish,
  };
}

/** Waits for a signal. */
export function waitLogic(
  options: Waiting & {
    readonly on: { readonly [signal: string]: string | ((data: unknown, payload: unknown) => string | Turn) };
  },
): StateLogic {
  return {
    kind: "wait",
    callees: [],
    ...waiting(options),
    signals: Object.keys(options.on),
    enter: () => ({}),
    signal: (data, name, payload) => {
      const handler = options.on[name] as string | ((data: unknown, payload: unknown) => string | Turn);
      return toTurn(typeof handler === "string" ? handler : handler(data, payload));
    },
  };
}

/** Tells a spoke and goes on. */
export function tellLogic(
  callee: Callable,
  options: { readonly input: (data: unknown) => unknown; readonly next: string },
): StateLogic {
  return {
    kind: "tell",
    callees: [callee],
    passes: options.next,
    enter: (data) => {
      const input = options.input(data);
      return input === null
        ? { raise: options.next }
        : { raise: options.next, tell: { callee, input: validInput(callee, input) } };
    },
  };
}

/** Ends the run with an answer. */
export function endLogic(
  reply: (data: unknown, s: { fail(code: string, message: string, details?: unknown): never }) => unknown,
): StateLogic {
  const fail = (code: string, message: string, details?: unknown): never =>
    ({ "~fail": details === undefined ? { code, message } : { code, message, details } }) as never;
  return { kind: "end", callees: [], enter: (data) => ({ answer: reply(data, { fail }) }) };
}

/** Inputs checked against the callee's schema: an input that is not valid is a defect of the hub. */
export function requestCalls(
  callee: Callable,
  inputs: readonly unknown[],
  key?: (input: unknown, index: number) => string,
): CallRequest {
  const checked = inputs.map((input) => validInput(callee, input));
  return key === undefined
    ? { callee, inputs: checked }
    : { callee, inputs: checked, keys: checked.map(key) };
}

function validInput(callee: Callable, input: unknown): unknown {
  const schema = callee.kind === "hub" ? (callee as Hub).definition.request : (callee as Spoke).input;
  const checked = check(schema, input);
  if (checked.problems === undefined) return checked.value;
  throw new WheelworkError(
    "WW_INVALID_INPUT",
    `the input for the ${callee.kind} ${callee.name} is not valid`,
    {
      problems: checked.problems,
      next: "Correct the hub that calls it, then retry the incident.",
    },
  );
}
