import type { AnyHub, HistoryEvent, RunEvent, RunSpan } from "@wheelwork/core";
import { Run, spansOf, step as play } from "@wheelwork/core/kernel";
import { createMetrics, metrics, prometheusName, type EngineEvent } from "@wheelwork/engine";
import { array, assert, asyncProperty, boolean, constantFrom, nat, record } from "fast-check";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { begin } from "./begin.ts";
import { approved, outside, parent, rounds, workersOf } from "./hubs.ts";
import { World } from "./world.ts";

const hubs: readonly AnyHub[] = [rounds, approved, parent];

/** The spans that were told of each run. */
function toldBy(signals: readonly EngineEvent[]): Map<string, RunSpan[]> {
  const told = new Map<string, RunSpan[]>();
  for (const signal of signals) {
    if (signal.name !== "span") continue;
    const known = told.get(signal.key);
    if (known === undefined) told.set(signal.key, [signal.span]);
    else known.push(signal.span);
  }
  return told;
}

/** The spans that follow from the events of a run. */
function spansIn(key: string, history: readonly HistoryEvent[]): RunSpan[] {
  const run = new Run(key);
  const spans: RunSpan[] = [];
  for (const event of history as readonly RunEvent[]) {
    spans.push(...(spansOf(run, event) ?? []));
    play(run, event);
  }
  return spans;
}

const request = record({
  key: constantFrom("a", "b", "c", "d"),
  steps: array(constantFrom(1, 2, 7, 60, 100), { maxLength: 4 }),
  waitMs: nat(400),
  isKilled: boolean(),
});

test("spans are told once, whatever ends the process, and are those of the history", async () => {
  await assert(
    asyncProperty(array(request, { minLength: 1, maxLength: 6 }), async (requests) => {
      const world = await new World({ hubs, workers: workersOf(outside()) }).start();
      for (const { key, steps, waitMs, isKilled } of requests) {
        const sent = world.engine.submit(rounds, { steps }, { key }).catch(() => undefined);
        await world.clock.advance(waitMs);
        await sent;
        if (isKilled) await world.restart(waitMs);
      }
      const keys = new Set(requests.map(({ key }) => key));
      for (const key of keys) await world.ended(key);
      const told = toldBy(world.signals);
      for (const key of keys) {
        const history = await world.engine.history(key);
        expect(told.get(key)).toEqual(spansIn(key, history));
      }
      world.close();
    }),
    { numRuns: 25 },
  );
});

test("a run has a span of its request, of each state, of each attempt and of its answer", async () => {
  const world = await begin();
  await world.call(rounds, { steps: [7, 100] }, "one");
  await world.ended("one");
  const spans = toldBy(world.signals).get("one") ?? [];
  expect(spans[0]).toMatchObject({ kind: "run" });
  expect(spans.filter(({ kind }) => kind === "state")).toMatchObject([
    { state: "Preparing", by: "Next" },
    { state: "Working", by: "Failed" },
    { state: "Undoing", by: "Next" },
    { state: "Failed" },
  ]);
  const attempts = spans.filter((span) => span.kind === "attempt");
  expect(attempts).toContainEqual(expect.objectContaining({ call: 1, attempt: 1, outcome: "refused" }));
  expect(attempts).toContainEqual(expect.objectContaining({ call: 0, attempt: 1, outcome: "busy" }));
  for (const { from, to } of spans) expect(to).toBeGreaterThanOrEqual(from);
  expect(spans.at(-1)).toMatchObject({ kind: "answer", answer: "error", code: "failed" });
});

test("what is measured is shown as text for Prometheus", async () => {
  const world = await begin();
  await world.call(rounds, { steps: [1, 2] }, "one");
  await world.call(rounds, { steps: [100] }, "two");
  await world.engine.submit(rounds, { steps: [1, 2] }, { key: "one" });
  await world.call(parent, { children: [[1]] });
  const { id } = await world.engine.submit(approved, { n: 1, withinMs: 500_000 });
  await world.clock.advance(10);
  const figures = createMetrics();
  for (const signal of world.signals) figures.observe(signal);
  const lines = (await figures.text(world.engine)).split("\n");
  for (const line of [
    'wheelwork_requests_total{hub="rounds",outcome="accepted"} 2',
    'wheelwork_requests_total{hub="rounds",outcome="known"} 1',
    // The call of a hub is no request.
    'wheelwork_answer_duration_seconds_count{hub="rounds",kind="result"} 1',
    'wheelwork_answer_duration_seconds_count{hub="rounds",kind="error"} 1',
    'wheelwork_answer_duration_seconds_count{hub="parent",kind="result"} 1',
    'wheelwork_attempt_duration_seconds_count{spoke="step",outcome="ok"} 3',
    'wheelwork_attempt_duration_seconds_count{spoke="step",outcome="refused"} 1',
    'wheelwork_runs{hub="approved",status="running",state="Waiting"} 1',
    "wheelwork_ready 1",
    'wheelwork_queue_length{shard="0"} 0',
    'wheelwork_answers_unpublished{shard="0"} 0',
  ])
    expect(lines).toContain(line);
  const working = (bound: string): number => {
    const start = `wheelwork_state_duration_seconds_bucket{hub="rounds",state="Working",le="${bound}"} `;
    return Number(lines.find((line) => line.startsWith(start))?.slice(start.length));
  };
  expect(working("+Inf")).toBe(3);
  expect(working("0.001")).toBeLessThanOrEqual(working("0.1"));
  await world.engine.cancel(id);
});

test("a figure has 2,000 series at most, and what comes beyond is counted together", async () => {
  const world = await begin();
  const figures = createMetrics();
  for (let number = 0; number < 2100; number++)
    figures.observe({ name: "incident", hub: "rounds", key: "one", code: `c${number}` });
  const lines = (await figures.text(world.engine)).split("\n");
  const series = lines.filter((line) => line.startsWith("wheelwork_incidents_total{"));
  expect(series).toHaveLength(2001);
  expect(series.at(-1)).toBe('wheelwork_incidents_total{hub="other",code="other"} 100');
});

test("a label may have any text", async () => {
  const world = await begin();
  const figures = createMetrics();
  figures.observe({ name: "incident", hub: 'a "b" \\ c', key: "one", code: "two\nlines" });
  expect(await figures.text(world.engine)).toContain(
    'wheelwork_incidents_total{hub="a \\"b\\" \\\\ c",code="two\\nlines"} 1\n',
  );
});

test("no two figures have one name", () => {
  const names = Object.values(metrics).map((metric) => prometheusName(metric));
  expect(new Set(names).size).toBe(names.length);
});

test("docs/metrics.md says what each figure is", () => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/metrics.md"), "utf8");
  const rows = page.split("\n").map((line) => line.replaceAll(/ +/g, " "));
  for (const metric of Object.values(metrics)) {
    const labels = metric.labels.map((label) => `\`${label}\``).join(", ");
    const row = `| \`${prometheusName(metric)}\` | ${metric.kind} | ${labels} | ${metric.description} |`;
    expect(rows).toContain(row.replaceAll(/ +/g, " "));
  }
});
