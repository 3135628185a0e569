import { metrics as metricsApi } from "@opentelemetry/api";
import { MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";
import { end, hub } from "@wheelwork/core";
import { createEngine, metrics, SqliteStore, type MetricDefinition } from "@wheelwork/engine";
import { SimulatedClock } from "@wheelwork/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { openTelemetry } from "../src/index.ts";

const greet = hub(
  "greet",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 60_000,
    chart: { Done: end },
    data: () => ({}),
  },
  { Done: () => ({}) },
);

class OnDemand extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

test("the figures are instruments of the meter, with the same names, units and labels", async () => {
  const reader = new OnDemand();
  metricsApi.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
  const folder = mkdtempSync(join(tmpdir(), "metrics-"));
  const clock = new SimulatedClock();
  const { observe, watch } = openTelemetry();
  const store = new SqliteStore(join(folder, "engine.db"), { durability: "normal" });
  const engine = createEngine({ hubs: [greet], workers: [], store, clock: clock.process(), observe });
  onTestFinished(async () => {
    metricsApi.disable();
    await engine.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  await engine.start();
  let reads = 0;
  const health: typeof engine.health = () => (reads++, engine.health());
  const unwatch = watch({ health, stats: () => engine.stats() });
  const { id } = await engine.submit(greet, {}, { key: "one" });
  await clock.runUntil(engine.answer(id));
  const collect = async () => {
    const { resourceMetrics, errors } = await reader.collect();
    expect(errors).toEqual([]);
    return resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics);
  };
  const shown = await collect();
  const known = new Map<string, MetricDefinition>(Object.values(metrics).map((one) => [one.name, one]));
  for (const { descriptor, dataPoints } of shown) {
    expect(known.get(descriptor.name)).toMatchObject({ unit: descriptor.unit });
    for (const { attributes } of dataPoints)
      expect(Object.keys(attributes)).toEqual(known.get(descriptor.name)?.labels);
  }
  const valueOf = (name: string): unknown =>
    shown.find(({ descriptor }) => descriptor.name === name)?.dataPoints.map(({ value }) => value);
  expect(valueOf("wheelwork.requests")).toEqual([1]);
  expect(valueOf("wheelwork.ready")).toEqual([1]);
  expect(valueOf("wheelwork.answer.duration")).toMatchObject([{ count: 1, sum: 0 }]);
  unwatch();
  await collect();
  expect(reads).toBe(1);
});
