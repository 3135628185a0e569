// A program with an embedded engine can be made one file, which needs no node_modules.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rolldown } from "rolldown";
import { expect, onTestFinished, test } from "vitest";

const program = `
import { createEngine, end, hub, spoke, worker } from "wheelwork";
import { z } from "zod";

const half = spoke("half", { input: z.number(), output: z.number(), timeoutMs: 5000, retry: { attempts: 2 } });
const halving = hub(
  "halving",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 10_000,
    chart: { Asking: { Told: "Done", Failed: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  {
    Asking: (s) => s.call(half, { input: ({ n }) => n, ok: (_data, n) => s.raise("Told", { n }), failed: "Failed", deadline: "Failed" }),
    Done: ({ n }) => n,
  },
);
let isFirst = true;
const engine = createEngine({
  hubs: [halving],
  workers: [
    worker(half, (n) => {
      if (isFirst) {
        isFirst = false;
        throw new Error("not yet");
      }
      return n / 2;
    }),
  ],
  store: process.argv[2],
});
await engine.start();
console.log(JSON.stringify(await engine.call(halving, { n: 42 })));
await engine.stop();
`;

function folder(of: string): string {
  const made = mkdtempSync(join(of, "bundle-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

test("a bundler makes one file of a program with an engine, which logs by itself", async () => {
  const source = join(folder(import.meta.dirname), "program.mjs");
  writeFileSync(source, program);
  const build = await rolldown({
    input: source,
    platform: "node",
    resolve: { conditionNames: ["wheelwork-source", "node", "import"] },
  });
  const { output } = await build.generate({ format: "esm" });
  await build.close();
  expect(output).toHaveLength(1);
  // Nothing of what is there here is there.
  const elsewhere = folder(tmpdir());
  const file = join(elsewhere, "one.mjs");
  writeFileSync(file, output[0].code);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", file, join(elsewhere, "store.db")],
    { cwd: elsewhere, encoding: "utf8", env: { ...process.env, WHEELWORK_LOG_LEVEL: "warn" } },
  );
  expect(status, stderr).toBe(0);
  expect(JSON.parse(stdout)).toEqual({ kind: "result", value: 21 });
  const lines = stderr.trim().split("\n");
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({
    level: 40,
    spoke: "half",
    hub: "halving",
    error: "not yet",
    msg: "a worker has thrown an exception",
  });
}, 120_000);
