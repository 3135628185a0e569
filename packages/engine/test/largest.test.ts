import { end, hub, spoke } from "@wheelwork/core";
import { worker, type Engine, type RequestsOptions } from "@wheelwork/engine";
import { createClient } from "@wheelwork/engine/cluster";
import {
  FaultyStore,
  MemoryLog,
  seededRandom,
  type MemoryStore,
  type SeededRandom,
} from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";
import { World, type WorldOptions } from "./world.ts";

/** Lists by duration and by attempts: each request once, the largest value first, and of equal ones the newest. */

const failing = spoke("failing", {
  input: z.object({}),
  output: z.object({}),
  errors: ["busy"],
  timeoutMs: 1000,
  retry: { attempts: 50, backoffMs: 1000, maxBackoffMs: 1000 },
});

const lasting = hub(
  "lasting",
  {
    request: z.object({ kind: z.string() }),
    reply: z.null(),
    deadlineMs: 3_600_000,
    signals: { stop: z.null() },
    labels: ({ kind }) => ({ kind }),
    chart: {
      Deciding: { Fail: "Failing", Wait: "Waiting", Now: "Done" },
      Failing: { Over: "Done" },
      Waiting: { Stop: "Done" },
      Done: end,
    },
    data: ({ kind }) => ({ kind }),
  },
  {
    Deciding: (s) => s.pick(({ kind }) => (kind === "fail" ? "Fail" : kind === "now" ? "Now" : "Wait")),
    Failing: (s) => s.call(failing, { input: () => ({}), settled: "Over", deadline: "Over" }),
    Waiting: (s) => s.wait({ on: { stop: "Stop" }, deadline: "Stop" }),
    Done: () => null,
  },
);

const workers = () => [worker(failing, (_input, ctx) => ctx.fail("busy", "try again"))];

async function allOf(engine: Engine, options: RequestsOptions): Promise<RequestPageItem[]> {
  const items: RequestPageItem[] = [];
  let cursor: string | undefined;
  do {
    const page = await engine.requests({ ...options, ...(cursor === undefined ? {} : { cursor }) });
    expect(page.items.length).toBeLessThanOrEqual(options.limit ?? 50);
    items.push(...page.items);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return items;
}
type RequestPageItem = Awaited<ReturnType<Engine["requests"]>>["items"][number];

const durationOf = ({ createdAt, answeredAt = createdAt }: RequestPageItem): number => answeredAt - createdAt;

/** The same by sorting all of them. */
async function sorted(
  engine: Engine,
  filter: RequestsOptions,
  valueOf: (item: RequestPageItem) => Promise<number | undefined>,
) {
  const all = await allOf(engine, { ...filter, limit: 1000 });
  const valued = await Promise.all(all.map(async (item) => ({ item, value: await valueOf(item) })));
  return valued
    .filter(({ value }) => value !== undefined)
    .toSorted((a, b) => Number(b.value) - Number(a.value))
    .map(({ item }) => item.id);
}

async function check(engine: Engine, random: SeededRandom): Promise<void> {
  for (const filter of [
    {},
    { labels: { kind: "wait" } },
    { durationMs: { min: 7, max: 1500 } },
    { status: "ended" as const },
  ]) {
    const limit = 1 + random.int(40);
    const expected = await sorted(engine, filter, async (item) =>
      item.answeredAt === undefined ? undefined : durationOf(item),
    );
    const found = await allOf(engine, { ...filter, order: "duration", limit });
    expect(
      found.map(({ id }) => id),
      JSON.stringify({ filter, limit }),
    ).toEqual(expected);
  }
  for (const filter of [{}, { attempts: { min: 2, max: 4 } }]) {
    const expected = await sorted(engine, filter, async ({ id }) => {
      const { openCalls = [], status } = await engine.request(id);
      return status === "running" && openCalls.length > 0
        ? Math.max(...openCalls.map(({ attempt }) => attempt))
        : undefined;
    });
    const found = await allOf(engine, { ...filter, order: "attempts", limit: 1 + random.int(40) });
    expect(found.map(({ id }) => id)).toEqual(expected);
    expect(found.length).toBeGreaterThan(0);
  }
}

const stores: Partial<WorldOptions>[] = [
  {},
  { store: "sqlite", limits: { checkpointEvents: 20, horizonMs: 1 } },
  { limits: { checkpointEvents: 20 }, faults: { later: true } },
];

test.each(stores)("embedded (%o)", async (options) => {
  const w = new World({ hubs: [lasting], workers, ...options });
  onTestFinished(() => w.close());
  await w.start();
  const random = seededRandom(7);
  const waiting: string[] = [];
  for (let n = 0; n < 120; n++) {
    const kind = random.pick(["fail", "now", "wait", "wait"]);
    const { id } = await w.engine.submit(lasting, { kind });
    if (kind === "wait") waiting.push(id);
    await w.clock.advance(random.pick([0, 0, 1, 5, 100, 1000]));
    if (random.chance(0.4) && waiting.length > 0)
      await w.engine.signal(waiting.splice(random.int(waiting.length), 1)[0] as string, "stop", null);
  }
  await check(w.engine, random);
  for (const [given, path] of [
    [{ order: "duration", cursor: "x" }, "cursor"],
    [{ order: "size" as never }, "order"],
    [{ order: "attempts", limit: 0 }, "limit"],
  ] as const)
    await expect(w.engine.requests(given)).rejects.toMatchObject({
      code: "WW_INVALID_REQUEST",
      problems: [{ path }],
    });
  await expect(w.engine.search({ text: "x", order: "duration" })).rejects.toMatchObject({
    problems: [{ path: "order" }],
  });
});

test("more than can be sorted, all alike", async () => {
  const w = new World({ hubs: [lasting], workers, store: "sqlite" });
  onTestFinished(() => w.close());
  await w.start();
  for (let n = 0; n < 1300; n += 100)
    await Promise.all(Array.from({ length: 100 }, () => w.engine.submit(lasting, { kind: "now" })));
  const { id } = await w.engine.submit(lasting, { kind: "wait" });
  await w.clock.advance(90_000);
  await w.engine.signal(id, "stop", null);
  await w.clock.settle();
  const all = await allOf(w.engine, { order: "duration", limit: 500 });
  expect(all[0]?.id).toBe(id);
  expect(new Set(all.map((item) => item.id)).size).toBe(1301);
  const newest = await allOf(w.engine, { labels: { kind: "now" }, limit: 1000 });
  expect(all.slice(1)).toEqual(newest);
});

test("in a cluster", async () => {
  const nodes = new Nodes({ shards: 2, hub: lasting, workers, options: { hubs: [lasting] } });
  const { clock } = nodes;
  await nodes.node(1);
  const client = createClient({
    hubs: [lasting],
    shards: 2,
    store: (shard) => new FaultyStore((nodes.disks[shard] as MemoryStore).reopen()),
    log: new MemoryLog(nodes.broker, { clock }),
    clock,
  });
  await clock.runUntil(client.start());
  const random = seededRandom(3);
  for (let n = 0; n < 40; n++) {
    const kind = random.pick(["fail", "now", "wait"]);
    const { id } = await clock
      .runUntil(client.submit(lasting, { kind }, { key: `k${n}` }), 60_000)
      .then(() => ({ id: `k${n}` }));
    await clock.advance(random.pick([0, 1, 100, 1000]));
    if (kind === "wait") await clock.runUntil(client.signal(id, "stop", null), 60_000);
  }
  await clock.advance(1000);
  let isChecked = false;
  const checked = check(client, random).then(() => (isChecked = true));
  await clock.runUntil(checked, 60_000);
  expect(isChecked).toBe(true);
});
