import type { Outcome } from "@wheelwork/core";
import { suspectDeaths } from "@wheelwork/core/kernel";
import type { Attempt } from "../attempts/attempt.ts";
import type { Clock, EngineEvent } from "../ports/ports.ts";
import type { Batch } from "./batch.ts";
import type { ShardOptions } from "./options.ts";

/** Tells the log and the observer what a batch has done, once it is committed. */
export function report(
  { observed, parked }: Batch["effects"],
  { logger, observe }: Pick<ShardOptions, "logger" | "observe">,
): void {
  for (const event of observed) {
    observe?.(event);
    if (event.name === "retry" || event.name === "attempt-timeout") logger.debug(event, event.name);
    if (event.name === "attempt-died" && event.deaths >= suspectDeaths)
      logger.warn(event, "the process has ended again while this attempt was under way: it is made alone");
    if (event.name === "tell-lost") logger.error(event, "a tell has failed for good");
  }
  for (const { hub, key, state, error } of parked) {
    logger.error({ hub, request: key, state, error }, "incident");
    observe?.({ name: "incident", hub, key, code: error.code });
  }
}

/** What an observer is told of an attempt that a worker of this process has ended. */
export function outcomeEvent(
  { call, madeAt, request, requestId: key, waitedMs: waitMs }: Attempt,
  { kind: outcome }: Outcome,
  clock: Clock,
): EngineEvent {
  const event = { name: "outcome", callee: request.callee, key, call, outcome } as const;
  return madeAt === undefined ? event : { ...event, waitMs, workMs: clock.monotonicMs() - madeAt };
}
