import { idempotencyKey } from "@wheelwork/core/kernel";
import { assert, constantFrom, integer, oneof, property, string } from "fast-check";
import { expect, test } from "vitest";

const keyOf = (key: string): string => idempotencyKey({ key: "r-1" }, { key, number: 3, callee: "pay" });

/** Any text, also one that was cut in the middle of a character. */
const text = string({ unit: integer({ min: 0, max: 0xff_ff }).map((code) => String.fromCharCode(code)) });

test("a key that a hub gives makes an ASCII key, and two keys never make the same", () => {
  const look = oneof(
    text,
    constantFrom("\ud83d", "%uD83D", "%D83D", "\ude80\ud83d", "\u{1f680}", "a b", "%20"),
  );
  assert(
    property(look, look, (a, b) => {
      expect(keyOf(a)).toMatch(/^[\x21-\x7e]+$/);
      expect(keyOf(a) === keyOf(b)).toBe(a === b);
    }),
    { numRuns: 2000 },
  );
});

test("whole characters are percent-encoded, and halves of them cannot be mistaken", () => {
  expect(keyOf("flow 🚀")).toBe("/pay/r-1/k:flow%20%F0%9F%9A%80");
  expect(keyOf("flow 🚀".slice(0, -1))).toBe("/pay/r-1/k:flow%20%uD83D");
});
