import { end, hub, spoke, stay } from "@wheelwork/core";
import { createEngine, worker, type Engine } from "@wheelwork/engine";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { folder } from "./world.ts";

test("an input of nothing is the same after a restart, and whoever takes it goes on", async () => {
  const path = join(folder(), "store.db");
  const seen: unknown[] = [];
  const none = spoke("none", { input: z.undefined(), output: z.object({}), timeoutMs: 60_000 });
  const perhaps = spoke("perhaps", { input: z.string().optional(), output: z.object({}), timeoutMs: 60_000 });
  const any = spoke("any", { input: z.unknown(), output: z.object({}), timeoutMs: 60_000 });
  const inner = hub(
    "inner",
    {
      request: z.undefined(),
      reply: z.object({}),
      deadlineMs: 60_000,
      chart: { In: { Ok: "Z", Late: "Z" }, Z: end },
      data: () => ({}),
    },
    {
      In: (s) => s.call(none, { input: () => undefined, ok: "Ok", failed: "Late", deadline: "Late" }),
      Z: () => ({}),
    },
  );
  const outer = hub(
    "outer",
    {
      request: z.object({}),
      reply: z.object({}),
      deadlineMs: 60_000,
      chart: { All: { One: stay, Ok: "Z", Late: "Z" }, Z: end },
      data: () => ({}),
    },
    {
      All: (s) =>
        s.all(
          {
            none: s.part(none, { input: () => undefined }),
            perhaps: s.part(perhaps, { input: () => undefined }),
            any: s.part(any, { input: () => undefined }),
            inner: s.part(inner, { input: () => undefined }),
          },
          { failed: "Late", done: "Ok", deadline: "Late" },
        ),
      Z: () => ({}),
    },
  );
  const run = async (isLast: boolean): Promise<Engine> => {
    const serve =
      (name: string) =>
      (input: unknown): Promise<Record<string, never>> | Record<string, never> => {
        seen.push(`${name} ${String(input)}`);
        return isLast ? {} : new Promise<Record<string, never>>(() => {});
      };
    const workers = [
      worker(none, serve("none")),
      worker(perhaps, serve("perhaps")),
      worker(any, serve("any")),
    ];
    const engine = createEngine({ hubs: [inner, outer], workers, store: path, drainMs: 0 });
    await engine.start();
    return engine;
  };
  const first = await run(false);
  await first.submit(outer, {}, { key: "k" });
  await expect.poll(() => seen.length).toBe(4);
  const before = seen.splice(0).toSorted();
  expect(before).toEqual(["any null", "none undefined", "none undefined", "perhaps undefined"]);
  await first.stop();
  const second = await run(true);
  onTestFinished(() => second.stop());
  expect(await second.answer("k", { waitMs: 60_000 })).toEqual({ kind: "result", value: {} });
  expect(seen.toSorted()).toEqual(before);
});
