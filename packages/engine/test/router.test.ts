import { worker } from "@wheelwork/engine";
import type { MemoryStore } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { doubling, work } from "./doubling.ts";
import { Nodes } from "./nodes.ts";

/** The short way: what the router of a node has for a shard of that node. */

const nodes = (shards: number): Nodes =>
  new Nodes({ shards, hub: doubling, workers: () => [worker(work, (n) => n * 2)] });

const doubled = (n: number): unknown => expect.stringContaining(`{"kind":"result","value":${n * 2}}`);

test("a request of a shard of this node does not go through its inbox; it is passed once its batch is committed", async () => {
  const system = nodes(1);
  await system.node(300);
  await system.ask("a", { n: 1 });
  // It takes 300 ms to look the key up, and as long to commit.
  await system.clock.advance(550);
  expect(system.noted()).toBeUndefined();
  expect(await system.answered("a")).toEqual([doubled(1)]);
  await system.clock.advance(1000);
  expect(system.noted()).toBe(1);
  expect(system.keys("wheelwork-inbox")).toEqual([]);
});

test("what another node works on goes through the inbox of its shard", async () => {
  const system = nodes(2);
  await system.node(1);
  await system.node(1);
  await system.clock.advance(10_000);
  const keys = Array.from({ length: 20 }, (_, index) => `key-${index}`);
  for (const key of keys) await system.ask(key, { n: 3 });
  for (const key of keys) expect(await system.answered(key)).toEqual([doubled(3)]);
  await system.clock.advance(1000);
  expect(system.keys("wheelwork-inbox").length).toBeGreaterThan(0);
  expect(system.keys("wheelwork-inbox").length).toBeLessThan(keys.length);
  expect(system.noted()).toBe(keys.length);
});

test.each(["fail", "unseen"] as const)(
  "a request whose commit has come to: %s, goes through the inbox, and is done once",
  async (fault) => {
    const system = nodes(1);
    await system.node(5, (commit) => (commit === 1 ? fault : undefined));
    await system.ask("a", { n: 1 });
    const answers = await system.answered("a");
    await system.clock.advance(5000);
    expect(new Set(system.answers("a"))).toEqual(new Set(answers));
    expect(answers).toEqual([doubled(1)]);
    expect(system.keys("wheelwork-inbox")).toEqual(["a"]);
    expect(system.noted()).toBe(1);
  },
);

test("while the store is away, requests are kept by the inbox", async () => {
  const system = nodes(1);
  const { stores } = await system.node(5);
  for (const store of stores) store.gone = true;
  await system.ask("a", { n: 1 });
  await system.ask("b", { n: 2 });
  await system.clock.advance(2000);
  expect(system.keys("wheelwork-inbox")).toEqual(["a", "b"]);
  expect(system.noted()).toBe(2);
  for (const store of stores) store.gone = false;
  expect(await system.answered("a")).toEqual([doubled(1)]);
  expect(await system.answered("b")).toEqual([doubled(2)]);
});

test("a body that differs is a dead letter, and passed once that is durable", async () => {
  const system = nodes(1);
  await system.node(5);
  await system.ask("a", { n: 1 });
  await system.answered("a");
  await system.ask("a", { n: 2 });
  await system.clock.advance(1000);
  expect(system.keys("in-dlt")).toEqual(["a"]);
  expect(system.noted()).toBe(2);
  // Its sender gets the answer of the request that the key belongs to.
  expect(new Set(system.answers("a")).size).toBe(1);
  expect(system.answers("a")).toHaveLength(2);
});

test("a request is not refused for one that was never committed", async () => {
  const system = nodes(1);
  let faults = 1;
  const { node } = await system.node(50, (_number, { journal }) =>
    journal.some(({ key }) => key === "a") && faults-- > 0 ? "fail" : undefined,
  );
  // While one is committed, two come under one key: they are decided together, in the batch whose commit fails.
  await system.ask("another", { n: 1 });
  await system.clock.advance(10);
  // Who submits is told so, and never comes back.
  const submitted = node.submit("doubling", { n: 1 }, { key: "a" }).catch((error: unknown) => error);
  await system.ask("a", { n: 2 });
  await system.clock.runUntil(submitted, 60_000);
  expect(await submitted).toMatchObject({ code: "WW_STORE_UNAVAILABLE", retryable: true });
  expect(await system.answered("a")).toEqual([doubled(2)]);
  expect(system.keys("in-dlt")).toEqual([]);
});

test("what was committed and not noted is routed again by the next node, and answered as before", async () => {
  const system = nodes(1);
  const first = await system.node(5);
  await system.ask("a", { n: 1 });
  const [answer] = await system.answered("a");
  first.process.kill();
  expect(system.noted()).toBeUndefined();
  const second = await system.node(5);
  expect(await system.answered("a", 2)).toEqual([answer, answer]);
  expect(second.signals.filter(({ name }) => name === "attempt")).toEqual([]);
  await system.clock.advance(1000);
  expect(system.noted()).toBe(1);
});

test("a node that stops notes all that its shards have committed", async () => {
  const system = nodes(1);
  const first = await system.node(100);
  await system.ask("a", { n: 1 });
  await system.clock.advance(150);
  await system.clock.runUntil(first.node.stop(), 10_000);
  expect(system.noted()).toBe(1);
  await system.node(5);
  expect(await system.answered("a")).toEqual([doubled(1)]);
});

test("a node that stood still, and is given its shard again after another has had it, claims it anew", async () => {
  let made = 0;
  const system = new Nodes({
    shards: 1,
    hub: doubling,
    // The first attempt is lost.
    workers: () => [worker(work, (n) => (made++ === 0 ? new Promise<number>(() => {}) : n * 2))],
  });
  const first = await system.node(5);
  first.process.freeze();
  const second = await system.node(5);
  await system.clock.runUntil(second.node.submit("doubling", { n: 1 }, { key: "a" }), 10_000);
  second.process.kill();
  first.process.thaw();
  // Nothing comes that it could commit: its claim is of an earlier epoch, and nobody tells it.
  const answer = (): unknown => (system.disks[0] as MemoryStore).find(["a"])[0]?.answer?.answer;
  await system.clock.runUntil(() => answer() !== undefined, 60_000);
  // The lost attempt is made again, with its whole time: nobody worked on it while nobody had the shard.
  expect(answer()).toEqual({ kind: "result", value: 2 });
});
