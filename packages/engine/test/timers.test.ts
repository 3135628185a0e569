import { end, hub, stay } from "@wheelwork/core";
import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { outside, step, workersOf } from "./hubs.ts";
import { Nodes } from "./nodes.ts";
import { World } from "./world.ts";

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

const hour = 3_600_000;

/** Reminds each hour, three times at most, and takes signals while it waits and while it calls. */
const reminding = hub(
  "reminding",
  {
    request: z.object({}),
    reply: z.object({ reminded: z.number(), notes: z.array(z.string()) }),
    deadlineMs: 1000 * hour,
    deadline: "TimeRanOut",
    signals: { note: z.string(), go: z.null() },
    chart: {
      Waiting: { Remind: "Reminding", Noted: stay, Go: "Done", GiveUp: "Done", TimeRanOut: "Done" },
      Reminding: { Reminded: "Waiting", Noted: stay, TimeRanOut: "Done" },
      Done: end,
    },
    data: () => ({ reminded: 0, notes: [] as string[] }),
  },
  {
    Waiting: (s) =>
      s.wait({
        on: { go: "Go", note: ({ notes }, text) => s.raise("Noted", { notes: [...notes, text] }) },
        after: {
          Remind: ({ reminded }) => (reminded < 3 ? hour : null),
          GiveUp: ({ reminded }) => (reminded < 3 ? null : hour),
        },
      }),
    Reminding: (s) =>
      s.call(step, {
        input: ({ reminded }) => ({ n: reminded }),
        settled: ({ reminded }) => s.raise("Reminded", { reminded: reminded + 1 }),
        on: { note: ({ notes }, text) => s.raise("Noted", { notes: [...notes, text] }) },
      }),
    Done: ({ reminded, notes }) => ({ reminded, notes: [...notes] }),
  },
);

describe.each(["memory", "sqlite"] as const)("timers (%s)", (store) => {
  const open = async (limits = {}): Promise<World> => {
    const world = new World({ hubs: [reminding], workers: workersOf(outside()), store, limits });
    worlds.push(world);
    return world.start();
  };

  test("a run that waits for a timer is out of memory until shortly before, also after a restart", async () => {
    const world = await open({ checkpointEvents: 1, horizonMs: 60_000 });
    const { id } = await world.engine.submit(reminding, {}, { key: "k" });
    await world.clock.advance(5);
    expect(world.engine.health().liveRuns).toBe(0);
    await world.clock.advance(hour);
    expect(await world.engine.request(id)).toMatchObject({ state: "Waiting", data: { reminded: 1 } });
    expect(world.engine.health().liveRuns).toBe(0);
    await world.restart(hour / 2);
    expect(await world.engine.request(id)).toMatchObject({ data: { reminded: 1 } });
    await world.engine.signal(id, "note", "still here");
    await world.clock.advance(hour / 2 + 1000);
    expect(await world.engine.request(id)).toMatchObject({ data: { reminded: 2, notes: ["still here"] } });
    const answer = await world.answer(id);
    expect(answer).toEqual({ kind: "result", value: { reminded: 3, notes: ["still here"] } });
    const history = await world.engine.history(id);
    const entered = history.flatMap((event) => (event.type === "entered" ? [event.at - history[0]!.at] : []));
    expect(entered.map((at) => Math.round(at / hour))).toEqual([0, 1, 1, 2, 2, 3, 3, 4]);
  });

  test("timers that came due in an outage fire at the restart, each once", async () => {
    const world = await open();
    const { id } = await world.engine.submit(reminding, {}, { key: "k" });
    await world.restart(100 * hour);
    await world.clock.advance(1000);
    expect(await world.engine.request(id)).toMatchObject({ state: "Waiting", data: { reminded: 1 } });
    await world.engine.signal(id, "go", null);
    expect(await world.answer(id)).toMatchObject({ value: { reminded: 1 } });
  });
});

test("a signal that has come goes before a timer that is due", async () => {
  const world = new World({ hubs: [reminding], workers: workersOf(outside()) });
  worlds.push(world);
  await world.start();
  const { id } = await world.engine.submit(reminding, {}, { key: "k" });
  world.freeze();
  await world.clock.advance(2 * hour);
  const sent = world.engine.signal(id, "go", null);
  world.thaw();
  await world.clock.runUntil(sent);
  expect(await world.answer(id)).toMatchObject({ value: { reminded: 0 } });
});

test("the node that takes a shard over fires the timers of its runs", async () => {
  const nodes = new Nodes({
    shards: 1,
    hub: reminding,
    workers: () => workersOf(outside())(() => Promise.resolve()),
  });
  const first = await nodes.node(1);
  await nodes.ask("k", {});
  await nodes.clock.advance(1.5 * hour);
  expect(await first.node.request("k")).toMatchObject({ data: { reminded: 1 } });
  first.process.kill();
  await nodes.node(1);
  await nodes.clock.advance(3 * hour);
  expect(await nodes.answered("k")).toEqual([expect.stringContaining('"reminded":3')]);
});
