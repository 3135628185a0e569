import { WheelworkError, type ErrorCode } from "@wheelwork/core";
import { tlsFault, type TlsFault } from "@wheelwork/engine/tls";

/** The message of an error of the Kafka client, with the messages of its causes, in one line. */
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

/** Kafka's names of errors, such as `TOPIC_ALREADY_EXISTS`, from anywhere in an error of the client. */
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
  authority: "Set the authority that has signed the brokers' certificates: tls.ca, or KAFKA_CA.",
  name: "Connect to the brokers under a name that their certificates have. Check also the names that they advertise.",
  expired: "Give the brokers certificates that are valid now, and check the clocks.",
  client:
    "Set a certificate that the brokers trust, and its key: tls.cert and tls.key, or KAFKA_CERT and KAFKA_KEY.",
  protocol: "Use TLS if the brokers' listener has it, and only then.",
};

const account =
  "Check the user and the password, here and at the brokers: sasl, or KAFKA_USERNAME and KAFKA_PASSWORD.";

const byName: readonly (readonly [RegExp, string])[] = [
  [/^SASL_AUTHENTICATION_FAILED$/, account],
  [
    /^UNSUPPORTED_SASL_MECHANISM$/,
    "Choose a mechanism that the brokers offer: sasl.mechanism, or KAFKA_SASL.",
  ],
  [
    /^INVALID_TIMESTAMP$/,
    "Set the clock of this host right: the brokers take no records that are dated far ahead (message.timestamp.after.max.ms).",
  ],
  [/_AUTHORIZATION_FAILED$/, "Give the user the rights that it needs. The page on deploying lists them."],
];

/** What somebody must correct, if a retry cannot help: a wrong certificate, account or right. */
function mistake(error: unknown): string | undefined {
  const names = kafkaErrors(error);
  const known = byName.find(([pattern]) => names.some((name) => pattern.test(name)));
  if (known !== undefined) return known[1];
  const fault = tlsFault(codeBehind(error));
  return fault === undefined ? undefined : ofTls[fault];
}

/** The code of the innermost cause of an error. */
function codeBehind(error: unknown): string {
  const [first] = behindOf(error);
  if (first !== undefined) return codeBehind(first);
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** Whether the brokers do not know the topic. */
export const isUnknownTopic = (error: unknown): boolean =>
  kafkaErrors(error).includes("UNKNOWN_TOPIC_OR_PARTITION") || /unknown topic/i.test(messageOf(error));

/** Whether the brokers say so of a topic, and perhaps not of others. */
export const isOfTopic = (error: unknown): boolean =>
  isUnknownTopic(error) || kafkaErrors(error).some((name) => ofTopic.test(name));

const ofTopic = /^TOPIC_AUTHORIZATION_FAILED$|^INVALID_TOPIC|^NOT_ENOUGH_REPLICAS/;

/** Whether a record, or several together, are more than the brokers take at once. */
export const isTooLarge = (error: unknown): boolean =>
  kafkaErrors(error).some((name) => name === "MESSAGE_TOO_LARGE" || name === "RECORD_LIST_TOO_LARGE");

/** The error for a record that its topic will never take: a retry cannot help. */
export const tooLarge = (topic: string, bytes: number, cause?: unknown): WheelworkError =>
  new WheelworkError("WW_TOO_LARGE", `a record of ${bytes} bytes is more than the topic ${topic} takes`, {
    next: "Send less, or raise max.message.bytes of the topic.",
    cause,
  });

/**
 * The error for a request to the brokers that failed. It is WW_BUS_UNAVAILABLE and retryable, or WW_CONFIG if somebody
 * must correct something.
 */
export function unavailable(what: string, cause: unknown): WheelworkError {
  if (cause instanceof WheelworkError) return cause;
  const next = mistake(cause);
  if (next !== undefined)
    return new WheelworkError("WW_CONFIG", `${what}: ${messageOf(cause)}`, { next, cause });
  return new WheelworkError("WW_BUS_UNAVAILABLE", `${what}: ${messageOf(cause)}`, {
    next: "The request is tried again. Check that the brokers run, and that the addresses that they advertise can be reached.",
    retryable: true,
    cause,
  });
}

/** The error for something that somebody must correct: a retry cannot help. */
export const broken = (
  code: Extract<ErrorCode, "WW_CONFIG" | "WW_LOG_LOST">,
  what: string,
  next: string,
): WheelworkError => new WheelworkError(code, what, { next });
