import { end, hub, stay } from "@wheelwork/core";
import { createEngine, silentLogger, type Engine } from "@wheelwork/engine";
import { z } from "zod";

/** Adds up signals, until it is cancelled. */
export const sums = hub(
  "sums",
  {
    request: z.object({}),
    reply: z.number(),
    deadlineMs: 3_600_000,
    signals: { add: z.number() },
    cancel: "Late",
    chart: { Adding: { Added: stay, Late: "Done" }, Done: end },
    data: () => ({ sum: 0 }),
  },
  {
    Adding: (s) =>
      s.wait({ on: { add: ({ sum }, n) => s.raise("Added", { sum: sum + n }) }, deadline: "Late" }),
    Done: ({ sum }) => sum,
  },
);

export async function engineOn(store: string): Promise<Engine> {
  const engine = createEngine({
    hubs: [sums],
    workers: [],
    store,
    durability: "normal",
    logger: silentLogger,
  });
  await engine.start();
  return engine;
}

// As a program: goes on with a bulk, and says how far it is, until it is killed or the bulk has ended.
const [, program, store, id] = process.argv;
if (program === import.meta.filename && store !== undefined && id !== undefined) {
  const engine = await engineOn(store);
  await engine.startBulk({ kind: "signal", name: "add", payload: 1 }, { hub: "sums" }, { key: id });
  for (;;) {
    const { status, done } = await engine.bulk(id).view();
    process.stdout.write(`${done}\n`);
    if (status === "done") break;
    await new Promise((resolve) => setImmediate(resolve));
  }
  await engine.stop();
}
