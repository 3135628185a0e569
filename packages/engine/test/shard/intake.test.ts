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

test("says how long the first item has waited", () => {
  const intake = new Intake(100);
  const push = (at: number): void => {
    intake.mark(at);
    intake.push(requestOf(`k${at}`, "h", {}));
  };
  expect(intake.waitMs(1000)).toBe(0);
  push(1000);
  push(1003);
  push(1100);
  expect(intake.waitMs(1150)).toBe(150);
  intake.take(1);
  // Times that are close to each other count as one.
  expect(intake.waitMs(1150)).toBe(150);
  intake.take(1);
  expect(intake.waitMs(1150)).toBe(50);
  intake.take(1);
  expect(intake.waitMs(1150)).toBe(0);
  push(2000);
  expect(intake.waitMs(2010)).toBe(10);
});

test("counts what the requests weigh that wait, and forgets what is decided", () => {
  const intake = filled(1000, 2000);
  expect(intake.requestBytes).toBeGreaterThan(3000);
  for (const item of intake.take(1)) intake.requestDone(item);
  expect(intake.requestBytes).toBeGreaterThan(2000);
  expect(intake.requestBytes).toBeLessThan(3000);
  intake.drain();
  expect(intake.requestBytes).toBe(0);
});

test("what waits for large values, or for what is excused, is not late", () => {
  const intake = new Intake(100);
  let at = 1000;
  const push = (size: number): void => {
    intake.mark(at);
    intake.push(requestOf("k", "h", { doc: "x".repeat(size) }));
  };
  push(1_000_000);
  push(1_000_000);
  push(10);
  at += 5000;
  expect(intake.waitMs(at)).toBe(5000);
  intake.excuse(5000);
  expect(intake.turn(at)).toBe(0);
  for (let turn = 0; turn < 2; turn++) {
    intake.take(100, 1_000_000);
    at += 2000;
    expect(intake.waitMs(at)).toBe(0);
    expect(intake.turn(at)).toBe(0);
  }
  // What waits for small ones is.
  push(10);
  intake.take(1, 1_000_000);
  at += 300;
  expect(intake.turn(at)).toBe(300);
});

test("what was taken and put back is the first, and counts again", () => {
  const intake = filled(1000, 2000, 3000);
  const taken = intake.take(2);
  for (const item of taken) intake.requestDone(item);
  intake.putBack(taken.slice(1));
  expect([intake.length, intake.requests]).toEqual([2, 2]);
  expect(intake.requestBytes).toBeGreaterThan(5000);
  expect(intake.take(5).map((item) => ("key" in item ? item.key : ""))).toEqual(["k1", "k2"]);
});
