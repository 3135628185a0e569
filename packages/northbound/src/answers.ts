import type { Answer } from "@wheelwork/core";
import { problemDetails } from "./problems.ts";

/** An answer that is not a result: an error or a timeout. */
export type FailedAnswer = Exclude<Answer, { readonly kind: "result" }>;

/** The HTTP status of an answer. undefined: Northbound chooses it. The same answer must always get the same status. */
export type StatusOf = (answer: FailedAnswer) => number | undefined;

/** An answer as an HTTP response. */
export interface Rendered {
  readonly status: number;
  readonly type: "application/json" | "application/problem+json";
  readonly body: object;
  /** The body for a client that prefers plain text. undefined: the answer has no text. */
  readonly text: string | undefined;
}

/**
 * Makes an HTTP response of an answer. It is a pure function, so a client that asks again, also after a restart, gets
 * the same status and body.
 */
export function render(id: string, answer: Answer, statusOf: StatusOf | undefined): Rendered {
  if (answer.kind === "result") {
    return { status: 200, type: "application/json", ...resultBody(id, answer.value) };
  }
  const { code, message } = answer;
  const status = statusOf?.(answer) ?? defaultStatus(answer);
  const details = answer.details !== undefined ? { details: answer.details } : {};
  const body = problemDetails(status, code, message, { requestId: id, ...details });
  return { status, type: "application/problem+json", body, text: message };
}

/** The request id, and then the fields of the result. A result that is not an object is in the field `result`. */
function resultBody(id: string, value: unknown): Pick<Rendered, "body" | "text"> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { body: { requestId: id, result: value }, text: typeof value === "string" ? value : undefined };
  }
  const { message } = value as { readonly message?: unknown };
  // The id is written twice: the first one puts it first, and the second one wins over a field of the result.
  const body = Object.assign({ requestId: id }, value, { requestId: id });
  return { body, text: typeof message === "string" ? message : undefined };
}

/** Errors of the engine that are no failures: what the client wants, or another one, is in the way. */
const conflicts: ReadonlySet<string> = new Set(["WW_CANCELLED", "WW_BUSY", "WW_REPLACED"]);

function defaultStatus(answer: FailedAnswer): number {
  if (answer.kind === "timeout") return 504;
  return conflicts.has(answer.code) ? 409 : 500;
}
