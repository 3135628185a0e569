import { openVSwitchIsInstalled } from "@wheelwork/services";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { campaign } from "./campaign.ts";

const faults = Number(process.env["WHEELWORK_FAULTS"] ?? 6);
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);

// The long form: WHEELWORK_FAULTS=200.
test.skipIf(!openVSwitchIsInstalled())(
  `${faults} faults of real switches and of what drives them: one answer each, and the switches agree (seed ${seed})`,
  { timeout: 300_000 + faults * 30_000 },
  async () => {
    const data = mkdtempSync(join(tmpdir(), "wheelwork-campaign-"));
    const progress = (line: string): void => console.log(line);
    const report = await campaign({ faults, seed, data, clients: 6, progress });
    console.log(`seed ${seed}: ${JSON.stringify(report)}`);
    expect(report.problems, `seed ${seed}, files in ${data}`).toEqual([]);
    expect(report.requests).toBeGreaterThan(faults);
    expect(report.statuses).toHaveProperty("200");
    rmSync(data, { recursive: true });
  },
);
