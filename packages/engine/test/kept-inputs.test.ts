import { end, hub, spoke, stay } from "@wheelwork/core";
import { createEngine, silentLogger, worker } from "@wheelwork/engine";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { folder } from "./world.ts";

const calls = 3_000;

const count = spoke("count", { input: z.object({ n: z.int() }), output: z.object({}), timeoutMs: 60_000 });

/** A round whose first outcome parks the run. */
const round = (isBroken: boolean) =>
  hub(
    "round",
    {
      request: z.object({}),
      reply: z.object({ counted: z.int() }),
      deadlineMs: 600_000,
      chart: { Counting: { Counted: stay, All: "Over", Late: "Over" }, Over: end },
      data: () => ({ counted: 0 }),
    },
    {
      Counting: (s) =>
        s.each(count, {
          inputs: () => Array.from({ length: calls }, (_, n) => ({ n })),
          ok: ({ counted }, _output, { index }) => {
            if (isBroken && index === 0) throw new Error("broken");
            return s.raise("Counted", { counted: counted + 1 });
          },
          failed: "Late",
          done: "All",
          deadline: "Late",
        }),
      Over: ({ counted }) => ({ counted }),
    },
  );

const until = async (is: () => Promise<boolean> | boolean): Promise<void> => {
  await expect.poll(is, { timeout: 60_000, interval: 20 }).toBe(true);
};

test("a parked run keeps each of thousands of outcomes once, over restarts too, and shows some of them", async () => {
  const store = join(folder(), "w.db");
  let worked = 0;
  const open = async (isBroken: boolean) => {
    const gate = Promise.withResolvers<void>();
    let waiting = 0;
    const engine = createEngine({
      store,
      hubs: [round(isBroken)],
      workers: [
        worker(count, async () => {
          if (++waiting === calls) gate.resolve();
          await gate.promise;
          worked++;
          return {};
        }),
      ],
      logger: silentLogger,
    });
    onTestFinished(() => engine.stop());
    await engine.start();
    return engine;
  };
  const first = await open(true);
  await first.submit(round(true), {}, { key: "k" });
  await until(async () => {
    const { incident } = await first.request("k");
    return incident?.inputs.length === 1000 && incident.moreInputs === calls - 1000;
  });
  expect((await first.requests({ status: "incident" })).items).toHaveLength(1);
  await first.stop();
  const second = await open(false);
  const { incident } = await second.request("k");
  expect([incident?.inputs.length, incident?.moreInputs]).toEqual([1000, calls - 1000]);
  await second.retry("k");
  expect(await second.answer("k", { waitMs: 60_000 })).toEqual({
    kind: "result",
    value: { counted: calls },
  });
  expect(worked).toBe(calls);
});
