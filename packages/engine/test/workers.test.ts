import { end, hub, spoke } from "@wheelwork/core";
import { worker, type Worker } from "@wheelwork/engine";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { begin } from "./begin.ts";
import { rounds } from "./hubs.ts";
import { World } from "./world.ts";

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
