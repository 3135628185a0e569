import { sequenceDiagram, type Step } from "./sequence-diagram.ts";

/**
 * What can be wrong with a hub:
 * - `state-unreached`, `edge-untaken`: no explored run enters the state, or takes the edge. Only of a hub by chart.
 * - `stuck`: no call is open and no signal is taken, and no timer is armed, so only the deadline moves the run.
 * - `never-ends`: a run goes around a cycle while its workers give certain outcomes. Only the deadline ends it.
 * - `growing-data`: each time around a cycle makes the run's data larger.
 * - `bad-reply`: the answer does not match the reply's schema, or the declared errors.
 * - `incident`: a handler threw, changed its arguments, or raised an event that its state does not have.
 * - `impure`: a handler gave two different results for the same arguments (I2).
 * - `not-ignored`: a late, stale or repeated input changed the run (I3, I4).
 */
export type FindingKind =
  | "state-unreached"
  | "edge-untaken"
  | "stuck"
  | "never-ends"
  | "growing-data"
  | "bad-reply"
  | "incident"
  | "impure"
  | "not-ignored";

/** One thing that is wrong, and the shortest path to it. */
export interface Finding {
  readonly kind: FindingKind;
  /** The state of the chart that it is about. */
  readonly state: string;
  /** What is wrong, in one sentence. */
  readonly message: string;
  /** What happens to the run, step by step, until it goes wrong. Empty if there is no path to it. */
  readonly path: readonly string[];
  /** The path as a Mermaid sequence diagram. Empty if there is no path. */
  readonly diagram: string;
}

/** How many states, or edges, were reached. */
export interface Coverage {
  readonly reached: number;
  readonly total: number;
}

/** What `explore` found. */
export class Exploration {
  readonly hub: string;
  readonly findings: readonly Finding[];
  readonly states: Coverage;
  readonly edges: Coverage;
  /** How many different situations of a run (state, data and open calls) were explored. */
  readonly configurations: number;
  /** How many late, stale and repeated inputs were tried and changed nothing. */
  readonly ignored: number;
  /** Whether every situation was explored. false: `maxConfigurations` was reached first. */
  readonly complete: boolean;

  /** @internal Use `explore`. */
  constructor(found: Omit<Exploration, "toString">) {
    this.hub = found.hub;
    this.findings = found.findings;
    this.states = found.states;
    this.edges = found.edges;
    this.configurations = found.configurations;
    this.ignored = found.ignored;
    this.complete = found.complete;
  }

  /** The report for people. */
  toString(): string {
    const { states, edges, findings } = this;
    const bound = this.complete ? "" : " (the bound was reached: there are more)";
    const lines = [
      `${this.hub}: ${states.reached} of ${states.total} states, ${edges.reached} of ${edges.total} edges, ` +
        `${this.configurations} configurations${bound}, ${this.ignored} late or repeated inputs ignored`,
      findings.length === 0 ? "nothing found" : `${findings.length} found:`,
      ...findings.flatMap(({ kind, state, message, path }, index) => [
        `${index + 1}. ${kind} in ${state}: ${message}`,
        ...path.map((step) => `     ${step}`),
      ]),
    ];
    return `${lines.join("\n")}\n`;
  }
}

/** Makes a finding, from the steps that led to it. */
export function findingOf(
  hub: string,
  about: Pick<Finding, "kind" | "state" | "message">,
  steps: readonly Step[],
): Finding {
  const path = steps.map(({ from, text }) => `${from}: ${text}`);
  const remark = `${about.kind}: ${about.message}`;
  return { ...about, path, diagram: steps.length === 0 ? "" : sequenceDiagram(hub, steps, remark) };
}
