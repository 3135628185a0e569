// The engine of stored.test.ts and backup.test.ts, in a process of its own, which somebody kills.
import { end, hub } from "@wheelwork/core";
import { createEngine, silentLogger } from "@wheelwork/engine";
import { z } from "zod";

export const counting = hub(
  "counting",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 600_000,
    signals: { go: z.null() },
    chart: {
      Deciding: { Now: "Done", Later: "Waiting" },
      Waiting: { Went: "Done", Late: "Done" },
      Done: end,
    },
    data: ({ n }) => ({ n }),
  },
  {
    Deciding: (s) =>
      s.pick(({ n }) => {
        if (n < 0) throw new Error("it is negative");
        return n % 2 === 0 ? "Now" : "Later";
      }),
    Waiting: (s) => s.wait({ on: { go: "Went" }, deadline: "Late" }),
    Done: ({ n }) => n,
  },
);

const [, , store = "", command = "kill", ms = "0"] = process.argv;
if (import.meta.main) {
  const engine = createEngine({
    hubs: [counting],
    workers: [],
    store,
    logger: silentLogger,
    onFailure: () => {},
  });
  await engine.start();
  const answered = async (n: number): Promise<void> => {
    const { id } = await engine.submit(counting, { n }, { key: `k${n}` });
    if (n >= 0 && n % 2 === 0) await engine.answer(id);
    process.stdout.write(`${id}\n`);
  };
  if (command === "endless") for (let n = 0; ; n += 2) await answered(n);
  for (const n of [1, 2, 3, 4, -1]) await answered(n);
  const until = Date.now() + Number(ms);
  while (Date.now() < until) await new Promise((later) => setTimeout(later, 50));
  if (command === "stop") await engine.stop();
  else if (command === "kill") process.kill(process.pid, "SIGKILL");
  else process.stdout.write("waits\n");
}
