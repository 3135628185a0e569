// Runs all tests again and again on a machine that is busy with other things, since a test that fails now and then fails
// when something takes long. `npm run soak -- --times 10 --burners 2`; what comes after `--` is vitest's.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  options: { times: { type: "string", default: "10" }, burners: { type: "string", default: "1" } },
  allowPositionals: true,
});
const [times, burners] = [Number(values.times), Number(values.burners)];
if (!(Number.isInteger(times) && times > 0 && Number.isInteger(burners) && burners >= 0)) {
  console.error("--times must be a positive integer, and --burners an integer of at least 0.");
  process.exit(2);
}

/** Takes a core for up to four seconds, and leaves it for up to four. */
const burn = `
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    for (const end = Date.now() + Math.random() * 4000; Date.now() < end; );
    Atomics.wait(cell, 0, 0, Math.random() * 4000);
  }`;

const folder = mkdtempSync(join(tmpdir(), "wheelwork-soak-"));
const report = join(folder, "report.json");
const burning = Array.from({ length: burners }, () =>
  spawn(process.execPath, ["-e", burn], { stdio: "ignore" }),
);
process.on("exit", () => {
  for (const child of burning) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

let failed = 0;
for (let time = 1; time <= times; time++) {
  const began = Date.now();
  rmSync(report, { force: true });
  const flags = ["run", "--reporter=json", `--outputFile.json=${report}`, ...positionals];
  const { status } = spawnSync("vitest", flags, { stdio: ["ignore", "ignore", "inherit"] });
  console.log(`${time} of ${times}: ${Math.round((Date.now() - began) / 1000)} s`);
  spawnSync(process.execPath, [join(import.meta.dirname, "test-report.mjs"), report], { stdio: "inherit" });
  if (status !== 0) failed++;
}
console.log(`${failed} of ${times} runs failed`);
process.exit(failed === 0 ? 0 : 1);
