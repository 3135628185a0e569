import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const module = fileURLToPath(new URL("node-module.mjs", import.meta.url));

function cli(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  return spawnSync(process.execPath, [...flags, program, ...args], { encoding: "utf8" });
}

test("says what it can do, and refuses what it cannot with that", () => {
  expect(cli("--help")).toMatchObject({
    status: 0,
    stdout: expect.stringContaining("dead-letters replay") as string,
  });
  for (const args of [["dance"], ["shards", "--colour"], ["dead-letters", "eat"]]) {
    const { status, stderr } = cli(...args);
    expect(status, args.join(" ")).toBe(2);
    expect(stderr).toContain("Usage: wheelwork");
  }
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
  for (const args of [
    ["asyncapi", program.replace("main.ts", "place.ts")],
    ["check", "--brokers", "127.0.0.1:1", "--database", "postgres://nobody@127.0.0.1:1/none"],
    ["shards", "--brokers", "nonsense"],
  ]) {
    const { status, stdout, stderr } = cli(...args);
    expect(status, args.join(" ")).toBe(1);
    expect(stdout + stderr).toMatch(/WW_(CONFIG|BUS_UNAVAILABLE)/);
    expect(stderr).not.toMatch(/^\s+at /m);
  }
});
