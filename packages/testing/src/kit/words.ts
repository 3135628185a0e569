import { canonicalJson } from "@wheelwork/core/kernel";
import { WheelworkError, type Answer, type Failure } from "@wheelwork/core";
import ms from "ms";

/**
 * A duration in milliseconds, from a number of milliseconds or a string such as "10 min", "2h" or "1.5 days".
 * @throws WheelworkError WW_CONFIG when it is not a duration from 0.
 */
export function durationMs(duration: number | string): number {
  const parsed = typeof duration === "number" ? duration : ms(duration as ms.StringValue);
  if (Number.isFinite(parsed) && parsed >= 0) return parsed;
  throw new WheelworkError("WW_CONFIG", `${JSON.stringify(duration)} is not a duration`, {
    next: `Give a number of milliseconds from 0, or a string such as "10 min" or "2h".`,
  });
}

/** A value as JSON with sorted keys, cut after `maxLength` characters. */
export function jsonText(value: unknown, maxLength = Number.POSITIVE_INFINITY): string {
  const text = value === undefined ? "undefined" : canonicalJson(value);
  return text.length > maxLength ? `${text.slice(0, maxLength - 1)}…` : text;
}

/** How a call failed, in words. */
export function failureText(failure: Failure): string {
  return failure.kind === "timeout" ? "timeout" : `${failure.code} (${firstLine(failure.message)})`;
}

/** An answer in words. */
export function answerText(answer: Answer, maxLength?: number): string {
  if (answer.kind === "result") return `result ${jsonText(answer.value, maxLength)}`;
  const details =
    "details" in answer && answer.details !== undefined ? jsonText(answer.details, maxLength) : "";
  return `${answer.kind} ${answer.code} ${jsonText(answer.message, maxLength)} ${details}`.trimEnd();
}

/** The first line of a message. */
export function firstLine(text: string): string {
  return text.split("\n", 1)[0] as string;
}
