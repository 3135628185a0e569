import { demandsOf, WheelworkError, type Problem } from "./errors.ts";
import type { StoredSchema } from "./json-types.ts";
import { maxMs } from "./duration.ts";
import { problemsOfRetries, retriesOf, type EngineFailure, type Retries, type RetryPolicy } from "./retry.ts";
import type { In, Out, Schema } from "./schema.ts";
import { limitOf, problemsOfLimit, type SpokeLimit, type WholeLimit } from "./limit.ts";
import { soundOptions } from "./options.ts";
import { spokeOptions } from "./option-tables.ts";
import { textOf } from "./plain.ts";
import { isName, mustBeName } from "./text.ts";

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
  // Those of another kind are left out of what follows: what is wrong with them is not said once more.
  const { sound, problems } = soundOptions<SpokeSpec<Schema, Schema, string>>(spec, spokeOptions, "a spoke");
  const { retry = {}, errors = [], timeoutMs = maxMs, concurrency, limit } = sound;
  const made = {
    kind: "spoke" as const,
    name,
    input: sound.input as Schema<unknown, unknown>,
    output: sound.output as Schema<unknown, unknown>,
    errors: errors as readonly E[],
    timeoutMs: Math.ceil(timeoutMs),
    heartbeatMs: sound.heartbeatMs,
    retry: retriesOf(retry),
    limit: limitOf(concurrency, limit),
    abandonAfterMs: sound.abandonAfterMs ?? 10 * timeoutMs,
  };
  problems.push(...problemsOf(made, sound.timeoutMs), ...problemsOfLimit(concurrency, limit));
  if (problems.length > 0) {
    throw new WheelworkError("WW_BAD_SPOKE", `the spoke ${nameText(name)} cannot be used`, {
      problems,
      next: "Correct what is listed.",
    });
  }
  return Object.freeze(made);
}

/** A name for messages. It may be anything. */
export const nameText = (name: unknown): string =>
  typeof name === "string" ? JSON.stringify(name.slice(0, 200)) : textOf(name).slice(0, 200);

/** What its options must be together. `timeoutMs`: undefined if it is none. */
function problemsOf(made: Omit<Spoke, "~types">, timeoutMs: number | undefined): Problem[] {
  const problems: Problem[] = [];
  const demand = demandsOf(problems);
  demand(isName(made.name), "name", mustBeName);
  problems.push(...problemsOfRetries(made.retry, made.errors));
  // What is wrong with the timeout is not said once more of what follows from it.
  if (timeoutMs !== undefined) {
    const { abandonAfterMs, heartbeatMs = 0 } = made;
    demand(
      heartbeatMs <= timeoutMs,
      "heartbeatMs",
      "must be a number of milliseconds above 0, timeoutMs at most",
    );
    demand(
      abandonAfterMs >= timeoutMs,
      "abandonAfterMs",
      "must be a number of milliseconds, timeoutMs at least",
    );
  }
  demandOwnCodes(made.errors, demand);
  return problems;
}

/** The codes of errors that a spoke or a hub declares are not those of the engine: who gets one would not know whose it is. */
export function demandOwnCodes(errors: readonly string[], demand: ReturnType<typeof demandsOf>): void {
  const reserved = errors.filter((code) => code.startsWith("WW_"));
  demand(
    reserved.length === 0,
    "errors",
    `codes that begin with WW_ belong to the engine: ${reserved.join(", ")}`,
  );
}
