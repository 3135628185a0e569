import { assert, boolean, constantFrom, oneof, property, string, uniqueArray } from "fast-check";
import { describe, expect, it } from "vitest";
import { captionOf, pathOf, toDot, toMermaid } from "../src/diagram.ts";
import { end, stay } from "../src/chart.ts";
import { hub, type AnyHub } from "../src/hub.ts";
import type { RunEvent } from "../src/events.ts";
import type { Schema } from "../src/schema.ts";
import { spoke } from "../src/spoke.ts";

const any = <T>(): Schema<T> => ({
  "~standard": { version: 1 as const, vendor: "test", validate: (value: unknown) => ({ value: value as T }) },
});

const ask = spoke("ask", { input: any<null>(), output: any<null>(), timeoutMs: 10 });
const undo = spoke("undo", { input: any<null>(), output: any<null>(), timeoutMs: 10 });

const approval = hub(
  "approval",
  {
    request: any<null>(),
    reply: any<string>(),
    errors: ["refused"],
    deadlineMs: 60_000,
    chart: {
      Asking: { Next: "Waiting", TimeoutRaised: "Undoing" },
      Waiting: {
        Reminded: stay,
        Approved: "Done",
        Again: "Asking",
        TimeoutRaised: "Undoing",
        Cancelled: "Undoing",
      },
      Undoing: { Next: "Refused", TimeoutRaised: "Refused" },
      Done: end,
      Refused: end,
    },
    data: () => ({}),
    signals: { approve: any<null>(), remind: any<null>() },
    cancel: "Cancelled",
  },
  {
    Asking: (s) => s.call(ask, { input: () => null, settled: "Next", deadline: "TimeoutRaised" }),
    Waiting: (s) =>
      s.wait({ on: { approve: "Approved", remind: () => "Reminded" }, deadline: "TimeoutRaised" }),
    Undoing: (s) =>
      s.each(undo, {
        inputs: () => [],
        settled: "Next",
        done: "Next",
        after: { TimeoutRaised: 500 },
        limit: 2,
        drain: true,
      }),
    Done: () => "approved",
    Refused: (_, s) => s.fail("refused", "not approved"),
  },
);

const entered = (state: string, by?: string): RunEvent => ({
  type: "entered",
  at: 0,
  state,
  ...(by === undefined ? {} : { by }),
});
const reminded: RunEvent = {
  type: "signalled",
  at: 0,
  id: "1",
  signal: "remind",
  payload: null,
  taken: true,
  by: "Reminded",
};
const waiting = [
  entered("Asking"),
  entered("Waiting", "Next"),
  entered("Asking", "Again"),
  entered("Waiting", "Next"),
  reminded,
  reminded,
];
const incident: RunEvent = {
  type: "incident",
  at: 0,
  error: { code: "WW_DEFECT", message: "a handler threw" },
  input: { kind: "due" },
};

/** The statement of a node or an edge in DOT, or of a node in Mermaid. */
function statement(text: string, start: string): string {
  const found = text.split("\n").filter((line) => line.trim().startsWith(start));
  expect(found).toHaveLength(1);
  return found[0] as string;
}

function linksOf(mermaid: string, style: RegExp): number[] {
  const lines = mermaid.split("\n").filter((line) => line.startsWith("  linkStyle") && style.test(line));
  return lines.flatMap((line) => (line.split(" ")[3] ?? "").split(",").map(Number)).toSorted((a, b) => a - b);
}

describe("a chart", () => {
  it("is drawn as DOT", () => {
    expect(toDot(approval)).toBe(DOT);
  });

  it("is drawn as Mermaid", () => {
    expect(toMermaid(approval)).toBe(MERMAID);
  });

  it("is drawn the same each time", () => {
    expect(toDot(approval, { history: waiting })).toBe(
      toDot(approval, { history: structuredClone(waiting) }),
    );
    expect(toMermaid(approval, { history: waiting })).toBe(
      toMermaid(approval, { history: structuredClone(waiting) }),
    );
  });

  it("is described in words", () => {
    expect(captionOf(approval)).toEqual({
      title: "approval, version 1",
      description:
        "approval answers each request within 1 min 0.5 s. 5 states: Asking, Waiting, Undoing, Done, Refused. " +
        "It begins in Asking and ends in Done, Refused. Clean-up after the deadline: Undoing, Refused.",
    });
  });

  it("says what each kind of state does", () => {
    const child = hub(
      "child",
      {
        request: any<null>(),
        reply: any<null>(),
        deadlineMs: 5,
        chart: { Only: { Next: "Done" }, Done: end },
        data: () => ({}),
      },
      { Only: "Next", Done: () => null },
    );
    const kinds = hub(
      "kinds",
      {
        request: any<null>(),
        reply: any<null>(),
        deadlineMs: 5000,
        deadline: "Late",
        chart: {
          Steps: { Next: "Child", Late: "Done" },
          Child: { Next: "Choice", Late: "Done" },
          Choice: { Next: "Told" },
          Told: { Next: "Started" },
          Started: { Next: "StartedByName" },
          StartedByName: { Next: "Signalled" },
          Signalled: { Next: "Done" },
          Done: end,
        },
        data: () => ({}),
      },
      {
        Steps: (s) =>
          s.sequence(
            [ask, undo, ask, undo, ask, undo].map((callee) => s.step(callee, { input: () => null })),
            { failed: "Next", done: "Next", after: { Late: 3_600_000 } },
          ),
        Child: (s) => s.call(child, { input: () => null, settled: "Next", after: { Late: 1500 } }),
        Choice: (s) => s.pick(() => "Next"),
        Told: (s) => s.tell(ask, { input: () => null, next: "Next" }),
        Started: (s) => s.start(child, { input: () => null, next: "Next" }),
        StartedByName: (s) => s.start("kinds", { input: () => null, next: "Next" }),
        Signalled: (s) =>
          s.signalRun(approval, { id: () => "a", signal: "approve", payload: () => null, next: "Next" }),
        Done: () => null,
      },
    );
    const dot = toDot(kinds);
    const saysOf = (state: string): string[] =>
      [...statement(dot, `"${state}" [`).matchAll(/<FONT POINT-SIZE="10">(.*?)<\/FONT>/g)].map(
        ([, text]) => text ?? "",
      );
    expect(saysOf("Steps")).toEqual(["sequence ask → undo → ask → undo → ask", "→ undo", "after 1 h: Late"]);
    expect(saysOf("Child")).toEqual(["call hub child", "after 1.5 s: Late"]);
    expect(saysOf("Choice")).toEqual(["pick"]);
    expect(saysOf("Told")).toEqual(["tell ask"]);
    expect(saysOf("Started")).toEqual(["start hub child"]);
    expect(saysOf("StartedByName")).toEqual(["start hub kinds"]);
    expect(saysOf("Signalled")).toEqual(["signal approve to hub approval"]);
    expect(saysOf("Done")).toEqual([]);
  });

  it("shows a cancel only where it counts, and lists all causes of one event", () => {
    const spec = {
      request: any<null>(),
      reply: any<null>(),
      deadlineMs: 5,
      chart: { Working: { Stop: "Late" }, Late: { Stop: "Done" }, Done: end },
      data: () => ({}),
      cancel: "Stop",
    } as const;
    const stopped = hub("stopped", spec, {
      Working: (s) => s.wait({ on: {}, deadline: "Stop" }),
      Late: (s) => s.call(undo, { input: () => null, settled: "Stop", after: { Stop: 5 } }),
      Done: () => null,
    });
    const dot = toDot(stopped);
    expect(statement(dot, '"Working" -> "Late"')).toContain("Stop (or cancel)");
    expect(statement(dot, '"Late" -> "Done"')).toContain("Stop (or timer)");
  });
});

describe("a run", () => {
  it("has a path", () => {
    expect(pathOf(waiting)).toEqual([
      { from: "Asking", event: "Next", to: "Waiting" },
      { from: "Waiting", event: "Again", to: "Asking" },
      { from: "Asking", event: "Next", to: "Waiting" },
    ]);
    expect(pathOf([])).toEqual([]);
  });

  it("is marked with its steps, its present state and the states that it never entered", () => {
    const dot = toDot(approval, { history: waiting });
    expect(statement(dot, '"Asking" -> "Waiting"')).toContain("<B>&#160;1, 3 (2×) · Next&#160;</B>");
    expect(statement(dot, '"Waiting" -> "Asking"')).toContain("<B>&#160;2 · Again&#160;</B>");
    expect(statement(dot, '"Waiting" -> "Done"')).not.toContain("taken");
    expect(statement(dot, '"Waiting" [')).toMatch(/Reminded ↺ 2×.*>running<.*class="state running"/);
    expect(statement(dot, '"Asking" [')).toContain('class="state visited"');
    expect(statement(dot, '"Done" [')).toContain('class="state pale"');
    expect(statement(dot, '"Undoing" [')).toContain('class="state paleLate"');

    const mermaid = toMermaid(approval, { history: waiting });
    expect(mermaid).toContain('  s_Asking ==>|"1, 3 (2×) · Next"| s_Waiting\n');
    expect(mermaid).toContain("  class s_Waiting running\n");
    expect(linksOf(mermaid, /stroke-width/)).toEqual([1, 4]);
    expect(linksOf(mermaid, /./)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it("is marked as an incident, until it goes on", () => {
    const parked = toDot(approval, { history: [...waiting, incident] });
    expect(statement(parked, '"Waiting" [')).toMatch(/>incident: WW_DEFECT<.*class="state incident"/);
    const resumed = toDot(approval, { history: [...waiting, incident, { type: "resumed", at: 0, id: "r" }] });
    expect(statement(resumed, '"Waiting" [')).toContain('class="state running"');
  });

  it("is marked as an incident before its first state", () => {
    expect(captionOf(approval, { history: [incident] }).description).toContain(
      "entered no state (incident: WW_DEFECT)",
    );
    expect(toDot(approval, { history: [incident] })).not.toContain('class="state incident"');
  });

  it("is marked with its answer in its last state", () => {
    const done: RunEvent[] = [
      ...waiting,
      entered("Done", "Approved"),
      { type: "ended", at: 0, answer: { kind: "result", value: "approved" } },
    ];
    expect(statement(toDot(approval, { history: done }), '"Done" [')).toMatch(
      />ended: result<.*class="state succeeded"/,
    );
    const late: RunEvent[] = [
      ...waiting,
      entered("Undoing", "TimeoutRaised"),
      { type: "answered", at: 0, answer: { kind: "timeout", code: "WW_TIMEOUT", message: "too late" } },
    ];
    expect(statement(toDot(approval, { history: late }), '"Undoing" [')).toContain(">answered: timeout<");
    const ended: RunEvent[] = [...late, entered("Refused", "Next"), { type: "ended", at: 0 }];
    expect(statement(toDot(approval, { history: ended }), '"Refused" [')).toMatch(
      />ended: timeout<.*class="state failed".*peripheries=2/,
    );
    expect(captionOf(approval, { history: ended }).description).toMatch(
      / The run: Asking, Next to Waiting, .*, TimeoutRaised to Undoing, Next to Refused \(ended: timeout\)\.$/,
    );
  });

  it("of another version keeps its states and edges", () => {
    const history = [entered("Asking"), entered("Gone", "Left"), entered("Waiting")];
    const dot = toDot(approval, { history });
    expect(statement(dot, '"Gone" [')).toContain("not in this version");
    expect(statement(dot, '"Asking" -> "Gone"')).toContain("1 · Left (not in this version)");
    expect(statement(dot, '"Gone" -> "Waiting"')).toContain("2 · migration");
  });

  it("that took an edge many times shows how often, not each time", () => {
    const history = [entered("Asking")];
    for (let round = 0; round < 1000; round++)
      history.push(entered("Waiting", "Next"), entered("Asking", "Again"));
    expect(statement(toDot(approval, { history }), '"Asking" -> "Waiting"')).toContain(
      "<B>&#160;1, 3, … (1000×) · Next&#160;</B>",
    );
    expect(captionOf(approval, { history }).description.length).toBeLessThan(1500);
  });
});

/** A chain of waits with these names. An event of the same name leaves each state, and another one stays. */
function chain(names: readonly string[]): AnyHub {
  const rows = names.map((name, index) => [
    name,
    { [name]: names[index + 1] ?? "the end", [`${name}!`]: stay },
  ]);
  const behaviours = names.map((name, index) => [
    name,
    (s: { wait(options: unknown): unknown }) =>
      s.wait({ ...(index === 0 ? { deadline: name } : {}), after: { [name]: 5 }, on: { [name]: name } }),
  ]);
  const spec = {
    request: any<null>(),
    reply: any<null>(),
    deadlineMs: 5,
    chart: Object.fromEntries([...rows, ["the end", end]]) as Record<string, never>,
    data: () => ({}),
    signals: Object.fromEntries(names.map((name) => [name, any<null>()])),
  };
  return hub("chain", spec, Object.fromEntries([...behaviours, ["the end", () => null]]) as never);
}

const hostile = [
  "a – b ■ ━",
  'a"b',
  'back\\slash\\"',
  "two\nlines\r\n",
  "<b>&amp;</b>",
  "</TABLE>>];",
  "",
  "- list",
  "1. list",
  "`**bold**`",
  "end",
  "style:#quot;",
  "\u202Ereversed\u0000\uD800",
  "-->|x|",
  "%%{init: {}}%%",
  "]]>",
  "#2",
  "#start",
];
const nameOf = oneof(constantFrom(...hostile), string({ unit: "binary" }));
const namesOf = uniqueArray(nameOf, { minLength: 1, maxLength: 12 })
  .map((names) => names.filter((name) => !/^\d+$/.test(name) && name !== "the end" && name !== "__proto__"))
  .filter((names) => names.length > 0);

describe("names with any characters", () => {
  it("give each state and each edge one statement of DOT, and nothing else", () => {
    assert(
      property(namesOf, boolean(), (names, marked) => {
        const history = names.map((name, index) => entered(name, names[index - 1]));
        const lines = toDot(chain(names), marked ? { history } : {}).split("\n");
        const nodes = lines.filter((line) =>
          /^ {4}"[^"\\]+" \[label=<.*>, class="state [a-zA-Z]+"/.test(line),
        );
        const edges = lines.filter((line) =>
          /^ {4}"[^"\\]+" -> "[^"\\]+" \[label=<.*>, class="[a-z ]+"/.test(line),
        );
        expect(nodes).toHaveLength(names.length + 1);
        expect(new Set(nodes.map((line) => line.split(" [")[0])).size).toBe(nodes.length);
        expect(edges).toHaveLength(names.length);
        expect(lines).toHaveLength(nodes.length + edges.length + 11);
        for (const line of [...nodes, ...edges]) expectPlainLabel(line);
      }),
    );
  });

  it("give each state and each edge one statement of Mermaid, and nothing else", () => {
    assert(
      property(namesOf, (names) => {
        const lines = toMermaid(chain(names)).split("\n");
        const safe = String.raw`(?:[\p{L}\p{N}_ ,()·→↺×…━–■-]|#\d+;|<br/>|</?b>)*`;
        const nodes = lines.filter((line) =>
          new RegExp(`^  s\\w+(?:\\("${safe}"\\)|\\[\\["${safe}"\\]\\])$`, "u").test(line),
        );
        const edges = lines.filter((line) =>
          new RegExp(`^  s\\w+ -.->\\|"${safe}"\\| s\\w+$`, "u").test(line),
        );
        expect(nodes).toHaveLength(names.length + 1);
        expect(edges).toHaveLength(names.length);
        expect(lines.slice(0, 7).map((line) => line.trim().split(/[ (]/)[0])).toEqual([
          "---",
          "title:",
          "---",
          "flowchart",
          "accTitle:",
          "accDescr:",
          "start",
        ]);
        expect(lines[7 + nodes.length]).toMatch(/^ {2}start --> s\w+$/);
        expect(lines.slice(8 + nodes.length, 8 + nodes.length + edges.length)).toEqual(edges);
      }),
    );
  });
});

/** The label is text between the tags that diagrams use, and hides nothing. */
function expectPlainLabel(line: string): void {
  const [, label = ""] = /label=<(.*)>, class=/.exec(line) ?? [];
  const text = label.replace(/<\/?(?:B|TABLE|TR|TD|FONT)(?: [A-Z-]+="[#\w]+")*>/g, "");
  expect(text).toMatch(/^(?:[^<>&"\p{Cc}\p{Cs}]|&#\d+;)*$/u);
}

const DOT = `digraph "approval" {
  graph [bgcolor="#ffffff", pad=0.2, nodesep=0.5, ranksep=0.45, labelloc=b, fontname="Verdana", fontsize=10, fontcolor="#475569", label=<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="1"><TR><TD><FONT COLOR="#475569">– – –</FONT></TD><TD>deadline or timer</TD><TD WIDTH="16"></TD><TD><FONT COLOR="#475569">· · ·</FONT></TD><TD>cancel</TD><TD WIDTH="16"></TD><TD><FONT COLOR="#b45309">■</FONT></TD><TD>clean-up after the deadline</TD><TD WIDTH="16"></TD><TD><FONT COLOR="#475569">↺</FONT></TD><TD>stays in its state</TD></TR></TABLE>>];
  node [shape=box, style="rounded,filled", margin="0.2,0.1", fontname="Verdana", fontsize=12, fontcolor="#0f172a"];
  edge [arrowsize=0.7, fontname="Verdana", fontsize=10, fontcolor="#475569"];
  subgraph cluster_hub {
    graph [peripheries=0, margin=12, labelloc=t, fontname="Verdana", fontsize=11, fontcolor="#475569", label=<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="1"><TR><TD><FONT POINT-SIZE="16" COLOR="#0f172a"><B>approval</B></FONT></TD></TR><TR><TD>version 1 · approval answers each request within 1 min 0.5 s</TD></TR></TABLE>>];
    "#start" [shape=circle, style=filled, class="start", label="", width=0.16, fillcolor="#0f172a", color="#0f172a"];
    "Asking" [label=<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="1"><TR><TD><B>Asking</B></TD></TR><TR><TD><FONT POINT-SIZE="10">call ask</FONT></TD></TR></TABLE>>, class="state plain", group=work, fillcolor="#f8fafc", color="#475569", fontcolor="#0f172a"];
    "Waiting" [label=<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="1"><TR><TD><B>Waiting</B></TD></TR><TR><TD><FONT POINT-SIZE="10">wait for approve or remind</FONT></TD></TR><TR><TD><FONT POINT-SIZE="10">Reminded ↺</FONT></TD></TR></TABLE>>, class="state plain", group=work, fillcolor="#f8fafc", color="#475569", fontcolor="#0f172a"];
    "Undoing" [label=<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="1"><TR><TD><B>Undoing</B></TD></TR><TR><TD><FONT POINT-SIZE="10">each undo (limit 2, drain)</FONT></TD></TR><TR><TD><FONT POINT-SIZE="10">after 500 ms: TimeoutRaised</FONT></TD></TR></TABLE>>, class="state late", group=late, fillcolor="#fef3c7", color="#b45309", fontcolor="#0f172a"];
    "Done" [label=<<B>Done</B>>, class="state plain", group=work, peripheries=2, fillcolor="#f8fafc", color="#475569", fontcolor="#0f172a"];
    "Refused" [label=<<B>Refused</B>>, class="state late", group=late, peripheries=2, fillcolor="#fef3c7", color="#b45309", fontcolor="#0f172a"];
    "#start" -> "Asking" [class="start", color="#475569"];
    "Asking" -> "Waiting" [label=<&#160;Next&#160;>, class="event", color="#475569", fontcolor="#475569", weight=4];
    "Asking" -> "Undoing" [label=<&#160;TimeoutRaised&#160;>, class="deadline", style=dashed, color="#475569", fontcolor="#475569"];
    "Waiting" -> "Done" [label=<&#160;Approved&#160;>, class="event", color="#475569", fontcolor="#475569", weight=4];
    "Waiting" -> "Asking" [label=<&#160;Again&#160;>, class="event", color="#475569", fontcolor="#475569"];
    "Waiting" -> "Undoing" [label=<&#160;TimeoutRaised&#160;>, class="deadline", style=dashed, color="#475569", fontcolor="#475569"];
    "Waiting" -> "Undoing" [label=<&#160;Cancelled&#160;>, class="cancel", style=dotted, color="#475569", fontcolor="#475569"];
    "Undoing" -> "Refused" [label=<&#160;Next&#160;>, class="event", color="#475569", fontcolor="#475569", weight=4];
    "Undoing" -> "Refused" [label=<&#160;TimeoutRaised&#160;>, class="timer", style=dashed, color="#475569", fontcolor="#475569"];
  }
}
`;

const MERMAID = `---
title: "approval, version 1"
---
flowchart TD
  accTitle: approval, version 1
  accDescr: approval answers each request within 1 min 0.5 s. 5 states: Asking, Waiting, Undoing, Done, Refused. It begins in Asking and ends in Done, Refused. Clean-up after the deadline: Undoing, Refused.
  start(( ))
  s_Asking("<b>Asking</b><br/>call ask")
  s_Waiting("<b>Waiting</b><br/>wait for approve or remind<br/>Reminded ↺")
  s_Undoing("<b>Undoing</b><br/>each undo (limit 2, drain)<br/>after 500 ms#58; TimeoutRaised")
  s_Done[["<b>Done</b>"]]
  s_Refused[["<b>Refused</b>"]]
  start --> s_Asking
  s_Asking -->|"Next"| s_Waiting
  s_Asking -.->|"TimeoutRaised"| s_Undoing
  s_Waiting -->|"Approved"| s_Done
  s_Waiting -->|"Again"| s_Asking
  s_Waiting -.->|"TimeoutRaised"| s_Undoing
  s_Waiting -.->|"Cancelled"| s_Undoing
  s_Undoing -->|"Next"| s_Refused
  s_Undoing -.->|"TimeoutRaised"| s_Refused
  legend["– – – deadline or timer<br/>· · · cancel<br/>■ clean-up after the deadline<br/>↺ stays in its state"]
  classDef plain fill:#f8fafc,stroke:#475569,color:#0f172a
  class s_Asking,s_Waiting,s_Done plain
  classDef late fill:#fef3c7,stroke:#b45309,color:#0f172a
  class s_Undoing,s_Refused late
  style start fill:#475569,stroke:#475569
  style legend fill:none,stroke:none,color:#8592a6
  linkStyle 2,5,8 stroke-dasharray:7 4
  linkStyle 6 stroke-dasharray:2 4
`;
