import { WheelworkError } from "@wheelwork/core";
import { tlsFault, type TlsFault } from "@wheelwork/engine/tls";

/** Another owner has claimed the shard: this one writes nothing more (I21). */
export const fenced = (shard: number): WheelworkError =>
  new WheelworkError("WW_STORE_LOCKED", `another owner has taken over shard ${shard} (I21)`, {
    next: "Stop this process, or the other one.",
  });

/** Batches that were committed are gone: only people can say what that means. */
export const commitsLost = (shard: number, seen: number, found: number): WheelworkError =>
  new WheelworkError(
    "WW_COMMITS_LOST",
    `the server has lost commits of shard ${shard}, as after a failover: batch ${seen} was committed, and the last one there is ${found}`,
    {
      next: "Nothing works on the shard until somebody accepts the loss, or brings the commits back: see the page on durability, lost commits.",
    },
  );

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

const account = "Check the database, the user, its password and its rights.";
const clientCertificate =
  "Give a certificate that the server trusts, and its key: sslcert and sslkey in the connection string, or ssl.cert and ssl.key.";

const ofTls: Readonly<Record<TlsFault, string>> = {
  authority:
    "Give the authority that has signed the server's certificate: sslrootcert in the connection string, or ssl.ca.",
  name: "Connect to the server under a name that its certificate has, or give it one for the name that you use.",
  expired: "Give the server a certificate that is valid now, and look at the clocks.",
  client: clientCertificate,
  protocol: "Let both sides speak the same versions of TLS: see ssl_min_protocol_version.",
};

/** What somebody must set right, since no waiting mends it: who may enter, by what proof, and what is not there. */
function mistake(code: string, message: string): string | undefined {
  if (code.startsWith("28") && /certificate/.test(message)) return clientCertificate;
  if (/^28|^(?:3D000|3F000|42501)$/.test(code) || message.startsWith("SASL: ")) return account;
  if (message.startsWith("The server does not support SSL"))
    return "Let the server speak TLS (ssl = on), or connect without it.";
  const fault = tlsFault(code);
  return fault === undefined ? undefined : ofTls[fault];
}

/** SQLSTATEs of class 08 and 57P, and what Node says of a connection that ended or was never made. */
const lost =
  /^(?:08...|57P..|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|ENOENT)$/;

/** Whether the connection ended, so that a read may be asked again on another one. */
export function isLost(error: unknown): boolean {
  if (error instanceof WheelworkError) return error.cause !== undefined && isLost(error.cause);
  return lost.test(codeOf(error)) || /^Connection terminated|^Client has encountered/.test(messageOf(error));
}

/** Whether the server may not be the one to ask any more: nothing was heard of it, or it takes no writes. */
export const isDoubtful = (error: unknown): boolean =>
  isLost(error) || codeOf(error) === "25006" || codeOf(error) === "";

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
  const next = mistake(code, messageOf(error));
  return next === undefined
    ? unavailable(message, error)
    : new WheelworkError("WW_CONFIG", message, { next, cause: error });
}
