import { worker } from "@wheelwork/engine";
import { shardOf } from "@wheelwork/engine/cluster";
import { inboxMessage } from "@wheelwork/engine/parts";
import { expect, test } from "vitest";
import { doubling, work } from "./doubling.ts";
import { Nodes } from "./nodes.ts";

/** Topics that change under nodes that run, and records where nobody looks for them. */

const inbox = "wheelwork-inbox";
const nodes = (shards: number): Nodes =>
  new Nodes({ shards, hub: doubling, workers: () => [worker(work, (n) => n * 2)] });

const doubled = (n: number): unknown => expect.stringContaining(`{"kind":"result","value":${n * 2}}`);

const keyOf = (shard: number, shards: number): string => {
  for (let number = 0; ; number++) if (shardOf(`key-${number}`, shards) === shard) return `key-${number}`;
};

test("partitions that are added to a channel are read without a restart, by one node each", async () => {
  const system = nodes(2);
  const members = [await system.node(1), await system.node(1)];
  await system.clock.advance(10_000);
  system.broker.addPartitions("in", 4);
  for (const n of [0, 1, 2, 3]) {
    const message = { key: `k${n}`, value: JSON.stringify({ n }) };
    await system.clock.runUntil(system.outside.append("in", message, n), 1000);
  }
  for (const n of [0, 1, 2, 3]) expect(await system.answered(`k${n}`)).toEqual([doubled(n)]);
  await system.clock.advance(10_000);
  for (const n of [0, 1, 2, 3]) expect(system.answers(`k${n}`)).toHaveLength(1);
  const attempts = members.flatMap(({ signals }) => signals).filter(({ name }) => name === "attempt");
  expect(attempts).toHaveLength(4);
});

test("requests that were deleted before a node could read them are told, and the rest goes on", async () => {
  const system = nodes(1);
  const first = await system.node(1);
  await system.ask("before", { n: 1 });
  await system.answered("before");
  await system.clock.advance(1000);
  await system.clock.runUntil(first.node.stop(), 10_000);
  // While no node runs.
  for (const n of [2, 3, 4]) await system.ask(`k${n}`, { n });
  system.broker.trim("in", 0, 3);
  const second = await system.node(1);
  expect(await system.answered("k4")).toEqual([doubled(4)]);
  expect(second.signals.filter(({ name }) => name === "log-lost")).toMatchObject([{ topic: "in" }]);
  expect(second.node.health()).toMatchObject({
    ready: true,
    warnings: [expect.stringContaining("WW_LOG_LOST") as string],
  });
  await system.clock.advance(1000);
  expect(system.noted()).toBe(4);
  // While a node runs, and stands still.
  second.process.freeze();
  for (const n of [5, 6, 7]) await system.ask(`k${n}`, { n });
  system.broker.trim("in", 0, 6);
  second.process.thaw();
  expect(await system.answered("k7")).toEqual([doubled(7)]);
  expect(second.signals.filter(({ name }) => name === "log-lost")).toHaveLength(2);
  await system.clock.advance(1000);
  expect(system.noted()).toBe(7);
  // The next owner has nothing to tell.
  await system.clock.runUntil(second.node.stop(), 10_000);
  const third = await system.node(1);
  await system.ask("k8", { n: 8 });
  await system.answered("k8");
  expect(third.signals.filter(({ name }) => name === "log-lost")).toEqual([]);
  expect(third.node.health().warnings).toBeUndefined();
});

test("a request in the partition of another shard is moved to its own: it runs once, and is found by its key", async () => {
  const system = nodes(2);
  const { node, signals } = await system.node(1);
  await system.clock.advance(1000);
  for (const shard of [0, 1]) {
    const key = keyOf(shard, 2);
    const message = inboxMessage(key, {
      type: "request",
      hub: "doubling",
      request: { n: shard + 1 },
      replyTo: "test",
    });
    await system.clock.runUntil(system.outside.append(inbox, message, 1 - shard), 1000);
    expect(await system.answered(key)).toEqual([doubled(shard + 1)]);
    const submitted = node.submit("doubling", { n: shard + 1 }, { key });
    await system.clock.runUntil(submitted, 10_000);
    expect(await submitted).toEqual({ id: key, known: true });
  }
  await system.clock.advance(5000);
  expect(signals.filter(({ name }) => name === "attempt")).toHaveLength(2);
  expect(node.shards.map(({ position }) => position)).toEqual([2, 2]);
  expect(system.broker.records(`${inbox}-dlt`)).toEqual([]);
});

test("a record that is moved is not lost when its node dies before the other partition has it", async () => {
  const system = nodes(2);
  const first = await system.node(1);
  await system.clock.advance(1000);
  const key = keyOf(0, 2);
  const message = inboxMessage(key, {
    type: "request",
    hub: "doubling",
    request: { n: 1 },
    replyTo: "test",
  });
  await system.clock.runUntil(system.outside.append(inbox, message, 1), 1000);
  first.process.kill();
  await system.node(1);
  expect(await system.answered(key)).toEqual([doubled(1)]);
});

test("a request in a partition that somebody has added to the inbox is taken to its shard", async () => {
  const system = nodes(2);
  const { node } = await system.node(1);
  system.broker.addPartitions(inbox, 3);
  const message = inboxMessage("stray", {
    type: "request",
    hub: "doubling",
    request: { n: 5 },
    replyTo: "test",
  });
  await system.clock.runUntil(system.outside.append(inbox, message, 2), 1000);
  await system.clock.runUntil(system.outside.append(inbox, { key: "nonsense", value: "?" }, 2), 1000);
  expect(await system.answered("stray")).toEqual([doubled(5)]);
  await system.clock.runUntil(() => system.broker.records(`${inbox}-dlt`).length > 0, 10_000);
  expect(system.keys(`${inbox}-dlt`)).toEqual(["nonsense"]);
  expect(node.shards.map(({ status }) => status)).toEqual(["running", "running"]);
});
