import { end, hub, spoke, stay } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { World } from "./world.ts";

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
