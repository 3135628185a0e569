import { describe, expect, test } from "vitest";
import { EngineTime } from "../src/shard/engine-time.ts";
import { Retention } from "../src/shard/retention.ts";
import { approved, outside, rounds, workersOf } from "./hubs.ts";
import { World, type WorldOptions } from "./world.ts";

const hour = 3_600_000;
const day = 24 * hour;

const begin = (options: Partial<WorldOptions> = {}): Promise<World> =>
  new World({ hubs: [rounds, approved], workers: workersOf(outside()), ...options }).start();

/** A request that has ended, with all that it has begun: while anything of that is known, the request is. */
async function ended(world: World, key: string): Promise<void> {
  await world.call(rounds, { steps: [1] }, key);
  await world.clock.advance(1000);
}

const knows = async (world: World, key: string): Promise<boolean> =>
  world.engine.request(key).then(
    () => true,
    () => false,
  );

describe.each(["memory", "sqlite"] as const)("a clock that is wrong for one start (%s)", (store) => {
  test("makes nobody forget answers, however long the engine runs with it", async () => {
    const world = await begin({ store });
    await ended(world, "k");
    world.kill();
    world.clock.jumpWall(8 * day);
    await world.start();
    await world.clock.advance(2 * hour);
    expect(await knows(world, "k")).toBe(true);
    await world.restart();
    world.clock.jumpWall(-8 * day);
    await world.restart();
    await world.clock.advance(5 * day);
    expect(await knows(world, "k")).toBe(true);
    // A day of the downtime counts, and the time that it ran, but for an hour at most that no commit tells of.
    await world.clock.advance(day + 2 * hour);
    expect(await knows(world, "k")).toBe(false);
  });

  test("is refused when it is far ahead, and the store is as before", async () => {
    const world = await begin({ store });
    await world.call(rounds, { steps: [1] }, "k");
    await world.engine.submit(approved, { n: 1, withinMs: 10 * hour }, { key: "waits" });
    world.kill();
    world.clock.jumpWall(400 * day);
    await expect(world.start()).rejects.toThrow(/WW_CLOCK[\s\S]*400 days[\s\S]*maxDowntimeMs/);
    world.kill();
    world.clock.jumpWall(-400 * day);
    await world.start();
    expect(await knows(world, "k")).toBe(true);
    expect((await world.engine.request("waits")).status).toBe("running");
  });
});

test("a downtime that is confirmed is one: what fell due fires, and what was answered is kept", async () => {
  const world = await begin({ maxDowntimeMs: 500 * day });
  await world.call(rounds, { steps: [1] }, "k");
  await world.engine.submit(approved, { n: 1, withinMs: 10 * hour }, { key: "waits" });
  await world.restart(400 * day);
  await world.answer("waits");
  await world.clock.advance(2 * hour);
  expect(await knows(world, "k")).toBe(true);
});

test("an engine that has nothing to do for long has not been down", async () => {
  const world = await begin({ store: "sqlite" });
  await world.call(rounds, { steps: [1] }, "k");
  await world.clock.advance(5 * day);
  const before = world.store.commits;
  await world.clock.advance(day);
  expect(world.store.commits - before).toBe(24);
  world.kill();
  world.clock.jumpWall(29 * day);
  await world.start();
  await world.clock.advance(2 * hour);
  // Six days of running, one of the downtime.
  expect(await knows(world, "k")).toBe(false);
});

test("a clock that jumps while the engine runs changes nothing, also when the store is lost meanwhile", async () => {
  const world = await begin({ faults: { faultAt: (number) => (number === 4 ? "fail" : undefined) } });
  await world.engine.submit(approved, { n: 1, withinMs: 10 * hour }, { key: "waits" });
  world.clock.jumpWall(400 * day);
  for (const key of ["a", "b", "c"]) await world.call(rounds, { steps: [1] }, key).catch(() => {});
  await world.clock.advance(hour);
  expect(world.counted("store-lost")).toBe(1);
  expect(world.counted("store-back")).toBe(1);
  expect((await world.engine.request("waits")).status).toBe("running");
});

test("nothing is purged in the first hour after a start", async () => {
  const world = await begin({ retentionMs: 3 * hour });
  await ended(world, "k");
  await world.restart(6 * hour);
  await world.clock.advance(hour - 1000);
  expect(await knows(world, "k")).toBe(true);
  await world.clock.advance(2000);
  expect(await knows(world, "k")).toBe(false);
});

describe("where the store has a server with a clock", () => {
  const at = 1000 * day;
  /** The time at a claim after a downtime of a minute, by the clocks of this host and of the server. */
  const claimed = (ownMs: number, serverMs: number | undefined): number => {
    const clock = { wallMs: () => ownMs, monotonicMs: () => 5, after: () => () => {}, soon: () => {} };
    const time = new EngineTime(clock);
    time.begin(at, serverMs);
    return time.now() - at;
  };
  const later = at + 60_000;

  test.each([
    ["both are right", later, later, 60_000],
    ["this host is three days ahead", later + 3 * day, later, 60_000],
    ["the server is three days ahead", later, later + 3 * day, 60_000],
    ["this host is behind the last commit", at - day, later, 0],
    ["the server is behind the last commit", later, at - day, 0],
    ["there is no server", later, undefined, 60_000],
  ])("the earlier one counts: %s", (_what, ownMs, serverMs, passedMs) => {
    expect(claimed(ownMs, serverMs)).toBe(passedMs);
  });
});

describe("retention", () => {
  const at = 1000 * day;
  const claim = { epoch: 1, seq: 1, engineTime: at };

  test("counts the time that the engine ran, and a day of each downtime", () => {
    expect(new Retention(claim, at + hour, day).endedBefore(at + hour, 7 * day)).toBe(at + hour - 7 * day);
    const once = new Retention(claim, at + 20 * day, day);
    const downtimes = once.unsaved();
    expect(downtimes).toEqual([{ from: at, to: at + 20 * day }]);
    expect(once.unsaved()).toBeUndefined();
    expect(once.endedBefore(at + 20 * day, 7 * day)).toBe(at - 6 * day);
    expect(once.endedBefore(at + 26 * day, 7 * day)).toBe(at + 19 * day);
    expect(once.endedBefore(at + 28 * day, 7 * day)).toBe(at + 21 * day);
    const twice = new Retention(
      { ...claim, engineTime: at + 22 * day, downtimes: downtimes ?? [] },
      at + 40 * day,
      day,
    );
    expect(twice.endedBefore(at + 40 * day, 7 * day)).toBe(at - 3 * day);
  });

  test("ids of commands are known as long as answers, and those of posts as long as they may come again", () => {
    const memory = (retentionMs: number, began = at) =>
      new Retention(claim, began, retentionMs).memory(at + 30 * day);
    expect(memory(7 * day)).toEqual({ commandsSince: at + 23 * day, postsSince: at + 23 * day });
    expect(memory(hour)).toEqual({ commandsSince: at + 30 * day - hour, postsSince: at + 28 * day });
    // Of a downtime a day counts.
    expect(memory(7 * day, at + 28 * day).commandsSince).toBe(at - 4 * day);
  });

  test("a new store has no downtime", () => {
    expect(new Retention({ ...claim, engineTime: 0 }, at, day).unsaved()).toBeUndefined();
  });
});
