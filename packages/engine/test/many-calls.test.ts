import { end, hub, spoke, stay } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { checkHistory, World, type WorldOptions } from "./world.ts";

// What concerns all calls of a run concerns 100,000 of them. Whatever it is, one turn of the loop does some of it.

const calls = 1_200;
const atOnce = 50;

const count = spoke("count", { input: z.object({ n: z.int() }), output: z.object({}), timeoutMs: 60_000 });
const rare = spoke("rare", {
  input: z.object({ n: z.int() }),
  output: z.object({}),
  timeoutMs: 60_000,
  limit: { concurrent: 2 },
});

/** Calls all at once, and leaves them when it is cancelled. */
const roundOf = (name: string, callee: typeof count | typeof rare) =>
  hub(
    name,
    {
      request: z.object({}),
      reply: z.object({ counted: z.int() }),
      deadlineMs: 600_000,
      cancel: "Cancelled",
      chart: {
        Counting: { Counted: stay, All: "Over", Late: "Over", Cancelled: "Leaving" },
        Leaving: { Left: "Over", Late: "Over" },
        Over: end,
      },
      data: () => ({ counted: 0 }),
    },
    {
      Counting: (s) =>
        s.each(callee, {
          inputs: () => Array.from({ length: calls }, (_, n) => ({ n })),
          settled: ({ counted }) => s.raise("Counted", { counted: counted + 1 }),
          done: "All",
          deadline: "Late",
        }),
      Leaving: (s) => s.wait({ after: { Left: 1000 }, deadline: "Late" }),
      Over: ({ counted }) => ({ counted }),
    },
  );
const round = roundOf("round", count);
const limited = roundOf("limited", rare);

/** Counts what happens in each turn of the loop of Node. */
class Turns {
  readonly #counts: number[] = [0];
  #next: NodeJS.Immediate;

  constructor() {
    const turn = (): void => {
      this.#counts.push(0);
      this.#next = setImmediate(turn);
    };
    this.#next = setImmediate(turn);
    onTestFinished(() => clearImmediate(this.#next));
  }

  count(): void {
    this.#counts.push((this.#counts.pop() ?? 0) + 1);
  }

  get most(): number {
    return Math.max(...this.#counts);
  }

  get sum(): number {
    return this.#counts.reduce((sum, one) => sum + one, 0);
  }
}

/** Workers that work until they are told to stop. */
function worldOf(): { world: World; aborted: Turns; begun: { count: number } } {
  const aborted = new Turns();
  const begun = { count: 0 };
  const until = (signal: AbortSignal): Promise<Record<string, never>> =>
    new Promise((resolve) => {
      begun.count++;
      signal.addEventListener("abort", () => {
        aborted.count();
        resolve({});
      });
    });
  const world = new World({
    hubs: [round, limited],
    workers: () => [
      worker(count, (_input, { signal }) => until(signal)),
      worker(rare, (_input, { signal }) => until(signal)),
    ],
    limits: { openedCalls: atOnce },
  });
  onTestFinished(() => world.close());
  return { world, aborted, begun };
}

test("a run that leaves many calls closes some of them in a turn", async () => {
  const { world, aborted, begun } = worldOf();
  await world.start();
  await world.engine.submit(round, {}, { key: "r" });
  await world.clock.runUntil(() => begun.count === calls);
  await world.engine.cancel("r");
  expect((await world.engine.request("r")).openCalls).toEqual([]);
  expect(await world.answer("r")).toEqual({ kind: "result", value: { counted: 0 } });
  expect(aborted.sum).toBe(calls);
  expect(aborted.most).toBeLessThanOrEqual(2 * atOnce);
  await world.clock.advance(60_000);
  expect(world.counted("attempt-timeout")).toBe(0);
});

test("no call begins that was left with many others, though places become free", async () => {
  const { world, aborted, begun } = worldOf();
  await world.start();
  await world.engine.submit(limited, {}, { key: "r" });
  await world.clock.runUntil(() => world.counted("attempt") === calls);
  expect(begun.count).toBe(2);
  await world.engine.cancel("r");
  expect(await world.answer("r")).toEqual({ kind: "result", value: { counted: 0 } });
  expect([begun.count, aborted.sum]).toEqual([2, 2]);
  // The places are free again.
  await world.engine.submit(limited, {}, { key: "s" });
  await world.clock.runUntil(() => begun.count === 4);
});

test("a start checks the inputs of many calls over many turns, and what it fills in goes to each worker", async () => {
  const many = 3_000;
  const checked = new Turns();
  const seen = new Set<string>();
  const begun = { count: 0 };
  const hubOf = (input: z.ZodType<Record<string, unknown>>) => {
    const place = spoke("place", { input, output: z.object({}), timeoutMs: 60_000 });
    const placing = hub(
      "placing",
      {
        request: z.object({}),
        reply: z.object({ placed: z.int() }),
        deadlineMs: 600_000,
        chart: { Placing: { Placed: stay, All: "Over", Late: "Over" }, Over: end },
        data: () => ({ placed: 0 }),
      },
      {
        Placing: (s) =>
          s.each(place, {
            inputs: () => Array.from({ length: many }, (_, n) => ({ n })),
            settled: ({ placed }) => s.raise("Placed", { placed: placed + 1 }),
            done: "All",
            deadline: "Late",
          }),
        Over: ({ placed }) => ({ placed }),
      },
    );
    return { place, placing };
  };
  const before = hubOf(z.object({ n: z.int() }));
  const today = hubOf(
    z.object({ n: z.int(), color: z.string().default("red") }).refine(() => {
      checked.count();
      return true;
    }),
  );
  let present = before;
  let gate = Promise.withResolvers<object>();
  const world = new World({
    hubs: [before.placing],
    workers: () => [
      worker(present.place, async (input) => {
        begun.count++;
        await gate.promise;
        seen.add(JSON.stringify(input));
        return {};
      }),
    ],
    limits: { batchInputs: 5 },
  });
  onTestFinished(() => world.close());
  await world.start();
  await world.engine.submit(before.placing, {}, { key: "r" });
  await world.clock.runUntil(() => begun.count === many);
  present = today;
  world.hubs = [today.placing];
  gate = Promise.withResolvers();
  await world.restart();
  gate.resolve({});
  expect(await world.answer("r")).toEqual({ kind: "result", value: { placed: many } });
  // Each input is checked to find out whether it is as the schema wants it, and once more to fill it in.
  expect(checked.sum).toBe(2 * many);
  expect(checked.most).toBeLessThanOrEqual(1_000);
  expect(seen.size).toBe(many);
  expect([...seen].every((input) => input.includes('"color":"red"'))).toBe(true);
});

describe("a retry of a run that keeps many outcomes", () => {
  /** Throws at the first outcome while it is broken, and then at one in the middle. */
  const brokenAt = { index: 0 as number | undefined };
  const decided = new Map<string, Turns>();
  const parking = hub(
    "parking",
    {
      request: z.object({}),
      reply: z.object({ counted: z.int() }),
      deadlineMs: 600_000,
      cancel: "Cancelled",
      chart: {
        Counting: { Counted: stay, All: "Over", Late: "Over", Cancelled: "Over" },
        Over: end,
      },
      data: () => ({ counted: 0 }),
    },
    {
      Counting: (s) =>
        s.each(count, {
          inputs: () => Array.from({ length: calls }, (_, n) => ({ n })),
          ok: ({ counted }, _output, { index }) => {
            if (index === brokenAt.index) throw new Error("broken");
            for (const turns of decided.values()) turns.count();
            return s.raise("Counted", { counted: counted + 1 });
          },
          failed: "Late",
          done: "All",
          deadline: "Late",
        }),
      Over: ({ counted }) => ({ counted }),
    },
  );

  /** A run that is parked, and keeps what all of its calls came to. */
  async function parkedWorld(options: Partial<WorldOptions> = {}): Promise<World> {
    brokenAt.index = 0;
    const gate = Promise.withResolvers<Record<string, never>>();
    let begun = 0;
    const world = new World({
      hubs: [parking],
      workers: () => [worker(count, () => (begun++, gate.promise))],
      limits: { openedCalls: atOnce, batchInputs: 100 },
      ...options,
    });
    onTestFinished(() => world.close());
    await world.clock.runUntil(world.start());
    await world.clock.runUntil(world.engine.submit(parking, {}, { key: "r" }));
    await world.clock.runUntil(() => begun === calls, 1000);
    gate.resolve({});
    await world.clock.runUntil(async () => (await keptBy(world)) === calls, 1000);
    return world;
  }

  const keptBy = async (world: World): Promise<number> => {
    const view = world.engine.request("r");
    await world.clock.runUntil(view);
    const { incident } = await view;
    return (incident?.inputs.length ?? 0) + (incident?.moreInputs ?? 0);
  };

  test("decides some of them in a turn", async () => {
    const world = await parkedWorld();
    const turns = new Turns();
    decided.set("r", turns);
    onTestFinished(() => void decided.clear());
    brokenAt.index = undefined;
    await world.engine.retry("r");
    expect(await world.answer("r")).toEqual({ kind: "result", value: { counted: calls } });
    expect(turns.sum).toBe(calls);
    expect(turns.most).toBeLessThanOrEqual(2 * atOnce);
    checkHistory(parking, await world.engine.history("r"));
  });

  test("keeps those that are left if a handler throws once more", async () => {
    const world = await parkedWorld();
    brokenAt.index = calls / 2;
    await world.engine.retry("r");
    await world.clock.runUntil(async () => (await world.engine.request("r")).status === "incident");
    await world.clock.runUntil(async () => (await keptBy(world)) === calls / 2);
    await world.clock.advance(1000);
    expect(await keptBy(world)).toBe(calls / 2);
    brokenAt.index = undefined;
    await world.engine.retry("r");
    expect(await world.answer("r")).toEqual({ kind: "result", value: { counted: calls } });
  });

  test("goes on in the next process, whichever batch was the last", async () => {
    for (const fault of ["crash-before", "crash-after", "fail", "unseen"] as const) {
      let commit = Number.NEGATIVE_INFINITY;
      for (const at of [1, 2, 7, 20, 26, 27, 28, 29]) {
        commit = Number.NEGATIVE_INFINITY;
        const world = await parkedWorld({
          faults: { faultAt: () => (++commit === at ? fault : undefined) },
        });
        brokenAt.index = undefined;
        commit = 0;
        const retried = world.engine.retry("r").catch(() => {});
        await world.clock.advance(100);
        if (world.store.crashed) await world.restart();
        await world.clock.advance(5000);
        await Promise.race([retried, world.clock.settle()]);
        if ((await world.engine.request("r")).status === "incident") await world.engine.retry("r");
        expect(await world.answer("r"), `${fault} ${at}`).toEqual({
          kind: "result",
          value: { counted: calls },
        });
        world.close();
      }
    }
  });

  test.each([
    { command: "cancel", answer: { kind: "result" } },
    { command: "resolve", answer: { kind: "error", code: "WW_INCIDENT", message: "enough" } },
  ])("takes a $command meanwhile", async ({ command, answer }) => {
    const world = await parkedWorld({ faults: { later: 1 } });
    brokenAt.index = undefined;
    await world.clock.runUntil(world.engine.retry("r"));
    const { engine } = world;
    await world.clock.runUntil(command === "cancel" ? engine.cancel("r") : engine.resolve("r", "enough"));
    expect(await world.answer("r")).toMatchObject(answer);
    await world.clock.advance(10_000);
    expect(engine.health().liveRuns).toBe(0);
  });
});
