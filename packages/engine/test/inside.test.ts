import { worker } from "@wheelwork/engine";
import { expect, test } from "vitest";
import { operation, work } from "./lane-hubs.ts";
import { Nodes } from "./nodes.ts";

/** What operators see of a cluster is the same through each node, and through a client that works on nothing. */

const shards = 4;

async function open() {
  const hub = operation("op", {}, 60_000);
  const nodes = new Nodes({
    shards,
    hub,
    workers: (process) => [
      worker(work, async ({ ms }) => {
        await process.sleep(ms);
        return {};
      }),
    ],
  });
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, 60_000);
    return promise;
  };
  const members = [await nodes.node(1), await nodes.node(1)];
  await nodes.clock.advance(10_000);
  const client = await nodes.client();
  return { nodes, soon, engines: [...members.map(({ node }) => node), client], client };
}

test("lanes are the same wherever somebody asks, before a checkpoint and after", async () => {
  const { nodes, soon, engines, client } = await open();
  for (const flow of ["a", "b", "b", "c", "c", "c"])
    await soon(client.submit("op", { flow, note: flow, ms: 50_000 }));
  const [first, ...others] = await Promise.all(engines.map((engine) => soon(engine.lanes())));
  expect(first).toMatchObject({
    lanes: [
      { name: "flow", key: "c", places: 1, held: 1, waiting: 2 },
      { key: "b", waiting: 1 },
      { key: "a", waiting: 0 },
    ],
    total: 3,
  });
  for (const other of others) expect(other).toEqual(first);
  expect(first!.lanes[0]!.holders).toHaveLength(1);
  await nodes.clock.advance(200_000);
  for (const engine of engines) expect(await soon(engine.lanes())).toEqual({ lanes: [], total: 0 });
});

test("each shard has its owner, and how far it is behind", async () => {
  const { soon, engines } = await open();
  const seen = await Promise.all(engines.map((engine) => soon(engine.allShards())));
  for (const all of seen) {
    expect(all.map(({ shard }) => shard)).toEqual([0, 1, 2, 3]);
    expect(all).toMatchObject(Array.from({ length: shards }, () => ({ lag: 0, unpublished: 0 })));
    expect(all.every(({ owner }) => owner !== undefined)).toBe(true);
  }
  for (let shard = 0; shard < shards; shard++)
    expect(seen.filter((all) => all[shard]!.isHere)).toHaveLength(1);
});

test("dead letters are listed and sent back by any of them", async () => {
  const { nodes, soon, engines, client } = await open();
  for (let n = 0; n < 3; n++) await soon(nodes.outside.append("in", { key: "", value: `v${n}` }));
  await nodes.clock.advance(5000);
  const [first, ...others] = await Promise.all(
    engines.map((engine) => soon(engine.deadLetters({ topic: "in" }))),
  );
  expect(first).toMatchObject({ topic: "in", hasMore: false });
  expect(first!.letters.map(({ value }) => value)).toEqual(["v0", "v1", "v2"]);
  for (const other of others) expect(other).toEqual(first);
  expect(await soon(client.deadLetters({ topic: "in", limit: 2 }))).toMatchObject({
    hasMore: true,
    letters: [{ value: "v1" }, { value: "v2" }],
  });
  expect(await soon(client.deadLetters())).toMatchObject({ topic: "wheelwork-inbox", letters: [] });

  const { place } = first!.letters[1]!;
  await soon(client.replayDeadLetter(place, { topic: "in" }));
  await nodes.clock.advance(5000);
  const again = await soon(client.deadLetters({ topic: "in" }));
  expect(again.letters.map(({ value }) => value)).toEqual(["v0", "v1", "v2", "v1"]);
  for (const [where, topic] of [
    ["0:99", "in"],
    ["9:0", "in"],
    ["nowhere", "in"],
    ["0:0", "other"],
  ] as const)
    await expect(soon(client.replayDeadLetter(where, { topic }))).rejects.toMatchObject({
      code: "WW_NOT_FOUND",
    });
  await expect(soon(client.deadLetters({ topic: "other" }))).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
});
