import { WheelworkError, type ErrorCode, type Problem } from "./errors.ts";
import type { In, Out, Schema } from "./schema.ts";

/** When and how often a failed attempt of a call is made again. */
export interface RetryPolicy<E extends string = string> {
  /** Attempts in all, the first one included; 1: never again. Default 1. */
  readonly attempts?: number;
  /** Pause before the second attempt, in milliseconds. Default 0. */
  readonly backoffMs?: number;
  /** Factor by which the pause grows from attempt to attempt. Default 2. */
  readonly factor?: number;
  /** Longest pause, in milliseconds. Default 60,000. */
  readonly maxBackoffMs?: number;
  /** Share of the pause that is drawn at random, 0 to 1, so that many retries do not come at once. Default 0.2. */
  readonly jitter?: number;
  /** Error codes after which another attempt cannot help. */
  readonly giveUpOn?: readonly (E | EngineFailure)[];
}

/** Failures that the engine itself reports as the outcome of a call, besides those that a spoke declares. */
export type EngineFailure = Extract<
  ErrorCode,
  "WW_WORKER_FAILED" | "WW_INVALID_OUTPUT" | "WW_CANCELLED" | "WW_INCIDENT" | "WW_DEFECT"
>;

/** How a call ended. */
export type Outcome<O = unknown, E extends string = string> =
  { readonly kind: "ok"; readonly output: O } | Failed<E> | { readonly kind: "timeout" };

/** A call that ended with an error: a code that its spoke declares, or one of the engine's. */
export interface Failed<E extends string = string> {
  readonly kind: "error";
  readonly code: E | EngineFailure;
  readonly message: string;
  readonly details?: unknown;
}

/** A call that did not succeed. */
export type Failure<E extends string = string> = Failed<E> | { readonly kind: "timeout" };

/** What a hub can call: a spoke, or another hub. `I`: what the caller passes; `O`: what it gets; `E`: error codes. */
export interface Callable<I = unknown, O = unknown, E extends string = string> {
  readonly kind: "spoke" | "hub";
  readonly name: string;
  readonly errors: readonly E[];
  /** Only for the compiler: keeps the types of input and output. Never set. */
  readonly "~types"?: { readonly input: (input: I) => void; readonly output: O };
}

/** One asynchronous operation that hubs call and workers serve: the contract between the two. */
export interface Spoke<I = unknown, O = unknown, E extends string = string> extends Callable<I, O, E> {
  readonly kind: "spoke";
  readonly input: Schema<unknown, unknown>;
  readonly output: Schema<unknown, unknown>;
  /** Longest time that one attempt may take, from the commit that decides it, in milliseconds. */
  readonly timeoutMs: number;
  readonly retry: Required<RetryPolicy>;
  /** Attempts of this spoke that one engine runs at the same time; the others queue, and their time counts. */
  readonly concurrency: number;
}

/** What `spoke` takes. */
export interface SpokeSpec<IS extends Schema, OS extends Schema, E extends string> {
  readonly input: IS;
  readonly output: OS;
  /** Codes with which a worker may fail an attempt. Default: none. */
  readonly errors?: readonly E[];
  readonly timeoutMs: number;
  readonly retry?: RetryPolicy<NoInfer<E>>;
  /** Default: no limit. */
  readonly concurrency?: number;
}

/** The types of a spoke as its worker sees them: the input after validation, the output before it. */
export interface WorkerTypes<I, O> {
  readonly "~worker"?: { readonly input: I; readonly output: (output: O) => void };
}

/**
 * Declares a spoke.
 * @throws WheelworkError WW_BAD_SPOKE with every problem of the declaration.
 */
export function spoke<IS extends Schema, OS extends Schema, const E extends string = never>(
  name: string,
  spec: SpokeSpec<IS, OS, E>,
): Spoke<In<IS>, Out<OS>, E> & WorkerTypes<Out<IS>, In<OS>> {
  const { retry = {}, errors = [] } = spec;
  const made = {
    kind: "spoke" as const,
    name,
    input: spec.input as Schema<unknown, unknown>,
    output: spec.output as Schema<unknown, unknown>,
    errors,
    timeoutMs: Math.ceil(spec.timeoutMs),
    retry: {
      attempts: retry.attempts ?? 1,
      backoffMs: retry.backoffMs ?? 0,
      factor: retry.factor ?? 2,
      maxBackoffMs: retry.maxBackoffMs ?? 60_000,
      jitter: retry.jitter ?? 0.2,
      giveUpOn: retry.giveUpOn ?? [],
    },
    concurrency: spec.concurrency ?? Number.MAX_SAFE_INTEGER,
  };
  const problems = problemsOf(made);
  if (problems.length > 0) {
    throw new WheelworkError("WW_BAD_SPOKE", `the spoke ${JSON.stringify(name)} cannot be used`, {
      problems,
    });
  }
  return Object.freeze(made);
}

/** The pause before the attempt that follows attempt number `attempt`, in milliseconds. `random` is in [0, 1). */
export function backoffOf(retry: Required<RetryPolicy>, attempt: number, random: number): number {
  if (retry.backoffMs === 0) return 0;
  const full = Math.min(retry.maxBackoffMs, retry.backoffMs * retry.factor ** (attempt - 1));
  return Math.round(full * (1 - retry.jitter * random));
}

/** The longest time that a call can take over all its attempts, in milliseconds (I17: it is finite). */
export function maxCallMs(called: Spoke): number {
  let total = called.timeoutMs * called.retry.attempts;
  for (let attempt = 1; attempt < called.retry.attempts; attempt++)
    total += backoffOf(called.retry, attempt, 0);
  return total;
}

/** Some three hundred years, in milliseconds. */
const maxMs = 10_000_000_000_000;

/** Whether a time is above 0, and not so long that sums of times are no longer exact (I6). */
export function isDuration(ms: number): boolean {
  return ms > 0 && ms <= maxMs;
}

/** Names of hubs and spokes end up in keys, topics and file names. */
export const namePattern = /^[A-Za-z][A-Za-z0-9_.-]{0,99}$/;

function problemsOf(made: Omit<Spoke, "~types">): Problem[] {
  const problems: Problem[] = [];
  const require = (holds: boolean, path: string, message: string): void => {
    if (!holds) problems.push({ path, message });
  };
  const { retry } = made;
  require(namePattern.test(made.name), "name", "must be a letter, then letters, digits, '_', '.' or '-'");
  require(isDuration(made.timeoutMs), "timeoutMs", "must be a finite number above 0 (I6)");
  require(Number.isInteger(retry.attempts) &&
    retry.attempts >= 1, "retry.attempts", "must be an integer from 1");
  require(retry.backoffMs >= 0 &&
    Number.isFinite(retry.backoffMs), "retry.backoffMs", "must be a finite number from 0");
  require(retry.factor >= 1 &&
    Number.isFinite(retry.factor), "retry.factor", "must be a finite number from 1");
  require(retry.maxBackoffMs >= 0 &&
    retry.maxBackoffMs <= maxMs, "retry.maxBackoffMs", "must be a finite number from 0");
  require(retry.jitter >= 0 && retry.jitter <= 1, "retry.jitter", "must be from 0 to 1");
  require(Number.isInteger(made.concurrency) &&
    made.concurrency >= 1, "concurrency", "must be an integer from 1");
  const reserved = made.errors.filter((code) => code.startsWith("WW_"));
  require(reserved.length ===
    0, "errors", `codes that begin with WW_ are the engine's: ${reserved.join(", ")}`);
  return problems;
}
