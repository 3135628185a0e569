import type { Clock } from "./ports.ts";

/** How long to pause between two tries. */
export interface RetryPolicy {
  /** The pause after the first failure, in milliseconds. It doubles with each further failure. */
  readonly minMs: number;
  /** The longest pause, in milliseconds. */
  readonly maxMs: number;
}

/** What `retrying` needs to know besides. */
export interface RetryOptions {
  /** Stops the retries. A pause that is under way ends at once, and leaves no timer behind. */
  readonly signal?: AbortSignal;
  /** Called after each failure, with the number of failures in a row. Use 1 to log an outage once. It must not throw. */
  readonly onFailure?: (error: unknown, failures: number) => void;
}

/**
 * Runs a task until it succeeds once. It begins the first try at once, before it returns. After each failure it pauses, and
 * doubles the pause up to the policy's maximum.
 *
 * Failures are never fatal here: a task that finds that it is no longer wanted, or that trying again is useless, returns.
 * @returns Whether the task has succeeded; false: `signal` has stopped it first.
 */
export async function retrying(
  clock: Clock,
  { minMs, maxMs }: RetryPolicy,
  task: () => Promise<unknown>,
  { signal, onFailure }: RetryOptions = {},
): Promise<boolean> {
  const isStopped = (): boolean => signal?.aborted === true;
  let pauseMs = minMs;
  for (let failures = 1; !isStopped(); failures++) {
    try {
      await task();
      return true;
    } catch (error) {
      // Nobody wants to hear of a failure after the end: the end may have caused it.
      if (isStopped()) return false;
      onFailure?.(error, failures);
    }
    await pause(clock, pauseMs, signal);
    pauseMs = Math.min(pauseMs * 2, maxMs);
  }
  return false;
}

/** Waits for some time, in milliseconds, or until `signal` is aborted. */
export function pause(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) return resolve();
    const end = (): void => {
      cancel();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const cancel = clock.after(ms, end);
    signal?.addEventListener("abort", end);
  });
}
