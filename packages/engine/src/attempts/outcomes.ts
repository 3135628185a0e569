import type { Failed, Outcome, Spoke } from "@wheelwork/core";
import { check } from "@wheelwork/core/kernel";
import type { Logger } from "../ports/ports.ts";

/** Thrown by `context.fail`. */
export class WorkerFailure extends Error {
  override readonly name = "WorkerFailure";
  readonly failed: Failed;

  constructor(failed: Failed) {
    super(`${failed.code}: ${failed.message}`);
    this.failed = failed;
  }
}

/** The outcome of an attempt that threw. */
export function failureOf(error: unknown): Outcome {
  if (error instanceof WorkerFailure) return error.failed;
  return {
    kind: "error",
    code: "WW_WORKER_FAILED",
    message: error instanceof Error ? error.message : String(error),
  };
}

/** The outcome of an attempt whose outcome is not one. */
export function invalid(message: string): Failed {
  return { kind: "error", code: "WW_INVALID_OUTPUT", message };
}

/** Whether a value can be written as JSON at all. */
export function isJson(value: unknown): boolean {
  try {
    JSON.stringify(value);
    return true;
  } catch {
    return false;
  }
}

/** What a worker gave, if it is an outcome: relays, external workers and makers of workers may give anything. */
export const asOutcome = (spoke: string, given: unknown): Outcome =>
  isOutcome(given) ? given : invalid(`the worker of ${spoke} gave no outcome`);

function isOutcome(value: unknown): value is Outcome {
  if (typeof value !== "object" || value === null) return false;
  const { kind, code, message } = value as { kind?: unknown; code?: unknown; message?: unknown };
  if (kind === "error") return typeof code === "string" && typeof message === "string";
  return kind === "ok" || kind === "timeout";
}

/** An outcome as the contract of its spoke has it: the output that its schema made, or why it is not valid. */
export function checkedOutcome(spoke: Spoke, outcome: Outcome, verifyJson: boolean, logger: Logger): Outcome {
  // Details pass no schema. Outputs do, and are looked at only when something could not be written.
  if ((verifyJson || outcome.kind === "error") && !isJson(outcome))
    return invalid(`the worker of ${spoke.name} gave what is not JSON`);
  if (outcome.kind === "timeout") return outcome;
  if (outcome.kind === "error") {
    if (spoke.errors.includes(outcome.code) || outcome.code.startsWith("WW_")) return outcome;
    return invalid(
      `the worker of ${spoke.name} failed with ${outcome.code}, which the spoke does not declare`,
    );
  }
  let checked;
  try {
    checked = check(spoke.output, outcome.output);
  } catch (error) {
    return failureOf(error);
  }
  if (checked.problems === undefined) return { kind: "ok", output: checked.value };
  const list = checked.problems
    .map(({ path, message }) => (path === "" ? message : `${path}: ${message}`))
    .join("; ");
  logger.error({ spoke: spoke.name, problems: checked.problems }, "a worker's output is not valid");
  return invalid(`the output of the worker of ${spoke.name} is not valid: ${list}`);
}
