import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { relay, systemClock, worker, type EngineEvent } from "@wheelwork/engine";
import { clusterTopics, createNode, shardOf, type Channel } from "@wheelwork/engine/cluster";
import { end, hub, spoke } from "@wheelwork/core";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { MemoryBroker, MemoryLog } from "@wheelwork/testing";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";

/*
 * What the user's own code makes of a record: channels and relays may return and throw anything. A record whose shard is another
 * node's goes through the inbox as JSON, and must come to the same as one whose shard is here.
 */

const shards = 2;
const revoked = (): unknown => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};
const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
const nested = (depth: number): unknown => {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = [value];
  return value;
};
const thrown = (error: unknown): never => {
  throw error;
};

/** What no JSON has, or what JSON changes. */
const odd: Readonly<Record<string, () => unknown>> = {
  bigint: () => ({ n: 1n }),
  cycle: () => cyclic,
  date: () => ({ n: 1, at: new Date(0) }),
  map: () => new Map([["n", 1]]),
  nan: () => ({ n: Number.NaN }),
  getter: () => Object.defineProperty({}, "n", { enumerable: true, get: () => thrown("got") }),
  toJSON: () => ({ n: 1, toJSON: () => thrown("written") }),
  otherJSON: () => ({ n: 1, toJSON: () => ({ n: 2 }) }),
  revoked,
  deep: () => ({ n: nested(100_000) }),
  function: () => () => 1,
  symbol: () => Symbol("s"),
  undefined: () => undefined,
  rejects: () => Promise.reject(new Error("later")),
  thenable: () => ({
    // eslint-disable-next-line unicorn/no-thenable
    then: (_ok: unknown, fail: (error: unknown) => void) => fail(undefined),
  }),
  throwsNothing: () => thrown(undefined),
  throwsBare: () => thrown(Object.create(null)),
  throwsRevoked: () => thrown(revoked()),
};

const asked = spoke("asked", {
  input: z.object({ n: z.number() }),
  output: z.unknown() as z.ZodType<number>,
  timeoutMs: 60_000,
  retry: { attempts: 1, backoffMs: 10 },
});
const own = spoke("own", { input: z.object({}), output: z.object({}), timeoutMs: 60_000 });
const main = hub(
  "main",
  {
    request: z.object({ n: z.number() }),
    reply: z.object({ n: z.number() }),
    deadlineMs: 60_000,
    chart: { Working: { Done: "Up", Late: "Up" }, Up: end },
    data: ({ n }) => ({ n }),
  },
  {
    Working: (s) => s.call(own, { input: () => ({}), ok: "Done", failed: "Late", deadline: "Late" }),
    Up: ({ n }) => ({ n }),
  },
);
const asking = hub(
  "asking",
  {
    request: z.object({ n: z.number() }),
    reply: z.string(),
    deadlineMs: 60_000,
    chart: { Working: { Done: "Up", Late: "Up" }, Up: end },
    data: () => ({ came: "" }),
  },
  {
    Working: (s) =>
      s.call(asked, {
        input: () => ({ n: 1 }),
        ok: () => s.raise("Done", { came: "ok" }),
        failed: (_data, failure) =>
          s.raise("Done", { came: failure.kind === "error" ? failure.code : failure.kind }),
        deadline: "Late",
      }),
    Up: ({ came }) => came,
  },
);

const channel: Channel = {
  name: "test",
  from: "in",
  to: "out",
  hub: "main",
  request: ({ value }) => (odd[value] === undefined ? (JSON.parse(value) as unknown) : odd[value]()),
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};

/** One that says the answer to the nth request in the nth odd way, as a whole, as the value, and as a header. */
const saying = (part: "all" | "value" | "header"): Channel => ({
  name: part,
  from: `in-${part}`,
  to: `out-${part}`,
  hub: "main",
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => {
    if (answer.kind !== "result") return { value: JSON.stringify(answer) };
    const made = Object.values(odd)[(answer.value as { n: number }).n]?.() as never;
    if (part === "all") return made;
    return part === "value" ? { value: made } : { value: "fine", headers: { odd: made } };
  },
});
const channels = [channel, saying("all"), saying("value"), saying("header")];

describe.skipIf(!postgresIsInstalled())("what code of users makes of records", () => {
  let server: PostgresServer;
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-code-"));
    chmodSync(folder, 0o755);
    server = new PostgresServer(folder, await freePort());
    await server.start();
  });
  afterAll(async () => {
    await server.signal("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  test("each request has the same answer, and each attempt one outcome, whichever node reads the record", async () => {
    const broker = new MemoryBroker({ clock: systemClock });
    for (const { name, partitions = shards } of clusterTopics({ shards, channels }))
      broker.createTopic(name, partitions);
    broker.createTopic("question");
    broker.createTopic("reply", shards);
    const events: EngineEvent[] = [];
    const failures: Error[] = [];
    const log = new MemoryLog(broker, { clock: systemClock });
    const pool = postgresPool({ connectionString: server.url, schema: "code" });
    const begin = async (name: string) => {
      const node = createNode({
        name,
        hubs: [main, asking],
        workers: [
          worker(own, () => ({})),
          relay(asked, {
            to: "question",
            from: "reply",
            send: (_input, { requestId }) => ({ key: requestId, value: "?" }),
            receive: ({ key, value }) => {
              if (value === "fine") return { correlation: key, outcome: { kind: "ok", output: 1 } };
              const [where, what] = value.split(" ") as [string, string];
              const made = odd[what]?.();
              switch (where) {
                case "all":
                  return made as never;
                case "correlation":
                  return { correlation: made as never, outcome: { kind: "ok", output: 1 } };
                case "outcome":
                  return { correlation: key, outcome: made as never };
                default:
                  return { correlation: key, outcome: { kind: "ok", output: made as never } };
              }
            },
            request: ({ key }) => key,
          }),
        ],
        shards,
        log: new MemoryLog(broker, { clock: systemClock }),
        channels,
        store: (shard) => postgresStore({ pool, shard, shards }),
        observe: (event) => void events.push(event),
        onFailure: (error) => void failures.push(error),
      });
      await node.start();
      onTestFinished(() => node.stop({ drainMs: 0 }));
      return node;
    };
    const nodes = [await begin("one"), await begin("two")];
    onTestFinished(async () => pool.close());
    const owned = (): unknown => nodes.map(({ shards: [first, second] }) => [first?.status, second]);
    await expect.poll(owned, { timeout: 20_000 }).toEqual([
      ["running", undefined],
      ["running", undefined],
    ]);

    // Each kind in each partition, under a key of each shard.
    const keysOf = (what: string): string[] =>
      [0, 1].flatMap((partition) =>
        [0, 1].map((shard) => {
          for (let number = 0; ; number++) {
            const key = `${what}-${partition}-${shard}-${number}`;
            if (shardOf(key, shards) === shard) return key;
          }
        }),
      );
    const answersOf = (key: string): string[] =>
      broker.records("out").flatMap((record) => (record.key === key ? [record.value] : []));
    for (const what of Object.keys(odd))
      for (const [index, key] of keysOf(what).entries())
        await log.append("in", { key, value: what }, Math.floor(index / 2));
    for (const what of Object.keys(odd)) {
      const keys = keysOf(what);
      await expect
        .poll(() => keys.map((key) => answersOf(key).length), { timeout: 20_000, message: what })
        .toEqual([1, 1, 1, 1]);
      expect(new Set(keys.flatMap(answersOf)).size, `${what}: ${keys.flatMap(answersOf).join()}`).toBe(1);
    }
    for (const partition of [0, 1])
      await expect
        .poll(() => broker.committed("wheelwork", "in", partition))
        .toBe(await log.end("in", partition));

    // What channels write.
    for (const [n, what] of Object.keys(odd).entries())
      for (const { name, from } of channels.slice(1))
        await log.append(from, { key: `${name} ${what}`, value: JSON.stringify({ n }) });
    for (const what of Object.keys(odd))
      for (const { name, to } of channels.slice(1)) {
        const said = (): unknown[] =>
          broker
            .records(to)
            .filter(({ key }) => key === `${name} ${what}`)
            .map(({ value }) => (JSON.parse(value) as { code: string }).code);
        await expect.poll(said, { timeout: 20_000, message: `${name} ${what}` }).toEqual(["WW_TOO_LARGE"]);
      }

    // The replies that relays read. After one that makes no sense, the attempt still has the next one.
    const places = ["all", "correlation", "outcome", "output"];
    const replied = Object.keys(odd).flatMap((what) =>
      places.flatMap((where) =>
        keysOf(`${where}.${what}`).map((key, index) => ({ key, where, what, index })),
      ),
    );
    await Promise.all(replied.map(({ key }) => nodes[0]?.submit(asking, { n: 1 }, { key })));
    for (const { key, where, what, index } of replied)
      for (const value of [`${where} ${what}`, "fine"])
        await log.append("reply", { key, value }, Math.floor(index / 2));
    const came = new Map<string, Set<string>>();
    for (const { key, where, what } of replied) {
      const answer = await nodes[1]?.answer(key, { waitMs: 20_000 });
      const of = came.get(`${where} ${what}`) ?? new Set();
      came.set(`${where} ${what}`, of.add(JSON.stringify(answer)));
    }
    expect([...came].filter(([, answers]) => answers.size !== 1)).toEqual([]);
    for (const partition of [0, 1])
      await expect
        .poll(() => broker.committed("wheelwork", "reply", partition))
        .toBe(await log.end("reply", partition));
    const told = new Set(events.map(({ name }) => name));
    expect([...told].filter((name) => ["store-lost", "shard-fenced", "incident"].includes(name))).toEqual([]);
    expect(failures).toEqual([]);
  }, 60_000);
});
