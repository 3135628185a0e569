import { createEngine, worker, type Engine } from "@wheelwork/engine";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { end, hub, spoke, stay } from "../src/index.ts";

const look = spoke("look", { input: z.object({}), output: z.object({}), timeoutMs: 5_000 });
let broken = false;

const collect = hub(
  "collect",
  {
    request: z.object({ wanted: z.number() }),
    reply: z.object({ names: z.array(z.string()) }),
    deadlineMs: 60_000,
    chart: {
      Looking: { Next: "Collecting", TimeoutRaised: "Done" },
      Collecting: { Got: stay, Enough: "Done", TimeoutRaised: "Done" },
      Done: end,
    },
    signals: { name: z.string() },
    data: ({ wanted }) => ({ wanted, names: [] as string[] }),
  },
  {
    Looking: (s) => s.call(look, { input: () => ({}), settled: "Next", deadline: "TimeoutRaised" }),
    Collecting: (s) =>
      s.wait({
        on: {
          name: (data, given) => {
            if (broken) throw new Error("not ready");
            const names = [...data.names, given];
            return s.raise(names.length === data.wanted ? "Enough" : "Got", { names });
          },
        },
        deadline: "TimeoutRaised",
      }),
    Done: ({ names }) => ({ names: [...names] }),
  },
);

async function engineWith(looked: Promise<void>): Promise<Engine> {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-signals-"));
  const workers = [worker(look, () => looked.then(() => ({})))];
  const engine = createEngine({ store: join(folder, "w.db"), hubs: [collect], workers });
  onTestFinished(async () => {
    broken = false;
    await engine.stop();
    rmSync(folder, { recursive: true });
  });
  await engine.start();
  return engine;
}

test("signals that came before their wait are taken in their order, also those that stay in the state", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const engine = await engineWith(promise);
  const { id } = await engine.submit(collect, { wanted: 3 });
  await engine.signal(id, "name", "a");
  await engine.signal(id, "name", "b");
  resolve();
  await expect.poll(async () => (await engine.request(id)).data).toMatchObject({ names: ["a", "b"] });
  await engine.signal(id, "name", "c");
  expect(await engine.answer(id)).toEqual({ kind: "result", value: { names: ["a", "b", "c"] } });
});

test("signals that came while the run was parked count after its retry", async () => {
  const engine = await engineWith(Promise.resolve());
  const { id } = await engine.submit(collect, { wanted: 3 });
  await expect.poll(async () => (await engine.request(id)).state).toBe("Collecting");
  broken = true;
  await engine.signal(id, "name", "a");
  expect((await engine.request(id)).status).toBe("incident");
  await engine.signal(id, "name", "b");
  await engine.signal(id, "name", "c");
  broken = false;
  await engine.retry(id);
  expect(await engine.answer(id)).toEqual({ kind: "result", value: { names: ["a", "b", "c"] } });
});
