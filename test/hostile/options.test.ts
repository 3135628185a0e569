import { end, hub, hubByHandlers, spoke, WheelworkError } from "@wheelwork/core";
import {
  createEngine,
  createMetrics,
  externalWorker,
  relay,
  schedule,
  serveMetrics,
  systemClock,
  worker,
  type EngineOptions,
  type MetricsServerOptions,
  type RelaySpec,
  type ScheduleSpec,
} from "@wheelwork/engine";
import { createClient, createNode, type ClientOptions, type NodeOptions } from "@wheelwork/engine/cluster";
import { kafka, type KafkaOptions } from "@wheelwork/kafka";
import { northbound, protect, type NorthboundOptions } from "@wheelwork/northbound";
import { openTelemetry, type OpenTelemetryOptions } from "@wheelwork/opentelemetry";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { stormTopology, type StormTopologyOptions } from "@wheelwork/storm/parts";
import { MemoryBroker, MemoryLog, MemoryStore } from "@wheelwork/testing";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { walkOptions, type Should } from "./options.ts";

// What an option cannot be is refused where it is given, with all that is wrong. Nothing is opened or begun before.

const simple = hub(
  "simple",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 1000,
    chart: { Doing: { Next: "Done" }, Done: end },
    data: () => ({}),
  },
  { Doing: "Next", Done: () => ({}) },
);

const limits = { limits: "object" } as const;
const common = {
  hubs: "list",
  workers: "list",
  schedules: "list",
  logger: "object",
  redact: "function",
  observe: "function",
  tracing: "object",
  retentionMs: "number",
  historyRetentionMs: "number",
  auditRetentionMs: "number",
  maxDowntimeMs: "number",
  drainMs: "number",
  clock: "object",
  random: "function",
  ...limits,
} as const satisfies Record<string, Should>;

/** Where no store is yet. */
function path(): string {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-options-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "store.db");
}

test("options of an engine, and it leaves no file behind", async () => {
  const store = path();
  await walkOptions<EngineOptions>(
    createEngine,
    { hubs: [simple], workers: [], store },
    { ...common, store: "either", durability: "text", bus: "object", onFailure: "function" },
  );
  expect(existsSync(store)).toBe(false);
  const wrong = {
    retentionMs: "5",
    limits: { liveRuns: "5", lateMs: Number.NaN, livRuns: 5 },
    hubs: [simple, 5],
  };
  expect(() => createEngine({ workers: [], store, ...wrong } as never)).toThrow(
    /retentionMs: must be a number[^]*limits\.livRuns: is no option of limits[^]*limits\.liveRuns: must be a whole number[^]*limits\.lateMs/,
  );
  const engine = createEngine({ hubs: [simple], workers: [], store });
  await expect(engine.stop({ drainMs: "5" } as never)).rejects.toMatchObject({ code: "WW_CONFIG" });
  await engine.stop();
});

test("options of a node and of a client of a cluster", async () => {
  const log = new MemoryLog(new MemoryBroker({ clock: systemClock }), { clock: systemClock });
  let opened = 0;
  const cluster = {
    hubs: [simple],
    shards: 1,
    log,
    store: () => {
      opened++;
      return new MemoryStore();
    },
  };
  const clusterShoulds = { shards: "number", store: "function", log: "object", inbox: "text" } as const;
  await walkOptions<NodeOptions>(
    createNode,
    { ...cluster, workers: [] },
    { ...common, ...clusterShoulds, group: "text", channels: "list", name: "text", onFailure: "function" },
  );
  await walkOptions<ClientOptions>(createClient, cluster, {
    ...clusterShoulds,
    hubs: "list",
    tracing: "object",
    clock: "object",
  });
  expect(opened).toBe(0);
});

test("options of a schedule", async () => {
  const sound = { hub: simple, request: () => ({}) };
  const both = { ...sound, cron: "0 3 * * *", everyMs: 1000 };
  expect(problemsOf(() => schedule("s", both))).toEqual(["cron"]);
  await walkOptions<Omit<ScheduleSpec<Record<string, never>>, "cron" | "timeZone">>(
    (options) => schedule("s", options),
    { ...sound, everyMs: 1000 },
    {
      hub: "object",
      request: "function",
      everyMs: "number",
      catchUp: "text",
      jitterMs: "number",
      version: "number",
    },
  );
  await walkOptions<Omit<ScheduleSpec<Record<string, never>>, "everyMs">>(
    (options) => schedule("s", options),
    { ...sound, cron: "0 3 * * *" },
    {
      hub: "object",
      request: "function",
      cron: "text",
      timeZone: "text",
      catchUp: "text",
      jitterMs: "number",
      version: "number",
    },
  );
});

test("options of a spoke", async () => {
  const sound = { input: z.null(), output: z.null(), timeoutMs: 1000 };
  await walkOptions<Parameters<typeof spoke>[1]>(
    (options) => spoke("s", options),
    sound,
    {
      input: "object",
      output: "object",
      errors: "list",
      timeoutMs: "number",
      heartbeatMs: "number",
      retry: "object",
      concurrency: "number",
      limit: "object",
      abandonAfterMs: "number",
    },
    "WW_BAD_SPOKE",
  );
  for (const value of ["5", Number.NaN, -1, 1e308, null, 5n, -Infinity]) {
    const numbers = { attempts: value, backoffMs: value, maxBackoffMs: value, jitter: value };
    const rule = { ...numbers, factor: value === 1e308 ? 0 : value };
    const retry = { ...rule, on: { WW_TIMEOUT: rule } };
    const limit = { concurrent: value, perSecond: value, burst: value };
    const paths = Object.keys(rule).flatMap((name) => [`retry.${name}`, `retry.on["WW_TIMEOUT"].${name}`]);
    paths.push(...Object.keys(limit).map((name) => `limit.${name}`));
    expect(problemsOf(() => spoke("s", { ...sound, retry, limit } as never)).toSorted()).toEqual(
      paths.toSorted(),
    );
  }
});

/** The paths of what a declaration is refused for. */
function problemsOf(declare: () => unknown): readonly string[] {
  try {
    declare();
  } catch (error) {
    if (error instanceof WheelworkError) return error.problems.map(({ path }) => path);
    throw error;
  }
  return [];
}

test("options of hubs, by chart and by handlers", async () => {
  const sound = { request: z.object({}), reply: z.object({}), deadlineMs: 1000, data: () => ({}) };
  const shoulds = {
    request: "object",
    reply: "object",
    errors: "list",
    deadlineMs: "time",
    exclusive: "object",
    labels: "function",
    data: "function",
    signals: "object",
    view: "function",
    secret: "list",
    version: "number",
    migrate: "object",
  } as const;
  await walkOptions<
    Record<keyof typeof shoulds | "chart" | "cancel" | "deadline" | "cleanUp" | "dropSignals", unknown>
  >(
    (options) => hub("h", options, { Doing: "Next", Done: () => ({}) } as never),
    { ...sound, chart: { Doing: { Next: "Done" }, Done: end } } as never,
    {
      ...shoulds,
      chart: "object",
      cancel: "either",
      deadline: "either",
      cleanUp: "list",
      dropSignals: "list",
    },
    "WW_BAD_HUB",
  );
  await walkOptions<Record<keyof typeof shoulds | "cleanUpMs" | "calls", unknown>>(
    (options) =>
      hubByHandlers("h", options, { request: () => {}, response: () => {}, timeout: () => {} } as never),
    { ...sound, cleanUpMs: 1000, calls: [] } as never,
    { ...shoulds, cleanUpMs: "number", calls: "list" },
    "WW_BAD_HUB",
  );
  const byHandlers = { ...sound, cleanUpMs: 1000, calls: [] };
  const handlers = { request: 5, response: null, answerd: () => {} };
  expect(problemsOf(() => hubByHandlers("h", byHandlers, handlers as never)).toSorted()).toEqual([
    "handlers.answerd",
    "handlers.request",
    "handlers.response",
    "handlers.timeout",
  ]);
  for (const given of [null, undefined, 5, "x"]) {
    expect(problemsOf(() => hubByHandlers("h", byHandlers, given as never))).toEqual(["handlers"]);
    expect(problemsOf(() => hub("h", { ...sound, chart: {} } as never, given as never))).toEqual([
      "behaviours",
    ]);
    expect(
      problemsOf(() => spoke(given as never, { input: z.null(), output: z.null(), timeoutMs: 1 })),
    ).toEqual(given === "x" ? [] : ["name"]);
  }
});

test("options of a server, and of what watches an engine", async () => {
  const engine = createEngine({ hubs: [simple], workers: [], store: new MemoryStore() });
  const route = { method: "POST", path: "/simple", hub: simple } as const;
  const protecting = { insecure: "flag", access: "object", logger: "object", allowedHosts: "list" } as const;
  await walkOptions<NorthboundOptions>(
    northbound,
    { engine, routes: [route] },
    {
      ...protecting,
      engine: "object",
      routes: "list",
      extra: "function",
      acceptFormerKeys: "flag",
      diagram: "function",
      info: "object",
      bodyLimit: "number",
      maxBufferedBytes: "number",
      rateLimit: "object",
      maxConnections: "number",
      trustProxy: "list",
      tls: "object",
      defaultWaitMs: "number",
      maxWaitMs: "number",
      beginWithinMs: "number",
      closeWithinMs: "number",
      metrics: "object",
    },
  );
  const nested = (options: object): readonly string[] =>
    problemsOf(() => protect({} as never, options as never)).toSorted();
  expect(
    nested({ access: { jwt: { issuer: 5, audience: 5, roles: 5, clockSkewMs: "5" }, tokens: 5 } }),
  ).toEqual([
    "access.jwt.audience",
    "access.jwt.clockSkewMs",
    "access.jwt.issuer",
    "access.jwt.roles",
    "access.tokens",
  ]);
  const routes = [{ ...route, method: "GET", path: "simple", statusOf: 5, status: 5 }, null];
  await expect(northbound({ engine, routes } as never)).rejects.toMatchObject({
    problems: ["status", "method", "path", "statusOf"]
      .map((name) => ({ path: `routes[0].${name}` }))
      .concat({ path: "routes[1]" }),
  });
  await walkOptions<MetricsServerOptions>(
    (options) => serveMetrics(engine, createMetrics(), options),
    { port: 0 },
    { port: "number", host: "text" },
  );
  await walkOptions<OpenTelemetryOptions>(
    (options) => openTelemetry(options ?? null),
    {},
    { share: "number" },
  );
});

test("options of workers, relays and of what serves them", async () => {
  const work = spoke("work", { input: z.null(), output: z.null(), timeoutMs: 1000 });
  await walkOptions<RelaySpec<null, null, never>>(
    (options) => relay(work, options),
    { to: "to", from: "from", send: () => ({ key: "k", value: "" }), receive: () => undefined },
    {
      to: "text",
      from: "text",
      send: "function",
      correlation: "function",
      receive: "function",
      request: "function",
    },
  );
  await walkOptions<{ readonly topic: string }>(
    (options) => externalWorker(work, options),
    { topic: "t" },
    { topic: "text" },
  );
  for (const given of [null, undefined, 5, {}, simple]) {
    expect(() => worker(given as never, () => null)).toThrow(/WW_CONFIG/);
    expect(() => relay(given as never, {} as never)).toThrow(/WW_CONFIG/);
    expect(() => externalWorker(given as never, { topic: "t" })).toThrow(/WW_CONFIG/);
  }
  expect(() => worker(work, null as never)).toThrow(/WW_CONFIG/);
  // Two workers of one spoke are refused before the store is opened.
  const twice = { hubs: [simple], workers: [worker(work, () => null), worker(work, () => null)] };
  const store = path();
  expect(() => createEngine({ ...twice, store })).toThrow(/WW_CONFIG[^]*two workers serve the spoke work/);
  expect(existsSync(store)).toBe(false);
});

test("options of Kafka, of PostgreSQL and of Storm", async () => {
  await walkOptions<KafkaOptions>(
    kafka,
    { brokers: "localhost:9092" },
    { brokers: "either", clientId: "text", tls: "object", sasl: "object", sessionTimeoutMs: "number" },
  );
  const connection = {
    connectionString: "either",
    host: "either",
    port: "number",
    database: "text",
    user: "text",
    password: "either",
    ssl: "either",
    schema: "text",
    durability: "text",
    timeoutMs: "number",
    readers: "number",
    writers: "number",
  } as const;
  await walkOptions<Parameters<typeof postgresPool>[0]>(postgresPool, {}, { ...connection, ssl: "ssl" });
  await walkOptions<Parameters<typeof postgresStore>[0]>(
    postgresStore,
    {},
    { ...connection, ssl: "ssl", pool: "object", shard: "number", shards: "number" },
  );
  const config = { brokers: "localhost:9092", databaseUrl: "postgres://a@b/c", shards: 2, inbox: "inbox" };
  await walkOptions<StormTopologyOptions>(
    stormTopology,
    { name: "t", config, app: { workers: [] } },
    {
      name: "text",
      config: "object",
      app: "object",
      main: "text",
      nodeFolder: "text",
      workerTasks: "number",
      workers: "number",
      heapMb: "number",
      settings: "object",
    },
  );
  const wrong = { ...config, shards: "2", inbox: "a b", metricsPort: 70_000 };
  expect(
    problemsOf(() => stormTopology({ name: "t", config: wrong, app: { workers: [5] } } as never)),
  ).toEqual(["config.shards", "config.inbox", "config.metricsPort", "app.workers[0]"]);
});
