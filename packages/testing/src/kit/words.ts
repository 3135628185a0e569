import { WheelworkError } from "@wheelwork/core";
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
