import { expect, test } from "vitest";
import { seeded } from "../src/floodlight/faults.ts";
import { numbersOf, withNumber, type Ranges } from "../src/ranges.ts";

const rangesOf = (numbers: readonly number[]): Ranges => numbers.reduce<Ranges>(withNumber, []);

test("numbers in order are one range", () => {
  expect(rangesOf([0, 1, 2, 3])).toEqual([{ first: 0, last: 3 }]);
  expect(rangesOf([3, 2, 1])).toEqual([{ first: 1, last: 3 }]);
});

test("a number between two ranges joins them, one that is there changes nothing", () => {
  expect(rangesOf([1, 3, 2])).toEqual([{ first: 1, last: 3 }]);
  expect(rangesOf([1, 2, 3, 2, 9, 9])).toEqual([
    { first: 1, last: 3 },
    { first: 9, last: 9 },
  ]);
});

test("they hold what was put in, whatever the order", () => {
  const random = seeded(1);
  for (let round = 0; round < 200; round++) {
    const numbers = Array.from({ length: 30 }, () => Math.floor(random() * 40));
    const ranges = rangesOf(numbers);
    expect(numbersOf(ranges)).toEqual([...new Set(numbers)].toSorted((a, b) => a - b));
    const gaps = ranges.slice(1).map(({ first }, index) => first - (ranges[index]?.last ?? 0));
    expect(gaps.every((gap) => gap > 1)).toBe(true);
  }
});
