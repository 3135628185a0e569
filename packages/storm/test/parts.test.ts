import { createHash } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kafka, type Kafka } from "@wheelwork/kafka";
import {
  defaultCache,
  freePort,
  KafkaBroker,
  kafkaIsInstalled,
  postgresIsInstalled,
  PostgresServer,
} from "@wheelwork/services";
import { postgresStore } from "@wheelwork/postgres";
import type { Store } from "@wheelwork/engine";
import { createClient, shardOf } from "@wheelwork/engine/cluster";
import { inboxMessage } from "@wheelwork/engine/parts";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import {
  components,
  killParts,
  Part,
  patient,
  published,
  simple,
  toNb,
  waitFor,
  type Publication,
  type Said,
} from "./part.ts";

let folder: string;
const canRun = postgresIsInstalled() && kafkaIsInstalled(defaultCache);

let database: PostgresServer;
let broker: KafkaBroker;
let log: Kafka;
let schemas = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wheelwork-parts-"));
  chmodSync(folder, 0o755);
  Part.world = { folder, brokers: "127.0.0.1:1", databaseUrl: "" };
  if (!canRun) return;
  database = new PostgresServer(join(folder, "postgres"), await freePort());
  broker = new KafkaBroker(join(folder, "kafka"), await freePort(), defaultCache);
  await Promise.all([database.start(), broker.start(await freePort())]);
  Part.world = { folder, brokers: broker.brokers, databaseUrl: database.url };
  log = kafka({ brokers: broker.brokers });
  const topics = ["requests", "halves", "postings", "inbox", "answers"];
  await log.ensureTopics(topics.map((name) => ({ name, partitions: 1 })));
});
afterEach(killParts);
afterAll(async () => {
  await log?.close();
  await broker?.signal("SIGKILL");
  await database?.signal("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const newSchema = (): string => `storm_${++schemas}`;
const isLong = process.env["WHEELWORK_LONG"] !== undefined;

describe.skipIf(!canRun)("the hub's bolt", () => {
  test("shows the figures of its shard, at a port of its own", async () => {
    const metricsPort = await freePort();
    Part.more = { metricsPort };
    try {
      const hub = new Part("hub", newSchema());
      await hub.settled(hub.request("k1", { n: 5 }), "ack");
      const url = `http://127.0.0.1:${metricsPort}`;
      const text = await (await fetch(`${url}/metrics`)).text();
      expect(text).toContain('wheelwork_requests_total{hub="job",outcome="accepted"} 1');
      expect(text).toContain('wheelwork_runs{hub="job",status="running",state="Working"} 1');
      expect(text).toMatch(/^wheelwork_store_size_bytes\{shard="0"\} [1-9]/m);
      expect((await fetch(`${url}/ready`)).status).toBe(200);
      expect((await fetch(`${url}/requests`)).status).toBe(404);
      // A port that is taken keeps no task from its work.
      const second = new Part("hub", newSchema());
      await second.settled(second.request("k1", { n: 5 }), "ack");
      expect(JSON.stringify(second.said)).toContain("the figures cannot be shown");
    } finally {
      Part.more = {};
    }
  });

  test("acks a request when it is committed, and sends all calls of a turn in one tuple", async () => {
    const hub = new Part("hub", newSchema());
    const id = hub.request("k1", { n: 5 });
    await hub.settled(id, "ack");
    const orders = (await waitFor(() => hub.bodies("stream-hub-bolt-to-worker-bolt")[0])) as {
      request: string;
      createdAt: number;
      call: number;
      attempt: number;
      input: { n: number };
    }[];
    expect(orders.map(({ input }) => input)).toEqual([{ n: 5 }, { n: 6 }, { n: 7 }]);
    const outcomes = orders.map(({ request, createdAt, call, attempt, input }) => ({
      id: `${request}#${createdAt}#${call}#${attempt}`,
      request,
      outcome: { kind: "ok", output: { doubled: input.n * 2 } },
    }));
    // Those of a former run with the key, then twice, and at last somebody else's: each counts once.
    const former = outcomes.map((one) => ({
      ...one,
      id: one.id.replace(/#\d+#/, "#7#"),
      outcome: { kind: "ok", output: { doubled: 0 } },
    }));
    for (const body of [former, outcomes, outcomes, [{ ...outcomes[0], id: "k9#7#0#1" }]])
      await hub.settled(hub.tuple("bolt-worker", "out", "k1", JSON.stringify(body)), "ack");
    const [answer] = await waitFor(() => (published(hub).length > 0 ? published(hub) : undefined));
    expect(answer).toMatchObject({ topic: "answers", message: { key: "k1", value: '{"sum":36}' } });
    expect(answer?.message.headers["ce_id"]).toBe(answer?.id);
    // The same once more: the same answer under the same id. Another body: a dead letter, before the tuple is acked.
    await hub.settled(hub.request("k1", { n: 5 }), "ack");
    const again = await waitFor(() => published(hub)[1]);
    expect(again.id).toBe(answer?.id);
    const other = hub.request("k1", { n: 6 });
    await hub.settled(other, "ack");
    const place = (test: (message: Said) => boolean): number => hub.said.findIndex(test);
    const letter = place(({ anchors }) => Array.isArray(anchors) && anchors.includes(other));
    expect(letter).toBeGreaterThan(0);
    expect(letter).toBeLessThan(place((message) => message["command"] === "ack" && message["id"] === other));
    expect(published(hub).some(({ topic }) => topic === "requests-dlt")).toBe(true);
  });

  test.skipIf(!isLong)("sends the answer of a callback again after a kill, without a tuple", async () => {
    const schema = newSchema();
    const hub = new Part("hub", schema);
    await hub.settled(hub.request("late", { n: 1, wait: true }), "ack");
    // The coordinator is told, and never calls back: the hub's own sweep does.
    expect(hub.bodies("stream-to-bolt-coordinator").length).toBeGreaterThan(0);
    const first = await waitFor(() => published(hub)[0]);
    expect(first.message.value).toBe("error");
    // Nobody has reported that it is there. Java dies, and with it every tuple.
    await hub.kill();
    const next = new Part("hub", schema);
    const second = await waitFor(() => published(next)[0]);
    expect(second).toEqual(first);
    // Nothing is heard of it either: it is sent once more by a sweep.
    await waitFor(() => published(next)[1]);
    next.tuple("bolt-to-nb", "done", "0", JSON.stringify([first.id]));
    expect(published(next).every(({ id }) => id === first.id)).toBe(true);
  });

  test("keeps what an inbox cannot take in the inbox's dead letters, with the whole reason and the place to replay it to", async () => {
    const hub = new Part("hub", newSchema());
    await hub.settled(hub.request("known", { n: 5 }), "ack");
    // A request that came through the channel to another task, and from there through the inbox.
    const origin = { topic: "requests", partition: 0, offset: 77 };
    const entry = { type: "request", hub: "job", request: { n: 6 }, replyTo: "test", origin } as const;
    const { key, value } = inboxMessage("known", entry);
    await hub.settled(hub.tuple("spout-hub", "default", "inbox", 0, 5, key, value), "ack");
    const told = JSON.stringify({
      type: "heard",
      spoke: "double",
      correlation: "c",
      outcome: { kind: "timeout" },
    });
    await hub.settled(hub.tuple("spout-hub", "default", "inbox", 0, 6, "known", told), "ack");
    const letters = published(hub).filter(({ topic }) => topic.endsWith("-dlt"));
    expect(letters.map(({ topic }) => topic)).toEqual(["inbox-dlt", "inbox-dlt"]);
    const [other, reply] = letters.map(({ message }) => message);
    expect(other).toMatchObject({ key, value });
    expect(other?.headers).toEqual({
      "dlt-reason":
        "WW_KEY_REUSED: the request key known belongs to a request with another body\n" +
        "  Use a new key for a new request.\n" +
        "  It was sent to requests, partition 0, offset 77.",
      "dlt-topic": "inbox",
      "dlt-partition": "0",
      "dlt-offset": "5",
    });
    expect(reply?.headers["dlt-reason"]).toBe("on Storm, replies to relays do not come through the inbox");
    // It can be worked as it is once its key is free, as in another store.
    const next = new Part("hub", newSchema());
    await next.settled(next.tuple("spout-hub", "default", "inbox", 0, 7, key, other?.value), "ack");
    expect(published(next).filter(({ topic }) => topic.endsWith("-dlt"))).toEqual([]);
  });

  test("makes what was under way again when it starts, with the time that is left", async () => {
    const schema = newSchema();
    const hub = new Part("hub", schema);
    await hub.settled(hub.request("k", { n: 1 }), "ack");
    await hub.kill();
    const next = new Part("hub", schema);
    const orders = (await waitFor(() => next.bodies("stream-hub-bolt-to-worker-bolt")[0])) as {
      withinMs: number;
      call: number;
    }[];
    expect(orders.map(({ call }) => call)).toEqual([0, 1, 2]);
    for (const { withinMs } of orders) expect(withinMs).toBeGreaterThan(0);
  });

  test("takes commands for runs that a request has begun, under the key of the request", async () => {
    const hub = new Part("hub", newSchema());
    await hub.settled(hub.request("root", { n: 1, wait: true }), "ack");
    const { key, value } = inboxMessage("root/7", { type: "command", input: { kind: "cancel", id: "c1" } });
    expect(key).toBe("root");
    await hub.settled(hub.tuple("spout-hub", "default", "inbox", 0, 9, key, value), "ack");
    const own = inboxMessage("root", {
      type: "command",
      input: { kind: "signal", id: "s1", signal: "go", payload: {} },
    });
    await hub.settled(hub.tuple("spout-hub", "default", "inbox", 0, 10, own.key, own.value), "ack");
    const answer = await waitFor(() => published(hub)[0]);
    expect(answer.message).toMatchObject({ key: "root", value: '{"sum":0}' });
  });

  test("gives one command to all requests that a filter means", async () => {
    const schema = newSchema();
    const hub = new Part("hub", schema);
    for (const key of ["a", "b", "c"]) await hub.settled(hub.request(key, { n: 1 }), "ack");
    const { key, value } = inboxMessage("bulk:all", {
      type: "request",
      hub: "bulk:",
      request: { command: { kind: "cancel" }, filter: { hub: "job", status: ["running"] }, by: "token:ann" },
    });
    await hub.settled(hub.tuple("spout-hub", "default", "inbox", 0, 11, key, value), "ack");
    const store = (): Store => postgresStore({ connectionString: database.url, shard: 0, shards: 1, schema });
    const client = createClient({ hubs: [], log, shards: 1, store, inbox: "inbox" });
    await client.start();
    try {
      await vi.waitUntil(async () => (await client.bulk("all").view()).status === "done", patient);
      expect(await client.bulk("all").view()).toMatchObject({
        by: "token:ann",
        matched: 3,
        done: 3,
        gone: 0,
      });
      for (const id of ["a", "b", "c"])
        expect(await client.history(id)).toContainEqual(
          expect.objectContaining({ type: "cancelling", givenBy: "token:ann" }),
        );
    } finally {
      await client.stop();
    }
  });

  test("asks workers elsewhere by a message with headers, and takes their answers from the inbox, without", async () => {
    const hub = new Part("hub", newSchema());
    const id = hub.tuple("spout-hub", "default", "halves", 0, 1, "k", '{"half":8}');
    await hub.settled(id, "ack");
    const asked = await waitFor(() => published(hub)[0]);
    expect(asked).toMatchObject({ topic: "halve", message: { key: "k", value: '{"n":8}' } });
    expect(asked.message.headers).toMatchObject({
      ce_type: "wheelwork.call.halve",
      "reply-to": "inbox",
      "reply-partition": "0",
      "idempotency-key": "k/0",
    });
    const correlation = { "correlation-id": asked.message.headers["correlation-id"] };
    const answer = (value: object): string =>
      hub.tuple("spout-hub", "default", "inbox", 0, 2, "k", JSON.stringify({ type: "response", ...value }));
    await hub.settled(answer({ output: { halved: 4 } }), "ack");
    expect(published(hub).some(({ topic }) => topic === "inbox-dlt")).toBe(true);
    const first = answer({ ...correlation, output: { halved: 4 } });
    await hub.settled(first, "ack");
    // Twice, and another: only the first counts.
    await hub.settled(answer({ ...correlation, output: { halved: 5 } }), "ack");
    const reply = await waitFor(() => published(hub).find(({ topic }) => topic === "answers"));
    expect(reply.message).toMatchObject({ key: "k", value: '{"sum":4}' });
    // It was committed before its tuple was acked: with the process, nothing is lost.
    await hub.kill();
    const next = new Part("hub", `storm_${schemas}`);
    const again = await waitFor(() => published(next).find(({ topic }) => topic === "answers"));
    expect(again).toEqual(reply);
  });

  test("sends what a run has for one of another task through the inbox, in its order, and looks whether it is taken", async () => {
    const two = { ...components, 5: "bolt-hub" };
    const schema = newSchema();
    const hub = new Part("hub", schema, two);
    // The other task.
    const owner = new Part("hub", schema, { 0: "bolt-hub", ...two, 5: "none" });
    let number = 0;
    while (shardOf(`j${number}`, 2) !== 1) number++;
    const job = `j${number}`;
    const inboxOf = (part: Part): Publication[] => published(part).filter(({ topic }) => topic === "inbox");
    const ask = async (part: Part, key: string): Promise<void> => {
      const value = JSON.stringify({ job });
      await part.settled(part.tuple("spout-hub", "default", "postings", 0, 1, key, value), "ack");
    };
    const asker = (from: number): string => {
      for (let at = from; ; at++) if (shardOf(`p${at}`, 2) === 0) return `p${at}`;
    };
    const first = asker(0);
    await ask(hub, first);
    const start = await waitFor(() => inboxOf(hub)[0]);
    expect(start.message.key).toBe(job);
    // The broker does not have it yet: the signal waits for it, and after a kill the start is sent once more.
    await hub.kill();
    const next = new Part("hub", schema, two);
    const take = (offset: number, { message }: Publication): Promise<unknown> =>
      owner.settled(
        owner.tuple("spout-hub", "default", "inbox", 0, offset, message.key, message.value),
        "ack",
      );
    const reported = ({ id }: Publication): void =>
      void next.tuple("bolt-to-nb", "done", "0", JSON.stringify([id]));
    const again = await waitFor(() => inboxOf(next)[0]);
    expect(again.message).toEqual(start.message);
    reported(again);
    // It is in the log, and nobody has come to it.
    await take(0, start);
    await take(1, again);
    const signal = await waitFor(() => inboxOf(next).find(({ message }) => message.value.includes("signal")));
    reported(signal);
    await take(2, signal);
    await take(3, signal);
    // Another run does the same. The job has ended by now: nothing more is sent, and the post is listed as lost.
    const before = inboxOf(next).length;
    await ask(next, asker(Number(first.slice(1)) + 1));
    const store = postgresStore({ connectionString: database.url, shard: 0, shards: 2, schema });
    const lost = async (): Promise<number> => (await store.list({ status: "lost", limit: 10 })).length;
    await vi.waitUntil(async () => (await lost()) === 1, patient);
    await store.close();
    expect(inboxOf(next)).toHaveLength(before);
  });

  test("refuses requests that are older than answers are kept: they may have been answered", async () => {
    const retentionMs = 5000;
    Part.app = { retentionMs };
    const hub = new Part("hub", newSchema());
    Part.app = {};
    await waitFor(() => hub.said.length > 0 || undefined);
    await log.append("requests", { key: "old", value: '{"n":1}' });
    const written = Date.now();
    const send = (offset: number, key: string): string =>
      hub.tuple("spout-hub", "default", "requests", 0, offset, key, '{"n":1}');
    // While it is young it counts.
    await hub.settled(send(0, "young"), "ack");
    await vi.waitUntil(() => Date.now() > written + retentionMs + 500, patient);
    await log.append("requests", { key: "new", value: '{"n":1}' });
    await hub.settled(send(0, "old"), "ack");
    await hub.settled(send(1, "new"), "ack");
    const { key, value } = inboxMessage("in-the-inbox", { type: "request", hub: "job", request: { n: 1 } });
    await log.append("inbox", { key, value });
    await hub.settled(hub.tuple("spout-hub", "default", "inbox", 0, 0, key, value), "ack");
    const begun = (): string[] =>
      (hub.bodies("stream-hub-bolt-to-worker-bolt").flat() as { request?: string }[]).flatMap(
        ({ request = [] }) => request,
      );
    await waitFor(() => begun().includes("in-the-inbox") || undefined);
    expect(new Set(begun())).toEqual(new Set(["young", "new", "in-the-inbox"]));
    const [letter] = published(hub).filter(({ topic }) => topic === "requests-dlt");
    expect(letter?.message.key).toBe("old");
    expect(JSON.stringify(letter?.message.headers)).toContain("older than answers are kept");
  });

  test("that is fenced fails its tuples, and does not exit", async () => {
    const schema = newSchema();
    const old = new Part("hub", schema);
    await old.settled(old.request("a", { n: 1, wait: true }), "ack");
    const young = new Part("hub", schema);
    await young.settled(young.request("b", { n: 1, wait: true }), "ack");
    const tuple = old.request("c", { n: 1, wait: true });
    await old.settled(tuple, "fail");
    await old.settled(old.request("d", { n: 1 }), "fail");
    expect(old.child.exitCode).toBeNull();
    expect(JSON.stringify(old.said)).toContain("another owner has taken over shard");
    await young.settled(young.request("c", { n: 1, wait: true }), "ack");
    // One answer for each, from the one that has the shard.
    await waitFor(() => published(young).length >= 3 || undefined);
    expect(
      published(young)
        .map(({ message }) => message.key)
        .toSorted(),
    ).toEqual(["a", "b", "c"]);
  });

  test("that was taken over claims again if Storm means it: callbacks come to it", async () => {
    const schema = newSchema();
    const hub = new Part("hub", schema);
    await hub.settled(hub.request("a", { n: 1, wait: true }), "ack");
    const other = new Part("hub", schema);
    await other.settled(other.request("b", { n: 1, wait: true }), "ack");
    await hub.settled(hub.request("c", { n: 1, wait: true }), "fail");
    await other.kill();
    // It asks for a callback under another key than that of its timers.
    const [first] = hub.emitted("stream-to-bolt-coordinator");
    const asked = await waitFor(() =>
      hub.emitted("stream-to-bolt-coordinator").find(({ tuple: [key] }) => key !== first?.tuple[0]),
    );
    const [key, body] = asked.tuple as [string, string];
    const [{ claim }] = JSON.parse(body) as [{ claim: string }];
    const callBack = (name: string): string =>
      hub.tuple(
        "bolt-coordinator",
        "stream-bolt-coordinator-to-hub",
        key,
        JSON.stringify([{ claim: name, id: 0 }]),
      );
    // What another process of the task has asked for says nothing.
    await hub.settled(callBack("another"), "ack");
    await hub.settled(hub.request("d", { n: 1, wait: true }), "fail");
    await hub.settled(callBack(claim), "ack");
    await hub.settled(hub.request("d", { n: 1, wait: true }), "ack");
    // The answer of what the other one had begun.
    const found = await waitFor(() => published(hub).find(({ message }) => message.key === "b"));
    expect(found.message.value).toBe("error");
  });

  test("goes on when a worker throws from a timer: the shard is read back, and attempts are made again", async () => {
    const hub = new Part("hub", newSchema(), simple);
    await hub.settled(hub.request("other", { n: 1, wait: true }), "ack");
    await hub.settled(hub.request("bad", { n: 666 }), "ack");
    const answers = await waitFor(() => (published(hub).length >= 2 ? published(hub) : undefined));
    expect(Object.fromEntries(answers.map(({ message }) => [message.key, message.value]))).toEqual({
      bad: `{"sum":${2 * (666 + 667 + 668)}}`,
      other: "error",
    });
    expect(hub.child.exitCode).toBeNull();
    expect(JSON.stringify(hub.said.filter(({ command }) => command === "error"))).toContain(
      "thrown by a timer",
    );
  });

  test("gives each request one answer, however often something is thrown where nobody catches it", async () => {
    const hub = new Part("hub", newSchema(), simple);
    await hub.settled(hub.request("first", { n: 1 }), "ack");
    const keys = Array.from({ length: 30 }, (_, number) => `k${number}`);
    let asked = 0;
    const ask = async (key: string): Promise<void> => {
      for (;;) {
        const id = hub.request(key, { n: 1 });
        const settled = await waitFor(() =>
          hub.said.find((one) => one["id"] === id && one["command"] !== "emit"),
        );
        if (settled["command"] === "ack") return void asked++;
      }
    };
    const asking = Promise.all(keys.map((key) => ask(key)));
    let throwing = 0;
    while (asked < keys.length && throwing < 1000) {
      hub.child.kill("SIGUSR2");
      throwing++;
      await new Promise((resolve) => void setTimeout(resolve, 15));
    }
    await asking;
    const answered = (): Map<string, Publication[]> =>
      Map.groupBy(published(hub), ({ message }) => message.key);
    await waitFor(() => answered().size === keys.length + 1 || undefined);
    for (const list of answered().values()) {
      expect(new Set(list.map(({ id }) => id)).size).toBe(1);
      expect(list[0]?.message.value).toBe('{"sum":12}');
    }
    expect(throwing).toBeGreaterThan(3);
    expect(hub.child.exitCode).toBeNull();
  });

  test.skipIf(!isLong)("holds nothing of requests that have ended, in none of its parts", async () => {
    const [hub, worker, coordinator] = (["hub", "worker", "coordinator"] as const).map(
      (part) => new Part(part, `storm_memory`),
    ) as [Part, Part, Part];
    const to = { worker, coordinator };
    let asked = 0;
    let wanted = 0;
    let answered = 0;
    const ask = (): void => {
      if (asked < wanted) hub.request(`k${asked++}`, { n: 1 });
    };
    hub.hears = ({ command, stream, tuple }) => {
      if (command !== "emit") return;
      const values = tuple as [string, string];
      if (stream !== toNb) {
        const part = stream === "stream-to-bolt-coordinator" ? "coordinator" : "worker";
        return void to[part].tuple("bolt-hub", String(stream), ...values);
      }
      const items = JSON.parse(values[1]) as Publication[];
      hub.tuple("bolt-to-nb", "done", values[0], JSON.stringify(items.map(({ id }) => id)));
      answered += items.length;
      for (const _ of items) ask();
    };
    worker.hears = ({ command, tuple }) => {
      if (command === "emit") hub.tuple("bolt-worker", "out", ...(tuple as unknown[]));
    };
    coordinator.hears = ({ command, stream, tuple }) => {
      if (command === "emit") hub.tuple("bolt-coordinator", String(stream), ...(tuple as unknown[]));
    };
    const heapsAfter = async (requests: number): Promise<number[]> => {
      wanted = requests;
      for (let first = 0; first < 100; first++) ask();
      await vi.waitUntil(() => answered >= requests, { ...patient, timeout: 240_000 });
      return Promise.all([hub, worker, coordinator].map((part) => part.heap()));
    };
    const some = await heapsAfter(3000);
    const many = await heapsAfter(12_000);
    // A hundred bytes of each would be more.
    for (const [part, heap] of many.entries()) expect(heap - (some[part] ?? 0)).toBeLessThan(900_000);
  });

  test("has no more runs in memory than fit: what comes beyond them is failed, and comes again", async () => {
    const hub = new Part(
      "hub",
      newSchema(),
      components,
      "--max-old-space-size=64",
      "--max-semi-space-size=4",
    );
    const settled = { ack: 0, fail: 0 };
    const [waves, each] = [30, 200];
    hub.hears = ({ command }) => {
      if (command === "ack" || command === "fail") settled[command]++;
    };
    for (let wave = 0; wave < waves; wave++) {
      // No worker answers: each is there until its time is up.
      for (let number = 0; number < each; number++) hub.request(`k${wave}-${number}`, { n: 1 });
      await waitFor(() => settled.ack + settled.fail === (wave + 1) * each || undefined);
    }
    expect(settled.ack).toBeGreaterThan(1000);
    expect(settled.fail).toBeGreaterThan(each);
    expect(hub.child.exitCode).toBeNull();
  });

  test("hands a request whose key cannot be stored to the shard that its hash belongs to", async () => {
    const two = { ...components, 5: "bolt-hub" };
    const hub = new Part("hub", newSchema(), two);
    const hashed = (key: string): string => `~${createHash("sha256").update(key).digest("hex")}`;
    const keyFor = (shard: number): string => {
      for (let number = 0; ; number++) {
        const key = `${"a".repeat(200)} ${number}`;
        if (shardOf(hashed(key), 2) === shard) return key;
      }
    };
    const own = keyFor(0);
    await hub.settled(hub.request(own, { n: 1 }), "ack");
    const [answer] = await waitFor(() => (published(hub).length > 0 ? published(hub) : undefined));
    expect(answer).toMatchObject({ topic: "answers", message: { key: own, value: "error" } });
    const others = keyFor(1);
    const tuple = hub.request(others, { n: 1 });
    await hub.settled(tuple, "ack");
    const handed = published(hub).find(({ topic }) => topic === "inbox");
    expect(handed?.message.key).toBe(hashed(others));
    expect(
      hub.said.some(
        ({ anchors, tuple: values }) =>
          Array.isArray(anchors) && anchors.includes(tuple) && JSON.stringify(values).includes("inbox"),
      ),
    ).toBe(true);
    // The other shard takes it from there, and answers under the key that its sender gave.
    const owner = new Part("hub", `storm_${schemas}`, { 0: "bolt-hub", ...two, 5: "none" });
    const { key = "", value = "" } = handed?.message ?? {};
    await owner.settled(owner.tuple("spout-hub", "default", "inbox", 0, 1, key, value), "ack");
    const refusal = await waitFor(() => published(owner)[0]);
    expect(refusal).toMatchObject({ topic: "answers", message: { key: others, value: "error" } });
  });

  test("keeps requests back while the database is away, and takes them up when it is there", async () => {
    const hub = new Part("hub", newSchema());
    await hub.settled(hub.request("a", { n: 1, wait: true }), "ack");
    await database.signal("SIGKILL");
    const during = hub.request("b", { n: 1, wait: true });
    await hub.settled(during, "fail");
    await database.start();
    await vi.waitUntil(async () => {
      const id = hub.request("b", { n: 1, wait: true });
      await vi.waitUntil(() => hub.said.some((one) => one["id"] === id), patient);
      return hub.said.some((one) => one["id"] === id && one["command"] === "ack");
    }, patient);
    await waitFor(() => published(hub).length >= 2 || undefined);
    expect(hub.child.exitCode).toBeNull();
  });
});

describe("the worker's bolt", () => {
  test("makes attempts, tells what came of them, and makes no attempt twice at once", async () => {
    const worker = new Part("worker", "none");
    const order = {
      spoke: "double",
      request: "k/1",
      call: 3,
      attempt: 1,
      epoch: 2,
      createdAt: 7,
      deadline: 1,
      withinMs: 1000,
    };
    const orders = [
      { ...order, input: { n: 2 } },
      { ...order, call: 4, spoke: "double", input: { n: "two" } },
    ];
    await worker.settled(worker.tuple("bolt-hub", "work", "k", JSON.stringify(orders)), "ack");
    const outcomes = await waitFor(() => {
      const all = worker.bodies("stream-worker-bolt-to-hub-bolt").flat();
      return all.length === 2 ? all : undefined;
    });
    expect(outcomes).toMatchObject([
      { id: "k/1#7#3#1", request: "k/1", outcome: { kind: "ok", output: { doubled: 4 } } },
      // What the worker makes of a text is not what the spoke declares.
      { id: "k/1#7#4#1", request: "k/1", outcome: { kind: "error", code: "WW_INVALID_OUTPUT" } },
    ]);
    // The key is that of the root, whose shard has the run.
    expect(
      worker.said.find(({ stream }) => stream === "stream-worker-bolt-to-hub-bolt")?.["tuple"],
    ).toMatchObject(["k", {}]);
  });
});

test("the worker's bolt goes on when a worker throws from a timer", async () => {
  const worker = new Part("worker", "none");
  const order = { spoke: "double", request: "k", attempt: 1, epoch: 1, deadline: 1, withinMs: 5000 };
  const send = (call: number, n: number): string =>
    worker.tuple("bolt-hub", "work", "k", JSON.stringify([{ ...order, call, input: { n } }]));
  await worker.settled(send(1, 666), "ack");
  await waitFor(() => worker.said.find(({ msg }) => String(msg).includes("thrown by a timer")));
  await worker.settled(send(2, 2), "ack");
  await waitFor(() => worker.bodies("stream-worker-bolt-to-hub-bolt")[0]);
  expect(worker.child.exitCode).toBeNull();
});

describe.skipIf(!canRun)("what a topic will never take", () => {
  const more = {
    headers: { "dlt-reason": "why", "dlt-topic": "requests", "dlt-partition": "0", "dlt-offset": "3" },
  };

  test("is told to the hub, or becomes a short dead letter, and does not come again with its tuple", async () => {
    await log.ensureTopics([{ name: "sized" }, { name: "sized-dlt" }]);
    const nb = new Part("nb", "none");
    const items = [
      { topic: "sized", message: { key: "huge", value: "v".repeat(2_000_000) }, id: "huge@1" },
      { topic: "sized", message: { key: "small", value: "v" }, id: "small@1" },
      { topic: "sized-dlt", message: { key: "dead", value: "v".repeat(2_000_000), ...more } },
    ];
    await nb.settled(nb.tuple("bolt-hub", "answers", "0", JSON.stringify(items)), "ack");
    expect(nb.bodies("stream-nb-bolt-to-hub-bolt").flat()).toEqual([
      { id: "huge@1", refused: expect.stringContaining("WW_TOO_LARGE") as string },
      "small@1",
    ]);
    const letters: unknown[] = [];
    await log.read("sized-dlt", 0, undefined, {
      records: (records) => void letters.push(...records),
      lost: () => {},
    });
    await waitFor(() => letters.length > 0);
    expect(letters).toMatchObject([
      { key: "dead", value: "", headers: { ...more.headers, "dlt-short": "true" } },
    ]);
  });

  test("is replaced by a short error under the same id", async () => {
    const hub = new Part("hub", newSchema());
    await hub.settled(hub.request("k", { n: 0 }), "ack");
    const answers = (): Publication[] => published(hub).filter(({ topic }) => topic === "answers");
    const whole = await waitFor(() => answers()[0]);
    const told = [{ id: whole.id, refused: "WW_TOO_LARGE: too large" }];
    await hub.settled(hub.tuple("bolt-to-nb", "published", "0", JSON.stringify(told)), "ack");
    const short = await waitFor(() => answers()[1]);
    expect(short).toMatchObject({ id: whole.id, message: { key: "k", value: "error" } });
    // The broker has it: it is not sent again.
    await hub.settled(hub.tuple("bolt-to-nb", "published", "0", JSON.stringify([whole.id])), "ack");
    expect(answers()).toHaveLength(2);
  });

  test("a key that is not UTF-8 is a dead letter: Storm's spout reads all of them alike", async () => {
    const hub = new Part("hub", newSchema());
    await hub.settled(hub.request("\ufffd\ufffd", { n: 1 }), "ack");
    const [letter] = published(hub).filter(({ topic }) => topic === "requests-dlt");
    expect(letter?.message.headers["dlt-reason"]).toContain("not UTF-8");
  });
});

test("the bolt to Northbound gives up what was under way when something is thrown", async () => {
  const nb = new Part("nb", "none");
  const letter = { topic: "answers", message: { key: "k", value: "v" }, id: "k@1" };
  await waitFor(() => nb.said.find(({ pid }) => pid !== undefined));
  // No broker is there: it tries for long. When it has begun to, it does not say; so it is thrown at again.
  const id = nb.tuple("bolt-hub", "answers", "0", JSON.stringify([letter]));
  const failed = (): Said | undefined => nb.said.find((one) => one["id"] === id && one["command"] === "fail");
  await vi.waitUntil(() => failed() ?? (nb.child.kill("SIGUSR2"), undefined), { ...patient, interval: 200 });
  expect(nb.child.exitCode).toBeNull();
});

describe.skipIf(!canRun)("callbacks", () => {
  test("come from the coordinator, are told to it again when it begins, and without it come a second later", async () => {
    const hub = new Part("hub", newSchema());
    const wants = "stream-to-bolt-coordinator";
    /** A coordinator that hears all that the hub says, and is heard by it. */
    const connect = (): { readonly part: Part; readonly calls: () => number } => {
      const part = new Part("coordinator", "none");
      let calls = 0;
      part.hears = ({ command, stream, tuple }) => {
        if (command !== "emit") return;
        if (stream === "stream-bolt-coordinator-to-hub") calls++;
        hub.tuple("bolt-coordinator", String(stream), ...(tuple as unknown[]));
      };
      hub.hears = (message) => {
        hub.said.push({ ...message, at: performance.now() });
        if (message["command"] === "emit" && message["stream"] === wants)
          part.tuple("bolt-hub", wants, ...(message["tuple"] as unknown[]));
      };
      return { part, calls: () => calls };
    };
    let asked = 0;
    /**
     * Waits for a callback that is less late than so many milliseconds, and gives how late it was. A machine that stands
     * still makes any callback late. What is always late makes all of them late, and this fails.
     */
    const lateBy = async (
      lessThan: number,
      meanwhile: () => Promise<unknown> = async () => {},
    ): Promise<number> => {
      let best = Infinity;
      for (let time = 0; time < 20 && best >= lessThan; time++) {
        const key = `k${asked++}`;
        const began = performance.now();
        await hub.settled(hub.request(key, { n: 1, wait: true }), "ack");
        await meanwhile();
        const answered = await waitFor(() =>
          hub.said.find(
            ({ stream, tuple }) => stream === toNb && JSON.stringify(tuple).includes(`\\"${key}\\"`),
          ),
        );
        best = Math.min(best, answered.at - began - 1000);
      }
      expect(best).toBeLessThan(lessThan);
      return best;
    };
    // Without a coordinator, a callback is a second late.
    let now = connect();
    await lateBy(500);
    expect(now.calls()).toBeGreaterThan(0);
    // It dies while a callback is wanted; the next knows nothing, and says so.
    await lateBy(1500, async () => {
      await now.part.kill();
      now = connect();
      await vi.waitUntil(() => hub.bodies(wants).flat().length > 0, patient);
    });
    await lateBy(500);
    expect(now.calls()).toBeGreaterThan(0);
    // Nobody takes its place: the hub's own timer has the callback.
    await now.part.kill();
    hub.hears = undefined;
    expect(await lateBy(1500)).toBeGreaterThanOrEqual(1000);
  });
});

describe("the coordinator's bolt", () => {
  test("begins anew when something is thrown where nobody catches it", async () => {
    const coordinator = new Part("coordinator", "none");
    const begun = (): number =>
      coordinator.said.filter(({ stream }) => stream === "stream-bolt-coordinator-begun").length;
    await waitFor(() => begun() === 1 || undefined);
    const want = [{ claim: "one", want: [{ id: 1, inMs: 10_000 }], cancel: [] }];
    await coordinator.settled(coordinator.tuple("bolt-hub", "want", "0", JSON.stringify(want)), "ack");
    coordinator.child.kill("SIGUSR2");
    await waitFor(() => begun() === 2 || undefined);
    const again = [{ claim: "one", want: [{ id: 1, inMs: 20 }], cancel: [] }];
    coordinator.tuple("bolt-hub", "want", "0", JSON.stringify(again));
    const called = await waitFor(() => coordinator.bodies("stream-bolt-coordinator-to-hub")[0]);
    expect(called).toEqual([{ claim: "one", id: 1 }]);
  });

  test("says that it begins, calls back in time, and forgets what is cancelled or of an earlier claim", async () => {
    const coordinator = new Part("coordinator", "none");
    const back = "stream-bolt-coordinator-to-hub";
    await waitFor(() => coordinator.said.find(({ stream }) => stream === "stream-bolt-coordinator-begun"));
    const want = (claim: string, ids: readonly [id: number, inMs: number][], cancel: number[] = []): string =>
      coordinator.tuple(
        "bolt-hub",
        "want",
        "0",
        JSON.stringify([{ claim, want: ids.map(([id, inMs]) => ({ id, inMs })), cancel }]),
      );
    want("first", [
      [1, 60_000],
      [2, 100],
    ]);
    const began = performance.now();
    // In one piece: however long this process stands still, no time passes between the two.
    coordinator.child.stdin?.cork();
    want(
      "second",
      [
        [1, 200],
        [2, 50],
        [3, 50],
        [4, 100],
      ],
      [],
    );
    const last = want("second", [[4, 300]], [3]);
    coordinator.child.stdin?.uncork();
    await coordinator.settled(last, "ack");
    const calls = (): unknown[] => coordinator.bodies(back).flat();
    await waitFor(() => calls().length >= 3 || undefined);
    expect(calls()).toEqual([
      { claim: "second", id: 2 },
      { claim: "second", id: 1 },
      { claim: "second", id: 4 },
    ]);
    const at = coordinator.said.filter(({ stream }) => stream === back).map(({ at }) => at - began);
    expect(at[0]).toBeGreaterThanOrEqual(45);
    expect(at[2]).toBeGreaterThanOrEqual(295);
  });
});
