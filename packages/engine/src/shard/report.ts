import type { Outcome } from "@wheelwork/core";
import { suspectDeaths } from "@wheelwork/core/kernel";
import type { Attempt } from "../attempts/attempt.ts";
import { runFields } from "../ports/log-fields.ts";
import type { Clock, EngineEvent } from "../ports/ports.ts";
import type { Batch } from "./batch.ts";
import type { ShardOptions } from "./options.ts";

/** Tells the log and the observer what a batch has done, once it is committed. */
export function report(
  { effects: { observed, parked }, touched }: Pick<Batch, "effects" | "touched">,
  { logger, observe, tracing }: Pick<ShardOptions, "logger" | "observe" | "tracing">,
): void {
  const isTraced = tracing !== undefined;
  /** Only what goes wrong is looked up. */
  const fieldsOf = ({ name: _name, key, ...event }: Extract<EngineEvent, { key: string }>): object => {
    for (const { run } of touched) if (run.key === key) return { ...runFields(run, isTraced), ...event };
    return { ...runFields({ key }, isTraced), ...event };
  };
  for (const event of observed) {
    observe?.(event);
    if (event.name === "retry" || event.name === "attempt-timeout") logger.debug(event, event.name);
    if (event.name === "attempt-died" && event.deaths >= suspectDeaths) {
      const message = "the process has ended again while this attempt was under way: it is made alone";
      logger.warn(fieldsOf(event), message);
    }
    if (event.name === "tell-lost") logger.error(fieldsOf(event), "a tell has failed for good");
  }
  for (const run of parked) {
    const { hub, key, error } = run;
    logger.error({ ...runFields(run, isTraced), error }, "incident");
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
