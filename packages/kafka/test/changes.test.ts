import { randomUUID } from "node:crypto";
import type { EngineEvent } from "@wheelwork/engine";
import {
  clusterTopics,
  createNode,
  readDeadLetter,
  replayDeadLetter,
  type Channel,
  type ClusterNode,
  type LogRecord,
} from "@wheelwork/engine/cluster";
import type { KafkaBroker } from "@wheelwork/services";
import { MemoryStore } from "@wheelwork/testing";
import { Admin, ProduceAcks, Producer } from "@platformatic/kafka";
import { inboxMessage } from "@wheelwork/engine/parts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { kafka, type Kafka } from "../src/index.ts";
import { canRun, startBroker } from "./broker.ts";
import { echo } from "./echo.ts";

const suite = canRun ? describe : describe.skip;
const eventually = { timeout: 120_000, interval: 20 };

let broker: KafkaBroker;
let stop: () => Promise<void>;
let admin: Admin;
const open: Kafka[] = [];
beforeAll(async () => {
  if (!canRun) return;
  ({ broker, stop } = await startBroker());
  admin = new Admin({ clientId: "test", bootstrapBrokers: [broker.brokers] });
});
afterAll(async () => {
  if (!canRun) return;
  await admin.close();
  await Promise.all(open.map((log) => log.close()));
  await stop();
});

function connect(): Kafka {
  const log = kafka({ brokers: broker.brokers });
  open.push(log);
  return log;
}

async function addPartitions(name: string, from: number, count: number): Promise<void> {
  const [brokerId = 0] = (await admin.metadata({ topics: [] })).brokers.keys();
  const assignments = Array.from({ length: count - from }, () => ({ brokerIds: [Number(brokerId)] }));
  await admin.createPartitions({ topics: [{ name, count, assignments }], validateOnly: false });
  const log = connect();
  await expect.poll(async () => (await log.topic(name)).partitions, eventually).toBe(count);
}

/** A cluster with one shard and one channel, whose nodes begin when a test wants them. */
async function cluster() {
  const inbox = `inbox-${randomUUID()}`;
  const channel: Channel = {
    name: "test",
    from: `${inbox}-in`,
    to: `${inbox}-out`,
    hub: echo,
    request: ({ value }) => JSON.parse(value) as unknown,
    answer: (answer) => ({ value: JSON.stringify(answer) }),
  };
  const log = connect();
  await log.ensureTopics(
    clusterTopics({ shards: 1, inbox, channels: [channel] }).map(({ name }) => ({ name, partitions: 1 })),
  );
  const disk = new MemoryStore();
  const events: EngineEvent[] = [];
  const answers = new Map<string, string[]>();
  log.subscribe(channel.to, ({ key, value }) => {
    answers.set(key, [...(answers.get(key) ?? []), value]);
  });
  await log.ready();
  const start = async (): Promise<ClusterNode> => {
    const begun = createNode({
      hubs: [echo],
      workers: [],
      shards: 1,
      store: () => disk.reopen(),
      log: connect(),
      inbox,
      group: inbox,
      channels: [channel],
      observe: (event) => void events.push(event),
    });
    await begun.start();
    return begun;
  };
  const hasShard = async (of: ClusterNode): Promise<void> => {
    await expect.poll(() => of.shards.map(({ status }) => status), eventually).toEqual(["running"]);
  };
  const node = async (): Promise<ClusterNode> => {
    const begun = await start();
    await hasShard(begun);
    return begun;
  };
  /** Sends a request through the inbox. */
  const append = (key: string, n: number): Promise<void> => {
    const entry = { type: "request", hub: "echo", request: { n }, replyTo: channel.name } as const;
    return log.append(inbox, inboxMessage(key, entry), 0);
  };
  const ask = (key: string, n: number, partition = 0): Promise<void> =>
    log.append(channel.from, { key, value: JSON.stringify({ n }) }, partition);
  const lost = (): EngineEvent[] => events.filter(({ name }) => name === "log-lost");
  return { inbox, channel, start, hasShard, node, append, ask, answers, lost };
}

const result = (n: number): string[] => [`{"kind":"result","value":${n}}`];

suite("topics that change under their readers", () => {
  test("partitions that are added to a channel are read without a restart", async () => {
    const { channel, node, ask, answers } = await cluster();
    const first = await node();
    await addPartitions(channel.from, 1, 4);
    for (const n of [0, 1, 2, 3]) await ask(`k${n}`, n, n);
    for (const n of [0, 1, 2, 3])
      await expect.poll(() => answers.get(`k${n}`), eventually).toEqual(result(n));
    await first.stop();
  });

  test("requests that were deleted before they were read are told, and the rest goes on", async () => {
    const { channel, node, ask, answers, lost } = await cluster();
    const first = await node();
    await ask("before", 1);
    await expect.poll(() => answers.get("before"), eventually).toEqual(result(1));
    await first.stop();
    for (const n of [2, 3, 4]) await ask(`k${n}`, n);
    await admin.deleteRecords({
      topics: [{ name: channel.from, partitions: [{ partition: 0, offset: 3n }] }],
    });
    const second = await node();
    await expect.poll(() => answers.get("k4"), eventually).toEqual(result(4));
    expect(lost()).toMatchObject([{ topic: channel.from }]);
    expect(second.health()).toMatchObject({
      ready: true,
      warnings: [expect.stringContaining("WW_LOG_LOST") as string],
    });
    await second.stop();
  });

  test("a record that is far larger than its compressed form is refused to its sender, and holds up no other", async () => {
    const { inbox, channel, node, ask, append, answers } = await cluster();
    const log = connect();
    const only = await node();
    const raw = new Producer({ clientId: "raw", bootstrapBrokers: [broker.brokers], acks: ProduceAcks.ALL });
    const value = Buffer.alloc(70_000_000, "a");
    for (const topic of [channel.from, inbox])
      await raw.send({
        compression: "zstd",
        messages: [{ topic, key: Buffer.from("huge"), value, partition: 0 }],
      });
    await raw.close();
    await ask("k1", 1);
    await append("k2", 2);
    for (const n of [1, 2]) await expect.poll(() => answers.get(`k${n}`), eventually).toEqual(result(n));
    await expect
      .poll(() => answers.get("huge"), eventually)
      .toEqual([expect.stringContaining("the record has 70000004 bytes") as string]);
    await expect.poll(() => log.end(`${inbox}-dlt`, 0), eventually).toBe(1);
    const letters: LogRecord[] = [];
    const records = (more: readonly LogRecord[]): void => void letters.push(...more);
    await log.read(`${inbox}-dlt`, 0, undefined, { records, lost: () => {} });
    await expect.poll(() => letters.length, eventually).toBe(1);
    const [letter] = letters as [LogRecord];
    expect(readDeadLetter(letter)).toMatchObject({ key: "huge", isShort: true });
    await expect(replayDeadLetter(log, letter)).rejects.toMatchObject({ code: "WW_TOO_LARGE" });
    await only.stop();
  });

  test("a channel whose topic is gone holds up neither the inbox nor the group, is told, and works once it is back", async () => {
    const { channel, start, hasShard, node, append, ask, answers, lost } = await cluster();
    const first = await node();
    const second = await start();
    await admin.deleteTopics({ topics: [channel.from] });
    await expect.poll(() => admin.listTopics(), eventually).not.toContain(channel.from);
    await append("k1", 1);
    await expect.poll(() => answers.get("k1"), eventually).toEqual(result(1));
    await first.stop();
    await hasShard(second);
    await append("k2", 2);
    await expect.poll(() => answers.get("k2"), eventually).toEqual(result(2));
    await expect.poll(lost, eventually).toMatchObject([{ topic: channel.from }]);
    await connect().ensureTopics([{ name: channel.from, partitions: 1 }]);
    await ask("k3", 3);
    await expect.poll(() => answers.get("k3"), eventually).toEqual(result(3));
    await second.stop();
  });

  test("an inbox that was cut, was created again or has more partitions stops no shard and no node", async () => {
    const { inbox, node, append, answers, lost } = await cluster();
    const log = connect();
    const done = async (n: number): Promise<void> => {
      await expect.poll(() => answers.get(`k${n}`), eventually).toEqual(result(n));
      // How far the shard has come is committed when it has rested.
      await new Promise((resolve) => void setTimeout(resolve, 1500));
    };
    const first = await node();
    await append("k1", 1);
    await done(1);
    await first.stop();
    for (const n of [2, 3]) await append(`k${n}`, n);
    await admin.deleteRecords({ topics: [{ name: inbox, partitions: [{ partition: 0, offset: 2n }] }] });
    const second = await node();
    await done(3);
    expect(lost()).toMatchObject([{ topic: inbox }]);
    await admin.deleteTopics({ topics: [inbox] });
    await expect.poll(() => admin.listTopics(), eventually).not.toContain(inbox);
    await log.ensureTopics([{ name: inbox, partitions: 1 }]);
    await append("k4", 4);
    await done(4);
    expect(lost()).toMatchObject([{ topic: inbox }, { topic: inbox }]);
    await addPartitions(inbox, 1, 2);
    await second.stop();
    await expect(log.ensureTopics([{ name: inbox, partitions: 1 }])).rejects.toMatchObject({
      code: "WW_CONFIG",
    });
    await log.ensureTopics([{ name: inbox, partitions: 1, mayHaveMore: true }]);
    const third = await node();
    await append("k5", 5);
    await done(5);
    expect(lost()).toHaveLength(2);
    await third.stop();
  });

  test("a group of one node that shares out anew while its inbox is missing keeps its shard", async () => {
    const { inbox, channel, node, answers, ask, append } = await cluster();
    const only = await node();
    const log = connect();
    await admin.deleteTopics({ topics: [inbox] });
    await expect.poll(() => admin.listTopics(), eventually).not.toContain(inbox);
    await addPartitions(channel.from, 1, 2);
    // The second partition has a reader once the group has shared out.
    await ask("k1", 1, 1);
    await expect.poll(() => answers.get("k1"), eventually).toEqual(result(1));
    expect(only.shards).toHaveLength(1);
    await log.ensureTopics([{ name: inbox, partitions: 1 }]);
    await append("k2", 2);
    await expect.poll(() => answers.get("k2"), eventually).toEqual(result(2));
    await only.stop();
  });

  test("how far a group has come is told for each partition, with where it begins", async () => {
    const log = connect();
    const topic = `t-${randomUUID()}`;
    await log.ensureTopics([{ name: topic, partitions: 2 }]);
    for (const n of [0, 1, 2]) await log.append(topic, { key: "k", value: `${n}` }, 1);
    await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 1, offset: 2n }] }] });
    // A broker that was just started has no place for the notes of groups yet.
    const before = (): Promise<unknown> => log.progress("nobody", topic).catch(() => undefined);
    await expect.poll(before, eventually).toEqual([{ first: 0 }, { first: 2 }]);
    const assigned = Promise.withResolvers<void>();
    const group = `g-${randomUUID()}`;
    const member = await log.join({
      group,
      topics: [topic],
      state: () => ({ owns: [], refuses: [] }),
      assigned: () => assigned.resolve(),
    });
    await assigned.promise;
    await member.commit(topic, 1, 1);
    expect(await log.progress(group, topic)).toEqual([{ first: 0 }, { first: 2, committed: 1 }]);
  });

  test("a subscription hears the partitions that are added to its topic", async () => {
    const log = connect();
    const topic = `t-${randomUUID()}`;
    await log.ensureTopics([{ name: topic, partitions: 1 }]);
    const heard: string[] = [];
    log.subscribe(topic, ({ value }) => void heard.push(value));
    await log.ready();
    await addPartitions(topic, 1, 3);
    for (const partition of [0, 1, 2])
      await log.append(topic, { key: "k", value: `v${partition}` }, partition);
    await expect.poll(() => heard.toSorted(), eventually).toEqual(["v0", "v1", "v2"]);
  });
});
