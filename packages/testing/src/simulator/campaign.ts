import { stay, type AnyHub } from "@wheelwork/core";
import { engineWorld } from "./engine/world.ts";
import type { SimulatedSystem } from "./systems.ts";
import { addCounts, type AnyPlan, type Counts, type Play, type Violation, type World } from "./world.ts";

/** A simulation that has shown what must never be. */
export interface SimulationFailure {
  readonly world: string;
  readonly system: string;
  readonly seed: number;
  readonly violations: readonly Violation[];
  /** The smallest plan that was found to fail in the same way, for people. */
  readonly plan: readonly string[];
  /** What happened, for people. */
  readonly trace: readonly string[];
}

/** What simulations have reached: a silent simulator shows here. */
export interface SimulationReport {
  readonly seeds: number;
  readonly simulatedMs: number;
  readonly requests: number;
  readonly attempts: number;
  readonly commits: number;
  /** How often each kind of fault has happened; 0: never. */
  readonly faults: Counts;
  /** How often each other kind of thing has: answers, commands with their results, reads, … */
  readonly happened: Counts;
  /** How often the engines told of each kind of thing: `purged`, `migrated`, `checkpoint`, …; what `observe` gets. */
  readonly signals: Counts;
  /** How often each invariant was held against something. */
  readonly exercised: Counts;
  /** Edges that runs have taken: `hub: State --Event--> State`; and those that the charts have. */
  readonly edges: ReadonlySet<string>;
  readonly declared: ReadonlySet<string>;
  readonly failures: readonly SimulationFailure[];
}

/** What to simulate. */
export interface SimulationOptions {
  readonly systems: readonly SimulatedSystem[];
  /** Where: default is `engineWorld`, one embedded engine; `clusterWorld` has several nodes. */
  readonly world?: World;
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

/** A failing plan is made smaller until so many were tried. */
const maxTries = 400;

/**
 * Simulates systems: the real core and the real durable loop, in virtual time, over a simulated store, network, workers
 * and processes, each simulation drawn from one seed. What was seen is held against the invariants by a checker that
 * shares no code with the engine.
 * @throws RangeError when there is no system.
 */
export async function simulate(options: SimulationOptions): Promise<SimulationReport> {
  const { systems, world = engineWorld, from = 1, seeds } = options;
  const { withinMs = Number.POSITIVE_INFINITY, failures: maxFailures = 1 } = options;
  const total = new Total(world);
  const failures: SimulationFailure[] = [];
  const began = performance.now();
  for (let seed = from; seed < from + seeds && failures.length < maxFailures; seed++) {
    if (performance.now() - began > withinMs) break;
    const system = systemOf(systems, seed);
    const plan = world.plan(seed, system.scaleMs);
    const play = await world.play(system, plan);
    total.add(play);
    if (play.violations.length === 0) continue;
    const smallest = options.shrinks === false ? { plan, play } : await shrink(world, system, { plan, play });
    failures.push({
      world: world.name,
      system: system.name,
      seed,
      violations: smallest.play.violations,
      plan: world.describe(smallest.plan),
      trace: smallest.play.lines(),
    });
  }
  return { ...total.report(), failures };
}

/** Seeds take turns with the systems, so that each seed is always played with the same one. */
function systemOf(systems: readonly SimulatedSystem[], seed: number): SimulatedSystem {
  const system = systems[seed % systems.length];
  if (system === undefined) throw new RangeError("there is no system to simulate");
  return system;
}

interface Failing {
  readonly plan: AnyPlan;
  readonly play: Play;
}

/** Leaves out what need not happen for it to fail in the same way. */
async function shrink(world: World, system: SimulatedSystem, failing: Failing): Promise<Failing> {
  const invariants = new Set(failing.play.violations.map(({ invariant }) => invariant));
  let smallest = failing;
  for (let tries = 0, better = true; better && tries < maxTries;) {
    better = false;
    for (const plan of world.smaller(smallest.plan)) {
      if (++tries > maxTries) break;
      const play = await world.play(system, plan);
      if (!play.violations.some(({ invariant }) => invariants.has(invariant))) continue;
      smallest = { plan, play };
      better = true;
      break;
    }
  }
  return smallest;
}

/** What simulations have reached together. */
class Total {
  readonly #numbers = { seeds: 0, simulatedMs: 0, requests: 0, attempts: 0, commits: 0 };
  readonly #faults: Map<string, number>;
  readonly #happened = new Map<string, number>();
  readonly #signals = new Map<string, number>();
  readonly #exercised = new Map<string, number>();
  readonly #edges = new Set<string>();
  readonly #declared = new Set<string>();

  constructor({ faultKinds }: World) {
    this.#faults = new Map(faultKinds.map((kind) => [kind, 0]));
  }

  add(play: Play): void {
    this.#numbers.seeds++;
    for (const name of ["simulatedMs", "requests", "attempts", "commits"] as const)
      this.#numbers[name] += play[name];
    addCounts(this.#faults, play.faults);
    addCounts(this.#happened, play.happened);
    addCounts(this.#signals, play.signals);
    addCounts(this.#exercised, play.exercised);
    for (const edge of play.edges) this.#edges.add(edge);
    for (const { name, definition } of play.hubs)
      for (const edge of edgesOf(name, definition.chart)) this.#declared.add(edge);
  }

  report(): Omit<SimulationReport, "failures"> {
    return {
      ...this.#numbers,
      faults: this.#faults,
      happened: this.#happened,
      signals: this.#signals,
      exercised: this.#exercised,
      edges: this.#edges,
      declared: this.#declared,
    };
  }
}

/** The edges of a chart that lead to another entry of a state. */
function* edgesOf(hub: string, chart: AnyHub["definition"]["chart"]): Iterable<string> {
  for (const [state, row] of Object.entries(chart)) {
    if (typeof row !== "object") continue;
    for (const [event, target] of Object.entries(row))
      if (target !== stay) yield `${hub}: ${state} --${event}--> ${target}`;
  }
}

/** A failure for people: what is wrong, the smallest plan, and the trace. */
export function describeFailure({ world, system, seed, violations, plan, trace }: SimulationFailure): string {
  const list = violations.slice(0, 5).map(({ invariant, message }) => `  ${invariant}: ${message}`);
  return [
    `seed ${seed} of ${system} in the ${world} world fails:`,
    ...list,
    "the smallest plan that was found:",
    ...plan.map((line) => `  ${line}`),
    "what happened:",
    ...trace,
  ].join("\n");
}
