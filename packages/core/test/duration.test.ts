import { assert, double, integer, nat, oneof, property } from "fast-check";
import { describe, expect, it } from "vitest";
import { durationText } from "../src/duration.ts";

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
const year = 365 * day;

describe("a duration as text", () => {
  it.each([
    [0, "0 ms"],
    [1, "1 ms"],
    [100, "100 ms"],
    [999, "999 ms"],
    [second, "1 s"],
    [1001, "1.001 s"],
    [1500, "1.5 s"],
    [2500, "2.5 s"],
    [30 * second, "30 s"],
    [minute, "1 min"],
    [minute + 500, "1 min 0.5 s"],
    [70 * second, "1 min 10 s"],
    [2 * minute, "2 min"],
    [90 * minute, "1 h 30 min"],
    [hour, "1 h"],
    [hour + 1, "1 h 0.001 s"],
    [263_040_000, "3 d 1 h 4 min"],
    [day, "1 d"],
    [day + minute, "1 d 1 min"],
    [10 * year, "3650 d"],
    [day + hour + minute + second + 1, "1 d 1 h 1 min 1.001 s"],
    [Number.MAX_SAFE_INTEGER, "104249991 d 8 h 59 min 0.991 s"],
  ])("%d ms is %s", (ms, text) => {
    expect(durationText(ms)).toBe(text);
  });

  it.each([
    [0.5, "0.5 ms"],
    [1 / 3, "0.333 ms"],
    [0.1 + 0.2, "0.3 ms"],
    [999.9999, "1 s"],
    [1000.5, "1.0005 s"],
    [minute - 0.0001, "1 min"],
    [day + 0.1, "1 d 0.0001 s"],
    // It has no digit among the first three, but it is not 0.
    [0.0001, "0.0001 ms"],
  ])("of fractions: %d ms is %s", (ms, text) => {
    expect(durationText(ms)).toBe(text);
  });

  it("loses no millisecond", () => {
    const whole = oneof(nat(2 * second), nat(2 * hour), nat(2 * day), integer({ min: 0, max: 100 * year }));
    assert(
      property(whole, (ms) => {
        expect(msOf(durationText(ms))).toBe(ms);
      }),
    );
  });

  it("loses less than a thousandth of a millisecond of a fraction", () => {
    const fraction = oneof(
      double({ min: 0, max: 2 * second, noNaN: true }),
      double({ min: 0, max: 100 * year, noNaN: true }),
    );
    assert(
      property(fraction, (ms) => {
        const read = msOf(durationText(ms));
        expect(Math.abs(read - ms)).toBeLessThan(0.001);
        expect(read === 0).toBe(ms === 0);
      }),
    );
  });

  it.each([
    ["d", day, 10_000],
    ["h", hour, 24],
    ["min", minute, 60],
    ["s", second, 60],
    ["ms", 1, 1000],
  ] as const)("of a whole number of %s has no other part", (name, size, limit) => {
    assert(
      property(integer({ min: 1, max: limit - 1 }), (count) => {
        expect(durationText(count * size)).toBe(`${count} ${name}`);
      }),
    );
  });
});

/** Reads a text back, and refuses what people would not say: `90 min`, `0 h`, `1 s 1 min`, `1000 ms`. */
function msOf(text: string): number {
  const [, count] = /^(\d\S*) ms$/.exec(text) ?? [];
  if (count !== undefined && Number(count) < second) return Number(count);
  const parts = [...text.matchAll(/([1-9]\d*|\d+\.\d+(?= s)) (d|h|min|s)(?: |$)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text) throw new Error(text);
  let ms = 0;
  let next = Infinity;
  for (const [part, number, unit] of parts) {
    const size = { d: day, h: hour, min: minute, s: second }[unit as "d" | "h" | "min" | "s"];
    // Otherwise a larger unit would have been there for it.
    if (Number(number) * size >= next) throw new Error(`${part} in ${text}`);
    next = size;
    ms += Number(number) * size;
  }
  return Math.round(ms * 1000) / 1000;
}
