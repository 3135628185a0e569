// Checks every publishable package as its users would get it: run `npm run build` first.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";

let failed = 0;

function run(command, args) {
  const { status } = spawnSync(command, args, { stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) failed += 1;
}

for (const folder of readdirSync("packages").toSorted()) {
  const path = `packages/${folder}`;
  if (!existsSync(`${path}/package.json`)) continue;
  const { name, private: hidden } = JSON.parse(readFileSync(`${path}/package.json`, "utf8"));
  if (hidden) continue;
  console.log(`\n${name}`);
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
