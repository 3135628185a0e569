import type { Failed, StoredData, TraceContext } from "@wheelwork/core";
import { givenKey, idempotencyKey } from "@wheelwork/core/kernel";
import { contextOf, type Tracing } from "../ports/trace.ts";
import type { Heart } from "./heart.ts";
import { WorkerFailure } from "./outcomes.ts";

/** What a worker knows of the attempt that it makes. */
export interface WorkerContext<E extends string = string> {
  /** The id of the request whose hub called, as `engine.submit` has returned it. For the call of a hub by a hub: that of its own run. */
  readonly requestId: string;
  readonly call: number;
  /** From 1; it grows with each retry. */
  readonly attempt: number;
  /** The same over attempts and restarts: do the work of one key once (I11). */
  readonly idempotencyKey: string;
  /** Aborted when the attempt's deadline passes, or its call is closed. */
  readonly signal: AbortSignal;
  /** When the attempt is given up, in milliseconds of engine time. */
  readonly deadline: number;
  /** What an earlier attempt of the call has said last with `progress`; undefined: nothing. */
  readonly lastProgress: unknown;
  /**
   * Of a run that holds a place in a lane, or shares one: a whole number that rises with each grant of a place in that lane. Send it
   * along with what you change: whoever has seen a higher one refuses what a former holder sends late. undefined: the run has none.
   */
  readonly fence: number | undefined;
  /**
   * The span of the attempt, as W3C Trace Context writes it: send it along, so that what others do for the attempt is seen below it.
   * undefined: the engine traces nothing, and the request came without one.
   */
  readonly traceparent: string | undefined;
  /** The `tracestate` that the request came with. */
  readonly tracestate: string | undefined;
  /**
   * Says that the work goes on, and how far it is. A spoke with `heartbeatMs` wants that; for others it does nothing. The value is
   * JSON of 16,384 characters at most. The next attempt gets it as `lastProgress`: the last one if this attempt fails or times
   * out. If the process dies, it gets one that is stored: values are stored once in `heartbeatMs`, and once in a second at
   * most. Without a value, only the work goes on.
   * @throws WheelworkError WW_INVALID_OUTPUT, WW_TOO_LARGE.
   */
  progress<T>(value?: T & StoredData<T>): void;
  /** Fails the attempt with a code that the spoke declares. */
  fail<T>(code: E, message: string, details?: T & StoredData<T>): never;
}

/** What the maker of a `Worker` gets besides. */
export interface AttemptContext extends WorkerContext {
  /** The key of the run as it is stored: it leads to its shard. `requestId` is what users call it. */
  readonly runKey: string;
  /** The epoch of the run when the attempt was made (I3). */
  readonly epoch: number;
  /** When the run was created, in milliseconds of engine time: a later run may have its key. */
  readonly createdAt: number;
  /** The run cleans up: its attempts go before others that wait. */
  readonly late: boolean;
  /** The key that the hub gave the call itself; undefined: none. `idempotencyKey` is made of it. */
  readonly key: string | undefined;
  /** `traceparent` and `tracestate`. */
  readonly trace: TraceContext | undefined;
  /** What has caused the run of the attempt. */
  readonly cause: TraceContext | undefined;
  /**
   * Calls back when the attempt's deadline passes, or its call is closed; at once if that has happened. A later callback
   * replaces an earlier one. It costs less than an AbortSignal.
   */
  onAbort(callback: () => void): void;
  /**
   * The attempt waits for a place in another process, which is no time of its own: it is given up at `until` at the earliest, in
   * milliseconds of engine time. The deadline of its state bounds it all the same.
   */
  postpone(until: number): void;
}

/** What an attempt is made for: a call of a run, or what another process says of one. */
export interface AttemptRequest {
  /** `late`: it cleans up. */
  readonly run: {
    readonly key: string;
    readonly epoch: number;
    readonly late?: boolean;
    readonly lane?: { readonly fence?: number } | undefined;
    readonly hub?: string;
    readonly state?: string;
    readonly createdAt: number;
    readonly trace?: TraceContext | undefined;
  };
  readonly number: number;
  readonly callee: string;
  readonly attempt: number;
  readonly input: unknown;
  /** The author's own idempotency key. */
  readonly key: string | undefined;
  readonly due: number | undefined;
  /** When it would have timed out if it had not waited, if that is another time. */
  readonly firstDue?: number | undefined;
  /** What its attempts have said of how far they are. */
  readonly progress?: unknown;
  /** Its span, where another process knows it. */
  readonly trace?: TraceContext | undefined;
  /** The host's: what it has under way for the request. */
  work: unknown;
}

let abort: (context: Context) => void;
let extend: (context: Context, byMs: number) => void;
let listen: (context: Context, heart: Heart) => void;

/**
 * The context of one attempt, for the maker of its worker. Nothing of the host can be reached from it, and nothing can be
 * changed by it: there is one for each attempt, so that it holds as little as it can, and makes the rest when it is asked.
 */
export class Context implements AttemptContext {
  readonly #request: AttemptRequest;
  readonly #tracing: Tracing | undefined;
  // As they were when the attempt was made: the request is a call of a run, which goes on.
  readonly #attempt: number;
  readonly #epoch: number;
  #deadline: number;
  #controller: AbortController | undefined = undefined;
  #onAbort: (() => void) | undefined = undefined;
  #aborted = false;
  /** Only for a spoke with heartbeats. */
  #heart: { readonly heart: Heart; readonly before: unknown } | undefined = undefined;

  constructor(request: AttemptRequest, tracing?: Tracing) {
    this.#request = request;
    this.#tracing = tracing;
    this.#attempt = request.attempt;
    this.#epoch = request.run.epoch;
    this.#deadline = request.due ?? 0;
  }

  get requestId(): string {
    return givenKey(this.#request.run.key);
  }

  get runKey(): string {
    return this.#request.run.key;
  }

  get call(): number {
    return this.#request.number;
  }

  get attempt(): number {
    return this.#attempt;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get deadline(): number {
    return this.#deadline;
  }

  get createdAt(): number {
    return this.#request.run.createdAt;
  }

  get late(): boolean {
    return this.#request.run.late === true;
  }

  get key(): string | undefined {
    return this.#request.key;
  }

  get idempotencyKey(): string {
    return idempotencyKey(this.#request.run, this.#request);
  }

  /** Made only if the worker asks for it: most do not, and an AbortController is dear. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  onAbort(callback: () => void): void {
    if (this.#aborted) callback();
    else this.#onAbort = callback;
  }

  postpone(until: number): void {
    this.#deadline = Math.max(this.#deadline, until);
    this.#heart?.heart.beat();
  }

  get lastProgress(): unknown {
    return this.#heart?.before;
  }

  get fence(): number | undefined {
    return this.#request.run.lane?.fence;
  }

  get trace(): TraceContext | undefined {
    const { run, number: call, trace } = this.#request;
    return trace ?? contextOf(this.#tracing, run, { kind: "attempt", call, attempt: this.#attempt });
  }

  get cause(): TraceContext | undefined {
    return this.#request.run.trace;
  }

  get traceparent(): string | undefined {
    return this.trace?.parent;
  }

  get tracestate(): string | undefined {
    return this.trace?.state;
  }

  progress(value?: unknown): void {
    this.#heart?.heart.progress(value);
  }

  fail(code: string, message: string, details?: unknown): never {
    return fail(code, message, details);
  }

  // Only this module ends an attempt: a method would be one of user code, too.
  static {
    abort = (context) => {
      context.#aborted = true;
      context.#onAbort?.();
      context.#controller?.abort();
    };
    extend = (context, byMs) => {
      context.#deadline += byMs;
    };
    listen = (context, heart) => {
      context.#heart = { heart, before: context.#request.progress };
    };
  }
}

/** Tells the worker that its attempt is over. */
export const abortContext = (context: Context): void => abort(context);

/** Gives an attempt more time: it has waited for a place. */
export const extendContext = (context: Context, byMs: number): void => extend(context, byMs);

/** Hears what the worker of an attempt says of its progress. */
export const listenTo = (context: Context, heart: Heart): void => listen(context, heart);

/** What a worker function sees of an attempt: what `WorkerContext` documents, and nothing besides. */
class FunctionContext implements WorkerContext {
  readonly #context: AttemptContext;

  constructor(context: AttemptContext) {
    this.#context = context;
  }

  get requestId(): string {
    return this.#context.requestId;
  }

  get call(): number {
    return this.#context.call;
  }

  get attempt(): number {
    return this.#context.attempt;
  }

  get deadline(): number {
    return this.#context.deadline;
  }

  get idempotencyKey(): string {
    return this.#context.idempotencyKey;
  }

  get signal(): AbortSignal {
    return this.#context.signal;
  }

  get lastProgress(): unknown {
    return this.#context.lastProgress;
  }

  get fence(): number | undefined {
    return this.#context.fence;
  }

  get traceparent(): string | undefined {
    return this.#context.traceparent;
  }

  get tracestate(): string | undefined {
    return this.#context.tracestate;
  }

  progress(value?: unknown): void {
    this.#context.progress(value as never);
  }

  fail(code: string, message: string, details?: unknown): never {
    return fail(code, message, details);
  }
}

/** The context of a worker function. */
export const functionContext = <E extends string>(context: AttemptContext): WorkerContext<E> =>
  new FunctionContext(context);

function fail(code: string, message: string, details: unknown): never {
  const failed = { kind: "error" as const, code: code as Failed["code"], message };
  throw new WorkerFailure(details === undefined ? failed : { ...failed, details });
}
