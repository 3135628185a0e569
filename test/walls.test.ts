// Each wall between the layers holds. A test writes a file that breaks a rule to a folder outside the repository,
// beside copies of the real configuration. The linter or the compiler must refuse it.
import { execFile } from "node:child_process";
import {
  copyFileSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, matchesGlob } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configuration, layers, otherThan, rooms, type Layer } from "../scripts/layers.ts";

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

/** Makes a small repository with the real configuration and these files. */
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
  // The tool runs the first `node` of the path. It must be the project's own.
  const env = { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env["PATH"]}` };
  return new Promise((resolve) => {
    execFile(command, args, { cwd, env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, output: stdout + stderr }),
    );
  });
}

function lint(files: Record<string, string>) {
  const folders = new Set([
    "packages",
    ...Object.keys(files).map((path) => path.slice(0, path.indexOf("/"))),
  ]);
  return run(repository(files), "oxlint", "--deny-warnings", "--format=unix", ...folders);
}
const compile = (files: Record<string, string>) =>
  run(repository(files), "tsc", "-p", "packages/core", "--noEmit", "--pretty", "false");

const core = (text: string) => ({ "packages/core/src/offender.ts": text, "examples/keep.ts": "export {};" });
const other = (path: string, text: string) => ({ "examples/keep.ts": "export {};", [path]: text });
const engine = (path: string, text: string) => other(`packages/engine/src/${path}`, text);

describe("the linter refuses", () => {
  it.each([
    ["node: in the core", core(`export { readFileSync } from "node:fs";`), "no-restricted-imports"],
    ["the engine in the core", core(`export * from "@wheelwork/engine";`), "no-restricted-imports"],
    [
      "a dynamic import in the core",
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
    [
      "a room above in the engine",
      engine("attempts/offender.ts", `export * from "../delivery/inbox.ts";`),
      "no-restricted-imports",
    ],
    [
      "a type of a room above",
      engine("shard/offender.ts", `import type { A } from "../requests/api.ts";\nexport type B = A;`),
      "no-restricted-imports",
    ],
    [
      "the embedded engine in the cluster",
      engine("cluster/offender.ts", `export * from "../embedded/local-bus.ts";`),
      "no-restricted-imports",
    ],
    [
      "the cluster in the embedded engine",
      engine("embedded/offender.ts", `export * from "../cluster/node.ts";`),
      "no-restricted-imports",
    ],
    [
      "SQLite in another file of the embedded engine",
      engine("embedded/offender.ts", `export * from "../stores/sqlite.ts";`),
      "no-restricted-imports",
    ],
    [
      "a store in the shard",
      engine("shard/offender.ts", `export * from "../stores/journal.ts";`),
      "no-restricted-imports",
    ],
    [
      "the engine's entry in a room",
      engine("delivery/offender.ts", `export * from "../index.ts";`),
      "no-restricted-imports",
    ],
    [
      "a way around the rooms",
      engine("attempts/offender.ts", `export * from "./../delivery/inbox.ts";`),
      "no-restricted-imports",
    ],
    [
      "a store among the parts of engines",
      engine("parts.ts", `export * from "./stores/journal.ts";`),
      "no-restricted-imports",
    ],
    [
      "the port of stores in what decides",
      engine("shard/decider.ts", `import type { Store } from "../ports/ports.ts";\nexport type S = Store;`),
      "'Store'",
    ],
    ["a timer in what decides", engine("shard/decider.ts", `setTimeout(() => {}, 1);`), "'setTimeout'"],
    ["the time in what decides", engine("shard/records.ts", `export const now = Date.now();`), "'Date'"],
    [
      "Node in what decides",
      engine("shard/decider.ts", `export * from "node:timers/promises";`),
      "no-restricted-imports",
    ],
    [
      "workers in what decides",
      engine("shard/decider.ts", `export * from "../attempts/host.ts";`),
      "no-restricted-imports",
    ],
    [
      "the pipeline in what decides",
      engine("shard/decider.ts", `export * from "./pipeline.ts";`),
      "no-restricted-imports",
    ],
    [
      "the parts of engines in a store",
      other("packages/postgres/src/offender.ts", `export * from "@wheelwork/engine/parts";`),
      "no-restricted-imports",
    ],
    [
      "SQLite by way of the engine in Storm",
      other("packages/storm/src/parts/offender.ts", `export { createEngine } from "@wheelwork/engine";`),
      "no-restricted-imports",
    ],
    [
      "the system's clock in what decides",
      engine("shard/decider.ts", `export * from "../ports/clock.ts";`),
      "no-restricted-imports",
    ],
    [
      "the test kit in Storm",
      other("packages/storm/src/parts/offender.ts", `export * from "@wheelwork/testing";`),
      "no-restricted-imports",
    ],
    [
      "Wheelwork in the client of Storm's protocol",
      other("packages/storm/src/multilang/offender.ts", `export * from "@wheelwork/core";`),
      "no-restricted-imports",
    ],
    [
      "Wheelwork in the speaker of OpenFlow",
      other("packages/openflow/src/offender.ts", `export * from "@wheelwork/core";`),
      "no-restricted-imports",
    ],
    [
      "Node in the codec of OpenFlow",
      other("packages/openflow/src/codec/offender.ts", `export * from "node:net";`),
      "no-restricted-imports",
    ],
    [
      "a timer in the codec of OpenFlow",
      other("packages/openflow/src/codec/offender.ts", `setTimeout(() => {}, 1);`),
      "'setTimeout'",
    ],
    [
      "the time in the session of OpenFlow",
      other("packages/openflow/src/session/offender.ts", `export const now = performance.now();`),
      "'performance'",
    ],
    [
      "an adapter in what is simulated",
      other("simulation/src/offender.ts", `export * from "@wheelwork/kafka";`),
      "no-restricted-imports",
    ],
    [
      "another adapter in the simulated Storm",
      other("simulation/src/storm/offender.ts", `export * from "@wheelwork/kafka";`),
      "no-restricted-imports",
    ],
    [
      "the engine in the services",
      other("services/src/offender.ts", `export * from "@wheelwork/engine";`),
      "no-restricted-imports",
    ],
    [
      "an example in a benchmark",
      other("bench/src/offender.ts", `export * from "@wheelwork/example-flow-crud/simulation";`),
      "no-restricted-imports",
    ],
    [
      "the engine's package in an example",
      other("examples/shop/src/offender.ts", `export * from "@wheelwork/engine";`),
      "no-restricted-imports",
    ],
  ])("%s", async (_name, files, message) => {
    const { code, output } = await lint(files);
    expect(output).toContain(message);
    expect(code).toBe(1);
  });
});

describe("the table of layers", () => {
  it("is what the linter checks: run `npm run layers` after you change it", async () => {
    const { fresh, present } = await configuration();
    expect(present).toBe(fresh);
  });

  it("has every room of the engine, every package, and no file that does not exist", () => {
    const folders = readdirSync(join(root, "packages/engine/src"), { withFileTypes: true });
    const names = folders.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    expect(Object.keys(rooms).toSorted()).toEqual(names.toSorted());
    const globs = layers.flatMap(({ files }) => files);
    expect(globs.filter((glob) => globSync(glob, { cwd: root }).length === 0)).toEqual([]);
    const sources = globSync("{packages/*,simulation,services,bench}/src/index.ts", { cwd: root });
    expect(sources.filter((source) => !globs.some((glob) => matchesGlob(source, glob)))).toEqual([]);
  });

  // Each layer imports all names and all rooms. The linter must refuse exactly those that the table does not allow.
  it("lets every layer import what it may, and nothing else", async () => {
    const tried = [
      ...ourNames(),
      "wheelwork-tools",
      "fastify",
      "croner",
      "cronerer",
      "node:fs",
      "node:sqlite",
    ];
    for (const name of [...Object.keys(rooms), "parts", "multilang"]) tried.push(`../${name}/some.ts`);
    tried.push("../index.ts", "./some.ts", "./records.ts");
    const offenders = layers.flatMap(({ files }) => files.map((glob) => glob.replace("**", "some-file.ts")));
    const text = tried.map((name, index) => `export * as n${index} from "${name}";`).join("\n");
    const { output } = await lint(Object.fromEntries(offenders.map((path) => [path, text])));
    const refused = new Set(
      Array.from(output.matchAll(/^(\S+):(\d+):\d+: .*no-restricted-imports/gm), ([, path, line]) => {
        return `${path}: ${tried[Number(line) - 1]}`;
      }),
    );
    const wanted = new Set<string>();
    for (const path of offenders) {
      const layer = layers.findLast(({ files }) => files.some((glob) => matchesGlob(path, glob))) as Layer;
      for (const name of tried) if (!isAllowed(layer, name)) wanted.add(`${path}: ${name}`);
    }
    expect([...refused].toSorted()).toEqual([...wanted].toSorted());
    expect(wanted.size).toBeGreaterThan(300);
  });

  it.each([
    [[], ["", "a", "."], []],
    [["a"], ["", "b", "ab", "/a"], ["a"]],
    [
      ["ab", "ac/*"],
      ["", "a", "abc", "ac", "ad", "b"],
      ["ab", "ac/", "ac/d/e"],
    ],
    [
      ["", "-*"],
      ["a", "/"],
      ["", "-", "-a"],
    ],
  ])("turns what may be imported into a pattern of what may not: %j", (may, refused, allowed) => {
    const pattern = new RegExp(`^${otherThan(may)}`);
    for (const text of refused) expect(text, text).toMatch(pattern);
    for (const text of allowed) expect(text, text).not.toMatch(pattern);
  });
});

/** All entry points of the packages of this repository. */
function ourNames(): string[] {
  const files = globSync("{packages/*,examples/*,bench,simulation,services}/package.json", { cwd: root });
  return files.flatMap((file) => {
    const { name, exports = {} } = JSON.parse(readFileSync(join(root, file), "utf8")) as {
      name: string;
      exports?: Record<string, unknown>;
    };
    const subpaths = Object.keys(exports).filter((path) => !path.endsWith(".json"));
    return [name, ...subpaths.map((path) => name + path.slice(1))];
  });
}

const isOneOf = (name: string, texts: readonly string[]): boolean =>
  texts.some((text) => (text.endsWith("*") ? name.startsWith(text.slice(0, -1)) : name === text));

/** What the table says in words. */
function isAllowed({ only, ours, types = [], above, beside, withoutPorts }: Layer, name: string): boolean {
  if (name.startsWith("../"))
    return (
      (above === undefined || isOneOf(name.slice(3), above)) && !(withoutPorts && name.includes("/ports/"))
    );
  if (name.startsWith("./")) return beside === undefined || isOneOf(name.slice(2), beside);
  if (types.includes(name)) return false;
  if (only !== undefined) return isOneOf(name, only);
  const isOurs = /^@wheelwork\/|^wheelwork(?:\/|$)/.test(name);
  return !isOurs || isOneOf(name, ours ?? []);
}

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
      `import type { Cron } from "croner";`,
      `import { two } from "@wheelwork/core";`,
      `import { kernel } from "@wheelwork/core/kernel";`,
      `export const fine = (cron: Cron) => [DatabaseSync, Date.now(), two, kernel, cron];`,
    ].join("\n"),
    "packages/engine/src/delivery/fine.ts": `export { two } from "../shard/fine.ts";`,
    "packages/engine/src/shard/fine.ts": `export { two } from "@wheelwork/core";`,
    "packages/engine/src/shard/decider.ts": [
      `import type { Commit } from "../ports/ports.ts";`,
      `import type { Deadlines } from "./deadlines.ts";`,
      `export type Fine = [Commit, Deadlines];`,
    ].join("\n"),
    "packages/engine/src/embedded/engine.ts": `export { SqliteStore } from "../stores/sqlite.ts";`,
    "packages/storm/src/parts/fine.ts": `import type { Worker } from "@wheelwork/engine";\nexport type Fine = Worker;`,
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
