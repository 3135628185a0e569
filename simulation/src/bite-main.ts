import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { biteAll, defectsNamed, tableOf, titleOf } from "./bite.ts";

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
    console.error(`${(error as Error).message}\nUsage: npm run bite -- [--only NAME] [--seeds N] [--write]`);
    return process.exit(2);
  }
}

const { values } = readOptions();

const bites = await biteAll(
  defectsNamed(values.only),
  Number(values.seeds),
  ({ defect, seeds, invariants }) =>
    console.log(
      `${seeds === undefined ? "NOT FOUND" : `seed ${seeds}`.padEnd(9)}  ${titleOf(defect)}  ${invariants.join(", ")}`,
    ),
);
const found = bites.filter(({ seeds }) => seeds !== undefined).length;
console.log(`${found} of ${bites.length} defects found`);
if (found < bites.length) process.exitCode = 1;

if (values.write) {
  const page = join(import.meta.dirname, "../../docs/simulation.md");
  const [before, rest = ""] = readFileSync(page, "utf8").split("<!-- defects -->");
  const after = rest.slice(rest.indexOf("<!-- end of defects -->"));
  writeFileSync(page, `${before}<!-- defects -->\n\n${tableOf(bites)}\n\n${after}`);
}
