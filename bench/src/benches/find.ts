import { end, hub, type AnyHub, type Labels } from "@wheelwork/core";
import {
  createEngine,
  silentLogger,
  SqliteStore,
  type Engine,
  type RequestsOptions,
  type Store,
  type StoredAnswer,
  type StoredRun,
} from "@wheelwork/engine";
import { postgresStore } from "@wheelwork/postgres";
import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { z } from "zod";
import { inChild, phase, rounded, withFolder, type Bench, type Figure } from "../harness.ts";

interface Size {
  readonly dir: string;
  readonly store: "sqlite" | "postgres";
  readonly requests: number;
  readonly live: number;
}

const hubNames = ["order", "refund", "invoice", "import"] as const;
const dayMs = 86_400_000;
const spanMs = 7 * dayMs;
/** Rows that one commit writes. */
const atOnce = 5000;
const rounds = 15;

const hubs: readonly AnyHub[] = hubNames.map((name) =>
  hub(
    name,
    {
      request: z.object({}),
      reply: z.object({}),
      deadlineMs: 1000,
      chart: { Done: end },
      data: () => ({}),
    },
    { Done: () => ({}) },
  ),
);

/** Numbers that look random, and are the same in each run. */
const mixed = (n: number): number => (Math.imul(n, 0x9e3779b1) >>> 0) / 2 ** 32;

const keyOf = (n: number): string => `request-${mixed(n).toString(36).slice(2)}-${n}`;

const hubOf = (n: number): string => hubNames[Math.floor(4 * mixed(n + 3))] as string;

/** Half of the requests have labels: one of 20 tenants, and one of 3 regions. */
const labelsOf = (n: number): Labels | undefined =>
  n % 2 === 0
    ? undefined
    : { region: ["eu", "us", "asia"][n % 3] as string, tenant: `t${Math.floor(20 * mixed(n + 11))}` };

/** One request in 20 fails, in three ways, and one in 50 takes more than a minute. */
function answerOf(n: number, requests: number, from: number): StoredAnswer {
  const createdAt = Math.floor(from + (n / requests) * spanMs);
  const takes = n % 50 === 0 ? 60_000 + 600_000 * mixed(n) : 20 + 3000 * mixed(n + 7) ** 4;
  const answeredAt = Math.floor(createdAt + takes);
  const failed = n % 20 === 3;
  return {
    key: keyOf(n),
    hub: hubOf(n),
    version: 1,
    hash: "",
    state: failed ? "Failed" : "Done",
    status: "ended",
    createdAt,
    answeredAt,
    endedAt: answeredAt,
    root: true,
    answer: failed
      ? {
          kind: "error",
          code: ["no-port", "refused", "WW_CANCELLED"][n % 3] as string,
          message: "it has failed",
        }
      : { kind: "result", value: { ok: true, text: "x".repeat(100) } },
    request: { text: "y".repeat(200) },
    labels: labelsOf(n),
    firstSeq: 1,
    lastSeq: 1,
  };
}

function runOf(n: number, live: number, from: number): StoredRun {
  const status = n % 1000 === 0 ? "incident" : n % 10 === 0 ? "pending" : "running";
  return {
    key: `live-${n}`,
    hub: hubOf(n),
    version: 1,
    status,
    state: status === "pending" ? "" : (["Paying", "Shipping", "Packing"][n % 3] as string),
    ...(status === "running" ? { activity: "waiting" as const } : {}),
    createdAt: Math.floor(from + (n / live) * spanMs),
    answeredAt: undefined,
    hot: false,
    due: undefined,
    root: true,
    labels: labelsOf(n),
    snapshot: { hub: hubOf(n), status } as unknown as StoredRun["snapshot"],
  };
}

async function fill(store: Store, { requests, live }: Size, from: number): Promise<void> {
  const { epoch, seq: last } = await store.claim("bench");
  let seq = last;
  const commit = { epoch, journal: [], now: from + spanMs };
  for (let n = 0; n < requests; n += atOnce) {
    const answers = Array.from({ length: atOnce }, (_, index) => answerOf(n + index, requests, from));
    await store.commit({ ...commit, seq: ++seq, answers });
  }
  for (let n = 0; n < live; n += atOnce) {
    const runs = Array.from({ length: atOnce }, (_, index) => runOf(n + index, live, from));
    await store.commit({
      ...commit,
      seq: ++seq,
      answers: [],
      checkpoint: { runs, ended: [], histories: [] },
    });
  }
}

const filtersOf = (from: number): Readonly<Record<string, RequestsOptions>> => ({
  all: {},
  hub: { hub: "refund" },
  running: { status: "running" },
  incident: { status: "incident" },
  "errors of a hub": { hub: "refund", status: "error" },
  "a code": { code: "no-port" },
  state: { state: "Shipping" },
  "accepted in 90 min": { createdAt: { from: from + dayMs + 12_345, to: from + dayMs + 5_412_345 } },
  "answered in 3 days": { answeredAt: { from: from + dayMs + 12_345, to: from + 4 * dayMs + 77_777 } },
  "errors answered today": { status: "error", answeredAt: { from: from + 6 * dayMs } },
  "live for 3 days": { status: "running", createdAt: { to: from + 4 * dayMs } },
  "slower than a minute": { durationMs: { min: 60_000 } },
  "faster than a second": { durationMs: { max: 1000 } },
  "slower than 1.5 s": { durationMs: { min: 1500 } },
  stuck: { status: "stuck" },
  "a label": { labels: { tenant: "t7" } },
  "a label, errors of 3 days": {
    labels: { tenant: "t7" },
    status: "error",
    createdAt: { from: from + 4 * dayMs },
  },
  "two labels": { labels: { tenant: "t7", region: "eu" } },
});

/** The time of each operation, in milliseconds, and how often as long it takes as to read one request by its key. */
async function measure(engine: Engine, store: string, from: number): Promise<Figure[]> {
  const timed = async (work: (round: number) => Promise<unknown>): Promise<{ p50: number; max: number }> => {
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const began = performance.now();
      await work(round);
      times.push(performance.now() - began);
    }
    times.sort((a, b) => a - b);
    return { p50: times[Math.floor(rounds / 2)] as number, max: times.at(-1) as number };
  };
  const read = await timed((round) => engine.request(keyOf(1000 * round)));
  const figures: Figure[] = [];
  const report = (
    what: string,
    filter: string,
    { p50, max }: { p50: number; max: number },
    count?: number,
  ): void =>
    void figures.push({
      bench: "find",
      store,
      what,
      filter,
      ...(count === undefined ? { count: "" } : { count }),
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
    chmodSync(folder, 0o755);
    const from = Date.now() - spanMs;
    const onStore = async (store: Store, settle?: () => Promise<void>): Promise<Figure[]> => {
      await fill(store, size, from);
      await settle?.();
      const engine = createEngine({ hubs, workers: [], store, logger: silentLogger });
      await engine.start();
      const figures = await measure(engine, size.store, from);
      await engine.stop();
      await store.close();
      return figures;
    };
    if (size.store === "sqlite")
      return onStore(new SqliteStore(join(folder, "store.db"), { durability: "normal" }));
    const server = new PostgresServer(join(folder, "postgres"), await freePort());
    await server.start();
    try {
      return await onStore(
        postgresStore({ connectionString: server.url, durability: "normal", timeoutMs: 600_000 }),
        async () => {
          // As autovacuum does, some time after so many rows have come.
          const client = new Client({ connectionString: server.url });
          await client.connect();
          await client.query("VACUUM ANALYZE");
          await client.end();
        },
      );
    } finally {
      await server.stop();
    }
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
