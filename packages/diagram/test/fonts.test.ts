import type { RunEvent } from "@wheelwork/core";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { toSvg } from "../src/index.ts";
import { measureInDejaVu, missingForDejaVu, type Box, type MeasuredPicture, type Point } from "./browser.ts";
import { approval, entered, flowCreate, pair, settled } from "./hubs.ts";

const incident: RunEvent = {
  type: "incident",
  at: 9,
  error: { code: "WW_DEFECT", message: "a handler threw" },
  input: { kind: "due" },
};

const names = [
  "Wide: WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW@@@@@@@@@@mmmmmmmmmmmmmmm",
  "Narrow: iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii........!!!!!!!!!!",
  "Ожидание подтверждения руководителя отдела снабжения",
  "Αναμονή για την έγκριση του διευθυντή",
  "Größenänderungsbestätigung für Österreich",
  "注文の承認を待っています",
  "→ ↺ × · … ━ ■ 🚀🚀🚀",
  '<b>&amp;</b> "quoted" back\\slash',
];

/** A state for each letter: none may be much wider in DejaVu than Graphviz assumes. */
const letters = Array.from({ length: 94 }, (_, at) => `is ${String.fromCharCode(33 + at).repeat(20)}`);

/** Every kind of text that a diagram of a hub has. */
async function pictures(): Promise<Record<string, string>> {
  const docs = (file: string): string =>
    readFileSync(resolve(import.meta.dirname, "../../../docs", file), "utf8");
  const installing = entered(["Initialized"], ["ResourceAllocated", "Next"], ["InstallingRules", "Next"]);
  const around = entered(
    ["Asking"],
    ["Waiting", "Asked"],
    ["Asking", "Again"],
    ["Waiting", "Asked"],
    ["Waiting", "Repeated"],
    ["Waiting", "Repeated"],
    ["Waiting", "Repeated"],
    ["Waiting", "Repeated"],
    ["OfAnotherVersion", "RemovedInTheMeantime"],
    ["Undoing"],
    ["Done", "Undone"],
  );
  return {
    "docs/flow-create.svg": docs("flow-create.svg"),
    "docs/flow-crud-storm.svg": docs("flow-crud-storm.svg"),
    "a large chart": await toSvg(flowCreate),
    "an incident": await toSvg(flowCreate, {
      history: [...installing, ...settled(1234, "RuleInstalled"), incident],
    }),
    "circles and long durations": await toSvg(approval),
    "a run that went around, of another version": await toSvg(approval, {
      history: [...around, { type: "ended", at: 0, answer: { kind: "result", value: "approved" } }],
    }),
    "every letter": await toSvg(pair(letters)),
    "names of every kind": await toSvg(pair(names)),
    "a run through names of every kind": await toSvg(pair(names), {
      history: names.map((state, at) => ({ type: "entered", at, state, by: names[at - 1] ?? "" })),
    }),
  };
}

test.for([4000, 600])(
  "where DejaVu is the only font, no text leaves its box (%d px wide)",
  async (widthPx, context) => {
    const missing = missingForDejaVu();
    if (missing !== undefined) context.skip(missing);
    const drawn = await pictures();
    const measured = await measureInDejaVu(Object.values(drawn), widthPx);
    // The fonts are DejaVu's, and not Arial's (456 and 500 wide). Hinting may cost a pixel or two.
    expect(measured.regular / 522.4).toBeCloseTo(1, 1);
    expect(measured.bold / 592.6).toBeCloseTo(1, 1);
    for (const [index, name] of Object.keys(drawn).entries()) {
      const picture = measured.pictures[index] as MeasuredPicture;
      expect(picture.texts.length, name).toBeGreaterThan(5);
      expect.soft(problemsOf(picture), name).toEqual([]);
    }
  },
);

test("texts are anchored in their middle", async () => {
  for (const [name, svg] of Object.entries(await pictures())) {
    const anchors = [...svg.matchAll(/<text [^>]*text-anchor="(\w+)"/g)].map(([, anchor]) => anchor);
    expect(new Set(anchors), name).toEqual(new Set(["middle"]));
  }
});

/** What a reader would see: texts that leave their box or the picture, and texts that something else lies on. */
function problemsOf({ canvas, texts, nodes, lines }: MeasuredPicture): string[] {
  return texts.flatMap(({ text, owner, kind, box, outlines }, index) => {
    const problems: string[] = [];
    if (roomIn(canvas, box) < leastRoom) problems.push("leaves the picture");
    for (const outline of outlines) {
      const room = roomIn(outline.box, box);
      if (!outline.holds || room < leastRoom) problems.push(`has ${room.toFixed(1)} pt of room in its box`);
    }
    for (const other of texts.slice(index + 1)) {
      if (overlap(box, other.box)) problems.push(`lies on "${other.text}" of ${other.kind} ${other.owner}`);
    }
    for (const { title, box: node } of nodes) {
      if (kind !== "node" && overlap(box, node)) problems.push(`lies on node ${title}`);
    }
    for (const { title, points } of lines) {
      if (points.some((point) => isIn(box, point))) problems.push(`is crossed by the line ${title}`);
    }
    return problems.map((problem) => `"${text}" of ${kind} ${owner} ${problem}`);
  });
}

const leastRoom = 3;

/** The room that is left and right of a box inside another one: the lesser of the two. */
function roomIn(outer: Box, inner: Box): number {
  return Math.min(inner.x - outer.x, outer.x + outer.width - inner.x - inner.width);
}

/** Lines of one label touch each other: what counts is more than a hair. */
function overlap(a: Box, b: Box): boolean {
  const hair = 0.5;
  return (
    a.x + hair < b.x + b.width &&
    b.x + hair < a.x + a.width &&
    a.y + hair < b.y + b.height &&
    b.y + hair < a.y + a.height
  );
}

function isIn({ x, y, width, height }: Box, point: Point): boolean {
  return point.x > x && point.x < x + width && point.y > y && point.y < y + height;
}
