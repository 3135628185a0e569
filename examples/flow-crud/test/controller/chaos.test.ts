import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { networkFault } from "@wheelwork/services";
import { expect, test } from "vitest";
import { chaos } from "./chaos.ts";

// Half an hour of it: WHEELWORK_FAULTS=500 npx vitest run examples/flow-crud/test/controller/chaos
const faults = Number(process.env["WHEELWORK_FAULTS"] ?? 4);
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);

test.skipIf(networkFault() !== undefined)(
  `${faults} faults of a real network under its flows: all are UP and valid again, and nothing is left (seed ${seed})`,
  { timeout: 3_600_000 },
  async () => {
    const data = mkdtempSync(join(tmpdir(), "wheelwork-chaos-"));
    const name = `c${process.pid}`.slice(0, 12);
    const progress = faults > 20 ? (line: string) => void process.stdout.write(`${line}\n`) : undefined;
    const report = await chaos({ faults, seed, data, name, clients: 4, ...(progress && { progress }) });
    if (faults > 20) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
    expect(report.problems, `seed ${seed}, files in ${data}: ${JSON.stringify(report)}`).toEqual([]);
    expect(report.operations).toBeGreaterThan(faults);
    rmSync(data, { recursive: true });
  },
);
