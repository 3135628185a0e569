import { chartsOf } from "./charts.ts";
import { checkTrace } from "./checker.ts";
import type { ClusterViolation } from "./cluster-ledger.ts";
import { clusterPlanOf, smallerCluster, type ClusterPlan } from "./cluster-plan.ts";
import { ClusterWorld } from "./cluster-world.ts";
import type { SimulatedSystem } from "./world.ts";

/** A simulation of a cluster that has shown what must never be. */
export interface ClusterFailure {
  readonly seed: number;
  readonly system: string;
  readonly violations: readonly ClusterViolation[];
  /** The smallest plan that was found to fail in the same way. */
  readonly plan: ClusterPlan;
  readonly trace: readonly string[];
}

/** What simulations of clusters have reached: a silent simulator shows here. */
export interface ClusterReport {
  readonly seeds: number;
  readonly simulatedMs: number;
  readonly requests: number;
  readonly commits: number;
  /** How often each kind of thing has happened: faults, requests, commands with their results, reads, … */
  readonly happened: ReadonlyMap<string, number>;
  /** How often the nodes told of each kind of thing: what `observe` gets. */
  readonly signals: ReadonlyMap<string, number>;
  /** How often each invariant was held against something. */
  readonly exercised: ReadonlyMap<string, number>;
  readonly failures: readonly ClusterFailure[];
}

/** Which clusters to simulate. */
export interface ClusterSimulationOptions {
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

interface Played {
  readonly world: ClusterWorld;
  readonly violations: readonly ClusterViolation[];
}

/**
 * Simulates clusters of a system's hubs and workers: several nodes over one log and the stores of their shards, in virtual
 * time, each simulation drawn from one seed.
 */
export async function simulateCluster(options: ClusterSimulationOptions): Promise<ClusterReport> {
  const { systems, from = 1, seeds, withinMs = Number.POSITIVE_INFINITY, failures: most = 1 } = options;
  const total = { seeds: 0, simulatedMs: 0, requests: 0, commits: 0 };
  const happened = new Map<string, number>();
  const signals = new Map<string, number>();
  const exercised = new Map<string, number>();
  const failures: ClusterFailure[] = [];
  const began = performance.now();
  for (let seed = from; seed < from + seeds && failures.length < most; seed++) {
    if (performance.now() - began > withinMs) break;
    const system = systems[seed % systems.length];
    if (system === undefined) throw new RangeError("there is no system to simulate");
    const plan = clusterPlanOf(seed, system.scaleMs);
    const played = await playCluster(system, plan);
    const { world } = played;
    total.seeds++;
    total.simulatedMs += world.clock.monotonicMs();
    total.requests += plan.requests.length;
    total.commits += world.commits;
    add(happened, world.happened);
    add(signals, world.signals);
    add(exercised, world.ledger.exercised);
    if (played.violations.length === 0) continue;
    failures.push(
      options.shrinks === false ? failureOf(system, plan, played) : await shrink(system, plan, played),
    );
  }
  return { ...total, happened, signals, exercised, failures };
}

function add(into: Map<string, number>, given: ReadonlyMap<string, number>): void {
  for (const [name, times] of given) into.set(name, (into.get(name) ?? 0) + times);
}

async function playCluster(system: SimulatedSystem, plan: ClusterPlan): Promise<Played> {
  const world = new ClusterWorld(system, plan);
  await world.play();
  const { storeMs, logMs, retentionMs = Number.POSITIVE_INFINITY } = plan;
  const { ledger, traces } = world;
  const checked = {
    ...chartsOf(world.opened.hubs),
    retentionMs,
    // Each batch goes over the network, and batches may be small.
    graceMs: 3_000 + 200 * storeMs,
    lagMs: 5 + 10 * storeMs,
    // The topics of relays first, one partition after the other, and then the inbox.
    catchUpMs: 25 + 50 * storeMs + 10 * logMs,
  };
  for (const [shard, trace] of traces.entries()) {
    const { violations, exercised } = checkTrace(trace, checked);
    add(ledger.exercised, exercised);
    for (const { invariant, message, place } of violations) {
      const at = trace[place]?.at;
      ledger.violations.push({ invariant, message: `shard ${shard} at ${at} ms: ${message}` });
    }
  }
  return { world, violations: ledger.violations };
}

const failureOf = (
  { name }: SimulatedSystem,
  plan: ClusterPlan,
  { world, violations }: Played,
): ClusterFailure => ({
  seed: plan.seed,
  system: name,
  plan,
  violations,
  trace: world.lines,
});

/** Leaves out what need not happen for it to fail in the same way. */
async function shrink(system: SimulatedSystem, failing: ClusterPlan, first: Played): Promise<ClusterFailure> {
  const kinds = new Set(first.violations.map(({ invariant }) => invariant));
  let [plan, played] = [failing, first];
  for (let tries = 0, better = true; better && tries < 300;) {
    better = false;
    for (const candidate of smallerCluster(plan)) {
      if (++tries > 300) break;
      const again = await playCluster(system, candidate);
      if (!again.violations.some(({ invariant }) => kinds.has(invariant))) continue;
      [plan, played, better] = [candidate, again, true];
      break;
    }
  }
  return failureOf(system, plan, played);
}

/** A failure for people: what is wrong, the smallest plan, and what happened. */
export function describeClusterFailure({ seed, system, violations, plan, trace }: ClusterFailure): string {
  const list = violations.slice(0, 5).map(({ invariant, message }) => `  ${invariant}: ${message}`);
  const { requests, commands, reads, replays, faults, ...settings } = plan;
  return [
    `seed ${seed} of a cluster with ${system} fails:`,
    ...list,
    "the smallest plan that was found:",
    `  ${JSON.stringify(settings)}`,
    ...[...requests, ...commands, ...reads, ...replays, ...faults].map((one) => `  ${JSON.stringify(one)}`),
    "what happened:",
    ...trace,
  ].join("\n");
}
