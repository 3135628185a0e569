import { createEngine, type Engine } from "@wheelwork/engine";
import { statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inChild, memoryMb, phase, repeat, rounded, withFolder, type Bench } from "../harness.ts";
import { turn } from "../turn.ts";

interface Place {
  readonly file: string;
  readonly requests: number;
  readonly lanes: number;
}

/** Grants that are measured, and how many ends are on their way at once. */
const [grants, atOnce] = [8_000, 100];

const open = (file: string): Engine =>
  createEngine({ hubs: [turn], workers: [], store: file, limits: { lateMs: 60_000 } });

/** The memory of the process once it has been idle for a moment. */
async function restedMemoryMb(): Promise<number> {
  await sleep(500);
  return memoryMb();
}

const fill = phase(import.meta.url, "fill", async ({ file, requests, lanes }: Place) => {
  const engine = open(file);
  await engine.start();
  const began = performance.now();
  await repeat(1000, requests, async (index) => {
    await engine.submit(turn, { lane: `${index % lanes}` }, { key: `${index}` });
  });
  const seconds = (performance.now() - began) / 1000;
  const rss = await restedMemoryMb();
  await engine.stop();
  return { requests_s: Math.round(requests / seconds), rss_mb: rss };
});

const restart = phase(import.meta.url, "restart", async ({ file, lanes }: Place) => {
  const began = performance.now();
  const engine = open(file);
  await engine.start();
  const readyMs = performance.now() - began;
  const rss = await restedMemoryMb();
  // The ids of those who hold places, which their lanes tell.
  const holders: string[] = [];
  for (let lane = 0; lane < lanes; lane++) {
    const { id } = await engine.submit(turn, { lane: `${lane}` }, { key: `probe ${lane}` });
    const { lane: view } = await engine.request(id);
    holders.push(view?.holders?.[0] ?? "");
  }
  const cpu = process.cpuUsage();
  const from = performance.now();
  let granted = 0;
  const work = async (first: number): Promise<void> => {
    for (let lane = first; granted < grants; lane = lane + atOnce < lanes ? lane + atOnce : first) {
      granted++;
      const id = holders[lane] as string;
      await engine.signal(id, "go", {});
      await engine.answer(id);
      // Those of a lane have come in the order of their numbers.
      const number = Number(id.slice(0, id.indexOf("@"))) + lanes;
      holders[lane] = `${number}${id.slice(id.indexOf("@"))}`;
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, lanes) }, (_, first) => work(first)));
  const used = process.cpuUsage(cpu);
  const seconds = (performance.now() - from) / 1000;
  await engine.stop();
  return {
    ready_s: rounded(readyMs / 1000),
    rss_mb: rss,
    grants_s: Math.round(granted / seconds),
    cpu_us_per_grant: Math.round((used.user + used.system) / granted),
  };
});

/** Requests that wait for their turn: how much memory they need, how long a restart takes, and what a grant costs. */
export const lanes: Bench = {
  name: "lanes",
  about:
    "100,000 requests (--full: 1,000,000) that wait in 1,000 lanes and in 100: memory, restart, cost of a grant",
  run: async ({ dir, full, report, note }) => {
    // The same lanes with short queues and with long ones: a grant must cost the same.
    for (const [requests, count] of [
      [full ? 1_000_000 : 100_000, 1000],
      [10_000, 100],
      [full ? 1_000_000 : 100_000, 100],
    ] as const) {
      await withFolder(dir, async (folder) => {
        const place = { file: join(folder, "engine.db"), requests, lanes: count };
        note(`queueing ${requests} requests in ${count} lanes`);
        const filled = await inChild(fill, place);
        const megabytes = Math.round(statSync(place.file).size / 1e6);
        report({ bench: "lanes-fill", requests, lanes: count, ...filled, file_mb: megabytes });
        note(`restarting, and granting ${grants} places`);
        report({ bench: "lanes-restart", requests, lanes: count, ...(await inChild(restart, place)) });
      });
    }
  },
};
