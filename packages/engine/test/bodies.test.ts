import { end, hub, type Schema } from "@wheelwork/core";
import { createEngine, type Submitted } from "@wheelwork/engine";
import { shardOf } from "@wheelwork/engine/cluster";
import { inboxMessage } from "@wheelwork/engine/parts";
import { MemoryStore } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";

/** What the hub's schema is at the moment: each test sets it, as an upgrade does. */
let schema: Schema = z.unknown();
let runs = 0;

const order = hub(
  "order",
  {
    request: {
      "~standard": { version: 1, vendor: "test", validate: (given) => schema["~standard"].validate(given) },
    } as Schema<unknown, object>,
    reply: z.object({ run: z.number(), request: z.unknown() }),
    deadlineMs: 5000,
    chart: { Taking: { Next: "Done" }, Done: end },
    data: (request) => ({ request, run: ++runs }),
  },
  { Taking: "Next", Done: ({ run, request }) => ({ run, request }) },
);

const plainOrder = z.object({ sku: z.string() });
const randomId = plainOrder.extend({ id: z.string().default(() => crypto.randomUUID()) });
/** A body, the schema when it came first, and the schema when it came again. */
const upgrades: readonly (readonly [string, unknown, Schema, Schema])[] = [
  ["nothing has changed", { sku: "lamp" }, plainOrder, plainOrder],
  [
    "a default was added",
    { sku: "lamp" },
    plainOrder,
    plainOrder.extend({ priority: z.string().default("low") }),
  ],
  ["a field is trimmed", { sku: "lamp " }, plainOrder, z.object({ sku: z.string().trim() })],
  ["a field is no longer trimmed", { sku: "lamp " }, z.object({ sku: z.string().trim() }), plainOrder],
  ["unknown fields are refused", { sku: "lamp", x: 1 }, plainOrder, z.strictObject({ sku: z.string() })],
  ["a field is bounded", { sku: "lamp" }, plainOrder, z.object({ sku: z.string().min(10) })],
  [
    "the schema throws",
    { sku: "lamp" },
    plainOrder,
    plainOrder.transform(() => {
      throw new Error("broken");
    }),
  ],
  ["the schema makes an id", { sku: "lamp" }, randomId, randomId],
];

test.each(upgrades)("the same body under its key has its answer: %s", async (_what, body, before, after) => {
  const disk = new MemoryStore();
  schema = before;
  let engine = createEngine({ store: disk, hubs: [order], workers: [] });
  await engine.start();
  const first = await engine.call(order, body, { key: "k" });
  await engine.stop();
  schema = after;
  engine = createEngine({ store: disk.reopen(), hubs: [order], workers: [] });
  await engine.start();
  onTestFinished(() => engine.stop());
  expect(await engine.submit(order, body, { key: "k" })).toEqual({ id: "k", known: true });
  expect(await engine.call(order, body, { key: "k" })).toEqual(first);
  const other = { sku: "a lamp of another kind" };
  await expect(engine.submit(order, other, { key: "k" })).rejects.toMatchObject({ code: "WW_KEY_REUSED" });
});

test("a body that is not valid is refused under a new key, and has no right to the answer of another body", async () => {
  schema = plainOrder;
  const engine = createEngine({ store: new MemoryStore(), hubs: [order], workers: [] });
  await engine.start();
  onTestFinished(() => engine.stop());
  const bad = [{ sku: 1 }, { sku: Number.NaN }, new Map(), undefined, { sku: 1n }];
  for (const body of bad)
    await expect(engine.submit(order, body, { key: "k" })).rejects.toMatchObject({
      code: "WW_INVALID_REQUEST",
    });
  const { id } = await engine.submit(order, { sku: "lamp" });
  await engine.call(order, { sku: "lamp" }, { key: "k" });
  for (const body of bad) {
    await expect(engine.submit(order, body, { key: "k" })).rejects.toMatchObject({ code: "WW_KEY_REUSED" });
    // The engine has made this key, and kept no hash.
    await expect(engine.submit(order, body, { key: id })).rejects.toMatchObject({ code: "WW_KEY_REUSED" });
  }
});

test("a request that an earlier version stored, with the hash of what the schema had made, is found by its body", async () => {
  const disk = new MemoryStore();
  // What was made of the body was hashed: that is what this body has as its own hash.
  schema = plainOrder;
  let engine = createEngine({ store: disk, hubs: [order], workers: [] });
  await engine.start();
  const first = await engine.call(order, { sku: "lamp" }, { key: "k" });
  await engine.stop();
  schema = z.object({ sku: z.string().trim() });
  engine = createEngine({ store: disk.reopen(), hubs: [order], workers: [] });
  await engine.start();
  onTestFinished(() => engine.stop());
  expect(await engine.call(order, { sku: " lamp " }, { key: "k" })).toEqual(first);
});

test("a body that a schema makes JSON of, such as a date, is the same when it comes again", async () => {
  schema = z.object({ at: z.date().transform((at) => at.toISOString()) });
  const engine = createEngine({ store: new MemoryStore(), hubs: [order], workers: [] });
  await engine.start();
  onTestFinished(() => engine.stop());
  const sent = (ms: number) => engine.call(order, { at: new Date(ms) }, { key: "k" });
  const first = await sent(1);
  expect(await sent(1)).toEqual(first);
  await expect(sent(2)).rejects.toMatchObject({ code: "WW_KEY_REUSED" });
});

test.each(upgrades)(
  "the same holds for channels, inboxes and nodes that do not own the shard: %s",
  async (_what, body, before, after) => {
    const system = new Nodes({ shards: 2, hub: order, workers: () => [] });
    schema = before;
    // One of the two does not own the shard of a key.
    const members = [await system.node(1), await system.node(1)];
    await system.ask("channel", body as object);
    const [first] = await system.answered("channel");
    const { clock } = system;
    const submit = async (key: string) => {
      const said: Submitted[] = [];
      for (const { node } of members) {
        const submitted = node.submit(order, body, { key }).then((one) => said.push(one));
        await clock.runUntil(submitted, 10_000);
      }
      return said;
    };
    await submit("called");
    schema = after;
    await system.ask("channel", body as object);
    expect(await system.answered("channel", 2)).toEqual([first, first]);
    const entry = { type: "request", hub: "order", request: body, replyTo: "test" } as const;
    await clock.runUntil(
      system.outside.append("wheelwork-inbox", inboxMessage("channel", entry), shardOf("channel", 2)),
    );
    expect(await system.answered("channel", 3)).toEqual([first, first, first]);
    for (const id of ["called", "channel"]) {
      const again = { id, known: true };
      expect(await submit(id)).toEqual([again, again]);
    }
    expect(system.broker.records("in-dlt")).toEqual([]);
    expect(system.broker.records("wheelwork-inbox-dlt")).toEqual([]);
  },
);

test("a request that its schema refuses has one answer, also if it comes again once the schema takes it", async () => {
  const system = new Nodes({ shards: 1, hub: order, workers: () => [] });
  schema = z.object({ sku: z.string().min(10) });
  await system.node(1);
  await system.ask("k", { sku: "lamp" });
  const [first] = await system.answered("k");
  expect(first).toContain("invalid request: sku");
  schema = plainOrder;
  await system.ask("k", { sku: "lamp" });
  expect(await system.answered("k", 2)).toEqual([first, first]);
  expect(system.broker.records("in-dlt")).toEqual([]);
});
