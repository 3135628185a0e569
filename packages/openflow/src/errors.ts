/** The codes of this package's errors. They are stable: programs may match on them. */
export type OpenFlowErrorCode =
  /** Bytes that are no message of OpenFlow 1.3. */
  | "WW_OF_MALFORMED"
  /** The peer speaks another version. */
  | "WW_OF_VERSION"
  /** A value that the wire cannot carry, such as the port 2^32. Nothing was sent. */
  | "WW_OF_INVALID"
  /** A message, a reply or a group that is longer than may be. */
  | "WW_OF_TOO_LARGE";

/** What an error may have besides its code and its message. */
export interface OpenFlowErrorDetails {
  /** What to do next. */
  readonly next?: string;
  /** The same call, unchanged, may succeed later, and nothing was done yet. Default: false. */
  readonly retryable?: boolean;
  /** The error behind this one. */
  readonly cause?: unknown;
}

/** Every error of this package: a stable code, what happened, and what to do next. */
export class OpenFlowError extends Error {
  override readonly name: string = "OpenFlowError";
  readonly code: OpenFlowErrorCode;
  /** What to do next, if there is something to do. */
  readonly next: string | undefined;
  /** The same call, unchanged, may succeed later, and nothing was done yet. */
  readonly retryable: boolean;

  constructor(code: OpenFlowErrorCode, message: string, details: OpenFlowErrorDetails = {}) {
    const { next, retryable = false } = details;
    super(
      `${code}: ${message}${next === undefined ? "" : `\n  ${next}`}`,
      details.cause === undefined ? {} : { cause: details.cause },
    );
    this.code = code;
    this.next = next;
    this.retryable = retryable;
  }
}

export const malformed = (where: string, problem: string): OpenFlowError =>
  new OpenFlowError("WW_OF_MALFORMED", `${where}: ${problem}`, {
    next: "The bytes are no message of OpenFlow 1.3. Look at them with `ovs-ofctl ofp-print`.",
  });

export const invalid = (name: string, value: unknown, demand: string): OpenFlowError =>
  new OpenFlowError("WW_OF_INVALID", `${name} is ${shown(value)}, and must be ${demand}`, {
    next: "Correct the value. Nothing of the message was sent.",
  });

function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === "bigint") return `${value}n`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
