import { parseArgs } from "node:util";
import { backlog } from "./benches/backlog.ts";
import { cluster } from "./benches/cluster.ts";
import { entities } from "./benches/entities.ts";
import { findRequests } from "./benches/find.ts";
import { flowCreate } from "./benches/flow-create.ts";
import { flowOperations } from "./benches/flow-operations.ts";
import { fullStore } from "./benches/full-store.ts";
import { http } from "./benches/http.ts";
import { kernel } from "./benches/kernel.ts";
import { lanes } from "./benches/lanes.ts";
import { openflow } from "./benches/openflow.ts";
import { operatorsPoll } from "./benches/operators.ts";
import { overload } from "./benches/overload.ts";
import { waitingCalls } from "./benches/waiting-calls.ts";
import { parkedRuns } from "./benches/parked-runs.ts";
import { postgres } from "./benches/postgres.ts";
import { storm } from "./benches/storm.ts";
import { tenSwitches } from "./benches/ten-switches.ts";
import { wideRound } from "./benches/wide-round.ts";
import { compareLayouts } from "./layouts/compare.ts";
import { defaultFolder, type Bench, type Figure } from "./harness.ts";

const benches: readonly Bench[] = [
  flowCreate,
  http,
  overload,
  kernel,
  wideRound,
  backlog,
  parkedRuns,
  entities,
  lanes,
  waitingCalls,
  fullStore,
  findRequests,
  operatorsPoll,
  postgres,
  cluster,
  storm,
  openflow,
  tenSwitches,
  flowOperations,
  compareLayouts,
];

const help = `Measures the speed of Wheelwork, as ratios to a bound that is measured in the same run.

  npm run bench -- [names] [--json] [--full] [--dir FOLDER]

  names         the benchmarks to run; default: all
  --json        one line of JSON for each figure on standard output, and nothing else
                (use npm run --silent bench: otherwise npm prints a header)
  --full        the full sizes, which may take hours
  --dir FOLDER  the folder for stores; default: ${defaultFolder}
  --help        shows this text

${benches.map(({ name, about }) => `  ${name.padEnd(20)}  ${about}`).join("\n")}
`;

const { values, positionals } = readArguments();
if (values.help) {
  process.stdout.write(help);
} else {
  await run();
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: "boolean", default: false },
        full: { type: "boolean", default: false },
        dir: { type: "string", default: defaultFolder },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (error) {
    return refuse((error as Error).message);
  }
}

function refuse(message: string): never {
  process.stderr.write(`${message}\n\n${help}`);
  process.exit(2);
}

async function run(): Promise<void> {
  const unknown = positionals.filter((name) => !benches.some((bench) => bench.name === name));
  if (unknown.length > 0) {
    refuse(
      `there is no benchmark ${unknown.join(", ")}. These exist: ${benches.map(({ name }) => name).join(", ")}`,
    );
  }
  const { json, full, dir } = values;
  for (const bench of benches) {
    if (positionals.length > 0 && !positionals.includes(bench.name)) continue;
    const figures: Figure[] = [];
    const note = (text: string): void => void process.stderr.write(`${bench.name}: ${text}\n`);
    await bench.run({
      full,
      dir,
      note,
      report: (figure) => {
        figures.push(figure);
        if (json) process.stdout.write(`${JSON.stringify(figure)}\n`);
      },
    });
    if (!json) process.stdout.write(`\n${bench.name}: ${bench.about}\n${tables(figures)}`);
  }
}

/** Tables of figures, one for each set of columns. */
function tables(figures: readonly Figure[]): string {
  const families = Map.groupBy(figures, (figure) => Object.keys(figure).join());
  return [...families.values()].map(table).join("\n");
}

function table(figures: readonly Figure[]): string {
  const names = Object.keys(figures[0] ?? {});
  const lines = [names, ...figures.map((figure) => names.map((name) => String(figure[name] ?? "")))];
  const widths = names.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  const aligned = lines.map((line) =>
    line.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
    ),
  );
  return aligned.map((line) => `  ${line.join("  ").trimEnd()}\n`).join("");
}
