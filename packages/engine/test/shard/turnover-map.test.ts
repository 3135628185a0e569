import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { TurnoverMap } from "../../src/shard/turnover-map.ts";

test("is as a Map", () => {
  const map = new TurnoverMap<number>();
  map.set("a", 1);
  map.set("b", 2);
  map.set("a", 3);
  expect([map.size, map.get("a"), map.has("b"), map.get("c"), map.has("c")]).toEqual([
    2,
    3,
    true,
    undefined,
    false,
  ]);
  expect([...map]).toEqual([
    ["a", 3],
    ["b", 2],
  ]);
  const values = map.values();
  expect(values.next().value).toBe(3);
  expect([map.delete("b"), map.delete("b")]).toEqual([true, false]);
  map.set("d", 4);
  expect([...values]).toEqual([4]);
  expect([...map.keys()]).toEqual(["a", "d"]);
});

/** The full garbage collections that 100,000 values bring which come and go in a map, in a process of its own. */
function fullCollections(kind: "Map" | "TurnoverMap"): number {
  const program = fileURLToPath(new URL("churn.ts", import.meta.url));
  return Number(execFileSync(process.execPath, ["--max-semi-space-size=4", program, kind]).toString());
}

test("keeps nothing alive that has left it, which a Map does", () => {
  const [plain, turnover] = [fullCollections("Map"), fullCollections("TurnoverMap")];
  expect(turnover, `full collections; those of a Map: ${plain}`).toBeLessThan(plain / 2);
});
