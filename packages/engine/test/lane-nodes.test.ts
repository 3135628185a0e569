import type { HistoryEvent } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { shardOf } from "@wheelwork/engine/cluster";
import { expect, test } from "vitest";
import { caller, operation, work } from "./lane-hubs.ts";
import { Nodes, type Member } from "./nodes.ts";

/** In a cluster a lane lives in one shard, which all ways in find. */

const shards = 4;

function setUp(hub = operation("op", {}, 60_000)) {
  const most = new Map<string, number>();
  const now = new Map<string, number>();
  const nodes = new Nodes({
    shards,
    hub,
    workers: (process) => [
      worker(work, async ({ flow, ms }) => {
        now.set(flow, (now.get(flow) ?? 0) + 1);
        most.set(flow, Math.max(most.get(flow) ?? 0, now.get(flow) ?? 0));
        await process.sleep(ms);
        now.set(flow, (now.get(flow) ?? 0) - 1);
        return {};
      }),
    ],
  });
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, 60_000);
    return promise;
  };
  return { nodes, most, soon, hub };
}

const did = (value: string) => ({ kind: "result", value: { did: value } });

async function begins({ node }: Member, id: string): Promise<HistoryEvent | undefined> {
  const history = await node.history(id);
  return history.find(({ type }) => type === "granted" || type === "started");
}

test("requests of a lane run one after the other, whichever node or channel they come through", async () => {
  const { nodes, most, soon } = setUp();
  const first = await nodes.node(1);
  const second = await nodes.node(1);
  await nodes.clock.advance(10_000);
  const client = await nodes.client();
  const ids: string[] = [];
  for (let n = 0; n < 9; n++) {
    const engine = [first.node, second.node, client][n % 3]!;
    const { id } = await soon(engine.submit("op", { flow: "a", note: `${n}` }, { key: `k${n}` }));
    ids.push(id);
  }
  await nodes.ask("from outside", { flow: "a", note: "channel" });
  expect(new Set(ids.map((id) => shardOf(id, shards))).size).toBe(1);
  for (const [n, id] of ids.entries()) {
    for (const engine of [client, second.node]) expect(await soon(engine.answer(id))).toEqual(did(`${n}`));
  }
  // Its sender gets the answer under the key that it gave.
  expect((await nodes.answered("from outside")).map((text) => text.slice(text.indexOf("{")))).toEqual([
    JSON.stringify(did("channel")),
  ]);
  expect(most.get("a")).toBe(1);
  const waited = await soon(client.submit("op", { flow: "a" }, { key: "w" }));
  const queued = await soon(client.submit("op", { flow: "a" }, { key: "v", priority: 3 }));
  expect(await soon(client.request(queued.id))).toMatchObject({
    status: "pending",
    lane: { name: "flow", key: "a" },
  });
  expect(await soon(client.cancel(queued.id))).toBe("accepted");
  expect(await soon(client.answer(queued.id))).toMatchObject({ code: "WW_CANCELLED" });
  expect(await soon(client.answer(waited.id))).toEqual(did("a"));
  await soon(client.stop());
});

test("a record in an inbox that lacks the mark of its lane is moved under it", async () => {
  const { nodes, most, soon } = setUp();
  const member = await nodes.node(1);
  await nodes.clock.advance(10_000);
  for (let n = 0; n < 8; n++) {
    const value = JSON.stringify({ type: "request", hub: "op", request: { flow: "a", note: `${n}` } });
    const headers = { ce_type: "wheelwork.request" };
    await soon(
      nodes.outside.append("wheelwork-inbox", { key: `k${n}`, value, headers }, shardOf(`k${n}`, shards)),
    );
  }
  await nodes.clock.advance(5000);
  const { items } = await soon(member.node.requests());
  expect(items.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => "ended"));
  expect(most.get("a")).toBe(1);
  expect(new Set(items.map(({ id }) => id.slice(0, id.indexOf("@")))).size).toBe(8);
});

test("the queue goes on at another node when its own dies", async () => {
  const { nodes, soon } = setUp();
  const first = await nodes.node(1);
  const ids: string[] = [];
  for (let n = 0; n < 5; n++)
    ids.push((await soon(first.node.submit("op", { flow: "a", note: `${n}` }, { key: `k${n}` }))).id);
  await nodes.clock.advance(50);
  first.process.kill();
  const second = await nodes.node(1);
  for (const [n, id] of ids.entries()) expect(await soon(second.node.answer(id))).toEqual(did(`${n}`));
  const began = await soon(Promise.all(ids.map((id) => begins(second, id))));
  expect(began.map((event) => event?.at)).toEqual(began.map((event) => event?.at).toSorted());
});

test("a hub calls hubs of its own lane, and of others", async () => {
  const { nodes, soon, most } = setUp(caller("op", operation("inner", {}, 10_000)));
  const member = await nodes.node(1);
  await nodes.clock.advance(10_000);
  const own = await soon(member.node.submit("op", { flow: "a", calls: ["a"] }));
  expect(await soon(member.node.answer(own.id))).toEqual(did("ok"));
  const other = await soon(member.node.submit("op", { flow: "a", calls: ["b", "c", "b"] }));
  expect(await soon(member.node.answer(other.id))).toEqual(did("ok"));
  expect(most.get("b")).toBe(1);
});
