import { end, hub, spoke, WheelworkError, type Answer } from "@wheelwork/core";
import { worker, type Worker } from "@wheelwork/engine";
import type { MemoryStore } from "@wheelwork/testing";
import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { approved, outside, parent, rounds, step, workersOf } from "./hubs.ts";
import { checkHistory, World, type WorldOptions } from "./world.ts";

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

async function begin(options: Partial<WorldOptions> = {}): Promise<World> {
  const world = new World({ hubs: [rounds, approved, parent], workers: workersOf(outside()), ...options });
  worlds.push(world);
  return world.start();
}

/** The error with which a promise is rejected, once all that is ready has run. */
async function refusal(world: World, promise: Promise<unknown>): Promise<WheelworkError> {
  let error: unknown;
  promise.then(
    () => (error = new Error("it was not refused")),
    (reason: unknown) => (error = reason),
  );
  await world.clock.settle();
  expect(error).toBeInstanceOf(WheelworkError);
  return error as WheelworkError;
}

const steps = (...list: number[]) => ({ steps: list });

describe("requests (I5)", () => {
  test("one key, one run, one answer: before, after, and across a restart", async () => {
    const world = await begin();
    const { engine } = world;
    const both = await Promise.all([
      engine.submit(rounds, steps(1, 2), { key: "k" }),
      engine.submit(rounds, steps(1, 2), { key: "k" }),
    ]);
    expect(both).toEqual([
      { id: "k", known: false },
      { id: "k", known: true },
    ]);
    const answer = await world.answer("k");
    expect(answer).toEqual({ kind: "result", value: { log: ["1", "2"] } });
    expect(await engine.submit("rounds", { steps: [1, 2] }, { key: "k" })).toEqual({ id: "k", known: true });
    expect((await refusal(world, engine.submit(rounds, steps(1, 3), { key: "k" }))).code).toBe(
      "WW_KEY_REUSED",
    );
    expect((await refusal(world, engine.submit(approved, { n: 1, withinMs: 1 }, { key: "k" }))).code).toBe(
      "WW_KEY_REUSED",
    );
    await world.restart();
    expect(await world.engine.submit(rounds, steps(1, 2), { key: "k" })).toEqual({ id: "k", known: true });
    expect(await world.engine.answer("k", { waitMs: 0 })).toEqual(answer);
    expect(world.counted("accepted")).toBe(1);
  });

  test("what cannot be accepted is refused with all its problems", async () => {
    const world = await begin();
    const { engine } = world;
    const invalid = await refusal(world, engine.submit("rounds", { steps: ["a", 2, null] }));
    expect(invalid).toMatchObject({
      code: "WW_INVALID_REQUEST",
      problems: [{ path: "steps.0" }, { path: "steps.2" }],
    });
    expect((await refusal(world, engine.submit("nothing", {}))).code).toBe("WW_HUB_UNKNOWN");
    for (const key of ["", "\ud800", "x".repeat(201)]) {
      expect((await refusal(world, engine.submit(rounds, steps(), { key }))).code, key).toBe(
        "WW_INVALID_REQUEST",
      );
    }
    for (const deadlineMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect((await refusal(world, engine.submit(rounds, steps(), { deadlineMs }))).code).toBe(
        "WW_INVALID_REQUEST",
      );
    }
    await expect(engine.request("none")).rejects.toThrow(/WW_NOT_FOUND/);
    await expect(engine.history("none")).rejects.toThrow(/WW_NOT_FOUND/);
    for (const act of [
      () => engine.answer("none"),
      () => engine.cancel("none"),
      () => engine.retry("none"),
      () => engine.signal("none", "x", 1),
    ]) {
      expect((await refusal(world, act())).code).toBe("WW_NOT_FOUND");
    }
  });

  test("a caller's deadline shortens the hub's, also one with a fraction", async () => {
    const world = await begin();
    await world.engine.submit(rounds, steps(52), { key: "k", deadlineMs: 20.5 });
    expect(await world.answer("k")).toEqual({ kind: "error", code: "failed", message: "deadline" });
    expect(world.counted("store-lost")).toBe(0);
    expect(world.clock.monotonicMs()).toBeLessThan(30);
  });

  test("beyond the queue they are refused, retryably, and none is dropped", async () => {
    const world = await begin({ limits: { queuedRequests: 5 } });
    const all = Array.from({ length: 8 }, (_, n) => world.engine.submit(rounds, steps(n), { key: `k${n}` }));
    const settled = await Promise.allSettled(all);
    expect(settled.map(({ status }) => status)).toEqual([
      ...Array<string>(5).fill("fulfilled"),
      ...Array<string>(3).fill("rejected"),
    ]);
    expect(settled[7]).toMatchObject({ reason: { code: "WW_OVERLOADED", retryable: true } });
    expect((await world.engine.submit(rounds, steps(7), { key: "k7" })).known).toBe(false);
    for (const n of [0, 1, 2, 3, 4, 7]) expect((await world.answer(`k${n}`)).kind).toBe("result");
  });

  test("runs in memory are bounded, too", async () => {
    const world = await begin({ limits: { liveRuns: 2 } });
    await world.engine.submit(approved, { n: 1, withinMs: 50 });
    await world.engine.submit(approved, { n: 1, withinMs: 50 });
    expect((await refusal(world, world.engine.submit(rounds, steps(1)))).code).toBe("WW_OVERLOADED");
    await world.clock.advance(60);
    expect((await world.call(rounds, steps(1))).kind).toBe("result");
  });

  test("keys that the engine makes are in the order of their time, and no two are equal", async () => {
    const { engine, clock } = await begin();
    const ids: string[] = [];
    for (let millisecond = 0; millisecond < 3; millisecond++) {
      const made = await Promise.all([1, 2].map((step) => engine.submit(rounds, steps(step))));
      ids.push(...made.map(({ id }) => id).toSorted());
      await clock.advance(1);
    }
    expect(ids).toEqual(ids.toSorted());
    expect(new Set(ids).size).toBe(6);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe("commits (I9)", () => {
  test("nothing is answered, and no attempt made, before the commit; stores may take their time", async () => {
    const done = outside();
    const world = await begin({ workers: workersOf(done), faults: { later: true } });
    let accepted = false;
    const submitting = world.engine
      .submit(rounds, steps(1, 2, 3, 4), { key: "k" })
      .then(() => (accepted = true));
    await new Promise((resolve) => void setImmediate(resolve));
    expect([accepted, done.attempts]).toEqual([false, 0]);
    await submitting;
    expect(await world.answer("k")).toEqual({ kind: "result", value: { log: ["1", "2", "3", "4"] } });
    const many = await Promise.all(
      Array.from({ length: 50 }, (_, n) => world.engine.submit(rounds, steps(n % 40))),
    );
    for (const { id } of many) expect((await world.answer(id)).kind).toBe("result");
    checkHistory(rounds, await world.engine.history("k"));
  });

  test.each([false, true])(
    "a commit that fails loses nothing that was accepted (later: %s)",
    async (later) => {
      let faults = 0;
      const world = await begin({
        faults: { later, faultAt: (number) => (number > 2 && faults++ < 5 ? "fail" : undefined) },
      });
      await world.engine.submit(rounds, steps(1, 2, 3), { key: "k" });
      const answer = world.answer("k");
      await world.clock.settle();
      expect(await answer).toEqual({ kind: "result", value: { log: ["1", "2", "3"] } });
      expect(world.counted("store-lost")).toBe(5);
      expect(world.counted("store-back")).toBe(5);
      checkHistory(rounds, await world.engine.history("k"));
    },
  );

  test("a full disk: new requests are refused retryably, and all goes on when there is room again", async () => {
    const world = await begin();
    await world.engine.submit(rounds, steps(1, 2), { key: "k" });
    world.store.full = true;
    const refused = await refusal(world, world.engine.submit(rounds, steps(3), { key: "k2" }));
    expect(refused).toMatchObject({ code: "WW_STORE_UNAVAILABLE", retryable: true });
    expect(world.engine.health()).toMatchObject({ ready: false, status: "store-lost" });
    await world.clock.advance(60_000);
    expect((await refusal(world, world.engine.submit(rounds, steps(3)))).code).toBe("WW_STORE_UNAVAILABLE");
    // What was accepted is still known, and not answered with "there is no such request".
    await expect(world.engine.request("k")).rejects.toThrow(/WW_STORE_UNAVAILABLE/);
    const lost = world.counted("store-lost");
    world.store.full = false;
    await world.clock.advance(5_000);
    expect(world.engine.health()).toMatchObject({ ready: true, status: "running" });
    expect(world.counted("store-lost")).toBe(lost);
    expect((await world.answer("k")).kind).toBeDefined();
    expect((await world.call(rounds, steps(3), "k2")).kind).toBe("result");
  });

  test("a disk on which claims still work but commits fail is not hammered", async () => {
    const done = outside();
    let full = false;
    const world = await begin({
      workers: workersOf(done),
      faults: { faultAt: () => (full ? "fail" : undefined) },
    });
    await world.engine.submit(rounds, steps(1, 2), { key: "k" });
    full = true;
    await world.clock.advance(60_000);
    expect(world.counted("store-lost")).toBeLessThan(60);
    expect(done.attempts).toBeLessThan(150);
    full = false;
    await world.clock.advance(5_000);
    expect(world.engine.health().status).toBe("running");
    expect((await world.engine.answer("k", { waitMs: 0 }))?.kind).toBeDefined();
  });

  test("a store that cannot even be read: what was accepted is not denied", async () => {
    const world = await begin();
    await world.engine.submit(rounds, steps(1, 2), { key: "k" });
    world.store.gone = true;
    await world.clock.advance(200);
    expect(world.engine.health().status).toBe("store-lost");
    for (const ask of [() => world.engine.request("k"), () => world.engine.history("k")]) {
      await expect(ask()).rejects.toThrow(/WW_STORE_UNAVAILABLE|cannot be reached/);
    }
    world.store.gone = false;
    await world.clock.advance(5_000);
    expect((await world.answer("k")).kind).toBeDefined();
  });

  test.each([false, true])(
    "a read that fails in the middle of a batch refuses its requests, retryably, and loses nothing (later: %s)",
    async (later) => {
      let broken = false;
      const world = await begin({ faults: { later, readFails: () => broken } });
      await world.engine.submit(rounds, steps(1, 2), { key: "k" });
      const waiting = world.engine.answer("k");
      broken = true;
      const refused = await refusal(world, world.engine.submit(rounds, steps(3), { key: "other" }));
      expect(refused).toMatchObject({ code: "WW_STORE_UNAVAILABLE", retryable: true });
      await world.clock.advance(100);
      expect(world.engine.health().status).toBe("store-lost");
      broken = false;
      await world.clock.runUntil(waiting);
      expect(await waiting).toEqual({ kind: "result", value: { log: ["1", "2"] } });
      expect(await world.call(rounds, steps(3), "other")).toEqual({ kind: "result", value: { log: ["3"] } });
    },
  );

  test("an owner that has lost its epoch stops, and tells those who wait (I21)", async () => {
    const world = await begin();
    await world.engine.submit(rounds, steps(1, 2), { key: "k" });
    const waiting = world.engine.answer("k").catch((error: WheelworkError) => error);
    await world.store.inner.claim("another");
    await world.clock.advance(1000);
    expect(world.engine.health().status).toBe("stopped");
    expect(await waiting).toMatchObject({ code: "WW_STOPPING", retryable: true });
    expect((await refusal(world, world.engine.submit(rounds, steps(1)))).code).toBe("WW_STOPPING");
  });
});

describe("what one run does must not touch the others (I13, I16)", () => {
  const poison = (of: unknown) =>
    hub(
      "poison",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 500,
        chart: { A: { Ok: "B", Late: "Done" }, B: { Ok: "Done", Late: "Done" }, Done: end },
        data: () => ({ bad: null as unknown }),
      },
      {
        A: (s) =>
          s.call(step, {
            input: () => ({ n: 1 }),
            ok: () => s.raise("Ok", { bad: of }),
            failed: "Late",
            deadline: "Late",
          }),
        B: (s) => s.call(step, { input: () => ({ n: 2 }), ok: "Ok", failed: "Late", deadline: "Late" }),
        Done: () => ({}),
      },
    );
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;

  test.each([
    ["a bigint", 1n],
    ["a cycle", cyclic],
  ])("data that cannot be stored (%s) parks its run, and nobody else notices", async (_name, bad) => {
    const bads = poison(bad);
    const world = await begin({ hubs: [bads, rounds] });
    await world.engine.submit(bads, {}, { key: "bad" });
    await world.engine.submit(rounds, steps(1, 2, 3), { key: "good" });
    expect(await world.answer("good")).toEqual({ kind: "result", value: { log: ["1", "2", "3"] } });
    await world.clock.advance(100);
    expect(await world.engine.request("bad")).toMatchObject({ status: "incident", state: "A" });
    expect(world.engine.health().status).toBe("running");
    expect(world.counted("store-lost")).toBe(0);
    expect((await world.answer("bad")).kind).toBe("timeout");
  });

  test("a request that cannot be stored is refused", async () => {
    const dates = hub(
      "dates",
      {
        // Types refuse it, too.
        request: z.object({ n: z.string().transform((text): unknown => BigInt(text)) }),
        reply: z.object({}),
        deadlineMs: 5,
        chart: { Done: end },
        data: () => ({}),
      },
      { Done: () => ({}) },
    );
    const world = await begin({ hubs: [dates, rounds] });
    for (const key of ["k", undefined]) {
      const refused = await refusal(
        world,
        world.engine.submit("dates", { n: "7" }, key === undefined ? {} : { key }),
      );
      expect(refused.code).toBe("WW_INVALID_REQUEST");
    }
    expect(world.counted("store-lost")).toBe(0);
  });

  test("an incident parks its run alone, is answered in time, and can be retried, also after a restart", async () => {
    let broken = true;
    const done = outside();
    const fragile = hub(
      "fragile",
      {
        request: z.object({}),
        reply: z.object({ n: z.number() }),
        deadlineMs: 500,
        chart: { A: { Ok: "Done", Late: "Cleaning" }, Cleaning: { Ok: "Done", Late: "Done" }, Done: end },
        data: () => ({ n: 0 }),
      },
      {
        A: (s) =>
          s.call(step, {
            input: () => ({ n: 1 }),
            ok: (_data, { n }) => {
              if (broken) throw new Error("broken");
              return s.raise("Ok", { n });
            },
            failed: "Late",
            deadline: "Late",
          }),
        Cleaning: (s) =>
          s.call(step, { input: () => ({ n: 9 }), settled: "Ok", deadline: "Late", withinMs: 100 }),
        Done: ({ n }) => ({ n }),
      },
    );
    for (const restart of [false, true]) {
      broken = true;
      const world = await begin({
        hubs: [fragile, rounds],
        workers: workersOf(done),
        limits: { checkpointEvents: 2, horizonMs: 1 },
      });
      await world.engine.submit(fragile, {}, { key: "early" });
      await world.engine.submit(fragile, {}, { key: "late" });
      await world.engine.submit(fragile, {}, { key: "resolved" });
      expect((await world.call(rounds, steps(1))).kind).toBe("result");
      expect(await world.engine.request("early")).toMatchObject({
        status: "incident",
        state: "A",
        answer: undefined,
      });
      expect((await world.engine.request("early")).incident?.error).toMatchObject({
        code: "WW_DEFECT",
        message: "broken",
      });
      expect(
        (await world.engine.requests({ status: "incident" })).items.map(({ id }) => id).toSorted(),
      ).toEqual(["early", "late", "resolved"]);
      if (restart) await world.restart(10);
      expect(await world.engine.retry("early")).toBe("accepted");
      expect((await world.engine.request("early")).status).toBe("incident");
      expect(await world.engine.resolve("resolved", "by hand")).toBe("accepted");
      expect(await world.answer("resolved")).toEqual({
        kind: "error",
        code: "WW_INCIDENT",
        message: "by hand",
      });
      broken = false;
      expect(await world.engine.retry("early")).toBe("accepted");
      expect(await world.answer("early")).toEqual({ kind: "result", value: { n: 1 } });
      expect(await world.engine.retry("early")).toBe("ended");
      expect((await world.answer("late")).kind).toBe("timeout");
      expect(await world.engine.request("late")).toMatchObject({
        status: "incident",
        answeredAt: (await world.engine.request("late")).createdAt + 600,
      });
      if (restart) await world.restart(10_000);
      expect(await world.engine.retry("late")).toBe("accepted");
      await world.ended("late");
      expect(await world.engine.request("late")).toMatchObject({
        state: "Done",
        answer: { kind: "timeout" },
      });
      for (const key of ["early", "late", "resolved"]) checkHistory(fragile, await world.engine.history(key));
      const running = await world.engine.submit(rounds, steps(52), { key: "running" });
      expect((await refusal(world, world.engine.retry(running.id))).code).toBe("WW_NOT_INCIDENT");
      expect((await refusal(world, world.engine.resolve(running.id, "x"))).code).toBe("WW_NOT_INCIDENT");
    }
  });

  test("calls that were lost while their run was parked are made again by its retry", async () => {
    let broken = true;
    const slow = spoke("slow", {
      input: z.object({ n: z.number() }),
      output: z.object({ n: z.number() }),
      timeoutMs: 9_000,
    });
    const twice = hub(
      "twice",
      {
        request: z.object({}),
        reply: z.object({ n: z.number() }),
        deadlineMs: 10_000,
        chart: { A: { Got: "(stay)", Next: "Done", Late: "Done" }, Done: end },
        data: () => ({ n: 0 }),
      },
      {
        A: (s) =>
          s.each(slow, {
            inputs: () => [{ n: 1 }, { n: 500 }],
            ok: ({ n }, output) => {
              if (broken) throw new Error("broken");
              return s.raise("Got", { n: n + output.n });
            },
            failed: "Late",
            done: "Next",
            deadline: "Late",
          }),
        Done: ({ n }) => ({ n }),
      },
    );
    const begun: number[] = [];
    const world = await begin({
      hubs: [twice],
      workers: (sleep) => [
        worker(slow, async ({ n }) => {
          begun.push(n);
          await sleep(n);
          return { n };
        }),
      ],
    });
    await world.engine.submit(twice, {}, { key: "k" });
    await world.clock.advance(10);
    expect((await world.engine.request("k")).status).toBe("incident");
    await world.restart(0);
    broken = false;
    await world.engine.retry("k");
    await world.clock.advance(1000);
    expect(await world.engine.answer("k", { waitMs: 0 })).toEqual({ kind: "result", value: { n: 501 } });
    expect(begun).toEqual([1, 500, 500]);
  });
});

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
      { Telling: (s) => s.tell(after, { input: () => ({ order: "o" }), next: "Next" }), Done: () => ({}) },
    );
    const world = await begin({
      hubs: [first],
      workers: (sleep) => [worker(slow, async () => (await sleep(500), {}))],
    });
    await world.engine.submit(first, {}, { key: "f" });
    expect(await world.answer("f")).toEqual({ kind: "result", value: {} });
    await world.restart();
    expect(await world.answer("f/t0")).toEqual({ kind: "result", value: { order: "o" } });
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

test.each([1, 3, 5_000])(
  "what waits in the queue counts before deadlines that passed while the process stood still (%i inputs a batch)",
  async (batchInputs) => {
    const world = await begin({ limits: { batchInputs } });
    const keys = Array.from({ length: 10 }, (_, n) => `k${n}`);
    for (const key of keys) await world.engine.submit(rounds, steps(1, 2, 3), { key });
    world.freeze();
    await world.clock.advance(60_000);
    world.thaw();
    await world.clock.advance(2_000);
    for (const key of keys)
      expect(await world.engine.answer(key, { waitMs: 0 })).toEqual({
        kind: "result",
        value: { log: ["1", "2", "3"] },
      });
  },
);

test("a queue that never empties does not hold back the deadlines", async () => {
  const world = new World({
    hubs: [approved],
    workers: workersOf(outside()),
    limits: { batchInputs: 1 },
    faults: { later: 5 },
  });
  worlds.push(world);
  await world.clock.runUntil(world.start());
  const submitted = world.engine.submit(approved, { n: 1, withinMs: 100 }, { key: "k" });
  await world.clock.runUntil(submitted);
  let busy = true;
  const flood = (number: number): void => {
    if (busy) world.engine.cancel(`none${number}`).catch(() => flood(number));
  };
  for (let number = 0; number < 20; number++) flood(number);
  const answered = world.engine.answer("k");
  await world.clock.runUntil(answered, 1_000);
  expect(world.engine.health().queued).toBeGreaterThan(0);
  expect(await answered).toEqual({ kind: "result", value: { log: ["late"] } });
  busy = false;
});

test("an outage does not use up the time of a clean-up", async () => {
  const done = outside();
  const world = await begin({ workers: workersOf(done) });
  await world.engine.submit(rounds, steps(1, 2, 105), { key: "k" });
  // The clean-up has begun, and has 500 ms.
  await world.clock.runUntil(async () => (await world.engine.request("k")).state === "Undoing");
  expect(done.undone.size).toBe(0);
  await world.restart(3_600_000);
  expect(await world.answer("k")).toMatchObject({ kind: "error", code: "failed", message: "refused" });
  expect([...done.undone.values()].toSorted()).toEqual([1, 2]);
  const history = await world.engine.history("k");
  expect(history.filter(({ type }) => type === "rearmed")).toHaveLength(1);
  checkHistory(rounds, history);
});

describe("commands", () => {
  test("one id may name a signal and a cancel: neither is taken for the other", async () => {
    const world = await begin();
    await world.engine.submit(approved, { n: 1, withinMs: 500 }, { key: "k" });
    await world.engine.signal("k", "note", "first", { commandId: "c" });
    await world.engine.cancel("k", { commandId: "c" });
    expect(await world.answer("k")).toEqual({ kind: "result", value: { log: ["first", "late"] } });
  });

  test("cancel: a declared event compensates; it is idempotent; after the end it is too late", async () => {
    const done = outside();
    const world = await begin({ workers: workersOf(done) });
    await world.engine.submit(rounds, steps(1, 52, 2), { key: "k" });
    await world.clock.advance(20);
    expect(await Promise.all([world.engine.cancel("k"), world.engine.cancel("k")])).toEqual([
      "accepted",
      "accepted",
    ]);
    await world.clock.runUntil(async () => (await world.engine.request("k")).state === "Undoing");
    expect(await world.engine.cancel("k")).toBe("accepted");
    expect(await world.answer("k")).toEqual({ kind: "error", code: "failed", message: "timeout" });
    expect(done.undone.size).toBe(2);
    expect(await world.engine.cancel("k")).toBe("ended");
    expect(await world.engine.signal("k", "x", 1).catch((error: WheelworkError) => error.code)).toBe(
      "WW_SIGNAL_UNKNOWN",
    );
  });

  test("signals: checked, kept until they are waited for, and counted once by their id", async () => {
    const world = await begin();
    await world.engine.submit(approved, { n: 1, withinMs: 500 }, { key: "k" });
    const { engine } = world;
    expect((await refusal(world, engine.signal("k", "approve", { by: 7 }))).code).toBe("WW_INVALID_INPUT");
    expect((await refusal(world, engine.signal("k", "toString", {}))).code).toBe("WW_SIGNAL_UNKNOWN");
    await Promise.all([1, 2, 3].map(() => engine.signal("k", "note", "same", { commandId: "one" })));
    await world.restart();
    await world.engine.signal("k", "note", "same", { commandId: "one" });
    await world.engine.signal("k", "approve", { by: "me" });
    expect(await world.answer("k")).toEqual({
      kind: "result",
      value: { log: ["same", "by me", "step 1", "step 2"] },
    });
    expect(await world.engine.signal("k", "note", "late")).toBe("ended");
  });
});

describe("stop", () => {
  test("commits what is in, refuses what comes, tells those who wait; the next engine goes on", async () => {
    const world = await begin();
    const { engine } = world;
    const submitting = engine.submit(rounds, steps(1, 2, 3), { key: "k" });
    const waiting = submitting.then(() => engine.answer("k"));
    const refused = refusal(world, waiting);
    const stopping = engine.stop();
    expect((await refusal(world, engine.submit(rounds, steps(1)))).code).toBe("WW_STOPPING");
    await stopping;
    expect(await submitting).toEqual({ id: "k", known: false });
    expect(await refused).toMatchObject({ code: "WW_STOPPING", retryable: true });
    expect(engine.health()).toMatchObject({ ready: false, status: "stopped" });
    await engine.stop();
    expect(world.clock.armed, "nothing keeps the process alive").toBe(0);
    await world.restart();
    expect(await world.answer("k")).toEqual({ kind: "result", value: { log: ["1", "2", "3"] } });
  });

  test("leaves nothing to be replayed", async () => {
    const world = await begin({ store: "memory" });
    await world.engine.submit(rounds, steps(1, 52), { key: "k" });
    await world.clock.advance(5);
    await world.engine.stop();
    expect([...(world.store.inner as MemoryStore).reopen().journal()]).toEqual([]);
    await world.restart();
    expect((await world.answer("k")).kind).toBe("error");
    checkHistory(rounds, await world.engine.history("k"));
  });

  test("ends also when the store fails meanwhile, and when it is lost already", async () => {
    for (const later of [false, true]) {
      let full = false;
      const world = await begin({ faults: { later, faultAt: () => (full ? "fail" : undefined) } });
      await world.engine.submit(rounds, steps(1, 2), { key: "k" });
      full = true;
      const submitted = world.engine.submit(rounds, steps(1));
      const cancelled = world.engine.cancel("k");
      const outcomes = Promise.allSettled([submitted, cancelled]);
      await world.engine.stop();
      expect((await outcomes).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
      expect(world.engine.health().status).toBe("stopped");
      world.close();
    }
    const world = await begin();
    await world.engine.submit(rounds, steps(1, 2), { key: "k" });
    world.store.full = true;
    await world.clock.advance(100);
    expect(world.engine.health().status).toBe("store-lost");
    await world.engine.stop();
    await world.clock.advance(10_000);
    expect(world.engine.health().status).toBe("stopped");
  });

  test("begins no attempt, neither of those that are queued", async () => {
    const one = spoke("one", { input: z.object({}), output: z.object({}), timeoutMs: 500, concurrency: 1 });
    const calls = hub(
      "calls",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 1000,
        chart: { A: { Ok: "(stay)", Next: "Done" }, Done: end },
        data: () => ({}),
      },
      {
        A: (s) => s.each(one, { inputs: () => [{}, {}, {}], settled: "Ok", done: "Next", deadline: "Next" }),
        Done: () => ({}),
      },
    );
    let begun = 0;
    let aborted = 0;
    const world = await begin({
      hubs: [calls],
      workers: () => [
        worker(one, (_input, { signal }) => {
          begun++;
          signal.addEventListener("abort", () => aborted++);
          return new Promise<never>(() => {});
        }),
      ],
    });
    await world.engine.submit(calls, {});
    await world.clock.settle();
    expect(begun).toBe(1);
    await world.engine.stop();
    expect([begun, aborted]).toEqual([1, 1]);
  });
});

describe("workers", () => {
  const many = (concurrency?: number) => {
    const one = spoke("one", {
      input: z.object({ n: z.number() }),
      output: z.object({}),
      errors: ["no"],
      timeoutMs: 50,
      ...(concurrency === undefined ? {} : { concurrency }),
    });
    const calls = hub(
      "calls",
      {
        request: z.object({ n: z.number() }),
        reply: z.object({ done: z.number() }),
        deadlineMs: 100_000,
        chart: { A: { Ok: "(stay)", Next: "Done" }, Done: end },
        data: ({ n }) => ({ n, failures: [] as string[] }),
      },
      {
        A: (s) =>
          s.each(one, {
            inputs: ({ n }) => Array.from({ length: n }, (_, index) => ({ n: index })),
            settled: ({ failures }, outcome) =>
              outcome.kind === "ok"
                ? "Ok"
                : s.raise("Ok", {
                    failures: [...failures, outcome.kind === "timeout" ? "timeout" : outcome.code],
                  }),
            done: "Next",
            deadline: "Next",
          }),
        Done: ({ n, failures }) => ({ done: n - failures.length }),
      },
    );
    return { one, calls };
  };

  test("those that answer at once do not pile up on the stack, however many are queued", async () => {
    const { one, calls } = many(1);
    let release: () => void = () => {};
    const world = await begin({
      hubs: [calls],
      workers: () => [
        worker(one, ({ n }) =>
          n === 0 ? new Promise<object>((resolve) => (release = () => resolve({}))) : {},
        ),
      ],
    });
    await world.engine.submit(calls, { n: 20_000 }, { key: "k" });
    await world.clock.settle();
    release();
    expect(await world.answer("k")).toEqual({ kind: "result", value: { done: 20_000 } });
  });

  test("what they give is held against the contract; what they throw is a failure", async () => {
    const { one, calls } = many();
    const outcomes: ((fail: (code: never, message: string) => never) => unknown)[] = [
      () => ({}),
      () => "not an object",
      (fail) => fail("no" as never, "declared"),
      (fail) => fail("undeclared" as never, "x"),
      () => {
        throw new TypeError("thrown");
      },
      () => Promise.reject(new Error("rejected")),
      () => new Promise(() => {}),
    ];
    const world = await begin({
      hubs: [calls],
      workers: () => [
        worker(
          one,
          ({ n }, ctx) => outcomes[n]?.((code, message) => ctx.fail(code, message)) as Record<string, never>,
        ),
      ],
    });
    await world.engine.submit(calls, { n: outcomes.length }, { key: "k" });
    expect(await world.answer("k")).toEqual({ kind: "result", value: { done: 1 } });
    const codes = (await world.engine.history("k"))
      .flatMap((event) => (event.type === "settled" && event.outcome !== "ok" ? [event.outcome] : []))
      .map((failure) => (failure.kind === "error" ? failure.code : failure.kind));
    expect(codes.toSorted()).toEqual([
      "WW_INVALID_OUTPUT",
      "WW_INVALID_OUTPUT",
      "WW_WORKER_FAILED",
      "WW_WORKER_FAILED",
      "no",
      "timeout",
    ]);
  });

  test("those that hang are told to stop at their deadline, and block their spoke for ten timeouts at most", async () => {
    const { one, calls } = many(2);
    let aborted = 0;
    const world = await begin({
      hubs: [calls],
      workers: () => [
        worker(one, ({ n }, { signal }) => {
          if (n > 1) return {};
          signal.addEventListener("abort", () => aborted++);
          return new Promise<object>(() => {});
        }),
      ],
    });
    await world.engine.submit(calls, { n: 2 }, { key: "a" });
    await world.clock.advance(50);
    expect(aborted).toBe(2);
    await world.engine.submit(calls, { n: 4 }, { key: "b" });
    await world.clock.advance(200);
    expect(await world.engine.answer("b", { waitMs: 0 })).toBeUndefined();
    await world.clock.advance(1000);
    expect(await world.engine.answer("b", { waitMs: 0 })).toMatchObject({ kind: "result" });
  });

  test("a missing or foreign worker is a clear error", () => {
    const none = (workers: readonly Worker[]): unknown =>
      new World({ hubs: [rounds], workers: () => workers }).boot();
    expect(() => none([])).toThrow(/WW_CONFIG[\s\S]*step[\s\S]*which no worker serves/);
    const foreign = spoke("step", { input: z.object({}), output: z.object({}), timeoutMs: 1 });
    expect(() => none([worker(foreign, () => ({}))])).toThrow(/another spoke of that name/);
  });
});

describe("time", () => {
  test("a wall clock that jumps while the engine runs has no effect", async () => {
    for (const jump of [3_600_000, -3_600_000]) {
      const world = await begin();
      const { id } = await world.engine.submit(approved, { n: 1, withinMs: 1000 });
      await world.clock.advance(400);
      world.clock.jumpWall(jump);
      await world.clock.advance(599);
      expect(await world.engine.answer(id, { waitMs: 0 })).toBeUndefined();
      await world.clock.advance(1);
      expect(await world.engine.answer(id, { waitMs: 0 })).toEqual({
        kind: "result",
        value: { log: ["late"] },
      });
      const { createdAt, endedAt } = await world.engine.request(id);
      expect((endedAt ?? 0) - createdAt).toBe(1000);
    }
  });

  test("one that jumps across a restart acts like downtime, or not at all; time never runs backward", async () => {
    const forward = await begin();
    const { id } = await forward.engine.submit(approved, { n: 1, withinMs: 1000 });
    forward.clock.jumpWall(3_600_000);
    await forward.restart();
    expect((await forward.engine.answer(id))?.kind).toBe("result");
    const back = await begin();
    const other = await back.engine.submit(approved, { n: 1, withinMs: 1000 });
    await back.clock.advance(300);
    await back.engine.signal(other.id, "note", "x");
    back.clock.jumpWall(-3_600_000);
    await back.restart();
    await back.clock.advance(699);
    expect(await back.engine.answer(other.id, { waitMs: 0 })).toBeUndefined();
    await back.clock.advance(1);
    expect((await back.engine.answer(other.id, { waitMs: 0 }))?.kind).toBe("result");
    checkHistory(approved, await back.engine.history(other.id));
  });

  test.each(["memory", "sqlite"] as const)(
    "timers beyond 2^31 ms fire on time (%s)",
    async (store) => {
      const month = 30 * 86_400_000;
      for (const limits of [{}, { checkpointEvents: 1 }]) {
        const world = await begin({ store, limits, retentionMs: 3 * month });
        const { id } = await world.engine.submit(approved, { n: 1, withinMs: month });
        let answer: Answer | undefined;
        const given = world.engine.answer(id).then((value) => (answer = value));
        await world.clock.runUntil(given, month + 1);
        expect(answer?.kind).toBe("result");
        expect(world.clock.monotonicMs()).toBe(month);
        world.close();
      }
    },
    240_000,
  );

  test("waits of callers end when they say", async () => {
    const world = await begin();
    const { id } = await world.engine.submit(approved, { n: 1, withinMs: 1000 });
    let answer: unknown = "none yet";
    void world.engine.answer(id, { waitMs: 100 }).then((value) => (answer = value));
    await world.clock.advance(99);
    expect(answer).toBe("none yet");
    await world.clock.advance(1);
    expect(answer).toBeUndefined();
  });
});
