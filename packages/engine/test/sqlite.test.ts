import { createEngine, SqliteStore } from "@wheelwork/engine";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  openSync,
  writeSync,
  closeSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import { outside, rounds, workersOf } from "./hubs.ts";
import { folder, World } from "./world.ts";

const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
const engineOn = (path: string) =>
  createEngine({
    hubs: [rounds],
    workers: workersOf(outside())(sleep),
    store: path,
    // Some files are written in simulated time, which is long ago.
    maxDowntimeMs: Number.POSITIVE_INFINITY,
  });

test("works with the real clock and a file, and goes on with it", async () => {
  const path = join(folder(), "store.db");
  const first = engineOn(path);
  await first.start();
  await first.submit(rounds, { steps: [1, 2, 3] }, { key: "k" });
  await first.stop();
  await expect(first.request("k")).rejects.toThrow(/WW_STOPPING/);
  const second = engineOn(path);
  await second.start();
  expect(await second.answer("k")).toEqual({ kind: "result", value: { log: ["1", "2", "3"] } });
  await second.stop();
});

test("one owner; readers and backups at the same time; the lock is free when the owner is gone", async () => {
  const home = folder();
  const path = join(home, "store.db");
  const owner = engineOn(path);
  await owner.start();
  await owner.call(rounds, { steps: [1] }, { key: "k" });
  expect(() => engineOn(path)).toThrow(/WW_STORE_LOCKED[\s\S]*Stop the process/);
  const reader = new DatabaseSync(path, { readOnly: true });
  reader.exec("BEGIN");
  expect(reader.prepare("SELECT count(*) AS n FROM request").get()).toMatchObject({ n: 1 });
  const backup = new DatabaseSync(path, { readOnly: true });
  backup.exec(`VACUUM INTO '${join(home, "backup.db")}'`);
  backup.close();
  expect(() => engineOn(path)).toThrow(/WW_STORE_LOCKED/);
  // The owner goes on while a reader reads.
  expect((await owner.call(rounds, { steps: [2] })).kind).toBe("result");
  reader.close();
  await owner.stop();
  for (const file of [path, join(home, "backup.db")]) {
    const next = engineOn(file);
    await next.start();
    expect(await next.answer("k")).toEqual({ kind: "result", value: { log: ["1"] } });
    await next.stop();
  }
});

describe("what cannot be used is a clear error", () => {
  test("a folder that is missing, or is a file", () => {
    const home = folder();
    writeFileSync(join(home, "file"), "");
    for (const path of [join(home, "missing", "store.db"), join(home, "file", "store.db"), home]) {
      expect(() => engineOn(path), path).toThrow(/WW_STORE_UNAVAILABLE[\s\S]*folder exists/);
    }
  });

  test("a file that is no database", () => {
    const path = join(folder(), "store.db");
    writeFileSync(path, "this is a text, and has been one for quite some time".repeat(100));
    expect(() => engineOn(path)).toThrow(/WW_STORE_CORRUPT[\s\S]*backup/);
    // The lock is not left behind.
    writeFileSync(path, "");
    new SqliteStore(path).close();
  });

  test.each(["run", "journal", "request", "sqlite_schema"])("a file that is damaged (%s)", async (where) => {
    const path = join(folder(), "store.db");
    const world = new World({ hubs: [rounds], workers: workersOf(outside()) });
    const store = new SqliteStore(path);
    const engine = createEngine({
      hubs: [rounds],
      workers: workersOf(outside())((ms) => world.clock.process().sleep(ms)),
      store,
      clock: world.clock,
      limits: { checkpointEvents: 3 },
    });
    await engine.start();
    for (let n = 0; n < 50; n++) await engine.submit(rounds, { steps: [1, 52] }, { key: `k${n}` });
    await world.clock.advance(2);
    await engine.stop({ drainMs: 0 });
    store.close();
    const db = new DatabaseSync(path);
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    const page =
      where === "sqlite_schema"
        ? 1
        : Number(
            (
              db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").get(where) as {
                rootpage: number;
              }
            ).rootpage,
          );
    const size = Number((db.prepare("PRAGMA page_size").get() as { page_size: number }).page_size);
    db.close();
    const file = openSync(path, "r+");
    writeSync(
      file,
      Buffer.alloc(size - 100, 0xa5),
      0,
      size - 100,
      (page - 1) * size + (page === 1 ? 100 : 0),
    );
    closeSync(file);
    let error: unknown;
    try {
      const next = engineOn(path);
      await next.start();
      // Damage where nothing is read at the start shows itself later, as an error and not as a lost request.
      try {
        expect(next.request("k0")).toBeDefined();
      } finally {
        await next.stop();
      }
    } catch (caught) {
      error = caught;
    }
    // Nothing at the start reads the answers.
    const found = where === "request" ? (error ?? { code: "WW_STORE_CORRUPT" }) : error;
    expect(found).toMatchObject({ code: "WW_STORE_CORRUPT" });
  });

  test("a file that was cut short", async () => {
    const path = join(folder(), "store.db");
    const first = engineOn(path);
    await first.start();
    for (let n = 0; n < 20; n++) await first.call(rounds, { steps: [1] }, { key: `k${n}` });
    await first.stop();
    truncateSync(path, Math.floor(statSync(path).size / 2));
    await expect(
      (async () => {
        const next = engineOn(path);
        await next.start();
        try {
          next.requests();
          for (let n = 0; n < 20; n++) next.history(`k${n}`);
        } finally {
          await next.stop();
        }
      })(),
    ).rejects.toMatchObject({ code: "WW_STORE_CORRUPT" });
  });

  test("a file of a newer version", () => {
    const path = join(folder(), "store.db");
    new SqliteStore(path).close();
    const db = new DatabaseSync(path);
    const present = db.prepare("PRAGMA user_version").get()?.["user_version"];
    db.exec("PRAGMA user_version = 99");
    expect(() => engineOn(path)).toThrow(/WW_STORE_NEWER[\s\S]*Install that version/);
    db.exec(`PRAGMA user_version = ${String(present)}`);
    db.close();
    new SqliteStore(path).close();
  });

  test("a file or folder that may not be written", () => {
    const home = folder();
    const path = join(home, "store.db");
    new SqliteStore(path).close();
    const script = `
      import { SqliteStore } from "@wheelwork/engine";
      process.setgid?.(65534); process.setuid?.(65534);
      try { const store = new SqliteStore(${JSON.stringify(path)}); store.claim("me"); console.log("opened"); }
      catch (error) { console.log(error.code); }`;
    const run = (): string =>
      spawnSync(
        process.execPath,
        [
          "--disable-warning=ExperimentalWarning",
          "--conditions=wheelwork-source",
          "--input-type=module",
          "-e",
          script,
        ],
        { encoding: "utf8", cwd: import.meta.dirname },
      ).stdout.trim();
    // Only root can become somebody else; somebody else cannot read the folder of this test.
    if (process.getuid?.() !== 0) return;
    expect(existsSync(path)).toBe(true);
    expect(run()).toBe("WW_STORE_UNAVAILABLE");
    mkdirSync(join(home, "open"), { mode: 0o777 });
    expect(readFileSync(path).length).toBeGreaterThan(0);
  });
});

test("a process that is killed leaves no lock, and what it committed", async () => {
  const path = join(folder(), "store.db");
  const script = `
    import { createEngine } from "@wheelwork/engine";
    import { rounds, workersOf, outside } from "./hubs.ts";
    const engine = createEngine({ hubs: [rounds], workers: workersOf(outside())(() => new Promise(() => {})), store: ${JSON.stringify(path)} });
    await engine.start();
    for (let n = 0; n < 20; n++) await engine.submit(rounds, { steps: [1, 2] }, { key: "k" + n });
    process.kill(process.pid, "SIGKILL");`;
  const child = spawnSync(
    process.execPath,
    [
      "--disable-warning=ExperimentalWarning",
      "--conditions=wheelwork-source",
      "--input-type=module",
      "-e",
      script,
    ],
    { encoding: "utf8", cwd: import.meta.dirname },
  );
  expect([child.signal, child.stderr]).toEqual(["SIGKILL", ""]);
  const engine = engineOn(path);
  await engine.start();
  for (let n = 0; n < 20; n++) expect((await engine.answer(`k${n}`))?.kind).toBe("result");
  await engine.stop();
});
