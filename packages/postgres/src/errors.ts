import { WheelworkError } from "@wheelwork/core";

/** Another owner has claimed the shard: this one writes nothing more (I21). */
export const fenced = (shard: number): WheelworkError =>
  new WheelworkError("WW_STORE_LOCKED", `another owner has taken over shard ${shard} (I21)`, {
    next: "Stop this process, or the other one.",
  });

export const configError = (message: string, next: string): WheelworkError =>
  new WheelworkError("WW_CONFIG", message, { next });

export const unavailable = (message: string, cause?: unknown): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", message, {
    next: "Check that the PostgreSQL server runs and can be reached, and that its disk is not full.",
    retryable: true,
    cause,
  });

export const corrupt = (cause: unknown): WheelworkError =>
  new WheelworkError("WW_STORE_CORRUPT", `a record cannot be read: ${messageOf(cause)}`, {
    next: "Restore the database from a backup, or begin with an empty one.",
    cause,
  });

const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";

/** SQLSTATEs that no waiting mends: who may enter, and what is not there. */
const misconfigured = /^28|^(?:3D000|3F000|42501)$/;

/** SQLSTATEs of class 08 and 57P, and what Node says of a connection that ended or was never made. */
const lost =
  /^(?:08...|57P..|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|ENOENT)$/;

/** Whether the connection ended, so that a read may be asked again on another one. */
export const isLost = (error: unknown): boolean =>
  lost.test(codeOf(error)) || /^Connection terminated|^Client has encountered/.test(messageOf(error));

/** Whether a statement gave up because somebody else held a lock for long. */
export const isLockTimeout = (error: unknown): boolean =>
  error instanceof WheelworkError && codeOf(error.cause) === "55P03";

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}

/** An error of the driver in Wheelwork's terms. */
export function toError(error: unknown): WheelworkError {
  if (error instanceof WheelworkError) return error;
  const code = codeOf(error);
  const message = `PostgreSQL: ${messageOf(error)}${code === "" ? "" : ` (${code})`}`;
  if (misconfigured.test(code)) {
    return new WheelworkError("WW_CONFIG", message, {
      next: "Check the database, the user, its password and its rights.",
      cause: error,
    });
  }
  return unavailable(message, error);
}
