import type { Answer } from "@wheelwork/core";
import { problemDetails } from "./problems.ts";

/** An answer of a hub or of the engine that is no result. */
export type FailedAnswer = Exclude<Answer, { readonly kind: "result" }>;

/** The status that a route gives to an answer; undefined leaves it to Northbound. It must always give the same. */
export type StatusOf = (answer: FailedAnswer) => number | undefined;

/** What an answer looks like over HTTP. */
export interface Rendered {
  readonly status: number;
  readonly type: "application/json" | "application/problem+json";
  readonly body: object;
  /** The body of a client that prefers plain text; undefined: the answer has no text. */
  readonly text: string | undefined;
}

/**
 * What an answer looks like over HTTP: a pure function, so that the same request gets the same status and body however
 * often it is asked for.
 */
export function render(id: string, answer: Answer, statusOf: StatusOf | undefined): Rendered {
  if (answer.kind === "result") {
    return { status: 200, type: "application/json", ...resultBody(id, answer.value) };
  }
  const { code, message } = answer;
  const status = statusOf?.(answer) ?? defaultStatus(answer);
  const details = answer.kind === "error" && answer.details !== undefined ? { details: answer.details } : {};
  const body = problemDetails(status, code, message, { requestId: id, ...details });
  return { status, type: "application/problem+json", body, text: message };
}

/** The result's own fields after the request id; a result that is no object is one field, `result`. */
function resultBody(id: string, value: unknown): Pick<Rendered, "body" | "text"> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { body: { requestId: id, result: value }, text: typeof value === "string" ? value : undefined };
  }
  const { message } = value as { readonly message?: unknown };
  // Written twice: the id comes first, and no field of the result hides it.
  const body = Object.assign({ requestId: id }, value, { requestId: id });
  return { body, text: typeof message === "string" ? message : undefined };
}

function defaultStatus(answer: FailedAnswer): number {
  if (answer.kind === "timeout") return 504;
  return answer.code === "WW_CANCELLED" ? 409 : 500;
}
