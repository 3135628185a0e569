import { end, hub, spoke } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { begin, refusal, steps } from "./begin.ts";
import { outside, rounds, step, workersOf } from "./hubs.ts";
import { checkHistory } from "./world.ts";

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

  test.each(["data", "deadlineMs"] as const)("%s that throws undefined parks its run", async (place) => {
    const nothing = (): never => {
      // eslint-disable-next-line no-throw-literal
      throw undefined;
    };
    const bads = hub(
      "bads",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: place === "deadlineMs" ? nothing : 500,
        chart: { A: { Ok: "Done" }, Done: end },
        data: place === "data" ? nothing : () => ({}),
      },
      { A: "Ok", Done: () => ({}) },
    );
    const world = await begin({ hubs: [bads] });
    await world.engine.submit(bads, {}, { key: "bad" });
    expect(await world.engine.request("bad")).toMatchObject({ status: "incident" });
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
        Cleaning: (s) => s.call(step, { input: () => ({ n: 9 }), settled: "Ok", after: { Late: 100 } }),
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
