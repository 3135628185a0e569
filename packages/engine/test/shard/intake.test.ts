import { expect, test } from "vitest";
import { Intake } from "../../src/shard/intake.ts";
import { requestOf } from "./world.ts";

function filled(...sizes: number[]): Intake {
  const intake = new Intake(100);
  for (const [index, size] of sizes.entries())
    intake.push(requestOf(`k${index}`, "h", { doc: "x".repeat(size) }));
  return intake;
}

test("a batch takes as many items as it may, in their order", () => {
  const intake = filled(1, 1, 1);
  expect(intake.take(2).map((item) => ("key" in item ? item.key : ""))).toEqual(["k0", "k1"]);
  expect([intake.length, intake.pushed, intake.requests]).toEqual([1, 3, 3]);
});

test("a batch takes what it can carry, and one item at least", () => {
  const intake = filled(600, 600, 600, 5000, 1);
  const counts: number[] = [];
  while (intake.length > 0) counts.push(intake.take(100, 1500).length);
  expect(counts).toEqual([2, 1, 1, 1]);
});

test("a failed batch halves the next ones, and each that is committed doubles them again", () => {
  const intake = new Intake(64);
  intake.shrink(10);
  expect(intake.batchInputs).toBe(5);
  for (let batch = 0; batch < 5; batch++) intake.grow();
  expect(intake.batchInputs).toBe(64);
});
