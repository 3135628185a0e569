import { execFile } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Mutant } from "./mutant.ts";
import { mutants } from "./mutants.ts";
import type { WorldName } from "./worlds.ts";

/** What became of a mutant. */
export interface Verdict {
  readonly mutant: Mutant;
  /** How many seeds it took, or how many tests had to run; undefined: it was not found. */
  readonly seeds: number | undefined;
  readonly invariants: readonly string[];
}

/** What `npm run simulate -- --json` prints. */
interface Printed {
  readonly failures: readonly { readonly seed: number; readonly invariants: readonly string[] }[];
}

/** What vitest reports as JSON. */
interface TestsReport {
  readonly numTotalTests: number;
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

/** How long tests of a mutant may take, in milliseconds. */
const testPatienceMs = 120_000;

/** How long 2000 seeds may take, in milliseconds: what takes longer hangs. */
const patienceMs: Readonly<Record<WorldName, number>> = {
  engine: 480_000,
  cluster: 1_200_000,
  storm: 2_400_000,
  flows: 900_000,
  sizes: 2_400_000,
};

const root = join(import.meta.dirname, "../..");
const copied = ["packages", "services", "examples/flow-crud", "simulation", "package.json"];

/** The source with the mutant in it. @throws Error when the mutant no longer applies. */
export function broken({ name, file, from, to }: Mutant): string {
  const source = readFileSync(join(root, file), "utf8");
  const places = source.split(from).length - 1;
  if (places !== 1)
    throw new Error(`the mutant "${name}" no longer applies: its text occurs ${places} times in ${file}`);
  return source.replace(from, () => to);
}

/** Copies of the sources, in which mutants are made and simulated; `remove` deletes them. */
export class MutantSandbox {
  readonly #folder = mkdtempSync(join(tmpdir(), "wheelwork-mutants-"));
  #copies = 0;

  /** Simulates with one mutant, or with none, until it is found, or so many seeds have passed. */
  async simulate(
    mutant: Mutant | undefined,
    seeds: number,
    world: WorldName = mutant?.world ?? "engine",
  ): Promise<Omit<Verdict, "mutant">> {
    const copy = this.#copy();
    if (mutant !== undefined) writeFileSync(join(copy, mutant.file), broken(mutant));
    const options = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const program = join(copy, "simulation/src/main.ts");
    const printed = await new Promise<Printed>((resolve) => {
      const args = [...options, program, "--seeds", String(seeds), "--json", "--no-shrink"];
      if (world !== "engine") args.push(`--${world}`);
      const timeout = patienceMs[world] * Math.max(1, seeds / 2000);
      execFile(process.execPath, args, { timeout, maxBuffer: 2 ** 28 }, (error, stdout) => {
        try {
          resolve(JSON.parse(stdout) as Printed);
        } catch {
          // One that does not even end, or dies, is as easily noticed.
          const how = error?.killed === true ? "hangs" : "dies";
          resolve({ failures: [{ seed: 1, invariants: [how] }] });
        }
      });
    });
    rmSync(copy, { recursive: true, force: true });
    const first = printed.failures[0];
    return { seeds: first?.seed, invariants: [...new Set(first?.invariants)].toSorted() };
  }

  /** Runs tests with one mutant, or with none. @throws Error if they do not run at all. */
  async test(mutant: Mutant | undefined, tests: readonly string[]): Promise<Omit<Verdict, "mutant">> {
    const copy = this.#copy();
    for (const part of [
      "vitest.config.ts",
      "tsconfig.base.json",
      ...tests.map((file) => file.replace(/(?<=\/test)\/.*/, "")),
    ])
      cpSync(join(root, part), join(copy, part), { recursive: true });
    if (mutant !== undefined) writeFileSync(join(copy, mutant.file), broken(mutant));
    const vitest = join(root, "node_modules/vitest/vitest.mjs");
    const report = join(copy, "report.json");
    const args = [vitest, "run", "--root", copy, "--reporter=json", `--outputFile=${report}`, ...tests];
    const options = { cwd: copy, timeout: testPatienceMs, maxBuffer: 2 ** 28 };
    const printed = await new Promise<TestsReport | "hangs">((resolve, reject) => {
      execFile(process.execPath, args, options, (error, stdout, stderr) => {
        if (error?.killed === true) return resolve("hangs");
        try {
          resolve(JSON.parse(readFileSync(report, "utf8")) as TestsReport);
        } catch (cause) {
          reject(new Error(`the tests ${tests.join(", ")} did not run: ${stderr}${stdout}`, { cause }));
        }
      });
    });
    rmSync(copy, { recursive: true, force: true });
    if (printed === "hangs") return { seeds: 1, invariants: [printed] };
    if (printed.numTotalTests === 0) throw new Error(`there are no tests in ${tests.join(", ")}`);
    const all = printed.testResults.flatMap(({ assertionResults }) => assertionResults);
    const first = all.findIndex(({ status }) => status === "failed");
    return first < 0
      ? { seeds: undefined, invariants: [] }
      : { seeds: first + 1, invariants: tests.map((file) => basename(file, ".test.ts")) };
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #copy(): string {
    const copy = join(this.#folder, String(++this.#copies));
    const skipped = /(^|\/)(node_modules|dist|test)$/;
    for (const part of copied)
      cpSync(join(root, part), join(copy, part), { recursive: true, filter: (path) => !skipped.test(path) });
    link(join(root, "node_modules"), join(copy, "node_modules"), copy);
    return copy;
  }
}

/** The packages that are installed, and those of the workspace as they are in the copy. */
function link(installed: string, target: string, copy: string): void {
  mkdirSync(join(target, "@wheelwork"), { recursive: true });
  for (const name of readdirSync(installed))
    if (name !== "@wheelwork" && name !== "wheelwork" && name !== ".bin")
      symlinkSync(join(installed, name), join(target, name));
  symlinkSync(join(copy, "packages/wheelwork"), join(target, "wheelwork"));
  symlinkSync(join(copy, "examples/flow-crud"), join(target, "@wheelwork/example-flow-crud"));
  symlinkSync(join(copy, "services"), join(target, "@wheelwork/services"));
  for (const name of [
    "core",
    "engine",
    "testing",
    "diagram",
    "northbound",
    "kafka",
    "openflow",
    "postgres",
    "storm",
  ])
    symlinkSync(join(copy, "packages", name), join(target, "@wheelwork", name));
}

/** Simulates each mutant, or runs its tests, two at a time. */
export async function testMutants(
  list: readonly Mutant[],
  seeds: number,
  seen: (verdict: Verdict) => void,
): Promise<readonly Verdict[]> {
  const sandbox = new MutantSandbox();
  const verdicts: Verdict[] = [];
  const queue = [...list];
  const work = async (): Promise<void> => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const { tests } = mutant;
      const found =
        tests === undefined ? await sandbox.simulate(mutant, seeds) : await sandbox.test(mutant, tests);
      const verdict = { mutant, ...found };
      verdicts.push(verdict);
      seen(verdict);
    }
  };
  try {
    await Promise.all([work(), work()]);
  } finally {
    sandbox.remove();
  }
  return list.flatMap((mutant) => verdicts.filter((verdict) => verdict.mutant === mutant));
}

/** The mutants whose names have this text in them; all without one. */
export const mutantsNamed = (part = ""): readonly Mutant[] =>
  mutants.filter((mutant) => titleOf(mutant).includes(part));

/** How a mutant is called in lists. */
export const titleOf = ({ name, world, tests }: Mutant): string => {
  const kind = tests === undefined ? world : "tests";
  return kind === undefined ? name : `${kind}: ${name}`;
};

/** The table for the docs. */
export function tableOf(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(
    ({ mutant, seeds, invariants }) =>
      `| ${titleOf(mutant)} | ${seeds ?? "not found"} | ${invariants.join(", ")} |`,
  );
  return ["| mutant | seeds | found by |", "| --- | ---: | --- |", ...rows].join("\n");
}
