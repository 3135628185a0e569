import type { Problem } from "./errors.ts";
import type { StateLogic } from "./logic.ts";
import { isDuration, mustBeDuration } from "./spoke.ts";

/*
 * What is known of a hub before any run. `checkChart` refuses charts that could not keep the promise, and computes the
 * time by which every request is answered. It works in stages. A stage that finds problems ends the check, since the
 * next one relies on it. Within a stage, all problems are listed.
 *
 *   1. Names. Each state has a logic, each edge leads to a state, each fixed event has an edge that leaves its state.
 *   2. Shape. Each state can be reached from the first one, and an end can be reached from each state. States that pass
 *      form no cycle: a run would never stop there. (Cycles of picks may end, since their events depend on the data.
 *      They are bounded when they run, I15.) Each late wait has `withinMs`.
 *   3. Time. No cycle leads through a late wait.
 *
 * Late states. The deadline of the hub may pass in any state that waits. The run then leaves that state by its deadline
 * event. So every state that can be reached from the target of a deadline event may be entered after the deadline.
 * These states are late: they are the clean-up. The set is closed: no edge leads from a late state to one that is
 * not late. The deadline event is a plain name, never computed, so the set is known here. In late states the hub's
 * deadline no longer counts, so each wait among them needs its own bound (`withinMs`).
 *
 * Cycles. A cycle through a late wait could repeat its bound without end, so it is refused. A cycle of late states that
 * do not wait takes no time.
 *
 * Remaining time. So each path through the late states is finite. `remainingMs` of a late state is its own `withinMs`
 * plus the largest `remainingMs` of the states that follow it. The largest one of all targets of deadline events is
 * `afterDeadlineMs`: a run reaches its end by its deadline plus this time, and `answerBy` is set there.
 */

/** What a chart and its logics say before any run. If there are problems, the rest is empty. */
export interface ChartFacts {
  readonly problems: readonly Problem[];
  /** States that a run may enter after the hub's deadline: the clean-up. */
  readonly late: ReadonlySet<string>;
  /** For each late state: the longest time from entering it to an end, in milliseconds. */
  readonly remainingMs: ReadonlyMap<string, number>;
  /** The longest time from the deadline to an end, in milliseconds. */
  readonly afterDeadlineMs: number;
}

type Chart = { readonly [state: string]: string | { readonly [event: string]: string } };

/** Marks a state in which a run ends. */
export const end = "(end)" as const;
/** Marks an event that does not leave its state: the open round or wait goes on. */
export const stay = "(stay)" as const;
const isInteger = /^\d+$/;

/** Checks a chart with its logics, and computes the times that follow from it. */
export function checkChart(chart: Chart, logics: ReadonlyMap<string, StateLogic>): ChartFacts {
  const problems: Problem[] = [];
  const problem = (path: string, message: string): void => void problems.push({ path, message });
  const names = Object.keys(chart);
  if (names.length === 0) problem("chart", "has no state");
  for (const name of names) {
    if (isInteger.test(name))
      problem(
        `chart.${name}`,
        "the name of a state must not be a number: JavaScript would move it before the first state",
      );
    if (!logics.has(name)) problem(`behaviours.${name}`, "is missing: each state of the chart needs one");
  }
  for (const name of logics.keys())
    if (!Object.hasOwn(chart, name)) problem(`behaviours.${name}`, "is not a state of the chart");
  for (const name of names) {
    for (const [event, target] of rowOf(chart, name)) {
      if (target !== stay && !Object.hasOwn(chart, target))
        problem(`chart.${name}.${event}`, `leads to ${target}, which is not a state of the chart`);
    }
    checkLogic(chart, name, logics.get(name), problem);
  }
  const none: ChartFacts = { problems, late: new Set(), remainingMs: new Map(), afterDeadlineMs: 0 };
  if (problems.length > 0) return none;

  const reached = reach(names.slice(0, 1), (name) => targets(chart, name));
  for (const name of names)
    if (!reached.has(name)) problem(`chart.${name}`, "cannot be reached from the first state");
  const sources = new Map<string, string[]>();
  for (const name of names) {
    for (const target of targets(chart, name)) sources.set(target, [...(sources.get(target) ?? []), name]);
  }
  const ending = reach(
    names.filter((name) => typeof chart[name] === "string"),
    (name) => sources.get(name) ?? [],
  );
  for (const name of names)
    if (!ending.has(name)) problem(`chart.${name}`, "is a dead end: no end can be reached from it");
  for (const cycle of cycles(names, (name) => passTarget(chart, name, logics))) {
    problem(`chart.${cycle[0]}`, `an endless cycle of states that pass: ${cycle.join(" → ")}`);
  }
  const lateRoots = names.flatMap((name) => {
    const target = deadlineTarget(chart, name, logics);
    return target === undefined ? [] : [target];
  });
  const late = reach(lateRoots, (name) => targets(chart, name));
  for (const name of late) {
    const logic = logics.get(name);
    if (logic?.deadline !== undefined && logic.withinMs === undefined) {
      problem(
        `behaviours.${name}.withinMs`,
        "is missing: a run may enter this state after the hub's deadline",
      );
    }
  }
  if (problems.length > 0) return none;
  const inCycle = new Set<string>();
  for (const name of late) {
    if (logics.get(name)?.deadline === undefined || inCycle.has(name)) continue;
    const cycle = cycleThrough(name, (from) => targets(chart, from));
    if (cycle === undefined) continue;
    for (const member of cycle) inCycle.add(member);
    problem(`chart.${name}`, `an unbounded cycle of waits after the hub's deadline: ${cycle.join(" → ")}`);
  }
  if (problems.length > 0) return none;
  const remainingMs = longestPaths(late, chart, logics);
  const afterDeadlineMs = Math.max(0, ...lateRoots.map((name) => remainingMs.get(name) ?? 0));
  return { problems, late, remainingMs, afterDeadlineMs };
}

function checkLogic(
  chart: Chart,
  name: string,
  logic: StateLogic | undefined,
  problem: (path: string, message: string) => void,
): void {
  if (logic === undefined) return;
  const row = chart[name];
  if ((typeof row === "string") !== (logic.kind === "end")) {
    problem(
      `behaviours.${name}`,
      typeof row === "string"
        ? "an end state needs a function that returns the reply"
        : "is a function that returns a reply, but only an end state may reply",
    );
    return;
  }
  const moves = new Map(rowOf(chart, name).filter(([, target]) => target !== stay));
  const raises: [string, string | undefined][] = [
    ["deadline", logic.deadline?.raise],
    ["next", logic.passes],
  ];
  for (const [what, event] of raises) {
    if (event !== undefined && !moves.has(event)) {
      problem(`behaviours.${name}.${what}`, `raises ${event}, but no edge for it leaves ${name}`);
    }
  }
  if (logic.withinMs !== undefined && !isDuration(logic.withinMs)) {
    problem(`behaviours.${name}.withinMs`, mustBeDuration);
  }
  if (logic.limit !== undefined && !(Number.isInteger(logic.limit) && logic.limit >= 1)) {
    problem(`behaviours.${name}.limit`, "must be an integer from 1");
  }
}

function rowOf(chart: Chart, name: string): [string, string][] {
  const row = chart[name];
  return typeof row === "object" ? Object.entries(row) : [];
}

function targets(chart: Chart, name: string): string[] {
  return rowOf(chart, name).flatMap(([, target]) => (target === stay ? [] : [target]));
}

function targetOf(chart: Chart, name: string, event: string | undefined): string | undefined {
  const row = chart[name];
  return typeof row === "object" && event !== undefined ? row[event] : undefined;
}

function deadlineTarget(
  chart: Chart,
  name: string,
  logics: ReadonlyMap<string, StateLogic>,
): string | undefined {
  return targetOf(chart, name, logics.get(name)?.deadline?.raise);
}

function passTarget(chart: Chart, name: string, logics: ReadonlyMap<string, StateLogic>): string[] {
  const target = targetOf(chart, name, logics.get(name)?.passes);
  return target === undefined ? [] : [target];
}

function reach(roots: readonly string[], next: (name: string) => readonly string[]): Set<string> {
  const reached = new Set<string>();
  const open = [...roots];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (reached.has(name)) continue;
    reached.add(name);
    open.push(...next(name));
  }
  return reached;
}

/** All cycles of a graph in which each state has one way on at most. */
function cycles(names: readonly string[], next: (name: string) => readonly string[]): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  for (const start of names) {
    const path: string[] = [];
    for (let name: string | undefined = start; name !== undefined && !done.has(name); [name] = next(name)) {
      const position = path.indexOf(name);
      if (position >= 0) {
        found.push([...path.slice(position), name]);
        break;
      }
      path.push(name);
    }
    for (const name of path) done.add(name);
  }
  return found;
}

/** The shortest way from a state back to itself, by breadth-first search. */
function cycleThrough(name: string, next: (name: string) => readonly string[]): string[] | undefined {
  const paths: string[][] = [[name]];
  const seen = new Set<string>();
  for (const path of paths) {
    for (const target of next(path.at(-1) as string)) {
      if (target === name) return [...path, name];
      if (seen.has(target)) continue;
      seen.add(target);
      paths.push([...path, target]);
    }
  }
  return undefined;
}

/**
 * The longest time to an end, for each late state. It repeats until nothing changes. That happens, since no wait is in
 * a cycle: around a cycle, nothing is added.
 */
function longestPaths(
  late: ReadonlySet<string>,
  chart: Chart,
  logics: ReadonlyMap<string, StateLogic>,
): Map<string, number> {
  const lengths = new Map<string, number>(Array.from(late, (name) => [name, 0]));
  for (let changed = true; changed;) {
    changed = false;
    for (const name of late) {
      const own = Math.ceil(logics.get(name)?.withinMs ?? 0);
      const length = own + Math.max(0, ...targets(chart, name).map((target) => lengths.get(target) ?? 0));
      if (length === lengths.get(name)) continue;
      lengths.set(name, length);
      changed = true;
    }
  }
  return lengths;
}
