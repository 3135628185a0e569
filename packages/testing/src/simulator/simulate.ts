import { stay, type AnyHub } from "@wheelwork/core";
import { chartsOf } from "./charts.ts";
import { checkTrace, type Checked, type Violation } from "./checker.ts";
import { planOf, smaller, type Plan } from "./plan.ts";
import { lineOf, type TraceEntry } from "./trace.ts";
import { play, type Played, type SimulatedSystem } from "./world.ts";

/** A simulation that has shown what must never be. */
export interface SimulationFailure {
  readonly seed: number;
  readonly violations: readonly Violation[];
  /** The smallest plan that was found to fail in the same way. */
  readonly plan: Plan;
  readonly trace: readonly TraceEntry[];
}

/** What simulations have reached: a silent simulator shows here. */
export interface SimulationReport {
  readonly seeds: number;
  readonly simulatedMs: number;
  readonly requests: number;
  readonly attempts: number;
  readonly commits: number;
  /** How often each kind of fault has happened. */
  readonly faults: ReadonlyMap<string, number>;
  /** How often each kind of answer was given, and each reason why an input changed nothing. */
  readonly answers: ReadonlyMap<string, number>;
  readonly ignored: ReadonlyMap<string, number>;
  /** How often the engine told of each kind of thing: `purged`, `migrated`, `checkpoint`, …; what `observe` gets. */
  readonly signals: ReadonlyMap<string, number>;
  /** How many seeds had their store in `memory`, over a `network`, in a `file`. */
  readonly stores: ReadonlyMap<string, number>;
  /** How often each invariant was held against something. */
  readonly exercised: ReadonlyMap<string, number>;
  /** Edges that runs have taken: `hub: State --Event--> State`; and those that the charts have. */
  readonly edges: ReadonlySet<string>;
  readonly declared: ReadonlySet<string>;
  readonly failures: readonly SimulationFailure[];
}

/** What to simulate. */
export interface SimulationOptions {
  readonly systems: readonly SimulatedSystem[];
  /** The first seed. Default 1. */
  readonly from?: number;
  /** How many seeds, each with the next of the systems. */
  readonly seeds: number;
  /** Ends earlier, after so many milliseconds of real time. */
  readonly withinMs?: number;
  /** Ends after so many failures. Default 1. */
  readonly failures?: number;
  /** Whether a failure is made smaller. Default true. */
  readonly shrinks?: boolean;
}

/**
 * Simulates systems: the real core and the real durable loop, in virtual time, over a simulated store, network, workers
 * and processes, each simulation drawn from one seed. What was seen is held against the invariants by a checker that
 * shares no code with the engine.
 */
export async function simulate(options: SimulationOptions): Promise<SimulationReport> {
  const { systems, from = 1, seeds, withinMs = Number.POSITIVE_INFINITY, failures: most = 1 } = options;
  const total = { seeds: 0, simulatedMs: 0, requests: 0, attempts: 0, commits: 0 };
  const faults = new Map<string, number>();
  const answers = new Map<string, number>();
  const ignored = new Map<string, number>();
  const signals = new Map<string, number>();
  const stores = new Map<string, number>();
  const exercised = new Map<string, number>();
  const edges = new Set<string>();
  const declared = new Set<string>();
  const failures: SimulationFailure[] = [];
  const began = performance.now();
  for (let seed = from; seed < from + seeds && failures.length < most; seed++) {
    if (performance.now() - began > withinMs) break;
    const system = systemOf(systems, seed);
    const plan = planOf(seed, system.scaleMs);
    const { played, checked } = await simulatePlan(system, plan);
    total.seeds++;
    total.simulatedMs += played.simulatedMs;
    for (const entry of played.trace) {
      if (entry.type === "fault") count(faults, entry.kind);
      else if (entry.type === "told") count(answers, entry.answer.kind);
      else if (entry.type === "accepted") total.requests++;
      else if (entry.type === "attempt") total.attempts++;
      else if (entry.type === "committed") total.commits++;
    }
    count(stores, plan.file ? "file" : plan.remote ? "network" : "memory");
    for (const signal of played.signals) {
      count(signals, signal.name);
      if (signal.name === "ignored") count(ignored, signal.reason);
    }
    for (const [invariant, times] of checked.exercised) count(exercised, invariant, times);
    for (const edge of checked.edges) edges.add(edge);
    for (const { name, definition } of played.hubs)
      for (const edge of edgesOf(name, definition.chart)) declared.add(edge);
    if (checked.violations.length === 0) continue;
    failures.push(
      options.shrinks === false
        ? { seed, plan, violations: checked.violations, trace: played.trace }
        : { seed, ...(await shrink(system, plan, checked.violations)) },
    );
  }
  return { ...total, faults, answers, ignored, signals, stores, exercised, edges, declared, failures };
}

/** The edges of a chart that lead to another entry of a state. */
function* edgesOf(hub: string, chart: AnyHub["definition"]["chart"]): Iterable<string> {
  for (const [state, row] of Object.entries(chart)) {
    if (typeof row !== "object") continue;
    for (const [event, target] of Object.entries(row))
      if (target !== stay) yield `${hub}: ${state} --${event}--> ${target}`;
  }
}

/** Seeds take turns with the systems, so that each seed is always played with the same one. */
function systemOf(systems: readonly SimulatedSystem[], seed: number): SimulatedSystem {
  const system = systems[seed % systems.length];
  if (system === undefined) throw new RangeError("there is no system to simulate");
  return system;
}

/** Plays one plan, and checks what was seen. */
export async function simulatePlan(
  system: SimulatedSystem,
  plan: Plan,
): Promise<{ readonly played: Played; readonly checked: Checked }> {
  const played = await play(system, plan);
  const checked = checkTrace(played.trace, {
    ...chartsOf(played.hubs),
    retentionMs: plan.retentionMs ?? Number.POSITIVE_INFINITY,
    // A store over a network takes its time for each batch, and batches may be small.
    graceMs: plan.remote ? 5_000 : 1_500,
    lagMs: plan.remote ? 100 : 0,
    catchUpMs: plan.remote ? 500 : 0,
  });
  if (!plan.compares) return { played, checked };
  const calm = outlines((await play(system, { ...plan, faults: [] })).trace);
  const violations = [...checked.violations];
  for (const [key, outline] of outlines(played.trace)) {
    if (outline === calm.get(key)) continue;
    const message = `${key} has another answer or way than without faults: ${outline}; ${calm.get(key)}`;
    violations.push({ invariant: "I10", message, place: played.trace.length - 1 });
  }
  const exercised = new Map(checked.exercised);
  count(exercised, "I10", calm.size);
  return { played, checked: { ...checked, violations, exercised } };
}

/** Of each request, the states that it went through, and its answer. */
function outlines(trace: readonly TraceEntry[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of trace) {
    if (entry.type !== "view") continue;
    const states = entry.history.flatMap((event) => (event.type === "entered" ? [event.state] : []));
    found.set(entry.key, `${states.join(" ")} ${JSON.stringify(entry.answer)}`);
  }
  return found;
}

/** Makes a failing plan smaller for as long as it fails in the same way. */
async function shrink(
  system: SimulatedSystem,
  failing: Plan,
  first: readonly Violation[],
): Promise<Omit<SimulationFailure, "seed">> {
  const kinds = new Set(first.map(({ invariant }) => invariant));
  let plan = failing;
  for (let tries = 0, better = true; better && tries < 400;) {
    better = false;
    for (const candidate of smaller(plan)) {
      if (++tries > 400) break;
      const { checked } = await simulatePlan(system, candidate);
      if (!checked.violations.some(({ invariant }) => kinds.has(invariant))) continue;
      plan = candidate;
      better = true;
      break;
    }
  }
  const { played, checked } = await simulatePlan(system, plan);
  return { plan, violations: checked.violations, trace: played.trace };
}

function count(counts: Map<string, number>, name: string, times = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + times);
}

/** A failure for people: what is wrong, the smallest plan, and the trace up to it. */
export function describeFailure({ seed, violations, plan, trace }: SimulationFailure): string {
  const until = violations[0]?.place ?? trace.length;
  const list = violations.slice(0, 5).map(({ invariant, message }) => `  ${invariant}: ${message}`);
  const { requests, commands, faults, seed: _seed, ...settings } = plan;
  return [
    `seed ${seed} fails:`,
    ...list,
    "the smallest plan that was found:",
    ...requests.map(({ at, key, twice }) => `  at ${at}: request ${key}${twice ? ", twice" : ""}`),
    ...commands.map(({ at, kind, id, request }) => `  at ${at}: ${kind} ${id} to ${requests[request]?.key}`),
    ...faults.map(({ kind, at, forMs }) => `  ${kind} at ${at}, ${forMs} ms`),
    `  ${JSON.stringify(settings)}`,
    "what happened:",
    ...trace.slice(0, until + 1).map(lineOf),
  ].join("\n");
}
