import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { folder } from "./world.ts";

const flags = [
  "--disable-warning=ExperimentalWarning",
  "--conditions=wheelwork-source",
  "--input-type=module",
];

/** Runs a program with so little memory that it must not hold two things at once that are large together. */
function inLittleMemory(program: string): string {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ["--max-old-space-size=80", ...flags, "-e", program],
    {
      encoding: "utf8",
      cwd: import.meta.dirname,
    },
  );
  return stdout.trim() || stderr;
}

test("runs are written at a checkpoint, and read at a start, one by one", () => {
  const path = join(folder(), "store.db");
  const program = `
    import { SqliteStore } from "@wheelwork/engine";
    import { storedRun } from "../src/shard/records.ts";
    import { Run, start } from "@wheelwork/core/kernel";
    const store = new SqliteStore(${JSON.stringify(path)}, { durability: "normal" });
    const { epoch } = store.claim("owner");
    // What all runs have in common is large, so that the runs themselves fit into the memory, and their texts do not.
    const data = Array.from({ length: 20_000 }, (_, id) => ({ id, name: "a rule" }));
    const runs = Array.from({ length: 200 }, (_, number) => {
      const run = Object.assign(new Run("k" + number), { hub: "h", version: 1, state: "S", data });
      run.calls.set(1, { number: 1, callee: "c", input: 1, attempt: 1 });
      return storedRun(run);
    });
    const checkpoint = { runs, ended: [], histories: [] };
    store.commit({ epoch, seq: 1, now: 1, journal: [], answers: [], checkpoint });
    store.close();
    const again = new SqliteStore(${JSON.stringify(path)});
    again.claim("next");
    let count = 0;
    for (const { snapshot } of again.hotRuns()) if (snapshot.data.length === 20_000) count++;
    console.log(count + " runs");`;
  expect(inLittleMemory(program)).toBe("200 runs");
});

test.each([
  ["large requests", { text: "x".repeat(100_000), calls: 1 }],
  ["small requests that make many calls", { text: "", calls: 2000 }],
])(
  "what an engine takes under a limit of memory, it starts with under the same limit: %s",
  (_name, request) => {
    const path = join(folder(), "store.db");
    const engine = `
    import { createEngine, worker } from "@wheelwork/engine";
    import { end, hub, spoke, stay } from "@wheelwork/core";
    import * as z from "zod";
    const never = spoke("never", { input: z.number(), output: z.null(), timeoutMs: 86_400_000 });
    const asking = hub("asking", {
      request: z.object({ text: z.string(), calls: z.number() }), reply: z.string(), deadlineMs: 86_400_000, cancel: end,
      chart: { Asking: { Settled: stay, Done: "Gone", Late: "Gone" }, Gone: end },
      data: ({ calls }) => ({ calls }),
    }, {
      Asking: (s) => s.each(never, {
        inputs: ({ calls }) => Array.from({ length: calls }, (_, number) => number),
        settled: "Settled", done: "Done", deadline: "Late",
      }),
      Gone: () => "gone",
    });
    const hangs = worker(never, () => new Promise(() => {}));
    const engine = createEngine({ hubs: [asking], workers: [hangs], store: ${JSON.stringify(path)}, durability: "normal",
      limits: { lateMs: 1e9 } });
    await engine.start();`;
    const taken = inLittleMemory(`${engine}
    const request = ${JSON.stringify(request)};
    let refused = 0;
    for (let number = 0; refused < 3 && number < 2000; number++)
      await engine.submit("asking", request, { key: "k" + number }).catch(() => refused++);
    console.log(refused + " refused, " + engine.health().liveRuns + " taken");
    process.exit();`);
    expect(taken).toMatch(/^3 refused, \d+ taken$/);
    for (let start = 0; start < 2; start++) {
      const started = inLittleMemory(`${engine}
      console.log("3 refused, " + engine.health().liveRuns + " taken");
      process.exit();`);
      expect(started).toBe(taken);
    }
  },
);
