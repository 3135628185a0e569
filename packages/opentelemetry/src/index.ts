import { metrics, trace } from "@opentelemetry/api";
import { demandOptions, kinds, type OptionKinds } from "@wheelwork/core/kernel";
import type { Engine, EngineEvent, Tracing } from "@wheelwork/engine";
import { Figures } from "./figures.ts";
import { RunIds, type SpanIds } from "./ids.ts";
import { RunTraces } from "./spans.ts";

export type { SpanIds } from "./ids.ts";

export interface OpenTelemetryOptions {
  /** How many of the runs that nothing has caused are recorded, from 0 to 1. The others follow what has caused them. Default 1. */
  readonly share?: number;
}

const optionKinds: OptionKinds<OpenTelemetryOptions> = { share: kinds.number(0, 1) };

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

/**
 * Traces and metrics of engines. Spans and figures go to the providers that are registered with the API.
 * @throws WheelworkError WW_CONFIG with every problem.
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): OpenTelemetry {
  const { share = 1 } = demandOptions<OpenTelemetryOptions>(options, optionKinds, "openTelemetry");
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
