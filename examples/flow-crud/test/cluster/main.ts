import { chmodSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { explain } from "../../src/explain.ts";
import { StormSystem } from "../storm/system.ts";
import { breakSystem } from "./break.ts";
import { breakCluster } from "./faults.ts";

// Breaks a real cluster for long: npm run break -- --faults 60 --seed 1; with --storm, flow-crud on Apache Storm. With
// --requests 10000 --clients 300, each fault comes somewhere among so many; --only takes names with commas between them.
function readOptions() {
  try {
    return parseArgs({
      options: {
        faults: { type: "string", default: "60" },
        seed: { type: "string", default: `${Date.now() % 100_000}` },
        clients: { type: "string", default: "20" },
        requests: { type: "string" },
        only: { type: "string" },
        storm: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`);
    return process.exit(2);
  }
}

const { values } = readOptions();
const folder = mkdtempSync(join(tmpdir(), "wheelwork-cluster-"));
// The database server runs as a user of its own, who must reach its data.
chmodSync(folder, 0o755);
const plan = {
  faults: Number(values.faults),
  seed: Number(values.seed),
  clients: Number(values.clients),
  folder,
  ...(values.requests === undefined ? {} : { requests: Number(values.requests) }),
  ...(values.only === undefined ? {} : { only: values.only.split(",") }),
  progress: (line: string) => void process.stdout.write(`${line}\n`),
};
const report = values.storm
  ? await breakSystem(await StormSystem.prepare(folder), plan)
  : await breakCluster(plan);
process.stdout.write(`seed ${values.seed}: ${JSON.stringify(report, undefined, 2)}\n`);
process.exit(report.problems.length === 0 ? 0 : 1);
