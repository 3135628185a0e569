import type { Attributes, Counter, Histogram, Meter, ObservableGauge } from "@opentelemetry/api";
import {
  gaugesOf,
  loopDelays,
  measure,
  metrics,
  type Engine,
  type EngineEvent,
  type MetricDefinition,
  type MetricSink,
} from "@wheelwork/engine";

const attributesOf = ({ labels }: MetricDefinition, values: readonly string[]): Attributes =>
  Object.fromEntries(labels.map((label, index) => [label, values[index]]));

/** The figures of an engine, as instruments of a meter. */
export class Figures implements MetricSink {
  readonly #meter: Meter;
  readonly #counters = new Map<MetricDefinition, Counter>();
  readonly #histograms = new Map<MetricDefinition, Histogram>();

  constructor(meter: Meter) {
    this.#meter = meter;
    for (const metric of Object.values<MetricDefinition>(metrics)) {
      const { name, kind, unit, description, buckets = [] } = metric;
      const options = { unit, description };
      if (kind === "counter") this.#counters.set(metric, meter.createCounter(name, options));
      if (kind !== "histogram") continue;
      const advice = { explicitBucketBoundaries: [...buckets] };
      this.#histograms.set(metric, meter.createHistogram(name, { ...options, advice }));
    }
  }

  measure(event: EngineEvent): void {
    measure(event, this);
  }

  add(metric: MetricDefinition, by: number, ...values: readonly string[]): void {
    this.#counters.get(metric)?.add(by, attributesOf(metric, values));
  }

  record(metric: MetricDefinition, value: number, ...values: readonly string[]): void {
    this.#histograms.get(metric)?.record(value, attributesOf(metric, values));
  }

  /** Shows the gauges of an engine whenever they are read. The result ends that. */
  watch(engine: Pick<Engine, "health" | "stats">): () => void {
    const gauges = new Map<MetricDefinition, ObservableGauge>();
    for (const metric of Object.values<MetricDefinition>(metrics)) {
      const { name, kind, unit, description } = metric;
      if (kind === "gauge")
        gauges.set(metric, this.#meter.createObservableGauge(name, { unit, description }));
    }
    const delays = loopDelays();
    const all = [...gauges.values()];
    const read: Parameters<Meter["addBatchObservableCallback"]>[0] = async (result) => {
      for (const { metric, value, values } of [
        ...gaugesOf(engine.health(), await engine.stats()),
        ...delays(),
      ]) {
        const gauge = gauges.get(metric);
        if (gauge !== undefined) result.observe(gauge, value, attributesOf(metric, values));
      }
    };
    this.#meter.addBatchObservableCallback(read, all);
    return () => this.#meter.removeBatchObservableCallback(read, all);
  }
}
