import { Secrets } from "@wheelwork/core/kernel";
import { expect, test } from "vitest";

const paths = (...names: string[]): string[][] => names.map((name) => name.split("."));

test("a path names a field wherever it is, in lists, under other fields, and with dots in its own name", () => {
  const secrets = new Secrets(paths("card", "payment.pin", "a.b", "__proto__", "toString"), []);
  const given = JSON.parse(
    '{"card":1,"cards":2,"list":[{"card":3,"n":{"card":[4]}}],"payment":{"pin":5,"x":{"pin":6}},"pin":7,' +
      '"a.b":8,"a":{"b":9,"x.a.b":10,"x":{"a":{"b":11}}},"ba":{"b":12},"__proto__":{"n":13},"toString":14}',
  ) as unknown;
  expect(JSON.stringify(secrets.hide(given))).toBe(
    '{"card":"[secret]","cards":2,"list":[{"card":"[secret]","n":{"card":"[secret]"}}],' +
      '"payment":{"pin":"[secret]","x":{"pin":6}},"pin":7,"a.b":"[secret]",' +
      '"a":{"b":"[secret]","x.a.b":"[secret]","x":{"a":{"b":"[secret]"}}},"ba":{"b":12},' +
      '"__proto__":"[secret]","toString":"[secret]"}',
  );
});

test.each([
  ["is abcd.", "is [secret]."],
  ["abcdabcd", "[secret][secret]"],
  ["abcdefgh", "[secret]"],
  ["abcdefg", "[secret]g"],
  ["xdefghx", "x[secret]x"],
  ["abc", "abc"],
  ["12345 and 123", "[secret] and 123"],
  ["tail efghi", "tail [secret]"],
  ["", ""],
])("what a text repeats of secrets is hidden, also where they overlap: %s", (text, hidden) => {
  const values = [{ card: ["abcd", "abcdef", "defgh", 12345, true, "efghi", "abc", { deep: "unseen" }] }];
  expect(new Secrets(paths("card"), values).hideIn(text)).toBe(hidden);
});

/** The best of several tries, in milliseconds. */
function timed(work: () => void): number {
  return Math.min(
    ...Array.from({ length: 5 }, () => {
      const begun = performance.now();
      work();
      return performance.now() - begun;
    }),
  );
}

test("ten thousand paths and secrets cost what ten do", () => {
  const cost = (count: number): number => {
    const named = paths(...Array.from({ length: count }, (_, n) => `part${n}.secret`));
    const held = Object.fromEntries(
      Array.from({ length: count }, (_, n) => [`part${n}`, { secret: `text ${n}.` }]),
    );
    const secrets = new Secrets(named, [held]);
    const value = Array.from({ length: 500 }, (_, n) => ({ other: { secret: n }, part5: { secret: n } }));
    const text = "text 5. and text 5, and no other. ".repeat(200);
    return timed(() => {
      secrets.hide(value);
      secrets.hideIn(text);
    });
  };
  // One look at all of them for each field would take a thousand times as long.
  expect(cost(10_000)).toBeLessThan(50 * cost(10) + 20);
});
