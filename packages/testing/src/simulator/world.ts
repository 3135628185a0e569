import type { AnyHub } from "@wheelwork/core";
import type { SimulatedSystem } from "./systems.ts";

/** Something that must never be seen. */
export interface Violation {
  /** Which promise it breaks, as ARCHITECTURE.md numbers them; `outside`: what the system's own check found. */
  readonly invariant: string;
  readonly message: string;
}

/** How often things have happened, by name. */
export type Counts = ReadonlyMap<string, number>;

/** What one simulation has shown. */
export interface Play {
  readonly violations: readonly Violation[];
  readonly simulatedMs: number;
  readonly requests: number;
  readonly attempts: number;
  readonly commits: number;
  /** How often each kind of fault has happened. */
  readonly faults: Counts;
  /** How often each other kind of thing has: answers, commands with their results, reads, … */
  readonly happened: Counts;
  /** How often the engines told of each kind of thing: what `observe` gets. */
  readonly signals: Counts;
  /** How often each invariant was held against something. */
  readonly exercised: Counts;
  /** Edges that runs have taken: `hub: State --Event--> State`. */
  readonly edges: ReadonlySet<string>;
  readonly hubs: readonly AnyHub[];
  /** What happened, for people: up to what was wrong, if that is in one place. */
  lines(): readonly string[];
}

/** What a plan is to those who do not know its world. */
export interface AnyPlan {
  readonly seed: number;
}

/**
 * A world that systems are simulated in: it draws a plan from a seed, plays it, and says what it found that must never be.
 * The same plan plays the same.
 */
export interface World<Plan extends AnyPlan = AnyPlan> {
  readonly name: string;
  /** All that can go wrong in it. */
  readonly faultKinds: readonly string[];
  /** Draws all that happens in a simulation. `scaleMs`: the time in which the system's hubs do their work. */
  plan(seed: number, scaleMs: number): Plan;
  play(system: SimulatedSystem, plan: Plan): Promise<Play>;
  /** Smaller plans, the smallest first: one of them may fail as well. */
  smaller(plan: Plan): Iterable<Plan>;
  /** A plan for people, a line for each thing that happens. */
  describe(plan: Plan): readonly string[];
}

/** Counts that something has happened. */
export function count(counts: Map<string, number>, name: string, times = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + times);
}

/** Adds counts to others. */
export function addCounts(counts: Map<string, number>, given: Counts): void {
  for (const [name, times] of given) count(counts, name, times);
}
