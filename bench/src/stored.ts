import { end, hub, type AnyHub, type Labels } from "@wheelwork/core";
import {
  SqliteStore,
  type RequestsOptions,
  type Store,
  type StoredAnswer,
  type StoredRun,
} from "@wheelwork/engine";
import { postgresStore } from "@wheelwork/postgres";
import { freePort, PostgresServer } from "@wheelwork/services";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { z } from "zod";

// A store full of requests as they may be after a week: for benchmarks that find and count them.

/** How much a store holds. */
export interface Stored {
  /** Requests that have their answer. */
  readonly requests: number;
  /** Requests that go on. */
  readonly live: number;
}

const hubNames = ["order", "refund", "invoice", "import"] as const;
export const dayMs = 86_400_000;
/** All requests were accepted within so many milliseconds. */
export const spanMs = 7 * dayMs;
/** Rows that one commit writes. */
const atOnce = 5000;
/** The hubs of the requests. Nobody runs them. */
export const storedHubs: readonly AnyHub[] = hubNames.map((name) =>
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

export const keyOf = (n: number): string => `request-${mixed(n).toString(36).slice(2)}-${n}`;

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
  const status: StoredRun["status"] = n % 1000 === 0 ? "incident" : n % 10 === 0 ? "pending" : "running";
  const state = status === "pending" ? "" : (["Paying", "Shipping", "Packing"][n % 3] as string);
  const createdAt = Math.floor(from + (n / live) * spanMs);
  const of = { hub: hubOf(n), version: 1, status, state, createdAt };
  const message = `rule ${["north", "south", "east"][n % 3]} is bad`;
  return {
    ...of,
    key: `live-${n}`,
    ...(status === "running" ? { activity: "waiting" as const } : {}),
    ...(status === "incident" ? { incident: { code: "WW_HANDLER", message } } : {}),
    answeredAt: undefined,
    hot: false,
    due: undefined,
    root: true,
    labels: labelsOf(n),
    // What a search reads.
    snapshot: {
      ...of,
      request: { text: "y".repeat(200) },
      hash: "",
      eventCount: 1,
      enteredAt: createdAt,
      epoch: 1,
      data: {},
      nextCall: 1,
      nextQueued: 1,
      calls: [],
      commands: [],
      signals: [],
      updatedAt: createdAt,
    },
  };
}

/** Fills a store with requests that were accepted from a time on. */
async function fill(store: Store, { requests, live }: Stored, from: number): Promise<void> {
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

/** Fills a store in a folder, and gives it to `body`. PostgreSQL is a server of its own. */
export async function withStored<T>(
  { store: kind, ...size }: Stored & { readonly store: "sqlite" | "postgres" },
  folder: string,
  from: number,
  body: (store: Store) => Promise<T>,
): Promise<T> {
  if (kind === "sqlite") {
    const store = new SqliteStore(join(folder, "store.db"), { durability: "normal" });
    await fill(store, size, from);
    return body(store);
  }
  chmodSync(folder, 0o755);
  const server = new PostgresServer(join(folder, "postgres"), await freePort());
  await server.start();
  try {
    const store = postgresStore({
      connectionString: server.url,
      durability: "normal",
      timeoutMs: 600_000,
    });
    await fill(store, size, from);
    // As autovacuum does, some time after so many rows have come.
    const client = new Client({ connectionString: server.url });
    await client.connect();
    await client.query("VACUUM ANALYZE");
    await client.end();
    return await body(store);
  } finally {
    await server.stop();
  }
}

/** What operators ask for. */
export const filtersOf = (from: number): Readonly<Record<string, RequestsOptions>> => ({
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
