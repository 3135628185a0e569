import { end, hub, spoke, stay, WheelworkError } from "@wheelwork/core";
import {
  worker,
  type Engine,
  type EventsOptions,
  type EventsPage,
  type Store,
  type ToldEvent,
} from "@wheelwork/engine";
import { createClient, shardOf } from "@wheelwork/engine/cluster";
import { sound } from "@wheelwork/engine/stores";
import { FaultyStore, MemoryLog, MemoryStore, seededRandom, type SimulatedClock } from "@wheelwork/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes, type Member } from "./nodes.ts";
import { World, type WorldOptions } from "./world.ts";

/** Whoever reads events gets each one that is committed, once, in the order of the journal, whatever happens meanwhile (I38). */

const pauseSpoke = spoke("pause", { input: z.object({}), output: z.object({}), timeoutMs: 600_000 });

const inner = hub(
  "inner",
  {
    request: z.object({}),
    reply: z.null(),
    deadlineMs: 600_000,
    chart: { Pausing: { Over: "Done" }, Done: end },
    data: () => ({}),
  },
  {
    Pausing: (s) => s.call(pauseSpoke, { input: () => ({}), settled: "Over", deadline: "Over" }),
    Done: () => null,
  },
);

/** Takes signals, then calls another hub. */
const counter = hub(
  "counter",
  {
    request: z.object({ tenant: z.string().optional(), note: z.string().optional() }),
    reply: z.number(),
    deadlineMs: 3_600_000,
    signals: { add: z.object({ by: z.number() }), stop: z.null() },
    labels: ({ tenant }) => ({ tenant }),
    chart: {
      Counting: { Added: stay, Stopped: "Calling", Late: "Sum" },
      Calling: { Called: "Sum" },
      Sum: end,
    },
    data: () => ({ sum: 0 }),
  },
  {
    Counting: (s) =>
      s.wait({
        on: { add: ({ sum }, { by }) => s.raise("Added", { sum: sum + by }), stop: "Stopped" },
        deadline: "Late",
      }),
    Calling: (s) => s.call(inner, { input: () => ({}), settled: "Called", deadline: "Called" }),
    Sum: ({ sum }) => sum,
  },
);

const world = (options: Partial<WorldOptions> = {}): World => {
  const made = new World({
    hubs: [counter, inner],
    workers: (sleep) => [worker(pauseSpoke, () => sleep(100).then(() => ({})))],
    ...options,
  });
  onTestFinished(() => made.close());
  return made;
};

/** Reads events until somebody ends it. */
class Reader {
  readonly events: ToldEvent[] = [];
  position: string | undefined;
  error: unknown = undefined;
  readonly done: Promise<void>;
  readonly #leave = new AbortController();

  constructor(
    engine: Engine,
    options: EventsOptions = {},
    onPage: (page: EventsPage) => Promise<void> | void = () => {},
  ) {
    this.position = options.after;
    this.done = this.#read(engine, options, onPage).catch((error: unknown) => void (this.error = error));
  }

  async #read(
    engine: Engine,
    options: EventsOptions,
    onPage: (page: EventsPage) => Promise<void> | void,
  ): Promise<void> {
    for await (const page of engine.events({ ...options, signal: this.#leave.signal })) {
      this.events.push(...page.events);
      this.position = page.position;
      await onPage(page);
    }
  }

  leave(): void {
    this.#leave.abort();
  }
}

const textOf = ({ id, event }: Pick<ToldEvent, "id" | "event">): string => JSON.stringify([id, event]);

/** All that a store has, in its order. */
async function journalOf(store: Store): Promise<string[]> {
  const texts: string[] = [];
  for await (const batch of store.journal(0))
    for (const { key, events } of sound(batch).entries)
      texts.push(...events.map((event) => textOf({ id: key, event })));
  return texts;
}

const startOf = async (clock: SimulatedClock, engine: Engine): Promise<string> => {
  const reader = new Reader(engine);
  await clock.runUntil(() => reader.position !== undefined);
  reader.leave();
  await clock.runUntil(reader.done);
  return reader.position as string;
};

const stores: Partial<WorldOptions>[] = [
  {},
  { store: "sqlite" },
  { limits: { checkpointEvents: 5, checkpointRuns: 2, horizonMs: 1 }, faults: { later: true } },
  { store: "sqlite", limits: { checkpointEvents: 5, horizonMs: 1 } },
];

test.each(stores)("readers that come and go, over kills, get each event once (%o)", async (options) => {
  for (const seed of [1, 2, 3, 4]) {
    const random = seededRandom(seed);
    const w = await world(options).start();
    const start = await startOf(w.clock, w.engine);
    const readers = Array.from({ length: 4 }, () => ({
      seen: [] as string[],
      after: start,
      now: undefined as Reader | undefined,
    }));
    const leave = async (of: (typeof readers)[number]): Promise<void> => {
      const reader = of.now;
      of.now = undefined;
      reader?.leave();
      await w.clock.runUntil(Promise.race([reader?.done, Promise.resolve()]));
      if (reader === undefined) return;
      // It may have seen any part of what it was told.
      const count = random.int(reader.events.length + 1);
      const seen = random.chance(0.5) ? reader.events : reader.events.slice(0, count);
      of.seen.push(...seen.map(textOf));
      of.after = (seen === reader.events ? reader.position : seen.at(-1)?.position) ?? of.after;
    };
    const ids: string[] = [];
    for (let step = 0; step < 60; step++) {
      for (const reader of readers)
        if (random.chance(0.2))
          if (reader.now === undefined) reader.now = new Reader(w.engine, { after: reader.after });
          else await leave(reader);
      if (random.chance(0.3))
        ids.push((await w.engine.submit(counter, { tenant: random.pick(["a", "b"]) })).id);
      const batch = Array.from({ length: random.int(4) }, async () =>
        ids.length === 0 ? undefined : w.engine.signal(random.pick(ids), "add", { by: 1 }),
      );
      if (ids.length > 0 && random.chance(0.2)) batch.push(w.engine.signal(random.pick(ids), "stop", null));
      await Promise.all(batch);
      if (random.chance(0.5)) await w.clock.advance(random.int(200));
      if (!random.chance(0.07)) continue;
      for (const reader of readers) await leave(reader);
      await w.restart(random.int(100));
    }
    const last = await w.clock.runUntil(w.engine.stats()).then(() => journalOf(w.store.inner));
    for (const reader of readers) {
      reader.now ??= new Reader(w.engine, { after: reader.after });
      const { now } = reader;
      await w.clock.runUntil(() => reader.seen.length + now.events.length >= last.length, 60_000);
      expect(now.error, `seed ${seed}`).toBeUndefined();
      expect([...reader.seen, ...now.events.map(textOf)].slice(0, last.length), `seed ${seed}`).toEqual(last);
      for (const { hub: name, id, labels } of now.events) {
        expect([name, id], `seed ${seed}`).toEqual([id.includes("/") ? "inner" : "counter", id]);
        expect(labels === undefined, `seed ${seed}`).toBe(name === "inner");
      }
    }
    w.close();
  }
});

test("a filter tells what it means, and no more", async () => {
  const w = await world().start();
  const { engine, clock } = w;
  const after = await startOf(clock, engine);
  const [one, other] = [
    (await engine.submit(counter, { tenant: "a" }, { key: "one" })).id,
    (await engine.submit(counter, { tenant: "b" }, { key: "on" })).id,
  ];
  for (const id of [one, other]) {
    await engine.signal(id, "add", { by: 1 });
    await engine.signal(id, "stop", null);
    await w.ended(id);
  }
  const told = async (filter: EventsOptions): Promise<string[]> => {
    const reader = new Reader(engine, { after, ...filter });
    await clock.advance(100);
    reader.leave();
    await clock.runUntil(reader.done);
    expect(reader.error).toBeUndefined();
    return reader.events.map(
      ({ id, event }) => `${id} ${event.type === "entered" ? event.state : event.type}`,
    );
  };
  expect(await told({ type: ["started", "ended"], request: "one" })).toEqual([
    "one started",
    "one/0 started",
    "one/0 ended",
    "one ended",
  ]);
  expect(await told({ labels: { tenant: "b" }, type: "signalled" })).toEqual([
    "on signalled",
    "on signalled",
  ]);
  expect(await told({ state: ["Calling", "Pausing"] })).toEqual([
    "one Calling",
    "one/0 Pausing",
    "on Calling",
    "on/0 Pausing",
  ]);
  expect(await told({ hub: "inner", type: ["ended"] })).toEqual(["one/0 ended", "on/0 ended"]);
  expect(await told({ labels: { region: "x" } })).toEqual([]);
  for (const [filter, path] of [
    [{ type: "began" as never }, "type"],
    [{ request: "" }, "request"],
    [{ after: "x" }, "after"],
  ] as const) {
    const reader = new Reader(engine, filter);
    await clock.runUntil(reader.done);
    expect(reader.error).toMatchObject({ code: "WW_INVALID_REQUEST", problems: [{ path }] });
  }
});

const refusal = async (clock: SimulatedClock, engine: Engine, after: string): Promise<unknown> => {
  const reader = new Reader(engine, { after });
  await clock.advance(1000);
  reader.leave();
  await clock.runUntil(reader.done);
  return (reader.error as WheelworkError | undefined)?.code;
};

test.each(["memory", "sqlite"] as const)(
  "a position that is not kept is refused, and never passed over (%s)",
  async (store) => {
    const w = await world({
      store,
      retentionMs: 60_000,
      limits: { checkpointEvents: 5, horizonMs: 1 },
    }).start();
    const { engine, clock } = w;
    const start = await startOf(clock, engine);
    for (let n = 0; n < 20; n++) {
      const { id } = await engine.submit(counter, {});
      await engine.signal(id, "stop", null);
      await w.ended(id);
    }
    const end = await startOf(clock, engine);
    expect(await refusal(clock, engine, start)).toBeUndefined();
    await clock.advance(10 * 60_000);
    await engine.submit(counter, {});
    await clock.advance(4_000_000);
    expect(await refusal(clock, engine, start)).toBe("WW_EVENTS_GONE");
    // Of a store that has lost what came later, of one with more shards, and of another store.
    const [seq = "", mark = ""] = end.split(".");
    expect(await refusal(clock, engine, `zzzzz.${mark}`)).toBe("WW_EVENTS_GONE");
    expect(await refusal(clock, engine, `${end}-${end}`)).toBe("WW_EVENTS_GONE");
    const now = await startOf(clock, engine);
    expect(await refusal(clock, engine, now)).toBeUndefined();
    const other = await world({ store }).start();
    for (let n = 0; n < 100; n++) await other.engine.submit(counter, {});
    for (let n = 0; n < 100; n++) await other.engine.submit(counter, {});
    expect(await refusal(other.clock, other.engine, `${seq}.${mark}`)).toBe("WW_EVENTS_GONE");
  },
);

test("a reader that is slow is told all of it, and holds nothing up", async () => {
  const w = await world({ limits: { checkpointEvents: 50 } }).start();
  const { engine, clock } = w;
  const process = clock.process();
  const slow = new Reader(engine, {}, () => process.sleep(500));
  await clock.advance(1000);
  const { id } = await engine.submit(counter, {});
  for (let n = 0; n < 3000; n++) await engine.signal(id, "add", { by: 1 });
  await clock.runUntil(() => slow.events.length >= 3002, 1e6);
  expect(slow.events.map(textOf)).toEqual((await journalOf(w.store.inner)).slice(0, 3002));
});

test("a page has so many bytes, so that a reader costs little memory", async () => {
  const w = await world().start();
  const { engine, clock } = w;
  const after = await startOf(clock, engine);
  for (let n = 0; n < 50; n++)
    await engine.submit(counter, { tenant: "a".repeat(200), note: "n".repeat(100_000) });
  const sizes: number[] = [];
  const reader = new Reader(
    engine,
    { after },
    ({ events }) => void sizes.push(JSON.stringify(events).length),
  );
  await clock.runUntil(() => reader.events.length === 100, 60_000);
  expect(Math.max(...sizes)).toBeLessThan(800_000);
  expect(sizes.length).toBeGreaterThan(8);
});

test("it goes on though the store cannot be read for a while, and ends with the engine", async () => {
  let fails = false;
  const w = await world({ faults: { readFails: () => fails, later: true } }).start();
  const { engine, clock } = w;
  const reader = new Reader(engine);
  await clock.advance(100);
  const { id } = await engine.submit(counter, {});
  fails = true;
  await engine.signal(id, "add", { by: 1 });
  await clock.advance(2000);
  fails = false;
  await engine.signal(id, "stop", null);
  await clock.advance(2000);
  expect(reader.events.map(textOf)).toEqual(await journalOf(w.store.inner));
  fails = true;
  const refused = new Reader(engine);
  await clock.advance(100);
  expect(refused.error).toMatchObject({ retryable: true });
  fails = false;
  await engine.stop({ drainMs: 0 });
  await clock.advance(1000);
  expect(reader.error).toMatchObject({ code: "WW_STOPPING" });
});

test("nobody who listens costs nothing, and a hundred who wait cost as much as one", async () => {
  let reads = 0;
  const w = await world({ faults: { readFails: () => reads++ < 0 } }).start();
  const { engine, clock } = w;
  const { id } = await engine.submit(counter, {});
  const readers = Array.from({ length: 100 }, () => new Reader(engine));
  await clock.advance(1000);
  await engine.signal(id, "add", { by: 1 });
  await clock.advance(1000);
  reads = 0;
  await clock.advance(10_000);
  // One look each 20 ms.
  expect(reads).toBeLessThan(510);
  expect(readers.every(({ events }) => events.length === 1)).toBe(true);
  for (const reader of readers) reader.leave();
  await clock.runUntil(Promise.all(readers.map(({ done }) => done)));
  reads = 0;
  await clock.advance(10_000);
  expect(reads).toBe(0);
});

describe("cluster", () => {
  test.each([
    [{}, 1],
    [{ checkpointEvents: 3, checkpointRuns: 2, horizonMs: 1 }, 30],
  ] as const)(
    "nodes and clients tell the same, over a death and a take-over (%o, %i ms)",
    async (limits, commitMs) => {
      const nodes = new Nodes({
        shards: 2,
        hub: counter,
        workers: (process) => [worker(pauseSpoke, () => process.sleep(100).then(() => ({})))],
        options: { hubs: [counter, inner], limits },
      });
      const { clock } = nodes;
      const members = [await nodes.node(commitMs), await nodes.node(commitMs)];
      await clock.runUntil(() => members.every(({ node }) => node.shards.length === 1), 60_000);
      const client = createClient({
        hubs: [counter, inner],
        shards: 2,
        store: (shard) => new FaultyStore((nodes.disks[shard] as MemoryStore).reopen()),
        log: new MemoryLog(nodes.broker, { clock }),
        clock,
      });
      await clock.runUntil(client.start());
      const after = await startOf(clock, client);
      const [dying, living] = members as [Member, Member];
      const readers = [dying.node, living.node, client].map((engine) => new Reader(engine, { after }));
      const ids: string[] = [];
      const work = async (times: number): Promise<void> => {
        for (let n = 0; n < times; n++) {
          const submitted = client.submit(counter, { tenant: "a" }, { key: `k${ids.length}` });
          await clock.runUntil(submitted, 200_000);
          const { id } = await submitted;
          ids.push(id);
          await clock.runUntil(client.signal(id, "add", { by: 1 }), 200_000);
          if (n % 2 === 0) await clock.runUntil(client.signal(id, "stop", null), 200_000);
        }
      };
      await work(10);
      expect(new Set(ids.map((id) => shardOf(id, 2))).size).toBe(2);
      dying.process.freeze();
      await clock.runUntil(() => living.node.shards.length === 2, 200_000);
      await work(10);
      // Who has read at the node that died goes on at another one.
      const moved = new Reader(living.node, { after: readers[0]?.position as string });
      await nodes.node(commitMs);
      await clock.advance(60_000);
      await work(10);
      await clock.advance(5000);
      const journals = await Promise.all(nodes.disks.map((disk) => journalOf(disk)));
      const byShard = (events: readonly ToldEvent[]): string[][] =>
        nodes.disks.map((_, shard) =>
          events.filter(({ id }) => shardOf(id.split("/")[0] as string, 2) === shard).map(textOf),
        );
      const [first, second, third] = readers as [Reader, Reader, Reader];
      expect(byShard([...first.events, ...moved.events])).toEqual(journals);
      expect(byShard(second.events)).toEqual(journals);
      expect(byShard(third.events)).toEqual(journals);
      for (const { error } of [...readers, moved]) expect(error).toBeUndefined();
    },
  );
});
