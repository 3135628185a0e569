import { end, hub, spoke } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { readDeadLetter, replayDeadLetter, shardOf, type Channel } from "@wheelwork/engine/cluster";
import { expect, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";

const work = spoke("work", { input: z.number(), output: z.string(), timeoutMs: 1000 });
const padding = hub(
  "padding",
  {
    request: z.object({ size: z.number(), note: z.string().optional() }),
    reply: z.string(),
    deadlineMs: 10_000,
    chart: { Working: { Next: "Done", Late: "Done" }, Done: end },
    data: ({ size }) => ({ size, text: "" }),
  },
  {
    Working: (s) =>
      s.call(work, {
        input: ({ size }) => size,
        ok: (_data, text) => s.raise("Next", { text }),
        failed: "Late",
        deadline: "Late",
      }),
    Done: ({ text }) => text,
  },
);

const maxBytes = 1000;
const nodes = (channel?: Partial<Channel>): Nodes =>
  new Nodes({
    shards: 2,
    hub: padding,
    workers: () => [worker(work, (size) => "x".repeat(size))],
    maxBytes,
    ...(channel === undefined ? {} : { channel }),
  });

const keyOf = (shard: number): string => {
  for (let number = 0; ; number++) if (shardOf(`key-${number}`, 2) === shard) return `key-${number}`;
};

test("an answer that its topic will never take is published as a short error, once, and is stored whole", async () => {
  const system = nodes();
  const { node, signals } = await system.node(1);
  await system.ask("huge", { size: 5000 });
  await system.ask("small", { size: 3 });
  expect(await system.answered("small")).toEqual([
    expect.stringContaining('{"kind":"result","value":"xxx"}'),
  ]);
  expect(await system.answered("huge")).toEqual([
    expect.stringContaining('{"kind":"error","code":"WW_TOO_LARGE"'),
  ]);
  const stored = node.answer("huge");
  await system.clock.runUntil(stored, 10_000);
  expect(await stored).toEqual({ kind: "result", value: "x".repeat(5000) });
  await system.clock.advance(30_000);
  expect(system.answers("huge")).toHaveLength(1);
  expect(node.shards.map(({ unpublished }) => unpublished)).toEqual([0, 0]);
  expect(signals.filter(({ name }) => name === "answer-unpublishable")).toMatchObject([
    { key: "huge", topic: "out" },
  ]);
});

test("a channel whose code throws for an answer holds back neither that answer's shard nor the place in its journal", async () => {
  const system = nodes({
    answer: (answer) => {
      if (answer.kind === "result") throw new Error("it has no words for that");
      return { value: JSON.stringify(answer) };
    },
  });
  const { node, signals } = await system.node(1);
  await system.ask("odd", { size: 1 });
  expect(await system.answered("odd")).toEqual([expect.stringContaining("it has no words for that")]);
  await system.clock.advance(5000);
  expect(node.shards.map(({ unpublished }) => unpublished)).toEqual([0, 0]);
  expect(signals.filter(({ name }) => name === "answer-unpublishable")).toHaveLength(1);
});

test("a request that does not fit into the inbox of its shard is refused to its sender, and those behind it go on", async () => {
  const system = nodes();
  const members = [await system.node(1), await system.node(1)];
  await system.clock.advance(10_000);
  // One node reads the channel. What is for the other one's shard goes through the inbox, where it is longer.
  const note = "n".repeat(maxBytes - 60);
  for (const shard of [0, 1]) await system.ask(keyOf(shard), { size: 1, note });
  for (const shard of [0, 1]) await system.answered(keyOf(shard));
  const answers = [0, 1].map((shard) => system.answers(keyOf(shard)).join());
  expect(answers.filter((answer) => answer.includes('"kind":"result"'))).toHaveLength(1);
  expect(answers.filter((answer) => /"invalid-request".*WW_TOO_LARGE/.test(answer))).toHaveLength(1);
  await system.clock.advance(5000);
  expect(system.noted()).toBe(2);
  expect(members.flatMap(({ signals }) => signals).filter(({ name }) => name === "dead-letter")).toEqual([]);
});

test("a record that is too large with the headers of a dead letter gets a short letter, and is replayed whole", async () => {
  const system = nodes();
  const { signals } = await system.node(1);
  // It has no key, so that nobody could be answered.
  const value = "v".repeat(maxBytes - 30);
  await system.clock.runUntil(system.outside.append("in", { key: "", value }));
  await system.ask("next", { size: 2 });
  await system.answered("next");
  await system.clock.runUntil(() => system.broker.records("in-dlt").length > 0, 60_000);
  const [letter, ...others] = system.broker.records("in-dlt");
  if (letter === undefined) throw new Error("there is no letter");
  expect(others).toEqual([]);
  expect(readDeadLetter(letter)).toMatchObject({
    isShort: true,
    value: "",
    reason: expect.stringContaining("no key") as string,
    origin: { topic: "in", partition: 0, offset: 0 },
  });
  await system.clock.advance(5000);
  expect(system.noted()).toBe(2);
  expect(signals.filter(({ name }) => name === "dead-letter")).toHaveLength(1);
  await system.clock.runUntil(replayDeadLetter(system.outside, letter), 10_000);
  expect(system.broker.records("in").map((record) => record.value)).toEqual([
    value,
    expect.anything(),
    value,
  ]);
});

test("a request to another node that the inbox will never take is refused for good", async () => {
  const system = nodes();
  const [first] = [await system.node(1), await system.node(1)];
  await system.clock.advance(10_000);
  const owned = first.node.shards.map(({ shard }) => shard);
  const key = keyOf(owned.includes(0) ? 1 : 0);
  const submitted = first.node
    .submit("padding", { size: 1, note: "n".repeat(2000) }, { key })
    .catch((error: unknown) => error);
  await system.clock.runUntil(submitted, 10_000);
  expect(await submitted).toMatchObject({ code: "WW_TOO_LARGE", retryable: false });
});
