import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { compile, type Found } from "./compiler.ts";
import { mistakes, type Mistake } from "./mistakes.ts";
import { cases, hubOf, maxHoverMs, mistaken, placesOf, sizes } from "./sizes.ts";

/*
 * The first error that the compiler shows for a mistake in a hub names the wrong word. Each mistake is made in the text of
 * shop.ts. All texts are compiled as one program, with the API of the compiler.
 */

const shop = readFileSync(new URL("shop.ts", import.meta.url), "utf8");
const [imports, spokes, ...others] = shop.split(/^(?=\/\/ ---- )/m) as [string, string, ...string[]];

/** A text with a mistake, and the marked word in it. */
interface Changed {
  readonly text: string;
  readonly start: number | undefined;
  readonly end: number | undefined;
  readonly word: string;
}

/** The part of shop.ts with a change, what it needs before it, and where the marked word is. */
function change({ from, to }: Pick<Mistake, "from" | "to">, [open, close] = ["«", "»"]): Changed {
  const parts = [spokes, ...others].filter((part) => part.includes(from));
  const [part] = parts;
  if (part === undefined || parts.length > 1 || part.split(from).length > 2)
    throw new Error(`shop.ts does not have this once: ${from}`);
  const needed =
    part === spokes
      ? [imports]
      : part === others.at(-1)
        ? [imports, spokes, ...others.slice(0, -1)]
        : [imports, spokes];
  const before = needed.join("") + part.slice(0, part.indexOf(from));
  const after = part.slice(part.indexOf(from) + from.length);
  const at = before.length;
  const marked = to.includes(open);
  const start = marked ? at + to.indexOf(open) : undefined;
  const end = marked ? at + to.indexOf(close) - open.length : undefined;
  const text = before + to.replace(open, "").replace(close, "") + after;
  return { text, start, end, word: text.slice(start ?? 0, end ?? 0) };
}

// What an editor offers, at the caret.
const offers = [
  ["a target", `AllReserved: "Choosing"`, `AllReserved: "|"`, ["Choosing", "Undone", "(stay)"]],
  ["an event of a state that passes", `Noting: "Noted"`, `Noting: "|"`, ["Noted"]],
  ["an event of s.raise", `s.raise("NotPaid",`, `s.raise("|",`, ["Paid", "NotPaid", "TimeRanOut"]],
  ["an event of done", `done: "AllReserved"`, `done: "|"`, ["AllReserved", "NotReserved"]],
  ["an event of a cancel", `raise: "Cancelled"`, `raise: "|"`, ["Cancelled", "TimeRanOut"]],
  [
    "a code of an error",
    `s.fail("refused", "the order`,
    `s.fail("|", "the order`,
    ["refused", "unavailable"],
  ],
  [
    "a value in a patch",
    `s.raise("NotPaid", { reason: "refused"`,
    `s.raise("NotPaid", { reason: "|"`,
    ["cancelled", "refused"],
  ],
  ["a signal to a run", `signal: "came"`, `signal: "|"`, ["came", "shut"]],
  ["a signal to a run by a handler", `"came", { pieces: count }`, `"|", { pieces: count }`, ["came", "shut"]],
] as const;

const unfinished = shop
  .slice(0, shop.indexOf("    data: ({ number, card"))
  .replace(`Noted: "Undone"`, `Noted: ""`);

const changed = mistakes.map((mistake) => change(mistake));
const offered = offers.map(([, from, to]) => change({ from, to }, ["|", "|"]));
const texts = new Map([
  ["shop", shop],
  ["unfinished", unfinished],
]);
changed.forEach(({ text }, index) => texts.set(`mistake-${index}`, text));
offered.forEach(({ text }, index) => texts.set(`offer-${index}`, text));
for (const states of sizes) texts.set(`large-${states}`, hubOf(states));
cases.forEach((one, index) => texts.set(`case-${index}`, mistaken(one)));
const program = compile(texts);
afterAll(() => program.close());

// First of all: the compiler has looked at nothing yet.
describe("an editor shows within a second what is in a hub", () => {
  test.each(sizes)("of %s states", (states) => {
    const name = `large-${states}`;
    const text = texts.get(name) ?? "";
    const last = placesOf(states).at(-1) ?? 0;
    const times: number[] = [];
    const hover = (within: string, word: string): string => {
      const at = text.indexOf(word, text.indexOf(within)) + 1;
      const from = performance.now();
      const shown = program.hover(name, at);
      times.push(performance.now() - from);
      return shown;
    };
    // What a compiler has not looked at yet: the first one checks the chart and the data.
    expect(hover(`    State${last}: (s)`, "log")).toBe("readonly string[]");
    expect(hover(`    State0: (s)`, "failure")).toContain("EngineFailure");
    expect(hover(`    State1: (s)`, "by")).toBe("number");
    expect(hover("export const", "large")).toContain("Hub<");
    const most = Math.max(...times);
    console.log(`hovers in ${states} states: ${times.map((ms) => ms.toFixed(0)).join(", ")} ms`);
    expect(most).toBeLessThan(maxHoverMs);
  });
});

test("what is right compiles", () => {
  expect(program.errors("shop")).toEqual([]);
});

/** Whether an error is at the marked word, or says what it must. */
function names(found: Found, { start, end, word }: Changed, says: string | undefined): boolean {
  if (says !== undefined) return found.message.includes(says);
  if (start === undefined || end === undefined)
    throw new Error("no word is marked, and nothing is to be said");
  if (found.start >= start && found.end <= end) return true;
  // The compiler marks the name of the field whose value is wrong. Its message has the value.
  return word.startsWith('"') && found.message.includes(word);
}

describe("the first error names the wrong word:", () => {
  test.each(mistakes.map((mistake, index) => ({ ...mistake, index })))(
    "$what",
    ({ says, errors = 1, index }) => {
      const found = program.errors(`mistake-${index}`);
      const messages = found.map(({ message }) => message).join("\n\n");
      expect(found[0], messages).toSatisfy((first: Found) => names(first, changed[index]!, says));
      expect(found.length, messages).toBeLessThanOrEqual(errors);
    },
  );
});

describe("an editor offers", () => {
  test.each(offers.map(([what, , , names], index) => ({ what, names, index })))(
    "$what",
    ({ names, index }) => {
      const { start } = offered[index]!;
      expect(program.completions(`offer-${index}`, start!)).toEqual(expect.arrayContaining([...names]));
    },
  );

  test("targets in a hub that is being written", () => {
    const caret = unfinished.indexOf(`Noted: ""`) + `Noted: "`.length;
    expect(program.completions("unfinished", caret)).toEqual(expect.arrayContaining(["Undone", "(stay)"]));
  });
});

test.each(sizes)("a hub of %s states compiles", (states) => {
  expect(program.errors(`large-${states}`)).toEqual([]);
});

describe("the first error names the wrong word in a hub", () => {
  test.each(cases.map((one, index) => ({ ...one, index })))(
    "of $states states, in state $n: $what",
    ({ states, n, what, word, index }) => {
      const found = program.errors(`case-${index}`);
      const text = texts.get(`case-${index}`) ?? "";
      const [first] = found;
      const messages = found.map(({ message }) => message).join("\n\n");
      expect(first && `${text.slice(first.start, first.end)}: ${first.message}`, messages).toContain(word);
      // A state under another name gets no types, so that each of its parameters is an error, too.
      const most = what === "the name of a state" ? 10 : 1;
      expect(found.length, `${states} ${n} ${messages}`).toBeLessThanOrEqual(most);
    },
  );
});
