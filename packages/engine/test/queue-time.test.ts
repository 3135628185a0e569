import { end, hub, spoke, stay } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { World, type WorldOptions } from "./world.ts";

/** The time of an attempt begins when a worker begins it: to wait for a place costs no attempt. */

const install = spoke("install", {
  input: z.object({ n: z.number() }),
  output: z.object({}),
  timeoutMs: 100,
  concurrency: 10,
});

const job = (deadlineMs: number) =>
  hub(
    "job",
    {
      request: z.object({ n: z.number() }),
      reply: z.object({ ok: z.number(), failed: z.number(), isLate: z.boolean() }),
      deadlineMs,
      chart: { Work: { One: stay, All: "Done", Late: "Done" }, Done: end },
      data: ({ n }) => ({ n, ok: 0, failed: 0, isLate: true }),
    },
    {
      Work: (s) =>
        s.each(install, {
          inputs: ({ n }) => Array.from({ length: n }, (_, index) => ({ n: index })),
          ok: ({ ok }) => s.raise("One", { ok: ok + 1 }),
          failed: ({ failed }) => s.raise("One", { failed: failed + 1 }),
          done: () => s.raise("All", { isLate: false }),
          deadline: "Late",
        }),
      Done: ({ ok, failed, isLate }) => ({ ok, failed, isLate }),
    },
  );

interface Begun {
  readonly n: number;
  readonly attempt: number;
  readonly leftMs: number;
}

/** A world whose workers take `ms` for each attempt. */
async function world(ms: (n: number) => number, deadlineMs = 100_000, options: Partial<WorldOptions> = {}) {
  const begun: Begun[] = [];
  const made: World = new World({
    hubs: [job(deadlineMs)],
    workers: (sleep) => [
      worker(install, async ({ n }, { attempt, deadline }) => {
        begun.push({ n, attempt, leftMs: Math.round(deadline - made.clock.monotonicMs()) });
        await sleep(ms(n));
        return {};
      }),
    ],
    ...options,
  });
  await made.start();
  onTestFinished(() => made.close());
  const waits = async (id: string) => (await made.engine.history(id)).filter(({ type }) => type === "waited");
  return { world: made, begun, waits };
}

describe("a backlog", () => {
  test.each([{}, { store: "sqlite" }, { faults: { later: true } }] as const)(
    "is worked off, however many times longer than the timeout it takes (%o)",
    async (options) => {
      const { world: made, begun } = await world(() => 90, 100_000, options);
      await made.engine.submit("job", { n: 200 }, { key: "a" });
      expect(await made.answer("a")).toEqual({
        kind: "result",
        value: { ok: 200, failed: 0, isLate: false },
      });
      expect(begun).toHaveLength(200);
    },
  );

  test("that waits has its whole time once it begins, and times out after that", async () => {
    const { world: made, begun } = await world((n) => (n < 15 ? 90 : 1_000_000));
    const start = made.clock.monotonicMs();
    await made.engine.submit("job", { n: 20 }, { key: "a" });
    expect(await made.answer("a")).toEqual({ kind: "result", value: { ok: 15, failed: 5, isLate: false } });
    expect(made.clock.monotonicMs() - start).toBeGreaterThanOrEqual(190);
    const lefts = begun.map(({ leftMs }) => leftMs - (begun[0]?.leftMs ?? 0));
    // The second ten began 90 ms later, and their deadlines are as much later.
    expect(lefts).toEqual(Array.from({ length: 20 }, () => 0));
  });

  test("is bounded by the state that waits for it (I6)", async () => {
    const { world: made } = await world(() => 90, 500);
    const start = made.clock.monotonicMs();
    await made.engine.submit("job", { n: 200 }, { key: "a" });
    expect(await made.answer("a")).toMatchObject({ value: { failed: 0, isLate: true } });
    expect(made.clock.monotonicMs() - start).toBe(500);
  });

  test("survives a restart, and costs no attempt there either", async () => {
    const { world: made, begun } = await world(() => 90);
    await made.engine.submit("job", { n: 60 }, { key: "a" });
    await made.clock.advance(350);
    await made.restart(10);
    expect(await made.answer("a")).toEqual({ kind: "result", value: { ok: 60, failed: 0, isLate: false } });
    expect(begun.every(({ attempt }) => attempt === 1)).toBe(true);
  });
});

test("attempts that begin at once have no event for it", async () => {
  const { world: made, waits } = await world((n) => (n === 0 ? 1_000_000 : 90));
  await made.engine.submit("job", { n: 10 }, { key: "a" });
  expect(await made.answer("a")).toEqual({ kind: "result", value: { ok: 9, failed: 1, isLate: false } });
  expect(await waits("a")).toEqual([]);
});
