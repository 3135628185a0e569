import { worker, type EngineEvent } from "@wheelwork/engine";
import { shardOf } from "@wheelwork/engine/cluster";
import { inboxMessage } from "@wheelwork/engine/parts";
import { expect, test } from "vitest";
import { doubling, work } from "./doubling.ts";
import { Nodes, type NodesOptions } from "./nodes.ts";

/** Topics that change under nodes that run, and records where nobody looks for them. */

const inbox = "wheelwork-inbox";
const settings = (shards: number): NodesOptions => ({
  shards,
  hub: doubling,
  workers: () => [worker(work, (n) => n * 2)],
});
const nodes = (shards: number): Nodes => new Nodes(settings(shards));

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
  // Nor do they keep a node from starting.
  await system.clock.runUntil(node.stop(), 10_000);
  const next = await system.node(1);
  await system.ask("after", { n: 6 });
  expect(await system.answered("after")).toEqual([doubled(6)]);
  expect(next.node.health()).toMatchObject({ ready: true });
});

/** What a node has told of records that were deleted before they were read. */
const told = (signals: readonly EngineEvent[]): string[] =>
  signals.flatMap((signal) => (signal.name === "log-lost" ? [signal.topic] : []));

const append = async (system: Nodes, key: string, n: number): Promise<void> => {
  const entry = { type: "request", hub: "doubling", request: { n }, replyTo: "test" } as const;
  await system.clock.runUntil(system.outside.append(inbox, inboxMessage(key, entry), 0), 1000);
};

test("a shard whose inbox was cut while it stood still goes on with the rest, and tells once what is lost", async () => {
  const failures: string[] = [];
  const options = { onFailure: ({ message }: Error) => void failures.push(message) };
  const system = new Nodes({ ...settings(1), options });
  const first = await system.node(1);
  await append(system, "a", 1);
  await system.answered("a");
  await system.clock.advance(2000);
  first.process.freeze();
  for (const n of [2, 3, 4]) await append(system, `k${n}`, n);
  system.broker.trim(inbox, 0, 3);
  first.process.thaw();
  expect(await system.answered("k4")).toEqual([doubled(4)]);
  expect(told(first.signals)).toEqual([inbox]);
  expect(failures).toEqual([expect.stringContaining("WW_LOG_LOST")]);
  expect(first.node.health().warnings).toEqual([expect.stringContaining("WW_LOG_LOST")]);
  expect(first.node.shards).toMatchObject([{ status: "running", position: 4 }]);
  // Everything is deleted, and nothing comes: the position passes it all the same.
  first.process.freeze();
  for (const n of [5, 6]) await append(system, `k${n}`, n);
  system.broker.trim(inbox, 0, 6);
  first.process.thaw();
  await system.clock.advance(60_000);
  expect(told(first.signals)).toEqual([inbox, inbox]);
  await system.clock.runUntil(first.node.stop(), 10_000);
  const second = await system.node(1);
  await append(system, "k7", 7);
  expect(await system.answered("k7")).toEqual([doubled(7)]);
  expect(told(second.signals)).toEqual([]);
  // What was on its way to the node when it stood still has arrived.
  for (const lost of ["k3", "k6"]) expect(system.answers(lost)).toEqual([]);
});

test("a shard whose inbox was cut, or deleted and created again, while no node ran goes on with the rest", async () => {
  const system = nodes(1);
  const first = await system.node(1);
  await append(system, "a", 1);
  await system.answered("a");
  await system.clock.advance(2000);
  await system.clock.runUntil(first.node.stop(), 10_000);
  for (const n of [2, 3]) await append(system, `k${n}`, n);
  system.broker.trim(inbox, 0, 3);
  const second = await system.node(1);
  await system.clock.advance(2000);
  await system.clock.runUntil(second.node.stop(), 10_000);
  expect(told(second.signals)).toEqual([inbox]);
  const third = await system.node(1);
  expect(told(third.signals)).toEqual([]);
  await system.clock.runUntil(third.node.stop(), 10_000);
  system.broker.deleteTopic(inbox);
  system.broker.createTopic(inbox, 1);
  await append(system, "k4", 4);
  const fourth = await system.node(1);
  expect(await system.answered("k4")).toEqual([doubled(4)]);
  await system.clock.advance(2000);
  await system.clock.runUntil(fourth.node.stop(), 10_000);
  expect(told(fourth.signals)).toEqual([inbox]);
  expect(told((await system.node(1)).signals)).toEqual([]);
});

test("while the inbox of a running shard is missing its runs go on, whatever its group does, and once it is created again its records are read", async () => {
  const system = nodes(1);
  const { node, signals } = await system.node(1);
  for (const n of [1, 2, 3]) await append(system, `k${n}`, n);
  await system.answered("k3");
  await system.clock.advance(2000);
  system.broker.deleteTopic(inbox);
  // The group of this one node shares out anew.
  system.broker.addPartitions("in", 2);
  await system.clock.advance(30_000);
  expect(signals.map(({ name }) => name)).not.toContain("shard-released");
  const submitted = node.submit("doubling", { n: 4 }, { key: "k4" });
  await system.clock.runUntil(submitted, 10_000);
  const answer = node.answer("k4", { waitMs: 10_000 });
  await system.clock.runUntil(answer, 10_000);
  expect(await answer).toEqual({ kind: "result", value: 8 });
  system.broker.createTopic(inbox, 1);
  await append(system, "k5", 5);
  expect(await system.answered("k5")).toEqual([doubled(5)]);
  // That it was gone, and that what is there is another one.
  expect(told(signals)).toEqual([inbox, inbox]);
  // Nothing of it is read from the place that the shard had come to in the old one.
  expect(node.shards).toMatchObject([{ status: "running", position: 1 }]);
  for (const n of [1, 2, 3]) expect(system.answers(`k${n}`)).toHaveLength(1);
});

test("a broker that has lost the end of an inbox makes a shard read it once more: known requests count once", async () => {
  const system = nodes(1);
  const first = await system.node(1);
  for (const n of [1, 2]) await append(system, `k${n}`, n);
  await system.answered("k2");
  await system.clock.advance(2000);
  await system.clock.runUntil(first.node.stop(), 10_000);
  system.broker.loseEnd(inbox, 0, 1);
  const second = await system.node(1);
  await append(system, "k3", 3);
  expect(await system.answered("k3")).toEqual([doubled(3)]);
  expect(told(second.signals)).toEqual([inbox]);
  await system.clock.advance(2000);
  expect(second.signals.filter(({ name }) => name === "attempt")).toHaveLength(1);
  expect(second.node.shards).toMatchObject([{ position: 2 }]);
});
