import { createEngine } from "@wheelwork/engine";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, onTestFinished, test } from "vitest";
import { outside, rounds, workersOf } from "../hubs.ts";
import { checkHistory } from "../world.ts";
import { canFail, FaultyDisk } from "./disk.ts";

const losses = Number(process.env["WHEELWORK_LOSSES"] ?? 12);
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

function opened(): FaultyDisk {
  const disk = new FaultyDisk();
  onTestFinished(() => disk.remove());
  return disk;
}

/** What is wrong with a store after all that happened to it: what was told, and is not there. */
async function problemsOf({ path, told }: FaultyDisk): Promise<string[]> {
  const problems: string[] = [];
  const db = new DatabaseSync(path);
  const { integrity_check: integrity } = db.prepare("PRAGMA integrity_check").get() as {
    integrity_check: string;
  };
  db.close();
  if (integrity !== "ok") problems.push(integrity);
  const engine = createEngine({
    hubs: [rounds],
    workers: workersOf(outside())(sleep),
    store: path,
  });
  await engine.start();
  for (const key of told.accepted) {
    const answer = await engine.answer(key).catch((error: unknown) => String(error));
    const before = told.answers.get(key);
    if (typeof answer === "string") problems.push(`${key}: ${answer}`);
    else if (before !== undefined && before !== JSON.stringify(answer))
      problems.push(`${key}: another answer`);
    else checkHistory(rounds, await engine.history(key));
  }
  await engine.stop();
  return problems;
}

describe.skipIf(!canFail)("a disk that fails (needs Linux and a C compiler)", () => {
  test(
    `${losses} power losses: nothing that was told is lost (seed ${seed})`,
    { timeout: 300_000 + losses * 30_000 },
    async () => {
      const disk = opened();
      for (let loss = 1; loss <= losses; loss++) {
        // Some come while the store is opened, some in the middle of a checkpoint.
        const at = 1 + ((seed * 31 + loss * loss * 97) % (loss % 3 === 0 ? 40 : 1_500));
        await disk.powerLoss(at, seed + loss);
        expect(await problemsOf(disk), `loss ${loss} at operation ${at}, seed ${seed}`).toEqual([]);
      }
      expect(disk.told.answers.size).toBeGreaterThan(20);
    },
  );

  test("the test would notice: a disk that lies about its syncs loses what was told", async () => {
    let found: string[] = [];
    for (let loss = 1; loss <= 10 && found.length === 0; loss++) {
      const disk = opened();
      await disk.powerLoss(600 + loss * 50, loss, { DISK_LIES: "1" });
      found = await problemsOf(disk).catch((error: unknown) => [String(error)]);
    }
    expect(found.length).toBeGreaterThan(0);
  });

  test.each(["enospc", "eio-write", "eio-sync", "short", "erofs"])(
    "%s: requests are refused, retryably; nothing is lost, and it goes on when it is over",
    async (word) => {
      const disk = opened();
      const { told } = disk;
      const child = disk.load();
      const poll = { timeout: 120_000, interval: 20 };
      for (let round = 0; round < 3; round++) {
        const before = told.answers.size;
        await expect.poll(() => told.answers.size, poll).toBeGreaterThan(before + 20);
        told.refused.clear();
        disk.fail(word);
        await expect.poll(() => told.refused.size, poll).toBeGreaterThan(0);
        expect([...told.refused]).toEqual(["WW_STORE_UNAVAILABLE true"]);
        disk.fail("");
      }
      const before = told.answers.size;
      await expect.poll(() => told.answers.size, poll).toBeGreaterThan(before + 20);
      expect(child.exitCode).toBe(null);
      child.kill("SIGKILL");
      await expect.poll(() => child.signalCode, poll).toBe("SIGKILL");
      expect(await problemsOf(disk)).toEqual([]);
    },
  );

  test("a disk that is full at the start of a store that is there: a clear error that may be retried, and nothing is lost", async () => {
    const disk = opened();
    await disk.powerLoss(300, 1);
    disk.told.refused.clear();
    disk.fail("enospc");
    const child = disk.load();
    await expect.poll(() => child.exitCode, { timeout: 120_000 }).toBe(1);
    await expect.poll(() => [...disk.told.refused]).toEqual(["WW_STORE_UNAVAILABLE true"]);
    disk.fail("");
    expect(await problemsOf(disk)).toEqual([]);
  });

  test("a disk that cannot be written to at start: a clear error, and nothing half done", async () => {
    const disk = opened();
    disk.fail("erofs");
    const child = disk.load();
    await expect.poll(() => child.exitCode, { timeout: 120_000 }).not.toBe(null);
    expect(child.exitCode).toBe(1);
    // A process may be gone before all is read that it has printed.
    await expect.poll(() => [...disk.told.refused]).toEqual(["WW_STORE_UNAVAILABLE true"]);
    disk.fail("");
    await disk.powerLoss(300, 1);
    expect(await problemsOf(disk)).toEqual([]);
  });
});
