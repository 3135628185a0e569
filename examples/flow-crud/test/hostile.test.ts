import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { hostile } from "./hostile/hostile.ts";

/** The long form is `npm run break -- --hostile --faults 100`. */
const kills = Number(process.env["WHEELWORK_KILLS"] ?? 1);
const seed = Number(process.env["WHEELWORK_SEED"] ?? 1);

test("programs that misbehave harm nobody but themselves, though their process is killed", async () => {
  const data = mkdtempSync(join(tmpdir(), "wheelwork-hostile-"));
  try {
    const report = await hostile({ kills, seed, data });
    expect(report.problems).toEqual([]);
    expect(report.honest).toBeGreaterThan(10);
    expect(report.ended).toBeGreaterThan(0);
  } finally {
    rmSync(data, { recursive: true });
  }
});
