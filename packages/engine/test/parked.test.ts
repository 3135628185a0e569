import { seededRandom } from "@wheelwork/testing";
import { afterEach, describe, expect, test } from "vitest";
import { approved, outside, rounds, workersOf } from "./hubs.ts";
import { checkHistory, World, type WorldOptions } from "./world.ts";

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

async function begin(options: Partial<WorldOptions>): Promise<World> {
  const world = new World({ hubs: [rounds, approved], workers: workersOf(outside()), ...options });
  worlds.push(world);
  return world.start();
}

const stores = ["memory", "sqlite"] as const;

describe.each(stores)("parked runs (%s)", (store) => {
  test("thousands leave the memory, and each timer fires on its millisecond, across restarts", async () => {
    const count = store === "memory" ? 1_500 : 7_000;
    const world = await begin({ store, limits: { checkpointEvents: 500, horizonMs: 2_000 } });
    // Most wait for the same few milliseconds: more than one page of the scan is due at once.
    const withinMs = (n: number): number => (n % 3 === 0 ? 10_000 + n : 60_000);
    await Promise.all(
      Array.from({ length: count }, (_, n) =>
        world.engine.submit(approved, { n, withinMs: withinMs(n) }, { key: `k${n}` }),
      ),
    );
    await world.clock.advance(1);
    // A checkpoint begins with the next batch, and those after it write the rest.
    await world.engine.submit(approved, { n: 0, withinMs: 1_000_000 }, { key: "last" });
    await world.clock.runUntil(() => world.engine.health().liveRuns < 500, 1_000);
    await world.clock.advance(5_000);
    await world.restart();
    expect(world.engine.health().liveRuns).toBeLessThan(500);
    await world.clock.advance(13_000);
    await world.restart();
    await world.clock.advance(60_000);
    let late = 0;
    for (let n = 0; n < count; n++) {
      const { status, createdAt, answeredAt } = await world.engine.request(`k${n}`);
      if (status !== "ended" || answeredAt !== createdAt + withinMs(n)) late++;
    }
    expect(late).toBe(0);
    expect((await world.engine.request("last")).status).toBe("running");
  });

  test("a checkpoint is written in parts, and what has moved on between them is read back as it was", async () => {
    const limits = { checkpointEvents: 150, checkpointRuns: 7, horizonMs: 10 };
    const world = await begin({ store, limits });
    const keys = Array.from({ length: 60 }, (_, n) => `k${n}`);
    for (const key of keys) await world.engine.submit(approved, { n: 1, withinMs: 10_000 }, { key });
    for (const round of [0, 1, 2]) {
      // Some are written by then, some not; others end, and their rows are deleted.
      for (const key of keys.slice(round)) await world.engine.signal(key, "note", `${key} ${round}`);
      await world.engine.cancel(`k${round}`);
      await world.restart();
    }
    await world.clock.advance(1_000);
    const parts = world.signals.flatMap((signal) => (signal.name === "checkpoint" ? [signal.runs] : []));
    expect(Math.max(...parts)).toBe(7);
    expect(parts.length).toBeGreaterThan(5);
    for (const [n, key] of keys.entries()) {
      const events = await world.engine.history(key);
      const heard = events.filter(({ type }) => type === "signalled");
      expect(events.filter(({ type }) => type === "started")).toHaveLength(1);
      expect([key, heard.length]).toEqual([key, n < 3 ? n + 1 : 3]);
      expect((await world.engine.request(key)).status).toBe(n < 3 ? "ended" : "running");
    }
    await world.clock.advance(10_000);
    for (const key of keys) expect((await world.engine.request(key)).status).toBe("ended");
  });

  test("a command that changes nothing, or something, brings a run back without losing its timer", async () => {
    const world = await begin({ store, limits: { checkpointEvents: 1, horizonMs: 10 } });
    for (const key of ["a", "b", "c"]) {
      await world.engine.submit(approved, { n: 1, withinMs: 10_000 }, { key });
      await world.engine.signal(key, "note", "x", { commandId: "one" });
    }
    expect(world.engine.health().liveRuns).toBe(0);
    await world.clock.advance(3_000);
    await world.engine.signal("a", "note", "x", { commandId: "one" });
    await world.engine.signal("b", "note", "y");
    await world.clock.advance(6_999);
    for (const key of ["a", "b", "c"]) expect((await world.engine.request(key)).status).toBe("running");
    await world.clock.advance(1);
    for (const key of ["a", "b", "c"]) {
      expect((await world.engine.request(key)).answeredAt).toBe(
        (await world.engine.request(key)).createdAt + 10_000,
      );
      checkHistory(approved, await world.engine.history(key));
    }
  });
});

/** Walks through the whole list, page by page. */
async function walk(
  world: World,
  limit: number,
  filter: { status?: "running" | "ended" | "incident"; hub?: string } = {},
): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await world.engine.requests({
      limit,
      ...filter,
      ...(cursor === undefined ? {} : { cursor }),
    });
    expect(page.items.length).toBeLessThanOrEqual(limit);
    ids.push(...page.items.map(({ id }) => id));
    cursor = page.cursor;
  } while (cursor !== undefined);
  return ids;
}

describe.each(stores)("the list of requests (%s)", (store) => {
  test.each([1, 2, 3, 4])(
    "is complete, in order, without holes and doubles, while runs change (seed %i)",
    async (seed) => {
      const random = seededRandom(seed);
      const limits = { checkpointEvents: random.pick([1, 7, 25]), horizonMs: random.pick([1, 100, 100_000]) };
      const world = await begin({ store, limits });
      const keys: string[] = [];
      for (let round = 0; round < 60; round++) {
        for (let n = random.int(4); n > 0; n--) {
          const key = `k${keys.length}`;
          if (random.chance(0.5))
            await world.engine.submit(approved, { n: 1, withinMs: 1 + random.int(3_000) }, { key });
          else await world.engine.submit(rounds, { steps: random.chance(0.3) ? [1, 105] : [2] }, { key });
          keys.push(key);
        }
        if (keys.length > 0 && random.chance(0.3)) await world.engine.cancel(random.pick(keys));
        await world.clock.advance(random.int(100));
        if (random.chance(0.1)) await world.restart(random.int(50));
        // What is overdue fires a turn later (see `Deadlines`).
        await world.clock.advance(0);
        const views = await Promise.all(keys.map((key) => world.engine.request(key)));
        for (const status of [undefined, "running", "ended"] as const) {
          for (const hub of [undefined, "approved"]) {
            const expected = views
              .filter(
                (view) =>
                  (status === undefined || view.status === status) && (hub === undefined || view.hub === hub),
              )
              .toSorted((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1))
              .map(({ id }) => id);
            const filter = {
              ...(status === undefined ? {} : { status }),
              ...(hub === undefined ? {} : { hub }),
            };
            expect(await walk(world, random.pick([1, 2, 5, 1000]), filter), `round ${round}`).toEqual(
              expected,
            );
          }
        }
      }
      for (const key of keys)
        checkHistory(
          key.length > 0 && (await world.engine.request(key)).hub === "approved" ? approved : rounds,
          await world.engine.history(key),
        );
    },
  );

  test("refuses what is no page", async () => {
    const world = await begin({ store });
    for (const limit of [0, 1001, 1.5])
      await expect(world.engine.requests({ limit })).rejects.toThrow(/WW_INVALID_REQUEST/);
    await expect(world.engine.requests({ cursor: "x" })).rejects.toThrow(/WW_INVALID_REQUEST/);
    expect(await world.engine.requests()).toEqual({ items: [] });
  });
});

describe.each(stores)("retention (%s)", (store) => {
  test("forgets what ended long ago, never what has not ended, and leaves what it keeps whole", async () => {
    const world = await begin({
      store,
      retentionMs: 10_000,
      limits: { checkpointEvents: 6, horizonMs: 100 },
    });
    await world.engine.submit(approved, { n: 1, withinMs: 1_000_000 }, { key: "long" });
    await world.engine.signal("long", "note", "first");
    const keys: string[] = [];
    for (let n = 0; n < 40; n++) {
      const key = `k${n}`;
      keys.push(key);
      await world.call(rounds, { steps: [1, 2] }, key);
      await world.clock.advance(3_000);
      if (n % 10 === 9) await world.restart();
      for (const kept of keys) {
        let view;
        try {
          view = await world.engine.request(kept);
        } catch {
          continue;
        }
        checkHistory(rounds, await world.engine.history(kept));
        expect((await world.engine.history(kept)).at(-1)?.type).toBe("ended");
        expect(view.answer).toEqual({ kind: "result", value: { log: ["1", "2"] } });
      }
    }
    // The purge runs once a minute; a minute after its retention nothing is left of a request.
    await world.clock.advance(130_000);
    for (const key of keys) await expect(world.engine.request(key), key).rejects.toThrow(/WW_NOT_FOUND/);
    expect(world.counted("purged")).toBeGreaterThan(0);
    expect((await world.engine.request("long")).status).toBe("running");
    expect((await world.engine.history("long")).map(({ type }) => type)).toEqual([
      "started",
      "entered",
      "signalled",
    ]);
    // The key is free again.
    expect((await world.engine.submit(rounds, { steps: [3] }, { key: "k0" })).known).toBe(false);
    await world.engine.signal("long", "approve", { by: "me" });
    expect(await world.answer("long")).toEqual({
      kind: "result",
      value: { log: ["first", "by me", "step 1", "step 2"] },
    });
    checkHistory(approved, await world.engine.history("long"));
    expect((await walk(world, 10)).toSorted()).toEqual(["k0", "long"]);
  });

  test.each([
    ["was only in the journal", 50_000],
    ["had a row", 3],
  ])(
    "a request under a key that is free again outlives a restart, though the former run %s",
    async (_how, events) => {
      const world = await begin({
        store,
        retentionMs: 10_000,
        limits: { checkpointEvents: events, horizonMs: 100_000 },
      });
      await world.engine.submit(approved, { n: 1, withinMs: 1_000 }, { key: "k" });
      // Where there is a checkpoint, it comes with this one.
      await world.engine.submit(approved, { n: 1, withinMs: 1_000_000 }, { key: "long" });
      await world.clock.advance(130_000);
      await expect(world.engine.request("k")).rejects.toThrow(/WW_NOT_FOUND/);
      await world.engine.submit(approved, { n: 2, withinMs: 1_000_000 }, { key: "k" });
      await world.engine.signal("long", "note", "so that there is a checkpoint");
      await world.engine.signal("long", "note", "and another event");
      for (let round = 0; round < 2; round++) {
        expect((await world.engine.request("k")).status).toBe("running");
        await world.restart();
      }
      await world.engine.signal("k", "approve", { by: "me" });
      expect(await world.answer("k")).toEqual({
        kind: "result",
        value: { log: ["by me", "step 2", "step 3"] },
      });
      checkHistory(approved, await world.engine.history("k"));
    },
  );
});
