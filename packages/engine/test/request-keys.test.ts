import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, worker, type Engine, type EngineEvent } from "@wheelwork/engine";
import { readDeadLetter, shardOf } from "@wheelwork/engine/cluster";
import { MemoryStore } from "@wheelwork/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";

const work = spoke("work", { input: z.number(), output: z.number(), timeoutMs: 1000 });

/** Works, waits for its signal, and calls itself once. */
const job = hub(
  "job",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 30_000,
    signals: { go: z.number() },
    chart: { Working: { Worked: "Waiting", Late: "Done" }, Waiting: { Go: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  {
    Working: (s) =>
      s.call(work, {
        input: ({ n }) => n,
        ok: (_data, n) => s.raise("Worked", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Waiting: (s) => s.wait({ on: { go: (_data, n) => s.raise("Go", { n }) }, deadline: "Late" }),
    Done: ({ n }) => n,
  },
);

/** Calls `job`, whose run has the key of this one with a number. */
const caller = hub(
  "caller",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 60_000,
    chart: { Calling: { Next: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  {
    Calling: (s) =>
      s.call(job, {
        input: ({ n }) => ({ n }),
        ok: (_data, n) => s.raise("Next", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Done: ({ n }) => n,
  },
);

const texts = [
  "order 42",
  "commande-été",
  "注文-42",
  "order/42",
  "order/42/7",
  "order/t3",
  "order",
  "o%2F42",
  "//order%2F42",
  "//order%2F42/0",
  "/",
  "~",
  "%",
  " leading and trailing ",
  "a\u0000b\n\t\u2028",
  "\u202Eabc שלום",
  "__proto__",
  "urn:uuid:5a",
  "a".repeat(200),
  "🧑‍🚀".repeat(66),
  "🚀".repeat(200),
];

const places = {
  memory: () => new MemoryStore(),
  sqlite: () => {
    const folder = mkdtempSync(join(tmpdir(), "keys-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    return join(folder, "a.db");
  },
};

async function start(store: string | MemoryStore, seen: EngineEvent[] = []): Promise<Engine> {
  const engine = createEngine({
    store,
    hubs: [job, caller, inLane],
    workers: [worker(work, (n) => n * 2)],
    limits: { checkpointEvents: 10 },
    observe: (event) => void seen.push(event),
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  return engine;
}

describe.each(["memory", "sqlite"] as const)("request keys (%s)", (place) => {
  test("any text of 200 characters names one request, everywhere, also over a restart", async () => {
    const store = places[place]();
    const seen: EngineEvent[] = [];
    let engine = await start(store, seen);
    for (const [n, key] of texts.entries())
      expect(await engine.submit(job, { n }, { key })).toEqual({ id: key, known: false });
    await engine.stop();
    engine = await start(typeof store === "string" ? store : store.reopen(), seen);
    for (const [n, key] of texts.entries()) {
      expect(await engine.submit(job, { n }, { key })).toEqual({ id: key, known: true });
      await expect(engine.submit(job, { n: -1 }, { key })).rejects.toThrow(
        `the request key ${key} belongs to a request with another body`,
      );
      await expect.poll(async () => (await engine.request(key)).state).toBe("Waiting");
      await engine.signal(key, "go", n, { commandId: "one" });
      expect(await engine.answer(key)).toEqual({ kind: "result", value: n });
      expect(await engine.request(key)).toMatchObject({ id: key, request: { n } });
      expect((await engine.history(key)).at(-1)).toMatchObject({ type: "ended" });
      expect(await engine.cancel(key)).toBe("ended");
    }
    const listed: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await engine.requests({ limit: 4, ...(cursor === undefined ? {} : { cursor }) });
      listed.push(...page.items.map(({ id }) => id));
      cursor = page.cursor;
    } while (cursor !== undefined);
    expect(listed.toSorted()).toEqual(texts.toSorted());
    const answered = seen.flatMap((event) => (event.name === "answered" ? [event.key] : []));
    expect(answered.toSorted()).toEqual(texts.toSorted());
  });

  test("a run that a request has begun is no request, and has an id of its own", async () => {
    const engine = await start(places[place]());
    for (const key of ["order", "order/0", "commande-été"]) {
      await engine.submit(caller, { n: 4 }, { key });
      await expect.poll(async () => (await engine.request(key)).openCalls).toHaveLength(1);
    }
    // The key of a request goes before the name of a run.
    expect(await engine.request("order/0")).toMatchObject({ id: "order/0", hub: "caller" });
    await expect.poll(async () => (await engine.request("//commande-%C3%A9t%C3%A9/0")).state).toBe("Waiting");
    await engine.signal("//commande-%C3%A9t%C3%A9/0", "go", 9);
    expect(await engine.answer("commande-été")).toEqual({ kind: "result", value: 9 });
    await engine.submit(caller, { n: 4 }, { key: "alone" });
    await expect
      .poll(async () => (await engine.request("alone/0").catch(() => undefined))?.state)
      .toBe("Waiting");
    expect(await engine.request("alone/0")).toMatchObject({ id: "alone/0", hub: "job" });
  });
});

/** Its lane's key is any text that a sender likes. */
const inLane = hub(
  "in-lane",
  {
    request: z.object({ lane: z.any() }),
    reply: z.null(),
    deadlineMs: 30_000,
    exclusive: { lane: "any", by: ({ lane }) => lane as string, whenBusy: "queue" },
    chart: { Done: end },
    data: () => ({}),
  },
  { Done: () => null },
);

// A key of a request, the key of a lane, and the id of a command.
test.each([
  ["", "must be 1 to 200 characters"],
  ["a".repeat(201), "must be 1 to 200 characters"],
  ["🚀".repeat(201), "must be 1 to 200 characters"],
  ["the last flow 🚀".slice(0, -1), "has half of a surrogate pair: it was cut in the middle of a character"],
  [7 as never, "must be a text"],
])("what cannot be a key is refused with the reason: %#", async (key, message) => {
  const engine = await start(new MemoryStore());
  await expect(engine.submit(job, { n: 1 }, { key })).rejects.toMatchObject({
    code: "WW_INVALID_REQUEST",
    problems: [{ path: "key", message }],
  });
  await expect(engine.submit(inLane, { lane: key })).rejects.toMatchObject({
    code: "WW_DEFECT",
    problems: [{ path: "exclusive.by", message }],
  });
  await engine.submit(job, { n: 1 }, { key: "k" });
  await expect(engine.signal("k", "go", 1, { commandId: key })).rejects.toMatchObject({
    code: "WW_INVALID_INPUT",
    problems: [{ path: "commandId", message }],
  });
});

test.each(["🚀".repeat(200), "a/b@~c\n\0", "__proto__", " "])("any other text can: %j", async (key) => {
  const engine = await start(new MemoryStore());
  const { id } = await engine.submit(inLane, { lane: key }, { key });
  expect(await engine.answer(id)).toEqual({ kind: "result", value: null });
  await engine.submit(job, { n: 1 }, { key: "k" });
  for (const n of [1, 2])
    expect([n, await engine.signal("k", "go", 1, { commandId: key })]).toEqual([n, "accepted"]);
});

test("through a channel, a key is the sender's, for all nodes, in answers and in dead letters", async () => {
  const system = new Nodes({ shards: 2, hub: job, workers: () => [worker(work, (n) => n * 2)] });
  const members = [await system.node(1), await system.node(1)];
  const { clock } = system;
  for (const [n, key] of texts.entries()) {
    await system.ask(key, { n });
    await clock.advance(500);
    for (const { node } of members) {
      const known: unknown[] = [];
      await clock.runUntil(
        node.submit(job, { n }, { key }).then((one) => known.push(one)),
        10_000,
      );
      expect(known).toEqual([{ id: key, known: true }]);
    }
    const [{ node }] = members as [(typeof members)[number]];
    await clock.runUntil(node.signal(key, "go", n), 10_000);
    const [answer] = await system.answered(key);
    expect(answer).toContain(JSON.stringify({ kind: "result", value: n }));
    await system.ask(key, { n: -1 });
    await clock.advance(2000);
    const letters = ["in-dlt", "wheelwork-inbox-dlt"].flatMap((topic) => system.broker.records(topic));
    expect(letters).toHaveLength(n + 1);
    const told = letters.map((letter) => readDeadLetter(letter)).filter((letter) => letter.key === key);
    expect(told.map(({ reason }) => reason.split("\n  Use")[0])).toEqual([
      `WW_KEY_REUSED: the request key ${key} belongs to a request with another body`,
    ]);
  }
  // What cannot be a key is refused, to its sender.
  const cut = "the last flow 🚀".slice(0, -1);
  for (const key of ["a".repeat(201), cut]) {
    await system.ask(key, { n: 1 });
    expect((await system.answered(key))[0]).toContain("invalid request: the key ");
  }
  expect(texts.map((key) => shardOf(key, 2))).toContain(1);
});
