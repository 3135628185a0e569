import { setTimeout as sleep } from "node:timers/promises";
import { WheelworkError } from "wheelwork";

const firstPauseMs = 100;
const longestPauseMs = 5_000;

/** Asks a store again and again, until it answers. @throws What it says that waiting does not change. */
export async function untilAnswered<T>(
  ask: () => Promise<T>,
  onProblem: (problem: string) => void = () => {},
): Promise<T> {
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof WheelworkError && error.retryable)) throw error;
      onProblem(`what is known of the network could not be read, and is read again: ${String(error)}`);
      await sleep(pauseMs);
    }
  }
}
