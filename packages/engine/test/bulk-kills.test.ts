import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { engineOn } from "./bulk-process.ts";
import { folder } from "./world.ts";

const program = fileURLToPath(new URL("bulk-process.ts", import.meta.url));

/** Lets a process go on with the bulk until it has done so many, and kills it then. The result is whether it has ended before. */
async function runUntil(store: string, id: string, many: number): Promise<boolean> {
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...flags, program, store, id], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  for await (const line of createInterface({ input: child.stdout }))
    if (Number(line) >= many) child.kill("SIGKILL");
  return (await exited) === 0;
}

test("a bulk goes on after each kill -9, and no request gets its command twice", async () => {
  const store = join(folder(), "engine.db");
  const keys = Array.from({ length: 3000 }, (_, index) => `k${index}`);
  const engine = await engineOn(store);
  await Promise.all(keys.map((key) => engine.submit("sums", {}, { key })));
  await engine.stop();
  const kills = [1, 333, 777, 1500, 2222];
  for (const many of kills) expect(await runUntil(store, "bulk", many)).toBe(false);
  expect(await runUntil(store, "bulk", Number.POSITIVE_INFINITY)).toBe(true);
  const again = await engineOn(store);
  onTestFinished(() => again.stop());
  expect(await again.bulk("bulk").view()).toMatchObject({ matched: 3000, done: 3000, gone: 0, refused: {} });
  const items: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await again.bulk("bulk").items({ limit: 1000, ...(cursor === undefined ? {} : { cursor }) });
    items.push(...page.items.map(({ id }) => id));
    cursor = page.cursor;
  } while (cursor !== undefined);
  expect(items.toSorted()).toEqual(keys.toSorted());
  for (const key of keys) expect((await again.request(key)).data).toEqual({ sum: 1 });
});
