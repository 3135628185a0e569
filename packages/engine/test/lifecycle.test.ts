import { createEngine, SqliteStore, type Engine } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { outside, rounds, workersOf } from "./hubs.ts";
import { folder } from "./world.ts";

const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
const workers = workersOf(outside())(sleep);
const failures: string[] = [];

function engineOn(store: string | MemoryStore): Engine {
  const onFailure = (error: { code: string }): void => void failures.push(error.code);
  const engine = createEngine({ hubs: [rounds], workers, store, onFailure });
  onTestFinished(() => engine.stop().catch(() => {}));
  failures.length = 0;
  return engine;
}

async function started(store: string | MemoryStore): Promise<Engine> {
  const engine = engineOn(store);
  await engine.start();
  return engine;
}

const notices = (engine: Engine, what: object): Promise<void> =>
  vi.waitFor(() => expect(engine.health()).toMatchObject(what), { timeout: 120_000, interval: 50 });

test("an engine starts once, and a second start disturbs nothing", async () => {
  const engine = engineOn(join(folder(), "store.db"));
  const first = engine.start();
  await expect(engine.start()).rejects.toThrow(/WW_STARTED[\s\S]*once/);
  await first;
  await engine.submit(rounds, { steps: [1, 2, 3] }, { key: "k" });
  await expect(engine.start()).rejects.toMatchObject({ code: "WW_STARTED" });
  expect(await engine.answer("k")).toEqual({ kind: "result", value: { log: ["1", "2", "3"] } });
  expect(engine.health()).toMatchObject({ ready: true });
  await engine.stop();
  await expect(engine.start()).rejects.toThrow(/WW_STARTED[\s\S]*another/);
  expect(engine.health()).toMatchObject({ ready: false, status: "stopped" });
});

test("an engine that is stopped while it starts does not start", async () => {
  const engine = engineOn(join(folder(), "store.db"));
  const begun = engine.start();
  await engine.stop();
  await expect(begun).rejects.toMatchObject({ code: "WW_STOPPING" });
  expect(engine.health()).toMatchObject({ ready: false, status: "stopped" });
});

test("one file has one owner, under whatever path it is opened", async () => {
  const home = folder();
  const path = join(home, "store.db");
  const engine = await started(path);
  symlinkSync(path, join(home, "link.db"));
  symlinkSync(home, join(home, "folder"));
  for (const other of [path, join(home, "link.db"), join(home, "folder", "store.db")])
    expect(() => engineOn(other), other).toThrow(/WW_STORE_LOCKED/);
  linkSync(path, join(home, "hard.db"));
  for (const other of [join(home, "hard.db"), path])
    expect(() => engineOn(other), other).toThrow(/WW_CONFIG[\s\S]*hard links|WW_STORE_LOCKED/);
  expect((await engine.call(rounds, { steps: [1] })).kind).toBe("result");
  await engine.stop();
  expect(() => engineOn(join(home, "hard.db"))).toThrow(/WW_CONFIG[\s\S]*hard links/);
  rmSync(path);
  renameSync(join(home, "hard.db"), path);
  const next = await started(join(home, "link.db"));
  expect((await next.requests()).items).toHaveLength(1);
});

test.each([":memory:", "", "file:store.db", "file::memory:"])("%j is no store", (path) => {
  expect(() => engineOn(path)).toThrow(/WW_CONFIG/);
  expect(() => new SqliteStore(path)).toThrow(/WW_CONFIG/);
});

const losses: Record<string, (home: string) => void> = {
  "the database": (home) => rmSync(join(home, "store.db")),
  "the log of the database": (home) => rmSync(join(home, "store.db-wal")),
  "the folder": (home) => rmSync(home, { recursive: true }),
  "the database, for another one": (home) => {
    copyFileSync(join(home, "store.db"), join(home, "copy.db"));
    renameSync(join(home, "copy.db"), join(home, "store.db"));
  },
};

test.each(Object.keys(losses))(
  "nothing is accepted any more when somebody has taken away %s",
  async (what) => {
    const home = join(folder(), "data");
    mkdirSync(home);
    const engine = await started(join(home, "store.db"));
    await engine.call(rounds, { steps: [1] }, { key: "before" });
    losses[what]?.(home);
    // A busy store looks once in five milliseconds.
    let refusal: unknown = undefined;
    for (let n = 0; refusal === undefined; n++) {
      expect(n, "requests that were accepted").toBeLessThan(500);
      refusal = await engine.submit(rounds, { steps: [1] }, { key: `after-${n}` }).then(
        () => undefined,
        (error: unknown) => error,
      );
    }
    expect(refusal).toMatchObject({ code: "WW_STORE_UNAVAILABLE" });
    expect(engine.health()).toMatchObject({ ready: false, status: "store-lost" });
    expect(engine.health().reason).toMatch(/deleted|replaced/);
  },
);

test("an engine without work notices that its database is gone, and goes on when it is back", async () => {
  const home = folder();
  const path = join(home, "store.db");
  const engine = await started(path);
  await engine.call(rounds, { steps: [1] }, { key: "before" });
  renameSync(path, join(home, "moved.db"));
  await notices(engine, { ready: false, status: "store-lost" });
  renameSync(join(home, "moved.db"), path);
  await notices(engine, { ready: true });
  expect(engine.health().reason).toBeUndefined();
  expect((await engine.call(rounds, { steps: [2] })).kind).toBe("result");
  expect(await engine.answer("before")).toMatchObject({ kind: "result" });
});

test("a log of the database that does not stop growing is warned of, once in a while", () => {
  const path = join(folder(), "store.db");
  const store = new SqliteStore(path);
  store.claim("me");
  expect(store.check()).toBeUndefined();
  // A file with a hole: SQLite reads no further than its own last frame.
  truncateSync(`${path}-wal`, 300_000_000);
  expect(store.check()).toMatch(/300 MB/);
  store.close();
});

test("a lock that somebody has deleted is taken again", async () => {
  const path = join(folder(), "store.db");
  const engine = await started(path);
  rmSync(`${path}.lock`);
  await vi.waitFor(() => expect(existsSync(`${path}.lock`)).toBe(true), { timeout: 120_000 });
  expect(() => engineOn(path)).toThrow(/WW_STORE_LOCKED/);
  expect((await engine.call(rounds, { steps: [1] })).kind).toBe("result");
});

test("an engine whose lock was deleted, and taken by another one, notices it without work, and says so", async () => {
  const path = join(folder(), "store.db");
  const engine = await started(path);
  await engine.call(rounds, { steps: [1] }, { key: "before" });
  rmSync(`${path}.lock`);
  const other = await started(path);
  await notices(engine, { ready: false, status: "stopped" });
  expect(engine.health().reason).toMatch(/WW_STORE_LOCKED/);
  expect(failures).toEqual(["WW_STORE_LOCKED"]);
  expect(await other.answer("before")).toMatchObject({ kind: "result" });
  expect((await other.call(rounds, { steps: [1] })).kind).toBe("result");
});

test("an engine whose store another one claims ends and says so", async () => {
  const store = new MemoryStore();
  const engine = await started(store);
  const other = await started(store.reopen());
  await expect(engine.call(rounds, { steps: [1] })).rejects.toThrow(/WW_ST/);
  expect(engine.health()).toMatchObject({ ready: false, status: "stopped" });
  expect(engine.health().reason).toMatch(/WW_STORE_LOCKED/);
  expect(failures).toEqual(["WW_STORE_LOCKED"]);
  expect((await other.call(rounds, { steps: [1] })).kind).toBe("result");
});
