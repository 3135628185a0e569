import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { testMutants, mutantsNamed, tableOf, titleOf } from "./mutation-tests.ts";

function readOptions() {
  try {
    return parseArgs({
      options: {
        only: { type: "string" },
        seeds: { type: "string", default: "2000" },
        write: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    console.error(
      `${(error as Error).message}\nUsage: npm run mutants -- [--only NAME] [--seeds N] [--write]`,
    );
    return process.exit(2);
  }
}

const { values } = readOptions();

const verdicts = await testMutants(
  mutantsNamed(values.only),
  Number(values.seeds),
  ({ mutant, seeds, invariants }) =>
    console.log(
      `${seeds === undefined ? "NOT FOUND" : `seed ${seeds}`.padEnd(9)}  ${titleOf(mutant)}  ${invariants.join(", ")}`,
    ),
);
const found = verdicts.filter(({ seeds }) => seeds !== undefined).length;
console.log(`${found} of ${verdicts.length} mutants found`);
if (found < verdicts.length) process.exitCode = 1;

if (values.write) {
  const page = join(import.meta.dirname, "../../docs/simulation.md");
  const [before, rest = ""] = readFileSync(page, "utf8").split("<!-- mutants -->");
  const after = rest.slice(rest.indexOf("<!-- end of mutants -->"));
  writeFileSync(page, `${before}<!-- mutants -->\n\n${tableOf(verdicts)}\n\n${after}`);
}
