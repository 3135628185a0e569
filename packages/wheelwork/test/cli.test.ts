import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const module = fileURLToPath(new URL("node-module.mjs", import.meta.url));

function cli(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return cliIn(undefined, {}, ...args);
}

/** What a developer has set for other runs must not decide here. */
const { STORM_NIMBUS: _nimbus, WHEELWORK_SERVICES: _services, ...outerEnv } = process.env;

const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];

function cliIn(cwd: string | undefined, env: Readonly<Record<string, string>>, ...args: readonly string[]) {
  return spawnSync(process.execPath, [...flags, program, ...args], {
    encoding: "utf8",
    cwd,
    env: { ...outerEnv, ...env },
  });
}

test("says what it can do, and refuses what it cannot with that", () => {
  expect(cli("--help")).toMatchObject({
    status: 0,
    stdout: expect.stringContaining("dead-letters replay") as string,
  });
  for (const [help, ...args] of [
    ["", "dance"],
    [" shards", "shards", "--colour"],
    ["", "dead-letters", "eat"],
    [" bulks watch", "bulks", "watch"],
  ]) {
    const { status, stderr } = cli(...args);
    expect(status, args.join(" ")).toBe(2);
    expect(stderr.endsWith(`\nSee: wheelwork help${help}\n`), stderr).toBe(true);
  }
});

test("options may stand before the name of the command, and between its words", () => {
  for (const args of [
    ["--shards", "4", "asyncapi", module],
    ["asyncapi", "--shards=4", module],
  ])
    expect(cli(...args).status, args.join(" ")).toBe(0);
  const { status, stderr } = cli("storm", "--nimbus", "127.0.0.1:1", "list", "--schema", "s", "--nimbsu=x");
  expect(status).toBe(2);
  expect(stderr).toBe(
    "storm list has no option --schema\nstorm list has no option --nimbsu. Did you mean --nimbus?\n\nSee: wheelwork help storm list\n",
  );
});

test("prints the AsyncAPI document of a module", () => {
  const { status, stdout } = cli("asyncapi", module, "--shards", "4");
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    asyncapi: "3.0.0",
    channels: { numbers: { address: "numbers" } },
  });
});

test("a module that is none, and brokers that are away, are errors with a next step and no stack", () => {
  const cases: readonly (readonly [number, readonly string[]])[] = [
    [1, ["asyncapi", program.replace("main.ts", "place.ts")]],
    [1, ["check", "--brokers", "127.0.0.1:1", "--database", "postgres://nobody@127.0.0.1:1/none"]],
    [1, ["shards", "--brokers", "nonsense"]],
  ];
  for (const [code, args] of cases) {
    const { status, stdout, stderr } = cli(...args);
    expect(status, args.join(" ")).toBe(code);
    expect(stdout + stderr).toMatch(/WW_(CONFIG|BUS_UNAVAILABLE)/);
    expect(stderr).not.toMatch(/^\s+at /m);
  }
});

test("storm says where it has looked for Nimbus: options, then the environment, then what npm run storm left", () => {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-cli-"));
  try {
    const file = join(folder, ".services", "storm", "nimbus.json");
    const list = (
      code: number,
      env: Readonly<Record<string, string>>,
      ...args: readonly string[]
    ): string => {
      const { status, stderr } = cliIn(folder, env, "storm", "list", ...args);
      expect(status).toBe(code);
      return stderr;
    };
    expect(list(6, {})).toMatch(
      /WW_BUS_UNAVAILABLE: Nimbus cannot be reached at 127\.0\.0\.1:6627: .*\n.*--nimbus is not given, STORM_NIMBUS is not set, and there is no \S*\.services\/storm\/nimbus\.json/,
    );
    mkdirSync(join(folder, ".services", "storm"), { recursive: true });
    writeFileSync(file, JSON.stringify({ nimbus: "127.0.0.1:1", home: "/none", jars: "/none" }));
    expect(list(6, {})).toMatch(/at 127\.0\.0\.1:1: .*\n.*nimbus\.json says so; --nimbus is not given/);
    const env = { STORM_NIMBUS: "127.0.0.1:2" };
    expect(list(6, env)).toMatch(/at 127\.0\.0\.1:2: .*\n.*STORM_NIMBUS says so/);
    expect(list(6, env, "--nimbus", "127.0.0.1:3")).toMatch(/at 127\.0\.0\.1:3: .*\n.*--nimbus says so/);
    expect(list(1, { STORM_NIMBUS: "nimbus:0" })).toContain("STORM_NIMBUS must be HOST or HOST:PORT");
    writeFileSync(file, "{}");
    expect(list(1, {})).toMatch(/WW_CONFIG: \S*nimbus\.json cannot be read/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.skipIf(!existsSync("/dev/full"))(
  "output that cannot be written is a failure, and says so in one line",
  () => {
    const full = openSync("/dev/full", "w");
    const { status, stderr } = spawnSync(process.execPath, [...flags, program, "help"], {
      encoding: "utf8",
      stdio: ["ignore", full, "pipe"],
    });
    closeSync(full);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^the output cannot be written: ENOSPC[^\n]*\n$/);
  },
);
