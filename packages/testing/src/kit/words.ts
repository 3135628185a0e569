import { canonicalJson } from "@wheelwork/core/kernel";
import { WheelworkError, type Answer, type Failure } from "@wheelwork/core";
import ms from "ms";

/**
 * A duration in milliseconds: a number of them, or a text such as "10 min", "2h" or "1.5 days".
 * @throws WheelworkError WW_CONFIG when the text is not a duration.
 */
export function durationMs(duration: number | string): number {
  const parsed = typeof duration === "number" ? duration : ms(duration as ms.StringValue);
  if (Number.isFinite(parsed) && parsed >= 0) return parsed;
  throw new WheelworkError("WW_CONFIG", `${JSON.stringify(duration)} is not a duration`, {
    next: `Give a number of milliseconds, or a text such as "10 min" or "2h".`,
  });
}

/** A value as JSON whose keys are in order; `most`: cut after so many characters. */
export function jsonText(value: unknown, most = Number.POSITIVE_INFINITY): string {
  const text = value === undefined ? "undefined" : canonicalJson(value);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** How a call failed, in words. */
export function failureText(failure: Failure): string {
  return failure.kind === "timeout" ? "timeout" : `${failure.code} (${firstLine(failure.message)})`;
}

/** An answer in words. */
export function answerText(answer: Answer, most?: number): string {
  if (answer.kind === "result") return `result ${jsonText(answer.value, most)}`;
  const details = "details" in answer && answer.details !== undefined ? jsonText(answer.details, most) : "";
  return `${answer.kind} ${answer.code} ${jsonText(answer.message, most)} ${details}`.trimEnd();
}

/** The first line of a message: what follows is for whoever reads the whole. */
export function firstLine(text: string): string {
  return text.split("\n", 1)[0] as string;
}
