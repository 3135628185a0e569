import { end, hub, spoke } from "@wheelwork/core";
import { externalWorker, relay, systemClock, worker, type EngineEvent } from "@wheelwork/engine";
import { clusterTopics, createNode, readDeadLetter, shardOf, type Channel } from "@wheelwork/engine/cluster";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { MemoryBroker, MemoryLog } from "@wheelwork/testing";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { binaries, Server } from "./server.ts";

/*
 * Whatever a broker can carry, wherever nodes read it: each record is done, refused to its sender, or a dead letter, once. None stops
 * a shard. The records have the structure of good ones, with something wrong in them; a real server says what no text may hold.
 */

const shards = 2;
const inbox = "wheelwork-inbox";
const spokeOf = (name: string) =>
  spoke(name, {
    input: z.object({ n: z.number() }),
    output: z.object({ n: z.number() }),
    errors: ["bad"],
    timeoutMs: 60_000,
    retry: { attempts: 1, backoffMs: 10 },
  });
const own = spokeOf("own");
const external = spokeOf("external");
const relayed = spokeOf("relayed");

const asking = (called: typeof own) =>
  hub(
    called.name,
    {
      request: z.object({ n: z.number() }),
      reply: z.object({ n: z.number() }),
      errors: ["failed"],
      signals: { go: z.object({ n: z.number() }) },
      deadlineMs: 120_000,
      chart: { Working: { Done: "Up", Failed: "Down", Late: "Down" }, Up: end, Down: end },
      data: ({ n }) => ({ n }),
    },
    {
      Working: (s) =>
        s.call(called, {
          input: ({ n }) => ({ n }),
          ok: (_data, { n }) => s.raise("Done", { n }),
          failed: "Failed",
          deadline: "Late",
        }),
      Up: ({ n }) => ({ n }),
      Down: (_data, s) => s.fail("failed", "it failed"),
    },
  );
const hubs = [asking(own), asking(external), asking(relayed)];

const channel: Channel = {
  name: "test",
  from: "in",
  to: "out",
  hub: "own",
  request: ({ value }) => {
    // A channel is the user's code.
    if (value === "throws") throw Object.create(null);
    return value === "late" ? Promise.reject(new Error("later")) : (JSON.parse(value) as unknown);
  },
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};
const workers = [
  worker(own, ({ n }) => ({ n: n + 1 })),
  externalWorker(external, { topic: "questions" }),
  relay(relayed, {
    to: "asked",
    from: "told",
    send: ({ n }, { requestId }) => ({ key: requestId, value: JSON.stringify({ n }) }),
    receive: ({ key, value }) =>
      JSON.parse(`{"correlation":${JSON.stringify(key)},"outcome":${value}}`) as never,
    request: ({ key }) => key,
  }),
];

const hostileText = fc.oneof(
  fc.constantFrom(
    "",
    "\0",
    "a\0b",
    "\ud800",
    "\udc80",
    "x".repeat(3000),
    "a/b",
    "live/1",
    "//%zz",
    "live/\0",
    "live/t1",
  ),
  fc.constantFrom(
    "__proto__",
    "constructor",
    "toString",
    "refused:invalid",
    "tell:own",
    "own",
    "test",
    "test \0",
  ),
  fc.string({ unit: "binary", maxLength: 30 }),
);
const hostile = fc.oneof(
  hostileText,
  fc.constantFrom<unknown>(
    null,
    true,
    -1,
    0,
    0.5,
    1e300,
    -1e300,
    2 ** 53,
    {},
    [],
    { toString: 1 },
    { a: "\0" },
  ),
  fc.jsonValue({ maxDepth: 2 }),
  fc.constant(JSON.parse('{"__proto__":{"kind":"ok"},"n":1}') as unknown),
  fc.constantFrom<unknown>({ kind: "ok" }, { kind: "error", code: "bad" }, { kind: "dance" }),
);

const key = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom("live", "k1", "k2", "k3") },
  { weight: 1, arbitrary: hostileText },
);
const good = [
  {
    type: "request",
    hub: "own",
    request: { n: 1 },
    deadlineMs: 5000,
    replyTo: "test",
    origin: { topic: "in", partition: 0, offset: 3 },
  },
  { type: "command", input: { kind: "signal", id: "s", hash: "h", signal: "go", payload: { n: 1 } } },
  { type: "command", input: { kind: "cancel", id: "c" }, run: "live/1" },
  { type: "command", input: { kind: "retry", id: "r" } },
  { type: "command", input: { kind: "resolve", id: "m", message: "done" } },
  { type: "response", "correlation-id": "1.1.1.external", output: { n: 1 } },
  {
    type: "response",
    "correlation-id": "1.1.1.external",
    error: { code: "bad", message: "no", details: {} },
  },
  { type: "heard", spoke: "relayed", correlation: "live", outcome: { kind: "ok", output: { n: 1 } } },
] as const;

/** One or two places of a value, the value itself included, replaced by something else. */
const changed = (value: unknown): fc.Arbitrary<unknown> => {
  if (typeof value !== "object" || value === null) return hostile;
  const entries = Object.entries(value);
  if (entries.length === 0) return hostile;
  const inside = fc
    .nat({ max: entries.length - 1 })
    .chain((place) =>
      changed(entries[place]?.[1]).map((other) =>
        Object.fromEntries(entries.map(([name, old], index) => [name, index === place ? other : old])),
      ),
    );
  const dropped = fc
    .nat({ max: entries.length - 1 })
    .map((place) => Object.fromEntries(entries.toSpliced(place, 1)));
  return fc.oneof(
    { weight: 6, arbitrary: inside },
    { weight: 2, arbitrary: dropped },
    { weight: 1, arbitrary: hostile },
  );
};
const noJson = fc.constantFrom("", "?", "[".repeat(10_000), '{"type":"request"', "throws", "late", "\0");
const bodyOf = (all: readonly unknown[]): fc.Arbitrary<string> =>
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc
        .constantFrom(...all)
        .chain(changed)
        .map((body) => JSON.stringify(body) ?? ""),
    },
    {
      weight: 2,
      arbitrary: fc
        .constantFrom(...all)
        .chain(changed)
        .chain(changed)
        .map((body) => JSON.stringify(body) ?? ""),
    },
    { weight: 1, arbitrary: noJson },
  );
const headers = fc.oneof(
  { weight: 3, arbitrary: fc.constant({}) },
  {
    weight: 1,
    arbitrary: fc.dictionary(
      fc.constantFrom("ce_type", "correlation-id", "dlt-reason", "__proto__", "", "x"),
      fc.oneof(
        fc.constantFrom("wheelwork.request", "wheelwork.command", "wheelwork.response", "1.1.1.external"),
        hostileText,
      ),
    ),
  },
);
const recordFor = (topic: string, all: readonly unknown[]) =>
  fc.record({
    topic: fc.constant(topic),
    key,
    value: bodyOf(all),
    headers,
    partition: fc.nat({ max: shards - 1 }),
  });
const records = fc.oneof(
  { weight: 4, arbitrary: recordFor(inbox, good) },
  { weight: 2, arbitrary: recordFor("in", [{ n: 1 }]) },
  {
    weight: 1,
    arbitrary: recordFor("told", [
      { kind: "ok", output: { n: 1 } },
      { kind: "error", code: "bad", message: "m" },
    ]),
  },
);

let server: Server;

describe.skipIf(binaries === undefined)("records that no part of ours wrote", () => {
  beforeAll(async () => {
    server = await Server.start();
  }, 60_000);
  afterAll(() => server?.remove());

  /** A node that has met hostile records, with a run that waits, and what it told. */
  async function begin() {
    const schema = server.schema();
    const broker = new MemoryBroker({ clock: systemClock });
    for (const { name, partitions = shards } of clusterTopics({ shards, channels: [channel] }))
      broker.createTopic(name, partitions);
    for (const name of ["questions", "asked"]) broker.createTopic(name);
    broker.createTopic("told", shards);
    const pool = postgresPool({ connectionString: server.url, schema });
    const log = new MemoryLog(broker, { clock: systemClock });
    const events: EngineEvent[] = [];
    const failures: Error[] = [];
    const node = createNode({
      hubs,
      workers,
      shards,
      log,
      channels: [channel],
      store: (shard) => postgresStore({ pool, shard, shards }),
      observe: (event) => void events.push(event),
      onFailure: (error) => void failures.push(error),
    });
    await node.start();
    onTestFinished(async () => {
      await node.stop({ drainMs: 0 });
      await log.close();
      await pool.close();
    });
    await expect.poll(() => node.shards.map(({ status }) => status)).toEqual(["running", "running"]);
    await node.submit("external", { n: 1 }, { key: "live" });
    return { broker, log, node, events, failures };
  }

  test("each is done, refused to its sender, or a dead letter; no shard is stopped or claimed again", async () => {
    const { broker, log, node, events, failures } = await begin();
    const all = fc.sample(records, { numRuns: 1500, seed: 20_261 });
    for (const { topic, partition, ...message } of all) await log.append(topic, message, partition);
    // One more for each place, so that all before it has been read.
    for (const shard of Array.from({ length: shards }).keys()) {
      for (let number = 0; ; number++) {
        const last = `last-${shard}-${number}`;
        if (shardOf(last, shards) !== shard) continue;
        const value = JSON.stringify({ type: "request", hub: "own", request: { n: 7 }, replyTo: "test" });
        await log.append(inbox, { key: last, value }, shard);
        await expect
          .poll(() => node.answer(last, { waitMs: 0 }).catch(() => undefined))
          .toEqual({
            kind: "result",
            value: { n: 8 },
          });
        break;
      }
      const key = `channel-${shard}`;
      await log.append("in", { key, value: '{"n":1}' }, shard);
      await expect.poll(() => broker.records("out").some((record) => record.key === key)).toBe(true);
    }
    const told = new Set(events.map(({ name }) => name));
    expect([...told].filter((name) => ["store-lost", "shard-fenced", "incident"].includes(name))).toEqual([]);
    expect(events.filter(({ name }) => name === "shard-claimed")).toHaveLength(shards);
    expect(failures).toEqual([]);
    // All is settled: nothing comes again for ever.
    const ends = await Promise.all([0, 1].map((partition) => log.end(inbox, partition)));
    await expect.poll(() => node.shards.map(({ position }) => position)).toEqual(ends);
    for (const topic of ["in", "told"])
      for (const partition of [0, 1])
        await expect
          .poll(() => broker.committed("wheelwork", topic, partition))
          .toBe(await log.end(topic, partition));
    await expect.poll(() => node.shards.map(({ unpublished }) => unpublished)).toEqual([0, 0]);
    // A dead letter for each record at most, which is what it was.
    for (const topic of [inbox, "in"]) {
      const letters = broker.records(`${topic}-dlt`).map((letter) => ({ letter, ...readDeadLetter(letter) }));
      expect(letters.length).toBeGreaterThan(20);
      const places = letters.map(({ origin }) => `${origin.topic} ${origin.partition} ${origin.offset}`);
      expect(new Set(places).size).toBe(places.length);
      for (const { origin, letter } of letters) {
        const found = broker
          .records(origin.topic)
          .find(({ partition, offset }) => partition === origin.partition && offset === origin.offset);
        expect([letter.key, letter.value]).toEqual([found?.key, found?.value]);
      }
    }
    // Each record of the channel is answered under its own key, or a dead letter.
    const dead = new Set(
      broker
        .records("in-dlt")
        .map((letter) => readDeadLetter(letter).origin)
        .map(({ partition, offset }) => `${partition} ${offset}`),
    );
    const answered = new Set(broker.records("out").map((record) => record.key));
    const silent = broker
      .records("in")
      .filter(({ key, partition, offset }) => !dead.has(`${partition} ${offset}`) && !answered.has(key));
    expect(silent).toEqual([]);
  });

  test("a command for what cannot be a run reaches no store", async () => {
    const { node, events } = await begin();
    for (const id of ["live/\0", "\0", "live/x", "\ud800", ""]) {
      await expect(node.cancel(id)).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
      await expect(node.request(id)).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
    }
    expect(events.filter(({ name }) => name === "store-lost")).toEqual([]);
    expect(await node.cancel("live")).toBe("accepted");
  });
});
