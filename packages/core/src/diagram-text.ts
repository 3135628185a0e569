import {
  draw,
  edgeText,
  kindOf,
  smallOf,
  stepsText,
  visible,
  type DiagramOptions,
  type Edge,
  type Node,
} from "./diagram.ts";
import type { AnyHub } from "./hub.ts";

/** The chart of a hub as plain data, for programs that draw it or look into it. */
export interface ChartView {
  readonly hub: string;
  readonly version: number;
  /** By when a request is answered, in one sentence. */
  readonly answerBy: string;
  /** The state that a run enters first. */
  readonly initial: string;
  readonly states: readonly ChartState[];
}

/** A state of a chart. */
export interface ChartState {
  readonly name: string;
  /** What the state does, a line for each thing. */
  readonly does: readonly string[];
  /** A run ends in it. */
  readonly end: boolean;
  /** It is a part of the clean-up. */
  readonly late: boolean;
  readonly edges: readonly ChartEdge[];
}

/** Where an event leads. Events that do not leave their state are among what the state does. */
export interface ChartEdge {
  readonly event: string;
  readonly to: string;
  /** What raises the event, if time or a cancel does. */
  readonly by?: "deadline" | "timer" | "cancel";
}

/** The chart of a hub as plain data. */
export function chartOf(hub: AnyHub): ChartView {
  const { name, version, answerBy, initial, nodes, edges } = draw(hub, {});
  return {
    hub: name,
    version,
    answerBy,
    initial,
    states: nodes.map(({ name: state, does, end, late }) => ({
      name: state,
      does,
      end,
      late,
      edges: edges.filter(({ from }) => from === state).map(chartEdge),
    })),
  };
}

function chartEdge(edge: Edge): ChartEdge {
  const { event = "", to } = edge;
  const kind = kindOf(edge);
  return kind === "event" || kind === "foreign" ? { event, to } : { event, to, by: kind };
}

/**
 * The chart of a hub as boxes of text, for a terminal: a box for each state, and below it where its events lead. A double line marks
 * an end. With a `history`, the states and the steps of that run are marked.
 */
export function toText(hub: AnyHub, options: DiagramOptions = {}): string {
  const { name, version, answerBy, initial, nodes, edges, run } = draw(hub, options);
  const title = [`${visible(name)}, version ${version}`, visible(answerBy)];
  if (run !== undefined) title.push(`the run: ${visible(run.note)}`);
  const boxes = nodes.map((node) => [
    ...boxOf(node, node.name === initial),
    ...arrowsOf(edges.filter(({ from }) => from === node.name)),
  ]);
  const legend = [
    ...(nodes.some(({ late }) => late) ? ["~ clean-up"] : []),
    ...(run === undefined ? [] : ["* the run was there", "> the run is there", "[n] step n of the run"]),
  ];
  const parts = [title, ...boxes, ...(legend.length === 0 ? [] : [[legend.join("   ")]])];
  return `${parts.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

/** The first state has a dot before it. */
function boxOf(node: Node, isFirst: boolean): string[] {
  const texts = [`${markOf(node)}${visible(node.name)}`, ...smallOf(node).map(visible)];
  const width = Math.max(...texts.map(widthOf));
  const [line, side] = node.end ? ["═", "║"] : ["─", "│"];
  const rows = texts.map((text, index) => {
    const before = isFirst && index === 0 ? "●─▶" : "   ";
    return `${before}${side} ${text}${" ".repeat(width - widthOf(text))} ${side}`;
  });
  const bar = line.repeat(width + 2);
  return node.end ? [`   ╔${bar}╗`, ...rows, `   ╚${bar}╝`] : [`   ┌${bar}┐`, ...rows, `   └${bar}┘`];
}

function markOf({ late, visited, present }: Node): string {
  const run = present === undefined ? (visited ? "* " : "") : "> ";
  return `${run}${late ? "~ " : ""}`;
}

function arrowsOf(edges: readonly Edge[]): string[] {
  const names = edges.map(edgeText);
  const width = Math.max(0, ...names.map(widthOf));
  return edges.map((edge, index) => {
    const name = names[index] ?? "";
    const kind = kindOf(edge);
    const why = kind === "event" || kind === "foreign" ? "" : `  (${kind})`;
    const steps = edge.steps.length === 0 ? "" : `  [${stepsText(edge.steps)}]`;
    const branch = index === edges.length - 1 ? "└" : "├";
    return `    ${branch}─ ${name} ${"─".repeat(width - widthOf(name))}─▶ ${visible(edge.to)}${why}${steps}`;
  });
}

/** How many columns of a terminal a text fills: letters of East Asian scripts fill two, and marks that combine none. */
function widthOf(text: string): number {
  let width = 0;
  for (const char of text) width += combining.test(char) ? 0 : wide.test(char) ? 2 : 1;
  return width;
}

const combining = /\p{M}/u;
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
