import { defaultCache } from "@wheelwork/services";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test } from "vitest";
import { flowBody, startRest } from "./system.ts";

// The document says what the HTTP side does: Schemathesis makes requests of it, valid ones and others, and holds the replies against it.
// `.ci/run` installs it.

const python = { ...process.env, PYTHONPATH: join(defaultCache, "python") };
/** Ask for more: SCHEMATHESIS_EXAMPLES=100, and SCHEMATHESIS_SEED for the same requests again. */
const isAsked = process.env["SCHEMATHESIS_EXAMPLES"] !== undefined;
const { SCHEMATHESIS_EXAMPLES: examples = "1", SCHEMATHESIS_SEED: seed = "1" } = process.env;
const isThere = spawnSync("python3", ["-c", "import schemathesis"], { env: python }).status === 0;

test.skipIf(!isThere)("flows, switches and links do over HTTP what the document says", async () => {
  const { send, server, url } = await startRest({ waits: { defaultWaitMs: 200, maxWaitMs: 200 } });
  await send("POST", "/v2/flows", flowBody("a", 1));
  let count = 0;
  server.server.prependListener("request", () => count++);
  const options = {
    checks: "all",
    phases: isAsked ? "coverage,fuzzing" : "fuzzing",
    workers: "1",
    "max-examples": examples,
    seed,
    "include-path-regex": "^/v[12]/|^/network",
  };
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  // It keeps what it has found in its folder.
  const cwd = mkdtempSync(join(tmpdir(), "flow-crud-schemathesis-"));
  onTestFinished(() => rmSync(cwd, { recursive: true, force: true }));
  const config = join(import.meta.dirname, "schemathesis.toml");
  const child = spawn(
    "python3",
    ["-m", "schemathesis.cli", "--config-file", config, "run", `${url}/openapi.json`, ...args],
    { cwd, env: python, stdio: ["ignore", "pipe", "inherit"] },
  );
  const said = await text(child.stdout);
  const failures = said.slice(Math.max(0, said.search(/=+ (?:ERRORS|FAILURES) =/)));
  expect(failures, `seed ${seed}`).toMatch(/Test cases:\n +[\d]+ generated, [\d]+ passed/);
  expect(count).toBeGreaterThan(30);
});
