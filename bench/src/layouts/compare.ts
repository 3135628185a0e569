import { createEngine, SqliteStore, type Engine, type Store } from "@wheelwork/engine";
import { statSync } from "node:fs";
import { join } from "node:path";
import { callsOf, flow, newKey } from "../flow.ts";
import { drive, inChild, Measured, phase, repeat, rounded, withFolder, type Bench } from "../harness.ts";
import { RowsStore } from "./rows-store.ts";

const length = 10;
const layouts = ["journal", "rows", "rows-history"] as const;
type Layout = (typeof layouts)[number];

function open(layout: Layout, file: string): Store {
  if (layout === "journal") return new SqliteStore(file);
  return new RowsStore(file, layout === "rows" ? "none" : "batch");
}

interface Speed {
  readonly dir: string;
  readonly inFlight: number;
}

/** The layouts take turns in one process, each with its own engine. */
const speed = phase(import.meta.url, "speed", async ({ dir, inFlight }: Speed) =>
  withFolder(dir, async (folder) => {
    const sides: {
      layout: Layout;
      work: () => Promise<void>;
      measured: Measured;
      engine: Engine;
      store: Store;
    }[] = [];
    for (const layout of layouts) {
      const { hub, workers } = flow({ deadlineMs: 30_000, timeoutMs: 10_000 });
      const store = open(layout, join(folder, `${layout}.db`));
      const engine = createEngine({ hubs: [hub], workers, store });
      await engine.start();
      let flows = 0;
      const work = async (): Promise<void> => {
        const answer = await engine.call(hub, { flowid: `flow-${flows++}`, length }, { key: newKey() });
        if (answer.kind !== "result") throw new Error(`a flow failed: ${JSON.stringify(answer)}`);
      };
      sides.push({ layout, work, measured: new Measured(), engine, store });
    }
    for (const { work } of sides) await drive(inFlight, 1000, new Measured(), work);
    for (let slice = 0; slice < 8; slice++) {
      for (const { work, measured } of sides) await drive(inFlight, 500, measured, work);
    }
    const journal = sides[0]?.measured.rate ?? Number.NaN;
    const results = sides.map(({ layout, measured }) => ({
      layout,
      ...measured.figures(callsOf(length)),
      ratio: rounded(measured.rate / journal),
    }));
    for (const { engine, store } of sides) {
      await engine.stop();
      store.close();
    }
    return results;
  }),
);

interface Restart {
  readonly layout: Layout;
  readonly file: string;
  readonly runs: number;
}

/**
 * Fills a store with runs that have ten open calls each, since their workers never answer. Then the process is killed.
 */
const fill = phase(import.meta.url, "fill", async ({ layout, file, runs }: Restart) => {
  const { hub, workers } = flow({ deadlineMs: 600_000, timeoutMs: 600_000, answering: false });
  const engine = createEngine({ hubs: [hub], workers, store: open(layout, file) });
  await engine.start();
  await repeat(1000, runs, async (index) => {
    await engine.submit(hub, { flowid: `flow-${index}`, length }, { key: newKey() });
  });
});

const restart = phase(import.meta.url, "restart", async ({ layout, file, runs }: Restart) => {
  const { hub, workers } = flow({ deadlineMs: 600_000, timeoutMs: 600_000, answering: false });
  const began = performance.now();
  const engine = createEngine({ hubs: [hub], workers, store: open(layout, file) });
  await engine.start();
  const readyMs = performance.now() - began;
  const { liveRuns, openAttempts } = engine.health();
  if (liveRuns !== runs || openAttempts !== runs * length)
    throw new Error(`${liveRuns} runs, ${openAttempts} attempts`);
  await engine.stop();
  return { ready_s: rounded(readyMs / 1000) };
});

/**
 * Two layouts of the store, on the real engine: a journal, and rows (ARCHITECTURE.md, decisions that are not obvious).
 */
export const compareLayouts: Bench = {
  name: "layouts",
  about:
    "the two layouts of the store: flow-create of 10 at 1, 16 and 200 in flight, and a restart with 20,000 live runs",
  run: async ({ dir, report, note }) => {
    for (const inFlight of [1, 16, 200]) {
      note(`${inFlight} in flight`);
      for (const figures of await inChild(speed, { dir, inFlight })) {
        report({ bench: "layouts", inflight: inFlight, ...figures });
      }
    }
    for (const layout of layouts) {
      note(`killing and restarting ${layout}`);
      await withFolder(dir, async (folder) => {
        const argument = { layout, file: join(folder, "engine.db"), runs: 20_000 };
        await inChild(fill, argument, "kill");
        const mb = Math.round(statSync(argument.file).size / 1e6);
        const { ready_s } = await inChild(restart, argument);
        report({
          bench: "layouts-restart",
          layout,
          runs: argument.runs,
          open_calls: argument.runs * length,
          ready_s,
          file_mb: mb,
        });
      });
    }
  },
};
