import { answered, end, hub, spoke, stay } from "@wheelwork/core";
import {
  createEngine,
  SqliteStore,
  worker,
  type Engine,
  type RunUpdate,
  type WatchOptions,
} from "@wheelwork/engine";
import { createClient, shardOf } from "@wheelwork/engine/cluster";
import { FaultyStore, MemoryLog, MemoryStore, SimulatedClock, type Fault } from "@wheelwork/testing";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes, type Member } from "./nodes.ts";
import { folder, World, type WorldOptions } from "./world.ts";

/** A watch tells each change that is committed once, in order, whatever happens meanwhile. */

/** Counts the signals that it gets. Its view shows each, so that a gap or a double shows, too. */
const counter = hub(
  "counter",
  {
    request: z.object({}),
    reply: z.number(),
    deadlineMs: 3_600_000,
    signals: { add: z.object({ by: z.number() }), stop: z.null() },
    chart: { Counting: { Added: stay, Stopped: "Passing", Late: "Sum" }, Passing: { On: "Sum" }, Sum: end },
    data: () => ({ sum: 0, seen: [] as readonly number[] }),
    view: ({ sum }) => ({ sum }),
  },
  {
    Counting: (s) =>
      s.wait({
        on: {
          add: ({ sum, seen }, { by }) =>
            s.raise("Added", { sum: sum + by, seen: by === 0 ? [...seen, sum] : seen }),
          stop: "Stopped",
        },
        deadline: "Late",
      }),
    Passing: (s) => s.pick(() => "On"),
    Sum: ({ sum }) => sum,
  },
);

const wait = spoke("wait", { input: z.object({}), output: z.object({}), timeoutMs: 600_000 });

/** Answers first, and goes on. */
const early = hub(
  "early",
  {
    request: z.object({}),
    reply: z.string(),
    deadlineMs: 1000,
    chart: { Saying: { Said: "Going" }, Going: { Gone: "Done" }, Done: end },
    data: () => ({ gone: false }),
    view: ({ gone }) => gone,
  },
  {
    Saying: (s) => s.answer(() => "soon", { next: "Said" }),
    Going: (s) =>
      s.call(wait, {
        input: () => ({}),
        ok: () => s.raise("Gone", { gone: true }),
        failed: "Gone",
        after: { Gone: 600_000 },
      }),
    Done: answered,
  },
);

/** Each view from 0 to a sum, and then the answer. */
const upTo = (sum: number): unknown[] => [
  ...Array.from({ length: sum + 1 }, (_, n) => ["Counting", n]),
  ["Sum", sum, sum],
];

const shown = ({ state, view, answer }: RunUpdate): unknown[] => [
  state,
  (view as { sum: number } | undefined)?.sum,
  ...(answer?.kind === "result" ? [answer.value] : []),
];

/** Reads a watch to its end. */
function follow(
  engine: Engine,
  id: string,
  options?: WatchOptions,
): { readonly updates: RunUpdate[]; readonly done: Promise<void> } {
  const updates: RunUpdate[] = [];
  const done = (async () => {
    for await (const update of engine.watch(id, options)) updates.push(update);
  })();
  done.catch(() => {});
  return { updates, done };
}

const world = (options: Partial<WorldOptions> = {}): World => {
  const made = new World({
    hubs: [counter, early],
    workers: (sleep) => [worker(wait, () => sleep(10_000).then(() => ({})))],
    ...options,
  });
  onTestFinished(() => made.close());
  return made;
};

const stores: Partial<WorldOptions>[] = [
  {},
  { store: "sqlite" },
  { store: "sqlite", limits: { checkpointEvents: 3, horizonMs: 1 }, faults: { later: true } },
];

describe.each(stores)("embedded (%o)", (options) => {
  test("each signal of one batch shows, and states that only pass do not", async () => {
    const w = await world(options).start();
    const { engine, clock } = w;
    const { id } = await engine.submit(counter, {});
    const all = follow(engine, id);
    await clock.settle();
    await Promise.all(Array.from({ length: 20 }, () => engine.signal(id, "add", { by: 1 })));
    // Nothing that is seen has changed.
    await engine.signal(id, "add", { by: 0 });
    await engine.signal(id, "stop", null);
    await clock.runUntil(all.done);
    expect(all.updates.map(shown)).toEqual(upTo(20));
    const numbers = all.updates.map(({ event }) => event);
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    expect(numbers.at(-1)).toBe((await engine.history(id)).length);
    // Whoever has seen a part gets the rest, and nothing twice. It makes no difference that the run has ended.
    for (const [at, { event }] of all.updates.entries()) {
      const rest = follow(engine, id, { after: event });
      await clock.runUntil(rest.done);
      expect(rest.updates).toEqual(all.updates.slice(at + 1));
    }
    const anew = follow(engine, id, { after: 0 });
    await clock.runUntil(anew.done);
    expect(anew.updates).toEqual(all.updates);
    // Without a number it begins with the present.
    const last = follow(engine, id);
    await clock.runUntil(last.done);
    expect(last.updates).toEqual(all.updates.slice(-1));
  });

  test("a reader that is slow misses nothing", async () => {
    const w = await world(options).start();
    const { engine, clock } = w;
    const { id } = await engine.submit(counter, {});
    const reader = clock.process();
    const updates: unknown[] = [];
    const reading = (async () => {
      for await (const update of engine.watch(id)) {
        updates.push(shown(update));
        if (updates.length < 3) await reader.sleep(20_000);
      }
    })();
    for (let n = 0; n < 300; n++) {
      await engine.signal(id, "add", { by: 1 });
      if (n % 50 === 0) await clock.advance(1000);
    }
    await engine.signal(id, "stop", null);
    await clock.runUntil(reading, 1e6);
    expect(updates).toEqual(upTo(300));
  });

  test("it ends with the answer, or with the run", async () => {
    const w = await world(options).start();
    const { engine, clock } = w;
    const { id } = await engine.submit(early, {});
    const first = follow(engine, id, { after: 0 });
    const whole = follow(engine, id, { after: 0, until: "end" });
    await clock.runUntil(first.done);
    await clock.runUntil(whole.done, 1e6);
    const said = { kind: "result", value: "soon" };
    expect(first.updates.at(-1)?.answer).toEqual(said);
    expect(whole.updates.map(({ status, state, view }) => [status, state, view]).slice(-2)).toEqual([
      ["running", "Going", false],
      ["ended", "Done", true],
    ]);
    expect(whole.updates.slice(0, first.updates.length)).toEqual(first.updates);
  });

  test("nothing is left behind by those who leave early", async () => {
    const w = await world(options).start();
    const { engine, clock } = w;
    const { id } = await engine.submit(counter, {});
    const leave = new AbortController();
    const left = follow(engine, id, { signal: leave.signal });
    const stopped = follow(engine, id);
    await clock.settle();
    leave.abort();
    await clock.runUntil(left.done);
    expect(left.updates.map(shown)).toEqual([["Counting", 0]]);
    for await (const update of engine.watch(id)) {
      expect(shown(update)).toEqual(["Counting", 0]);
      break;
    }
    const none = follow(engine, id, { signal: leave.signal });
    await clock.runUntil(none.done);
    expect(none.updates).toEqual([]);
    await engine.stop({ drainMs: 0 });
    await expect(stopped.done).rejects.toMatchObject({ code: "WW_STOPPING" });
    await expect(follow(engine, id).done).rejects.toMatchObject({ code: "WW_STOPPING" });
  });
});

test("what cannot be watched is refused", async () => {
  const { engine } = await world().start();
  await expect(follow(engine, "nobody").done).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
  const { id } = await engine.submit(counter, {});
  await expect(follow(engine, id, { after: -1 }).done).rejects.toMatchObject({
    code: "WW_INVALID_REQUEST",
    problems: [{ path: "after", message: "must be an integer of at least 0" }],
  });
});

test.each(["fail", "unseen"] as const)(
  "a commit that goes wrong neither takes nor doubles an update (%s)",
  async (kind) => {
    for (const later of [false, true]) {
      for (let at = 2, isReached = true; isReached; at++) {
        isReached = false;
        const faultAt = (number: number): Fault | undefined => {
          if (number !== at) return undefined;
          isReached = true;
          return kind;
        };
        const w = await world({
          limits: { checkpointEvents: 5, horizonMs: 1 },
          faults: { faultAt, later },
        }).start();
        const { engine, clock } = w;
        const { id } = await engine.submit(counter, {}, { key: "k" }).catch(async () => {
          await clock.advance(10_000);
          return engine.submit(counter, {}, { key: "k" });
        });
        const all = follow(engine, id);
        await clock.settle();
        for (let n = 1; n <= 8; n++) {
          await clock.runUntil(engine.signal(id, "add", { by: 1 }, { commandId: `${n}` }), 100_000);
          if (n % 3 === 0) await clock.advance(2000);
        }
        await clock.runUntil(engine.signal(id, "stop", null, { commandId: "stop" }), 100_000);
        await clock.runUntil(all.done, 100_000);
        expect(all.updates.map(shown)).toEqual(upTo(8));
        w.close();
      }
    }
  },
);

test("a kill ends the watch, and another one goes on with the next event", async () => {
  const w = await world({ limits: { checkpointEvents: 5 } }).start();
  const { id } = await w.engine.submit(counter, {});
  const seen: RunUpdate[] = [];
  for (let n = 1; n <= 4; n++) {
    const part = follow(w.engine, id, { after: seen.at(-1)?.event ?? 0 });
    await w.clock.settle();
    await w.engine.signal(id, "add", { by: 1 });
    await w.engine.signal(id, "add", { by: 1 });
    await w.clock.settle();
    seen.push(...part.updates);
    await w.restart(1000);
  }
  const rest = follow(w.engine, id, { after: seen.at(-1)?.event ?? 0 });
  await w.engine.signal(id, "stop", null);
  await w.clock.runUntil(rest.done);
  expect([...seen, ...rest.updates].map(shown)).toEqual(upTo(8));
});

test("a thousand watchers ask the store for nothing while they wait; their process looks now and then whether it has the shard", async () => {
  let reads = 0;
  const w = await world({ faults: { readFails: () => reads++ < 0 } }).start();
  const { engine, clock } = w;
  const ids = await Promise.all(
    Array.from({ length: 1000 }, async () => (await engine.submit(counter, {})).id),
  );
  const all = ids.map((id) => follow(engine, id));
  await clock.settle();
  reads = 0;
  await Promise.all(ids.map((id) => engine.signal(id, "add", { by: 1 })));
  await clock.advance(600_000);
  expect(all.every(({ updates }) => updates.length === 2)).toBe(true);
  // Once in 5 s, for all of them.
  expect(reads).toBeLessThanOrEqual(120);
  reads = 0;
  await Promise.all(ids.map((id) => engine.signal(id, "stop", null)));
  await clock.runUntil(Promise.all(all.map(({ done }) => done)));
  for (const { updates } of all) expect(updates.map(shown)).toEqual(upTo(1));
  expect(reads).toBe(0);
});

test("it goes on though reads of the store fail for a while", async () => {
  let fails = false;
  const w = await world({
    limits: { checkpointEvents: 3, horizonMs: 1 },
    faults: { readFails: () => fails, later: true },
  }).start();
  const { engine, clock } = w;
  const { id } = await engine.submit(counter, {});
  for (let n = 0; n < 5; n++) await engine.signal(id, "add", { by: 1 });
  fails = true;
  const all = follow(engine, id, { after: 0 });
  await clock.advance(2000);
  fails = false;
  await clock.advance(1000);
  await engine.signal(id, "stop", null);
  await clock.runUntil(all.done);
  expect(all.updates.map(shown)).toEqual(upTo(5));
});

test("who leaves while the store cannot be read is told nothing more", async () => {
  let fails = false;
  const w = await world({
    limits: { checkpointEvents: 3, horizonMs: 1 },
    faults: { readFails: () => fails, later: true },
  }).start();
  const { engine, clock } = w;
  const { id } = await engine.submit(counter, {});
  for (let n = 0; n < 5; n++) await engine.signal(id, "add", { by: 1 });
  const leave = new AbortController();
  const all = follow(engine, id, { after: 0, signal: leave.signal });
  fails = true;
  await clock.advance(500);
  leave.abort();
  await clock.runUntil(all.done);
  expect(all.updates).toEqual([]);
});

test("a run of a store of an earlier version is watched", async () => {
  const path = join(folder(), "store.db");
  const old = new DatabaseSync(path);
  old.exec(readFileSync(join(import.meta.dirname, "before-timers.sql"), "utf8"));
  old.close();
  const former = hub(
    "former",
    {
      request: z.object({}),
      reply: z.string(),
      deadlineMs: 1_000_000,
      signals: { go: z.object({}) },
      chart: {
        First: { Go: "Out", Early: "Undo", Late: "Out" },
        Undo: { Undone: "Out", Late: "Out" },
        Out: end,
      },
      data: () => ({ said: [] as string[] }),
    },
    {
      First: (s) => s.wait({ on: { go: "Go" }, after: { Early: 500_000 }, deadline: "Late" }),
      Undo: (s) => s.call(wait, { input: () => ({}), settled: "Undone", deadline: "Late" }),
      Out: () => "out",
    },
  );
  const clock = new SimulatedClock();
  const engine = createEngine({
    hubs: [former],
    workers: [worker(wait, () => new Promise(() => {}))],
    store: new SqliteStore(path),
    clock: clock.process(),
    drainMs: 0,
  });
  await engine.start();
  const [{ id } = { id: "" }] = (await engine.requests({ status: "running" })).items;
  const all = follow(engine, id);
  await clock.runUntil(all.done, 1e7);
  expect(all.updates.map(({ state, answer }) => [state, answer?.kind])).toEqual([
    [all.updates[0]?.state, undefined],
    ["Out", "result"],
  ]);
  expect(all.updates.at(-1)?.event).toBe((await engine.history(id)).length);
  await engine.stop({ drainMs: 0 });
});

describe("cluster", () => {
  const setUp = async (options: NonNullable<WorldOptions["limits"]>, commitMs: number) => {
    const nodes = new Nodes({
      shards: 2,
      hub: counter,
      workers: () => [],
      options: { hubs: [counter], limits: options },
    });
    const members = [await nodes.node(commitMs), await nodes.node(commitMs)];
    await nodes.clock.runUntil(() => members.every(({ node }) => node.shards.length === 1), 60_000);
    const isOwner = ({ node }: Member): boolean => node.shards.some(({ shard }) => shard === shardOf("k", 2));
    const owner = members.find(isOwner) as Member;
    const other = members.find((member) => !isOwner(member)) as Member;
    let reads = 0;
    const client = createClient({
      hubs: [counter],
      shards: 2,
      store: (shard) =>
        new FaultyStore((nodes.disks[shard] as MemoryStore).reopen(), { readFails: () => reads++ < 0 }),
      log: new MemoryLog(nodes.broker, { clock: nodes.clock }),
      clock: nodes.clock,
    });
    const soon = async <T>(promise: Promise<T>): Promise<T> => {
      await nodes.clock.runUntil(
        promise.catch(() => {}),
        200_000,
      );
      return promise;
    };
    await soon(client.start());
    return { nodes, owner, other, client, soon, reads: () => reads };
  };

  test.each([
    [{}, 1],
    [{ checkpointEvents: 3, horizonMs: 1 }, 1],
    [{ checkpointEvents: 3, horizonMs: 1 }, 30],
  ] as const)(
    "the owner, another node and a client tell the same, over a take-over (%o, %i ms)",
    async (limits, commitMs) => {
      const { nodes, owner, other, client, soon } = await setUp(limits, commitMs);
      const { id } = await soon(client.submit(counter, {}, { key: "k" }));
      const all = [owner.node, other.node, client].map((engine) => follow(engine, id));
      await nodes.clock.advance(1000);
      const add = async (times: number): Promise<void> => {
        for (let n = 0; n < times; n++) await soon(client.signal(id, "add", { by: 1 }));
        await nodes.clock.advance(100);
      };
      await add(20);
      // The node ends in order: its own watchers are told, and the others go on with the one that takes over.
      await soon(owner.node.stop({ drainMs: 0 }));
      await expect(soon(all[0]!.done)).rejects.toMatchObject({ code: "WW_STOPPING" });
      await add(20);
      await nodes.clock.advance(60_000);
      await add(20);
      const third = await nodes.node(commitMs);
      // This one dies.
      other.process.freeze();
      await add(10);
      await nodes.clock.advance(120_000);
      await add(10);
      const late = follow(third.node, id, { after: 0 });
      await soon(client.signal(id, "stop", null));
      await soon(all[2]!.done);
      await soon(late.done);
      expect(all[2]!.updates.map(shown)).toEqual(upTo(80));
      expect(late.updates).toEqual(all[2]!.updates);
      const { updates: ofOwner } = all[0]!;
      expect(ofOwner).toEqual(all[2]!.updates.slice(0, ofOwner.length));
      const { updates: ofOther } = all[1]!;
      expect(ofOther.length).toBeGreaterThan(55);
      expect(ofOther).toEqual(all[2]!.updates.slice(0, ofOther.length));
    },
  );

  test("a history has each event once while a checkpoint is written in parts", async () => {
    const limits = { checkpointEvents: 12, checkpointRuns: 1, horizonMs: 1 };
    const { nodes, client, owner, soon } = await setUp(limits, 3);
    const mine = (key: string): boolean => shardOf(key, 2) === shardOf("k", 2);
    const keys = Array.from({ length: 100 }, (_, n) => `k${n}`).filter(mine);
    const ids: string[] = [];
    for (const key of keys.slice(0, 10)) ids.push((await soon(client.submit(counter, {}, { key }))).id);
    for (let n = 0; n < 200; n++) {
      void owner.node.signal(ids[n % 3] as string, "add", { by: 1 }, { commandId: `${n}` });
      await nodes.clock.advance(n % 5);
      const history = await soon(client.history(ids[n % 3] as string));
      const taken = history.flatMap((event) => (event.type === "signalled" ? [event.id] : []));
      expect(new Set(taken).size).toBe(taken.length);
      expect(history).toHaveLength(2 + taken.length);
    }
  });

  test("it hears of what a checkpoint has taken out of the journal while the store was out of reach", async () => {
    const { nodes, client, owner, soon } = await setUp({ checkpointEvents: 1, horizonMs: 1 }, 1);
    const { id } = await soon(client.submit(counter, {}, { key: "k" }));
    const all = follow(client, id);
    await nodes.clock.advance(1000);
    // The client reads nothing meanwhile: all of it happens within one of its pauses.
    for (let n = 0; n < 5; n++) void owner.node.signal(id, "add", { by: 1 });
    await soon(owner.node.signal(id, "stop", null));
    await soon(all.done);
    expect(all.updates.map(shown)).toEqual(upTo(5));
  });

  test("a thousand watchers of a process that owns nothing read one journal", async () => {
    const { nodes, client, soon, reads } = await setUp({}, 1);
    const ids: string[] = [];
    for (let n = 0; n < 200; n++) ids.push((await soon(client.submit(counter, {}, { key: `k${n}` }))).id);
    const all = ids.flatMap((id) => Array.from({ length: 5 }, () => follow(client, id)));
    await nodes.clock.advance(5000);
    const before = reads();
    await nodes.clock.advance(10_000);
    // Each of the two shards every 20 ms, whoever watches.
    expect(reads() - before).toBeLessThan(1100);
    await soon(Promise.all(ids.map((id) => client.signal(id, "stop", null))));
    await soon(Promise.all(all.map(({ done }) => done)));
    for (const { updates } of all) expect(updates.map(shown)).toEqual(upTo(0));
  });
});
