import type { SeededRandom } from "@wheelwork/testing";
import {
  drawShardsPlan,
  smallerShardsPlans,
  type FaultDraw,
  type PlannedFault,
  type ShardsPlan,
} from "@wheelwork/testing/simulator";

/** Everything that can go wrong in a simulation of Storm, by name. */
export const stormFaultKinds = [
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
  "kill-child",
  "kill-worker",
  "kill-machine",
  "kill-coordinator",
  "freeze-child",
  "freeze-worker",
  "rebalance",
  "uncaught",
  "log-gone",
  "store-gone",
  "upgrade",
  "roll-back",
  "clock-jump",
  "defect",
] as const;
/** The name of a fault on Storm. */
export type StormFaultKind = (typeof stormFaultKinds)[number];

/** One thing that goes wrong: at the n-th commit, read or record, or at a time. */
export interface StormFault extends PlannedFault<StormFaultKind> {
  /** Which of the tasks, or of Storm's workers, it strikes. */
  readonly task: number;
}

/** Shares of what tuples suffer between tasks, each from 0 to 1. */
export interface TupleRates {
  readonly lost: number;
  readonly doubled: number;
  readonly delayed: number;
}

/** All that a simulation on Storm does: drawn from a seed. */
export interface StormPlan extends ShardsPlan {
  /** Storm's workers: processes of Java. */
  readonly workers: number;
  /** Tasks of bolt-worker; 0: the hubs make the attempts themselves. */
  readonly workerTasks: number;
  /** Longest time of a tuple from one of Storm's workers to another, in milliseconds. */
  readonly netMs: number;
  readonly tuples: TupleRates;
  /** After so long Storm gives up a tuple that is not acked, in seconds. */
  readonly messageTimeoutSecs: number;
  /** How long Storm takes until it asks a spout again, in milliseconds. */
  readonly spoutMs: number;
  /** How long after the first answers may be forgotten the spouts read everything again, in milliseconds; undefined: never. */
  readonly rereadMs: number | undefined;
  readonly faults: readonly StormFault[];
}

/** What a part does at which a fault can happen. */
export type StormOperation = "commit" | "read" | "append";

/** Faults that happen at an operation, and of which kind it is. */
export const stormOperations: Partial<Record<StormFaultKind, StormOperation>> = {
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

/** Draws a plan. `scaleMs`: the time in which the system's hubs do their work. */
export const stormPlanOf = (seed: number, scaleMs: number): StormPlan =>
  drawShardsPlan(
    seed,
    scaleMs,
    (random) => ({
      workers: 1 + random.int(3),
      workerTasks: random.pick([0, 1, 2, 3]),
      netMs: random.pick([0, 1, 5, 30]),
      tuples: drawTupleRates(random),
      messageTimeoutSecs: random.pick([5, 30]),
      spoutMs: random.pick([200, 1_000, 5_000]),
      rereadMs: random.chance(0.5) ? random.int(60_000) : undefined,
    }),
    drawFaults,
  );

/** Nothing happens to tuples. */
export const calmTuples: TupleRates = { lost: 0, doubled: 0, delayed: 0 };

function drawTupleRates(random: SeededRandom): TupleRates {
  if (random.chance(0.4)) return calmTuples;
  const rate = (most: number): number => (random.chance(0.4) ? 0 : random() * most);
  return { lost: rate(0.15), doubled: rate(0.3), delayed: rate(0.3) };
}

/** Whether nothing between the tasks goes wrong: what one task says, another one hears. */
export const isSound = ({ faults, tuples: { lost, delayed } }: StormPlan): boolean =>
  faults.length === 0 && lost === 0 && delayed === 0;

function drawFaults(random: SeededRandom, { when, forgets }: FaultDraw): StormFault[] {
  // Where nothing goes wrong, every outcome must count.
  if (random.chance(0.15)) return [];
  // A few kinds at a time: what happens together in one run should differ from run to run.
  const kinds = stormFaultKinds
    .filter(() => random.chance(0.35))
    // Where answers are forgotten, the wall clock must not say that all is old.
    .filter((kind) => kind !== "clock-jump" || !forgets);
  const operations = random.pick([10, 40, 120]);
  const faults = Array.from({ length: kinds.length === 0 ? 0 : random.int(10) }, (): StormFault => {
    const kind = random.pick(kinds);
    const at = stormOperations[kind] === undefined ? when() : 1 + random.int(operations);
    const lastsMs = random.int(random.pick([200, 4_000, 20_000]));
    const forMs = kind === "clock-jump" ? Math.floor((random() - 0.5) * 7_200_000) : lastsMs;
    return { kind, at, forMs, task: random.int(64) };
  });
  // What a new version has begun, meets the old one.
  for (const fault of faults.filter(({ kind }) => kind === "upgrade" && random.chance(0.6)))
    faults.push({ ...fault, kind: "roll-back", at: fault.at + random.int(8_000) });
  return faults;
}

/** Smaller plans, the smallest first: one of them may fail as well. */
export function* smallerStormPlans(plan: StormPlan): Iterable<StormPlan> {
  yield* smallerShardsPlans(plan, ["latencyMs", "logMs", "storeMs", "external", "workerTasks", "netMs"]);
  for (const name of Object.keys(plan.tuples) as (keyof TupleRates)[])
    if (plan.tuples[name] > 0) yield { ...plan, tuples: { ...plan.tuples, [name]: 0 } };
  if (plan.rereadMs !== undefined) yield { ...plan, rereadMs: undefined };
  if (plan.workers > 1) yield { ...plan, workers: 1 };
}
