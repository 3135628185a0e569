import { defaultCache } from "@wheelwork/services";
import { spawn, spawnSync } from "node:child_process";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { createToken } from "../src/tokens.ts";
import { z } from "zod";
import { directory, faults, routes, system } from "./system.ts";

// The document at /openapi.json says what the server does: Schemathesis makes requests of it, valid ones and others, and holds the
// replies against it. `.ci/run` installs it.

const python = { ...process.env, PYTHONPATH: join(defaultCache, "python") };
/** Ask for more: SCHEMATHESIS_EXAMPLES=100, and SCHEMATHESIS_SEED for the same requests again. */
const isAsked = process.env["SCHEMATHESIS_EXAMPLES"] !== undefined;
const { SCHEMATHESIS_EXAMPLES: examples = "2", SCHEMATHESIS_SEED: seed = "1" } = process.env;
const isThere = spawnSync("python3", ["-c", "import schemathesis"], { env: python }).status === 0;

/** Routes as their owners should document them. */
const documented = routes.map((route) => ({
  requestSchema: z.toJSONSchema(route.hub.definition.request as z.ZodType),
  failures: { 410: "It was withdrawn.", 504: "Nobody answered in time." },
  ...route,
}));

test.skipIf(!isThere).each(["with", "without"])(
  "the server does what its document says, %s tokens",
  async (how) => {
    const file = join(directory(), "tokens.json");
    const { token } = createToken(file, { name: "all", grants: ["admin", "payloads", "submitter:*"] });
    const [access, sign] =
      how === "with" ? [{ access: { tokens: file } }, ["-H", `Authorization: Bearer ${token}`]] : [{}, []];
    const { app, engine } = await system({
      ...access,
      routes: documented,
      diagram: () => Promise.resolve("<svg/>"),
      defaultWaitMs: 50,
      maxWaitMs: 50,
      trustProxy: ["127.0.0.1"],
    });
    faults.broken = false;
    for (const key of ["a", "b"]) await engine.submit("greet", { name: key }, { key });
    // Who has no token may ask from one address a minute's worth only: each request comes from another one.
    let count = 0;
    app.server.prependListener("request", ({ headers }: IncomingMessage) => {
      count++;
      headers["x-forwarded-for"] = `10.${count >> 16}.${(count >> 8) & 255}.${count & 255}`;
    });
    const url = await app.listen({ port: 0, host: "127.0.0.1" });
    const config = join(import.meta.dirname, "schemathesis.toml");
    const options = {
      checks: "all",
      // The first of these makes the same requests each time, and takes longest: once is enough.
      phases: how === "with" || isAsked ? "coverage,fuzzing" : "fuzzing",
      workers: "2",
      "max-examples": examples,
      seed,
      // Streams have no end.
      "exclude-path-regex": "^/events$|/updates$",
    };
    const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
    const child = spawn(
      "python3",
      ["-m", "schemathesis.cli", "--config-file", config, "run", `${url}/openapi.json`, ...args, ...sign],
      { cwd: directory(), env: python, stdio: ["ignore", "pipe", "inherit"] },
    );
    const said = await text(child.stdout);
    expect(said, `seed ${seed}`).toMatch(/Test cases:\n +[\d]+ generated, [\d]+ passed/);
    expect(count).toBeGreaterThan(50);
  },
);
