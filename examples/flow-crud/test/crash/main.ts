// The long form of kill.test.ts: npm run crash -- --kills 200 --seed 1
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { crash, median, type CrashReport } from "./crash.ts";

const usage = `Usage: npm run crash -- [options]

  --kills N     how often the system is killed       (200)
  --seed N      of all that is drawn                 (from the time)
  --minutes N   no more kills after so long          (no limit)
  --clients N   requests at a time                   (16)
`;

const text = { type: "string" } as const;

function readOptions() {
  const { values } = parseArgs({
    options: { kills: text, seed: text, minutes: text, clients: text, help: { type: "boolean", short: "h" } },
  });
  const number = (name: "kills" | "seed" | "minutes" | "clients", otherwise: number): number => {
    const given = values[name];
    const value = given === undefined ? otherwise : Number(given.trim() === "" ? Number.NaN : given);
    if (value >= 0) return value;
    throw new RangeError(`--${name} must be a number from 0 on, not ${JSON.stringify(given)}`);
  };
  return {
    help: values.help === true,
    kills: number("kills", 200),
    seed: number("seed", Date.now() % 1_000_000),
    forMs: number("minutes", Number.POSITIVE_INFINITY) * 60_000,
    clients: number("clients", 16),
  };
}

function print(report: CrashReport): void {
  const { readyMs, problems } = report;
  const answers = Object.entries(report.statuses).map(([status, count]) => `${count} with ${status}`);
  const lines = [
    `kills      ${report.kills}, ${report.early} of them during a start`,
    `requests   ${report.requests}, answered ${answers.join(", ")}; ${report.cancels} cancels accepted`,
    `answers    told ${report.told} times`,
    `ready      p50 ${Math.round(median(readyMs))} ms, max ${Math.round(readyMs.at(-1) ?? 0)} ms, of ${readyMs.length} starts`,
    `zombies    ${report.zombies} rules, named by the answers or below`,
    `problems   ${problems.length}`,
    ...problems.slice(0, 50).map((problem) => `  ${problem}`),
  ];
  process.stdout.write(`\n${lines.map((line) => `  ${line}\n`).join("")}\n`);
}

async function main(): Promise<void> {
  const { help, ...plan } = readOptions();
  if (help) return void process.stdout.write(usage);
  const data = mkdtempSync(join(tmpdir(), "wheelwork-crash-"));
  const began = performance.now();
  const progress = (line: string): void =>
    void process.stdout.write(`${Math.round((performance.now() - began) / 1000)} s: ${line}\n`);
  progress(`seed ${plan.seed}, files in ${data}`);
  try {
    const report = await crash({ ...plan, data, progress });
    print(report);
    if (report.problems.length > 0) throw new Error("the promise was broken");
    rmSync(data, { recursive: true });
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`${message}\n  Repeat it with --seed ${plan.seed}; the files are kept in ${data}`, {
      cause: error,
    });
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
});
