import { WheelworkError, type ErrorCode } from "@wheelwork/core";

/** What the client says of an error, in one line. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError) {
    const inner = [...new Set(error.errors.map(messageOf))].join("; ");
    return inner === "" ? error.message : `${error.message} (${inner})`;
  }
  return error instanceof Error ? error.message : String(error);
}

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

/** Whether the brokers know no such topic. */
export const isUnknownTopic = (error: unknown): boolean =>
  kafkaErrors(error).includes("UNKNOWN_TOPIC_OR_PARTITION") || /unknown topic/i.test(messageOf(error));

/** The broker cannot be reached, or did not do what it was asked: it may be tried again. */
export function unavailable(what: string, cause: unknown): WheelworkError {
  if (cause instanceof WheelworkError) return cause;
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
