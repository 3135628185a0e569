import { WheelworkError } from "@wheelwork/core";
import { isUnstorable } from "@wheelwork/engine/stores";
import { tlsFault, type TlsFault } from "@wheelwork/engine/tls";

/** The error of an owner that has lost its shard to another one: it can write nothing more (I21). */
export const fenced = (shard: number): WheelworkError =>
  new WheelworkError("WW_STORE_LOCKED", `another owner has taken over shard ${shard}`, {
    next: "One shard has one owner. If two processes claim it again and again, stop one of them.",
  });

/** The error for committed batches that are gone. Only people can decide what to do then. */
export const commitsLost = (shard: number, seen: number, found: number): WheelworkError =>
  new WheelworkError(
    "WW_COMMITS_LOST",
    `the server has lost commits of shard ${shard}, for example in a failover: batch ${seen} was committed, but the last one there is ${found}`,
    {
      next: "The shard stands still until you accept the loss, or bring the commits back. The page on durability, lost commits, says how.",
    },
  );

/** The error for options that somebody must correct. */
export const configError = (message: string, next: string): WheelworkError =>
  new WheelworkError("WW_CONFIG", message, { next });

/** The error of a server that cannot be reached, or that does not do what it is asked. The call may succeed later. */
export const unavailable = (message: string, cause?: unknown): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", message, {
    next: "Check that the PostgreSQL server runs and can be reached, and that its disk is not full.",
    retryable: true,
    cause,
  });

/** The error of one that reads a shard before any process has worked on it, as just after the first deploy. */
export const unclaimed = (shard: number): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", `no process has claimed shard ${shard} yet`, {
    next: "Start the nodes or the topology, and send it again. If they run, compare the schema and the number of shards with theirs.",
    retryable: true,
  });

const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";

const account = "Check the database, the user, its password and its rights.";
const clientCertificate =
  "Set a certificate that the server trusts, and its key: sslcert and sslkey in the connection string, or ssl.cert and ssl.key.";

const ofTls: Readonly<Record<TlsFault, string>> = {
  authority:
    "Set the authority that has signed the server's certificate: sslrootcert in the connection string, or ssl.ca.",
  name: "Connect to the server under a name that its certificate has, or give it a certificate for the name that you use.",
  expired: "Give the server a certificate that is valid now, and check the clocks.",
  client: clientCertificate,
  protocol: "Let both sides use the same versions of TLS: see ssl_min_protocol_version of the server.",
};

/** What somebody must correct, if a retry cannot help: a wrong account, certificate, database or right. */
function mistake(code: string, message: string): string | undefined {
  if (code.startsWith("28") && /certificate/.test(message)) return clientCertificate;
  if (/^28|^(?:3D000|3F000|42501)$/.test(code) || message.startsWith("SASL: ")) return account;
  if (message.startsWith("The server does not support SSL"))
    return "Switch TLS on at the server (ssl = on), or connect without it.";
  const fault = tlsFault(code);
  return fault === undefined ? undefined : ofTls[fault];
}

/** Codes of lost connections: SQLSTATEs of class 08 and 57P, and Node's codes. */
const lost =
  /^(?:08...|57P..|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|ENOENT)$/;

/** Whether the connection was lost, so that a read may be repeated on another one. */
export function isLost(error: unknown): boolean {
  if (error instanceof WheelworkError) return error.cause !== undefined && isLost(error.cause);
  return lost.test(codeOf(error)) || /^Connection terminated|^Client has encountered/.test(messageOf(error));
}

/** Whether another server may take writes by now: this one did not answer, or takes no writes (SQLSTATE 25006). */
export const isDoubtful = (error: unknown): boolean =>
  isLost(error) || codeOf(error) === "25006" || codeOf(error) === "";

/**
 * Whether PostgreSQL never takes what it was given: SQLSTATEs of class 22 (a value that it cannot hold) and 54 (too large), or
 * what could not even be made into texts.
 */
export function isContent(error: unknown): boolean {
  if (error instanceof WheelworkError) return error.cause !== undefined && isContent(error.cause);
  return isUnstorable(error) || /^(?:22|54)...$/.test(codeOf(error));
}

/** Whether a statement gave up because another one held a lock for too long. */
export const isLockTimeout = (error: unknown): boolean =>
  error instanceof WheelworkError && codeOf(error.cause) === "55P03";

/** Whether there is no such table: nobody has made the schema yet. */
export const lacksTable = (error: unknown): boolean =>
  error instanceof WheelworkError && codeOf(error.cause) === "42P01";

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}

/**
 * An error of the driver as a WheelworkError: WW_CONFIG if somebody must correct something, or WW_STORE_UNAVAILABLE.
 */
export function toError(error: unknown): WheelworkError {
  if (error instanceof WheelworkError) return error;
  const code = codeOf(error);
  const message = `PostgreSQL: ${messageOf(error)}${code === "" ? "" : ` (${code})`}`;
  const next = mistake(code, messageOf(error));
  return next === undefined
    ? unavailable(message, error)
    : new WheelworkError("WW_CONFIG", message, { next, cause: error });
}
