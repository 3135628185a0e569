import { WheelworkError, type ErrorCode, type Problem } from "@wheelwork/core";
import { STATUS_CODES } from "node:http";

/** The codes of problems that only HTTP knows, besides those of Wheelwork's errors. */
export type HttpCode =
  | "WW_BODY_TOO_LARGE"
  | "WW_ENDED"
  | "WW_METHOD_NOT_ALLOWED"
  | "WW_NOT_SUPPORTED"
  | "WW_UNSUPPORTED_MEDIA_TYPE";

/** Problem details as RFC 9457 has them. Programs match on `code`, which is stable; people read `detail`. */
export interface ProblemDetails {
  /** No page describes the problem beyond its status; `code` tells problems of one status apart. */
  readonly type: "about:blank";
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  /** What to do about it. */
  readonly next?: string;
  readonly requestId?: string;
  /** Everything that is wrong with the input, not only the first. */
  readonly problems?: readonly Problem[];
  /** What the hub's error carries. */
  readonly details?: unknown;
  /** The answer that came before a command. */
  readonly answer?: unknown;
}

/** Members of problem details beyond those that each has. */
export type ProblemExtras = Pick<ProblemDetails, "next" | "requestId" | "problems" | "details" | "answer">;

/** The problem details of a status, a code and a sentence. */
export function problemDetails(
  status: number,
  code: string,
  detail: string,
  extras: ProblemExtras = {},
): ProblemDetails {
  return { type: "about:blank", title: STATUS_CODES[status] ?? "Error", status, code, detail, ...extras };
}

/** An error that knows the HTTP status it is answered with. Routes of the application may throw it. */
export class HttpProblem extends Error {
  override readonly name = "HttpProblem";
  readonly details: ProblemDetails;
  readonly headers: Readonly<Record<string, string>>;

  constructor(details: ProblemDetails, headers: Readonly<Record<string, string>> = {}) {
    super(`${details.code}: ${details.detail}`);
    this.details = details;
    this.headers = headers;
  }
}

/** What an error of any kind is answered with. `defect`: the caller cannot help it, and the log must show it. */
export interface ProblemAnswer {
  readonly details: ProblemDetails;
  readonly headers: Readonly<Record<string, string>>;
  readonly defect: boolean;
}

const statusOfCode: { readonly [code in ErrorCode]?: number } = {
  WW_INVALID_REQUEST: 400,
  WW_INVALID_INPUT: 400,
  WW_NOT_FOUND: 404,
  WW_SIGNAL_UNKNOWN: 404,
  WW_NOT_INCIDENT: 409,
  WW_ALREADY_ANSWERED: 409,
  WW_KEY_REUSED: 422,
  WW_OVERLOADED: 503,
  WW_STOPPING: 503,
  WW_STORE_UNAVAILABLE: 503,
};

const codeOfStatus: Readonly<Record<number, ErrorCode | HttpCode>> = {
  404: "WW_NOT_FOUND",
  405: "WW_METHOD_NOT_ALLOWED",
  413: "WW_BODY_TOO_LARGE",
  415: "WW_UNSUPPORTED_MEDIA_TYPE",
};

/** Seconds after which a caller may come again. */
export const retryAfter = "1";

/** The problem details of an error. Nothing of an unknown error is shown: no message, no stack. */
export function problemOf(error: unknown): ProblemAnswer {
  if (error instanceof HttpProblem) {
    return { details: error.details, headers: error.headers, defect: error.details.status >= 500 };
  }
  if (error instanceof WheelworkError) return ofWheelwork(error);
  const status = clientStatus(error);
  if (status !== undefined) {
    const { message } = error as Error;
    const details = problemDetails(status, codeOfStatus[status] ?? "WW_INVALID_REQUEST", message);
    return { details, headers: {}, defect: false };
  }
  const details = problemDetails(500, "WW_DEFECT", "the server failed", { next: "Its log says why." });
  return { details, headers: {}, defect: true };
}

function ofWheelwork(error: WheelworkError): ProblemAnswer {
  const { code, next, problems } = error;
  const status = statusOfCode[code] ?? 500;
  const details = problemDetails(status, code, sentenceOf(error), {
    ...(next === undefined ? {} : { next }),
    ...(problems.length === 0 ? {} : { problems }),
  });
  return { details, headers: status === 503 ? { "retry-after": retryAfter } : {}, defect: status === 500 };
}

/** What happened, without the code, the problems and the next step, which problem details carry on their own. */
function sentenceOf({ code, message }: WheelworkError): string {
  const [first = ""] = message.split("\n", 1);
  return first.startsWith(`${code}: `) ? first.slice(code.length + 2) : first;
}

/** The status of an error that Fastify, or a plugin of it, raised about the client's request. */
function clientStatus(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  const { statusCode } = error as { readonly statusCode?: unknown };
  return typeof statusCode === "number" && statusCode >= 400 && statusCode < 500 ? statusCode : undefined;
}

/** Problem details as plain text: the sentence, and under it each problem. */
export function textOfProblem({ detail, problems = [] }: ProblemDetails): string {
  return [
    detail,
    ...problems.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`)),
  ].join("\n");
}

/** A refusal of the request that lists all that is wrong with it. */
export function invalid(what: string, problems: readonly Problem[]): WheelworkError {
  return new WheelworkError("WW_INVALID_REQUEST", `${what} is not valid`, { problems });
}
