import { answered, end, hub, stay, toMermaid } from "@wheelwork/core";
import { nextAfter, type HistoryPageOptions, SqliteStore } from "@wheelwork/engine";
import { transcriptOf } from "@wheelwork/testing";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { folder, World, type WorldOptions } from "./world.ts";

/** Events of a run that lives for long are archived, and the run itself loses nothing. */

const hour = 3_600_000;
const day = 24 * hour;

const counter = hub(
  "counter",
  {
    request: z.object({}),
    reply: z.literal("open"),
    deadlineMs: 1_000,
    cancel: "Close",
    signals: { add: z.object({ by: z.int() }) },
    chart: { Opening: { Opened: "Open" }, Open: { Added: stay, Close: "Closed" }, Closed: end },
    data: () => ({ sum: 0 }),
    view: ({ sum }) => ({ sum }),
  },
  {
    Opening: (s) => s.answer(() => "open" as const, { next: "Opened" }),
    Open: (s) =>
      s.wait({ idle: true, on: { add: (data, { by }) => s.raise("Added", { sum: data.sum + by }) } }),
    Closed: answered,
  },
);

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

async function begin(options: Partial<WorldOptions> = {}): Promise<World> {
  const world = new World({
    hubs: [counter],
    workers: () => [],
    limits: { checkpointEvents: 1 },
    retentionMs: 7 * hour,
    historyRetentionMs: 10 * hour,
    ...options,
  });
  worlds.push(world);
  await world.start();
  await world.engine.submit(counter, {}, { key: "a" });
  return world;
}

const add = (world: World, by: number): Promise<unknown> =>
  world.engine.signal("a", "add", { by }, { commandId: `add ${by}` });

describe.each(["memory", "sqlite"] as const)("in a store (%s)", (store) => {
  test("events are archived once they are old, and the run goes on as it was", async () => {
    const world = await begin({ store });
    await add(world, 1);
    await world.clock.advance(5 * hour);
    await add(world, 2);
    await world.clock.advance(0);
    const whole = await world.engine.history("a");
    expect(whole.map(({ type }) => type)).toEqual([
      "started",
      "entered",
      "answered",
      "entered",
      "signalled",
      "signalled",
    ]);
    await world.clock.advance(4.9 * hour);
    expect(await world.engine.history("a")).toEqual(whole);
    await world.clock.advance(hour);
    const archived = { type: "archived", at: whole[4]?.at, events: 5, state: "Open" };
    expect(await world.engine.history("a")).toEqual([archived, whole[5]]);
    // Numbers of events stay what they were, and those that are gone are an answer.
    const part = (after: number, limit: number) => world.engine.history("a", { after, limit });
    expect(await part(2, 1)).toEqual([archived]);
    expect(nextAfter([archived as never], 2)).toBe(5);
    expect(await part(2, 2)).toEqual([archived, whole[5]]);
    expect(await part(5, 9)).toEqual([whole[5]]);
    const page = (options: HistoryPageOptions) => world.engine.historyPage("a", options);
    expect(await page({ from: 2, limit: 1 })).toMatchObject({ events: [archived], first: 0, next: 5 });
    expect(await page({ order: "newest", limit: 1 })).toMatchObject({
      events: [whole[5]],
      first: 5,
      next: 6,
    });
    for (const from of [1, 3, 5])
      expect(await page({ order: "newest", from, limit: 4 })).toEqual({
        events: [archived],
        first: 0,
        next: 5,
        hasEarlier: false,
        hasLater: true,
      });
    expect(await page({ order: "newest" })).toMatchObject({
      events: [archived, whole[5]],
      first: 0,
      next: 6,
    });
    await expect(world.engine.requestAt("a", 5)).rejects.toThrow(/WW_NOT_FOUND.*first 5 events are archived/);
    expect(await part(6, 9)).toEqual([]);
    expect(transcriptOf(await part(0, 9))).toContain("the first 5 events are archived → Open");
    const drawn = toMermaid(counter, { history: await part(0, 9) });
    expect(drawn).toContain("the first 5 events are archived");
    // A signal whose event is archived counts once nevertheless.
    await world.restart();
    await add(world, 1);
    expect(await world.engine.request("a")).toMatchObject({ state: "Open", view: { sum: 3 } });
    await add(world, 4);
    expect((await world.engine.request("a")).view).toEqual({ sum: 7 });
    // What is there when the run ends is kept with its answer.
    await world.engine.cancel("a");
    await world.clock.advance(6.9 * hour);
    expect((await world.engine.history("a")).map(({ type }) => type)).toEqual([
      "archived",
      "signalled",
      "signalled",
      "cancelling",
      "entered",
      "ended",
    ]);
    await world.clock.advance(hour);
    await expect(world.engine.history("a")).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
  });

  test("a clock that is wrong at one start archives nothing early", async () => {
    const world = await begin({ store, historyRetentionMs: 2 * day });
    await add(world, 1);
    world.kill();
    world.clock.jumpWall(25 * hour);
    await world.restart();
    await world.clock.advance(20 * hour);
    expect((await world.engine.history("a"))[0]?.type).toBe("started");
    await world.clock.advance(6 * hour);
    expect((await world.engine.history("a"))[0]?.type).toBe("archived");
  });

  test("who watches a run again, and has missed what is archived, goes on with the present", async () => {
    const world = await begin({ store });
    await add(world, 1);
    await add(world, 2);
    await world.clock.advance(12 * hour);
    await add(world, 4);
    const watched = world.engine.watch("a", { after: 2, until: "end" })[Symbol.asyncIterator]();
    expect((await watched.next()).value).toMatchObject({ event: 7, state: "Open", view: { sum: 7 } });
    const next = watched.next();
    await add(world, 8);
    expect((await next).value).toMatchObject({ event: 8, view: { sum: 15 } });
    await watched.return?.();
    // Of a run that has ended, its answer and its view are told.
    await world.engine.cancel("a");
    await world.clock.advance(0);
    const ended = world.engine.watch("a", { after: 2, until: "end" })[Symbol.asyncIterator]();
    const { value } = await ended.next();
    expect(value).toMatchObject({ status: "ended", state: "Closed", view: { sum: 15 } });
    expect(value?.answer).toEqual({ kind: "result", value: "open" });
    expect((await ended.next()).done).toBe(true);
  });

  test("what is archived is kept as long as answers, whatever is set", async () => {
    const world = await begin({ store, historyRetentionMs: 1, retentionMs: 3 * hour });
    await world.clock.advance(2.9 * hour);
    expect((await world.engine.history("a"))[0]?.type).toBe("started");
    await world.clock.advance(0.2 * hour);
    expect((await world.engine.history("a"))[0]?.type).toBe("archived");
  });
});

test("parts that an earlier version has written are archived, too", async () => {
  const path = join(folder(), "store.db");
  const store = new SqliteStore(path);
  const { epoch } = store.claim("owner");
  const told = (call: number) => ({ type: "told" as const, at: call, call, spoke: "s", input: {} });
  const part = (...events: ReturnType<typeof told>[]) => ({ key: "a", events });
  const histories = [part(told(0), told(1)), part(told(2)), part(told(3), told(9))];
  const checkpoint = { runs: [], ended: [], histories };
  store.commit({ epoch, seq: 1, now: 1, journal: [], answers: [], checkpoint });
  store.close();
  const db = new DatabaseSync(path);
  db.exec("UPDATE history SET last_at = 0, count = NULL, state = NULL");
  db.close();
  const again = new SqliteStore(path);
  again.claim("next");
  while (again.archive(5, 2));
  expect([...again.history("a")].flat()).toEqual([
    { type: "archived", at: 2, events: 3, state: "" },
    told(3),
    told(9),
  ]);
  again.close();
});
