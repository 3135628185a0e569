import { createEngine } from "@wheelwork/engine";
import { join } from "node:path";
import { callsOf, flow, newKey } from "../flow.ts";
import { inChild, percentile, phase, repeat, rounded, withFolder, type Bench } from "../harness.ts";

const open = 10_000;

/** The same number of open calls and of batches, in one run and in a hundred runs. */
const compare = phase(
  import.meta.url,
  "compare",
  async (argument: { dir: string }): Promise<Record<string, number>> =>
    withFolder(argument.dir, async (folder) => {
      const { hub, workers } = flow({ deadlineMs: 60_000, timeoutMs: 30_000 });
      const engine = createEngine({ hubs: [hub], workers, store: join(folder, "engine.db") });
      await engine.start();
      let flows = 0;
      const once = async (length: number): Promise<number> => {
        const runs = open / length;
        const began = performance.now();
        await repeat(runs, runs, async () => {
          const answer = await engine.call(hub, { flowid: `flow-${flows++}`, length }, { key: newKey() });
          if (answer.kind !== "result") throw new Error(`a flow failed: ${JSON.stringify(answer)}`);
        });
        return ((performance.now() - began) * 1000) / (callsOf(length) * runs);
      };
      const samples = new Map([10_000, 1000, 100].map((length) => [length, [] as number[]]));
      for (let round = 0; round < 16; round++) {
        for (const [length, list] of samples) {
          const us = await once(length);
          if (round >= 4) list.push(us);
        }
      }
      await engine.stop();
      return Object.fromEntries([...samples].map(([length, list]) => [length, percentile(list, 0.5)]));
    }),
);

/** The time of an outcome must not depend on how many calls are open in its run (I18). */
export const wideRound: Bench = {
  name: "wide-round",
  about: "10,000 concurrent calls: µs for an outcome if they are in one run, in 10 runs, in 100 runs",
  run: async ({ dir, report }) => {
    const us = await inChild(compare, { dir });
    const narrow = us["100"] ?? Number.NaN;
    for (const [length, value] of Object.entries(us)) {
      report({
        bench: "wide-round",
        open_calls: Number(length),
        runs: open / Number(length),
        us_outcome: rounded(value),
        ratio: rounded(value / narrow),
      });
    }
  },
};
