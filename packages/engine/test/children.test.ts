import { end, hub, spoke } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { begin, steps } from "./begin.ts";
import { outside, parent, rounds, workersOf } from "./hubs.ts";

describe("hubs call hubs", () => {
  test("results, errors and timeouts come back", async () => {
    const world = await begin();
    expect(await world.call(parent, { children: [[1, 2], [3]] })).toEqual({
      kind: "result",
      value: { log: ["0: 1+2", "1: 3"] },
    });
    expect(await world.call(parent, { children: [[1], [105]] })).toEqual({
      kind: "result",
      value: { log: ["0: 1", "1: failed refused", "lost"] },
    });
  });

  test("closing the call cancels the child, which cleans up; no child outlives that", async () => {
    const done = outside();
    const world = await begin({ workers: workersOf(done) });
    await world.engine.submit(parent, { children: [[1, 2, 53], [105]] }, { key: "p" });
    expect((await world.answer("p")).kind).toBe("result");
    expect((await world.engine.request("p/0")).status).toBe("running");
    await world.ended("p/0");
    expect((await world.engine.request("p/0")).answer).toEqual({
      kind: "error",
      code: "failed",
      message: "timeout",
    });
    expect(done.undone.size).toBe(2);
    expect((await world.engine.requests()).items.map(({ id }) => id)).toEqual(["p"]);
  });

  test("a hub that is told begins a run of its own, which outlives its teller", async () => {
    const slow = spoke("slow", { input: z.object({}), output: z.object({}), timeoutMs: 1000 });
    const after = hub(
      "after",
      {
        request: z.object({ order: z.string() }),
        reply: z.object({ order: z.string() }),
        deadlineMs: 10_000,
        chart: { Working: { Ok: "Done", Late: "Done" }, Done: end },
        data: (request) => request,
      },
      {
        Working: (s) => s.call(slow, { input: () => ({}), ok: "Ok", failed: "Late", deadline: "Late" }),
        Done: ({ order }) => ({ order }),
      },
    );
    const first = hub(
      "first",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 1000,
        chart: { Telling: { Next: "Done" }, Done: end },
        data: () => ({}),
      },
      {
        Telling: (s) => s.start(after, { input: () => ({ order: "o" }), key: () => "after", next: "Next" }),
        Done: () => ({}),
      },
    );
    const world = await begin({
      hubs: [first],
      workers: (sleep) => [worker(slow, async () => (await sleep(500), {}))],
    });
    await world.engine.submit(first, {}, { key: "f" });
    expect(await world.answer("f")).toEqual({ kind: "result", value: {} });
    await world.restart();
    expect(await world.answer("after")).toEqual({ kind: "result", value: { order: "o" } });
    expect(world.counted("store-lost")).toBe(0);
  });

  test("an incident of a child is listed, also when its parent has ended, and can be retried", async () => {
    let broken = true;
    const child = hub(
      "child",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 100,
        chart: { Deciding: { Next: "Done" }, Done: end },
        data: () => ({}),
      },
      {
        Deciding: (s) =>
          s.pick(() => {
            if (broken) throw new Error("broken");
            return "Next";
          }),
        Done: () => ({}),
      },
    );
    const caller = hub(
      "caller",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 1000,
        chart: { Calling: { Next: "Done" }, Done: end },
        data: () => ({}),
      },
      {
        Calling: (s) => s.call(child, { input: () => ({}), ok: "Next", failed: "Next", deadline: "Next" }),
        Done: () => ({}),
      },
    );
    const world = await begin({ hubs: [caller], limits: { checkpointEvents: 1 } });
    await world.call(caller, {}, "k");
    const incidents = async () =>
      (await world.engine.requests({ status: "incident" })).items.map(({ id }) => id);
    expect(await incidents()).toEqual(["k/0"]);
    await world.restart();
    expect(await incidents()).toEqual(["k/0"]);
    expect((await world.engine.requests()).items.map(({ id }) => id)).toEqual(["k"]);
    broken = false;
    expect(await world.engine.retry("k/0")).toBe("accepted");
    expect(await incidents()).toEqual([]);
    expect(world.engine.health().liveRuns).toBe(0);
  });

  test("a request that the child's schema refuses is an incident of the parent", async () => {
    const calling = hub(
      "calling",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 50,
        chart: { A: { Ok: "Done" }, Done: end },
        data: () => ({}),
      },
      {
        A: (s) => s.call(rounds, { input: () => ({ steps: ["x"] }) as never, settled: "Ok", deadline: "Ok" }),
        Done: () => ({}),
      },
    );
    const world = await begin({ hubs: [calling] });
    await world.engine.submit(calling, {}, { key: "k" });
    expect((await world.engine.request("k")).incident?.error).toMatchObject({ code: "WW_INVALID_INPUT" });
  });
});

describe("tells", () => {
  test("outlive their run, are tried again, and survive a restart", async () => {
    const done = outside();
    const world = await begin({ workers: workersOf(done) });
    await world.engine.submit(rounds, steps(1), { key: "k" });
    await world.clock.runUntil(async () => (await world.engine.request("k")).status === "ended");
    expect(done.notes.size).toBe(0);
    await world.restart();
    await world.clock.advance(100);
    expect([...done.notes.values()]).toEqual(["did 1"]);
    expect(world.engine.health().liveRuns).toBe(0);
  });
});
