import { end, hub } from "@wheelwork/core";
import { createEngine, type Engine } from "@wheelwork/engine";
import { statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { newKey } from "../flow.ts";
import { inChild, memoryMb, percentile, phase, repeat, rounded, withFolder, type Bench } from "../harness.ts";

/** A hub that waits for a signal, until a deadline that the request gives. */
const parked = hub(
  "parked",
  {
    request: z.object({ name: z.string(), waitMs: z.int() }),
    reply: z.object({ approved: z.boolean() }),
    deadlineMs: ({ waitMs }) => waitMs,
    chart: { Waiting: { Approved: "Done", TimeoutRaised: "Expired" }, Done: end, Expired: end },
    data: ({ name }) => ({ name }),
    signals: { approve: z.object({ by: z.string() }) },
  },
  {
    Waiting: (s) => s.wait({ on: { approve: "Approved" }, deadline: "TimeoutRaised" }),
    Done: () => ({ approved: true }),
    Expired: () => ({ approved: false }),
  },
);

const day = 86_400_000;
/** How many stored runs become due after the restart while the others wait. As many new runs become due too. */
const dueRuns = 1000;

interface Place {
  readonly file: string;
  readonly runs: number;
}

const open = (file: string): Engine => createEngine({ hubs: [parked], workers: [], store: file });
/** The memory of the process once it has been idle for a moment. */
async function restedMemoryMb(): Promise<number> {
  await sleep(500);
  return memoryMb();
}

const fill = phase(import.meta.url, "fill", async ({ file, runs }: Place) => {
  const engine = open(file);
  await engine.start();
  const began = performance.now();
  await repeat(1000, runs, async (index) => {
    await engine.submit(parked, { name: `a request ${index}`, waitMs: 30 * day + index }, { key: newKey() });
  });
  const seconds = (performance.now() - began) / 1000;
  // These are on the disk too, and become due after the restart.
  await repeat(dueRuns, dueRuns, async (index) => {
    await engine.submit(parked, { name: "soon", waitMs: 90_000 + 5 * index }, { key: `stored-${index}` });
  });
  const rss = await restedMemoryMb();
  await engine.stop();
  return { runs_s: Math.round(runs / seconds), rss_mb: rss };
});

/** How long after the deadline of its run an answer came, in milliseconds. */
async function lateness(engine: Engine, id: string): Promise<number> {
  const deadline =
    (await engine.history(id)).find((event) => event.type === "started")?.deadline ?? Number.NaN;
  await engine.answer(id);
  return performance.timeOrigin + performance.now() - deadline;
}

const restart = phase(import.meta.url, "restart", async ({ file }: Place) => {
  const began = performance.now();
  const engine = open(file);
  await engine.start();
  const readyMs = performance.now() - began;
  const rss = await restedMemoryMb();
  const ids = Array.from({ length: dueRuns }, (_, index) => `stored-${index}`);
  const fresh = await Promise.all(
    ids.map(async (_, index) => {
      const { id } = await engine.submit(parked, { name: "new", waitMs: 2000 + 5 * index });
      return id;
    }),
  );
  const cpu = process.cpuUsage();
  const from = performance.now();
  const late = await Promise.all([...ids, ...fresh].map((id) => lateness(engine, id)));
  const used = process.cpuUsage(cpu);
  const busy = (used.user + used.system) / 10 / (performance.now() - from);
  await engine.stop();
  return {
    ready_s: rounded(readyMs / 1000),
    rss_mb: rss,
    stored_late_p50_ms: rounded(percentile(late.slice(0, dueRuns), 0.5)),
    stored_late_p99_ms: rounded(percentile(late.slice(0, dueRuns), 0.99)),
    new_late_p50_ms: rounded(percentile(late.slice(dueRuns), 0.5)),
    new_late_p99_ms: rounded(percentile(late.slice(dueRuns), 0.99)),
    cpu_percent: rounded(busy),
  };
});

/** Waiting runs: how much memory they need, how long a restart takes, and how exact timers are meanwhile. */
export const parkedRuns: Bench = {
  name: "parked-runs",
  about:
    "100,000 runs (--full: 1,000,000) that wait for a signal: memory, restart, and lateness of 2,000 timers",
  run: async ({ dir, full, report, note }) =>
    withFolder(dir, async (folder) => {
      const place = { file: join(folder, "engine.db"), runs: full ? 1_000_000 : 100_000 };
      note(`parking ${place.runs} runs`);
      const filled = await inChild(fill, place);
      report({
        bench: "parked-runs-fill",
        runs: place.runs,
        ...filled,
        file_mb: Math.round(statSync(place.file).size / 1e6),
      });
      note("restarting: 1,000 of these runs and 1,000 new ones become due within two minutes");
      report({ bench: "parked-runs-restart", runs: place.runs, ...(await inChild(restart, place)) });
    }),
};
