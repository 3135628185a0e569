/** The codes of this package's errors. They are stable: programs may match on them. */
export type OpenFlowErrorCode =
  /** Bytes that are no message of OpenFlow 1.3. */
  | "WW_OF_MALFORMED"
  /** The peer speaks another version. */
  | "WW_OF_VERSION"
  /** A value that the wire cannot carry, such as the port 2^32. Nothing was sent. */
  | "WW_OF_INVALID"
  /** A message, a reply or a group that is longer than may be. */
  | "WW_OF_TOO_LARGE"
  /** An option that cannot be. */
  | "WW_OF_CONFIG"
  /** The switch has refused something: see `refusals`. What is not listed there was done. */
  | "WW_OF_REFUSED"
  /** Something was sent, and nothing tells what became of it. Read back, or write it again. */
  | "WW_OF_UNKNOWN"
  /** Nothing was changed: no reply to a question came in time, or what was to be written could not be sent in time. */
  | "WW_OF_TIMEOUT"
  /** Nothing was changed: the connection has ended. */
  | "WW_OF_CLOSED"
  /** Nothing was sent: too much waits for this switch already. */
  | "WW_OF_OVERLOADED"
  /** Why a connection ended: another speaker is the master of the switch, in a later generation. */
  | "WW_OF_STALE"
  /** Why a connection ended: the switch was silent for too long. */
  | "WW_OF_SILENT"
  /** Why a connection ended: the same switch has connected again. */
  | "WW_OF_REPLACED"
  /** Why a connection ended: the switch did not say in time who it is, or refused its master. */
  | "WW_OF_HANDSHAKE";

/** One message that a switch has refused. */
export interface Refusal {
  /** Its place among the messages that were given. -1: what belongs to the whole, such as the commit of a bundle. */
  readonly index: number;
  readonly errorType: number;
  readonly code: number;
  /** Both as a name, such as `FLOW_MOD_FAILED/TABLE_FULL`. */
  readonly name: string;
}

/** What an error may have besides its code and its message. */
export interface OpenFlowErrorDetails {
  /** What to do next. */
  readonly next?: string;
  /** The same call, unchanged, may succeed later, and nothing was done yet. Default: false. */
  readonly retryable?: boolean;
  /** The error behind this one. */
  readonly cause?: unknown;
  /** What the switch has refused. */
  readonly refusals?: readonly Refusal[];
}

/** Every error of this package: a stable code, what happened, and what to do next. */
export class OpenFlowError extends Error {
  override readonly name: string = "OpenFlowError";
  readonly code: OpenFlowErrorCode;
  /** What to do next, if there is something to do. */
  readonly next: string | undefined;
  /** The same call, unchanged, may succeed later, and nothing was done yet. */
  readonly retryable: boolean;
  /** What the switch has refused, in the order in which it has said so. Empty unless the code is WW_OF_REFUSED. */
  readonly refusals: readonly Refusal[];

  constructor(code: OpenFlowErrorCode, message: string, details: OpenFlowErrorDetails = {}) {
    const { next, retryable = false, refusals = [] } = details;
    super(
      `${code}: ${message}${next === undefined ? "" : `\n  ${next}`}`,
      details.cause === undefined ? {} : { cause: details.cause },
    );
    this.code = code;
    this.next = next;
    this.retryable = retryable;
    this.refusals = refusals;
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
