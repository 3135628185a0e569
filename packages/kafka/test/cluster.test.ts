import { randomUUID } from "node:crypto";
import { end, hub, spoke, WheelworkError } from "@wheelwork/core";
import { relay, externalWorker, worker, type EngineEvent } from "@wheelwork/engine";
import {
  clusterTopics,
  createClient,
  createNode,
  readDeadLetter,
  replayDeadLetter,
  shardOf,
  type Channel,
  type ClusterNode,
  type Log,
  type LogRecord,
  type NodeOptions,
} from "@wheelwork/engine/cluster";
import type { KafkaBroker } from "@wheelwork/services";
import { MemoryStore } from "@wheelwork/testing";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import * as z from "zod";
import { kafka, type Kafka } from "../src/index.ts";
import { canRun, startBroker } from "./broker.ts";

const suite = canRun ? describe : describe.skip;
const eventually = { timeout: 120_000, interval: 20 };

let broker: KafkaBroker;
let stop: () => Promise<void>;
beforeAll(async () => {
  if (canRun) ({ broker, stop } = await startBroker());
});
afterAll(async () => {
  if (canRun) await stop();
});

const work = spoke("work", {
  input: z.object({ n: z.number() }),
  output: z.object({ doubled: z.number() }),
  errors: ["refused"],
  timeoutMs: 5000,
  retry: { attempts: 2, backoffMs: 10 },
});

/** Waits for a signal, and then for its worker; broken ones throw. */
function jobHub(version = 1) {
  return hub(
    "job",
    {
      version,
      request: z.object({ n: z.number(), wait: z.boolean().optional(), broken: z.boolean().optional() }),
      reply: z.object({ doubled: z.number() }),
      errors: ["cancelled", "failed"],
      signals: { go: z.object({ extra: z.number() }) },
      cancel: "Cancel",
      deadlineMs: 60_000,
      ...(version === 2 ? { migrate: { 1: (run) => run } } : {}),
      chart: {
        Begun: { Wait: "Waiting", Next: "Working" },
        Waiting: { Go: "Working", Cancel: "Cancelled", TimeUp: "Failed" },
        Working: { Done: "Finished", Failed: "Failed", Cancel: "Cancelled", TimeUp: "Failed" },
        Finished: end,
        Failed: end,
        Cancelled: end,
      },
      data: (request) => ({ ...request, doubled: 0 }),
    },
    {
      Begun: (s) =>
        s.pick((data) => {
          if (data.broken === true) throw new Error("broken on purpose");
          return data.wait === true ? "Wait" : "Next";
        }),
      Waiting: (s) =>
        s.wait({ on: { go: (data, { extra }) => s.raise("Go", { n: data.n + extra }) }, deadline: "TimeUp" }),
      Working: (s) =>
        s.call(work, {
          input: ({ n }) => ({ n }),
          ok: (_data, { doubled }) => s.raise("Done", { doubled }),
          failed: "Failed",
          deadline: "TimeUp",
        }),
      Finished: ({ doubled }) => ({ doubled }),
      Failed: (_data, s) => s.fail("failed", "it failed"),
      Cancelled: (_data, s) => s.fail("cancelled", "it was cancelled"),
    },
  );
}

const doubling = worker(work, ({ n }) => ({ doubled: n * 2 }));

/** A new key whose requests belong to a shard. */
function keyOfShard(shard: number, shards: number): string {
  for (;;) {
    const key = randomUUID();
    if (shardOf(key, shards) === shard) return key;
  }
}

/** A cluster of nodes in this process, over a real broker: their stores are in memory, and shared. */
class TestCluster {
  readonly inbox = `inbox-${randomUUID()}`;
  readonly shards: number;
  readonly disks: MemoryStore[];
  readonly nodes: { readonly node: ClusterNode; readonly log: Kafka }[] = [];
  readonly failures: Error[] = [];
  readonly signals: EngineEvent[] = [];

  constructor(shards: number) {
    this.shards = shards;
    this.disks = Array.from({ length: shards }, () => new MemoryStore());
  }

  async prepare(): Promise<this> {
    const log = kafka({ brokers: broker.brokers });
    await log.ensureTopics(
      clusterTopics({ shards: this.shards, inbox: this.inbox }).map(({ name, partitions = 1 }) => ({
        name,
        partitions,
      })),
    );
    await log.close();
    return this;
  }

  async node(options: Partial<NodeOptions> = {}): Promise<ClusterNode> {
    const log = kafka({ brokers: broker.brokers, sessionTimeoutMs: 10_000 });
    const node = createNode({
      hubs: [jobHub()],
      workers: [doubling],
      shards: this.shards,
      store: (shard) => (this.disks[shard] as MemoryStore).reopen(),
      log,
      inbox: this.inbox,
      group: this.inbox,
      onFailure: (error) => void this.failures.push(error),
      observe: (signal) => void this.signals.push(signal),
      ...options,
    });
    this.nodes.push({ node, log });
    await node.start();
    return node;
  }

  /** Waits until the nodes have so many shards each, all of them at work. */
  async settled(...counts: readonly (readonly [ClusterNode, number])[]): Promise<void> {
    const working = ({ shards }: ClusterNode): number =>
      shards.filter(({ status }) => status === "running").length;
    for (const [node, count] of counts) await vi.waitUntil(() => working(node) === count, eventually);
  }

  /** A key of a shard of this node. */
  keyOf(node: ClusterNode): string {
    for (;;) {
      const key = randomUUID();
      if (node.shards.some(({ shard }) => shard === shardOf(key, this.shards))) return key;
    }
  }

  async close(): Promise<void> {
    for (const { node, log } of this.nodes) {
      await node.stop();
      await log.close();
    }
  }
}

const open: TestCluster[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((cluster) => cluster.close()));
});
async function cluster(shards: number): Promise<TestCluster> {
  const made = new TestCluster(shards);
  open.push(made);
  return made.prepare();
}

suite("an engine of many nodes", () => {
  test("takes requests at any node, and answers, shows and lists them at any node", async () => {
    const system = await cluster(4);
    const [a, b] = [await system.node(), await system.node()];
    await system.settled([a, 2], [b, 2]);
    for (const owner of [a, b]) {
      const key = system.keyOf(owner);
      expect(await a.submit("job", { n: 21 }, { key })).toEqual({ id: key, known: false });
      expect(await a.answer(key)).toEqual({ kind: "result", value: { doubled: 42 } });
      for (const node of [a, b]) {
        expect(await node.answer(key)).toEqual({ kind: "result", value: { doubled: 42 } });
        expect(await node.submit("job", { n: 21 }, { key })).toEqual({ id: key, known: true });
        await expect(node.submit("job", { n: 22 }, { key })).rejects.toMatchObject({ code: "WW_KEY_REUSED" });
        await expect.poll(async () => (await node.request(key)).status, eventually).toBe("ended");
        const types = (await node.history(key)).map(({ type }) => type);
        expect([types[0], types.at(-1)]).toEqual(["started", "ended"]);
        const { items } = await node.requests();
        expect(items.filter(({ id }) => id === key)).toHaveLength(1);
      }
    }
    await expect(a.request(system.keyOf(b))).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
    await expect(a.answer(system.keyOf(b))).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
    await expect(a.submit("job", { n: "x" } as never)).rejects.toMatchObject({ code: "WW_INVALID_REQUEST" });
    await expect(a.submit("none", {})).rejects.toMatchObject({ code: "WW_HUB_UNKNOWN" });
  });

  test("takes commands at any node: signals, cancels, retries", async () => {
    const system = await cluster(2);
    const [a, b] = [await system.node(), await system.node()];
    await system.settled([a, 1], [b, 1]);
    const waiting = system.keyOf(b);
    await a.submit("job", { n: 1, wait: true }, { key: waiting });
    // What a 202 has named is found at once, at every node, with what it waits in.
    expect(await a.request(waiting)).toMatchObject({
      status: "running",
      state: "Waiting",
      answer: undefined,
    });
    expect((await a.requests({ status: "running" })).items.map(({ id }) => id)).toEqual([waiting]);
    expect((await a.history(waiting)).length).toBeGreaterThan(1);
    expect(await a.answer(waiting, { waitMs: 50 })).toBeUndefined();
    await expect(a.signal(waiting, "stop", {})).rejects.toMatchObject({ code: "WW_SIGNAL_UNKNOWN" });
    await expect(a.signal(waiting, "go", {})).rejects.toMatchObject({ code: "WW_INVALID_INPUT" });
    const answer = a.answer(waiting);
    expect(await a.signal(waiting, "go", { extra: 9 })).toBe("accepted");
    expect(await answer).toEqual({ kind: "result", value: { doubled: 20 } });
    await expect.poll(() => a.cancel(waiting), eventually).toBe("ended");

    const cancelled = system.keyOf(b);
    await a.submit("job", { n: 1, wait: true }, { key: cancelled });
    expect(await a.cancel(cancelled)).toBe("accepted");
    expect(await a.answer(cancelled)).toMatchObject({ kind: "error", code: "cancelled" });

    const parked = system.keyOf(b);
    await a.submit("job", { n: 1, broken: true }, { key: parked });
    await expect.poll(async () => (await a.request(parked)).status, eventually).toBe("incident");
    expect((await a.requests({ status: "incident" })).items.map(({ id }) => id)).toEqual([parked]);
    expect(await a.resolve(parked, "given up")).toBe("accepted");
    expect(await a.answer(parked)).toMatchObject({ kind: "error", code: "WW_INCIDENT" });
    await expect(a.retry(system.keyOf(b))).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
  });

  test("hands shards over in good order: what is under way goes on elsewhere, and nobody waits for long", async () => {
    const system = await cluster(4);
    const a = await system.node();
    const b = await system.node();
    await system.settled([a, 2], [b, 2]);
    const load = { on: true };
    const waits: number[] = [];
    const ask = async (): Promise<void> => {
      while (load.on) {
        const began = performance.now();
        const key = randomUUID();
        for (;;) {
          try {
            await b.submit("job", { n: 1 }, { key });
            expect(await b.answer(key)).toEqual({ kind: "result", value: { doubled: 2 } });
            break;
          } catch (error) {
            if (!(error instanceof WheelworkError) || !error.retryable) throw error;
          }
        }
        waits.push(performance.now() - began);
      }
    };
    const asking = Promise.all(Array.from({ length: 8 }, ask));
    await expect.poll(() => waits.length, eventually).toBeGreaterThan(50);
    await a.stop();
    await system.settled([b, 4]);
    const before = waits.length;
    await expect.poll(() => waits.length, eventually).toBeGreaterThan(before + 50);
    load.on = false;
    await asking;
    expect(a.shards).toEqual([]);
    expect(system.failures).toEqual([]);
  });

  test("what a channel brings is answered once each, with or without the inbox, while nodes come, go and die", async () => {
    const system = await cluster(4);
    const [from, to] = [`${system.inbox}-in`, `${system.inbox}-out`];
    const channel: Channel = {
      name: "test",
      from,
      to,
      hub: "job",
      request: ({ value }) => JSON.parse(value) as unknown,
      answer: (answer) => ({ value: JSON.stringify(answer) }),
    };
    const log = kafka({ brokers: broker.brokers });
    await log.ensureTopics([from, to, `${from}-dlt`].map((name) => ({ name, partitions: 2 })));
    const answers = new Map<string, Set<string>>();
    log.subscribe(to, ({ key, value, headers }) => {
      answers.set(key, (answers.get(key) ?? new Set()).add(`${headers?.["ce_id"]} ${value}`));
    });
    const inboxed = new Set<string>();
    log.subscribe(system.inbox, ({ key }) => void inboxed.add(key));
    const letters: string[] = [];
    log.subscribe(`${from}-dlt`, ({ key }) => void letters.push(key));
    await log.ready();
    const sent: string[] = [];
    const send = async (count: number): Promise<void> => {
      const keys = Array.from({ length: count }, () => randomUUID());
      sent.push(...keys);
      await Promise.all(keys.map((key, n) => log.publish(from, { key, value: JSON.stringify({ n }) })));
    };
    const isAnswered = (): boolean => sent.every((key) => answers.has(key));
    const a = await system.node({ channels: [channel] });
    await system.settled([a, 4]);
    await send(300);
    await vi.waitUntil(isAnswered, eventually);
    // Its own shards are all there are.
    expect(inboxed.size).toBe(0);
    const b = await system.node({ channels: [channel] });
    await send(300);
    await system.settled([a, 2], [b, 2]);
    await send(300);
    await a.stop();
    await send(300);
    await system.settled([b, 4]);
    // Another owner, of which the group knows nothing: what was handed over is refused, and goes through the inbox.
    for (const disk of system.disks) disk.reopen().claim("a thief");
    await send(300);
    await vi.waitUntil(isAnswered, eventually);
    expect(inboxed.size).toBeGreaterThan(0);
    expect([...answers.values()].filter((different) => different.size !== 1)).toEqual([]);
    const [first = ""] = sent;
    await log.publish(from, { key: first, value: '{"n": 12345}' });
    await vi.waitUntil(() => letters.length > 0, eventually);
    expect(letters).toEqual([first]);
    expect(answers.get(first)?.size).toBe(1);
    await log.close();
  });

  test("a dead letter of an inbox has the whole reason in a header, and is replayed to the shard of its key", async () => {
    const system = await cluster(4);
    const a = await system.node();
    await system.settled([a, 4]);
    const log = kafka({ brokers: broker.brokers });
    const letters: LogRecord[] = [];
    await log.read(`${system.inbox}-dlt`, 0, undefined, {
      records: (records) => void letters.push(...records),
      lost: () => {},
    });
    const shards = [0, 1, 2, 3];
    for (const shard of shards) {
      const key = keyOfShard(shard, 4);
      for (const n of [1, 2]) {
        const value = JSON.stringify({ type: "request", hub: "job", request: { n } });
        await log.append(system.inbox, { key, value, headers: { "written-by": "ключ 😀" } }, shard);
      }
    }
    await vi.waitUntil(() => letters.length === shards.length, eventually);
    for (const letter of letters.slice(0, shards.length)) {
      const { key, reason, origin } = readDeadLetter(letter);
      expect(reason).toBe(
        `WW_KEY_REUSED: the request key ${key} belongs to a request with another body\n` +
          "  Use a new key for a new request.",
      );
      expect(origin).toMatchObject({ topic: system.inbox, partition: shardOf(key, 4) });
      await replayDeadLetter(log, letter);
    }
    // It is what it was: the key still belongs to another body. Only its own shard can tell.
    await vi.waitUntil(() => letters.length === 2 * shards.length, eventually);
    for (const letter of letters.slice(shards.length)) {
      const { key, value, reason, origin } = readDeadLetter(letter);
      expect(reason).toContain("WW_KEY_REUSED");
      expect(origin.partition).toBe(shardOf(key, 4));
      const [first] = letters.filter((one) => one.key === key);
      expect([value, letter.headers["written-by"]]).toEqual([first?.value, "ключ 😀"]);
    }
    await log.close();
  });

  test("an answer that was committed and not published, is published by the next owner, though nobody asks", async () => {
    const system = await cluster(1);
    const [from, to] = [`${system.inbox}-in`, `${system.inbox}-out`];
    const channel: Channel = {
      name: "test",
      from,
      to,
      hub: "job",
      request: ({ value }) => JSON.parse(value) as unknown,
      answer: (answer) => ({ value: JSON.stringify(answer) }),
    };
    const log = kafka({ brokers: broker.brokers });
    await log.ensureTopics([from, to, `${from}-dlt`].map((name) => ({ name, partitions: 1 })));
    const published: LogRecord[] = [];
    await log.read(to, 0, undefined, {
      records: (records) => void published.push(...records),
      lost: () => {},
    });
    const inner = kafka({ brokers: broker.brokers, sessionTimeoutMs: 10_000 });
    const mute: Log = {
      publish: (topic, message) =>
        topic === to ? Promise.reject(new Error("no answer gets out")) : inner.publish(topic, message),
      subscribe: (topic, receive) => inner.subscribe(topic, receive),
      topic: (name) => inner.topic(name),
      end: (topic, partition) => inner.end(topic, partition),
      append: (topic, message, partition) => inner.append(topic, message, partition),
      read: (topic, partition, offset, reader) => inner.read(topic, partition, offset, reader),
      join: (options) => inner.join(options),
      close: () => inner.close(),
    };
    const first = await system.node({ channels: [channel], log: mute });
    await system.settled([first, 1]);
    await log.publish(from, { key: "asked-once", value: '{"n": 4}' });
    const reading = (): Promise<unknown> => first.answer("asked-once", { waitMs: 0 }).catch(() => undefined);
    await vi.waitUntil(reading, eventually);
    await first.stop();
    await inner.close();
    expect(published).toEqual([]);
    await system.node({ channels: [channel] });
    await vi.waitUntil(() => published.length > 0, eventually);
    expect(published.map(({ key, value }) => [key, value])).toEqual([
      ["asked-once", '{"kind":"result","value":{"doubled":8}}'],
    ]);
    await log.close();
  });

  test("a request whose key cannot be stored is found under that key, at any node and by a client", async () => {
    const system = await cluster(2);
    const [from, to] = [`${system.inbox}-in`, `${system.inbox}-out`];
    const channel: Channel = {
      name: "test",
      from,
      to,
      hub: "job",
      request: ({ value }) => JSON.parse(value) as unknown,
      answer: (answer) => ({ value: JSON.stringify(answer) }),
    };
    const log = kafka({ brokers: broker.brokers });
    await log.ensureTopics([from, to, `${from}-dlt`].map((name) => ({ name, partitions: 1 })));
    const node = await system.node({ channels: [channel] });
    await system.settled([node, 2]);
    const client = createClient({
      hubs: [jobHub()],
      shards: 2,
      store: (shard) => (system.disks[shard] as MemoryStore).reopen(),
      log,
      inbox: system.inbox,
    });
    await client.start();
    for (const key of ["a key with blanks", "a/slash", "ключ", "\0", "x".repeat(300)]) {
      await log.publish(from, { key, value: '{"n": 4}' });
      for (const engine of [client, node]) {
        await vi.waitUntil(() => engine.request(key).catch(() => undefined), eventually);
        expect(await engine.answer(key)).toMatchObject(
          key.length > 200 ? { kind: "error", code: "invalid-request" } : { kind: "result" },
        );
        expect((await engine.history(key)).at(-1)?.type).toBe("ended");
        expect(await engine.cancel(key)).toBe("ended");
      }
      await expect(client.request(`${key} of nobody`)).rejects.toMatchObject({
        code: "WW_NOT_FOUND",
        message: expect.stringContaining(`${key} of nobody`) as string,
      });
    }
    await client.stop();
    await log.close();
  });

  test("an owner that was fenced drops the shard, and claims it again only when the group says so", async () => {
    const system = await cluster(1);
    const a = await system.node();
    await system.settled([a, 1]);
    const key = randomUUID();
    await a.submit("job", { n: 1, wait: true }, { key });
    // Another owner, of which the group knows nothing.
    const thief = (system.disks[0] as MemoryStore).reopen();
    thief.claim("a thief");
    await a.signal(key, "go", { extra: 1 }).catch(() => {});
    await expect.poll(() => system.signals.map(({ name }) => name), eventually).toContain("shard-fenced");
    await system.settled([a, 1]);
    await a.signal(key, "go", { extra: 1 });
    expect(await a.answer(key)).toMatchObject({ kind: "result" });
  });

  test("a node that lacks the version of stored runs refuses their shard, and another takes it", async () => {
    const system = await cluster(1);
    const fresh = await system.node({ hubs: [jobHub(2)] });
    await system.settled([fresh, 1]);
    const key = randomUUID();
    await fresh.submit("job", { n: 1, wait: true }, { key });
    const old = await system.node({ hubs: [jobHub(1)] });
    await fresh.stop();
    await expect
      .poll(() => system.signals.filter(({ name }) => name === "shard-refused").length, eventually)
      .toBeGreaterThan(0);
    expect(old.shards).toEqual([]);
    // It is not lost: it is there to be read, and a node that knows the version goes on with it.
    expect(await old.request(key)).toMatchObject({ status: "running", version: 2 });
    const again = await system.node({ hubs: [jobHub(2)] });
    await system.settled([again, 1]);
    expect(await old.signal(key, "go", { extra: 1 })).toBe("accepted");
    expect(await old.answer(key)).toEqual({ kind: "result", value: { doubled: 4 } });
  });

  test("refuses an inbox that is too small, and another one than before", async () => {
    const system = await cluster(2);
    await expect(system.node({ shards: 3 })).rejects.toMatchObject({ code: "WW_CONFIG" });
    const a = await system.node();
    await system.settled([a, 2]);
    await a.call(jobHub(), { n: 1 });
    await a.stop();
    const other = `${system.inbox}-other`;
    const log = kafka({ brokers: broker.brokers });
    await log.ensureTopics([{ name: other, partitions: 2 }, { name: `${other}-dlt` }]);
    await log.close();
    await system.node({ inbox: other });
    await expect
      .poll(() => system.failures[0], eventually)
      .toMatchObject({
        code: "WW_LOG_LOST",
        message: expect.stringContaining("another log") as string,
      });
  });
});

suite("relays that tell the requests of their messages back", () => {
  test("have their answers at any node, and while there is none; an attempt that is answered is not made again", async () => {
    const system = await cluster(4);
    const [to, from] = [`${system.inbox}-questions`, `${system.inbox}-answers`];
    const bus = kafka({ brokers: broker.brokers });
    await bus.ensureTopics([to, from].map((name) => ({ name, partitions: 3 })));
    const asked: string[] = [];
    let answers = true;
    const answer = (key: string): Promise<void> => bus.append(from, { key, value: "21" });
    bus.subscribe(to, ({ key }) => {
      asked.push(key);
      if (answers) void answer(key);
    });
    await bus.ready();
    const workers = [
      relay(work, {
        to,
        from,
        send: ({ n }, { requestId }) => ({ key: `${requestId}:1`, value: `${n}` }),
        receive: ({ key, value }) => ({
          correlation: key,
          outcome: { kind: "ok", output: { doubled: 2 * Number(value) } },
        }),
        request: ({ key }) => key.split(":")[0],
      }),
    ];
    const a = await system.node({ workers });
    const b = await system.node({ workers });
    await system.settled([a, 2], [b, 2]);
    const keys = Array.from({ length: 40 }, () => randomUUID());
    const done = { kind: "result", value: { doubled: 42 } };
    await Promise.all(keys.map((key) => a.submit("job", { n: 1 }, { key })));
    for (const key of keys) expect(await b.answer(key)).toEqual(done);
    expect(asked).toHaveLength(40);
    answers = false;
    const late = system.keyOf(a);
    await a.submit("job", { n: 1 }, { key: late });
    await vi.waitUntil(() => asked.length === 41, eventually);
    await Promise.all([a.stop(), b.stop()]);
    await answer(`${late}:1`);
    const c = await system.node({ workers });
    await system.settled([c, 4]);
    expect(await c.answer(late)).toEqual(done);
    expect(asked).toHaveLength(41);
    await bus.close();
  });
});

suite("workers elsewhere", () => {
  test("get each attempt as a message, and answer to the inbox; what they say twice, late or wrongly counts once or not at all", async () => {
    const system = await cluster(2);
    const calls = `calls-${randomUUID()}`;
    const bus = kafka({ brokers: broker.brokers });
    await bus.ensureTopics([{ name: calls, partitions: 1 }]);
    const seen: Readonly<Record<string, string>>[] = [];
    const answers: readonly ((n: number) => string)[] = [
      () => "no JSON at all",
      (n) => JSON.stringify({ output: { doubled: n * 2 } }),
      (n) => JSON.stringify({ output: { doubled: n * 2 } }),
      () => JSON.stringify({ output: { doubled: -1 } }),
    ];
    bus.subscribe(calls, ({ key, value, headers = {} }) => {
      seen.push(headers);
      const { n } = JSON.parse(value) as { n: number };
      const reply = {
        ce_specversion: "1.0",
        ce_type: "wheelwork.response",
        ce_id: randomUUID(),
        ce_source: "test",
        "correlation-id": headers["correlation-id"] ?? "",
      };
      const send = (text: string): Promise<void> =>
        bus.append(
          headers["reply-to"] ?? "",
          { key, value: text, headers: reply },
          Number(headers["reply-partition"]),
        );
      if (n === 13) void send(JSON.stringify({ error: { code: "refused", message: "not that one" } }));
      else if (n === 14) void send(JSON.stringify({ output: { doubled: "many" } }));
      else void answers.reduce((before, text) => before.then(() => send(text(n))), Promise.resolve());
    });
    await bus.ready();
    const a = await system.node({ workers: [externalWorker(work, { topic: calls })] });
    await system.settled([a, 2]);
    const key = randomUUID();
    expect(await a.call(jobHub(), { n: 21 }, { key })).toEqual({ kind: "result", value: { doubled: 42 } });
    expect(seen[0]).toMatchObject({
      ce_type: "wheelwork.call.work",
      "idempotency-key": `${key}/0`,
      attempt: "1",
      "reply-to": system.inbox,
    });
    expect(await a.call(jobHub(), { n: 13 })).toMatchObject({ kind: "error", code: "failed" });
    expect(await a.call(jobHub(), { n: 14 })).toMatchObject({ kind: "error", code: "failed" });
    expect(system.signals.filter(({ name }) => name === "dead-letter").length).toBe(1);
    await bus.close();
  });

  test("serve runs that others call, and may say everything in the value", async () => {
    const system = await cluster(2);
    const calls = `calls-${randomUUID()}`;
    const bus = kafka({ brokers: broker.brokers });
    await bus.ensureTopics([{ name: calls, partitions: 1 }]);
    const job = jobHub();
    const caller = hub(
      "caller",
      {
        request: z.object({ n: z.number() }),
        reply: z.object({ doubled: z.number() }),
        errors: ["failed"],
        deadlineMs: 60_000,
        chart: { Asking: { Done: "Told", Failed: "Lost" }, Told: end, Lost: end },
        data: (request) => ({ ...request, doubled: 0 }),
      },
      {
        Asking: (s) =>
          s.call(job, {
            input: ({ n }) => ({ n }),
            ok: (_data, { doubled }) => s.raise("Done", { doubled }),
            failed: "Failed",
            deadline: "Failed",
          }),
        Told: ({ doubled }) => ({ doubled }),
        Lost: (_data, s) => s.fail("failed", "no answer"),
      },
    );
    const keys: string[] = [];
    bus.subscribe(calls, ({ key, value, headers = {} }) => {
      keys.push(key);
      const { n } = JSON.parse(value) as { n: number };
      const correlation = { "correlation-id": headers["correlation-id"] };
      const answer = { type: "response", ...correlation, output: { doubled: n * 2 } };
      // The key alone leads to its shard: nobody has to know the partition.
      void bus.append(headers["reply-to"] ?? "", { key, value: JSON.stringify(answer) }, shardOf(key, 2));
    });
    await bus.ready();
    const node = await system.node({
      hubs: [caller, job],
      workers: [externalWorker(work, { topic: calls })],
    });
    await system.settled([node, 2]);
    for (let n = 1; n <= 4; n++) {
      const key = randomUUID();
      expect(await node.call(caller, { n }, { key })).toEqual({ kind: "result", value: { doubled: n * 2 } });
      expect(keys.at(-1)).toBe(key);
    }
    await bus.close();
  });
});
