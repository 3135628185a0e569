import { createEngine, silentLogger, type Engine } from "@wheelwork/engine";
import { postgresIsInstalled } from "@wheelwork/services";
import { inChild, phase, rounded, withFolder, type Bench, type Figure } from "../harness.ts";
import { dayMs, filtersOf, keyOf, spanMs, storedHubs, withStored, type Stored } from "../stored.ts";

interface Size extends Stored {
  readonly dir: string;
  readonly store: "sqlite" | "postgres";
}

const rounds = 15;

/** Milliseconds. What others do on the machine is the least part of the best. */
interface Times {
  /** The best of this process alone. */
  readonly cpu: number;
  readonly best: number;
  readonly p50: number;
  readonly max: number;
}

/** The time of each operation, in milliseconds, and how often as long it takes as to read one request by its key. */
async function measure(engine: Engine, store: string, from: number): Promise<Figure[]> {
  const timed = async (work: (round: number) => Promise<unknown>): Promise<Times> => {
    const times: number[] = [];
    let cpu = Number.POSITIVE_INFINITY;
    for (let round = 0; round < rounds; round++) {
      const before = process.cpuUsage();
      const began = performance.now();
      await work(round);
      times.push(performance.now() - began);
      const { user, system } = process.cpuUsage(before);
      cpu = Math.min(cpu, (user + system) / 1000);
    }
    times.sort((a, b) => a - b);
    return {
      cpu,
      best: times[0] as number,
      p50: times[Math.floor(rounds / 2)] as number,
      max: times.at(-1) as number,
    };
  };
  const read = await timed((round) => engine.request(keyOf(1000 * round)));
  const figures: Figure[] = [];
  const report = (what: string, filter: string, { cpu, best, p50, max }: Times, count?: number): void =>
    void figures.push({
      bench: "find",
      store,
      what,
      filter,
      ...(count === undefined ? { count: "" } : { count }),
      cpu_ms: rounded(cpu),
      best_ms: rounded(best),
      p50_ms: rounded(p50),
      max_ms: rounded(max),
      ratio: rounded(p50 / read.p50),
    });
  report("read by key", "", read);
  for (const [name, filter] of Object.entries(filtersOf(from))) {
    const count = await engine.count(filter);
    report("list", name, await timed(() => engine.requests(filter)), count);
    report("list oldest", name, await timed(() => engine.requests({ ...filter, order: "oldest" })), count);
    report("count", name, await timed(() => engine.count(filter)), count);
  }
  for (const [name, filter] of Object.entries({
    answered: {},
    "answered within 1.9 s": { durationMs: { max: 1900 } },
    "answered within 1.9 s, a label": { durationMs: { max: 1900 }, labels: { tenant: "t7" } },
  }))
    report(
      "longest",
      name,
      await timed(() => engine.requests({ ...filter, order: "duration" })),
      await engine.count({ status: "ended", ...filter }),
    );
  report("facets", "all", await timed(() => engine.facets()), await engine.count());
  const deep = await engine.requests({ limit: 1, createdAt: { to: from + 3 * dayMs } });
  if (deep.cursor !== undefined) {
    const { cursor } = deep;
    report("list from a cursor", "all", await timed(() => engine.requests({ cursor })));
  }
  return figures;
}

const find = phase(import.meta.url, "find", async (size: Size): Promise<Figure[]> =>
  withFolder(size.dir, async (folder) => {
    const from = Date.now() - spanMs;
    return withStored(size, folder, from, async (store) => {
      const engine = createEngine({ hubs: storedHubs, workers: [], store, logger: silentLogger });
      await engine.start();
      const figures = await measure(engine, size.store, from);
      await engine.stop();
      await store.close();
      return figures;
    });
  }),
);

/** What it costs to find and count requests among many. */
export const findRequests: Bench = {
  name: "find",
  about:
    "lists and counts over 100,000 (--full: 1,000,000) stored requests and 20,000 (200,000) live ones, as ratios to the read of one by its key",
  run: async ({ dir, full, report, note }) => {
    const size = { requests: full ? 1_000_000 : 100_000, live: full ? 200_000 : 20_000, dir };
    for (const store of ["sqlite", "postgres"] as const) {
      if (store === "postgres" && !postgresIsInstalled()) {
        note("PostgreSQL is not installed: left out");
        continue;
      }
      note(`fills a store on ${store}`);
      for (const figure of await inChild(find, { ...size, store })) report(figure);
    }
  },
};
