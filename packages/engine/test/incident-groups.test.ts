import { end, hub } from "@wheelwork/core";
import { createClient } from "@wheelwork/engine/cluster";
import type { Engine, IncidentGroup } from "@wheelwork/engine";
import { MemoryLog } from "@wheelwork/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";
import { World } from "./world.ts";

/** Incidents stand in groups of one kind, and are counted exactly. */

const faults = { isBroken: true };

const faulty = hub(
  "faulty",
  {
    request: z.object({ order: z.number() }),
    reply: z.object({}),
    deadlineMs: 1_000_000,
    labels: ({ order }) => ({ parity: order % 2 === 0 ? "even" : "odd" }),
    chart: {
      Choosing: { Next: "Waiting" },
      Waiting: { Late: "Checking" },
      Checking: { Next: "Done" },
      Done: end,
    },
    data: ({ order }) => ({ order }),
  },
  {
    Choosing: (s) =>
      s.pick(({ order }) => {
        if (faults.isBroken && order < 10) throw new Error(`order ${order} of "ann" is broken`);
        return "Next";
      }),
    Waiting: (s) => s.wait({ deadline: "Late", after: { Late: ({ order }) => order } }),
    Checking: (s) =>
      s.pick(({ order }) => {
        if (faults.isBroken) throw new Error(order % 2 === 0 ? "it is even" : "it is odd");
        return "Next";
      }),
    Done: () => ({}),
  },
);

const group = (state: string, message: string, count: number): IncidentGroup => ({
  hub: "faulty",
  state,
  code: "WW_DEFECT",
  message,
  count,
});

/** Each group lists what it counts. */
async function agrees(engine: Engine, groups: readonly IncidentGroup[]): Promise<void> {
  const found = await engine.incidents();
  expect(found.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))).toEqual(
    groups.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
  );
  let all = 0;
  for (const { state, code, message, count } of groups) {
    const of = {
      status: "incident",
      hub: "faulty",
      state,
      code: code ?? "",
      message: message ?? "",
    } as const;
    const { items } = await engine.requests({ ...of, limit: 100 });
    expect(items).toHaveLength(count);
    for (const item of items) expect(item).toMatchObject({ status: "incident", code: "WW_DEFECT" });
    expect(await engine.count(of)).toBe(count);
    const even = await engine.requests({ ...of, labels: { parity: "even" }, limit: 100 });
    expect(await engine.count({ ...of, labels: { parity: "even" } })).toBe(even.items.length);
    all += count;
  }
  expect(await engine.count({ status: "incident" })).toBe(all);
  expect(await engine.incidents({ state: "none" })).toEqual([]);
}

describe.each(["memory", "sqlite"] as const)("%s", (store) => {
  test("groups are counted over checkpoints, restarts and retries", async () => {
    faults.isBroken = true;
    const limits = { checkpointEvents: 20, checkpointRuns: 5, horizonMs: 10 };
    const world = new World({ hubs: [faulty], workers: () => [], store, limits });
    onTestFinished(() => world.close());
    await world.start();
    for (let order = 0; order < 30; order++)
      await world.engine.submit(faulty, { order }, { key: `k${order}` });
    await world.clock.advance(15);
    const first = group("", 'order N of "…" is broken', 10);
    await agrees(world.engine, [first, group("Waiting", "it is even", 3), group("Waiting", "it is odd", 3)]);
    await world.restart(5);
    await world.clock.advance(1_000);
    const late = [group("Waiting", "it is even", 10), group("Waiting", "it is odd", 10)];
    await agrees(world.engine, [first, ...late]);
    faults.isBroken = false;
    for (let order = 0; order < 10; order++) await world.engine.retry(`k${order}`);
    await world.clock.advance(1_000);
    await agrees(world.engine, late);
    await world.restart(5);
    await world.engine.resolve("k10", "given up");
    await agrees(world.engine, [group("Waiting", "it is even", 9), group("Waiting", "it is odd", 10)]);
    expect(await world.engine.count({ status: "ended" })).toBe(11);
  });
});

test("a client of a cluster finds the groups of all shards", async () => {
  faults.isBroken = true;
  const nodes = new Nodes({ shards: 3, hub: faulty, workers: () => [] });
  const { clock } = nodes;
  const { node } = await nodes.node(2);
  await clock.runUntil(() => node.shards.length === 3, 60_000);
  for (let order = 0; order < 8; order++)
    await clock.runUntil(node.submit(faulty, { order }, { key: `k${order}` }), 60_000);
  const client = createClient({
    hubs: [faulty],
    shards: 3,
    store: (shard) => (nodes.disks[shard] as (typeof nodes.disks)[number]).reopen(),
    log: new MemoryLog(nodes.broker, { clock }),
    clock,
  });
  onTestFinished(() => clock.runUntil(client.stop()));
  await clock.runUntil(client.start(), 60_000);
  for (const engine of [node, client]) {
    const agreed = agrees(engine, [group("", 'order N of "…" is broken', 8)]);
    await clock.runUntil(agreed, 60_000);
    await agreed;
  }
  const groups = client.incidents({ state: "none" });
  await clock.runUntil(groups, 60_000);
  expect(await groups).toEqual([]);
});
