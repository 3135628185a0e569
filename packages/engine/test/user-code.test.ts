import { end, hub, spoke, type Schema } from "@wheelwork/core";
import { worker, type EngineOptions } from "@wheelwork/engine";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";
import { World, type WorldOptions } from "./world.ts";

// What users write without types, or past them: it harms no other run, and says what is wrong.

const numbers = z.object({ n: z.number() });
const double = spoke("double", { input: numbers, output: numbers, timeoutMs: 1000, retry: { attempts: 2 } });

/** Calls a spoke, and gives its outcome to `ok`. */
const doubling = (ok: unknown, name = "doubling") =>
  hub(
    name,
    {
      request: numbers,
      reply: z.any(),
      deadlineMs: 1000,
      signals: { go: z.object({ n: z.number() }) },
      chart: { A: { Ok: "B", Late: "Z" }, B: { Go: "Z", Late: "Z" }, Z: end },
      data: ({ n }): { n: number; went: number } => ({ n, went: 0 }),
    },
    {
      A: (s) =>
        s.call(double, {
          input: ({ n }) => ({ n }),
          ok: ok as never,
          failed: "Late",
          deadline: "Late",
        }),
      B: (s) => s.wait({ on: { go: (_data, { n }) => s.raise("Go", { went: n }) }, deadline: "Late" }),
      Z: (data) => data,
    },
  );
const honest = doubling((_data: unknown, { n }: { n: number }) => ({ raise: "Ok", patch: { n } }), "honest");

async function worldOf(options: Partial<WorldOptions>): Promise<World> {
  const world = new World({
    hubs: [honest],
    workers: () => [worker(double, ({ n }) => ({ n: 2 * n }))],
    ...options,
  });
  onTestFinished(() => world.close());
  await world.start();
  return world;
}

let asked = 0;

async function isHonest(world: World): Promise<void> {
  const key = `honest ${++asked}`;
  await world.engine.submit(honest, { n: 1 }, { key });
  await world.clock.runUntil(async () => (await world.engine.request(key)).state === "B");
  await world.engine.signal(key, "go", { n: 3 });
  expect(await world.answer(key)).toEqual({ kind: "result", value: { n: 2, went: 3 } });
}

class Money {
  readonly amount = 1;
}

describe("what a handler returns", () => {
  const patches: Readonly<Record<string, unknown>> = {
    "an instance of Map": new Map([["n", 2]]),
    "an instance of Date": new Date(0),
    "an instance of Money": new Money(),
    "is an array": [1, 2],
    "is a string": "text",
    "is a number": 5,
    "is a function": () => 1,
    "is null": null,
    "is an event": { raise: "Ok", patch: { n: 2 } },
    "an object of a class": Object.create({ n: 2 }, { constructor: { value: undefined } }),
  };

  test.each(Object.entries(patches))("%s is no patch", async (says, patch) => {
    const hostile = doubling(() => ({ raise: "Ok", patch }), "hostile");
    const world = await worldOf({ hubs: [honest, hostile] });
    expect(await world.call(hostile, { n: 1 }, "h")).toMatchObject({ code: "WW_TIMEOUT" });
    const { incident, data } = await world.engine.request("h");
    expect(incident?.error).toMatchObject({ code: "WW_DEFECT", message: expect.stringContaining(says) });
    expect(data).toEqual({ n: 1, went: 0 });
    await isHonest(world);
  });

  /** A sequence of one step, whose success changes the data. */
  const stepping = (ok: (data: object, output: { readonly n: number }) => unknown, data: () => object) =>
    hub(
      "stepping",
      {
        request: z.object({}),
        reply: z.unknown(),
        deadlineMs: 1_000,
        deadline: "Over",
        chart: { A: { Over: "Done" }, Done: end },
        data,
      } as never,
      {
        A: (s: StepBuilder) =>
          s.sequence([s.step(double, { input: () => ({ n: 1 }), ok })], { done: "Over", failed: "Over" }),
        Done: (given: unknown) => given,
      } as never,
    );
  interface StepBuilder {
    sequence(steps: readonly unknown[], options: object): unknown;
    step(of: typeof double, options: object): unknown;
  }

  test("an event is no change of the data after a step, and is not lost without a word", async () => {
    for (const event of [{ raise: "Over", patch: { n: 2 } }, { raise: "Over" }, "Over"]) {
      const world = await worldOf({
        hubs: [
          honest,
          stepping(
            () => event,
            () => ({ n: 1 }),
          ) as never,
        ],
      });
      await world.engine.submit("stepping", {}, { key: "h" });
      await world.clock.advance(100);
      const { incident, data } = await world.engine.request("h");
      expect(incident?.error).toMatchObject({
        code: "WW_DEFECT",
        message: expect.stringMatching(/an event|a string/),
      });
      expect(data).toEqual({ n: 1 });
    }
  });

  test("a field of the data may be called raise", async () => {
    const raising = stepping(
      (_data, { n }) => ({ raise: `${n} %` }),
      () => ({ raise: "0 %" }),
    );
    const world = await worldOf({ hubs: [honest, raising as never] });
    await world.engine.submit("stepping", {}, { key: "h" });
    expect(await world.answer("h")).toEqual({ kind: "result", value: { raise: "2 %" } });
  });

  const returned: Readonly<Record<string, unknown>> = {
    undefined: undefined,
    null: null,
    "an object": { n: 2 },
    "an object ": new Date(0),
    "5": 5,
  };

  test.each(Object.entries(returned))("%s raises nothing", async (says, value) => {
    const hostile = doubling(() => value, "hostile");
    const world = await worldOf({ hubs: [honest, hostile] });
    expect(await world.call(hostile, { n: 1 }, "h")).toMatchObject({ code: "WW_TIMEOUT" });
    const { incident } = await world.engine.request("h");
    const message = expect.stringContaining(`a handler returned ${says.trim()}, which raises nothing`);
    expect(incident?.error).toMatchObject({ message });
    await isHonest(world);
  });
});

test("a payload counts as it was when it was sent", async () => {
  const world = await worldOf({});
  await world.engine.submit(honest, { n: 1 }, { key: "k" });
  await world.clock.runUntil(async () => (await world.engine.request("k")).state === "B");
  const payload = { n: 1 };
  const sent = world.engine.signal("k", "go", payload, { commandId: "c" });
  payload.n = 2;
  expect(await sent).toBe("accepted");
  expect(await world.answer("k")).toMatchObject({ value: { went: 1 } });
  expect(await world.engine.signal("k", "go", { n: 1 }, { commandId: "c" })).toBe("accepted");
  await expect(world.engine.signal("k", "go", { n: 2 }, { commandId: "c" })).rejects.toMatchObject({
    code: "WW_KEY_REUSED",
  });
});

test("a schema that changes what it is given takes what it has made after a restart", async () => {
  const changing: Schema<{ n: number; seen?: boolean }> = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => {
        (value as { seen?: boolean }).seen = true;
        return { value: value as { n: number } };
      },
    },
  };
  const slow = spoke("slow", { input: changing, output: z.object({}), timeoutMs: 60_000 });
  const waiting = hub(
    "waiting",
    {
      request: numbers,
      reply: z.object({}),
      deadlineMs: 600_000,
      chart: { A: { Ok: "Z", Late: "Z" }, Z: end },
      data: ({ n }) => ({ n }),
    },
    {
      A: (s) => s.call(slow, { input: ({ n }) => ({ n }), ok: "Ok", failed: "Late", deadline: "Late" }),
      Z: () => ({}),
    },
  );
  const inputs: unknown[] = [];
  const world = await worldOf({
    hubs: [waiting],
    workers: (sleep) => [
      worker(slow, async (input) => {
        inputs.push(input);
        await sleep(10_000);
        return {};
      }),
    ],
  });
  await world.engine.submit(waiting, { n: 1 }, { key: "k" });
  await world.clock.advance(10);
  await world.restart();
  expect(await world.answer("k")).toEqual({ kind: "result", value: {} });
  expect(inputs).toEqual([
    { n: 1, seen: true },
    { n: 1, seen: true },
  ]);
});

test("of many problems the first are told, and of a long message its beginning", async () => {
  const list = hub(
    "list",
    {
      request: z.array(z.number()),
      reply: z.any(),
      deadlineMs: 1000,
      chart: { A: { Next: "Z" }, Z: end },
      data: () => ({}),
    },
    {
      A: (s) =>
        s.pick(() => {
          throw new Error("x".repeat(1_000_000));
        }),
      Z: () => ({}),
    },
  );
  const world = await worldOf({ hubs: [list] });
  const refused = world.engine.submit(list, Array.from({ length: 50_000 }, () => "x") as never);
  const { problems, message } = await refused.then(
    () => expect.unreachable(),
    (error: { problems: readonly { message: string }[]; message: string }) => error,
  );
  expect([problems.length, problems.at(-1)?.message]).toEqual([101, "and 49900 more"]);
  expect(message.length).toBeLessThan(10_000);
  await world.call(list, [], "k");
  const { incident } = await world.engine.request("k");
  expect(incident?.error).toMatchObject({ message: `${"x".repeat(8000)}…` });
});

test("a deadline that is a text is none", async () => {
  const world = await worldOf({});
  await expect(world.engine.submit(honest, { n: 1 }, { deadlineMs: "5" as never })).rejects.toMatchObject({
    code: "WW_INVALID_REQUEST",
  });
});

test.each([[undefined], [null], [5], [{}], [Symbol("id")]])("%s is the id of no request", async (id) => {
  const { engine } = await worldOf({});
  const none = { code: "WW_NOT_FOUND" };
  await expect(engine.answer(id as never)).rejects.toMatchObject(none);
  await expect(engine.request(id as never)).rejects.toMatchObject(none);
  await expect(engine.history(id as never)).rejects.toMatchObject(none);
  await expect(engine.cancel(id as never)).rejects.toMatchObject(none);
  await expect(engine.signal(id as never, "go", {})).rejects.toMatchObject(none);
});

test.each([[Number.NaN], ["5"], [{}]])("nobody waits for %s", async (waitMs) => {
  const { engine } = await worldOf({});
  await engine.submit(honest, { n: 1 }, { key: "k" });
  await expect(engine.answer("k", { waitMs: waitMs as never })).rejects.toMatchObject({
    code: "WW_INVALID_INPUT",
  });
});

describe("functions that an engine tells something", () => {
  const snare = (): never => {
    throw new Error("snare");
  };
  const rejects = async (): Promise<void> => snare();
  const throwing = { debug: snare, info: snare, warn: snare, error: snare };
  const rejecting = { debug: rejects, info: rejects, warn: rejects, error: rejects };
  const cases: Readonly<Record<string, Pick<EngineOptions, "observe" | "logger">>> = {
    "an observer that throws": { observe: snare },
    "an observer that rejects": { observe: rejects },
    "a logger that throws": { logger: throwing },
    "a logger that rejects": { logger: rejecting },
    both: { observe: snare, logger: throwing },
  };

  test.each(Object.entries(cases))("%s disturbs nobody", async (_name, options) => {
    const world = new World({
      hubs: [honest],
      workers: () => [
        worker(double, ({ n }, { attempt }) => {
          if (attempt === 1) throw new Error("not yet");
          return { n: 2 * n };
        }),
      ],
      options,
    });
    onTestFinished(() => world.close());
    await world.start();
    await isHonest(world);
    await world.restart();
    await isHonest(world);
    await world.engine.stop();
    expect(world.engine.health().status).toBe("stopped");
  });

  test.each(Object.entries(cases))("%s disturbs no node", async (_name, options) => {
    const nodes = new Nodes({
      shards: 2,
      hub: hub(
        "passing",
        {
          request: numbers,
          reply: numbers,
          deadlineMs: 1000,
          chart: { A: { Next: "Z" }, Z: end },
          data: ({ n }) => ({ n }),
        },
        { A: "Next", Z: ({ n }) => ({ n }) },
      ),
      workers: () => [],
      options,
    });
    const { node } = await nodes.node(1);
    await nodes.ask("k", { n: 1 });
    expect(await nodes.answered("k")).toHaveLength(1);
    await nodes.clock.runUntil(node.stop());
  });
});
