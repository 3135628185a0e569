// The walls between the layers bite: each offending file is written to a folder of its own outside the
// repository, beside copies of the real configuration, and the linter or the compiler must refuse it.
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "wheelwork-walls-"));
let folders = 0;

beforeAll(() => process.on("exit", clean));
afterAll(() => {
  clean();
  process.off("exit", clean);
});

function clean(): void {
  rmSync(scratch, { recursive: true, force: true });
}

/** A little repository with the real configuration and just these files. */
function repository(files: Record<string, string>): string {
  const folder = join(scratch, String(++folders));
  mkdirSync(join(folder, "packages/core/src"), { recursive: true });
  for (const name of [".oxlintrc.json", "tsconfig.base.json", "packages/core/tsconfig.json"]) {
    copyFileSync(join(root, name), join(folder, name));
  }
  writeFileSync(join(folder, "package.json"), `{ "type": "module" }`);
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"), "dir");
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), `${text}\n`);
  }
  return folder;
}

function run(cwd: string, tool: string, ...args: string[]): Promise<{ code: unknown; output: string }> {
  const command = join(root, "node_modules/.bin", tool);
  // The tool's first line asks for `node`: the project's own comes first, whatever the machine has.
  const env = { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env["PATH"]}` };
  return new Promise((resolve) => {
    execFile(command, args, { cwd, env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, output: stdout + stderr }),
    );
  });
}

const lint = (files: Record<string, string>) =>
  run(repository(files), "oxlint", "--deny-warnings", "--format=unix", "packages", "examples");
const compile = (files: Record<string, string>) =>
  run(repository(files), "tsc", "-p", "packages/core", "--noEmit", "--pretty", "false");

const core = (text: string) => ({ "packages/core/src/offender.ts": text, "examples/keep.ts": "export {};" });
const other = (path: string, text: string) => ({ "examples/keep.ts": "export {};", [path]: text });

describe("the linter refuses", () => {
  it.each([
    ["node: in the core", core(`export { readFileSync } from "node:fs";`), "no-restricted-imports"],
    ["the engine in the core", core(`export * from "@wheelwork/engine";`), "no-restricted-imports"],
    [
      "a late import in the core",
      core(`export const e = import("@wheelwork/engine");`),
      "no-restricted-imports",
    ],
    [
      "more than types of the schema standard in the core",
      core(`export { StandardSchemaV1 } from "@standard-schema/spec";`),
      "no-restricted-imports",
    ],
    ["Date in the core", core(`export const now = Date.now();`), "'Date'"],
    ["new Date in the core", core(`export const now = new Date();`), "'Date'"],
    ["globalThis.Date in the core", core(`export const now = globalThis.Date.now();`), "'Date'"],
    ["performance in the core", core(`export const now = performance.now();`), "'performance'"],
    ["Math.random in the core", core(`export const dice = Math.random();`), "'Math.random'"],
    ["a renamed Math.random in the core", core(`export const { random } = Math;`), "'Math.random'"],
    [
      "the northbound in the engine",
      other("packages/engine/src/offender.ts", `export * from "@wheelwork/northbound";`),
      "no-restricted-imports",
    ],
    [
      "the test kit in the engine",
      other("packages/engine/src/offender.ts", `export * from "@wheelwork/testing";`),
      "no-restricted-imports",
    ],
    [
      "a stray dependency in the engine",
      other("packages/engine/src/offender.ts", `export * from "fastify";`),
      "no-restricted-imports",
    ],
    [
      "the test kit in the northbound",
      other("packages/northbound/src/offender.ts", `export * from "@wheelwork/testing";`),
      "no-restricted-imports",
    ],
    [
      "a path into another package",
      other("packages/engine/src/offender.ts", `export * from "../../core/src/index.ts";`),
      "no-restricted-imports",
    ],
    [
      "the kernel's names in an example",
      other("examples/shop/src/offender.ts", `export * from "@wheelwork/core/kernel";`),
      "no-restricted-imports",
    ],
    [
      "a package's file in an example",
      other("examples/shop/src/offender.ts", `export * from "@wheelwork/core/src/index.ts";`),
      "no-restricted-imports",
    ],
    [
      "a ring of imports",
      {
        ...other("packages/engine/src/a.ts", `import { b } from "./b.ts";\nexport const a = () => b;`),
        "packages/engine/src/b.ts": `import { a } from "./a.ts";\nexport const b = () => a;`,
      },
      "no-cycle",
    ],
  ])("%s", async (_name, files, message) => {
    const { code, output } = await lint(files);
    expect(output).toContain(message);
    expect(code).toBe(1);
  });
});

describe("the compiler refuses", () => {
  it.each([
    ["node: in the core", `export { readFileSync } from "node:fs";`, "'node:fs'"],
    ["timers in the core", `setTimeout(() => {}, 1);`, "'setTimeout'"],
    ["the process in the core", `export const pid = process.pid;`, "'process'"],
    ["the console in the core", `console.log("here");`, "'console'"],
    ["performance in the core", `export const now = performance.now();`, "'performance'"],
  ])("%s", async (_name, text, message) => {
    const { code, output } = await compile(core(text));
    expect(output).toMatch(new RegExp(`error TS\\d+: Cannot find name ${message}`));
    expect(code).not.toBe(0);
  });
});

describe("what is allowed passes", () => {
  const text = [
    `import type { StandardSchemaV1 } from "@standard-schema/spec";`,
    `import { one } from "./parts/one.ts";`,
    `export type Schema = StandardSchemaV1;`,
    `export const two = one + Math.max(1, 1);`,
  ].join("\n");
  const files = {
    ...core(text),
    "packages/core/src/parts/one.ts": `export const one = 1;`,
    "packages/engine/src/fine.ts": [
      `import { DatabaseSync } from "node:sqlite";`,
      `import type { Logger } from "pino";`,
      `import { two } from "@wheelwork/core";`,
      `import { kernel } from "@wheelwork/core/kernel";`,
      `export const fine = (logger: Logger) => [DatabaseSync, Date.now(), two, kernel, logger];`,
    ].join("\n"),
    "packages/engine/test/fine.test.ts": `export { fine } from "../src/fine.ts";`,
    "examples/shop/src/fine.ts": `export { hub } from "wheelwork";`,
  };

  it("by the linter", async () => {
    const { code, output } = await lint(files);
    expect(output).not.toContain("[Error");
    expect(code).toBe(0);
  });

  it("by the compiler", async () => {
    const { code, output } = await compile(files);
    expect(output).toBe("");
    expect(code).toBe(0);
  });
});
