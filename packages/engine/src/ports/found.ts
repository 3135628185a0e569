import type { Found, StoredRun } from "./ports.ts";

/**
 * The row of a run that goes on. The row of one that has ended stays until the next checkpoint. Its answer, which is written with the
 * end, says so. Whoever has asked the store must go by that: what the shard knows of such rows may have changed since.
 */
export function goingOn({ run, answer }: Pick<Found, "run" | "answer">): StoredRun | undefined {
  if (run === undefined || answer?.endedAt === undefined) return run;
  // Under a key that was free again, another run has begun.
  return answer.createdAt < run.createdAt ? run : undefined;
}
