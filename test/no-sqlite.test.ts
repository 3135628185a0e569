// Only `createEngine` and its store need SQLite: nodes of a cluster and bolts on Storm keep nothing in files, and run where
// `node:sqlite` is missing or refused.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "..");

/** What a program prints, which runs in a process of its own. */
function printed(program: string): unknown {
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const args = [...flags, "--input-type=module", "--eval", program];
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

/** The modules of Node that have to do with SQLite, where one module is imported and nothing else. */
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

test("what is sent to Storm has none either, though its hubs come from the main entry", () => {
  const app = join(root, "examples/flow-crud/src/storm/app.ts");
  expect(
    printed(`
      const { bundleApp } = await import("@wheelwork/storm");
      console.log((await bundleApp(${JSON.stringify(app)})).includes("node:sqlite"));`),
  ).toBe(false);
});

test("the test would notice: the main entry loads it, for createEngine", () => {
  expect(sqliteIn("wheelwork")).toContain("NativeModule sqlite");
});
