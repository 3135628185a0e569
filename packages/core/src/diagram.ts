import { durationText } from "./duration.ts";
import { end, stay } from "./chart.ts";
import type { AnyHub, HubDefinition, StateDefinition } from "./hub.ts";
import type { StateLogic } from "./logic.ts";
import type { Answer, HistoryEvent } from "./events.ts";

/** What a diagram shows besides the chart. */
export interface DiagramOptions {
  /** The history of one run: its path and its present state are marked. */
  readonly history?: readonly HistoryEvent[];
}

/** One step of a run's path. */
export interface Transition {
  readonly from: string;
  /** The event that led along the edge. It is undefined where a migration moved the run. */
  readonly event: string | undefined;
  readonly to: string;
}

/** A diagram in words, for screen readers. */
export interface Caption {
  readonly title: string;
  readonly description: string;
}

/** The path of a run: its changes of state, in order, as far as its history is not archived. */
export function pathOf(history: readonly HistoryEvent[]): readonly Transition[] {
  const path: Transition[] = [];
  let from: string | undefined;
  for (const event of history) {
    if (event.type === "archived" && event.state !== "") from = event.state;
    if (event.type !== "entered") continue;
    if (from !== undefined) path.push({ from, event: event.by, to: event.state });
    from = event.state;
  }
  return path;
}

/** The chart of a hub as a graph for Graphviz. */
export function toDot(hub: AnyHub, options: DiagramOptions = {}): string {
  const picture = draw(hub, options);
  const ids = new Map(picture.nodes.map(({ name }, index) => [name, dotId(name, index)]));
  const marked = picture.run !== undefined;
  const legend = dotLegend(picture);
  return lines([
    `digraph ${dotId(picture.name, 0)} {`,
    `  graph [bgcolor="#ffffff", pad=0.2, nodesep=0.5, ranksep=0.45, labelloc=b, ${font(10, ink.soft)}, label=${legend}];`,
    `  node [shape=box, style="rounded,filled", margin="0.2,0.1", ${font(12, ink.text)}];`,
    `  edge [arrowsize=0.7, ${font(10, ink.soft)}];`,
    // A graph has only one label: that of the outer graph is the legend below, that of the cluster is the title above.
    "  subgraph cluster_hub {",
    `    graph [peripheries=0, margin=12, labelloc=t, ${font(11, ink.soft)}, label=<${dotTitle(picture)}>];`,
    `    ${startId} [${dotStart}];`,
    ...picture.nodes.map((node) => `    ${ids.get(node.name)} [${dotNode(node, marked)}];`),
    `    ${startId} -> ${ids.get(picture.initial)} [class="start", color="${ink.line}"];`,
    ...picture.edges.map(
      (edge) => `    ${ids.get(edge.from)} -> ${ids.get(edge.to)} [${dotEdge(edge, marked)}];`,
    ),
    "  }",
    "}",
  ]);
}

/** The chart of a hub as a Mermaid flowchart, which many Markdown viewers draw. */
export function toMermaid(hub: AnyHub, options: DiagramOptions = {}): string {
  const picture = draw(hub, options);
  const { title, description } = captionOf(hub, options);
  const ids = new Map(picture.nodes.map(({ name }, index) => [name, mermaidId(name, index)]));
  const legend = legendOf(picture).map(({ mark, text }) => mermaidText(`${mark} ${text}`));
  return lines([
    "---",
    `title: "${mermaidPlain(title)}"`,
    "---",
    "flowchart TD",
    `  accTitle: ${mermaidPlain(title)}`,
    `  accDescr: ${mermaidPlain(description)}`,
    "  start(( ))",
    ...picture.nodes.map((node) => `  ${ids.get(node.name)}${mermaidNode(node)}`),
    `  start --> ${ids.get(picture.initial)}`,
    ...picture.edges.map((edge) => `  ${ids.get(edge.from)} ${mermaidArrow(edge)} ${ids.get(edge.to)}`),
    ...(legend.length === 0 ? [] : [`  legend["${legend.join("<br/>")}"]`]),
    ...mermaidClasses(picture, ids),
    `  style start fill:${ink.line},stroke:${ink.line}`,
    ...(legend.length === 0 ? [] : [`  style legend fill:none,stroke:none,color:${ink.faint}`]),
    ...mermaidLinks(picture.edges, picture.run !== undefined),
  ]);
}

/** What the diagram of a hub shows, in words: its title, and a description for screen readers. */
export function captionOf(hub: AnyHub, options: DiagramOptions = {}): Caption {
  const { name, version, answerBy, initial, nodes, run } = draw(hub, options);
  const list = (of: readonly Node[]): string => of.map((node) => visible(node.name)).join(", ");
  const late = nodes.filter((node) => node.late);
  const sentences = [
    `${answerBy}.`,
    `${nodes.length} states: ${list(nodes)}.`,
    `It begins in ${visible(initial)} and ends in ${list(nodes.filter((node) => node.end))}.`,
    ...(late.length === 0 ? [] : [`Clean-up after the deadline: ${list(late)}.`]),
    ...(run === undefined ? [] : [pathText(run)]),
  ];
  const title = `${name}, version ${version}${run === undefined ? "" : `: ${run.note}`}`;
  return { title: visible(title), description: sentences.join(" ") };
}

// The picture: what is drawn, before it becomes DOT or Mermaid.

type Present = "running" | "incident" | "succeeded" | "failed";

export interface Node {
  readonly name: string;
  /** What the state does, one line each. */
  readonly does: readonly string[];
  readonly end: boolean;
  readonly late: boolean;
  /** The chart does not have the state: the run was in it in another version of the hub. */
  readonly foreign: boolean;
  readonly visited: boolean;
  readonly present: Present | undefined;
  readonly note: string | undefined;
}

export interface Edge extends Transition {
  /** It is the first edge of its state: the usual way on. */
  readonly main: boolean;
  /** What else raises the event, besides what the style of the line shows. */
  readonly also: readonly string[];
  /** The deadline of the state raises the event. */
  readonly deadline: boolean;
  /** A timer raises the event. */
  readonly timer: boolean;
  /** A cancel raises the event. */
  readonly cancel: boolean;
  readonly foreign: boolean;
  /** The steps of the run's path that took this edge, counted from 1. */
  readonly steps: readonly number[];
}

export interface Picture {
  readonly name: string;
  readonly version: number;
  readonly answerBy: string;
  readonly initial: string;
  readonly nodes: readonly Node[];
  readonly edges: readonly Edge[];
  readonly run: RunView | undefined;
}

/** The part of a history that a diagram shows. */
interface RunView {
  readonly path: readonly Transition[];
  /** The steps along each edge, by `keyOf`. */
  readonly steps: ReadonlyMap<string, readonly number[]>;
  /** How often each event left the run in its state, by `keyOf`. */
  readonly stays: ReadonlyMap<string, number>;
  readonly visited: ReadonlySet<string>;
  readonly state: string | undefined;
  readonly present: Present;
  readonly note: string;
}

export function draw({ definition }: AnyHub, { history }: DiagramOptions): Picture {
  const run = history === undefined ? undefined : viewOf(history);
  const { name, version, answerBy, initial } = definition;
  return {
    name,
    version,
    answerBy,
    initial,
    nodes: nodesOf(definition, run),
    edges: edgesOf(definition, run),
    run,
  };
}

function viewOf(history: readonly HistoryEvent[]): RunView {
  const path = pathOf(history);
  const steps = new Map<string, number[]>();
  for (const [index, { from, event, to }] of path.entries()) {
    const key = keyOf(from, event, to);
    const taken = steps.get(key);
    if (taken === undefined) steps.set(key, [index + 1]);
    else taken.push(index + 1);
  }
  const stays = new Map<string, number>();
  const visited = new Set<string>();
  let state: string | undefined;
  for (const event of history) {
    if (event.type === "entered" || (event.type === "archived" && event.state !== "")) {
      state = event.state;
      visited.add(state);
    } else if (isStay(event) && event.by !== undefined) {
      const key = keyOf(state, event.by);
      stays.set(key, (stays.get(key) ?? 0) + 1);
    }
  }
  return { path, steps, stays, visited, state, ...statusOf(history) };
}

type Stay = Extract<HistoryEvent, { type: "settled" | "fired" | "signalled" | "received" }>;

/** Whether an event may leave the run in its state. */
const isStay = (event: HistoryEvent): event is Stay =>
  event.type === "settled" ||
  event.type === "fired" ||
  event.type === "signalled" ||
  event.type === "received";

function statusOf(history: readonly HistoryEvent[]): { present: Present; note: string } {
  let present: Present = "running";
  let note = "";
  let answer: Answer | undefined;
  for (const event of history) {
    if (event.type === "answered" || event.type === "ended") answer = event.answer ?? answer;
    if (event.type === "incident") {
      present = "incident";
      note = `incident: ${event.error.code}`;
    } else if (event.type === "resumed" || event.type === "redelivered") {
      if (event.type === "resumed" ? event.left === true : event.last !== true) continue;
      present = "running";
    } else if (event.type === "ended") {
      present = answer?.kind === "result" ? "succeeded" : "failed";
      note = `ended: ${answerText(answer)}`;
    }
  }
  if (present === "running") note = answer === undefined ? "running" : `answered: ${answerText(answer)}`;
  const [first] = history;
  if (first?.type === "archived") note += `; the first ${first.events} events are archived`;
  return { present, note };
}

function answerText(answer: Answer | undefined): string {
  if (answer?.kind === "error") return `error ${answer.code}`;
  return answer?.kind ?? "no answer";
}

function nodesOf({ states, chart }: HubDefinition, run: RunView | undefined): Node[] {
  const marks = (name: string): Pick<Node, "visited" | "present" | "note"> => {
    const here = run !== undefined && run.state === name;
    return {
      visited: run?.visited.has(name) ?? false,
      present: here ? run.present : undefined,
      note: here ? run.note : undefined,
    };
  };
  const nodes = Array.from(states.values(), (state) => ({
    name: state.name,
    does: doesOf(state, run),
    end: chart[state.name] === end,
    late: state.late,
    foreign: false,
    ...marks(state.name),
  }));
  const foreign = [...(run?.visited ?? [])].filter((name) => !states.has(name));
  return [
    ...nodes,
    ...foreign.map((name) => ({
      name,
      does: [notHere],
      end: false,
      late: false,
      foreign: true,
      ...marks(name),
    })),
  ];
}

function edgesOf(definition: HubDefinition, run: RunView | undefined): Edge[] {
  const edges = new Map<string, Edge>();
  for (const { name: from, row, logic, late } of definition.states.values()) {
    const moves = Object.entries(row).filter(([, target]) => target !== stay);
    for (const [index, [event, to]] of moves.entries()) {
      const key = keyOf(from, event, to);
      const deadline = logic.deadline?.raise === event;
      const timer = logic.timers?.some((one) => one.event === event) === true;
      // A cancel has no effect during clean-up.
      const cancel = !late && typeof definition.cancel === "object" && definition.cancel.raise === event;
      edges.set(key, {
        from,
        event,
        to,
        main: index === 0,
        also: [
          ...(deadline && index === 0 && logic.kind !== "wait" ? ["deadline"] : []),
          ...(timer && index === 0 && logic.kind !== "wait" ? ["timer"] : []),
          ...((deadline || timer) && cancel ? ["cancel"] : []),
        ],
        deadline,
        timer,
        cancel,
        foreign: false,
        steps: run?.steps.get(key) ?? [],
      });
    }
  }
  for (const step of run?.path ?? []) {
    const key = keyOf(step.from, step.event, step.to);
    if (edges.has(key)) continue;
    edges.set(key, {
      ...step,
      main: false,
      also: [],
      deadline: false,
      timer: false,
      cancel: false,
      foreign: true,
      steps: run?.steps.get(key) ?? [],
    });
  }
  return [...edges.values()];
}

function keyOf(...parts: readonly (string | undefined)[]): string {
  return JSON.stringify(parts);
}

/** What a state does, one line for each thing. */
function doesOf({ name, row, logic }: StateDefinition, run: RunView | undefined): string[] {
  const does = [...wrap(workOf(logic)), ...timersOf(logic)];
  for (const [event, target] of Object.entries(row)) {
    if (target !== stay) continue;
    const times = run?.stays.get(keyOf(name, event)) ?? 0;
    does.push(`${event} ${staySign}${times > 1 ? ` ${times}×` : ""}`);
  }
  return does;
}

function timersOf({ timers = [] }: StateLogic): string[] {
  return timers.map(({ event, ms }) =>
    typeof ms === "number" ? `after ${durationText(Math.ceil(ms))}: ${event}` : `after a time: ${event}`,
  );
}

/** What a state does, in pieces: a line may break between any two of them. */
function workOf(logic: StateLogic): string[] {
  const names = logic.callees.map((callee) => (callee.kind === "hub" ? `hub ${callee.name}` : callee.name));
  switch (logic.kind) {
    case "pass":
    case "end":
      return [];
    case "pick":
      return ["pick"];
    case "answer":
      return ["answers"];
    case "tell":
      return [`tell ${names.join(", ")}`];
    case "start":
      return [`start hub ${logic.addressee}`];
    case "signal":
      return [`signal ${logic.sends}`, `to hub ${logic.addressee}`];
    case "call":
      return [`call ${names.join(", ")}`, ...roundOf(logic), ...signalsOf(logic, "take")];
    case "each":
      return [`each ${names.join(", ")}`, ...roundOf(logic), ...signalsOf(logic, "take")];
    case "all":
      return [
        ...names.map((name, index) => `${index === 0 ? "all of" : "and"} ${name}`),
        ...roundOf(logic),
        ...signalsOf(logic, "take"),
      ];
    case "sequence":
      return [
        ...names.map((name, index) => `${index === 0 ? "sequence" : "→"} ${name}`),
        ...roundOf(logic),
        ...signalsOf(logic, "take"),
      ];
    case "wait":
      return signalsOf(logic, "wait for");
    case "handlers":
      return ["handlers", ...names.map((name, index) => `${index === 0 ? "call" : "or"} ${name}`)];
  }
}

function signalsOf({ signals = [] }: StateLogic, verb: string): string[] {
  return signals.map((signal, index) => `${index === 0 ? verb : "or"} ${signal}`);
}

function roundOf({ limit, drain }: StateLogic): string[] {
  const options = [
    ...(limit === undefined ? [] : [typeof limit === "number" ? `limit ${limit}` : "a limit"]),
    ...(drain === true ? ["drain"] : []),
  ];
  return options.length === 0 ? [] : [`(${options.join(", ")})`];
}

/** Joins words to lines that are not too long. */
function wrap(words: readonly string[]): string[] {
  const wrapped: string[] = [];
  for (const word of words) {
    const last = wrapped.at(-1);
    if (last !== undefined && last.length + word.length < 40) wrapped[wrapped.length - 1] = `${last} ${word}`;
    else wrapped.push(word);
  }
  return wrapped;
}

const staySign = "↺";

// Texts that all formats share.

/** A description names at most so many steps of a path: the last ones. */
const readOut = 40;

function pathText({ path, state, note }: RunView): string {
  if (state === undefined) return `The run has entered no state (${visible(note)}).`;
  const shown = path.slice(-readOut);
  const first = shown[0]?.from ?? state;
  const steps = shown.map(({ event, to }) => `, ${visible(event ?? migration)} to ${visible(to)}`);
  const cut = path.length > shown.length ? `after ${path.length - shown.length} steps ` : "";
  return `The run: ${cut}${visible(first)}${steps.join("")} (${visible(note)}).`;
}

const migration = "migration";
const notHere = "not in this version";

/** A name as diagrams show it. Characters that are invisible or change the direction of the text become escapes. */
export function visible(text: string): string {
  if (text === "") return '""';
  return text
    .toWellFormed()
    .replace(unseen, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const unseen = /[\p{Cc}\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]/gu;

/** How an edge is drawn. */
type EdgeKind = "event" | "deadline" | "timer" | "cancel" | "foreign";

/** Whether time leads along the edge. */
const isTimed = (kind: EdgeKind): boolean => kind === "deadline" || kind === "timer";

export function kindOf({ deadline, timer, cancel, foreign }: Edge): EdgeKind {
  if (foreign) return "foreign";
  if (deadline) return "deadline";
  if (timer) return "timer";
  return cancel ? "cancel" : "event";
}

export function edgeText({ event, also, foreign }: Edge): string {
  if (event === undefined) return migration;
  if (foreign) return `${visible(event)} (${notHere})`;
  return `${visible(event)}${also.length === 0 ? "" : ` (or ${also.join(", ")})`}`;
}

/** The lines below a state's name. */
export function smallOf({ does, note }: Node): readonly string[] {
  return note === undefined ? does : [...does, note];
}

/** The numbers of an edge's steps. Of more than three it names two, and says how many there are. */
export function stepsText(steps: readonly number[]): string {
  if (steps.length <= 3) return steps.length < 2 ? steps.join("") : `${steps.join(", ")} (${steps.length}×)`;
  return `${steps.slice(0, 2).join(", ")}, … (${steps.length}×)`;
}

interface LegendEntry {
  readonly mark: string;
  readonly color: string;
  readonly text: string;
}

function legendOf({ nodes, edges, run }: Picture): LegendEntry[] {
  const kinds = new Set(edges.map(kindOf));
  const timed = ["deadline", "timer"].filter((kind) => kinds.has(kind as "timer"));
  const stays = nodes.some((node) => node.does.some((does) => does.includes(staySign)));
  const entries: [shown: boolean, entry: LegendEntry][] = [
    [run !== undefined, { mark: "━━", color: ink.path, text: "path of the run" }],
    [timed.length > 0, { mark: "– – –", color: ink.line, text: timed.join(" or ") }],
    [kinds.has("cancel"), { mark: "· · ·", color: ink.line, text: "cancel" }],
    [
      nodes.some((node) => node.late),
      { mark: "■", color: ink.lateLine, text: "clean-up after the deadline" },
    ],
    [stays, { mark: staySign, color: ink.line, text: "stays in its state" }],
  ];
  return entries.flatMap(([shown, entry]) => (shown ? [entry] : []));
}

/** The colours are readable on white. No meaning depends on telling red from green. */
const ink = {
  text: "#0f172a",
  soft: "#475569",
  line: "#475569",
  lateLine: "#b45309",
  path: "#1d4ed8",
  pale: "#64748b",
  paleLine: "#cbd5e1",
  // Visible on white and on black: the viewer chooses the background of Mermaid.
  pathAnywhere: "#3b82f6",
  faint: "#8592a6",
} as const;

interface Look {
  readonly fill: string;
  readonly line: string;
  readonly text: string;
}

const looks = {
  plain: { fill: "#f8fafc", line: ink.line, text: ink.text },
  late: { fill: "#fef3c7", line: ink.lateLine, text: ink.text },
  pale: { fill: "#ffffff", line: ink.paleLine, text: ink.pale },
  paleLate: { fill: "#fffbeb", line: "#e7d3a1", text: ink.pale },
  visited: { fill: "#dbeafe", line: ink.path, text: ink.text },
  visitedLate: { fill: "#fef3c7", line: ink.path, text: ink.text },
  running: { fill: "#1d4ed8", line: "#1e3a8a", text: "#ffffff" },
  incident: { fill: "#b91c1c", line: "#7f1d1d", text: "#ffffff" },
  succeeded: { fill: "#15803d", line: "#14532d", text: "#ffffff" },
  failed: { fill: "#92400e", line: "#451a03", text: "#ffffff" },
} as const satisfies { readonly [name: string]: Look };

function lookOf({ present, visited, late }: Node, marked: boolean): keyof typeof looks {
  if (present !== undefined) return present;
  if (!marked) return late ? "late" : "plain";
  if (visited) return late ? "visitedLate" : "visited";
  return late ? "paleLate" : "pale";
}

function lines(of: readonly string[]): string {
  return `${of.join("\n")}\n`;
}

// Graphviz.

/**
 * Graphviz measures labels with this font. Verdana and DejaVu Sans are equally wide, and no common sans-serif font is
 * wider. So texts stay inside their boxes in any of these fonts.
 */
const fontName = "Verdana";
const font = (size: number, color: string): string =>
  `fontname="${fontName}", fontsize=${size}, fontcolor="${color}"`;

/** No state can have this id: see `dotId`. */
const startId = '"#start"';
const dotStart = `shape=circle, style=filled, class="start", label="", width=0.16, fillcolor="${ink.text}", color="${ink.text}"`;

/** A plain name is its own id. The id of any other name is a number, so that the name cannot break the graph. */
function dotId(name: string, index: number): string {
  return /^[\p{L}\p{N}_ .:/-]+$/u.test(name) ? `"${name}"` : `"#${index + 1}"`;
}

function dotText(text: string): string {
  return visible(text).replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}

function dotTitle({ name, version, answerBy, run }: Picture): string {
  const rows = [
    `<FONT POINT-SIZE="16" COLOR="${ink.text}"><B>${dotText(name)}</B></FONT>`,
    `version ${version} · ${dotText(answerBy)}`,
  ];
  if (run !== undefined)
    rows.push(`<FONT COLOR="${looks[run.present].fill}"><B>${dotText(run.note)}</B></FONT>`);
  return dotTable(rows);
}

function dotTable(rows: readonly string[]): string {
  const cells = rows.map((row) => `<TR><TD>${row}</TD></TR>`);
  return `<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="1">${cells.join("")}</TABLE>`;
}

function dotLegend(picture: Picture): string {
  const entries = legendOf(picture).map(
    ({ mark, color, text }) => `<TD><FONT COLOR="${color}">${mark}</FONT></TD><TD>${text}</TD>`,
  );
  if (entries.length === 0) return '""';
  const between = '<TD WIDTH="16"></TD>';
  return `<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="1"><TR>${entries.join(between)}</TR></TABLE>>`;
}

function dotNode(node: Node, marked: boolean): string {
  const look = lookOf(node, marked);
  const { fill, line, text } = looks[look];
  return [
    `label=<${dotLabel(node)}>`,
    `class="state ${look}"`,
    // Work and clean-up each form a straight column.
    `group=${node.late ? "late" : "work"}`,
    ...(node.end ? ["peripheries=2"] : []),
    ...(node.foreign ? ['style="rounded,filled,dashed"'] : []),
    `fillcolor="${fill}"`,
    `color="${line}"`,
    `fontcolor="${text}"`,
    ...(node.visited ? ["penwidth=2"] : []),
  ].join(", ");
}

function dotLabel(node: Node): string {
  const name = `<B>${dotText(node.name)}</B>`;
  const small = smallOf(node).map((does) => `<FONT POINT-SIZE="10">${dotText(does)}</FONT>`);
  return small.length === 0 ? name : dotTable([name, ...small]);
}

function dotEdge(edge: Edge, marked: boolean): string {
  const kind = kindOf(edge);
  const taken = edge.steps.length > 0;
  const name = dotText(edgeText(edge));
  // The spaces keep the label off its line and off its neighbours.
  const label = `&#160;${taken ? `${stepsText(edge.steps)} · ` : ""}${name}&#160;`;
  const color = taken ? ink.path : marked ? ink.paleLine : ink.line;
  const fontColor = taken ? ink.path : marked ? ink.pale : ink.soft;
  return [
    `label=<${taken ? `<B>${label}</B>` : label}>`,
    `class="${taken ? `${kind} taken` : kind}"`,
    ...(kind === "event" ? [] : [`style=${isTimed(kind) ? "dashed" : "dotted"}`]),
    `color="${color}"`,
    `fontcolor="${fontColor}"`,
    // Graphviz draws heavy edges straight.
    ...(edge.main ? ["weight=4"] : []),
    ...(taken ? ["penwidth=2"] : []),
  ].join(", ");
}

// Mermaid.

/** The id of a plain name contains the name. The prefix prevents clashes with words of Mermaid. */
function mermaidId(name: string, index: number): string {
  return /^[A-Za-z][A-Za-z0-9_]*$/.test(name) ? `s_${name}` : `s${index + 1}`;
}

const unsafeForMermaid = /(?<![\p{L}\p{N}])-|-(?![\p{L}\p{N}])|[^\p{L}\p{N}_ ,()·→↺×…━–■-]/gu;

/** Every character that Mermaid, Markdown or HTML could interpret becomes a character reference. */
function mermaidText(text: string): string {
  return visible(text).replace(unsafeForMermaid, (char) => `#${char.codePointAt(0)};`);
}

/** Titles and descriptions cannot contain character references: unsafe characters become spaces. */
function mermaidPlain(text: string): string {
  return visible(text).replace(/[#;{}<>%"\\]/g, " ");
}

function mermaidNode(node: Node): string {
  const small = smallOf(node).map((does) => `<br/>${mermaidText(does)}`);
  const label = `"<b>${mermaidText(node.name)}</b>${small.join("")}"`;
  return node.end ? `[[${label}]]` : `(${label})`;
}

function mermaidArrow(edge: Edge): string {
  const taken = edge.steps.length > 0;
  const label = `${taken ? `${stepsText(edge.steps)} · ` : ""}${edgeText(edge)}`;
  const arrow = kindOf(edge) === "event" ? (taken ? "==>" : "-->") : "-.->";
  return `${arrow}|"${mermaidText(label)}"|`;
}

function mermaidClasses(picture: Picture, ids: ReadonlyMap<string, string>): string[] {
  const members = new Map<keyof typeof looks, string[]>();
  for (const node of picture.nodes) {
    const look = lookOf(node, picture.run !== undefined);
    members.set(look, [...(members.get(look) ?? []), ids.get(node.name) ?? ""]);
  }
  return [...members].flatMap(([look, of]) => {
    const { fill, line, text } = looks[look];
    return [
      `  classDef ${look} fill:${fill},stroke:${line},color:${text}`,
      `  class ${of.join(",")} ${look}`,
    ];
  });
}

function mermaidLinks(edges: readonly Edge[], marked: boolean): string[] {
  // A later style of a link replaces an earlier one, so each link gets only one. Link 0 leads to the first state.
  const members = new Map<string, number[]>();
  for (const [index, edge] of edges.entries()) {
    const style = mermaidLink(edge, marked).join(",");
    if (style !== "") members.set(style, [...(members.get(style) ?? []), index + 1]);
  }
  return Array.from(members, ([style, links]) => `  linkStyle ${links.join(",")} ${style}`);
}

function mermaidLink(edge: Edge, marked: boolean): string[] {
  const kind = kindOf(edge);
  const dashes = kind === "event" ? [] : [`stroke-dasharray:${isTimed(kind) ? "7 4" : "2 4"}`];
  if (!marked) return dashes;
  const taken = edge.steps.length > 0;
  return [
    ...dashes,
    ...(taken ? [`stroke:${ink.pathAnywhere}`, "stroke-width:3px"] : [`stroke:${ink.faint}`]),
  ];
}
