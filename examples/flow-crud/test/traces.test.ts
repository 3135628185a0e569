import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

interface Told {
  readonly traceId: string;
  readonly id: string;
  readonly parent?: string;
  readonly call?: number;
  readonly name: string;
}

/** The spans of a flow. The process is killed after the first span of each of these names. */
function spansOf(kills: readonly string[]): Told[] {
  const folder = mkdtempSync(join(tmpdir(), "traces-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "spans");
  const program = join(import.meta.dirname, "traces/main.ts");
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const play = (...last: string[]) =>
    spawnSync(process.execPath, [...flags, program, folder, file, "flow-1", ...last], { encoding: "utf8" });
  for (const kill of kills) expect(play(kill)).toMatchObject({ signal: "SIGKILL", stderr: "" });
  expect(play()).toMatchObject({ status: 0, stderr: "" });
  const all = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Told);
  // What the network tells at each start has traces of its own.
  const traces = new Set(
    all.flatMap(({ name, traceId }) => (name.startsWith("flow-create") ? [traceId] : [])),
  );
  return all.filter(({ traceId }) => traces.has(traceId));
}

/** Spans by their names, each with the one that it is below. */
function shapes(spans: readonly Told[]): string[] {
  const byId = new Map(spans.map((span) => [span.id, span]));
  return spans
    .map(
      ({ name, call = "", parent }) =>
        `${name} ${call} < ${parent === undefined ? "" : byId.get(parent)?.name}`,
    )
    .toSorted();
}

test(
  "the trace of a flow is the same one after kill -9, and no span comes twice",
  { timeout: 60_000 },
  () => {
    const calm = spansOf([]);
    expect(shapes(calm)).toEqual(
      expect.arrayContaining([
        "flow-create  < ",
        "flow-create InstallingRules  < flow-create",
        "flow-create answer  < flow-create",
      ]),
    );
    const killed = spansOf(["flow-create ResourceAllocated", "flow-create InstallingRules"]);
    expect(shapes(killed)).toEqual(shapes(calm));
    for (const spans of [calm, killed]) {
      expect(new Set(spans.map(({ id }) => id)).size).toBe(spans.length);
      expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1);
    }
  },
);
