import { createEngine, readStore, silentLogger, type StoreReader } from "@wheelwork/engine";
import { spawnSync } from "node:child_process";
import { copyFileSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { counting } from "./stored-engine.ts";
import { folder } from "./world.ts";

const program = join(import.meta.dirname, "stored-engine.ts");

/** Runs the engine, which stops or is killed. */
function left(how: "stop" | "kill"): string {
  const store = join(folder(), "store.db");
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, program, store, how], {
    encoding: "utf8",
  });
  expect(stdout.split("\n"), stderr).toHaveLength(6);
  return store;
}

/** All files beside the store, with their times and bytes. */
const filesOf = (store: string): object[] =>
  readdirSync(join(store, ".."))
    .toSorted()
    .map((name) => {
      const path = join(store, "..", name);
      const { mtimeNs, ino } = statSync(path, { bigint: true });
      return { name, mtimeNs, ino, bytes: readFileSync(path).toString("base64") };
    });

async function demandAll(reader: StoreReader): Promise<void> {
  const { items } = await reader.requests();
  expect(items.map(({ id, status }) => [id, status]).toSorted()).toEqual([
    ["k-1", "incident"],
    ["k1", "running"],
    ["k2", "ended"],
    ["k3", "running"],
    ["k4", "ended"],
  ]);
  expect(await reader.requests({ status: "incident", limit: 1 })).toMatchObject({ items: [{ id: "k-1" }] });
  expect(await reader.answer("k2")).toMatchObject({ kind: "result", value: 2 });
  expect(await reader.answer("k1")).toBeUndefined();
  expect(await reader.request("k3")).toMatchObject({ state: "Waiting", data: { n: 3 } });
  expect((await reader.history("k3")).map(({ type }) => type)).toContain("entered");
  expect((await reader.history("k2")).at(-1)?.type).toBe("ended");
  expect(await reader.allShards()).toMatchObject([{ shard: 0, isHere: false, epoch: 1 }]);
  await expect(reader.request("none")).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
}

test.each(["stop", "kill"] as const)("a store is read after a %s, and nothing is written", async (how) => {
  const store = left(how);
  const before = filesOf(store);
  const reader = readStore(store);
  await demandAll(reader);
  expect(filesOf(store)).toEqual(before);
  await reader.close();
  expect(filesOf(store)).toEqual(before);
  // An engine goes on from there.
  const engine = createEngine({ hubs: [counting], workers: [], store, logger: silentLogger });
  await engine.start();
  await engine.signal("k1", "go", null);
  expect(await engine.answer("k1")).toMatchObject({ kind: "result", value: 1 });
  await engine.stop();
});

test("a copy of a killed store without the index of its log is read, and nothing is left behind", async () => {
  const killed = left("kill");
  const store = join(folder(), "copied.db");
  for (const suffix of ["", "-wal"]) copyFileSync(`${killed}${suffix}`, `${store}${suffix}`);
  const before = filesOf(store);
  const reader = readStore(store);
  await demandAll(reader);
  await reader.close();
  expect(filesOf(store)).toEqual(before);
});

test("a store of an earlier version is read, and not brought up to date", async () => {
  const store = join(folder(), "old.db");
  const db = new DatabaseSync(store);
  db.exec(readFileSync(join(import.meta.dirname, "before-timers.sql"), "utf8"));
  db.close();
  rmSync(`${store}-wal`, { force: true });
  const before = filesOf(store);
  const reader = readStore(store);
  expect((await reader.requests()).items.length).toBeGreaterThan(0);
  await reader.close();
  expect(filesOf(store)).toEqual(before);
});

test("a store that an engine works on is refused, and one that an engine has taken meanwhile is told", async () => {
  const store = left("stop");
  const reader = readStore(store);
  expect((await reader.requests()).items).toHaveLength(5);
  const engine = createEngine({ hubs: [counting], workers: [], store, logger: silentLogger });
  await engine.start();
  expect(() => readStore(store)).toThrow(/WW_STORE_LOCKED: an engine works on .*\n.*--url/);
  await expect(reader.close()).rejects.toMatchObject({ code: "WW_STORE_LOCKED" });
  // The engine has not noticed.
  await engine.signal("k1", "go", null);
  expect(await engine.answer("k1")).toMatchObject({ kind: "result" });
  await engine.stop();
});

test("what is no store is refused with what it is", async () => {
  const made = folder();
  expect(() => readStore(join(made, "none.db"))).toThrow(/WW_CONFIG: there is no file/);
  const other = join(made, "other.db");
  const db = new DatabaseSync(other);
  db.exec("CREATE TABLE mine (id INTEGER)");
  db.close();
  expect(() => readStore(other)).toThrow(/WW_CONFIG: .* no store of an engine/);
  const newer = left("stop");
  const changed = new DatabaseSync(newer);
  changed.exec("PRAGMA user_version = 999");
  changed.close();
  expect(() => readStore(newer)).toThrow(/WW_STORE_NEWER/);
  expect(() => readStore(program)).toThrow(/WW_STORE_CORRUPT/);
});

test("a stored request cannot be changed", async () => {
  const reader = readStore(left("stop")) as StoreReader & { cancel(id: string): Promise<unknown> };
  await expect(reader.cancel("k1")).rejects.toMatchObject({ code: "WW_NOT_SUPPORTED" });
  await reader.close();
});
