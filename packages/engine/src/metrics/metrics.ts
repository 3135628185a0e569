import { monitorEventLoopDelay } from "node:perf_hooks";
import type { EngineEvent } from "../ports/ports.ts";
import type { Engine } from "../requests/api.ts";
import { metrics, type MetricDefinition, type MetricSink } from "./definitions.ts";
import { gaugesOf, measure, type Gauge } from "./measure.ts";
import { textOf, type Series } from "./prometheus.ts";

/** The figures of an engine. */
export interface Metrics {
  /** Give it to the engine as `observe`, or call it there. */
  readonly observe: (event: EngineEvent) => void;
  /** All figures in the text format of Prometheus. */
  text(engine: Pick<Engine, "health" | "stats">): Promise<string>;
}

/** So many series a figure may have. What comes beyond is counted together, under the value `other` of all labels. */
const maxSeries = 2000;

class Registry implements MetricSink {
  readonly #series = new Map<MetricDefinition, Map<string, Series>>();

  add(metric: MetricDefinition, by: number, ...values: readonly string[]): void {
    this.#of(metric, values).value += by;
  }

  record(metric: MetricDefinition, value: number, ...values: readonly string[]): void {
    const { buckets = [] } = metric;
    const series = this.#of(metric, values);
    series.value += value;
    series.count++;
    const index = buckets.findIndex((bound) => value <= bound);
    if (index >= 0) series.counts[index] = (series.counts[index] ?? 0) + 1;
  }

  /** All that was measured, in the order of the definitions. */
  list(): Series[] {
    return Object.values(metrics).flatMap((metric) => [...(this.#series.get(metric)?.values() ?? [])]);
  }

  #of(metric: MetricDefinition, values: readonly string[]): Series {
    let all = this.#series.get(metric);
    if (all === undefined) this.#series.set(metric, (all = new Map()));
    const name = values.join("\0");
    const known = all.get(name);
    if (known !== undefined) return known;
    if (all.size >= maxSeries && values.some((value) => value !== other))
      return this.#of(
        metric,
        values.map(() => other),
      );
    const counts = metric.buckets?.map(() => 0) ?? [];
    const series: Series = { metric, values, value: 0, count: 0, counts };
    all.set(name, series);
    return series;
  }
}

const other = "other";

/** Measures an engine. Each engine has its own. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const delays = loopDelays();
  return {
    observe: (event) => measure(event, registry),
    text: async (engine) => {
      const gauges = [...gaugesOf(engine.health(), await engine.stats()), ...delays()];
      return textOf(registry.list(), gauges);
    },
  };
}

/** How late the event loop was since the last call. The first call begins to measure. */
export function loopDelays(): () => readonly Gauge[] {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  let isOn = false;
  return () => {
    if (!isOn) {
      isOn = true;
      delay.enable();
      return [];
    }
    const delays = [50, 99, 100].map((percentile) => ({
      metric: metrics.eventLoopDelay,
      // It counts from one timer to the next, and not from when that was due.
      value: Math.max(0, delay.percentile(percentile) / 1e9 - 0.01),
      values: [String(percentile)],
    }));
    delay.reset();
    return delays;
  };
}
