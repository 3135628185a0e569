import { metrics, trace } from "@opentelemetry/api";
import { WheelworkError } from "@wheelwork/core";
import type { Engine, EngineEvent, Tracing } from "@wheelwork/engine";
import { Figures } from "./figures.ts";
import { RunIds, type SpanIds } from "./ids.ts";
import { RunTraces } from "./spans.ts";

export type { SpanIds } from "./ids.ts";

export interface OpenTelemetryOptions {
  /** How many of the runs that nothing has caused are recorded, from 0 to 1. The others follow what has caused them. Default 1. */
  readonly share?: number;
}

/** What an engine needs for traces and metrics. */
export interface OpenTelemetry {
  /** Give it to the tracer provider as `idGenerator`: with ids of their own, spans of runs would not find one another. */
  readonly ids: SpanIds;
  /** Give it to the engine as `observe`, or call it there. */
  readonly observe: (event: EngineEvent) => void;
  /** Give it to the engine as `tracing`. */
  readonly tracing: Tracing;
  /** Shows the gauges of an engine with the other figures. The result ends that. */
  watch(engine: Pick<Engine, "health" | "stats">): () => void;
}

/** Traces and metrics of engines. Spans and figures go to the providers that are registered with the API. */
export function openTelemetry({ share = 1 }: OpenTelemetryOptions = {}): OpenTelemetry {
  if (!(share >= 0 && share <= 1))
    throw new WheelworkError("WW_CONFIG", `share must be a number from 0 to 1, not ${share}`);
  const ids = new RunIds();
  const traces = new RunTraces(share, () => trace.getTracer("wheelwork"), ids);
  let made: Figures | undefined;
  // A meter of a provider that is registered later would measure nothing.
  const figures = (): Figures => (made ??= new Figures(metrics.getMeter("wheelwork")));
  return {
    ids,
    tracing: traces,
    observe: (event) => {
      figures().measure(event);
      if (event.name === "span") traces.tell(event);
    },
    watch: (engine) => figures().watch(engine),
  };
}
