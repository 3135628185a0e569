import type { HistoryEvent } from "@wheelwork/core";
import { createEngine, SqliteStore, type HistoryPage, type RunUpdate } from "@wheelwork/engine";
import { clusterTopics, createClient } from "@wheelwork/engine/cluster";
import { MemoryBroker, MemoryLog, MemoryStore, SimulatedClock } from "@wheelwork/testing";
import { expect, test, vi } from "vitest";
import { approved } from "./hubs.ts";
import { Machine } from "./slow.ts";
import { outside, workersOf } from "./hubs.ts";
import { World, type WorldOptions } from "./world.ts";

/** Histories, whole and in parts. */

const day = 86_400_000;

async function begin(options: Partial<WorldOptions>): Promise<World> {
  const world = new World({ hubs: [approved], workers: workersOf(outside()), ...options });
  await world.start();
  return world;
}

test.each(["memory", "sqlite"] as const)(
  "a part of a history is the same part of the whole, wherever its events are (%s)",
  async (store) => {
    const world = await begin({ store, limits: { checkpointEvents: 25 } });
    await world.engine.submit(approved, { n: 1, withinMs: day }, { key: "k" });
    const compare = async (): Promise<void> => {
      const whole = await world.engine.history("k");
      for (const after of [0, 1, 24, 25, 26, whole.length - 1, whole.length, whole.length + 5]) {
        for (const limit of [1, 2, 25, 1000])
          expect(await world.engine.history("k", { after, limit })).toEqual(
            whole.slice(after, after + limit),
          );
        expect(await world.engine.history("k", { after })).toEqual(whole.slice(after));
      }
      for (const limit of [1, 7, 25, 1000]) {
        // All pages in both directions.
        const forth: HistoryEvent[] = [];
        for (let from = 0, more = true; more;) {
          const page = await world.engine.historyPage("k", { from, limit });
          expect(page).toMatchObject({ first: from, hasEarlier: from > 0 });
          forth.push(...page.events);
          ({ next: from, hasLater: more } = page);
        }
        expect(forth).toEqual(whole);
        const back: HistoryEvent[] = [];
        let from: number | undefined;
        do {
          const page: HistoryPage = await world.engine.historyPage("k", {
            order: "newest",
            limit,
            ...(from === undefined ? {} : { from }),
          });
          expect(page).toMatchObject({ next: from ?? whole.length, hasLater: from !== undefined });
          back.unshift(...page.events);
          from = page.first;
          expect(page.hasEarlier).toBe(from > 0);
        } while (from > 0);
        expect(back).toEqual(whole);
      }
      // The last event has made what it is now, and the first one what it was.
      const { openCalls: _calls, ...now } = await world.engine.request("k");
      const {
        status,
        state,
        data = undefined,
        answer,
        view,
      } = await world.engine.requestAt("k", whole.length - 1);
      expect({ status, state, answer, view }).toEqual(
        (({ status: s, state: t, answer: a, view: v }) => ({ status: s, state: t, answer: a, view: v }))(now),
      );
      expect(data).toEqual(now.status === "ended" ? data : now.data);
      expect(await world.engine.requestAt("k", 0)).toMatchObject({ id: "k", status: "running", state: "" });
      await expect(world.engine.requestAt("k", whole.length)).rejects.toThrow(
        new RegExp(`WW_NOT_FOUND.*after its event ${whole.length} is not known.*is ${whole.length - 1}`),
      );
    };
    for (let round = 0; round < 40; round++) await world.engine.signal("k", "note", `note ${round}`);
    // A part is in rows of its own, and the rest in memory.
    await compare();
    await world.restart();
    await world.engine.signal("k", "note", "after the restart");
    await compare();
    await world.engine.signal("k", "approve", { by: "Eve" });
    await world.answer("k");
    await compare();
    expect((await world.engine.history("k")).at(-1)?.type).toBe("ended");
  },
);

test("what is no part is refused", async () => {
  const engine = await new Machine().start();
  for (const part of [{ after: -1 }, { after: 0.5 }, { limit: 0 }, { limit: Number.NaN }])
    await expect(engine.history("k", part)).rejects.toThrow(/WW_INVALID_REQUEST/);
  for (const part of [
    { order: "up" as "newest" },
    { from: -1 },
    { from: 0.5 },
    { limit: 0 },
    { limit: 10_001 },
  ])
    await expect(engine.historyPage("k", part)).rejects.toThrow(/WW_INVALID_REQUEST/);
  await expect(engine.requestAt("k", -1)).rejects.toThrow(/WW_INVALID_REQUEST/);
  for (const order of ["oldest", "newest"] as const)
    await expect(engine.historyPage("k", { order })).rejects.toThrow(/WW_NOT_FOUND/);
  await expect(engine.history("k", { after: 3 })).rejects.toThrow(/WW_NOT_FOUND/);
});

test("a long history is stored in parts that are read in a short time each", async () => {
  const commit = vi.spyOn(SqliteStore.prototype, "commit");
  const world = await begin({ store: "sqlite", limits: { checkpointEvents: 2400 } });
  await world.engine.submit(approved, { n: 1, withinMs: day }, { key: "k" });
  await Promise.all(
    Array.from({ length: 2500 }, (_, number) => world.engine.signal("k", "note", String(number))),
  );
  const whole = await world.engine.history("k");
  await world.restart();
  const sizes = commit.mock.calls.flatMap(
    ([{ checkpoint }]) => checkpoint?.histories.map(({ events }) => events.length) ?? [],
  );
  expect(Math.max(...sizes)).toBeLessThanOrEqual(1000);
  expect(sizes.length).toBeGreaterThanOrEqual(3);
  expect(await world.engine.history("k")).toEqual(whole);
});

/** Counts the events that are read of histories. */
class CountedStore extends MemoryStore {
  static read = 0;

  override *history(key: string): ReturnType<MemoryStore["history"]> {
    for (const part of super.history(key)) {
      CountedStore.read += part.length;
      yield part;
    }
  }
}

test.each(["here", "at another node"])(
  "who watches a long run that has ended reads its history once (%s)",
  async (where) => {
    const [clock, store] = [new SimulatedClock(), new CountedStore()];
    const limits = { checkpointEvents: 500, batchInputs: 100 };
    const workers = workersOf(outside())(() => Promise.resolve());
    const engine = createEngine({ hubs: [approved], workers, store, clock, limits });
    await engine.start();
    await engine.submit(approved, { n: 1, withinMs: day }, { key: "k" });
    const notes = 6_000;
    await clock.runUntil(
      Promise.all(Array.from({ length: notes }, (_, number) => engine.signal("k", "note", String(number)))),
    );
    await engine.signal("k", "approve", { by: "Eve" });
    await clock.runUntil(engine.answer("k"));
    const { length } = await engine.history("k");
    expect(length).toBeGreaterThan(notes);
    let asked = engine;
    if (where === "at another node") {
      await clock.runUntil(engine.stop());
      const broker = new MemoryBroker({ clock });
      for (const { name, partitions } of clusterTopics({ shards: 1, channels: [] }))
        broker.createTopic(name, partitions);
      const log = new MemoryLog(broker, { clock });
      asked = createClient({ hubs: [approved], shards: 1, store: () => new CountedStore(store), log, clock });
      await clock.runUntil(asked.start());
    }
    CountedStore.read = 0;
    const seen: RunUpdate[] = [];
    const watched = (async () => {
      for await (const update of asked.watch("k", { after: 0, until: "end" })) seen.push(update);
    })();
    await clock.runUntil(watched);
    await watched;
    expect(seen.at(-1)).toMatchObject({ status: "ended", event: length });
    expect(CountedStore.read).toBe(length);
  },
);
