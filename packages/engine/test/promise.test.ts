import { end, hub, spoke, stay, type AnyHub } from "@wheelwork/core";
import {
  createEngine,
  LocalBus,
  relay,
  SqliteStore,
  worker,
  type Engine,
  type EngineOptions,
  type Worker,
} from "@wheelwork/engine";
import { FaultyStore, MemoryStore, SimulatedClock, type Fault } from "@wheelwork/testing";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { folder, World, type WorldOptions } from "./world.ts";

const nothingBegun = { living: new Set<string>(), ended: new Set<string>() };

/** A request that is accepted gets exactly one answer, whatever workers, stores and senders do. */

const anything = z.unknown();
const day = 86_400_000;

const spokeOf = (name: string) =>
  spoke(name, { input: anything, output: anything, errors: ["no"], timeoutMs: 5000 });

/** A hub that makes one call, and answers with what came of it. */
const calling = (name: string, callee: ReturnType<typeof spokeOf>) =>
  hub(
    name,
    {
      request: anything,
      reply: anything,
      deadlineMs: 10_000,
      chart: { Working: { Next: "Done", Failed: "Done", Late: "Done" }, Done: end },
      data: () => ({ came: null as unknown }),
    },
    {
      Working: (s) =>
        s.call(callee, {
          input: () => 1,
          ok: (_data, output) => s.raise("Next", { came: output }),
          failed: (_data, failure) =>
            s.raise("Failed", { came: failure.kind === "timeout" ? "timeout" : failure.code }),
          deadline: "Late",
        }),
      Done: ({ came }) => came,
    },
  );

const result = (value: unknown) => ({ kind: "result", value });

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

async function begin(options: WorldOptions): Promise<World> {
  const world = new World(options);
  worlds.push(world);
  return world.start();
}

/** What one machine is made of, where a test needs more than a world offers. */
async function beginBare(
  options: Pick<EngineOptions, "hubs" | "workers"> & Partial<EngineOptions>,
): Promise<{ readonly engine: Engine; readonly clock: SimulatedClock }> {
  const clock = new SimulatedClock();
  const engine = createEngine({ store: new MemoryStore(), clock, ...options });
  await engine.start();
  return { engine, clock };
}

describe("what JSON cannot hold fails the call that gave it, and no other", () => {
  const bad = spokeOf("bad");
  const good = spokeOf("good");
  const toBad = calling("toBad", bad);
  const toGood = calling("toGood", good);
  const circular: { self?: unknown } = {};
  circular.self = circular;

  test.each<[string, Worker]>([
    ["circular details", worker(bad, (_input, { fail }) => fail("no", "x", { response: circular }))],
    [
      "circular details, rejected later",
      worker(bad, async (_input, context) => context.fail("no", "x", circular)),
    ],
    ["a bigint as output", worker(bad, () => 1n)],
    ["a bigint within an output, later", worker(bad, () => Promise.resolve({ list: [1n] }))],
    ["a circular output", worker(bad, () => circular)],
  ])("%s", async (_what, poison) => {
    const world = await begin({
      hubs: [toBad, toGood],
      workers: (sleep) => [poison, worker(good, () => sleep(50).then(() => "fine"))],
      // As in operation: nobody looks at data before it is written.
    });
    await world.engine.submit(toGood, 1, { key: "before" });
    expect(await world.call(toBad, 1)).toEqual(result("WW_INVALID_OUTPUT"));
    expect(await world.answer("before")).toEqual(result("fine"));
    expect(await world.call(toGood, 1)).toEqual(result("fine"));
    expect(world.counted("store-lost")).toBeLessThanOrEqual(1);
    expect(world.counted("incident")).toBe(0);
    expect(world.engine.health()).toMatchObject({ status: "running", openAttempts: 0, liveRuns: 0 });
  });

  test("what JSON does not have parks the run whose handler gave it, and names the place; the others go on", async () => {
    const patching = (name: string, patch: () => object) =>
      hub(
        name,
        {
          request: anything,
          reply: anything,
          deadlineMs: 1000,
          chart: { Working: { Next: "Done" }, Done: end },
          data: () => ({ when: null as unknown }),
        },
        {
          Working: (s) =>
            s.call(good, {
              input: () => 1,
              ok: () => s.raise("Next", patch()),
              failed: "Next",
              deadline: "Next",
            }),
          Done: () => "fine",
        },
      );
    const dates = patching("dates", () => ({ when: { at: new Date(0) } }));
    const bigints = patching("bigints", () => ({ when: 1n }));
    const sound = patching("sound", () => ({ when: 0 }));
    const world = await begin({
      hubs: [dates, bigints, sound],
      workers: (sleep) => [worker(good, () => sleep(10))],
    });
    // All outcomes are in one batch.
    await Promise.all([
      world.engine.submit(bigints, 1, { key: "bigint" }),
      world.engine.submit(dates, 1, { key: "date" }),
      world.engine.submit(sound, 1, { key: "sound" }),
    ]);
    expect(await world.answer("sound")).toEqual(result("fine"));
    const problem = async (key: string) => {
      const { status, incident } = await world.engine.request(key);
      return `${status} ${(incident?.error as Error | undefined)?.message}`;
    };
    expect(await problem("bigint")).toContain("incident");
    expect(await problem("bigint")).toContain("when");
    expect(await problem("date")).toContain("at: is an instance of Date");
    expect(world.counted("store-lost")).toBe(0);
  });
});

test("attempts under way when another run's commit fails are made again; their abort is no outcome", async () => {
  const slow = spokeOf("slow");
  const relayed = spokeOf("relayed");
  const quick = spokeOf("quick");
  const toSlow = calling("toSlow", slow);
  const toRelayed = calling("toRelayed", relayed);
  const toQuick = calling("toQuick", quick);
  const attempts: number[] = [];
  const sent: number[] = [];
  let failing = false;
  const store = new FaultyStore(new MemoryStore(), { faultAt: () => (failing ? "fail" : undefined) });
  const bus = new LocalBus();
  const clock = new SimulatedClock();
  bus.subscribe("out", (message) => void clock.after(300, () => bus.publish("back", message)));
  const { engine } = await beginBare({
    store,
    bus,
    clock,
    hubs: [toSlow, toRelayed, toQuick],
    workers: [
      worker(slow, (_input, { attempt, signal }) => {
        attempts.push(attempt);
        return new Promise((resolve, reject) => {
          clock.after(300, () => resolve("fine"));
          signal.addEventListener("abort", () => reject(new Error("aborted")));
        });
      }),
      worker(quick, () => "quick"),
      relay(relayed, {
        to: "out",
        from: "back",
        send: (_input, { attempt, idempotencyKey }) => {
          sent.push(attempt);
          return { key: idempotencyKey, value: "x" };
        },
        receive: ({ key }) => ({ correlation: key, outcome: { kind: "ok", output: "back" } }),
      }),
    ],
  });
  const answers = Promise.all([engine.call(toSlow, 1), engine.call(toRelayed, 1)]);
  await clock.advance(50);
  failing = true;
  await expect(engine.submit(toQuick, 1)).rejects.toMatchObject({ code: "WW_STORE_UNAVAILABLE" });
  failing = false;
  await clock.runUntil(answers);
  expect(await answers).toEqual([result("fine"), result("back")]);
  expect({ attempts, sent }).toEqual({ attempts: [1, 1], sent: [1, 1] });
});

test.each<[Fault, number]>([
  ["unseen", 2],
  ["fail", 2],
])("who waits gets the answer when its commit ends as %s", async (fault, at) => {
  const slow = spokeOf("slow");
  const toSlow = calling("toSlow", slow);
  const world = await begin({
    hubs: [toSlow],
    workers: (sleep) => [worker(slow, () => sleep(50).then(() => "fine"))],
    faults: { faultAt: (number) => (number === at ? fault : undefined) },
  });
  const call = world.engine.call(toSlow, 1, { key: "k" });
  await world.clock.runUntil(call, 1000);
  expect(await call).toEqual(result("fine"));
  expect(await world.engine.answer("k", { waitMs: 0 })).toEqual(result("fine"));
  expect(world.counted("store-lost")).toBe(1);
});

test.each([
  ["without a restart", false, {}],
  ["after a restart", true, {}],
  ["after a restart from a checkpoint", true, { checkpointEvents: 1, horizonMs: 1 }],
] as const)("a field that a patch clears is gone %s", async (_when, restarts, limits) => {
  const clearing = hub(
    "clearing",
    {
      request: anything,
      reply: z.object({ lock: z.string(), fields: z.array(z.string()) }),
      deadlineMs: day,
      signals: { clear: z.null(), go: z.null() },
      chart: { Waiting: { Clear: stay, Go: "Done", Late: "Done" }, Done: end },
      data: () => ({ kept: 1, lock: "held" as string | undefined }),
    },
    {
      Waiting: (s) =>
        s.wait({
          on: { clear: () => s.raise("Clear", { lock: undefined }), go: "Go" },
          deadline: "Late",
        }),
      Done: (data) => ({ lock: data.lock ?? "free", fields: Object.keys(data) }),
    },
  );
  const world = await begin({ hubs: [clearing], workers: () => [], limits });
  await world.engine.submit(clearing, 1, { key: "k" });
  await world.engine.signal("k", "clear", null);
  if (restarts) await world.restart(5);
  await world.engine.signal("k", "go", null);
  expect(await world.answer("k")).toEqual(result({ lock: "free", fields: ["kept"] }));
});

test.each(["memory", "sqlite"] as const)(
  "a request may be undefined if its schema says so (%s)",
  async (store) => {
    const good = spokeOf("good");
    const toGood = calling("toGood", good);
    const world = await begin({
      hubs: [toGood],
      workers: (sleep) => [worker(good, () => sleep(20).then(() => "fine"))],
      store,
    });
    expect(await world.call(toGood, undefined)).toEqual(result("fine"));
    expect(await world.call(toGood, undefined, "k")).toEqual(result("fine"));
    expect(await world.call(toGood, 1)).toEqual(result("fine"));
    await world.restart();
    expect(await world.engine.submit(toGood, undefined, { key: "k" })).toEqual({ id: "k", known: true });
    expect(await world.answer("k")).toEqual(result("fine"));
    expect(world.counted("store-lost")).toBe(0);
  },
);

test("a run keeps 1,000 signals that it does not wait for, and no more; a restart changes nothing", async () => {
  const slow = spokeOf("slow");
  const keeping = hub(
    "keeping",
    {
      request: anything,
      reply: z.number(),
      deadlineMs: 10_000,
      signals: { note: z.number() },
      chart: { Working: { Next: "Waiting" }, Waiting: { Noted: "Done", Late: "Done" }, Done: end },
      data: () => ({ n: -1 }),
    },
    {
      Working: (s) => s.call(slow, { input: () => 1, ok: "Next", failed: "Next", deadline: "Next" }),
      Waiting: (s) => s.wait({ on: { note: (_data, n) => s.raise("Noted", { n }) }, after: { Late: 100 } }),
      Done: ({ n }) => n,
    },
  );
  const world = await begin({
    hubs: [keeping],
    workers: (sleep) => [worker(slow, () => sleep(1000))],
    limits: { checkpointEvents: 600 },
  });
  await world.engine.submit(keeping, 1, { key: "k" });
  const send = (n: number) => world.engine.signal("k", "note", n);
  const numbers = Array.from({ length: 1000 }, (_, n) => n);
  expect(new Set(await Promise.all(numbers.map(send)))).toEqual(new Set(["accepted"]));
  await expect(send(1000)).rejects.toMatchObject({ code: "WW_OVERLOADED", retryable: true });
  await world.restart();
  await expect(send(1000)).rejects.toMatchObject({ code: "WW_OVERLOADED" });
  expect(await world.answer("k")).toEqual(result(0));
});

test("messages that make no sense on a relay's topic do no harm", async () => {
  const relayed = spokeOf("relayed");
  const toRelayed = calling("toRelayed", relayed);
  const bus = new LocalBus();
  const keys: string[] = [];
  bus.subscribe("out", ({ key }) => void keys.push(key));
  const { engine, clock } = await beginBare({
    bus,
    hubs: [toRelayed],
    workers: [
      relay(relayed, {
        to: "out",
        from: "back",
        send: (_input, { idempotencyKey }) => ({ key: idempotencyKey, value: "x" }),
        receive: ({ value }) => JSON.parse(value) as never,
      }),
    ],
  });
  const say = async (value: unknown): Promise<void> => {
    bus.publish("back", { key: "x", value: typeof value === "string" ? value : JSON.stringify(value) });
    await clock.settle();
  };
  const submit = async (key: string): Promise<string> => {
    await engine.submit(toRelayed, 1, { key });
    await clock.settle();
    return keys.at(-1) as string;
  };
  const correlation = await submit("k");
  for (const value of ["no json", "", "null", "1", "{}", "[]", { correlation: "another" }]) await say(value);
  expect(await engine.answer("k", { waitMs: 0 })).toBeUndefined();
  await say({ correlation, outcome: { kind: "ok", output: "back" } });
  expect(await engine.answer("k")).toEqual(result("back"));
  // Nor do outcomes that are none, for a call that is open: it fails.
  for (const [number, outcome] of [undefined, null, 1, {}, { kind: "x" }, { kind: "error" }].entries()) {
    await say({ correlation: await submit(`k${number}`), outcome });
    expect(await engine.answer(`k${number}`, { waitMs: 0 })).toEqual(result("WW_INVALID_OUTPUT"));
  }
});

test("runs that wait for long leave the memory before it is full, and requests go on", async () => {
  const waiting = hub(
    "waiting",
    {
      request: anything,
      reply: z.number(),
      deadlineMs: day,
      signals: { go: z.null() },
      chart: { Waiting: { Go: "Done", Late: "Done" }, Done: end },
      data: () => ({}),
    },
    { Waiting: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }), Done: () => 1 },
  );
  const world = await begin({ hubs: [waiting], workers: () => [], limits: { liveRuns: 20 } });
  for (let number = 0; number < 100; number++)
    await world.engine.submit(waiting, number, { key: `k${number}` });
  expect(world.counted("refused")).toBe(0);
  expect(world.engine.health().liveRuns).toBeLessThanOrEqual(20);
  await world.engine.signal("k0", "go", null);
  expect(await world.answer("k0")).toEqual(result(1));
});

test("the journal is purged as fast as it grows: nothing is left that nobody needs", async () => {
  const good = spokeOf("good");
  const stepping = hub(
    "stepping",
    {
      request: anything,
      reply: z.number(),
      deadlineMs: 5000,
      chart: { Working: { Next: "Done", Failed: "Done", Late: "Done" }, Done: end },
      data: () => ({}),
    },
    {
      Working: (s) =>
        s.sequence(
          [1, 2, 3, 4].map((n) => s.step(good, { input: () => n })),
          { failed: "Failed", done: "Next", deadline: "Late" },
        ),
      Done: () => 1,
    },
  );
  const path = join(folder(), "store.db");
  const store = new SqliteStore(path, { durability: "normal" });
  const { engine, clock } = await beginBare({
    store,
    hubs: [stepping],
    workers: [worker(good, () => 1)],
    limits: { checkpointEvents: 100 },
    retentionMs: 1,
  });
  for (let number = 0; number < 250; number++) await engine.call(stepping, number, { key: `k${number}` });
  const reader = new DatabaseSync(path, { readOnly: true });
  const records = () => Number(reader.prepare("SELECT count(*) AS n FROM journal").get()?.["n"]);
  expect(records()).toBeGreaterThan(1000);
  // The engine's own purge takes 500 at a time; it comes again at once while there is more.
  await clock.advance(2000);
  expect(records()).toBe([...store.journal()].length);
  await expect(engine.request("k0")).rejects.toThrow(/WW_NOT_FOUND/);
  // The same for whoever purges by hand, however little at a time.
  for (let number = 0; number < 30; number++) await engine.call(stepping, number);
  while (store.purge(clock.wallMs() + day, 7, nothingBegun) > 0);
  expect(records()).toBe([...store.journal()].length);
  reader.close();
  await engine.stop();
  store.close();
});

test.each(["memory", "sqlite"] as const)("start and stop side by side end stopped (%s)", async (kind) => {
  const good = spokeOf("good");
  const toGood = calling("toGood", good);
  const path = join(folder(), "store.db");
  const memory = new MemoryStore();
  const make = (): Engine =>
    createEngine({
      hubs: [toGood],
      workers: [worker(good, () => "fine")],
      store: kind === "sqlite" ? path : memory.reopen(),
    });
  const engine = make();
  await Promise.allSettled([engine.start(), engine.stop()]);
  expect(engine.health()).toMatchObject({ ready: false, status: "stopped" });
  await expect(engine.submit(toGood, 1)).rejects.toMatchObject({ code: "WW_STOPPING" });
  // Nothing is locked by it.
  const next = make();
  await next.start();
  expect(await next.call(toGood, 1)).toEqual(result("fine"));
  await next.stop();
});

test("a spoke may have a name of 100 characters, and be told", async () => {
  const long = spokeOf("s".repeat(100));
  const telling: AnyHub = hub(
    "telling",
    {
      request: anything,
      reply: z.string(),
      deadlineMs: 1000,
      chart: { Telling: { Next: "Done" }, Done: end },
      data: () => ({}),
    },
    { Telling: (s) => s.tell(long, { input: () => "news", next: "Next" }), Done: () => "told" },
  );
  const heard: unknown[] = [];
  const world = await begin({
    hubs: [telling, calling("toLong", long)],
    workers: () => [worker(long, (input) => heard.push(input))],
  });
  expect(await world.call(telling, 1)).toEqual(result("told"));
  await expect.poll(() => heard).toEqual(["news"]);
});

test("calls with keys of their own never share an idempotency key with those of a child", async () => {
  const good = spokeOf("good");
  const base = {
    request: anything,
    reply: z.number(),
    deadlineMs: 5000,
    data: () => ({}),
  };
  const child = hub(
    "child",
    { ...base, chart: { Calling: { Next: "Done" }, Done: end } },
    {
      Calling: (s) =>
        s.call(good, { input: () => 1, key: () => "x", ok: "Next", failed: "Next", deadline: "Next" }),
      Done: () => 1,
    },
  );
  const parent = hub(
    "parent",
    { ...base, chart: { Child: { Next: "Own" }, Own: { Next: "Done" }, Done: end } },
    {
      Child: (s) => s.call(child, { input: () => 1, ok: "Next", failed: "Next", deadline: "Next" }),
      Own: (s) =>
        s.call(good, {
          input: () => 1,
          key: () => "0/x",
          ok: "Next",
          failed: "Next",
          after: { Next: 100 },
        }),
      Done: () => 1,
    },
  );
  const keys = new Map<string, string>();
  const world = await begin({
    hubs: [parent],
    workers: () => [
      worker(good, (_input, { requestId, idempotencyKey }) => void keys.set(requestId, idempotencyKey)),
    ],
  });
  expect(await world.call(parent, 1, "a")).toEqual(result(1));
  expect([...keys.keys()]).toEqual(["a/0", "a"]);
  expect(new Set(keys.values()).size).toBe(2);
});
