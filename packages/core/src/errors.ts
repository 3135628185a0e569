/** The codes of Wheelwork's errors. They are stable: programs may match on them. */
export type ErrorCode =
  | "WW_ALREADY_ANSWERED"
  | "WW_BAD_HUB"
  | "WW_BAD_SPOKE"
  | "WW_BUSY"
  | "WW_CANCELLED"
  | "WW_CLOCK"
  | "WW_COMMITS_LOST"
  | "WW_CONFIG"
  | "WW_DEFECT"
  | "WW_EVENTS_GONE"
  | "WW_HUB_UNKNOWN"
  | "WW_INCIDENT"
  | "WW_INSECURE"
  | "WW_INVALID_INPUT"
  | "WW_INVALID_OUTPUT"
  | "WW_INVALID_REPLY"
  | "WW_INVALID_REQUEST"
  | "WW_BUS_UNAVAILABLE"
  | "WW_KEY_REUSED"
  | "WW_LOG_LOST"
  | "WW_NOT_FOUND"
  | "WW_NO_HEARTBEAT"
  | "WW_NOT_INCIDENT"
  | "WW_NOT_SUPPORTED"
  | "WW_OVERLOADED"
  | "WW_REPLACED"
  | "WW_SIGNAL_UNKNOWN"
  | "WW_STARTED"
  | "WW_STOPPING"
  | "WW_STORE_CORRUPT"
  | "WW_STORE_LOCKED"
  | "WW_STORE_NEWER"
  | "WW_STORE_REFUSED"
  | "WW_STORE_UNAVAILABLE"
  | "WW_TIMEOUT"
  | "WW_TOO_LARGE"
  | "WW_UNDECLARED_EDGE"
  | "WW_UNMAPPED_STATE"
  | "WW_WORKER_DIED"
  | "WW_WORKER_FAILED"
  | "WW_WORKER_MISSING";

/** One thing that is wrong with an input. */
export interface Problem {
  /** Where, such as `flow.length`. Empty: the whole input. */
  readonly path: string;
  /** What is wrong there. */
  readonly message: string;
}

/** Collects problems: adds one where something does not hold. `at` goes before each path. */
export const demandsOf =
  (problems: Problem[], at = "") =>
  (holds: boolean, path: string, message: string): void => {
    if (!holds) problems.push({ path: `${at}${path}`, message });
  };

/** What an error may have besides its code and message. */
export interface ErrorDetails {
  /** What to do next. */
  readonly next?: string;
  /** Every problem that was found, not only the first one. */
  readonly problems?: readonly Problem[];
  /** The same call, unchanged, may succeed later. Default: false. */
  readonly retryable?: boolean;
  /** More about it, for programs: plain JSON. */
  readonly details?: unknown;
  /** The error behind this one. */
  readonly cause?: unknown;
}

/** So many problems are in the text of an error: a value of a caller may have a million. `problems` has all. */
const maxTold = 100;
/** Characters of a path, or of what is wrong there: the names within a value may be of any length. */
const maxLine = 300;
const short = (text: string): string =>
  text.length <= maxLine ? text : `${text.slice(0, maxLine).toWellFormed()}…`;

/**
 * Every error that Wheelwork throws: a stable code, what happened, and what to do next. Its `message` holds all of it:
 * the code, the sentence, the problems and the next step, each problem and the step on its own line.
 */
export class WheelworkError extends Error {
  override readonly name = "WheelworkError";
  readonly code: ErrorCode;
  /** What to do next, if there is something to do. */
  readonly next: string | undefined;
  /** Every problem that was found. Empty if the error is not about an input. */
  readonly problems: readonly Problem[];
  /** The same call, unchanged, may succeed later. */
  readonly retryable: boolean;
  /** More about it, for programs: plain JSON. WW_BUSY has `{ holders }`, the ids of the requests that are in the way. */
  readonly details: unknown;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    const problems = details.problems ?? [];
    const told = problems
      .slice(0, maxTold)
      .map(({ path, message: text }) => `\n  - ${path === "" ? "" : `${short(path)}: `}${short(text)}`);
    const more = problems.length - told.length;
    const list = `${told.join("")}${more > 0 ? `\n  - and ${more} more` : ""}`;
    const next = details.next === undefined ? "" : `\n  ${details.next}`;
    super(`${code}: ${message}${list}${next}`, details.cause === undefined ? {} : { cause: details.cause });
    this.code = code;
    this.next = details.next;
    this.problems = problems;
    this.retryable = details.retryable ?? false;
    this.details = details.details;
  }
}
