import { end, hub, hubByHandlers } from "@wheelwork/core";
import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { outside, step, workersOf } from "./hubs.ts";
import { World } from "./world.ts";

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

const base = {
  request: z.object({}),
  reply: z.object({ log: z.array(z.string()) }),
  deadlineMs: 10_000,
  signals: { go: z.null() },
  data: () => ({ log: [] as string[] }),
};
const v1 = hub(
  "changing",
  { ...base, chart: { Old: { Go: "Done", Late: "Done" }, Done: end } },
  {
    Old: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }),
    Done: ({ log }) => ({ log: [...log, "old"] }),
  },
);
const chart2 = {
  New: { Go: "Calling", Late: "Done" },
  Calling: { Go: "Done", Late: "Done" },
  Done: end,
} as const;
const next = (version: number, mapped: boolean) =>
  hub(
    "changing",
    {
      ...base,
      version,
      chart: chart2,
      ...(mapped
        ? { migrate: { 1: ({ data }) => ({ state: "New", data: { ...data, log: ["migrated"] } }) } }
        : {}),
    },
    {
      New: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }),
      Calling: (s) => s.call(step, { input: () => ({ n: 1 }), ok: "Go", failed: "Late", deadline: "Late" }),
      Done: ({ log }) => ({ log: [...log, "new"] }),
    },
  );

async function waiting(store: "memory" | "sqlite", limits: object): Promise<World> {
  const world = new World({ hubs: [v1], workers: workersOf(outside()), store, limits });
  worlds.push(world);
  await world.start();
  await world.engine.submit(v1, {}, { key: "k" });
  await world.engine.submit(v1, {}, { key: "l" });
  return world;
}

describe.each([
  ["memory", {}],
  ["sqlite", { checkpointEvents: 1, horizonMs: 1 }],
  // Rows of runs that have ended since the last checkpoint are still there.
  ["memory", { checkpointEvents: 3 }],
  ["sqlite", { checkpointEvents: 3, horizonMs: 1 }],
] as const)("versions (%s, %j)", (store, limits) => {
  test("live runs are migrated at their next turn, counted, and go on", async () => {
    const world = await waiting(store, limits);
    world.hubs = [next(2, true)];
    await world.restart(5);
    expect(await world.engine.request("k")).toMatchObject({ version: 1, state: "Old" });
    expect(world.counted("migrated")).toBe(0);
    await world.engine.signal("k", "go", null);
    expect(await world.engine.request("k")).toMatchObject({ version: 2, state: "Calling" });
    expect((await world.engine.request("l")).version).toBe(1);
    expect(await world.answer("k")).toEqual({ kind: "result", value: { log: ["migrated", "new"] } });
    expect(world.counted("migrated")).toBe(1);
    await world.restart();
    expect(await world.answer("l")).toEqual({ kind: "result", value: { log: ["migrated", "new"] } });
  });

  test("a state that nothing maps is an incident, and a later version takes it over", async () => {
    const world = await waiting(store, limits);
    world.hubs = [next(2, false)];
    await world.restart();
    await world.engine.signal("k", "go", null);
    expect(await world.engine.request("k")).toMatchObject({
      status: "incident",
      version: 1,
      incident: { error: { code: "WW_UNMAPPED_STATE" } },
    });
    world.hubs = [next(3, true)];
    await world.restart();
    await world.engine.retry("k");
    expect(await world.answer("k")).toEqual({ kind: "result", value: { log: ["migrated", "new"] } });
  });

  test("an older version, or none, is refused at the start, clearly; the right one goes on after that", async () => {
    const world = await waiting(store, limits);
    world.hubs = [next(2, true)];
    await world.restart();
    await world.engine.signal("k", "go", null);
    await world.answer("k");
    await world.engine.submit(world.hubs[0] as typeof v1, {}, { key: "m" });
    for (const hubs of [[v1], []]) {
      world.kill();
      world.hubs = hubs;
      await expect(world.boot().start()).rejects.toMatchObject({ code: "WW_HUB_UNKNOWN" });
    }
    world.hubs = [next(2, true)];
    await world.restart();
    expect((await world.answer("m")).kind).toBe("result");
  });

  test("a hub whose runs have all ended may be taken away", async () => {
    const world = await waiting(store, limits);
    await world.engine.signal("k", "go", null);
    await world.engine.signal("l", "go", null);
    expect((await world.engine.request("k")).status).toBe("ended");
    world.hubs = [];
    await world.restart();
    expect((await world.engine.request("k")).answer?.kind).toBe("result");
  });
});

test("runs of a hub by handlers are migrated in the middle of their work", async () => {
  const made = (version: number, field: "log" | "notes") =>
    hubByHandlers(
      "handled",
      {
        request: z.object({}),
        reply: z.object({ log: z.array(z.string()) }),
        deadlineMs: 10_000,
        cleanUpMs: 100,
        calls: [step],
        version,
        data: (): Record<string, string[]> => ({ [field]: [`made by ${version}`] }),
        ...(version > 1 ? { migrate: { 1: ({ log }) => ({ notes: log }) } } : {}),
      },
      {
        request: (s) => s.call(step, { n: 50 }),
        response: (s) =>
          s.reply({ log: [...(s.data[field] ?? []), `open ${s.open}`, `answered by ${version}`] }),
        timeout: (s) => s.reply({ log: [] }),
      },
    );
  const world = new World({ hubs: [made(1, "log")], workers: workersOf(outside()) });
  worlds.push(world);
  await world.start();
  await world.engine.submit("handled", {}, { key: "k" });
  await world.clock.advance(10);
  world.hubs = [made(2, "notes")];
  await world.restart();
  expect(await world.answer("k")).toEqual({
    kind: "result",
    value: { log: ["made by 1", "open 0", "answered by 2"] },
  });
  expect(world.counted("migrated")).toBe(1);
});
