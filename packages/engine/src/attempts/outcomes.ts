import type { Failed, Outcome, Problem, Spoke } from "@wheelwork/core";
import {
  abandonWithin,
  check,
  isError,
  stackOf,
  synchronous,
  textOf,
  tryPlain,
  type Secrets,
} from "@wheelwork/core/kernel";
import type { Logger } from "../ports/ports.ts";
import type { Attempt } from "./attempt.ts";

/** Characters that are kept of a stack: other processes may send any. */
const maxStack = 8000;

/** Thrown by `context.fail`. */
export class WorkerFailure extends Error {
  override readonly name = "WorkerFailure";
  readonly failed: Failed;

  constructor(failed: Failed) {
    // Both may be anything.
    super(`${textOf(failed.code)}: ${textOf(failed.message)}`);
    this.failed = failed;
  }
}

/** The outcome of an attempt that threw. */
export function failureOf(error: unknown): Outcome {
  if (isError(error, WorkerFailure))
    return outcomeOf(error.failed) ?? invalid("context.fail takes a code and a message, which are texts");
  const failed = { kind: "error" as const, code: "WW_WORKER_FAILED" as const, message: textOf(error) };
  const stack = stackOf(error);
  return stack === undefined ? failed : { ...failed, stack };
}

/** The outcome of an attempt whose outcome is not one. */
export function invalid(message: string): Failed {
  return { kind: "error", code: "WW_INVALID_OUTPUT", message };
}

/** What of a failure may hold what nobody should keep. */
export interface Redactable {
  readonly code: string;
  readonly message: string;
  readonly details?: unknown;
  readonly stack?: string;
}

/** Gives a failure without what nobody should keep. */
export type Redact = (failure: Redactable) => Redactable;

/** A failure as it is kept. One that cannot be redacted keeps nothing but its code: the safe side. */
export function redacted<F extends Redactable>(redact: Redact | undefined, failure: F): F {
  if (redact === undefined) return failure;
  try {
    const given = synchronous(redact(failure), "redact");
    const { message, details, stack } = given;
    abandonWithin(given);
    const { message: _message, details: _details, stack: _stack, ...rest } = failure;
    const kept: Redactable = { ...rest, message: textOf(message) };
    // What is not JSON cannot be stored: the safe side is to keep nothing of it.
    const plain = details === undefined ? undefined : tryPlain(details);
    const detailed = plain?.problem === undefined && plain !== undefined ? { details: plain.value } : {};
    const traced = typeof stack === "string" ? { stack: stack.slice(0, maxStack).toWellFormed() } : {};
    return { ...kept, ...detailed, ...traced } as unknown as F;
  } catch (error) {
    abandonWithin(error);
    const { message: _message, details: _details, stack: _stack, ...rest } = failure;
    return { ...rest, message: "not shown, since `redact` threw" } as unknown as F;
  }
}

/**
 * What a worker gave, if it is an outcome: relays, external workers and makers of workers may give anything. Each field is read once,
 * since a getter may say something else the next time, or throw.
 */
export function asOutcome(spoke: string, given: unknown): Outcome {
  try {
    return outcomeOf(given) ?? invalid(`the worker of ${spoke} gave no outcome`);
  } catch (error) {
    return invalid(`the outcome of the worker of ${spoke} cannot be read: ${textOf(error)}`);
  }
}

function outcomeOf(given: unknown): Outcome | undefined {
  if (typeof given !== "object" || given === null) return undefined;
  const fields = given as { readonly [field in keyof Failed | "output"]?: unknown };
  const { kind } = fields;
  switch (kind) {
    case "ok":
      return { kind, output: fields.output };
    case "timeout":
      return { kind };
    case "error": {
      const { code, message, details, stack } = fields;
      if (typeof code !== "string" || typeof message !== "string") {
        abandonWithin([code, message, details]);
        return undefined;
      }
      const failed: Failed = { kind, code, message };
      const detailed = details === undefined ? failed : { ...failed, details };
      return typeof stack === "string" ? { ...detailed, stack } : detailed;
    }
    default:
      return undefined;
  }
}

/** What outcomes are checked with. */
export interface OutcomeCheck {
  readonly logger: Logger;
  readonly redact: Redact | undefined;
  /** What a log line says of an attempt. */
  readonly fieldsOf: (attempt: Attempt) => object;
  /** What hides the secrets of the run that makes an attempt, and those of its output; undefined: there are none. */
  readonly secretsOf: (attempt: Attempt | undefined, output: unknown) => Secrets | undefined;
}

/**
 * An outcome as the contract of its spoke has it: the output that its schema made, or why it is not valid. Outputs and details
 * are copied as plain JSON, so what a hub sees is what the store gives back, and nothing that a worker does later changes it.
 *
 * Each call of each run comes through here, so a good outcome makes no object but its own.
 * @param attempt The attempt that it is of, if it was made here.
 */
export function checkedOutcome(
  spoke: Spoke,
  outcome: Outcome,
  checks: OutcomeCheck,
  attempt?: Attempt,
): Outcome {
  switch (outcome.kind) {
    case "timeout":
      return { kind: "timeout" };
    case "error":
      return redacted(checks.redact, checkedError(spoke, outcome));
    case "ok": {
      const checked = check(spoke.output, outcome.output);
      const { problems } = checked;
      if (problems !== undefined) return invalidOutput(spoke, outcome.output, problems, checks, attempt);
      const kept = tryPlain(checked.value);
      return kept.problem === undefined
        ? { kind: "ok", output: kept.value }
        : invalidOutput(spoke, outcome.output, [kept.problem], checks, attempt);
    }
  }
}

function checkedError(spoke: Spoke, { code, message, details, stack }: Failed): Failed {
  if (!spoke.errors.includes(code) && !code.startsWith("WW_"))
    return invalid(`the worker of ${spoke.name} failed with ${code}, which the spoke does not declare`);
  const failed: Failed =
    typeof stack === "string"
      ? { kind: "error", code, message, stack: stack.slice(0, maxStack) }
      : { kind: "error", code, message };
  if (details === undefined) return failed;
  const kept = tryPlain(details);
  if (kept.problem === undefined) return { ...failed, details: kept.value };
  return invalid(
    `the details of ${code} of the worker of ${spoke.name} are not valid: ${lineOf(kept.problem)}`,
  );
}

/** Schemas may repeat values in their messages, so the secrets of the run are hidden in these. */
function invalidOutput(
  spoke: Spoke,
  output: unknown,
  given: readonly Problem[],
  { logger, fieldsOf, secretsOf }: OutcomeCheck,
  attempt: Attempt | undefined,
): Failed {
  const fields = attempt === undefined ? {} : fieldsOf(attempt);
  const plain = tryPlain(output);
  const secrets = secretsOf(attempt, plain.problem === undefined ? plain.value : undefined);
  const problems =
    secrets === undefined
      ? given
      : given.map(({ path, message }) => ({ path, message: secrets.hideIn(message) }));
  logger.error({ spoke: spoke.name, ...fields, problems }, "a worker's output is not valid");
  const list = problems.map(lineOf).join("; ");
  return invalid(`the output of the worker of ${spoke.name} is not valid: ${list}`);
}

const lineOf = ({ path, message }: Problem): string => (path === "" ? message : `${path}: ${message}`);
