import { describeFailure, simulate, type Counts, type SimulationReport } from "@wheelwork/testing";
import { parseArgs } from "node:util";
import { simulatedIn, type Simulated, type WorldName } from "./worlds.ts";

const usage = `Simulates whole systems under faults, and looks for what must never be.

  npm run simulate -- [options]

  --seeds N      how many simulations                          (2000)
  --from S       the seed of the first one                     (1)
  --seed S       only this one: repeats a failure
  --minutes M    ends earlier, after so much time
  --failures N   ends after so many failures                   (1)
  --cluster      clusters: several nodes over one log and the stores of their shards
  --storm        Storm: the bolts and spouts of the topology, and the tuples between them
  --sizes        one engine, and values of up to 3 MB
  --flows        one engine, and nothing but the life of flows
  --system NAME  nothing but this system, with each seed
  --no-shrink    shows failures as they are
  --json         prints seeds and failures as JSON
`;

const options = readOptions();
const world: WorldName = options.storm
  ? "storm"
  : options.flows
    ? "flows"
    : options.sizes
      ? "sizes"
      : options.cluster
        ? "cluster"
        : "engine";
const seed = number("seed");
const withinMinutes = number("minutes");

const report = await simulate({
  ...ofSystem(await simulatedIn(world)),
  from: seed ?? number("from") ?? 1,
  seeds: seed === undefined ? (number("seeds") ?? 2000) : 1,
  failures: number("failures") ?? 1,
  shrinks: !options["no-shrink"],
  ...(withinMinutes === undefined ? {} : { withinMs: withinMinutes * 60_000 }),
});
if (options.json) printJson(report);
else print(report);
if (report.failures.length > 0) process.exitCode = 1;

function printJson({ seeds, failures }: SimulationReport): void {
  const found = failures.map(({ seed, system, violations }) => ({
    seed,
    system,
    invariants: violations.map(({ invariant }) => invariant),
  }));
  console.log(JSON.stringify({ seeds, failures: found }));
}

function print(report: SimulationReport): void {
  const { seeds, requests, attempts, commits, faults, declared, edges } = report;
  for (const failure of report.failures) {
    console.log(describeFailure(failure));
    // With its system: seeds take turns with systems, of which there may be more in another version.
    const repeats = `${flag(world)}--system ${failure.system} --seed ${failure.seed}`;
    console.log(`to repeat it: npm run simulate -- ${repeats}\n`);
  }
  const hours = (report.simulatedMs / 3_600_000).toFixed(1);
  console.log(
    `${seeds} seeds, ${hours} simulated hours, ${requests} requests, ${attempts} attempts, ${commits} commits`,
  );
  list("faults", faults);
  list("what happened", report.happened);
  list("what the engines told", report.signals);
  list("invariants held", report.exercised);
  const never = [...faults].filter(([, times]) => times === 0);
  if (never.length > 0) console.log(`faults that never happened: ${never.map(([kind]) => kind).join(", ")}`);
  const flow = [...declared].filter((edge) => edge.startsWith("flow-create: "));
  const untaken = flow.filter((edge) => !edges.has(edge));
  console.log(`edges of flow-create taken: ${flow.length - untaken.length} of ${flow.length}`);
  for (const edge of untaken) console.log(`never taken: ${edge}`);
}

function list(title: string, counts: Counts): void {
  const names = [...counts].toSorted(([a], [b]) => (a < b ? -1 : 1));
  console.log(`${title}: ${names.map(([name, times]) => `${name} ${times}`).join(", ")}`);
}

function flag(name: WorldName): string {
  return name === "engine" ? "" : `--${name} `;
}

/** Nothing but the system that is asked for. */
function ofSystem(simulated: Simulated): Simulated {
  const { system } = options;
  if (system === undefined) return simulated;
  const systems = simulated.systems.filter(({ name }) => name === system);
  if (systems.length > 0) return { ...simulated, systems };
  return refuse(`--system must be one of ${simulated.systems.map(({ name }) => name).join(", ")}`);
}

function readOptions() {
  const text = { type: "string" } as const;
  const flag = { type: "boolean", default: false } as const;
  const known = { seeds: text, from: text, seed: text, minutes: text, failures: text, system: text };
  try {
    const help = { ...flag, short: "h" } as const;
    const { values } = parseArgs({
      options: {
        ...known,
        cluster: flag,
        storm: flag,
        sizes: flag,
        flows: flag,
        "no-shrink": flag,
        json: flag,
        help,
      },
    });
    if (!values.help) return values;
    process.stdout.write(usage);
    return process.exit(0);
  } catch (error) {
    return refuse((error as Error).message);
  }
}

/** The whole number of an option, from 1; undefined: it was not given. */
function number(name: "seeds" | "from" | "seed" | "minutes" | "failures"): number | undefined {
  const text = options[name];
  if (text === undefined || /^[1-9]\d{0,8}$/.test(text)) return text === undefined ? undefined : Number(text);
  return refuse(`--${name} must be a whole number from 1, and is ${text}`);
}

function refuse(message: string): never {
  process.stderr.write(`${message}\n\n${usage}`);
  process.exit(2);
}
