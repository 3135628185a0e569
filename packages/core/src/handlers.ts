import { WheelworkError } from "./errors.ts";
import {
  defineHub,
  end,
  type CallView,
  type ErasedSpec,
  type Failing,
  type Hub,
  type SignalSchemas,
} from "./hub.ts";
import type { DeepReadonly } from "./json.ts";
import { requestCalls, type CallRequest, type OpenCall, type StateLogic, type Turn } from "./logic.ts";
import type { In, Out, Schema } from "./schema.ts";
import type { Callable, Outcome } from "./spoke.ts";

/** A call that has settled, as `response` gets it. */
export interface SettledCall extends CallView<unknown> {
  /** The hub or spoke that was called. */
  readonly callee: string;
  /** What `s.call` was given as `tag`. */
  readonly tag: string | undefined;
}

/** What a handler may do in one turn. Everything takes effect when the turn is committed, or not at all. */
export interface Handling<D, R, E extends string> {
  /** The run's data, with what `patch` has changed in this turn. */
  readonly data: DeepReadonly<D>;
  /** Calls that have not settled, those of this turn included. */
  readonly open: number;
  /** The deadline has passed, or the run was cancelled, or `cleanUp` was called: only clean-up is left. */
  readonly cleaningUp: boolean;
  /** Changes the data. */
  patch(change: Partial<D>): void;
  /** Calls a hub or a spoke; its outcome comes to `response`. */
  call<I, O, F extends string>(
    callee: Callable<I, O, F>,
    input: NoInfer<I>,
    options?: { readonly tag?: string; readonly key?: string },
  ): void;
  /** Closes the calls that are open, and goes to the clean-up: `timeout` is called with the cause `request`. */
  cleanUp(): void;
  /** Ends the run with a result. */
  reply(value: R): void;
  /** Ends the run with an error. */
  fail(code: E, message: string, details?: unknown): void;
}

/** Why a run goes to its clean-up. */
export type CleanUpCause = "deadline" | "cancel" | "request";

/** The handlers of a hub: plain functions with conditionals. They must be pure, as those of a chart. */
export interface Handlers<D, R, E extends string, Sig extends SignalSchemas> {
  /** The first turn. */
  readonly request: (s: Handling<D, R, E>) => void;
  /** A call has settled. */
  readonly response: (s: Handling<D, R, E>, call: SettledCall, outcome: Outcome) => void;
  /** The work is over without an answer; what it left behind is to be cleaned up within `cleanUpMs`. */
  readonly timeout: (s: Handling<D, R, E>, cause: CleanUpCause) => void;
  readonly signal?: (
    s: Handling<D, R, E>,
    signal: {
      [N in keyof Sig]: { readonly name: N; readonly payload: DeepReadonly<Out<Sig[N]>> };
    }[keyof Sig],
  ) => void;
}

/** The declaration of a hub by handlers: that of a chart without the chart. */
export interface HandlersSpec<
  Req extends Schema,
  Rep extends Schema,
  D extends object,
  E extends string,
  Sig extends SignalSchemas,
> {
  readonly request: Req;
  readonly reply: Rep;
  readonly errors?: readonly E[];
  /** Bounds the work, in milliseconds from the commit that accepts the request. */
  readonly deadlineMs: number | ((request: Out<Req>) => number);
  /** Bounds the clean-up that follows a deadline or a cancel, in milliseconds. */
  readonly cleanUpMs: number;
  readonly data: (request: Out<Req>) => D;
  readonly signals?: Sig;
  readonly version?: number;
}

/** The run's data as it is stored: the author's, and what the kernel must keep for the handlers. */
interface Kept {
  readonly data: object;
  readonly open: number;
  readonly cause?: CleanUpCause;
  readonly answer?: unknown;
}

const chart = {
  Working: { Answered: "Done", CleanUp: "CleaningUp" },
  CleaningUp: { Answered: "Done", TimeoutRaised: "GivenUp" },
  GivenUp: end,
  Done: end,
} as const;

/**
 * Defines a hub by handlers (the seed's FlowCrudService): the same contract as a chart, and the same kernel. Its diagram
 * shows only that it works, cleans up, or is done; what it does in between is the handlers' own.
 * @throws WheelworkError WW_BAD_HUB with every problem.
 */
export function hubByHandlers<
  Req extends Schema,
  Rep extends Schema,
  D extends object,
  const E extends string = never,
  Sig extends SignalSchemas = Record<never, never>,
>(
  name: string,
  spec: HandlersSpec<Req, Rep, D, E, Sig> & { readonly calls: readonly Callable<never, unknown, string>[] },
  handlers: Handlers<NoInfer<D>, In<NoInfer<Rep>>, NoInfer<E>, NoInfer<Sig>>,
): Hub<In<Req>, Out<Rep>, E> {
  const own = handlers as unknown as Handlers<object, unknown, string, SignalSchemas>;
  const callees = spec.calls as unknown as readonly Callable[];
  const logics = new Map<string, StateLogic>([
    ["Working", working(callees, own, Object.keys(spec.signals ?? {}))],
    ["CleaningUp", cleaningUp(callees, own, Object.keys(spec.signals ?? {}), spec.cleanUpMs)],
    [
      "GivenUp",
      {
        kind: "end",
        callees: [],
        enter: () => ({ answer: failing("WW_TIMEOUT", `${name} did not clean up in its time`) }),
      },
    ],
    ["Done", { kind: "end", callees: [], enter: (kept) => ({ answer: (kept as Kept).answer }) }],
  ]);
  const erased = {
    ...spec,
    cancel: { raise: "CleanUp", patch: () => ({ cause: "cancel" }) },
    data: (request: unknown): Kept => ({ data: spec.data(request as Out<Req>), open: 0 }),
  };
  return defineHub(name, erased as unknown as ErasedSpec, chart, logics) as Hub<In<Req>, Out<Rep>, E>;
}

type Run = (s: Handling<object, unknown, string>) => void;

function working(
  callees: readonly Callable[],
  handlers: Handlers<object, unknown, string, SignalSchemas>,
  signals: readonly string[],
): StateLogic {
  return {
    kind: "handlers",
    callees,
    signals,
    deadline: { raise: "CleanUp", patch: () => ({ cause: "deadline" }) },
    enter: (kept) => take(kept, false, 0, (s) => handlers.request(s)),
    ...common(handlers, false),
  };
}

function cleaningUp(
  callees: readonly Callable[],
  handlers: Handlers<object, unknown, string, SignalSchemas>,
  signals: readonly string[],
  withinMs: number,
): StateLogic {
  return {
    kind: "handlers",
    callees,
    signals,
    withinMs,
    deadline: { raise: "TimeoutRaised" },
    // The calls of the work have been closed on the way here.
    enter: (kept) =>
      take({ ...(kept as Kept), open: 0 }, true, 0, (s) =>
        handlers.timeout(s, (kept as Kept).cause ?? "request"),
      ),
    ...common(handlers, true),
  };
}

function common(
  handlers: Handlers<object, unknown, string, SignalSchemas>,
  cleanUp: boolean,
): Pick<StateLogic, "outcome" | "signal"> {
  return {
    outcome: (kept, call, outcome) =>
      take(kept, cleanUp, 1, (s) => handlers.response(s, settledCall(call), outcome)),
    signal: (kept, signal, payload) =>
      take(kept, cleanUp, 0, (s) => handlers.signal?.(s, { name: signal, payload } as never)),
  };
}

function settledCall(call: OpenCall): SettledCall {
  return { callee: call.callee, tag: call.tag, input: call.input as SettledCall["input"], index: call.index };
}

function take(kept: unknown, cleanUp: boolean, settled: number, run: Run): Turn {
  const turn = new HandlingTurn(kept as Kept, cleanUp, settled);
  run(turn as Handling<object, unknown, string>);
  return turn.turn();
}

class HandlingTurn {
  data: DeepReadonly<object>;
  readonly cleaningUp: boolean;
  readonly #kept: Kept;
  readonly #calls: CallRequest[] = [];
  #open: number;
  #answer: { readonly value: unknown } | undefined = undefined;
  #cleanUp = false;

  constructor(kept: Kept, cleanUp: boolean, settled: number) {
    this.#kept = kept;
    this.data = kept.data;
    this.cleaningUp = cleanUp;
    this.#open = kept.open - settled;
  }

  get open(): number {
    return this.#open;
  }

  patch(change: object): void {
    this.data = { ...this.data, ...change };
  }

  call(
    callee: Callable,
    input: unknown,
    options: { readonly tag?: string; readonly key?: string } = {},
  ): void {
    const { tag, key } = options;
    const request = requestCalls(callee, [input], key === undefined ? undefined : () => key);
    this.#calls.push(tag === undefined ? request : { ...request, tag });
    this.#open++;
  }

  cleanUp(): void {
    if (this.cleaningUp) {
      throw new WheelworkError("WW_DEFECT", "cleanUp was called by a run that cleans up already");
    }
    this.#cleanUp = true;
  }

  reply(value: unknown): void {
    this.#conclude(value);
  }

  fail(code: string, message: string, details?: unknown): void {
    this.#conclude(failing(code, message, details));
  }

  #conclude(value: unknown): void {
    if (this.#answer !== undefined)
      throw new WheelworkError("WW_DEFECT", "a handler gave two answers in one turn (I5)");
    this.#answer = { value };
  }

  turn(): Turn {
    const kept = this.data === this.#kept.data ? {} : { data: this.data };
    if (this.#answer !== undefined)
      return { raise: "Answered", patch: { ...kept, open: 0, answer: this.#answer.value } };
    if (this.#cleanUp) return { raise: "CleanUp", patch: { ...kept, open: 0, cause: "request" } };
    return { patch: { ...kept, open: this.#open }, open: this.#calls };
  }
}

function failing(code: string, message: string, details?: unknown): Failing<string> {
  return { "~fail": details === undefined ? { code, message } : { code, message, details } };
}
