import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { crash } from "./crash/crash.ts";

const kills = Number(process.env["WHEELWORK_KILLS"] ?? 5);
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);

// The long form is `npm run crash`.
test(
  `kill -9 at ${kills} random moments under load: one answer each; store, switches and resources agree`,
  { timeout: 300_000 + kills * 30_000 },
  async () => {
    const data = mkdtempSync(join(tmpdir(), "wheelwork-kill-"));
    const report = await crash({ kills, seed, data, clients: 8 });
    expect(report.problems, `seed ${seed}, files in ${data}`).toEqual([]);
    expect(report.kills).toBe(kills);
    expect(report.requests).toBeGreaterThan(kills);
    expect(report.statuses).toHaveProperty("200");
    expect(report.told).toBeGreaterThanOrEqual(3 * report.requests);
    rmSync(data, { recursive: true });
  },
);
