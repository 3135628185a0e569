import { end, hub } from "@wheelwork/core";
import { createClient } from "@wheelwork/engine/cluster";
import { MemoryLog } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { approved, outside, rounds, workersOf } from "./hubs.ts";
import { Nodes } from "./nodes.ts";
import { World } from "./world.ts";

/** The status `stuck` finds the running requests that somebody should look at. */

const ids = async (engine: World["engine"], labels = {}): Promise<string[]> => {
  const { items } = await engine.requests({ status: "stuck", labels });
  expect(await engine.count({ status: "stuck", labels })).toBe(items.length);
  return items.map(({ id }) => id).toSorted();
};

test("what is retried is stuck, and what takes longer than nearly all requests of its hub", async () => {
  const world = new World({ hubs: [approved, rounds], workers: workersOf(outside()) });
  onTestFinished(() => world.close());
  await world.start();
  const { engine, clock } = world;
  await engine.submit(approved, { n: 1, withinMs: 100_000_000 }, { key: "slow" });
  await engine.submit(rounds, { steps: [17] }, { key: "retries" });
  await clock.runUntil(async () => (await engine.count({ status: "retrying" })) === 1, 10_000);
  expect(await ids(engine)).toEqual(["retries"]);
  await clock.runUntil(engine.answer("retries"));
  // No typical time is known yet.
  await clock.advance(60_000);
  expect(await ids(engine)).toEqual([]);
  for (let n = 0; n < 100; n++) await engine.submit(approved, { n, withinMs: 900 }, { key: `k${n}` });
  await clock.advance(1_000);
  expect(await engine.count({ hub: "approved", status: "ended" })).toBe(100);
  await engine.submit(approved, { n: 1, withinMs: 100_000_000 }, { key: "new" });
  expect(await ids(engine)).toEqual(["slow"]);
  expect(await ids(engine, { kind: "even" })).toEqual([]);
  await world.restart(5);
  expect(await ids(world.engine)).toEqual(["slow"]);
  await clock.advance(60_000);
  expect(await ids(world.engine, { kind: "odd" })).toEqual(["new", "slow"]);
  // Once it has its answer, it is not stuck.
  await world.engine.cancel("slow");
  await clock.runUntil(world.engine.answer("slow"));
  expect(await ids(world.engine)).toEqual(["new"]);
});

const timed = hub(
  "timed",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 5_000,
    chart: { Waiting: { Late: "Done" }, Done: end },
    data: () => ({}),
  },
  { Waiting: (s) => s.wait({ deadline: "Late" }), Done: () => ({}) },
);

test("a request that is due, and that nobody calls back, is stuck wherever somebody asks", async () => {
  const nodes = new Nodes({ shards: 2, hub: timed, workers: () => [] });
  const { clock } = nodes;
  const { node, process } = await nodes.node(2);
  await clock.runUntil(() => node.shards.length === 2, 60_000);
  for (const key of ["a", "b", "c"]) await clock.runUntil(node.submit(timed, {}, { key }), 60_000);
  const client = createClient({
    hubs: [timed],
    shards: 2,
    store: (shard) => (nodes.disks[shard] as (typeof nodes.disks)[number]).reopen(),
    log: new MemoryLog(nodes.broker, { clock }),
    clock,
  });
  onTestFinished(() => clock.runUntil(client.stop()));
  await clock.runUntil(client.start(), 60_000);
  expect(await client.count({ status: "stuck" })).toBe(0);
  process.kill();
  await clock.advance(14_000);
  expect(await client.count({ status: "stuck" })).toBe(0);
  await clock.advance(2_000);
  const { items } = await client.requests({ status: "stuck" });
  expect(items.map(({ id }) => id).toSorted()).toEqual(["a", "b", "c"]);
  expect(await client.count({ status: "stuck" })).toBe(3);
});
