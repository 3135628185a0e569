// Only `createEngine` and its store need SQLite. Nodes of a cluster and bolts on Storm keep nothing in files, so they
// must run where `node:sqlite` is missing or not allowed.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..");

/** Runs a program in its own process, and returns the JSON that it prints. */
function printed(program: string): unknown {
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const args = [...flags, "--input-type=module", "--eval", program];
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

/** The SQLite modules of Node that the import of one module loads. */
const sqliteIn = (module: string): unknown =>
  printed(`
    await import(${JSON.stringify(module)});
    console.log(JSON.stringify(process.moduleLoadList.filter((name) => name.includes("sqlite"))));`);

test.each([
  "@wheelwork/core",
  "@wheelwork/engine/parts",
  "@wheelwork/engine/cluster",
  "wheelwork/cluster",
  "@wheelwork/kafka",
  "@wheelwork/postgres",
  "@wheelwork/storm/parts",
])("%s loads no SQLite", (module) => {
  expect(sqliteIn(module)).toEqual([]);
});

test("the program that is sent to Storm has none either, although its hubs import the main entry", () => {
  const app = join(root, "examples/flow-crud/src/storm/app.ts");
  expect(
    printed(`
      const { bundleApp } = await import("@wheelwork/storm");
      console.log((await bundleApp(${JSON.stringify(app)})).includes("node:sqlite"));`),
  ).toBe(false);
});

test("this test would notice SQLite: the main entry loads it for createEngine", () => {
  expect(sqliteIn("wheelwork")).toContain("NativeModule sqlite");
});
