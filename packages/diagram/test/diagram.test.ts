import { stay, type RunEvent } from "@wheelwork/core";
import { assert, asyncProperty, string, uniqueArray } from "fast-check";
import { describe, expect, it } from "vitest";
import { toSvg } from "../src/index.ts";
import { entered, flowCreate, pair, settled } from "./hubs.ts";
import { readXml } from "./xml.ts";

const untilInstalling = [
  ...entered(["Initialized"], ["ResourceAllocated", "Next"], ["InstallingRules", "Next"]),
  ...settled(4, "RuleInstalled"),
];

describe("flow-create", () => {
  it("is an image with each state and each event, what the states do, and a title", async () => {
    const { texts } = readXml(await toSvg(flowCreate));
    const { chart } = flowCreate.definition;
    for (const [state, row] of Object.entries(chart)) {
      expect(texts).toContain(state);
      for (const event of typeof row === "string" ? [] : Object.keys(row)) {
        expect(texts.some((text) => text === event || text === `${event} ↺`)).toBe(true);
      }
    }
    expect(texts).toContain("each install-rule (limit 10, drain)");
    expect(texts).toContain("after 500 ms: TimeoutRaised");
    expect(texts).toContain("version 1 · flow-create answers each request within 2.5 s");
  });

  it("has one box for each state and one arrow for each edge", async () => {
    const svg = await toSvg(flowCreate);
    const { chart } = flowCreate.definition;
    const moves = Object.values(chart).flatMap((row) =>
      typeof row === "string" ? [] : Object.values(row).filter((target) => target !== stay),
    );
    expect(svg.match(/<g class="node state /g)).toHaveLength(Object.keys(chart).length);
    expect(svg.match(/<g class="edge (?:event|deadline|timer|cancel)"/g)).toHaveLength(moves.length);
  });

  it("tells those who do not see it what it shows", async () => {
    const { elements } = readXml(await toSvg(flowCreate, { history: untilInstalling }));
    const [root, title, desc] = elements;
    expect(root).toMatchObject({
      name: "svg",
      attributes: { role: "img", "aria-label": "flow-create, version 1: running" },
    });
    expect(title).toMatchObject({ name: "title", text: "flow-create, version 1: running" });
    expect(desc?.name).toBe("desc");
    expect(desc?.text).toContain(
      "Initialized, Next to ResourceAllocated, Next to InstallingRules (running).",
    );
  });

  it("can stand several times in one page of any colour", async () => {
    const svg = await toSvg(flowCreate);
    const { elements } = readXml(svg);
    expect(elements.filter(({ attributes }) => "id" in attributes)).toEqual([]);
    const [background] = elements.filter(({ name }) => name === "polygon");
    expect(background?.attributes).toMatchObject({ fill: "#ffffff" });
    expect(svg.startsWith("<svg ")).toBe(true);
  });

  it("shows a run's path and its present state", async () => {
    const incident: RunEvent = {
      type: "incident",
      at: 9,
      error: { code: "WW_DEFECT", message: "a handler threw" },
      input: { kind: "due" },
    };
    const svg = await toSvg(flowCreate, { history: [...untilInstalling, incident] });
    expect(svg.match(/<g class="edge event taken"/g)).toHaveLength(2);
    expect(svg.match(/<g class="node state visited"/g)).toHaveLength(2);
    expect(svg).toMatch(/<g class="node state incident">\s*<title>InstallingRules<\/title>/);
    const { texts } = readXml(svg);
    for (const text of ["1 · Next", "2 · Next", "RuleInstalled ↺ 4×", "incident: WW_DEFECT"])
      expect(texts).toContain(text);
  });

  it("is the same each time, also when drawn at the same time", async () => {
    const [first, ...others] = await Promise.all([toSvg(flowCreate), toSvg(flowCreate), toSvg(flowCreate)]);
    for (const other of others) expect(other).toBe(first);
  });
});

describe("names of every kind", () => {
  it("are shown as they are, in well-formed XML", async () => {
    const names = [
      'a"b',
      "back\\slash\\",
      "<b>&amp;</b>",
      "</text></svg>",
      "]]>",
      "<!-- -->",
      "$&$1",
      "日本語",
      "a  b",
    ];
    const { texts } = readXml(await toSvg(pair(names)));
    for (const name of names) expect(texts).toContain(name);
  });

  it("leave no invisible characters in it", async () => {
    const { texts } = readXml(await toSvg(pair(["two\nlines", "\u202Ereversed\u0000\uD800"])));
    expect(texts).toContain("two\\u000alines");
    expect(texts).toContain("\\u202ereversed\\u0000\uFFFD");
  });

  it("never break it", async () => {
    const names = uniqueArray(string({ unit: "binary" }), { minLength: 1, maxLength: 5 }).map((some) =>
      some.map((name) => `s${name}`),
    );
    await assert(
      asyncProperty(names, async (some) => {
        const history = some.map((state, at): RunEvent => ({ type: "entered", at, state, by: "e" }));
        const { elements } = readXml(await toSvg(pair(some), { history }));
        const nodes = elements.filter(({ attributes }) => attributes["class"]?.startsWith("node state "));
        expect(nodes).toHaveLength(some.length + 1);
      }),
      { numRuns: 50 },
    );
  });
});
