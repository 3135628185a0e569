import { DatabaseSync } from "node:sqlite";
import { describe, expect, onTestFinished, test } from "vitest";
import { canFail, FaultyDisk } from "./disk.ts";

const losses = Number(process.env["WHEELWORK_LOSSES"] ?? 2);
const seed = Number(process.env["WHEELWORK_SEED"] ?? Math.floor(Math.random() * 1e6));

function opened(): FaultyDisk {
  const disk = new FaultyDisk();
  onTestFinished(() => disk.remove());
  return disk;
}

/** What was told, and is not there; or what is wrong with the file. */
function lostOn({ path, told }: FaultyDisk): string[] {
  const db = new DatabaseSync(path);
  try {
    const integrity = String(db.prepare("PRAGMA integrity_check").get()?.["integrity_check"]);
    if (integrity !== "ok") return [integrity];
    const hasTable = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'fact'").get() !== undefined;
    const rows = hasTable ? db.prepare("SELECT name FROM fact").all() : [];
    const there = new Set(rows.map((row) => String(row["name"])));
    return [...told].filter((fact) => !there.has(fact));
  } catch (error) {
    return [String(error)];
  } finally {
    db.close();
  }
}

describe.skipIf(!canFail)("groups on a disk that fails (needs Linux and a C compiler)", () => {
  test(
    `${losses} power losses: nothing that was told is lost (seed ${seed})`,
    { timeout: 60_000 + losses * 30_000 },
    async () => {
      const disk = opened();
      for (let loss = 1; loss <= losses; loss++) {
        const at = 50 + ((seed * 31 + loss * loss * 97) % 1_500);
        await disk.powerLoss(at, seed + loss);
        expect(lostOn(disk), `loss ${loss} at operation ${at}, seed ${seed}`).toEqual([]);
      }
      expect(disk.told.size).toBeGreaterThan(20);
    },
  );

  test(`a power loss after syncs that have failed loses nothing that was told (seed ${seed})`, async () => {
    const disk = opened();
    await disk.powerLoss(2_500, seed, { FACTS_FAIL_AFTER: "40" });
    expect(disk.refused.size).toBeGreaterThan(0);
    expect(lostOn(disk)).toEqual([]);
  });

  test("on a disk that lies about its syncs, what was told gets lost: these tests would see it", async () => {
    const disk = opened();
    let lost = 0;
    for (let loss = 1; loss <= 10 && lost === 0; loss++) {
      await disk.powerLoss(400, seed + loss, { DISK_LIES: "1" });
      lost = lostOn(disk).length;
    }
    expect(lost).toBeGreaterThan(0);
  });
});
