import { end, hub, spoke, stay } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { World, type WorldOptions } from "./world.ts";

/** A stop lets the attempts that are under way end, and begins no others. */

const work = spoke("work", {
  input: z.object({ ms: z.number(), fails: z.boolean() }),
  output: z.object({}),
  timeoutMs: 60_000,
  retry: { attempts: 2 },
  concurrency: 2,
});

/** Its attempts are over long before they end. */
const brief = spoke("brief", {
  input: z.object({}),
  output: z.object({}),
  timeoutMs: 100,
  retry: { attempts: 2, backoffMs: 10 },
});

const patient = hub(
  "patient",
  {
    request: z.object({}),
    reply: z.string(),
    deadlineMs: 100_000,
    chart: { Work: { Done: "Done", Failed: "Failed", Late: "Failed" }, Done: end, Failed: end },
    data: () => ({}),
  },
  {
    Work: (s) => s.call(brief, { input: () => ({}), ok: "Done", failed: "Failed", deadline: "Late" }),
    Done: () => "done",
    Failed: () => "failed",
  },
);

const job = hub(
  "job",
  {
    request: z.object({ ms: z.array(z.number()), fails: z.boolean().optional() }),
    reply: z.object({ done: z.number() }),
    deadlineMs: 100_000,
    chart: { Work: { One: stay, All: "Done", Late: "Done" }, Done: end },
    data: ({ ms, fails = false }) => ({ ms, fails, done: 0 }),
  },
  {
    Work: (s) =>
      s.each(work, {
        inputs: ({ ms, fails }) => ms.map((one) => ({ ms: one, fails })),
        ok: ({ done }) => s.raise("One", { done: done + 1 }),
        failed: () => s.raise("One"),
        done: "All",
        deadline: "Late",
      }),
    Done: ({ done }) => ({ done }),
  },
);

async function world(options: Partial<WorldOptions> = {}) {
  const begun: number[] = [];
  const aborted: number[] = [];
  const made = new World({
    hubs: [job],
    drainMs: 1000,
    workers: (sleep) => [
      worker(work, async ({ ms, fails }, context) => {
        begun.push(ms);
        context.signal.addEventListener("abort", () => aborted.push(ms));
        await sleep(ms);
        if (fails && context.attempt === 1) throw new Error("the first one fails");
        return {};
      }),
    ],
    ...options,
  });
  await made.start();
  onTestFinished(() => made.close());
  return { world: made, begun, aborted };
}

test.each([{}, { store: "sqlite" }, { faults: { later: true } }] as const)(
  "attempts that are under way end in time, and are not made again (%o)",
  async (options) => {
    const {
      world: { clock, engine },
      world: made,
      begun,
    } = await world(options);
    const began = clock.monotonicMs();
    await engine.submit(job, { ms: [300, 400] }, { key: "a" });
    await clock.advance(100);
    await clock.runUntil(engine.stop());
    expect(clock.monotonicMs() - began).toBeLessThan(600);
    await made.restart();
    expect(await made.answer("a")).toEqual({ kind: "result", value: { done: 2 } });
    expect(begun).toEqual([300, 400]);
  },
);

test("those that do not end in time are aborted, and made again at the next start", async () => {
  const {
    world: { clock, engine },
    world: made,
    begun,
    aborted,
  } = await world();
  await engine.submit(job, { ms: [300, 3000] }, { key: "a" });
  await clock.advance(100);
  const answer = engine.answer("a");
  await Promise.all([expect(answer).rejects.toThrow(/WW_STOPPING/), clock.runUntil(engine.stop())]);
  expect(aborted).toEqual([3000]);
  await made.restart();
  expect(await made.answer("a")).toEqual({ kind: "result", value: { done: 2 } });
  expect(begun).toEqual([300, 3000, 3000]);
});

test("nothing else begins: neither what waits for a place, nor a retry, nor a request", async () => {
  const {
    world: { clock, engine },
    world: made,
    begun,
  } = await world();
  await engine.submit(job, { ms: [300, 301, 302], fails: true }, { key: "a" });
  await clock.advance(100);
  const stopped = engine.stop();
  await expect(engine.submit(job, { ms: [1] })).rejects.toThrow(/WW_STOPPING/);
  await clock.runUntil(stopped);
  expect(begun).toEqual([300, 301]);
  await made.restart();
  expect(await made.answer("a")).toEqual({ kind: "result", value: { done: 3 } });
  expect(begun.toSorted()).toEqual([300, 300, 301, 301, 302, 302]);
});

test("a client that waits gets the answer that comes meanwhile", async () => {
  const {
    world: { clock, engine },
  } = await world();
  await engine.submit(job, { ms: [300] }, { key: "a" });
  await clock.advance(100);
  const answer = engine.answer("a");
  await clock.runUntil(engine.stop());
  expect(await answer).toEqual({ kind: "result", value: { done: 1 } });
});

test.each([
  ["the options of the engine", 0, {}],
  ["the options of stop", 1000, { drainMs: 0 }],
])("a stop aborts everything at once if %s say so", async (_where, drainMs, options) => {
  const {
    world: { clock, engine },
    aborted,
  } = await world({ drainMs });
  await engine.submit(job, { ms: [300] }, { key: "a" });
  await clock.advance(100);
  await engine.stop(options);
  expect(aborted).toEqual([300]);
});

test("an attempt whose own time ends meanwhile has timed out: nobody waits for it, and it counts", async () => {
  const made = new World({
    hubs: [patient],
    drainMs: 5000,
    workers: (sleep) => [worker(brief, () => sleep(60_000).then(() => ({})))],
  });
  await made.start();
  onTestFinished(() => made.close());
  const { clock, engine } = made;
  await engine.submit(patient, {}, { key: "a" });
  await clock.advance(50);
  const stopsAt = clock.monotonicMs();
  await clock.runUntil(engine.stop());
  expect(clock.monotonicMs() - stopsAt).toBeLessThan(100);
  await made.restart();
  expect(await made.answer("a")).toEqual({ kind: "result", value: "failed" });
  const failed = (await made.engine.history("a")).filter(({ type }) => type === "failed");
  expect(failed).toHaveLength(1);
});

test("a second stop may leave them less time", async () => {
  const {
    world: { clock, engine },
    aborted,
  } = await world();
  await engine.submit(job, { ms: [900] }, { key: "a" });
  await clock.advance(100);
  const stopped = engine.stop();
  await clock.advance(100);
  await Promise.all([engine.stop({ drainMs: 0 }), clock.advance(1), stopped]);
  expect(aborted).toEqual([900]);
});
