import type { Answer } from "./events.ts";
import { canonicalJson } from "./json.ts";
import type { Failure } from "./spoke.ts";

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
