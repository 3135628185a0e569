import { describeFailure, faultKinds, simulate, type SimulationReport } from "@wheelwork/testing";
import { parseArgs } from "node:util";
import { systems } from "./systems.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "2000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    minutes: { type: "string" },
    failures: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
    "no-shrink": { type: "boolean", default: false },
  },
});

const report = await simulate({
  systems,
  from: Number(values.seed ?? values.from),
  seeds: values.seed === undefined ? Number(values.seeds) : 1,
  failures: Number(values.failures),
  shrinks: !values["no-shrink"],
  ...(values.minutes === undefined ? {} : { withinMs: Number(values.minutes) * 60_000 }),
});

if (values.json)
  console.log(
    JSON.stringify({
      seeds: report.seeds,
      failures: report.failures.map(({ seed, violations }) => ({
        seed,
        invariants: violations.map(({ invariant }) => invariant),
      })),
    }),
  );
else print(report);
if (report.failures.length > 0) process.exitCode = 1;

function print(report: SimulationReport): void {
  for (const failure of report.failures) {
    console.log(describeFailure(failure));
    console.log(`to repeat it: npm run simulate -- --seed ${failure.seed}\n`);
  }
  const hours = report.simulatedMs / 3_600_000;
  console.log(
    `${report.seeds} seeds, ${hours.toFixed(1)} simulated hours, ${report.requests} requests, ${report.attempts} attempts, ${report.commits} commits`,
  );
  const list = (title: string, counts: ReadonlyMap<string, number>): void =>
    console.log(
      `${title}: ${[...counts]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, times]) => `${name} ${times}`)
        .join(", ")}`,
    );
  list("faults", report.faults);
  list("answers", report.answers);
  list("inputs that changed nothing", report.ignored);
  list("invariants held", report.exercised);
  const never = faultKinds.filter((kind) => !report.faults.has(kind));
  if (never.length > 0) console.log(`faults that never happened: ${never.join(", ")}`);
  const flow = [...report.declared].filter((edge) => edge.startsWith("flow-create: "));
  const untaken = flow.filter((edge) => !report.edges.has(edge));
  console.log(`edges of flow-create taken: ${flow.length - untaken.length} of ${flow.length}`);
  for (const edge of untaken) console.log(`never taken: ${edge}`);
}
