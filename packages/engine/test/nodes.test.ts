import { end, hub, spoke } from "@wheelwork/core";
import { worker, type Store } from "@wheelwork/engine";
import {
  clusterTopics,
  createClient,
  createNode,
  replayDeadLetter,
  unpublishedAnswers,
  shardOf,
  type Channel,
  type NodeOptions,
} from "@wheelwork/engine/cluster";
import { MemoryBroker, MemoryLog, MemoryStore, SimulatedClock } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { z } from "zod";

const work = spoke("work", { input: z.object({}), output: z.object({}), timeoutMs: 1_000 });

const order = hub(
  "order",
  {
    request: z.object({ pieces: z.number() }),
    reply: z.object({ pieces: z.number() }),
    deadlineMs: 10_000,
    chart: { Working: { Done: "Done", Late: "Done" }, Done: end },
    data: (request) => request,
  },
  {
    Working: (s) => s.call(work, { input: () => ({}), settled: "Done", deadline: "Late" }),
    Done: ({ pieces }) => ({ pieces }),
  },
);

const channel: Channel = {
  name: "orders",
  from: "orders",
  to: "answers",
  hub: order as never,
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};

/** A cluster in virtual time, over a log and stores in memory. */
function setUp(shards = 2) {
  const clock = new SimulatedClock();
  const broker = new MemoryBroker({ clock });
  for (const { name, partitions = 1 } of clusterTopics({ shards, channels: [channel] }))
    broker.createTopic(name, partitions);
  const disks = Array.from({ length: shards }, () => new MemoryStore());
  const log = new MemoryLog(broker, { clock });
  /** What a promise gives, when time passes. */
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await clock.runUntil(promise, 60_000);
    return promise;
  };
  /** A node that has its share of the work; `kill`: as `kill -9`; `cutOff`: the log cannot be reached any more. */
  const start = async (options: Partial<NodeOptions> = {}) => {
    const process = clock.process();
    let isCutOff = false;
    const node = createNode({
      hubs: [order],
      workers: [worker(work, () => process.sleep(50).then(() => ({})))],
      shards,
      store: (shard) => (disks[shard] as MemoryStore).reopen(),
      log: new MemoryLog(broker, {
        clock: process,
        sends: () => process.alive,
        reaches: () => !isCutOff,
      }),
      channels: [channel],
      clock: process,
      ...options,
    });
    await soon(node.start());
    await clock.advance(10_000);
    return { node, kill: () => process.kill(), cutOff: () => void (isCutOff = true) };
  };
  return { clock, broker, disks, log, start, soon };
}

/** A key whose requests belong to a shard. */
const keyOf = (shard: number, shards = 2): string => {
  for (let number = 0; ; number++) if (shardOf(`k${number}`, shards) === shard) return `k${number}`;
};

test("a dead letter of an inbox is replayed to the shard that it came from", async () => {
  for (const shard of [0, 1]) {
    const { clock, broker, log, start, soon } = setUp();
    const key = keyOf(shard);
    await start();
    // Through the inbox, as from a node that does not own the shard.
    for (const pieces of [1, 2]) {
      const value = JSON.stringify({ type: "request", hub: "order", request: { pieces }, replyTo: "orders" });
      await soon(log.append("wheelwork-inbox", { key, value }, shard));
    }
    await clock.advance(10_000);
    const [letter] = broker.records("wheelwork-inbox-dlt");
    if (letter === undefined) throw new Error("another body under the key is no dead letter");
    await soon(replayDeadLetter(log, letter));
    await clock.advance(10_000);
    // It is what it was: another body under the key of a request that has its answer.
    expect(broker.records("wheelwork-inbox-dlt")).toHaveLength(2);
    const answers = broker.records("answers").map(({ value, headers }) => `${headers["ce_id"]} ${value}`);
    expect(new Set(answers).size).toBe(1);
  }
});

test("two bodies under one key are never both accepted, though nobody decides on them for long", async () => {
  const { clock, start, soon } = setUp(1);
  const owner = await start();
  const other = await start();
  expect([owner.node.shards.length, other.node.shards.length]).toEqual([1, 0]);
  // The group waits for the one that has died.
  owner.kill();
  const send = (pieces: number): Promise<string> =>
    other.node.submit(order, { pieces }, { key: "k" }).then(
      () => "accepted",
      (error: { code: string }) => error.code,
    );
  const sent = [send(1), send(2)];
  await clock.advance(30_000);
  expect((await Promise.all(sent)).filter((one) => one === "accepted").length).toBeLessThan(2);
  // Whoever has not been told, sends it again under its key.
  expect(await soon(send(1))).toBe("accepted");
  expect(await soon(send(2))).toBe("WW_KEY_REUSED");
});

test("a request whose run ends while another node makes a list is listed once, as it is in the end", async () => {
  const { clock, disks, start, soon } = setUp(1);
  const owner = await start();
  const slow = (store: MemoryStore): Store =>
    Object.assign(store, {
      list: async (...filter: Parameters<Store["list"]>) => {
        await new Promise<void>((resolve) => void clock.after(200, resolve));
        return MemoryStore.prototype.list.apply(store, filter);
      },
    });
  const reader = await start({ store: () => slow((disks[0] as MemoryStore).reopen()) });
  expect([owner.node.shards.length, reader.node.shards.length]).toEqual([1, 0]);
  await soon(owner.node.submit(order, { pieces: 1 }, { key: "k" }));
  const { items } = await soon(reader.node.requests());
  expect(items.map(({ id, status }) => `${id} ${status}`)).toEqual(["k ended"]);
});

test("a node that was taken over, and has not noticed, tells nobody that a request does not exist", async () => {
  const { clock, start, soon } = setUp(1);
  const zombie = await start();
  const owner = await start();
  zombie.cutOff();
  await clock.advance(20_000);
  expect([zombie.node.shards.length, owner.node.shards.length]).toEqual([1, 1]);
  await soon(owner.node.submit(order, { pieces: 1 }, { key: "k" }));
  const told = [
    () => zombie.node.request("k"),
    () => zombie.node.answer("k", { waitMs: 0 }),
    () => zombie.node.cancel("k"),
  ];
  for (const ask of told) {
    const code = await soon(
      ask().then(
        () => "told",
        (error: { code: string }) => error.code,
      ),
    );
    expect(code).not.toBe("WW_NOT_FOUND");
  }
  // It has let go of the shard, and reads it as any other node does.
  await clock.advance(1_000);
  expect(zombie.node.shards).toHaveLength(0);
  expect((await soon(zombie.node.request("k"))).id).toBe("k");
});

test("a shard that somebody else has taken over comes back when the group says so again", async () => {
  const { clock, disks, start, soon } = setUp(1);
  const signals: string[] = [];
  const { node } = await start({ observe: ({ name }) => void signals.push(name) });
  // Not by way of the group.
  const intruder = (disks[0] as MemoryStore).reopen();
  intruder.claim("somebody else");
  await soon(node.submit(order, { pieces: 1 }, { key: "k" }).catch(() => {}));
  expect(signals).toContain("shard-fenced");
  await clock.advance(10_000);
  expect(node.shards).toHaveLength(1);
  await soon(node.submit(order, { pieces: 1 }, { key: "k" }));
  expect(await soon(node.answer("k"))).toMatchObject({ kind: "result" });
});

test("an answer that was not published yet is, though an operator lets the shard begin its log anew", async () => {
  const { clock, broker, disks, log, start, soon } = setUp(1);
  const owner = await start();
  await soon(log.append("orders", { key: "k", value: '{"pieces":1}' }));
  await clock.advance(20);
  owner.cutOff();
  await clock.advance(100);
  owner.kill();
  expect(disks[0]?.find(["k"])[0]?.answer).toBeDefined();
  expect(broker.records("answers")).toHaveLength(0);
  // Its request is gone, so that nothing asks for its answer once more.
  broker.trim("orders", 0, 1);
  disks[0]?.forgetLog();
  await start();
  expect(broker.records("answers").map(({ key }) => key)).toEqual(["k"]);
});

test("a node of another cluster, with its store by mistake, takes no shard away from those who work on it", async () => {
  const { clock, broker, start, soon } = setUp(1);
  const events: string[] = [];
  const owner = await start({ observe: ({ name }) => void events.push(name) });
  await soon(owner.node.submit(order, { pieces: 1 }, { key: "k" }));
  await clock.advance(10_000);
  broker.createTopic("other-inbox", 1);
  const failures: Error[] = [];
  const onFailure = (error: Error): void => void failures.push(error);
  const other = await start({ inbox: "other-inbox", group: "other", channels: [], onFailure });
  // It tries again now and then.
  await clock.advance(60_000);
  expect(failures).toMatchObject([{ code: "WW_LOG_LOST" }]);
  expect(other.node.shards).toEqual([]);
  await soon(owner.node.submit(order, { pieces: 2 }, { key: "later" }));
  expect(events.filter((name) => name === "shard-claimed")).toHaveLength(1);
  expect(events).not.toContain("shard-fenced");
  expect(events).not.toContain("store-lost");
});

test("a node that runs while its inbox is made anew goes on with the new one, from its beginning", async () => {
  const { clock, broker, log, start, soon } = setUp(1);
  const lost: string[] = [];
  const onFailure = ({ message }: Error): void => void lost.push(message);
  await start({ onFailure });
  for (const key of ["a", "b", "c"]) await soon(log.append("orders", { key, value: '{"pieces":1}' }));
  await clock.advance(10_000);
  broker.deleteTopic("wheelwork-inbox");
  broker.createTopic("wheelwork-inbox", 1);
  await clock.advance(1_000);
  for (const message of lost) expect(message).toContain("WW_LOG_LOST");
  expect(lost).toHaveLength(1);
  for (const key of ["d", "e", "f", "g"]) await soon(log.append("orders", { key, value: '{"pieces":1}' }));
  await clock.advance(1_000);
  expect(lost).toHaveLength(1);
  expect(broker.records("answers").map(({ key }) => key)).toEqual(["a", "b", "c", "d", "e", "f", "g"]);
});

test("a shard at rest notes that its answers are published and its dead letters durable, then it is silent", async () => {
  const { clock, broker, disks, log, start, soon } = setUp(1);
  const disk = (disks[0] as MemoryStore).reopen();
  await start();
  const key = keyOf(0, 1);
  await soon(log.append("orders", { key, value: '{"pieces":1}' }));
  await clock.runUntil(() => broker.records("answers").length === 1, 60_000);
  await clock.advance(5_000);
  expect(await unpublishedAnswers(disk, disk.peek(), 100)).toBe(0);
  await soon(log.append("wheelwork-inbox", { key, value: "nonsense" }));
  await clock.runUntil(() => broker.records("wheelwork-inbox-dlt").length === 1, 60_000);
  await clock.advance(5_000);
  const rested = disk.peek();
  expect(rested.logProgress?.position).toBe(broker.records("wheelwork-inbox").length);
  await clock.advance(600_000);
  expect(disk.peek().seq).toBe(rested.seq);
});

test("an answer that is committed counts as unpublished until the next owner has published it", async () => {
  const { clock, broker, disks, log, start, soon } = setUp(1);
  const disk = (disks[0] as MemoryStore).reopen();
  const first = await start();
  const key = keyOf(0, 1);
  await soon(log.append("orders", { key, value: '{"pieces":1}' }));
  await clock.advance(20);
  first.cutOff();
  await clock.advance(100);
  first.kill();
  await clock.advance(5_000);
  expect(broker.records("answers")).toHaveLength(0);
  expect(await unpublishedAnswers(disk, disk.peek(), 100)).toBe(1);
  await start();
  expect(broker.records("answers").length).toBeGreaterThan(0);
  expect(await unpublishedAnswers(disk, disk.peek(), 100)).toBe(0);
});

test("a node that may not go on with a shard stays in its group: it does not take that for a store that is away", async () => {
  const { clock, broker, start, soon } = setUp(1);
  const reported: string[] = [];
  const { node } = await start();
  await soon(node.submit(order, { pieces: 1 }, { key: "k" }));
  await soon(node.stop());
  // What the shard has not read of its inbox is in no other topic.
  broker.createTopic("other-inbox", 1);
  const onFailure = ({ message }: Error): void => void reported.push(message);
  const next = await start({ onFailure, inbox: "other-inbox" });
  await clock.advance(60_000);
  expect(reported).toEqual([expect.stringContaining("WW_LOG_LOST")]);
  expect(next.node.health().status).toBe("running");
  // What is stored can be read all the same.
  expect((await soon(next.node.request("k"))).id).toBe("k");
});

test("who waits for an answer has it from the next owner, also at a node that has let go of the shard", async () => {
  const { clock, start, soon } = setUp(1);
  const first = await start({ workers: [worker(work, () => new Promise<Record<string, never>>(() => {}))] });
  await soon(first.node.submit(order, { pieces: 1 }, { key: "k" }));
  const answers = [first.node.answer("k"), first.node.answer("k", { waitMs: 60_000 })];
  const second = await start();
  expect([first.node.shards.length, second.node.shards.length]).toEqual([1, 0]);
  // The group does not know of it, but the store does.
  first.cutOff();
  await clock.advance(30_000);
  for (const answer of answers) expect(await soon(answer)).toMatchObject({ kind: "result" });
});

test("who waits at a node that stops is told so at once", async () => {
  const { start, soon } = setUp(1);
  const { node } = await start({
    workers: [worker(work, () => new Promise<Record<string, never>>(() => {}))],
  });
  await soon(node.submit(order, { pieces: 1 }, { key: "k" }));
  const refused = node.answer("k").catch((error: unknown) => error);
  await soon(node.stop({ drainMs: 0 }));
  expect(await refused).toMatchObject({ code: "WW_STOPPING", retryable: true });
  await expect(node.request("k")).rejects.toMatchObject({ code: "WW_STOPPING", retryable: true });
});

test("a client asks for what the nodes have, and works on nothing", async () => {
  const { broker, clock, disks, start, soon } = setUp(2);
  const client = createClient({
    hubs: [order],
    shards: 2,
    store: (shard) => (disks[shard] as MemoryStore).reopen(),
    log: new MemoryLog(broker, { clock }),
    clock,
  });
  await expect(soon(client.submit(order, { pieces: 1 }))).rejects.toMatchObject({ code: "WW_STOPPING" });
  await soon(client.start());
  const keys = [keyOf(0), keyOf(1)];
  const sent = keys.map((key) => client.submit(order, { pieces: 3 }, { key }));
  await start();
  for (const [index, key] of keys.entries()) {
    expect(await soon(sent[index] as (typeof sent)[number])).toEqual({ id: key, known: false });
    expect(await soon(client.submit(order, { pieces: 3 }, { key }))).toEqual({ id: key, known: true });
    expect(await soon(client.answer(key))).toEqual({ kind: "result", value: { pieces: 3 } });
  }
  const { id } = await soon(client.submit(order, { pieces: 4 }));
  expect(await soon(client.answer(id))).toEqual({ kind: "result", value: { pieces: 4 } });
  await clock.advance(1_000);
  const { items } = await soon(client.requests());
  expect(new Set(items.map((item) => item.id))).toEqual(new Set([...keys, id]));
  expect(client.health()).toMatchObject({ ready: true, liveRuns: 0 });
  await soon(client.stop());
  expect(client.health()).toMatchObject({ ready: false, status: "stopped" });
});
