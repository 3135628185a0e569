import { chmodSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { explain } from "../../src/explain.ts";
import { hostile } from "../hostile/hostile.ts";
import { StormSystem } from "../storm/system.ts";
import { breakSystem } from "./break.ts";
import { breakCluster } from "./faults.ts";
import { flowChaos } from "./flow-chaos.ts";

const usage = `Breaks a cluster of real processes under load, and compares all that is left of it.

  npm run break -- [options]

  --faults N      how many faults                            (60)
  --seed N        of all that is drawn                       (from the time)
  --clients N     requests at a time                         (20)
  --requests N    each fault comes somewhere among so many   (within two seconds)
  --only A,B      only these faults, by their names
  --storm         flow-crud on Apache Storm instead of a cluster
  --flows         instead: the life of flows on a network of real switches, which has faults of its own all the time; N faults of the
                  cluster, under --rate operations in a second (20)
  --hostile       instead: programs that misbehave in every way beside honest ones, in one process that is killed so often
`;

function readOptions() {
  const text = { type: "string" } as const;
  try {
    const { values } = parseArgs({
      options: {
        faults: { ...text, default: "60" },
        seed: { ...text, default: `${Date.now() % 100_000}` },
        clients: { ...text, default: "20" },
        requests: text,
        only: text,
        rate: { ...text, default: "20" },
        flows: { type: "boolean", default: false },
        storm: { type: "boolean", default: false },
        hostile: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (!values.help) return values;
    process.stdout.write(usage);
    return process.exit(0);
  } catch (error) {
    return refuse(explain(error));
  }
}

function refuse(message: string): never {
  process.stderr.write(`${message}\n\n${usage}`);
  return process.exit(2);
}

function number(name: "faults" | "seed" | "clients" | "requests" | "rate", text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : refuse(`--${name} must be a whole number, and is ${text}`);
}

const values = readOptions();
const folder = mkdtempSync(join(tmpdir(), "wheelwork-cluster-"));
// The database server runs as a user of its own, who must reach its data.
chmodSync(folder, 0o755);
const plan = {
  faults: number("faults", values.faults),
  seed: number("seed", values.seed),
  clients: number("clients", values.clients),
  folder,
  ...(values.requests === undefined ? {} : { requests: number("requests", values.requests) }),
  ...(values.only === undefined ? {} : { only: values.only.split(",") }),
  progress: (line: string) => void process.stdout.write(`${line}\n`),
};
const report = values.hostile
  ? await hostile({ ...plan, kills: plan.faults, data: folder })
  : values.flows
    ? await flowChaos({
        ...plan,
        name: `d${process.pid}`.slice(0, 12),
        perSecond: number("rate", values.rate),
      })
    : values.storm
      ? await breakSystem(await StormSystem.prepare(folder), plan)
      : await breakCluster(plan);
process.stdout.write(`seed ${values.seed}: ${JSON.stringify(report, undefined, 2)}\n`);
process.exit(report.problems.length === 0 ? 0 : 1);
