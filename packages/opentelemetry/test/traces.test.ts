import { context, metrics as metricsApi, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  InMemorySpanExporter,
  SimpleSpanProcessor,
  TracerProvider,
  type ReadableSpan,
} from "@opentelemetry/sdk-trace";
import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, SqliteStore, worker, type Engine } from "@wheelwork/engine";
import { SimulatedClock, type SimulatedProcess } from "@wheelwork/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { openTelemetry, type OpenTelemetry } from "../src/index.ts";

const work = spoke("work", {
  input: z.number(),
  output: z.number(),
  errors: ["busy"],
  timeoutMs: 60_000,
  retry: { attempts: 3, backoffMs: 10 },
});
const note = spoke("note", { input: z.string(), output: z.object({}), timeoutMs: 1000 });
const later = hub(
  "later",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 60_000,
    chart: { Done: end },
    data: () => ({}),
  },
  { Done: () => ({}) },
);
const inner = hub(
  "inner",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 600_000,
    chart: { Working: { Next: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  {
    Working: (s) =>
      s.call(work, {
        input: ({ n }) => n,
        ok: (_data, n) => s.raise("Next", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Done: ({ n }) => n,
  },
);
const outer = hub(
  "outer",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 600_000,
    chart: {
      Calling: { Next: "Telling", Late: "Done" },
      Telling: { Next: "Starting" },
      Starting: { Next: "Done" },
      Done: end,
    },
    data: ({ n }) => ({ n }),
  },
  {
    Calling: (s) =>
      s.call(inner, {
        input: ({ n }) => ({ n }),
        ok: (_data, n) => s.raise("Next", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Telling: (s) => s.tell(note, { input: () => "done", next: "Next" }),
    Starting: (s) => s.start(later, { input: () => ({}), key: () => "later-1", next: "Next" }),
    Done: ({ n }) => n,
  },
);

afterEach(() => {
  trace.disable();
  context.disable();
  metricsApi.disable();
});

/** An SDK with an exporter in memory, which outlives the engines. */
function sdk(options: Parameters<typeof openTelemetry>[0] = {}) {
  const exporter = new InMemorySpanExporter();
  const otel = openTelemetry(options);
  trace.setGlobalTracerProvider(
    new TracerProvider({ idGenerator: otel.ids, spanProcessors: [new SimpleSpanProcessor({ exporter })] }),
  );
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  return { exporter, otel };
}

/** Engines on one file and one clock, one after the other. Its worker takes a second, fails at first, and makes a span of its own. */
class Machine {
  readonly clock = new SimulatedClock();
  readonly #otel: OpenTelemetry;
  readonly #file: string;
  #process: SimulatedProcess | undefined;
  #store: SqliteStore | undefined;

  constructor(otel: OpenTelemetry) {
    this.#otel = otel;
    const folder = mkdtempSync(join(tmpdir(), "traces-"));
    this.#file = join(folder, "engine.db");
    onTestFinished(() => {
      this.kill();
      rmSync(folder, { recursive: true, force: true });
    });
  }

  async start(): Promise<Engine> {
    const process = this.clock.process();
    const store = new SqliteStore(this.#file, { durability: "normal" });
    const { observe, tracing } = this.#otel;
    const engine = createEngine({
      hubs: [inner, outer, later],
      workers: [
        worker(work, async (n, ctx) => {
          await process.sleep(1000);
          if (ctx.attempt === 1) ctx.fail("busy", "come again");
          return n * 2;
        }),
        worker(note, () => {
          trace.getTracer("user").startSpan("noted").end();
          return {};
        }),
      ],
      store,
      clock: process,
      random: () => 0.5,
      drainMs: 0,
      observe,
      tracing,
    });
    [this.#process, this.#store] = [process, store];
    await engine.start();
    return engine;
  }

  /** As `kill -9`. */
  kill(): void {
    this.#process?.kill();
    this.#store?.close();
    this.#process = undefined;
  }
}

interface Told {
  readonly id: string;
  readonly trace: string;
  readonly parent: string | undefined;
  readonly name: string;
  readonly links: readonly string[];
}

/** Spans without their times. */
const told = (spans: readonly ReadableSpan[]): Told[] =>
  spans
    .filter(({ instrumentationScope }) => instrumentationScope.name === "wheelwork")
    .map((span) => ({
      id: span.spanContext().spanId,
      trace: span.spanContext().traceId,
      parent: span.parentSpanContext?.spanId,
      name: span.name,
      links: span.links.map((link) => link.context.spanId),
    }))
    .toSorted((one, other) => (one.id < other.id ? -1 : 1));

/** Spans by their names, and those of the spans that they name: all of them were told. */
function shapes(spans: readonly Told[]): string[] {
  const names = new Map(spans.map(({ id, name }) => [id, name]));
  const nameOf = (id: string): string => {
    const name = id === parentId ? "outside" : names.get(id);
    expect(name, `${id} was told`).toBeDefined();
    return `${name}`;
  };
  return spans
    .map(({ name, parent, links }) => {
      const above = parent === undefined ? links : [parent, ...links];
      return [name, ...above.map(nameOf)].join(" < ");
    })
    .toSorted();
}

const traceId = "0af7651916cd43dd8448eb211c80319c";
const parentId = "b7ad6b7169203331";
const traceparent = `00-${traceId}-${parentId}-01`;

/** Sends a request, and kills the engine at these times, in milliseconds since the request. */
async function play(kills: readonly number[]): Promise<readonly ReadableSpan[]> {
  const { exporter, otel } = sdk();
  const machine = new Machine(otel);
  let engine = await machine.start();
  await engine.submit(outer, { n: 1 }, { key: "one", traceparent });
  let now = 0;
  for (const at of kills) {
    await machine.clock.advance(at - now);
    now = at;
    machine.kill();
    engine = await machine.start();
  }
  await machine.clock.runUntil(engine.answer("one"));
  await machine.clock.advance(5000);
  return exporter.getFinishedSpans();
}

test("a request is a trace, with its calls of hubs, its states, its attempts and its answer", async () => {
  const spans = await play([]);
  const byName = (name: string): ReadableSpan => {
    const found = spans.filter((span) => span.name === name);
    expect(found.length, name).toBeGreaterThan(0);
    return found[0] as ReadableSpan;
  };
  const idOf = (span: ReadableSpan): string => span.spanContext().spanId;
  const [run, calling, called, innerRun, working] = [
    "outer",
    "outer Calling",
    "inner",
    "inner",
    "inner Working",
  ].map(byName) as [ReadableSpan, ReadableSpan, ReadableSpan, ReadableSpan, ReadableSpan];
  expect(run.parentSpanContext?.spanId).toBe(parentId);
  expect(calling.parentSpanContext?.spanId).toBe(idOf(run));
  expect(working.attributes).toMatchObject({ "wheelwork.hub": "inner", "wheelwork.state": "Working" });
  const attempts = spans.filter(({ name }) => name === "work");
  expect(attempts.map(({ attributes }) => attributes["wheelwork.outcome"])).toEqual(["busy", "ok"]);
  for (const attempt of attempts) expect(attempt.parentSpanContext?.spanId).toBe(idOf(working));
  expect(attempts[0]?.status).toMatchObject({ message: "come again" });
  // The run of a call of a hub is below the call.
  const runs = spans.filter(
    ({ name, attributes }) => name === "inner" && "wheelwork.hub.version" in attributes,
  );
  const calls = spans.filter(({ name, attributes }) => name === "inner" && "wheelwork.call" in attributes);
  expect(runs.map(({ parentSpanContext }) => parentSpanContext?.spanId)).toEqual(calls.map(idOf));
  expect(called.spanContext().traceId).toBe(innerRun.spanContext().traceId);
  // What outlives the run has a trace of its own, and a link.
  const started = byName("later");
  expect(started.spanContext().traceId).not.toBe(run.spanContext().traceId);
  expect(started.links[0]?.context.spanId).toBe(idOf(byName("outer Starting")));
  // A span of a worker is below its attempt.
  const noted = spans.find(({ name }) => name === "noted");
  const noting = spans.find(({ name, attributes }) => name === "note" && "wheelwork.attempt" in attributes);
  expect(noted?.parentSpanContext?.spanId).toBe(noting?.spanContext().spanId);
  const answer = byName("outer answer");
  expect(answer.endTime[0] - answer.startTime[0]).toBe(2);
});

test.each([[[500]], [[100, 200, 1500]], [[0, 999, 1001, 1020, 2500]]])(
  "spans are the same ones after kills at %j ms, and none comes twice",
  async (kills) => {
    const calm = told(await play([]));
    trace.disable();
    context.disable();
    const killed = told(await play(kills));
    const ofTrace = (spans: readonly Told[]): Told[] => spans.filter((span) => span.trace === traceId);
    expect(ofTrace(killed)).toEqual(ofTrace(calm));
    // What the request has started begins later, so that it has other ids.
    expect(shapes(killed)).toEqual(shapes(calm));
    expect(new Set(killed.map(({ id }) => id)).size).toBe(killed.length);
  },
);

test("the active span has caused what is submitted", async () => {
  const { exporter, otel } = sdk();
  const machine = new Machine(otel);
  const engine = await machine.start();
  const { id } = await trace.getTracer("user").startActiveSpan("mine", async (mine) => {
    const submitted = await engine.submit(later, {});
    mine.end();
    return submitted;
  });
  await machine.clock.runUntil(engine.answer(id));
  const spans = exporter.getFinishedSpans();
  const [mine, run] = ["mine", "later"].map((name) => spans.find((span) => span.name === name));
  expect(run?.parentSpanContext?.spanId).toBe(mine?.spanContext().spanId);
});

test("a share of the runs is recorded, whole ones, and always those that something recorded has caused", async () => {
  const { exporter, otel } = sdk({ share: 0.5 });
  const machine = new Machine(otel);
  const engine = await machine.start();
  const keys = Array.from({ length: 60 }, (_, number) => `run-${number}`);
  for (const key of keys) await engine.submit(later, {}, { key });
  await engine.submit(later, {}, { key: "caused", traceparent });
  await engine.submit(later, {}, { key: "unwanted", traceparent: traceparent.replace(/01$/, "00") });
  await machine.clock.runUntil(engine.answer("unwanted"));
  const counts = new Map<unknown, number>();
  for (const { attributes } of exporter.getFinishedSpans()) {
    const key = attributes["wheelwork.request"];
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  expect(new Set(counts.values()).size).toBe(1);
  expect(counts.has("caused")).toBe(true);
  expect(counts.has("unwanted")).toBe(false);
  expect(counts.size).toBeGreaterThan(10);
  expect(counts.size).toBeLessThan(50);
});

test("a share that is none is refused", () => {
  expect(() => openTelemetry({ share: 2 })).toThrow("share: must be a number from 0 to 1");
});
