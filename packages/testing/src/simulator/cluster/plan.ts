import type { SeededRandom } from "../../random.ts";
import { drawStalls, type PlannedFault } from "../plans.ts";
import { drawShardsPlan, smallerShardsPlans, type ShardsPlan } from "../shards/plan.ts";

/** Everything that can go wrong in a simulation of a cluster, by name. */
export const clusterFaultKinds = [
  "crash-before-commit",
  "crash-after-commit",
  "commit-fails",
  "commit-unseen",
  "commit-late",
  "read-fails",
  "append-lost",
  "append-fails",
  "append-unseen",
  "append-twice",
  "kill",
  "stop",
  "freeze",
  "log-gone",
  "store-gone",
  "add",
  "rebalance",
  "upgrade",
  "roll-back",
  "cut",
  "recreate",
  "stray",
  "clock-jump",
  "defect",
  "store-hangs",
] as const;
/** The name of a fault of a cluster. */
export type ClusterFaultKind = (typeof clusterFaultKinds)[number];

/** One thing that goes wrong: at the n-th commit, read or record of the nodes, or at a time. */
export interface ClusterFault extends PlannedFault<ClusterFaultKind> {
  /** Which of the nodes that live then it strikes, or which shard. */
  readonly node: number;
}

/** All that a simulation of a cluster does: drawn from a seed. */
export interface ClusterPlan extends ShardsPlan {
  readonly nodes: number;
  readonly faults: readonly ClusterFault[];
}

/** What a node does at which a fault can happen. */
export type ClusterOperation = "commit" | "read" | "append";

/** Faults that happen at an operation, and of which kind it is. */
export const clusterOperations: Partial<Record<ClusterFaultKind, ClusterOperation>> = {
  "crash-before-commit": "commit",
  "crash-after-commit": "commit",
  "commit-fails": "commit",
  "commit-unseen": "commit",
  "commit-late": "commit",
  "read-fails": "read",
  "append-lost": "append",
  "append-fails": "append",
  "append-unseen": "append",
  "append-twice": "append",
};

/**
 * Draws a plan.
 * @param scaleMs The time in which the system's hubs do their work, in milliseconds.
 */
export function clusterPlanOf(seed: number, scaleMs: number): ClusterPlan {
  const plan = drawShardsPlan(seed, scaleMs, (random) => ({ nodes: 2 + random.int(3) }), drawFaults);
  // All is well again when the plan is over.
  const stalls = drawStalls(seed, plan.forMs).map((stall) => ({
    ...stall,
    forMs: Math.min(stall.forMs, plan.forMs - stall.at),
  }));
  return { ...plan, faults: [...plan.faults, ...stalls] };
}

function drawFaults(
  random: SeededRandom,
  { when, forgets }: { readonly when: () => number; readonly forgets: boolean },
): ClusterFault[] {
  // A few kinds at a time: what happens together in one run should differ from run to run.
  const kinds = clusterFaultKinds
    .filter((kind) => kind !== "store-hangs" && random.chance(0.35))
    // Where answers are forgotten, the wall clock must not say that all is old.
    .filter((kind) => kind !== "clock-jump" || !forgets)
    // A log that was cut is a separate disaster: it stops a shard.
    .filter((kind) => (kind !== "cut" && kind !== "recreate") || random.chance(0.4));
  const operations = random.pick([10, 40, 120]);
  const faults = Array.from({ length: kinds.length === 0 ? 0 : random.int(10) }, (): ClusterFault => {
    const kind = random.pick(kinds);
    const at = clusterOperations[kind] === undefined ? when() : 1 + random.int(operations);
    const lastsMs = random.int(random.pick([200, 4_000, 20_000]));
    const forMs = kind === "clock-jump" ? Math.floor((random() - 0.5) * 7_200_000) : lastsMs;
    return { kind, at, forMs, node: random.int(8) };
  });
  // What a new version has begun, meets the old one.
  for (const fault of faults.filter(({ kind }) => kind === "upgrade" && random.chance(0.6)))
    faults.push({ ...fault, kind: "roll-back", at: fault.at + random.int(8_000) });
  return faults;
}

/** Smaller plans, the smallest first: one of them may fail as well. */
export function* smallerClusterPlans(plan: ClusterPlan): Iterable<ClusterPlan> {
  yield* smallerShardsPlans(plan, ["latencyMs", "logMs", "storeMs", "external"]);
  if (plan.nodes > 2) yield { ...plan, nodes: plan.nodes - 1 };
}
