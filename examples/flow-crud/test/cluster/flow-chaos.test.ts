import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultCache, kafkaIsInstalled, networkFault, postgresIsInstalled } from "@wheelwork/services";
import { expect, test } from "vitest";
import { flowChaos } from "./flow-chaos.ts";

const { WHEELWORK_LONG, WHEELWORK_SEED } = process.env;
const seed = Number(WHEELWORK_SEED ?? Date.now() % 1_000_000);
const canRun = (): boolean =>
  kafkaIsInstalled(defaultCache) && postgresIsInstalled() && networkFault() === undefined;

// Hours of it: npm run break -- --flows --faults 200
test.skipIf(WHEELWORK_LONG === undefined || !canRun())(
  `flows of a real network are UP and valid, and nothing is left, after faults of it and of its cluster (seed ${seed})`,
  { timeout: 1_200_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-flow-chaos-"));
    // The database server runs as a user of its own, who must reach its data.
    chmodSync(folder, 0o755);
    const report = await flowChaos({
      faults: 3,
      seed,
      folder,
      name: `d${process.pid}`.slice(0, 12),
      perSecond: 20,
      only: ["kill a node", "kill the database", "kill the switch controller"],
    });
    expect(report.problems, `seed ${seed}, files in ${folder}: ${JSON.stringify(report)}`).toEqual([]);
    expect(report.done).toBeGreaterThan(20);
    rmSync(folder, { recursive: true });
  },
);
