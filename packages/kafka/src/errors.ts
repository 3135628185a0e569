import { WheelworkError, type ErrorCode } from "@wheelwork/core";
import { tlsFault, type TlsFault } from "@wheelwork/engine/tls";

/** What the client says of an error, and of what is behind it, in one line. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const behind = new Set(behindOf(error).map(messageOf));
  return behind.size === 0 ? error.message : `${error.message} (${[...behind].join("; ")})`;
}

const behindOf = (error: unknown): readonly unknown[] =>
  error instanceof AggregateError && error.errors.length > 0
    ? error.errors
    : error instanceof Error && error.cause !== undefined
      ? [error.cause]
      : [];

/** Kafka's own names of errors, wherever the client keeps them in an error. */
export function kafkaErrors(error: unknown): readonly string[] {
  if (typeof error !== "object" || error === null) return [];
  const { apiId, errors, cause } = error as { apiId?: unknown; errors?: unknown; cause?: unknown };
  return [
    ...(typeof apiId === "string" ? [apiId] : []),
    ...(Array.isArray(errors) ? errors.flatMap(kafkaErrors) : []),
    ...(cause === undefined ? [] : kafkaErrors(cause)),
  ];
}

const ofTls: Readonly<Record<TlsFault, string>> = {
  authority: "Give the authority that has signed the brokers' certificates: tls.ca, or KAFKA_CA.",
  name: "Reach the brokers under a name that their certificates have, also where they advertise themselves.",
  expired: "Give the brokers certificates that are valid now, and look at the clocks.",
  client:
    "Give a certificate that the brokers trust, and its key: tls.cert and tls.key, or KAFKA_CERT and KAFKA_KEY.",
  protocol: "Connect with TLS to a listener that has it, and only to such.",
};

const account =
  "Check the user and the password, at the brokers, too: sasl, or KAFKA_USERNAME and KAFKA_PASSWORD.";

const byName: readonly (readonly [RegExp, string])[] = [
  [/^SASL_AUTHENTICATION_FAILED$/, account],
  [
    /^UNSUPPORTED_SASL_MECHANISM$/,
    "Choose a mechanism that the brokers offer: sasl.mechanism, or KAFKA_SASL.",
  ],
  [/_AUTHORIZATION_FAILED$/, "Give the user the rights that it needs: see the page on deploying, rights."],
];

/** What somebody must set right, since no waiting mends it: who the brokers are, who we are, and what we may do. */
function mistake(error: unknown): string | undefined {
  const names = kafkaErrors(error);
  const known = byName.find(([pattern]) => names.some((name) => pattern.test(name)));
  if (known !== undefined) return known[1];
  const fault = tlsFault(codeBehind(error));
  return fault === undefined ? undefined : ofTls[fault];
}

/** The code of what is at the bottom of an error. */
function codeBehind(error: unknown): string {
  const [first] = behindOf(error);
  if (first !== undefined) return codeBehind(first);
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** Whether the brokers know no such topic. */
export const isUnknownTopic = (error: unknown): boolean =>
  kafkaErrors(error).includes("UNKNOWN_TOPIC_OR_PARTITION") || /unknown topic/i.test(messageOf(error));

/** The broker cannot be reached, or did not do what it was asked: it may be tried again, unless somebody must mend it. */
export function unavailable(what: string, cause: unknown): WheelworkError {
  if (cause instanceof WheelworkError) return cause;
  const next = mistake(cause);
  if (next !== undefined)
    return new WheelworkError("WW_CONFIG", `${what}: ${messageOf(cause)}`, { next, cause });
  return new WheelworkError("WW_BUS_UNAVAILABLE", `${what}: ${messageOf(cause)}`, {
    next: "Check that the brokers run and can be reached at the addresses that they advertise; it is tried again.",
    retryable: true,
    cause,
  });
}

/** What somebody must set right before it can work. */
export const broken = (
  code: Extract<ErrorCode, "WW_CONFIG" | "WW_LOG_LOST">,
  what: string,
  next: string,
): WheelworkError => new WheelworkError(code, what, { next });
