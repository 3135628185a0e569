import type { Engine, RequestFilter, RequestList, RequestRow, StoredAnswer } from "@wheelwork/engine";
import { createClient } from "@wheelwork/engine/cluster";
import { MemoryLog } from "@wheelwork/testing";
import { DatabaseSync } from "node:sqlite";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { SqliteStore } from "../src/stores/sqlite.ts";
import { approved, outside, rounds, workersOf } from "./hubs.ts";
import { Nodes } from "./nodes.ts";
import { folder, World } from "./world.ts";

/** Requests are found and counted as they are now, whatever of that a row says already. */

const filters: RequestFilter[] = [
  {},
  { status: "running" },
  { status: "calling" },
  { status: "waiting" },
  { status: "retrying" },
  { status: "pending" },
  { attempts: { min: 2 } },
  { attempts: { max: 1 }, hub: "rounds" },
  { status: "stuck" },
  { status: ["stuck", "pending", "calling"], hub: "rounds" },
  { status: "stuck", labels: { kind: "steps" } },
  { status: ["incident", "lost"] },
  { status: "ended" },
  { status: "result" },
  { status: ["error", "timeout"] },
  { status: "cancelled" },
  { hub: "approved" },
  { hub: "rounds", state: ["Working", "Undoing"] },
  { code: "failed" },
  { createdAt: { from: 1_000_050, to: 1_000_200 } },
  { answeredAt: { from: 1_000_100 }, status: "ended" },
  { durationMs: { min: 3, max: 60 } },
  { labels: { kind: "steps" } },
  { labels: { kind: ["even", "odd"] }, status: "running" },
  { labels: { kind: "steps", first: ["100", "7"] } },
  { labels: { kind: "steps" }, createdAt: { from: 1_000_050, to: 1_000_200 } },
  { labels: { kind: "even", first: "1" } },
];

/** All pages of a list. */
async function listed(engine: Engine, filter: RequestFilter): Promise<string[]> {
  const ids: string[] = [];
  for (let cursor: string | undefined; ;) {
    const page = await engine.requests({ ...filter, limit: 3, ...(cursor === undefined ? {} : { cursor }) });
    ids.push(...page.items.map(({ id }) => id));
    if (page.cursor === undefined) return ids;
    cursor = page.cursor;
  }
}

/** Each filter counts what it lists, no more and no less; all that were sent are there. */
async function agrees(engine: Engine, sent: ReadonlySet<string>): Promise<void> {
  const all = await engine.requests({ limit: 1000 });
  expect(all.items.map(({ id }) => id).toSorted()).toEqual([...sent].toSorted());
  for (const filter of filters) {
    const ids = await listed(engine, filter);
    expect(new Set(ids).size, JSON.stringify(filter)).toBe(ids.length);
    expect(await engine.count(filter), JSON.stringify(filter)).toBe(ids.length);
    const { count, states, outcomes } = await engine.facets(filter);
    expect(count).toBe(ids.length);
    expect(states.reduce((sum, one) => sum + one.count, 0)).toBe(count);
    expect(outcomes.reduce((sum, one) => sum + one.count, 0)).toBeLessThanOrEqual(count);
  }
}

describe.each([{}, { store: "sqlite" }, { faults: { later: true } }] as const)("%o", (variant) => {
  test("counts agree with lists, over checkpoints, purges, kills and restarts", async () => {
    const world = new World({
      hubs: [approved, rounds],
      workers: workersOf(outside()),
      // Rows are written all the time, and runs leave the memory.
      limits: { checkpointEvents: 40, checkpointRuns: 7, horizonMs: 10 },
      ...variant,
    });
    onTestFinished(() => world.close());
    await world.start();
    const sent = new Set<string>();
    for (let turn = 0; turn < 12; turn++) {
      for (let n = 0; n < 6; n++) {
        const key = `k${turn}-${n}`;
        const steps = [[1, 2], [100], [60, 7], [7, 17, 27]][n % 4] as number[];
        if (n < 4) await world.engine.submit(rounds, { steps }, { key });
        else await world.engine.submit(approved, { n, withinMs: 50 * n }, { key });
        sent.add(key);
        if (n === 4 && turn % 2 === 0) await world.engine.cancel(key);
      }
      await world.clock.advance(15 * (turn % 4));
      await agrees(world.engine, sent);
      if (turn % 3 === 2) {
        await world.restart(5);
        await agrees(world.engine, sent);
      }
    }
    await world.clock.advance(10_000);
    await agrees(world.engine, sent);
    expect(await world.engine.count({ status: "ended" })).toBe(sent.size);
  }, 60_000);
});

test("a node and a client count over all shards, also those that others work on", async () => {
  const nodes = new Nodes({
    shards: 3,
    hub: rounds,
    workers: (process) => workersOf(outside())((ms) => process.sleep(ms)),
    options: { limits: { checkpointEvents: 30, checkpointRuns: 5 } },
  });
  const { node } = await nodes.node(1);
  const other = await nodes.node(1);
  await nodes.clock.runUntil(() => node.shards.length + other.node.shards.length === 3, 60_000);
  const client = createClient({
    hubs: [rounds],
    shards: 3,
    store: (shard) => (nodes.disks[shard] as (typeof nodes.disks)[number]).reopen(),
    log: new MemoryLog(nodes.broker, { clock: nodes.clock }),
    clock: nodes.clock,
  });
  await nodes.clock.runUntil(client.start(), 60_000);
  const sent = new Set<string>();
  for (let n = 0; n < 20; n++) {
    sent.add(`k${n}`);
    const steps = [[1, 2], [100], [60, 7], [7, 17, 27]][n % 4] as number[];
    await nodes.clock.runUntil(node.submit(rounds, { steps }, { key: `k${n}` }), 60_000);
  }
  for (const asked of [node, other.node, client]) await nodes.clock.runUntil(agrees(asked, sent), 600_000);
  await nodes.clock.advance(10_000);
  for (const asked of [node, other.node, client]) await nodes.clock.runUntil(agrees(asked, sent), 600_000);
  const counts = [client.facets(), node.facets()];
  await nodes.clock.runUntil(Promise.all(counts), 60_000);
  expect(await counts[0]).toEqual(await counts[1]);
  for (const engine of [client, node, other.node]) await nodes.clock.runUntil(engine.stop());
});

test("a filter that is not valid is refused with every problem", async () => {
  const world = await new World({ hubs: [approved], workers: workersOf(outside()) }).start();
  onTestFinished(() => world.close());
  const { engine } = world;
  const wrong = { hub: 7, status: "done", createdAt: { from: -1 }, durationMs: { max: 0.5 } } as never;
  for (const ask of [engine.requests(wrong), engine.count(wrong), engine.facets(wrong)])
    await expect(ask).rejects.toMatchObject({
      code: "WW_INVALID_REQUEST",
      problems: [{ path: "hub" }, { path: "status" }, { path: "createdAt.from" }, { path: "durationMs.max" }],
    });
  await expect(engine.requests({ order: "best" as never })).rejects.toThrow(/order/);
  // It would mean every request.
  await expect(engine.count({ hubb: "approved" } as never)).rejects.toMatchObject({
    problems: [{ path: "hubb", message: "is not known" }],
  });
  await expect(engine.startBulk({ kind: "cancel" }, new Map([["hub", "approved"]]) as never)).rejects.toThrow(
    /Map/,
  );
});

test("a filter may be the query of an HTTP request, which inherits from an empty object", async () => {
  const world = await new World({ hubs: [approved], workers: workersOf(outside()) }).start();
  onTestFinished(() => world.close());
  const { engine } = world;
  const query = (fields: RequestFilter): RequestFilter =>
    Object.assign(Object.create(Object.create(null) as object) as object, fields);
  expect(await engine.count(query({ hub: "approved" }))).toBe(0);
  expect((await engine.requests(query({ hub: "approved" }))).items).toEqual([]);
  expect(await engine.incidents(query({ hub: "approved" }))).toEqual([]);
  expect(await engine.previewBulk({ kind: "cancel" }, query({ hub: "approved" }))).toMatchObject({
    count: 0,
  });
});

test.each(["schema-2.sql", "before-timers.sql"])(
  "requests of the earlier store %s are found and counted",
  async (file) => {
    const path = join(folder(), "store.db");
    const db = new DatabaseSync(path);
    db.exec(readFileSync(new URL(file, import.meta.url), "utf8"));
    const count = (sql: string): number => Number(db.prepare(sql).get()?.["count"]);
    const live = count("SELECT count(*) AS count FROM run WHERE root = 1");
    const ended = count("SELECT count(*) AS count FROM request WHERE root = 1 AND ended_at IS NOT NULL");
    const errors = count(
      `SELECT count(*) AS count FROM request WHERE root = 1 AND ended_at IS NOT NULL AND answer LIKE '{"kind":"error"%'`,
    );
    db.close();
    expect(live + ended).toBeGreaterThan(0);
    const store = new SqliteStore(path);
    onTestFinished(() => store.close());
    const counted = async (filter: RequestFilter): Promise<number> =>
      (await store.facets(filter)).reduce((sum, one) => sum + one.count, 0);
    expect(store.list({ limit: 1000 })).toHaveLength(live + ended);
    expect(await counted({})).toBe(live + ended);
    expect(await counted({ createdAt: { from: 1 } })).toBe(live + ended);
    expect(await counted({ status: "ended" })).toBe(ended);
    expect(await counted({ status: "error" })).toBe(errors);
    // Rows that were there before have other classes of durations.
    for (const min of [0, 1, 5, 20, 64, 100, 1000])
      expect(await counted({ durationMs: { min } })).toBe(
        (await store.list({ durationMs: { min }, limit: 1000 })).length,
      );
  },
);

const manyRows = 25_000;

/** A SQLite file with many requests, which took from 100 to 199 ms. */
function filled(): SqliteStore {
  const store = new SqliteStore(join(folder(), "store.db"), { durability: "normal" });
  onTestFinished(() => store.close());
  const { epoch } = store.claim("owner");
  for (let seq = 1; seq <= 5; seq++) {
    const answers = Array.from({ length: manyRows / 5 }, (_, index): StoredAnswer => {
      const n = (seq - 1) * (manyRows / 5) + index;
      // Many are accepted at the same time.
      const createdAt = 1000 + Math.floor(n / 700);
      const answeredAt = createdAt + 100 + (n % 100);
      const times = { createdAt, answeredAt, endedAt: answeredAt };
      const answer = { kind: "result", value: n } as const;
      const ended = { hub: "h", version: 1, hash: "", state: "Done", status: "ended", root: true } as const;
      return { key: `k${n}`, ...ended, ...times, answer, request: n, firstSeq: 1, lastSeq: 1 };
    });
    store.commit({ epoch, seq, now: 5000, journal: [], answers });
  }
  return store;
}

test("a count that must read many rows of a SQLite file pauses, and misses none", async () => {
  const store = filled();
  const rows = manyRows;
  const counting = store.facets({ durationMs: { min: 105, max: 120 }, createdAt: { from: 1001 } });
  expect(counting).toBeInstanceOf(Promise);
  expect(await counting).toMatchObject([{ hub: "h", count: ((rows - 700) * 15) / 100 }]);
  // An index has the durations.
  expect(store.facets({ durationMs: { min: 105, max: 120 } })).toMatchObject([{ count: (rows * 15) / 100 }]);
  const many = store.facets({ durationMs: { min: 101 } });
  expect(many).toBeInstanceOf(Promise);
  expect(await many).toMatchObject([{ count: (rows * 99) / 100 }]);
  expect(store.facets({ answeredAt: { from: 0 } })).toMatchObject([{ count: rows }]);
  // The bounds that people ask for are those of classes: no row is read.
  expect(store.facets({ durationMs: { min: 100, max: 200 } })).toMatchObject([{ count: rows }]);
  expect(store.facets({ durationMs: { min: 200 } })).toEqual([]);
});

test("a list that must pass over many rows of a SQLite file pauses, and misses none", async () => {
  const store = filled();
  for (const order of ["newest", "oldest"] as const) {
    const list = { durationMs: { min: 189, max: 199 }, answeredAt: { to: 10_000 }, order, limit: 1500 };
    expect(store.list(list)).toBeInstanceOf(Promise);
    const keys: string[] = [];
    for (let after: RequestList["after"]; ;) {
      const given = store.list({ ...list, ...(after === undefined ? {} : { after }) });
      const page = await given;
      keys.push(...page.map(({ key }) => key));
      const last = page.at(-1);
      if (last === undefined) break;
      after = { createdAt: last.createdAt, key: last.key };
    }
    expect(new Set(keys).size).toBe(manyRows / 10);
    expect(keys).toHaveLength(manyRows / 10);
    // Few of a duration are found at once.
    const few = store.list({ durationMs: { min: 198, max: 199 }, order, limit: 150 });
    const longest = keys.filter((key) => key.endsWith("98")).slice(0, 150);
    expect((few as readonly RequestRow[]).map(({ key }) => key)).toEqual(longest);
  }
}, 60_000);
