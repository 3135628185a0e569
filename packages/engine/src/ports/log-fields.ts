import type { TraceContext } from "@wheelwork/core";
import { givenKey } from "./keys.ts";
import { traceIdOf } from "./trace.ts";

/** A run, as far as the place of a log line knows it. */
export interface LoggedRun {
  readonly key: string;
  readonly hub?: string;
  readonly state?: string;
  readonly createdAt?: number;
  readonly trace?: TraceContext | undefined;
}

/** What a log line says of a run: with `trace_id`, as OpenTelemetry names it, other programs find the trace of the line. */
export interface RunFields {
  readonly request: string;
  readonly hub?: string;
  readonly state?: string;
  readonly trace_id?: string;
}

/** The fields of a run for a log line. `isTraced`: the engine makes spans, so that each run has a trace. */
export function runFields({ key, hub, state, createdAt, trace }: LoggedRun, isTraced: boolean): RunFields {
  const request = givenKey(key);
  const isKnown = hub !== undefined && createdAt !== undefined && (isTraced || trace !== undefined);
  return {
    request,
    ...(hub === undefined ? {} : { hub }),
    ...(state === undefined || state === "" ? {} : { state }),
    ...(isKnown ? { trace_id: traceIdOf({ key: request, hub, createdAt, trace }) } : {}),
  };
}
