import {
  backupStore,
  createEngine,
  readStore,
  silentLogger,
  verifyStore,
  type StoreProgress,
} from "@wheelwork/engine";
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { counting } from "./stored-engine.ts";
import { folder } from "./world.ts";

const program = join(import.meta.dirname, "stored-engine.ts");
const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];

/** An engine in a process of its own that answers requests for ever, and tells which. */
function endless(store: string) {
  const child = spawn(process.execPath, [...flags, program, store, "endless"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const answered: string[] = [];
  createInterface({ input: child.stdout }).on("line", (id) => void answered.push(id));
  const exited = new Promise((resolve) => child.once("exit", resolve));
  return {
    answered,
    kill: async () => {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

test("a backup of a busy engine has all that was answered before, and restores what kill -9 and a lost disk took", async () => {
  const made = folder();
  const store = join(made, "store.db");
  const { answered, kill } = endless(store);
  await expect.poll(() => answered.length, { timeout: 60_000 }).toBeGreaterThan(200);
  const before = [...answered];
  const to = join(made, "backup.db");
  const told: StoreProgress[] = [];
  const verdict = await backupStore(store, to, (progress) => void told.push(progress));
  expect(verdict).toMatchObject({ problems: [], isHeld: false });
  expect(verdict.answers).toBeGreaterThanOrEqual(before.length);
  expect(told[0]).toEqual({ doing: "copying" });
  expect(told.at(-1)).toEqual({ doing: "checking what is stored", share: 1 });
  // The engine has gone on.
  const then = answered.length;
  await expect.poll(() => answered.length, { timeout: 60_000 }).toBeGreaterThan(then);
  expect((await verifyStore(store)).isHeld).toBe(true);
  await kill();
  for (const name of readdirSync(made)) if (name !== "backup.db") rmSync(join(made, name));

  // The restore: the file in its place, and nothing of the former one beside it.
  copyFileSync(to, store);
  const engine = createEngine({ hubs: [counting], workers: [], store, logger: silentLogger });
  await engine.start();
  onTestFinished(() => engine.stop());
  for (const id of before)
    expect(await engine.answer(id)).toMatchObject({ kind: "result", value: Number(id.slice(1)) });
  expect(await engine.call(counting, { n: 1_000_000 })).toMatchObject({ kind: "result", value: 1_000_000 });
  expect((await engine.submit(counting, { n: 2 }, { key: "k2" })).known).toBe(true);
}, 120_000);

test("a store that was killed is backed up with what its log has", async () => {
  const made = folder();
  const store = join(made, "store.db");
  spawnSync(process.execPath, [...flags, program, store, "kill"]);
  const to = join(made, "backup.db");
  expect(await backupStore(store, to)).toMatchObject({ problems: [], answers: 2 });
  const reader = readStore(to);
  expect((await reader.requests()).items).toHaveLength(5);
  await reader.close();
});

test("a backup that dies leaves no file under its name, and the next one is whole", async () => {
  const made = folder();
  const store = join(made, "store.db");
  const { kill } = endless(store);
  await expect.poll(() => existsSync(store), { timeout: 60_000 }).toBe(true);
  const to = join(made, "backup.db");
  const script = `import { backupStore } from "@wheelwork/engine";
    await backupStore(${JSON.stringify(store)}, ${JSON.stringify(to)}, ({ share }) => { if (share !== undefined) process.kill(process.pid, "SIGKILL"); });`;
  const dying = join(import.meta.dirname, `dying-${process.pid}.mjs`);
  writeFileSync(dying, script);
  onTestFinished(() => rmSync(dying, { force: true }));
  await expect.poll(async () => (await verifyStore(store)).answers, { timeout: 60_000 }).toBeGreaterThan(0);
  expect(spawnSync(process.execPath, [...flags, dying]).signal).toBe("SIGKILL");
  expect(existsSync(to)).toBe(false);
  expect(existsSync(`${to}.part`)).toBe(true);
  await backupStore(store, to);
  expect(existsSync(`${to}.part`)).toBe(false);
  expect((await verifyStore(to)).problems).toEqual([]);
  await expect(backupStore(store, to)).rejects.toThrow(/WW_CONFIG: .* is there already/);
  await expect(backupStore(store, join(made, "no", "folder.db"))).rejects.toMatchObject({
    code: "WW_STORE_UNAVAILABLE",
  });
  await kill();
}, 120_000);

test("each kind of damage is found, with its place, and no damaged store becomes a backup", async () => {
  const made = folder();
  const store = join(made, "store.db");
  spawnSync(process.execPath, [...flags, program, store, "stop"]);
  const db = new DatabaseSync(store);
  const damage = (sql: string): void => void db.prepare(sql).run();
  damage("UPDATE request SET answer = replace(answer, '2', '7') WHERE key = 'k2'");
  damage("UPDATE run SET snapshot = replace(snapshot, 'Waiting', 'Wailing') WHERE key = 'k1'");
  damage("UPDATE journal SET record = x'00' WHERE seq = (SELECT max(seq) FROM journal)");
  db.close();
  const { problems } = await verifyStore(store);
  expect(problems).toEqual([
    expect.stringContaining("the run k1 is damaged"),
    expect.stringContaining("the answer to k2 is damaged"),
    expect.stringMatching(/batch \d+ of the journal is damaged/),
  ]);
  const to = join(made, "backup.db");
  await expect(backupStore(store, to)).rejects.toMatchObject({
    code: "WW_STORE_CORRUPT",
    problems: { length: 3 },
  });
  expect(readdirSync(made).filter((name) => name.startsWith("backup"))).toEqual([]);
});
