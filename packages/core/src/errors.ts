/** The codes of Wheelwork's own errors. They are stable: programs may match on them. */
export type ErrorCode =
  | "WW_ALREADY_ANSWERED"
  | "WW_BAD_HUB"
  | "WW_BAD_SPOKE"
  | "WW_CANCELLED"
  | "WW_COMMITS_LOST"
  | "WW_CONFIG"
  | "WW_DEFECT"
  | "WW_HUB_UNKNOWN"
  | "WW_INCIDENT"
  | "WW_INVALID_INPUT"
  | "WW_INVALID_OUTPUT"
  | "WW_INVALID_REPLY"
  | "WW_INVALID_REQUEST"
  | "WW_BUS_UNAVAILABLE"
  | "WW_KEY_REUSED"
  | "WW_LOG_LOST"
  | "WW_NOT_FOUND"
  | "WW_NOT_INCIDENT"
  | "WW_OVERLOADED"
  | "WW_SIGNAL_UNKNOWN"
  | "WW_STOPPING"
  | "WW_STORE_CORRUPT"
  | "WW_STORE_LOCKED"
  | "WW_STORE_NEWER"
  | "WW_STORE_UNAVAILABLE"
  | "WW_TIMEOUT"
  | "WW_UNDECLARED_EDGE"
  | "WW_UNMAPPED_STATE"
  | "WW_WORKER_FAILED"
  | "WW_WORKER_MISSING";

/** One thing that is wrong with an input: where (a path such as `flow.length`; empty: the whole) and what. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

/** What an error may carry besides its code and sentence. */
export interface ErrorDetails {
  /** What to do about it: one sentence. */
  readonly next?: string;
  /** Every problem that was found, not only the first. */
  readonly problems?: readonly Problem[];
  /** The same call may succeed later, unchanged. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** Every error that Wheelwork raises: a stable code, what happened, and what to do about it. */
export class WheelworkError extends Error {
  override readonly name = "WheelworkError";
  readonly code: ErrorCode;
  readonly next: string | undefined;
  readonly problems: readonly Problem[];
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    const problems = details.problems ?? [];
    const list = problems
      .map(({ path, message: text }) => `\n  - ${path === "" ? "" : `${path}: `}${text}`)
      .join("");
    const next = details.next === undefined ? "" : `\n  ${details.next}`;
    super(`${code}: ${message}${list}${next}`, details.cause === undefined ? {} : { cause: details.cause });
    this.code = code;
    this.next = details.next;
    this.problems = problems;
    this.retryable = details.retryable ?? false;
  }
}
