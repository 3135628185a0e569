import type { Problem } from "./errors.ts";
import { isWaiting, type DeadlineEvent, type StateLogic } from "./logic.ts";
import { isDuration, mustBeDuration } from "./duration.ts";

/*
 * What is known of a hub before any run. `checkChart` refuses charts that could not keep the promise, and computes the
 * time by which every request is answered. It works in stages. A stage that finds problems ends the check, since the
 * next one relies on it. Within a stage, all problems are listed.
 *
 *   1. Names. Each state has a logic, each edge leads to a state, each fixed event has an edge that leaves its state.
 *   2. Shape. Each state can be reached from the first one, and an end can be reached from each state. States that pass
 *      form no cycle: a run would never stop there. (Cycles of picks may end, since their events depend on the data.
 *      They are bounded when they run, I15.) Each wait has an event of the hub's deadline or, if it is late, a timer
 *      with a constant time.
 *   3. Answers. Each path answers exactly once: at its end, or in a state that answers and goes on.
 *   4. Time. No cycle leads through a late wait.
 *
 * Late states. The deadline of the hub may pass in any state that waits. The run then leaves that state by its deadline
 * event. So every state that can be reached from the target of a deadline event may be entered after the deadline.
 * These states are late: they are the clean-up. So are the states that the hub names in `cleanUp`, and those that follow
 * them: compensation that an error reaches. The set is closed: no edge leads from a late state to one that is not late.
 * The deadline event is a plain name, never computed, so the set is known here. In late states the hub's deadline no
 * longer counts, so each wait among them needs its own bound: a timer with a constant time, whose event leaves the state.
 *
 * Answers. A state is reached before the hub has answered, after it, or both. Before, the hub's deadline bounds a wait. After,
 * no deadline runs, and the deadline's event makes nothing late, so that each wait needs a timer with a constant time, or is
 * idle: it waits for signals, for ever, and a cancel ends it. A state that answers, and an end that does, are reached only
 * before; an end that does not, only after. What follows an answer that the clean-up gives is clean-up, too.
 *
 * The edge of a timer is an ordinary edge. It makes nothing late, so before the clean-up timers may form loops.
 *
 * Cycles. A cycle through a late wait could repeat its bound without end, so it is refused. A cycle of late states that
 * do not wait takes no time.
 *
 * Remaining time. So each path through the late states is finite. `remainingMs` of a late state is its own bound
 * plus the largest `remainingMs` of the states that follow it, and nothing if it answers: the caller waits no longer. The largest
 * one of all states that begin the clean-up is `afterDeadlineMs`: a run answers by its deadline plus this time, and `answerBy`
 * is set there.
 */

/** What a chart and its logics say before any run. If there are problems, the rest is empty. */
export interface ChartFacts {
  readonly problems: readonly Problem[];
  /** States that a run may enter after the hub's deadline: the clean-up. */
  readonly late: ReadonlySet<string>;
  /** For each late state: the longest time from entering it to the answer, in milliseconds. */
  readonly remainingMs: ReadonlyMap<string, number>;
  /** The longest time from the deadline to the answer, in milliseconds. */
  readonly afterDeadlineMs: number;
}

/** What checks of a chart need to know of its hub. */
export interface ChartOptions {
  /** The event that the hub's deadline raises in a state that names no other. */
  readonly deadline?: DeadlineEvent | undefined;
  /** States that begin a clean-up, besides those that a deadline event leads to. */
  readonly cleanUp?: readonly string[] | undefined;
  /** The hub's own event of a cancel, or `end`: a cancel ends the run at once. */
  readonly cancel?: string | undefined;
}

type Chart = { readonly [state: string]: string | { readonly [event: string]: string } };

/** Marks a state in which a run ends. */
export const end = "(end)" as const;
/** Marks an event that does not leave its state: the open round or wait goes on. */
export const stay = "(stay)" as const;
const isInteger = /^\d+$/;

/** Checks a chart with its logics, and computes the times that follow from it. */
export function checkChart(
  chart: Chart,
  logics: ReadonlyMap<string, StateLogic>,
  { deadline, cleanUp = [], cancel }: ChartOptions = {},
): ChartFacts {
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
  for (const name of cleanUp)
    if (!Object.hasOwn(chart, name)) problem("cleanUp", `names ${name}, which is not a state of the chart`);
  const none: ChartFacts = { problems, late: new Set(), remainingMs: new Map(), afterDeadlineMs: 0 };
  if (problems.length > 0) return none;

  const reached = reach(names.slice(0, 1), (name) => targets(chart, name));
  for (const name of names)
    if (!reached.has(name)) problem(`chart.${name}`, "cannot be reached from the first state");
  const sources = new Map<string, string[]>();
  for (const name of names) {
    for (const target of targets(chart, name)) sources.set(target, [...(sources.get(target) ?? []), name]);
  }
  const mayEndByCancel = (name: string): boolean => cancel === end && logics.get(name)?.idle === true;
  const ending = reach(
    names.filter((name) => typeof chart[name] === "string" || mayEndByCancel(name)),
    (name) => sources.get(name) ?? [],
  );
  for (const name of names)
    if (!ending.has(name)) problem(`chart.${name}`, "is a dead end: no end can be reached from it");
  for (const cycle of cycles(names, (name) => passTarget(chart, name, logics))) {
    problem(`chart.${cycle[0]}`, `an endless cycle of states that pass: ${cycle.join(" → ")}`);
  }
  const phases = phasesOf(chart, names, logics);
  const roots = lateRoots(chart, logics, phases.before, deadline?.raise, cleanUp);
  const late = reach(
    roots.map(({ name }) => name),
    (name) => targets(chart, name),
  );
  for (const [name, logic] of logics) {
    checkAnswer(name, logic, phases, problem);
    if (!isWaiting(logic)) continue;
    if (phases.before.has(name) || late.has(name))
      checkBound(chart, name, logic, late.has(name), deadline?.raise, problem);
    if (phases.after.has(name) && !late.has(name))
      checkAfterAnswer(chart, name, logic, cancel ?? logic.deadline?.raise ?? deadline?.raise, problem);
  }
  if (problems.length > 0) return none;
  const inCycle = new Set<string>();
  for (const name of late) {
    if (!isWaiting(logics.get(name) as StateLogic) || inCycle.has(name)) continue;
    const cycle = pathTo(name, name, (from) => targets(chart, from));
    if (cycle === undefined) continue;
    for (const member of cycle) inCycle.add(member);
    // In a late state the deadline no longer passes.
    const causes = roots.filter(({ from }) => from === undefined || !late.has(from));
    const why = whyLate(name, causes, (from) => targets(chart, from));
    problem(`chart.${name}`, `an unbounded cycle of waits in the clean-up: ${cycle.join(" → ")}. ${why}`);
  }
  if (problems.length > 0) return none;
  const remainingMs = longestPaths(late, chart, logics);
  const afterDeadlineMs = Math.max(0, ...roots.map(({ name }) => remainingMs.get(name) ?? 0));
  return { problems, late, remainingMs, afterDeadlineMs };
}

function checkLogic(
  chart: Chart,
  name: string,
  logic: StateLogic | undefined,
  problem: (path: string, message: string) => void,
): void {
  if (logic === undefined) return;
  for (const { path, message } of logic.stated?.problems ?? []) problem(`behaviours.${name}${path}`, message);
  if (logic.stated !== undefined && logic.stated.problems.length > 0) return;
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
  const events = rowOf(chart, name).map(([event]) => event);
  for (const { path, event, leaves } of logic.stated?.events ?? []) {
    const isThere = leaves ? moves.has(event) : events.includes(event);
    if (!isThere)
      problem(
        `behaviours.${name}${path}`,
        leaves && events.includes(event)
          ? `raises ${event}, which stays: it must leave ${name}`
          : `raises ${event}, but ${name} has no such event`,
      );
  }
  for (const { event, ms } of logic.timers ?? []) {
    if (!events.includes(event))
      problem(`behaviours.${name}.after`, `raises ${event}, but ${name} has no such event`);
    if (typeof ms === "number" && !isDuration(ms))
      problem(`behaviours.${name}.after.${event}`, mustBeDuration);
  }
  const { limit } = logic;
  if (typeof limit === "number" && !(Number.isInteger(limit) && limit >= 1)) {
    problem(`behaviours.${name}.limit`, "must be an integer from 1, or a function of the data");
  }
}

/** The states that are reached before the hub has answered, and after it. Some may be reached both ways. */
interface Phases {
  readonly before: ReadonlySet<string>;
  readonly after: ReadonlySet<string>;
}

function phasesOf(chart: Chart, names: readonly string[], logics: ReadonlyMap<string, StateLogic>): Phases {
  const answers = (name: string): boolean => logics.get(name)?.kind === "answer";
  const before = reach(names.slice(0, 1), (name) => (answers(name) ? [] : targets(chart, name)));
  const after = reach(
    [...before].filter(answers).flatMap((name) => targets(chart, name)),
    (name) => targets(chart, name),
  );
  return { before, after };
}

/** Each path answers exactly once. */
function checkAnswer(
  name: string,
  { kind, isAnswered, idle }: StateLogic,
  { before, after }: Phases,
  problem: (path: string, message: string) => void,
): void {
  if (kind === "answer" && after.has(name))
    problem(
      `chart.${name}`,
      "answers, and can be reached after the hub has answered: each path answers once",
    );
  if (idle === true && before.has(name))
    problem(
      `behaviours.${name}.idle`,
      "is only for states after the answer: the client would wait until the hub's deadline",
    );
  if (kind !== "end") return;
  if (before.has(name) && isAnswered === true)
    problem(
      `behaviours.${name}`,
      after.has(name)
        ? "must return the reply: it is also reached before the hub has answered"
        : "must return the reply: no state before it has answered",
    );
  // An end that is reached both ways returns the reply for those who have none.
  else if (!before.has(name) && after.has(name) && isAnswered !== true)
    problem(`behaviours.${name}`, "must be `answered`: a state before it has given the answer");
}

/** After the answer no deadline runs: a wait is bounded by a timer, or it is idle, and a cancel can end it. */
function checkAfterAnswer(
  chart: Chart,
  name: string,
  logic: StateLogic,
  cancel: string | undefined,
  problem: (path: string, message: string) => void,
): void {
  if (logic.idle === true) {
    if (cancel !== end && (cancel === undefined || !leaves(chart, name, cancel)))
      problem(
        `behaviours.${name}.idle`,
        "needs an edge for the event of a cancel (`cancel` of the hub), which is the only way to end it from outside",
      );
  } else if (boundOf(chart, name, logic) === undefined)
    problem(
      `behaviours.${name}.after`,
      "needs a constant time for an event that leaves the state, since no deadline runs after the answer. Or let it be idle: `s.wait({ on, idle: true })`",
    );
}

/** A wait is bounded by the hub's deadline, and in the clean-up by a timer of its own. */
function checkBound(
  chart: Chart,
  name: string,
  logic: StateLogic,
  isLate: boolean,
  deadline: string | undefined,
  problem: (path: string, message: string) => void,
): void {
  if (isLate) {
    if (boundOf(chart, name, logic) === undefined)
      problem(
        `behaviours.${name}.after`,
        "needs a constant time for an event that leaves the state: it belongs to the clean-up, where the hub's deadline no longer counts",
      );
    if (logic.deadline !== undefined)
      problem(`behaviours.${name}.deadline`, "never comes: the state belongs to the clean-up. Use `after`");
    return;
  }
  if (logic.deadline !== undefined) return;
  if (deadline === undefined)
    problem(
      `behaviours.${name}.deadline`,
      "is missing: say what the hub's deadline raises, here or once for the hub (`deadline`)",
    );
  else if (!leaves(chart, name, deadline))
    problem(
      `chart.${name}.${deadline}`,
      `is missing: it is the event of the hub's deadline, which may pass in ${name}. Or give the state a \`deadline\` of its own`,
    );
}

/** The longest stay in a state, if it has a bound of its own: the shortest constant time after which an event leaves it. */
function boundOf(chart: Chart, name: string, { timers = [] }: StateLogic): number | undefined {
  const bounds = timers.flatMap(({ event, ms }) =>
    typeof ms === "number" && leaves(chart, name, event) ? [Math.ceil(ms)] : [],
  );
  return bounds.length === 0 ? undefined : Math.min(...bounds);
}

/** A state that begins the clean-up. */
interface LateRoot {
  readonly name: string;
  /** The state in which the deadline may pass, and what it raises there. Absent: the hub's `cleanUp` names the state. */
  readonly from?: string;
  readonly event?: string;
}

function lateRoots(
  chart: Chart,
  logics: ReadonlyMap<string, StateLogic>,
  before: ReadonlySet<string>,
  deadline: string | undefined,
  cleanUp: readonly string[],
): LateRoot[] {
  const roots: LateRoot[] = cleanUp.map((name) => ({ name }));
  for (const [from, logic] of logics) {
    const event = isWaiting(logic) && before.has(from) ? (logic.deadline?.raise ?? deadline) : undefined;
    const name = targetOf(chart, from, event);
    if (event !== undefined && name !== undefined && name !== stay) roots.push({ name, from, event });
  }
  return roots;
}

/** Why a state belongs to the clean-up: it names the edge by which runs come there. */
function whyLate(
  name: string,
  roots: readonly LateRoot[],
  next: (name: string) => readonly string[],
): string {
  let shortest: { readonly root: LateRoot; readonly path: readonly string[] } | undefined;
  for (const root of roots) {
    const path = root.name === name ? [name] : pathTo(root.name, name, next);
    if (path !== undefined && (shortest === undefined || path.length < shortest.path.length))
      shortest = { root, path };
  }
  if (shortest === undefined) return "";
  const { root, path } = shortest;
  const why =
    root.from === undefined
      ? `\`cleanUp\` names ${root.name}`
      : `the deadline's event ${root.event} leads from ${root.from} to ${root.name}`;
  const way = path.length > 1 ? `, and from there: ${path.join(" → ")}` : "";
  return `${name} belongs to the clean-up, since ${why}${way}`;
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

function leaves(chart: Chart, name: string, event: string): boolean {
  return rowOf(chart, name).some(([one, target]) => one === event && target !== stay);
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

/** The shortest way from a state to another one, or back to itself, by breadth-first search. */
function pathTo(from: string, to: string, next: (name: string) => readonly string[]): string[] | undefined {
  const paths: string[][] = [[from]];
  const seen = new Set<string>();
  for (const path of paths) {
    for (const target of next(path.at(-1) as string)) {
      if (target === to) return [...path, to];
      if (seen.has(target)) continue;
      seen.add(target);
      paths.push([...path, target]);
    }
  }
  return undefined;
}

/**
 * The longest time to the answer, for each late state. It repeats until nothing changes. That happens, since no wait is in
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
      const logic = logics.get(name) as StateLogic;
      if (logic.kind === "answer") continue;
      const own = boundOf(chart, name, logic) ?? 0;
      const length = own + Math.max(0, ...targets(chart, name).map((target) => lengths.get(target) ?? 0));
      if (length === lengths.get(name)) continue;
      lengths.set(name, length);
      changed = true;
    }
  }
  return lengths;
}

/**
 * For each state: the signals that it takes, or a state that can be reached from it. A run that comes there drops all others.
 */
export function takenSignals(
  chart: Chart,
  logics: ReadonlyMap<string, StateLogic>,
): ReadonlyMap<string, ReadonlySet<string>> {
  const taken = new Map<string, Set<string>>();
  for (const name of Object.keys(chart)) {
    const reached = reach([name], (from) => targets(chart, from));
    taken.set(name, new Set(Array.from(reached, (state) => logics.get(state)?.signals ?? []).flat()));
  }
  return taken;
}
