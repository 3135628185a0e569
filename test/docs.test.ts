import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const root = resolve(import.meta.dirname, "..");

/** The code blocks of a page in one language. */
const blocks = (page: string, language: string): string[] =>
  Array.from(
    page.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, "g")),
    ([, block]) => block ?? "",
  );

/** How a block begins that is a whole file of the examples. */
const quoted = "// examples/";

/** Compiles all code of a page as one program, but for whole files of the examples. The result runs it, and returns its output. */
function programOf(page: string): () => string {
  return compiled(
    blocks(page, "ts")
      .filter((block) => !block.startsWith(quoted))
      .join(""),
  );
}

/** Compiles a program. The result runs it, and returns its output. */
function compiled(example: string): () => string {
  // It is inside the checkout, so that imports resolve, and inside node_modules, which all tools ignore.
  const parent = join(root, "node_modules", ".cache");
  mkdirSync(parent, { recursive: true });
  const folder = mkdtempSync(join(parent, "docs-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "package.json"), `{"type":"module"}`);
  // It runs as JavaScript, so it must have no type annotations: Node does not strip types under node_modules.
  writeFileSync(join(folder, "example.mjs"), example);
  writeFileSync(join(folder, "example.ts"), example);
  const config = {
    extends: join(root, "tsconfig.base.json"),
    compilerOptions: { composite: false, noEmit: true },
    files: ["example.ts"],
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
  const checked = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", folder], { encoding: "utf8" });
  expect(checked.stdout).toBe("");
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  return () => execFileSync(process.execPath, [...flags, "example.mjs"], { cwd: folder, encoding: "utf8" });
}

test("the example of the README compiles, and prints what the README says", () => {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const run = programOf(readme);
  const printed = run();
  for (const [, line] of readme.matchAll(/`(\{ kind: [^`]*)`/g)) expect(printed).toContain(line);
  expect(run(), "the same keys get the same answers after a restart").toBe(printed);
});

test("the code of packages/storm/README.md compiles, and its topology prints what the page shows", () => {
  const page = readFileSync(join(root, "packages/storm/README.md"), "utf8");
  const [, topology] = blocks(page, "ts").map((block) => compiled(block));
  expect(blocks(page, "text")).toEqual([topology?.()]);
});

test("the code of packages/client/README.md compiles", () => {
  const run = programOf(readFileSync(join(root, "packages/client/README.md"), "utf8"));
  // It asks nothing before somebody calls it.
  expect(run()).toBe("");
});

test("the code of packages/openflow/README.md compiles, and its codec prints what it says", () => {
  const page = readFileSync(join(root, "packages/openflow/README.md"), "utf8");
  for (const block of blocks(page, "ts").filter((one) => !one.startsWith(quoted))) {
    const said = /console\.log\(.*\); \/\/ (.*)/.exec(block)?.[1]?.replaceAll('"', "");
    expect(compiled(block)()).toBe(said === undefined ? "" : `${said}\n`);
  }
});

test.each([
  ["docs/answer-first.md", 2],
  ["docs/attempts.md", 3],
  ["docs/calls.md", 2],
  ["docs/lanes.md", 3],
  ["docs/other-runs.md", 3],
  ["docs/schedules.md", 1],
  ["docs/time-and-signals.md", 5],
])("the code of %s is that of the patterns", (page, least) => {
  const shown = blocks(readFileSync(join(root, page), "utf8"), "ts").filter((block) =>
    block.startsWith(quoted),
  );
  expect(shown.length).toBeGreaterThanOrEqual(least);
  for (const block of shown) {
    const [first = "", ...rest] = block.split("\n");
    expect(rest.join("\n"), first).toBe(readFileSync(join(root, first.replace("// ", "")), "utf8"));
  }
});

test.each([
  "docs/attempts.md",
  "docs/metrics.md",
  "docs/tracing.md",
  "docs/testing.md",
  "docs/simulation.md",
])("the code of %s compiles, its tests pass, and it prints what the page shows", (file) => {
  const page = readFileSync(join(root, file), "utf8");
  const printed = programOf(page)();
  const shown = [...blocks(page, "text"), ...blocks(page, "mermaid")];
  expect(shown.length).toBeGreaterThan(0);
  for (const block of shown) expect(printed).toContain(block);
});
