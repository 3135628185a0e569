import { WheelworkError, type ErrorCode, type Problem } from "@wheelwork/core";
import { STATUS_CODES } from "node:http";

/** The codes of problems that occur only over HTTP. All others are codes of WheelworkError or of hubs. */
export type HttpCode =
  | "WW_ACCESS_UNAVAILABLE"
  | "WW_BODY_TOO_LARGE"
  | "WW_ENDED"
  | "WW_FORBIDDEN"
  | "WW_HOST_REFUSED"
  | "WW_METHOD_NOT_ALLOWED"
  | "WW_ORIGIN_REFUSED"
  | "WW_RATE_LIMITED"
  | "WW_TOO_SLOW"
  | "WW_UNAUTHENTICATED"
  | "WW_UNSUPPORTED_MEDIA_TYPE";

/** Problem details (RFC 9457). Programs match on `code`, which is stable. People read `detail`. */
export interface ProblemDetails {
  /** The type says no more than the status. `code` tells apart the problems of one status. */
  readonly type: "about:blank";
  /** The name of the status. */
  readonly title: string;
  /** The HTTP status. */
  readonly status: number;
  /** A code of the hub, of Wheelwork (`WW_…`), or of HTTP (`HttpCode`). */
  readonly code: string;
  /** What happened. */
  readonly detail: string;
  /** What to do next. */
  readonly next?: string;
  readonly requestId?: string;
  /** Everything that is wrong with the input, not only the first problem. */
  readonly problems?: readonly Problem[];
  /** The details of the error. WW_BUSY has `{ holders }`: the requests that are in the way. */
  readonly details?: unknown;
  /** The answer of the request, if a command came after its end. */
  readonly answer?: unknown;
}

/** The optional members of problem details. */
export type ProblemExtras = Pick<ProblemDetails, "next" | "requestId" | "problems" | "details" | "answer">;

/** Makes problem details. `detail` says in one sentence what happened. */
export function problemDetails(
  status: number,
  code: string,
  detail: string,
  extras: ProblemExtras = {},
): ProblemDetails {
  return { type: "about:blank", title: STATUS_CODES[status] ?? "Error", status, code, detail, ...extras };
}

/** An error with its HTTP response. Your own routes may throw it. */
export class HttpProblem extends Error {
  override readonly name = "HttpProblem";
  readonly details: ProblemDetails;
  readonly headers: Readonly<Record<string, string>>;

  constructor(details: ProblemDetails, headers: Readonly<Record<string, string>> = {}, cause?: unknown) {
    super(`${details.code}: ${details.detail}`, cause === undefined ? {} : { cause });
    this.details = details;
    this.headers = headers;
  }

  /** For a Fastify server of your own, whose error handler knows nothing of problem details. */
  get statusCode(): number {
    return this.details.status;
  }
}

/** The HTTP response to an error. */
export interface ProblemAnswer {
  readonly details: ProblemDetails;
  readonly headers: Readonly<Record<string, string>>;
  /** The server is at fault, not the client: the error is logged. */
  readonly defect: boolean;
}

const statusOfCode: { readonly [code in ErrorCode]?: number } = {
  WW_INVALID_REQUEST: 400,
  WW_INVALID_INPUT: 400,
  WW_NOT_FOUND: 404,
  WW_SIGNAL_UNKNOWN: 404,
  WW_NOT_INCIDENT: 409,
  WW_BUSY: 409,
  WW_ALREADY_ANSWERED: 409,
  WW_EVENTS_GONE: 410,
  WW_TOO_LARGE: 413,
  WW_KEY_REUSED: 422,
  WW_STORE_REFUSED: 422,
  WW_NOT_SUPPORTED: 501,
  WW_BUS_UNAVAILABLE: 503,
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

/** The header `Retry-After`: seconds that a client should wait before it tries again. */
export const retryAfter = "1";

/** The HTTP response to an error. Of an unknown error, clients see neither message nor stack. */
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
  const details = problemDetails(500, "WW_DEFECT", "the server failed", {
    next: "Look into its log.",
  });
  return { details, headers: {}, defect: true };
}

function ofWheelwork(error: WheelworkError): ProblemAnswer {
  const { code, next, problems, details: more } = error;
  const status = statusOfCode[code] ?? 500;
  const details = problemDetails(status, code, sentenceOf(error), {
    ...(next === undefined ? {} : { next }),
    ...(problems.length === 0 ? {} : { problems }),
    ...(more === undefined ? {} : { details: more }),
  });
  return { details, headers: status === 503 ? { "retry-after": retryAfter } : {}, defect: status === 500 };
}

/** What happened, without the code, the problems and the next step: problem details have members for them. */
function sentenceOf({ code, message }: WheelworkError): string {
  const [first = ""] = message.split("\n", 1);
  return first.startsWith(`${code}: `) ? first.slice(code.length + 2) : first;
}

/** The status of an error that Fastify or one of its plugins threw because of the client's request. */
function clientStatus(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  const { statusCode } = error as { readonly statusCode?: unknown };
  return typeof statusCode === "number" && statusCode >= 400 && statusCode < 500 ? statusCode : undefined;
}

/** Problem details as plain text: the sentence, and then each problem on its own line. */
export function textOfProblem({ detail, problems = [] }: ProblemDetails): string {
  return [
    detail,
    ...problems.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`)),
  ].join("\n");
}

/** The error for an input that is not valid, with all its problems. `what` names the input. */
export function invalid(what: string, problems: readonly Problem[]): WheelworkError {
  return new WheelworkError("WW_INVALID_REQUEST", `${what} is not valid`, { problems });
}
