import { createEngine, type Commit, type Engine, type EngineEvent, type Store } from "@wheelwork/engine";
import { postgresPool, postgresStore, type PostgresOptions } from "@wheelwork/postgres";
import { waitUntil } from "@wheelwork/services";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { flowCreate, workers } from "./flow.ts";
import { asking, Load, until } from "./load.ts";
import { binaries, Server } from "./server.ts";

let primary: Server;
let standby: Server;

const both = (): string =>
  `postgres://wheelwork@127.0.0.1:${primary.port},127.0.0.1:${standby.port}/postgres`;

const options = (): PostgresOptions => ({ connectionString: both(), timeoutMs: 1000 });

function open(more: PostgresOptions = {}): Store {
  const store = postgresStore({ ...options(), ...more });
  onTestFinished(() => store.close());
  return store;
}

async function start(more: PostgresOptions = {}, observe?: (signal: EngineEvent) => void): Promise<Engine> {
  const store = postgresStore({ ...options(), ...more });
  const engine = createEngine({
    hubs: [flowCreate],
    workers,
    store,
    limits: { checkpointEvents: 500 },
    ...(observe === undefined ? {} : { observe }),
  });
  onTestFinished(async () => {
    await engine.stop();
    await store.close();
  });
  await engine.start();
  return engine;
}

const commitOf = (epoch: number, seq: number): Commit => ({ epoch, seq, now: seq, journal: [], answers: [] });

/** Whatever a commit would change. */
const stateOf = (server: Server): Promise<unknown> =>
  server.query(
    `SELECT id, epoch, owner, seq, (SELECT count(*) FROM wheelwork.journal_0) AS records
      FROM wheelwork.shard ORDER BY id`,
  );

/** Also with what is not written to the primary's own disk yet. */
const caughtUp = (): Promise<void> =>
  waitUntil(async () => {
    const sql = "SELECT 1 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_insert_lsn()";
    return (await primary.query(sql)).length > 0;
  }, 120_000);

/** The standby gets nothing more. */
async function detach(): Promise<void> {
  await standby.set("primary_conninfo", "");
  const isDetached = async (): Promise<boolean> =>
    (await primary.query("SELECT 1 FROM pg_stat_replication")).length === 0;
  await waitUntil(isDetached, 120_000);
}

/** Asks again while no server is ready. */
const persist = <T>(ask: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(ask, { timeout: 120_000, interval: 50 }) as Promise<T>;

const connected = "SELECT pid FROM pg_stat_activity WHERE application_name = 'wheelwork'";

describe.skipIf(binaries === undefined)("a primary and its standby", () => {
  beforeEach(async () => {
    primary = await Server.start();
    standby = await primary.standby("standby");
  });
  afterEach(async () => {
    await Promise.all([primary, standby].map((server) => server?.remove()));
  });

  test("synchronous: each request is answered once, and the primary that comes back is not written to", async () => {
    await primary.set("synchronous_standby_names", "standby");
    await primary.set("synchronous_commit", "remote_apply");
    const engine = await start();
    const other = open({ schema: "other" });
    const { epoch } = await other.claim("node");
    await other.commit(commitOf(epoch, 1));
    const load = new Load(16, asking(engine));
    await load.grown(100);
    // Commits are on the disks of both, but the primary does not hear that the standby has carried them out.
    await standby.query("SELECT pg_wal_replay_pause()");
    const unseen = Promise.resolve(other.commit(commitOf(epoch, 2))).catch((error: unknown) => error);
    const received = `SELECT 1 FROM pg_stat_replication WHERE flush_lsn = pg_current_wal_lsn()
      AND 2 <= (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep')`;
    await waitUntil(async () => (await primary.query(received)).length > 0, 120_000);
    await primary.crash();
    expect(await unseen).toMatchObject({ code: "WW_STORE_UNAVAILABLE" });
    await standby.promote();
    const again = await persist(() => other.claim("node", true));
    expect(again).toMatchObject({ seq: 2 });
    await expect(other.commit(commitOf(again.epoch, 2))).rejects.toMatchObject({
      code: "WW_STORE_UNAVAILABLE",
    });
    await other.commit(commitOf(again.epoch, 3));
    const records = await standby.query("SELECT seq::int FROM other.journal_0 ORDER BY seq");
    expect(records).toEqual([{ seq: 1 }, { seq: 2 }, { seq: 3 }]);

    await load.grown(100);
    await primary.resume();
    const left = await stateOf(primary);
    // What is connected anew finds two servers that take writes.
    await standby.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wheelwork'",
    );
    await load.grown(100);
    // When the new primary is away, the old one is no way out, also for those who know nothing: it waits for its standby.
    const thaw = standby.freeze();
    try {
      await until("the loss of the store", () => engine.health().status === "store-lost");
      await expect(open().claim("another")).rejects.toMatchObject({ code: "WW_STORE_UNAVAILABLE" });
    } finally {
      thaw();
    }
    await load.grown(50);
    expect(await load.wrong(asking(engine))).toEqual([]);
    expect(engine.health()).toMatchObject({ status: "running", liveRuns: 0 });
    expect(await stateOf(primary)).toEqual(left);
  });

  test("asynchronous: what is up to date goes on; what has lost commits stops, and says so, until that is accepted", async () => {
    const engine = await start({ schema: "fresh" });
    const load = new Load(16, asking(engine));
    await load.grown(50);
    expect(await load.wrong(asking(engine))).toEqual([]);
    const signals: EngineEvent[] = [];
    const behind = await start({}, (signal) => void signals.push(signal));
    const request = { flow: "f", length: 2, fails: false };
    const installed = { kind: "result", value: { installed: 2 } };
    expect(await behind.call(flowCreate, request, { key: "kept" })).toEqual(installed);
    const tolerant = open({ schema: "tolerant", durability: "normal" });
    const { epoch } = await tolerant.claim("node");
    await caughtUp();
    await detach();
    expect(await behind.call(flowCreate, request, { key: "lost" })).toEqual(installed);
    await tolerant.commit(commitOf(epoch, 1));
    await primary.crash();
    await standby.promote();

    const more = new Load(16, asking(engine));
    await more.grown(50);
    expect(await more.wrong(asking(engine))).toEqual([]);
    await until("the end of the engine", () => {
      behind.submit(flowCreate, request, { key: "next" }).catch(() => {});
      return behind.health().status === "stopped";
    });
    expect(signals.at(-1)).toMatchObject({
      name: "commits-lost",
      message: expect.stringMatching(
        /WW_COMMITS_LOST: the server has lost commits of shard 0.*batch \d+ was committed/,
      ) as string,
    });
    await expect(start()).rejects.toMatchObject({ code: "WW_COMMITS_LOST" });
    // One that may lose the last commits goes on, and says how many.
    expect(await persist(() => tolerant.claim("node", true))).toMatchObject({ seq: 0, lost: 1 });

    await standby.query("UPDATE wheelwork.shard SET lost = NULL");
    const next = await start();
    expect(await next.answer("kept")).toEqual(installed);
    await expect(next.answer("lost")).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
    expect(await next.call(flowCreate, request, { key: "lost" })).toEqual(installed);
  });

  test("whoever has gone over leaves the old primary with all connections, and never goes back", async () => {
    const list = [`127.0.0.1:${standby.port}`, "127.0.0.1:1"];
    const early = open({
      connectionString: "postgres://wheelwork@ignored/postgres",
      host: list,
      shards: 2,
    });
    await expect(early.claim("node")).rejects.toThrow(
      new RegExp(`no server takes writes: .*127.0.0.1:${standby.port}: it is a standby`),
    );
    await expect(early.claim("node")).rejects.toThrow(/127.0.0.1:1: connect ECONNREFUSED/);

    const pool = postgresPool(options());
    onTestFinished(() => pool.close());
    const stores = [0, 1].map((shard) => postgresStore({ pool, shard, shards: 2 })) as [Store, Store];
    const claims = await Promise.all(stores.map((store) => store.claim("node")));
    await Promise.all(stores.map((store, shard) => store.commit(commitOf(claims[shard]?.epoch ?? 0, 1))));
    await caughtUp();
    const thaw = primary.freeze();
    try {
      await standby.promote();
      await expect(stores[0].commit(commitOf(claims[0]?.epoch ?? 0, 2))).rejects.toMatchObject({
        code: "WW_STORE_UNAVAILABLE",
      });
      await persist(() => stores[0].claim("node", true));
    } finally {
      thaw();
    }
    // What the first shard had sent to it is carried out now, for nobody: whoever sent it has gone.
    await waitUntil(async () => (await primary.query(connected)).length === 0, 120_000);
    // The other shard has noticed nothing: its old primary is back, and would take its commit.
    const left = await stateOf(primary);
    await stores[1].commit(commitOf(claims[1]?.epoch ?? 0, 2));
    expect(await stateOf(primary)).toEqual(left);
    expect((await stores[1].peek()).seq).toBe(2);
    // One that has just started, and knows nothing, takes the one that was promoted last.
    expect(await open({ shard: 1, shards: 2 }).peek()).toMatchObject({ seq: 2 });
    expect(await early.claim("node")).toMatchObject({ epoch: 3 });
    await standby.crash();
    await expect(stores[1].peek()).rejects.toMatchObject({ code: "WW_STORE_UNAVAILABLE" });
    await expect(stores[1].peek()).rejects.toThrow(/left behind on timeline 1, since 2 has been seen/);
  });
});

test("hosts that cannot be right are refused at once", () => {
  for (const [connectionString, what] of [
    ["postgres://me@one,two/db?target_session_attrs=standby", /target_session_attrs=standby/],
    ["postgres://me@one:1,two:x/db", /the host "two:x" is not valid/],
  ] as const)
    expect(() => postgresStore({ connectionString })).toThrow(what);
});
