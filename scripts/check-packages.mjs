// Checks every publishable package as its users would get it: run `npm run build` first.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";

let failed = 0;

/** Says in a line that a check passed, and all that the tool said when it did not. */
function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  console.log(`  ${command}: ${status === 0 ? "ok" : "FAILED"}`);
  if (status === 0) return;
  failed += 1;
  process.stdout.write(stdout ?? "");
  process.stderr.write(stderr ?? "");
}

for (const folder of readdirSync("packages").toSorted()) {
  const path = `packages/${folder}`;
  if (!existsSync(`${path}/package.json`)) continue;
  const { name, private: hidden } = JSON.parse(readFileSync(`${path}/package.json`, "utf8"));
  if (hidden) continue;
  console.log(name);
  if (!existsSync(`${path}/dist/index.js`)) {
    console.error(`${path}/dist/index.js is missing: run \`npm run build\` first.`);
    failed += 1;
    continue;
  }
  run("publint", ["--strict", path]);
  run("attw", ["--pack", path, "--profile", "esm-only", "--format", "ascii", "--no-emoji"]);
}

if (failed > 0) {
  console.error(`\n${failed} check(s) failed.`);
  process.exitCode = 1;
}
