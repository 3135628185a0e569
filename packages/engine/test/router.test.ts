import { end, hub, spoke } from "@wheelwork/core";
import {
  clusterTopics,
  createNode,
  worker,
  type Channel,
  type ClusterNode,
  type EngineSignal,
} from "@wheelwork/engine";
import {
  FaultyStore,
  MemoryBroker,
  MemoryLog,
  MemoryStore,
  SimulatedClock,
  type FaultPlan,
  type SimulatedProcess,
} from "@wheelwork/testing";
import { expect, test } from "vitest";
import { z } from "zod";

/** The short way: what the router of a node has for a shard of that node. */

const work = spoke("work", { input: z.number(), output: z.number(), timeoutMs: 1000 });
const doubling = hub(
  "doubling",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 10_000,
    chart: { Working: { Next: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  {
    Working: (s) =>
      s.call(work, {
        input: ({ n }) => n,
        ok: (_data, n) => s.raise("Next", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Done: ({ n }) => n,
  },
);

const channel: Channel = {
  name: "test",
  from: "in",
  to: "out",
  hub: doubling as never,
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};

interface Member {
  readonly node: ClusterNode;
  readonly process: SimulatedProcess;
  readonly stores: FaultyStore[];
  readonly signals: EngineSignal[];
}

/** Nodes over one log and one store for each shard, all in memory. */
class System {
  readonly clock = new SimulatedClock();
  readonly broker = new MemoryBroker({ clock: this.clock });
  readonly outside = new MemoryLog(this.broker, { clock: this.clock });
  readonly disks: readonly MemoryStore[];
  worked = 0;

  constructor(shards: number) {
    this.disks = Array.from({ length: shards }, () => new MemoryStore());
    for (const { name, partitions = 1 } of clusterTopics({ shards, channels: [channel] }))
      this.broker.createTopic(name, partitions);
  }

  /** Starts a node; a commit takes so long, and has the faults that are given. */
  async node(commitMs: number, faultAt?: FaultPlan["faultAt"]): Promise<Member> {
    const process = this.clock.process();
    const stores: FaultyStore[] = [];
    const signals: EngineSignal[] = [];
    const shards = this.disks.length;
    const node = createNode({
      hubs: [doubling],
      workers: [
        worker(work, (n) => {
          this.worked++;
          return n * 2;
        }),
      ],
      shards,
      store: (shard) => {
        const store = new FaultyStore((this.disks[shard] as MemoryStore).reopen(), {
          later: (task) => void process.after(commitMs, task),
          ...(faultAt === undefined ? {} : { faultAt }),
        });
        stores.push(store);
        return store;
      },
      log: new MemoryLog(this.broker, { clock: process, sends: () => process.alive }),
      channels: [channel],
      clock: process,
      observe: (signal) => void signals.push(signal),
    });
    void node.start();
    await this.clock.runUntil(() => node.shards.length > 0, 60_000);
    return { node, process, stores, signals };
  }

  async ask(key: string, n: number): Promise<void> {
    await this.clock.runUntil(this.outside.append("in", { key, value: JSON.stringify({ n }) }));
  }

  /** The answers that are published under a key, each with its id. */
  answers(key: string): string[] {
    return this.broker
      .records("out")
      .filter((record) => record.key === key)
      .map(({ value, headers }) => `${headers["ce_id"]} ${value}`);
  }

  async answered(key: string, times = 1): Promise<readonly string[]> {
    await this.clock.runUntil(() => this.answers(key).length >= times, 60_000);
    return this.answers(key);
  }

  noted(): number | undefined {
    return this.broker.committed("wheelwork", "in", 0);
  }

  inboxed(): string[] {
    return this.broker.records("wheelwork-inbox").map(({ key }) => key);
  }

  letters(): string[] {
    return this.broker.records("in-dlt").map(({ key, value }) => `${key} ${value}`);
  }
}

const doubled = (n: number): unknown => expect.stringContaining(`{"kind":"result","value":${n * 2}}`);

test("a request of a shard of this node does not go through its inbox; it is passed once its batch is committed", async () => {
  const system = new System(1);
  await system.node(300);
  await system.ask("a", 1);
  // It takes 300 ms to look the key up, and as long to commit.
  await system.clock.advance(550);
  expect(system.noted()).toBeUndefined();
  expect(await system.answered("a")).toEqual([doubled(1)]);
  await system.clock.advance(1000);
  expect(system.noted()).toBe(1);
  expect(system.inboxed()).toEqual([]);
});

test("what another node works on goes through the inbox of its shard", async () => {
  const system = new System(2);
  await system.node(1);
  await system.node(1);
  await system.clock.advance(10_000);
  const keys = Array.from({ length: 20 }, (_, index) => `key-${index}`);
  for (const key of keys) await system.ask(key, 3);
  for (const key of keys) expect(await system.answered(key)).toEqual([doubled(3)]);
  await system.clock.advance(1000);
  expect(system.inboxed().length).toBeGreaterThan(0);
  expect(system.inboxed().length).toBeLessThan(keys.length);
  expect(system.noted()).toBe(keys.length);
});

test.each(["fail", "unseen"] as const)(
  "a request whose commit has come to: %s, goes through the inbox, and is done once",
  async (fault) => {
    const system = new System(1);
    await system.node(5, (commit) => (commit === 1 ? fault : undefined));
    await system.ask("a", 1);
    const answers = await system.answered("a");
    await system.clock.advance(5000);
    expect(new Set(system.answers("a"))).toEqual(new Set(answers));
    expect(answers).toEqual([doubled(1)]);
    expect(system.inboxed()).toEqual(["a"]);
    expect(system.noted()).toBe(1);
  },
);

test("while the store is away, requests are kept by the inbox", async () => {
  const system = new System(1);
  const { stores } = await system.node(5);
  for (const store of stores) store.gone = true;
  await system.ask("a", 1);
  await system.ask("b", 2);
  await system.clock.advance(2000);
  expect(system.inboxed()).toEqual(["a", "b"]);
  expect(system.noted()).toBe(2);
  for (const store of stores) store.gone = false;
  expect(await system.answered("a")).toEqual([doubled(1)]);
  expect(await system.answered("b")).toEqual([doubled(2)]);
});

test("a body that differs is a dead letter, and passed once that is durable", async () => {
  const system = new System(1);
  await system.node(5);
  await system.ask("a", 1);
  await system.answered("a");
  await system.ask("a", 2);
  await system.clock.advance(1000);
  expect(system.letters()).toEqual(['a {"n":2}']);
  expect(system.noted()).toBe(2);
  // Its sender gets the answer of the request that the key belongs to.
  expect(new Set(system.answers("a")).size).toBe(1);
  expect(system.answers("a")).toHaveLength(2);
});

test("a request is not refused for one that was never committed", async () => {
  const system = new System(1);
  let faults = 1;
  const { node } = await system.node(50, (_number, { journal }) =>
    journal.some(({ key }) => key === "a") && faults-- > 0 ? "fail" : undefined,
  );
  // While one is committed, two come under one key: they are decided together, in the batch whose commit fails.
  await system.ask("another", 1);
  await system.clock.advance(10);
  // Who submits is told so, and never comes back.
  const submitted = node.submit("doubling", { n: 1 }, { key: "a" }).catch((error: unknown) => error);
  await system.ask("a", 2);
  await system.clock.runUntil(submitted, 60_000);
  expect(await submitted).toMatchObject({ code: "WW_STORE_UNAVAILABLE", retryable: true });
  expect(await system.answered("a")).toEqual([doubled(2)]);
  expect(system.letters()).toEqual([]);
});

test("what was committed and not noted is routed again by the next node, and answered as before", async () => {
  const system = new System(1);
  const first = await system.node(5);
  await system.ask("a", 1);
  const [answer] = await system.answered("a");
  first.process.kill();
  expect(system.noted()).toBeUndefined();
  await system.node(5);
  expect(await system.answered("a", 2)).toEqual([answer, answer]);
  expect(system.worked).toBe(1);
  await system.clock.advance(1000);
  expect(system.noted()).toBe(1);
});

test("a node that stops notes all that its shards have committed", async () => {
  const system = new System(1);
  const first = await system.node(100);
  await system.ask("a", 1);
  await system.clock.advance(150);
  await system.clock.runUntil(first.node.stop(), 10_000);
  expect(system.noted()).toBe(1);
  await system.node(5);
  expect(await system.answered("a")).toEqual([doubled(1)]);
});
