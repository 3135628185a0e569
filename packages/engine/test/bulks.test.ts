import { end, hub, stay } from "@wheelwork/core";
import type { BulkCommand, BulkHandle, BulkItem, BulkView, Engine } from "@wheelwork/engine";
import { createClient } from "@wheelwork/engine/cluster";
import { MemoryLog, type MemoryStore } from "@wheelwork/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";
import { World, type WorldOptions } from "./world.ts";

const faults = { broken: false };

/** Adds up signals. Throws at its end while `faults.broken`. A cancel goes through a state. */
const sums = hub(
  "sums",
  {
    request: z.object({}),
    reply: z.number(),
    deadlineMs: 3_600_000_000,
    signals: { add: z.number(), stop: z.null() },
    cancel: "Cancelled",
    chart: {
      Adding: { Added: stay, Stopped: "Done", Cancelled: "Done", Late: "Done" },
      Done: end,
    },
    data: () => ({ sum: 0 }),
  },
  {
    Adding: (s) =>
      s.wait({
        on: { add: ({ sum }, n) => s.raise("Added", { sum: sum + n }), stop: "Stopped" },
        deadline: "Late",
      }),
    Done: ({ sum }) => {
      if (faults.broken) throw new Error("the sum is broken");
      return sum;
    },
  },
);
/** Takes no signals. */
const deaf = hub(
  "deaf",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 3_600_000_000,
    cancel: end,
    chart: { Waiting: { Late: "Done" }, Done: end },
    data: () => ({}),
  },
  { Waiting: (s) => s.wait({ deadline: "Late" }), Done: () => ({}) },
);

async function begun(options: Partial<WorldOptions> = {}): Promise<World> {
  faults.broken = false;
  const world = await new World({ hubs: [sums, deaf], workers: () => [], ...options }).start();
  onTestFinished(() => world.close());
  return world;
}

const keysOf = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, index) => `k${String(from + index).padStart(6, "0")}`);

async function submitAll(engine: Engine, of: string, keys: readonly string[]): Promise<void> {
  await Promise.all(keys.map((key) => engine.submit(of, {}, { key })));
}

async function allItems(bulk: BulkHandle): Promise<BulkItem[]> {
  const found: BulkItem[] = [];
  let cursor: string | undefined;
  do {
    const page = await bulk.items({ limit: 1000, ...(cursor === undefined ? {} : { cursor }) });
    for (const { at: _, ...item } of page.items) found.push(item);
    if (page.cursor === cursor) break;
    cursor = page.cursor;
  } while (cursor !== undefined);
  return found;
}

async function finished(world: World, id: string): Promise<BulkView> {
  await world.ended(`bulk:${id}`);
  return world.engine.bulk(id).view();
}

test("a cancel of all that a filter means: previewed exactly, then each once, and none that came later", async () => {
  const world = await begun();
  const { engine, clock } = world;
  const meant = keysOf(1203);
  await submitAll(engine, "sums", meant);
  await submitAll(engine, "deaf", ["other"]);
  const preview = await engine.previewBulk({ kind: "cancel" }, { hub: "sums" });
  expect(preview).toMatchObject({ count: 1203, states: [{ hub: "sums", state: "Adding", count: 1203 }] });
  const options = { key: "clean up", by: "token:ann" };
  const { id, known } = await engine.startBulk({ kind: "cancel" }, { hub: "sums" }, options);
  expect({ id, known }).toEqual({ id: "clean up", known: false });
  await clock.advance(1);
  await submitAll(engine, "sums", ["later"]);
  const view = await finished(world, id);
  expect(view).toMatchObject({
    requestId: "bulk:clean up",
    command: { kind: "cancel" },
    filter: { hub: "sums", status: ["pending", "running"] },
    by: "token:ann",
    status: "done",
    matched: 1203,
    done: 1203,
    gone: 0,
    refused: {},
  });
  const items = await allItems(engine.bulk(id));
  expect(items.map((item) => item.id).toSorted()).toEqual(meant);
  expect(new Set(items.map(({ outcome }) => outcome))).toEqual(new Set(["done"]));
  expect(await engine.count({ status: "running" })).toBe(2);
  expect((await engine.request("later")).status).toBe("running");
  expect((await engine.bulks()).items).toEqual([view]);
  // Who gave it is known of each.
  const [newest] = (await engine.audit({ limit: 1 })).items;
  expect(newest).toMatchObject({ by: "token:ann", command: "cancel", hub: "sums" });
  // The same key is the same bulk, and cannot be another one.
  expect(await engine.startBulk({ kind: "cancel" }, { hub: "sums" }, options)).toEqual({ id, known: true });
  await expect(engine.startBulk({ kind: "cancel" }, { hub: "deaf" }, options)).rejects.toMatchObject({
    code: "WW_KEY_REUSED",
  });
  expect((await engine.request("other")).status).toBe("running");
});

test("each request has one outcome: done, refused with its code, or gone", async () => {
  const world = await begun();
  const { engine } = world;
  await submitAll(engine, "sums", ["a", "b"]);
  await submitAll(engine, "deaf", ["c"]);
  const add = await engine.startBulk({ kind: "signal", name: "add", payload: 5 }, { status: "running" });
  expect(await finished(world, add.id)).toMatchObject({
    done: 2,
    gone: 0,
    refused: { WW_SIGNAL_UNKNOWN: 1 },
  });
  const settled = await allItems(engine.bulk(add.id));
  expect(settled.toSorted((a, b) => (a.id < b.id ? -1 : 1))).toEqual([
    { id: "a", outcome: "done" },
    { id: "b", outcome: "done" },
    { id: "c", outcome: "refused", code: "WW_SIGNAL_UNKNOWN" },
  ]);
  // Incidents: one is retried, and parks again; both are resolved then.
  faults.broken = true;
  for (const key of ["a", "b"]) await engine.signal(key, "stop", null);
  await world.clock.runUntil(async () => (await engine.count({ status: "incident" })) === 2);
  const retry = await engine.startBulk({ kind: "retry" }, { hub: "sums" });
  expect(await finished(world, retry.id)).toMatchObject({ matched: 2, done: 2, refused: {} });
  expect(await engine.count({ status: "incident" })).toBe(2);
  const resolve = await engine.startBulk({ kind: "resolve", message: "given up" }, { hub: "sums" });
  expect(await finished(world, resolve.id)).toMatchObject({ matched: 2, done: 2, refused: {} });
  expect(await engine.answer("a")).toMatchObject({ code: "WW_INCIDENT", message: "given up" });
  expect(await engine.count({ status: "incident" })).toBe(0);
});

test("what ends between its page and its turn is gone, and a pause gives no more commands", async () => {
  const world = await begun();
  const { engine, clock } = world;
  await submitAll(engine, "sums", keysOf(100));
  const { id } = await engine.startBulk({ kind: "signal", name: "add", payload: 1 }, { hub: "sums" });
  const bulk = engine.bulk(id);
  await bulk.pause({ by: "token:ann" });
  await clock.advance(60_000);
  const paused = await bulk.view();
  expect(paused).toMatchObject({ status: "paused", matched: 100 });
  expect(paused.done).toBeLessThan(100);
  await clock.advance(60_000);
  expect((await bulk.view()).done).toBe(paused.done);
  const left = new Set(keysOf(100));
  for (const item of await allItems(bulk)) left.delete(item.id);
  const [first = ""] = left;
  await engine.cancel(first);
  await world.ended(first);
  await bulk.resume();
  expect(await finished(world, id)).toMatchObject({ status: "done", done: 99, gone: 1 });
  expect(await allItems(bulk)).toContainEqual({ id: first, outcome: "gone" });
});

test("a paused bulk is cancelled at once", async () => {
  const world = await begun();
  const { engine } = world;
  await submitAll(engine, "sums", keysOf(100));
  const { id } = await engine.startBulk({ kind: "signal", name: "add", payload: 1 }, { hub: "sums" });
  await engine.bulk(id).pause();
  await engine.bulk(id).cancel();
  const view = await finished(world, id);
  expect(view.status).toBe("cancelled");
  expect(await allItems(engine.bulk(id))).toHaveLength(view.done);
});

test("a cancelled bulk settles what is under way, and leaves the others alone", async () => {
  let commits = Number.NEGATIVE_INFINITY;
  const onCommit = (): undefined => {
    if (++commits === 20) void bulk.cancel();
  };
  const world = await begun({ faults: { faultAt: onCommit } });
  const { engine } = world;
  await submitAll(engine, "sums", keysOf(700));
  const bulk = engine.bulk("cancelled");
  commits = 0;
  const { id } = await engine.startBulk({ kind: "cancel" }, { hub: "sums" }, { key: bulk.id });
  const view = await finished(world, id);
  expect(view).toMatchObject({ status: "cancelled", matched: 700, isCancelled: true });
  expect(view.done).toBeLessThan(700);
  expect(await engine.count({ hub: "sums", status: "running" })).toBe(700 - view.done);
  expect(await allItems(bulk)).toHaveLength(view.done);
});

test("a bulk that cannot be meant is refused with every problem", async () => {
  const { engine } = await begun();
  const refused = (command: unknown, filter: object): Promise<unknown> =>
    engine.startBulk(command as { kind: "cancel" }, filter).catch((error: unknown) => error);
  expect(await refused({ kind: "cancel" }, {})).toMatchObject({ problems: [{ path: "filter" }] });
  expect(await refused({ kind: "stop" }, { hub: "sums" })).toMatchObject({ problems: [{ path: "command" }] });
  expect(await refused({ kind: "cancel" }, { status: "ended" })).toMatchObject({
    problems: [{ path: "filter.status" }],
  });
  expect(await refused({ kind: "retry" }, { status: "running", hub: 4 })).toMatchObject({
    problems: [{ path: "filter.hub" }, { path: "filter.status" }],
  });
  expect(await refused({ kind: "resolve" }, { hub: "sums" })).toMatchObject({
    problems: [{ path: "command.message" }],
  });
  expect(await refused({ kind: "signal", name: "no", payload: 1 }, { hub: "sums" })).toMatchObject({
    code: "WW_SIGNAL_UNKNOWN",
  });
  expect(await refused({ kind: "signal", name: "add", payload: "x" }, { hub: "sums" })).toMatchObject({
    code: "WW_INVALID_INPUT",
  });
  await expect(engine.submit("sums", {}, { key: "bulk:mine" })).rejects.toMatchObject({
    problems: [{ path: "key" }],
  });
  await expect(engine.bulk("none").view()).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
});

describe("over a crash at any commit", () => {
  const commands = {
    cancel: { kind: "cancel" },
    signal: { kind: "signal", name: "add", payload: 1 },
    retry: { kind: "retry" },
    resolve: { kind: "resolve", message: "given up" },
  } as const;
  const count = 7;

  test.each(Object.entries(commands))(
    "each request gets one %s, and has one outcome",
    async (kind, command) => {
      let isReached = true;
      let at = 0;
      for (; isReached; at++) {
        for (const fault of ["crash-before", "crash-after"] as const) {
          isReached = false;
          let isArmed = false;
          let armedAt = 0;
          const world = await begun();
          const { engine } = world;
          const keys = keysOf(count);
          await submitAll(engine, "sums", keys);
          if (kind === "retry" || kind === "resolve") {
            faults.broken = true;
            for (const key of keys) await engine.signal(key, "stop", null);
            await world.clock.runUntil(async () => (await engine.count({ status: "incident" })) === count);
            faults.broken = kind === "resolve";
          }
          const crashing = {
            faultAt: (number: number) => {
              if (!isArmed) return undefined;
              armedAt ||= number;
              if (number - armedAt !== at || world.crashes > 1) return undefined;
              isReached = true;
              return fault;
            },
          };
          await world.restart(0, crashing);
          isArmed = true;
          const send = (): Promise<unknown> =>
            world.engine.startBulk(command, { hub: "sums" }, { key: "one" });
          const isDone = async (): Promise<boolean> =>
            (
              await world.engine
                .bulk("one")
                .view()
                .catch(() => undefined)
            )?.status === "done";
          // A crash leaves it open for ever.
          void send();
          await world.clock.runUntil(async () => world.crashes > 1 || (await isDone()), 1e6);
          isArmed = false;
          if (world.crashes > 1) {
            await world.restart();
            await send();
          }
          const view = await finished(world, "one");
          expect(view, `${fault} at ${at}`).toMatchObject({
            matched: count,
            done: count,
            gone: 0,
            refused: {},
          });
          const items = await allItems(world.engine.bulk("one"));
          expect(items.map(({ id }) => id).toSorted()).toEqual(keys);
          for (const key of keys) {
            const types = (await world.engine.history(key)).map(({ type }) => type);
            const once = { cancel: "cancelling", signal: "signalled", retry: "resumed", resolve: "ended" };
            expect(types.filter((type) => type === once[kind as keyof typeof once])).toHaveLength(1);
          }
          world.close();
        }
      }
      expect(at).toBeGreaterThan(4);
    },
  );
});

test("in a cluster a client's bulk reaches the requests of all shards, and outlives the death of nodes", async () => {
  faults.broken = false;
  const nodes = new Nodes({ shards: 3, hub: sums, workers: () => [] });
  let first = await nodes.node(1);
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, 600_000);
    return promise;
  };
  const client = createClient({
    hubs: [sums],
    shards: 3,
    store: (shard) => (nodes.disks[shard] as MemoryStore).reopen(),
    log: new MemoryLog(nodes.broker, { clock: nodes.clock }),
    clock: nodes.clock,
  });
  await soon(client.start());
  const keys = keysOf(150);
  for (const key of keys) await soon(client.submit("sums", {}, { key }));
  await nodes.clock.advance(10);
  expect((await soon(client.previewBulk({ kind: "cancel" }, { hub: "sums" }))).count).toBe(150);
  const { id } = await soon(
    client.startBulk({ kind: "cancel" }, { hub: "sums" }, { key: "x", by: "token:ann" }),
  );
  await nodes.clock.runUntil(async () => (await client.bulk(id).view()).done > 20, 600_000);
  first.process.kill();
  await nodes.clock.advance(100);
  first = await nodes.node(1);
  await nodes.clock.runUntil(async () => (await client.bulk(id).view()).status === "done", 3_600_000);
  expect(await soon(client.bulk(id).view())).toMatchObject({ matched: 150, done: 150, gone: 0, refused: {} });
  const items = await soon(allItems(client.bulk(id)));
  expect(items.map((item) => item.id).toSorted()).toEqual(keys);
  for (const key of keys) {
    const types = (await soon(client.history(key))).map(({ type }) => type);
    expect(types.filter((type) => type === "cancelling")).toHaveLength(1);
  }
});

test("a bulk reaches requests that other nodes work on, and knows what came of each command", async () => {
  faults.broken = true;
  const nodes = new Nodes({ shards: 4, hub: sums, workers: () => [], logMs: 5 });
  const { node } = await nodes.node(1);
  const second = await nodes.node(1);
  await nodes.clock.advance(10_000);
  expect(second.node.shards).toHaveLength(2);
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, 600_000);
    return promise;
  };
  const keys = keysOf(40);
  for (const key of keys) await soon(node.submit("sums", {}, { key }));
  const given = async (command: BulkCommand) => {
    const { id } = await soon(node.startBulk(command, { hub: "sums" }));
    for (;;) {
      const { status, matched, done, gone, refused } = await soon(node.bulk(id).view());
      if (status === "done") return { matched, done, gone, refused };
      await nodes.clock.advance(100);
    }
  };
  const all = { matched: 40, done: 40, gone: 0, refused: {} };
  expect(await given({ kind: "signal", name: "add", payload: 2 })).toEqual(all);
  for (const key of keys) expect((await soon(node.request(key))).data).toEqual({ sum: 2 });
  expect(await given({ kind: "signal", name: "stop", payload: null })).toEqual(all);
  await nodes.clock.advance(1000);
  expect(await soon(node.count({ status: "incident" }))).toBe(40);
  expect(await given({ kind: "retry" })).toEqual(all);
  await nodes.clock.advance(1000);
  expect(await given({ kind: "resolve", message: "given up" })).toEqual(all);
  for (const key of keys) expect(await soon(node.answer(key))).toMatchObject({ code: "WW_INCIDENT" });
});
