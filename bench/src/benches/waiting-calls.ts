import { end, hub } from "@wheelwork/core";
import { createEngine, type Engine } from "@wheelwork/engine";
import { statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { inChild, memoryMb, phase, repeat, rounded, withFolder, type Bench } from "../harness.ts";
import { day, turn } from "../turn.ts";

/** Lanes of the callees: most of them wait in a queue. */
const lanes = 1000;
/** Requests that are under way at once. */
const inFlight = 1000;

/** The caller, which is in no lane. */
const caller = hub(
  "caller",
  {
    request: z.object({ lane: z.string() }),
    reply: z.object({}),
    deadlineMs: 29 * day,
    chart: { Calling: { Went: "Done", Failed: "Done", Late: "Done" }, Done: end },
    data: ({ lane }) => ({ lane }),
  },
  {
    Calling: (s) =>
      s.call(turn, { input: ({ lane }) => ({ lane }), ok: "Went", failed: "Failed", deadline: "Late" }),
    Done: () => ({}),
  },
);

interface Place {
  readonly file: string;
  readonly calls: number;
}

const open = (file: string): Engine =>
  createEngine({
    hubs: [caller, turn],
    workers: [],
    store: file,
    limits: { lateMs: 600_000, liveRuns: 10_000_000 },
  });

/** The memory of the process once it has been idle for a moment. */
async function restedMemoryMb(): Promise<number> {
  await sleep(500);
  return memoryMb();
}

/**
 * How long the longest turn of the loop was, until the result is called: the time that its thread worked, in milliseconds. Others use the
 * machine as well.
 */
function longestTurn(): () => number {
  const workedMs = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  };
  let [longestMs, before] = [0, workedMs()];
  const look = (): void => {
    const now = workedMs();
    longestMs = Math.max(longestMs, now - before);
    before = now;
    looking = setImmediate(look);
  };
  let looking = setImmediate(look);
  return () => (clearImmediate(looking), rounded(longestMs));
}

const fill = phase(import.meta.url, "fill", async ({ file, calls }: Place) => {
  const engine = open(file);
  await engine.start();
  const longest = longestTurn();
  const began = performance.now();
  await repeat(inFlight, calls, async (index) => {
    await engine.submit(caller, { lane: `${index % lanes}` }, { key: `${index}` });
  });
  // Each call is open once its callee is there.
  for (let quiet = 0; quiet < 3; await sleep(50)) {
    const { openAttempts, queued } = engine.health();
    quiet = openAttempts === 0 && queued === 0 ? quiet + 1 : 0;
  }
  const seconds = (performance.now() - began) / 1000;
  const rss = await restedMemoryMb();
  const figures = { calls_s: Math.round(calls / seconds), rss_mb: rss, loop_held_ms: longest() };
  await engine.stop();
  return figures;
});

const restart = phase(import.meta.url, "restart", async ({ file }: Place) => {
  const began = performance.now();
  const longest = longestTurn();
  const engine = open(file);
  await engine.start();
  const readyMs = performance.now() - began;
  const { liveRuns } = engine.health();
  const rss = await restedMemoryMb();
  const figures = {
    ready_s: rounded(readyMs / 1000),
    live_runs: liveRuns,
    rss_mb: rss,
    loop_held_ms: longest(),
  };
  await engine.stop();
  return figures;
});

/** Calls of hubs that wait for long: each has a caller and a callee in memory, as a call into another shard has a carrier. */
export const waitingCalls: Bench = {
  name: "waiting-calls",
  about:
    "100,000 open calls of hubs in lanes (--full: 1,000,000): memory, restart, how long the loop is held",
  run: async ({ dir, full, report, note }) => {
    const calls = full ? 1_000_000 : 100_000;
    await withFolder(dir, async (folder) => {
      const place = { file: join(folder, "engine.db"), calls };
      note(`opening ${calls} calls`);
      const filled = await inChild(fill, place);
      report({
        bench: "waiting-calls-fill",
        calls,
        ...filled,
        file_mb: Math.round(statSync(place.file).size / 1e6),
      });
      note("restarting");
      report({ bench: "waiting-calls-restart", calls, ...(await inChild(restart, place)) });
    });
  },
};
