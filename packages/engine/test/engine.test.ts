import { end, hub, spoke, WheelworkError, type Answer } from "@wheelwork/core";
import { worker, type Engine } from "@wheelwork/engine";
import type { MemoryStore } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { begin, refusal, steps, closeLater } from "./begin.ts";
import { approved, outside, rounds, workersOf } from "./hubs.ts";
import { checkHistory, World } from "./world.ts";

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

  test("one that has nothing to commit notices it, too, if somebody waits for an answer or watches (I21)", async () => {
    for (const waits of [
      (engine: Engine) => engine.answer("k"),
      async (engine: Engine) => {
        for await (const { event } of engine.watch("k")) expect(event).toBe(2);
        return "over";
      },
    ]) {
      const world = await begin();
      await world.engine.submit(approved, { n: 1, withinMs: 10 * 3_600_000 }, { key: "k" });
      const waiting = waits(world.engine).catch((error: WheelworkError) => error);
      await world.clock.advance(3_600_000);
      await world.store.inner.claim("another");
      await world.clock.advance(300_000);
      expect(world.engine.health().status).toBe("stopped");
      expect(await waiting).toMatchObject({ code: "WW_STOPPING", retryable: true });
    }
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
  closeLater(world);
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

  test.each(["memory", "sqlite"] as const)("timers beyond 2^31 ms fire on time (%s)", async (store) => {
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
  });

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
