import { demandsOf, WheelworkError, type Problem } from "./errors.ts";
import type { StoredSchema } from "./json-types.ts";
import {
  maxMs,
  problemsOfRetries,
  retriesOf,
  type EngineFailure,
  type Retries,
  type RetryPolicy,
} from "./retry.ts";
import type { In, Out, Schema } from "./schema.ts";
import { limitOf, problemsOfLimit, type SpokeLimit, type WholeLimit } from "./limit.ts";
import { unknownOfSpoke } from "./option-names.ts";

/** What an attempt, or a call, came to. */
export type Outcome<O = unknown, E extends string = string> =
  { readonly kind: "ok"; readonly output: O } | Failed<E> | { readonly kind: "timeout" };

/** A call that came to an error: a code that its spoke or hub declares, or one of the engine's. */
export interface Failed<E extends string = string> {
  readonly kind: "error";
  readonly code: E | EngineFailure;
  readonly message: string;
  readonly details?: unknown;
  /** Where the exception of a worker came from, with its causes. The history and the log have it, and no handler gets it. */
  readonly stack?: string;
}

/** A call that did not succeed. */
export type Failure<E extends string = string> = Failed<E> | { readonly kind: "timeout" };

/**
 * What a hub can call: a spoke, or another hub. `I`: what the caller passes. `O`: what it gets. `E`: codes of errors.
 */
export interface Callable<I = unknown, O = unknown, E extends string = string> {
  readonly kind: "spoke" | "hub";
  readonly name: string;
  /** Codes of the errors that it declares. */
  readonly errors: readonly E[];
  /** For the compiler only: it holds the types of input and output. Never set. */
  readonly "~types"?: { readonly input: (input: I) => void; readonly output: O };
}

/** One asynchronous operation that hubs can call and workers serve. It is the contract between the two. */
export interface Spoke<I = unknown, O = unknown, E extends string = string> extends Callable<I, O, E> {
  readonly kind: "spoke";
  readonly input: Schema<unknown, unknown>;
  readonly output: Schema<unknown, unknown>;
  /** Longest time that one attempt may take, in milliseconds from when its worker begins. To wait for a place is no part of it. */
  readonly timeoutMs: number;
  /** How long the worker of an attempt may be silent, in milliseconds; undefined: as long as it likes. */
  readonly heartbeatMs: number | undefined;
  readonly retry: Retries;
  /** How much may be under way in one process; undefined: as much as there is. */
  readonly limit: WholeLimit | undefined;
  /** After how long the work of an attempt loses its place under a limit though it has not ended, in milliseconds. */
  readonly abandonAfterMs: number;
}

/** The declaration of a spoke. */
export interface SpokeSpec<IS extends Schema, OS extends Schema, E extends string> {
  /** The schema of inputs. What it makes of them is stored, so it must be JSON. */
  readonly input: IS & StoredSchema<IS>;
  /** The schema of outputs. What it makes of them is stored, so it must be JSON. */
  readonly output: OS & StoredSchema<OS>;
  /** Codes of the errors that a worker may fail an attempt with. Default: none. */
  readonly errors?: readonly E[];
  /**
   * Longest time that one attempt may take, in milliseconds. It begins when a worker of this process begins, or when the message
   * to another process is sent. An attempt that waits for its turn (`concurrency`, `limit`) is bounded by the state that has called.
   */
  readonly timeoutMs: number;
  /**
   * For long attempts: the worker calls `ctx.progress` at least this often, in milliseconds. One that is silent for longer fails
   * with WW_NO_HEARTBEAT, long before its timeout. Default: it need not.
   */
  readonly heartbeatMs?: number;
  /** Default: no retry. */
  readonly retry?: RetryPolicy<NoInfer<E>>;
  /**
   * How many attempts one process makes at the same time. The others wait, and that is not their time. A place is free when the
   * work of its attempt has ended. Default: no limit.
   */
  readonly concurrency?: number;
  /** Limits of one process: in a second, at the same time, and for each key. Besides `concurrency`, or instead. Default: none. */
  readonly limit?: SpokeLimit<Out<IS>>;
  /**
   * Work that outlives its attempt keeps its place under a limit, until this long after its begin. Then it is abandoned: the
   * place is given to another attempt, and an error is logged. In milliseconds. Default: ten times `timeoutMs`.
   */
  readonly abandonAfterMs?: number;
}

/** The types of a spoke as its worker sees them: the input after its validation, the output before it. */
export interface WorkerTypes<I, O> {
  readonly "~worker"?: { readonly input: I; readonly output: (output: O) => void };
}

/**
 * Declares a spoke.
 * @param name A letter, then letters, digits, `_`, `.` or `-`; 100 characters at most.
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
    timeoutMs: typeof spec.timeoutMs === "number" ? Math.ceil(spec.timeoutMs) : spec.timeoutMs,
    heartbeatMs: spec.heartbeatMs,
    retry: retriesOf(retry as RetryPolicy),
    limit: limitOf(spec.concurrency, spec.limit),
    abandonAfterMs: spec.abandonAfterMs ?? 10 * spec.timeoutMs,
  };
  const problems = [
    ...unknownOfSpoke(spec),
    ...problemsOf(made),
    ...problemsOfLimit(spec.concurrency, spec.limit),
  ];
  if (problems.length > 0) {
    throw new WheelworkError("WW_BAD_SPOKE", `the spoke ${JSON.stringify(name)} cannot be used`, {
      problems,
      next: "Correct what is listed.",
    });
  }
  return Object.freeze(made);
}

/** What is wrong with a time that is not a duration, for lists of problems. */
export const mustBeDuration = `must be a number of milliseconds above 0, ${maxMs} at most`;

/** Whether a time may bound a wait or an attempt (I6): it is above 0, and at most some three hundred years. */
export function isDuration(ms: number): boolean {
  // A text would be compared as a number, and added as a text.
  return typeof ms === "number" && ms > 0 && ms <= maxMs;
}

/** What the name of a hub or a spoke may be. Names become parts of keys, topics and file names. */
export const namePattern = /^[A-Za-z][A-Za-z0-9_.-]{0,99}$/;

/** What is wrong with another name, for lists of problems. */
export const mustBeName = "must be a letter, then letters, digits, '_', '.' or '-', 100 characters at most";

function problemsOf(made: Omit<Spoke, "~types">): Problem[] {
  const problems: Problem[] = [];
  const demand = demandsOf(problems);
  demand(namePattern.test(made.name), "name", mustBeName);
  demand(isDuration(made.timeoutMs), "timeoutMs", mustBeDuration);
  problems.push(...problemsOfRetries(made.retry, made.errors));
  // What is wrong with the timeout is not said once more of what follows from it.
  if (isDuration(made.timeoutMs)) {
    const { abandonAfterMs, heartbeatMs = made.timeoutMs, timeoutMs } = made;
    const isFrequent = isDuration(heartbeatMs) && heartbeatMs <= timeoutMs;
    demand(isFrequent, "heartbeatMs", "must be a number of milliseconds above 0, timeoutMs at most");
    const isPatient = typeof abandonAfterMs === "number" && abandonAfterMs >= timeoutMs;
    demand(isPatient, "abandonAfterMs", "must be a number of milliseconds, timeoutMs at least");
  }
  const reserved = made.errors.filter((code) => code.startsWith("WW_"));
  demand(
    reserved.length === 0,
    "errors",
    `codes that begin with WW_ belong to the engine: ${reserved.join(", ")}`,
  );
  return problems;
}
