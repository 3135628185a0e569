import { end, hub } from "@wheelwork/core";
import { createEngine, type Engine } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";

/** Adds up what it is sent, until it is told to stop. */
const sum = (add: z.ZodType<number> = z.number()) =>
  hub(
    "sum",
    {
      request: z.object({}),
      reply: z.number(),
      deadlineMs: 60_000,
      signals: { add, stop: z.null() },
      chart: { Adding: { Added: "(stay)", Go: "Done", Late: "Done" }, Done: end },
      data: () => ({ total: 0 }),
    },
    {
      Adding: (s) =>
        s.wait({
          on: { add: ({ total }, n) => s.raise("Added", { total: total + n }), stop: "Go" },
          deadline: "Late",
        }),
      Done: ({ total }) => total,
    },
  );

async function start(store: MemoryStore, adding = sum()): Promise<Engine> {
  const engine = createEngine({ store, hubs: [adding], workers: [], limits: { checkpointEvents: 100 } });
  await engine.start();
  onTestFinished(() => engine.stop());
  return engine;
}

test("a command that its sender has named counts once, however many come between, and over restarts", async () => {
  const disk = new MemoryStore();
  let engine = await start(disk);
  const add = (n: number, commandId?: string) =>
    engine.signal("k", "add", n, commandId === undefined ? {} : { commandId });
  await engine.submit("sum", {}, { key: "k" });
  await add(1, "first");
  for (let n = 0; n < 25; n++)
    await Promise.all(Array.from({ length: 100 }, (_, at) => add(0, `${n}/${at}`)));
  // Nobody can send these again, so they need not be remembered.
  for (let n = 0; n < 25; n++) await Promise.all(Array.from({ length: 100 }, () => add(0)));
  expect(await add(1, "first")).toBe("accepted");
  await engine.stop();
  engine = await start(disk.reopen());
  expect(await add(1, "first")).toBe("accepted");
  expect(await add(0, "0/0")).toBe("accepted");
  await expect(add(1, "0/0")).rejects.toMatchObject({ code: "WW_KEY_REUSED" });
  await engine.signal("k", "stop", null);
  expect(await engine.answer("k")).toEqual({ kind: "result", value: 1 });
  expect((await engine.history("k")).filter(({ type }) => type === "signalled")).toHaveLength(5002);
});

test("a command that came once is known as long as its request is, also when the run is over", async () => {
  const disk = new MemoryStore();
  let engine = await start(disk);
  await engine.submit("sum", {}, { key: "k" });
  await engine.signal("k", "add", 5, { commandId: "one" });
  await engine.signal("k", "stop", null, { commandId: "two" });
  expect(await engine.answer("k")).toEqual({ kind: "result", value: 5 });
  for (let restarts = 0; restarts < 2; restarts++) {
    expect(await engine.signal("k", "add", 5, { commandId: "one" })).toBe("accepted");
    expect(await engine.signal("k", "stop", null, { commandId: "two" })).toBe("accepted");
    await expect(engine.signal("k", "add", 6, { commandId: "one" })).rejects.toMatchObject({
      code: "WW_KEY_REUSED",
    });
    expect(await engine.signal("k", "add", 5, { commandId: "three" })).toBe("ended");
    expect(await engine.signal("k", "add", 5)).toBe("ended");
    expect(await engine.cancel("k", { commandId: "one" })).toBe("ended");
    await engine.stop();
    engine = await start(disk.reopen());
  }
});

test("another signal under a known command id is refused, and the first one stands", async () => {
  const engine = await start(new MemoryStore());
  await engine.submit("sum", {}, { key: "k" });
  const both = await Promise.allSettled(
    [5, 7].map((n) => engine.signal("k", "add", n, { commandId: "one" })),
  );
  expect(both).toMatchObject([
    { status: "fulfilled", value: "accepted" },
    { status: "rejected", reason: { code: "WW_KEY_REUSED" } },
  ]);
  await expect(engine.signal("k", "stop", null, { commandId: "one" })).rejects.toMatchObject({
    code: "WW_KEY_REUSED",
  });
  await engine.signal("k", "stop", null, { commandId: "two" });
  expect(await engine.answer("k")).toEqual({ kind: "result", value: 5 });
});

test("a signal that came once is known, though today's schema refuses it or makes something else of it", async () => {
  const disk = new MemoryStore();
  let engine = await start(disk);
  await engine.submit("sum", {}, { key: "k" });
  await engine.signal("k", "add", 5, { commandId: "one" });
  await engine.stop();
  for (const today of [z.number().max(1), z.number().transform((n) => n * Math.random())]) {
    engine = await start(disk.reopen(), sum(today));
    expect(await engine.signal("k", "add", 5, { commandId: "one" })).toBe("accepted");
    await expect(engine.signal("k", "add", 6, { commandId: "one" })).rejects.toMatchObject({
      code: "WW_KEY_REUSED",
    });
    await engine.stop();
  }
  engine = await start(disk.reopen(), sum(z.number().max(1)));
  await expect(engine.signal("k", "add", 5, { commandId: "two" })).rejects.toMatchObject({
    code: "WW_INVALID_INPUT",
  });
});

test.each(["", "x".repeat(201), 7 as never])(
  "a command id that is no text of sensible length is refused: %#",
  async (commandId) => {
    const engine = await start(new MemoryStore());
    await engine.submit("sum", {}, { key: "k" });
    for (const command of [
      () => engine.signal("k", "add", 1, { commandId }),
      () => engine.cancel("k", { commandId }),
      () => engine.retry("k", { commandId }),
      () => engine.resolve("k", "given up", { commandId }),
    ])
      await expect(command()).rejects.toMatchObject({ code: "WW_INVALID_INPUT" });
  },
);

test("the same holds at nodes that do not own the shard", async () => {
  const system = new Nodes({ shards: 2, hub: sum(), workers: () => [] });
  const members = [await system.node(1), await system.node(1)];
  const { clock } = system;
  const [first] = members;
  await clock.runUntil(first!.node.submit("sum", {}, { key: "k" }), 10_000);
  const said: string[] = [];
  const add = async (n: number, of: (typeof members)[number]) => {
    const sent = of.node.signal("k", "add", n, { commandId: "one" }).then(
      (result) => said.push(result),
      (error: { code: string }) => said.push(error.code),
    );
    await clock.runUntil(sent, 10_000);
    await clock.advance(1000);
  };
  for (const n of [5, 5, 7]) for (const member of members) await add(n, member);
  expect(said).toEqual(["accepted", "accepted", "accepted", "accepted", "WW_KEY_REUSED", "WW_KEY_REUSED"]);
  await clock.runUntil(first!.node.signal("k", "stop", null), 10_000);
  await clock.advance(1000);
  const answers: unknown[] = [];
  await clock.runUntil(
    first!.node.answer("k").then((answer) => answers.push(answer)),
    10_000,
  );
  expect(answers).toEqual([{ kind: "result", value: 5 }]);
});
