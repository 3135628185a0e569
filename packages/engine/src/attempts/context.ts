import type { Failed } from "@wheelwork/core";
import { idempotencyKey } from "@wheelwork/core/kernel";
import { WorkerFailure } from "./outcomes.ts";

/** What a worker knows of the attempt that it makes. */
export interface WorkerContext<E extends string = string> {
  /** The request whose hub called. */
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
  /** Fails the attempt with a code that the spoke declares. */
  fail(code: E, message: string, details?: unknown): never;
}

/** What the maker of a `Worker` gets besides. */
export interface AttemptContext extends WorkerContext {
  /** The epoch of the run when the attempt was made (I3). */
  readonly epoch: number;
  /** The key that the hub gave the call itself; undefined: none. `idempotencyKey` is made of it. */
  readonly key: string | undefined;
  /**
   * Calls back when the attempt's deadline passes, or its call is closed; at once if that has happened. A later callback
   * replaces an earlier one. It costs less than an AbortSignal.
   */
  onAbort(callback: () => void): void;
}

/** What an attempt is made for: a call of a run, or what another process says of one. */
export interface AttemptRequest {
  readonly run: { readonly key: string; readonly epoch: number };
  readonly number: number;
  readonly callee: string;
  readonly attempt: number;
  readonly input: unknown;
  /** The author's own idempotency key. */
  readonly key: string | undefined;
  readonly due: number | undefined;
  /** The host's: what it has under way for the request. */
  work: unknown;
}

let abort: (context: Context) => void;

/** The context of one attempt. It is user code's to keep: nothing of the host can be reached from it. */
export class Context implements AttemptContext {
  readonly requestId: string;
  readonly call: number;
  readonly attempt: number;
  readonly deadline: number;
  readonly epoch: number;
  readonly key: string | undefined;
  readonly #request: AttemptRequest;
  #controller: AbortController | undefined = undefined;
  #onAbort: (() => void) | undefined = undefined;
  #aborted = false;

  constructor(request: AttemptRequest) {
    this.requestId = request.run.key;
    this.call = request.number;
    this.attempt = request.attempt;
    this.deadline = request.due ?? 0;
    this.epoch = request.run.epoch;
    this.key = request.key;
    this.#request = request;
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
  }
}

/** Tells the worker that its attempt is over. */
export const abortContext = (context: Context): void => abort(context);

/** What a worker function sees of an attempt: what `WorkerContext` documents, and nothing besides. */
class FunctionContext implements WorkerContext {
  readonly requestId: string;
  readonly call: number;
  readonly attempt: number;
  readonly deadline: number;
  readonly #context: AttemptContext;

  constructor(context: AttemptContext) {
    this.requestId = context.requestId;
    this.call = context.call;
    this.attempt = context.attempt;
    this.deadline = context.deadline;
    this.#context = context;
  }

  get idempotencyKey(): string {
    return this.#context.idempotencyKey;
  }

  get signal(): AbortSignal {
    return this.#context.signal;
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
