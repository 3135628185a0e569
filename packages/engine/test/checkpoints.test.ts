import type { Commit } from "@wheelwork/engine";
import { describe, expect, test } from "vitest";
import { begin } from "./begin.ts";
import { approved } from "./hubs.ts";
import { checkHistory, type World } from "./world.ts";

// What one commit writes of a checkpoint is bounded: the loop stands still meanwhile.

/** What the store is given from now on. */
function commitsOf({ store }: World): Commit[] {
  const commits: Commit[] = [];
  const commit = store.commit.bind(store);
  store.commit = (given) => {
    commits.push(given);
    return commit(given);
  };
  return commits;
}

const most = (numbers: readonly number[]): number => numbers.reduce((a, b) => Math.max(a, b), 0);

const submitAll = (world: World, name: string, count: number): Promise<unknown> =>
  Promise.all(
    Array.from({ length: count }, (_, n) =>
      world.engine.submit(approved, { n, withinMs: 50_000 }, { key: `${name}${n}` }),
    ),
  );

describe.each(["memory", "sqlite"] as const)("a checkpoint (%s)", (store) => {
  test("writes a bounded number of rows with each commit, also while much is decided, and comes to its end", async () => {
    const limits = { checkpointEvents: 1_000, checkpointRuns: 100 };
    const world = await begin({ store, limits });
    const commits = commitsOf(world);
    for (const name of ["a", "b", "c"]) await submitAll(world, name, 1_000);
    await world.clock.advance(1);
    const parts = commits.flatMap(({ checkpoint }) => checkpoint ?? []);
    expect(most(parts.map(({ runs }) => runs.length))).toBeLessThanOrEqual(100);
    expect(parts.filter(({ covers }) => covers !== 0).length).toBeGreaterThan(0);
    await world.restart();
    for (const key of ["a0", "a999", "b500", "c999"])
      expect((await world.engine.request(key)).status).toBe("running");
    await world.clock.advance(60_000);
    for (const key of ["a0", "a999", "b500", "c999"])
      expect((await world.engine.request(key)).status).toBe("ended");
  });

  test("deletes a bounded number of rows with each commit", async () => {
    const limits = { checkpointEvents: 1_000, checkpointRuns: 100, horizonMs: 100_000 };
    const world = await begin({ store, limits });
    await submitAll(world, "a", 1_500);
    await world.clock.advance(1);
    const commits = commitsOf(world);
    await world.clock.advance(60_000);
    await submitAll(world, "b", 600);
    await world.clock.advance(1);
    const ended = commits.map(({ checkpoint }) => checkpoint?.ended ?? []);
    expect(new Set(ended.flat()).size).toBe(1_500);
    expect(most(ended.map(({ length }) => length))).toBeLessThanOrEqual(200);
    await world.restart();
    expect(world.engine.health().liveRuns).toBe(600);
    expect((await world.engine.request("a7")).status).toBe("ended");
  });

  test("writes a part of a long history before its turn", async () => {
    const world = await begin({ store });
    const commits = commitsOf(world);
    await submitAll(world, "a", 1);
    for (let note = 0; note < 2_500; note++) await world.engine.signal("a0", "note", `${note % 2}`);
    const histories = commits.flatMap(({ checkpoint }) => checkpoint?.histories ?? []);
    expect(histories.length).toBeGreaterThanOrEqual(2);
    expect(most(histories.map(({ events }) => events.length))).toBeLessThan(1_100);
    const before = await world.engine.history("a0");
    await world.restart();
    expect(await world.engine.history("a0")).toEqual(before);
    await world.engine.cancel("a0");
    await world.clock.advance(1);
    const history = await world.engine.history("a0");
    expect(history.filter(({ type }) => type === "signalled")).toHaveLength(2_500);
    checkHistory(approved, history);
  });
});
