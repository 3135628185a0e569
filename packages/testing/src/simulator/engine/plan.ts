import { seededRandom, type SeededRandom } from "../../random.ts";
import {
  calmRates,
  drawBulks,
  drawCommands,
  drawFor,
  drawRates,
  drawScheduleCommands,
  drawSkew,
  drawStalls,
  drawStart,
  withLessTrouble,
  withoutLimits,
  withoutOneRequest,
  withoutStarts,
  withoutSome,
  withZero,
  type PlannedBulk,
  type PlannedCommand,
  type PlannedFault,
  type PlannedLimits,
  type PlannedScheduleCommand,
  type PlannedStart,
  type PlannedTrouble,
} from "../plans.ts";

/** Everything that can go wrong in the simulation of an embedded engine, by name. */
export const engineFaultKinds = [
  "crash-before-commit",
  "crash-after-commit",
  "commit-fails",
  "commit-unseen",
  "commit-refused",
  "crash-before-effect",
  "crash-in-recovery",
  "read-fails",
  "kill",
  "stop",
  "upgrade",
  "freeze",
  "take-over",
  "disk-full",
  "store-gone",
  "clock-jump",
  "defect",
  "lethal",
  "store-hangs",
] as const;
/** Those that are drawn together. */
const drawnKinds = engineFaultKinds.filter((kind) => kind !== "lethal" && kind !== "store-hangs");
/** The name of a fault. */
export type EngineFaultKind = (typeof engineFaultKinds)[number];

/** One thing that goes wrong: at the n-th commit, effect, claim or read, or at a time. */
export type EngineFault = PlannedFault<EngineFaultKind>;

/** A request that a client sends, under a key, until it has its answer. */
export interface EngineRequest {
  readonly at: number;
  readonly key: string;
  /** Draws the hub and the request. */
  readonly seed: number;
  /** It is sent twice at once. */
  readonly twice: boolean;
  /** Absent: it begins at once. */
  readonly start?: PlannedStart;
}

/** All that a simulation of an embedded engine does: made from a seed, and made smaller when it fails. Nothing else is drawn while it runs. */
export interface EnginePlan extends PlannedTrouble {
  readonly requests: readonly EngineRequest[];
  readonly commands: readonly PlannedCommand[];
  readonly scheduleCommands: readonly PlannedScheduleCommand[];
  readonly bulks: readonly PlannedBulk[];
  readonly faults: readonly EngineFault[];
  /** Time from a death to the next start, in milliseconds, at most. */
  readonly downMs: number;
  /** How long things go wrong, in milliseconds: afterwards all must come to rest by itself. */
  readonly forMs: number;
  /** The store reads and commits as over a network. */
  readonly remote: boolean;
  /** The store is a SQLite file in the same process, and no process takes over from a live one. */
  readonly file: boolean;
  /** Its processes run on hosts whose clocks differ from that of the store's server. */
  readonly isSkewed: boolean;
  /** How many read the events of all runs. */
  readonly readers: number;
  /** How long answers and histories are kept, in milliseconds; undefined: for longer than the simulation lasts. */
  readonly retentionMs: number | undefined;
  /** How long events of live runs are kept, if that is not for longer than the simulation lasts. */
  readonly historyRetentionMs: number | undefined;
  /** It is played again without its faults, which cost no time: the answers must be the same (I10). */
  readonly compares: boolean;
  readonly limits: PlannedLimits;
}

/** What a process does at which a fault can happen. */
export type EngineOperation = "commit" | "effect" | "read" | "recovery";

/** Faults that happen at an operation instead of a time, and about how many operations of that kind there are. */
const operations: Partial<Record<EngineFaultKind, readonly [operation: EngineOperation, count: number]>> = {
  "crash-before-commit": ["commit", 120],
  "crash-after-commit": ["commit", 120],
  "commit-fails": ["commit", 120],
  "commit-unseen": ["commit", 120],
  "commit-refused": ["commit", 120],
  "crash-before-effect": ["effect", 150],
  "crash-in-recovery": ["recovery", 60],
  "read-fails": ["read", 60],
};

/** The operation at which faults of a kind happen; undefined: they happen at a time. */
export const engineOperationOf = (kind: EngineFaultKind): EngineOperation | undefined =>
  operations[kind]?.[0];

/** Faults that cost no time, and lose nothing that does not come again at once. */
const timeless: readonly EngineFaultKind[] = [
  "crash-before-commit",
  "crash-after-commit",
  "crash-before-effect",
  "kill",
  "upgrade",
];

/**
 * Draws a plan.
 * @param scaleMs The time in which the system's hubs do their work, in milliseconds: the plan's times follow it.
 */
export function enginePlanOf(seed: number, scaleMs: number): EnginePlan {
  const random = seededRandom(seed);
  const hostile = random.pick([0, 0, 1, 1, 1, 3]);
  const forMs = Math.ceil(scaleMs * (0.5 + random() * 4));
  const requests = Array.from({ length: 1 + random.int(8) }, (_, place): EngineRequest => {
    const key = `${seed.toString(16)}-${place}`;
    const at = random.int(forMs);
    const start = drawStart(seed, place, at, scaleMs);
    const request = { at, key, seed: random.int(2 ** 31), twice: random.chance(0.15) };
    return start === undefined ? request : { ...request, start };
  });
  const commands = drawCommands(random, requests, {
    scaleMs,
    withinMs: () => scaleMs,
    again: 0.3,
    anotherWay: false,
  });
  // A few kinds at a time: what happens together in one run should differ from run to run.
  const kinds = drawnKinds.filter(() => random.chance(0.35));
  const faults = Array.from(
    { length: kinds.length === 0 ? 0 : random.int(10) * hostile },
    (): EngineFault => {
      const kind = random.pick(kinds);
      const [, most] = operations[kind] ?? [];
      const longest = random.pick([scaleMs / 20, scaleMs / 2, scaleMs * 3]);
      return {
        kind,
        at: most === undefined ? random.int(forMs) : 1 + random.int(random.pick([most / 8, most])),
        forMs: kind === "clock-jump" ? (random() - 0.5) * 7_200_000 : random.int(longest),
      };
    },
  );
  const plan: EnginePlan = {
    seed,
    requests,
    commands,
    scheduleCommands: drawScheduleCommands(seed, forMs, scaleMs),
    bulks: drawBulks(seed, forMs, scaleMs),
    faults: faults.toSorted((a, b) => a.at - b.at),
    rates: hostile === 0 && random.chance(0.5) ? calmRates : drawRates(random, { slow: 0.2 }),
    latencyMs: Math.ceil(scaleMs * random.pick([0, 0.01, 0.05])),
    downMs: Math.ceil(scaleMs * random.pick([0, 0, 0.1, 3])),
    forMs,
    remote: random.chance(0.3),
    file: false,
    isSkewed: false,
    readers: drawFor(seed, "readers").pick([0, 0, 1, 2]),
    retentionMs: random.chance(0.2) ? Math.ceil(scaleMs * random.pick([0.1, 1, 3])) : undefined,
    historyRetentionMs: undefined,
    compares: false,
    limits: {
      checkpointEvents: random.pick([1, 5, 40, 50_000]),
      checkpointRuns: drawFor(seed, "sweep").pick([1, 2, 500]),
      bulkPage: drawFor(seed, "pages").pick([1, 2, 3, 500]),
      openedCalls: drawFor(seed, "opened").pick([1, 2, 500]),
      horizonMs: Math.ceil(random.pick([1, scaleMs / 5, 60_000])),
      batchInputs: random.pick([1, 3, 5_000]),
      liveRuns: drawFor(seed, "room").pick([1, 3, 200_000, 200_000, 200_000, 200_000]),
    },
  };
  const archiving = { ...plan, historyRetentionMs: archivedAfter(plan) };
  const worse = withStalls(withLethal(archiving, scaleMs));
  const kept = random.chance(0.1) ? onFile(worse) : worse;
  return seed % 8 === 0 ? withoutLosses(kept, random) : kept;
}

/** Where answers are forgotten, events of runs that live for longer are archived. */
const archivedAfter = ({ seed, retentionMs }: EnginePlan): number | undefined =>
  retentionMs === undefined ? undefined : Math.ceil(retentionMs * drawFor(seed, "archive").pick([1, 1, 1.5]));

/** In some plans, workers end their process for a time. */
function withLethal(plan: EnginePlan, scaleMs: number): EnginePlan {
  const random = drawFor(plan.seed, "lethal");
  if (!random.chance(0.15)) return plan;
  const fault: EngineFault = {
    kind: "lethal",
    at: random.int(plan.forMs),
    forMs: random.int(random.pick([scaleMs / 2, scaleMs * 3])),
  };
  return { ...plan, faults: [...plan.faults, fault].toSorted((a, b) => a.at - b.at) };
}

/** Stalls, and hosts whose clocks differ: both need a store behind a network. */
function withStalls(plan: EnginePlan): EnginePlan {
  const { seed, forMs, remote } = plan;
  const stalls = drawStalls(seed, forMs).filter(({ kind }) => remote || kind === "freeze");
  const faults = [...plan.faults, ...stalls.map(({ node: _node, ...stall }) => stall)];
  return { ...plan, faults: faults.toSorted((a, b) => a.at - b.at), isSkewed: remote && drawSkew(seed) };
}

/** The same on a file, which is locked by the process that has it. */
function onFile(plan: EnginePlan): EnginePlan {
  const faults = plan.faults.filter(({ kind }) => kind !== "take-over" && kind !== "store-hangs");
  return { ...plan, faults, remote: false, isSkewed: false, file: true };
}

/** What is left of a plan in which nothing costs time. */
function withoutLosses(plan: EnginePlan, random: SeededRandom): EnginePlan {
  const faults = plan.faults.map((fault) => ({ ...fault, kind: random.pick(timeless) }));
  // Requests may compete for what there is outside: which one gets it, time decides.
  const requests = plan.requests.slice(0, 1);
  const local = {
    requests,
    commands: [],
    scheduleCommands: [],
    bulks: [],
    rates: calmRates,
    latencyMs: 0,
    downMs: 0,
    remote: false,
    isSkewed: false,
    readers: 0,
    retentionMs: undefined,
    historyRetentionMs: undefined,
  };
  return { ...plan, ...local, faults, compares: true };
}

/** Smaller plans, the smallest first: one of them may fail as well. */
export function* smallerEnginePlans(plan: EnginePlan): Iterable<EnginePlan> {
  yield* withoutSome(plan, "faults");
  yield* withoutOneRequest(plan, ["commands"]);
  for (const [place, request] of plan.requests.entries())
    if (request.twice) yield { ...plan, requests: plan.requests.with(place, { ...request, twice: false }) };
  yield* withoutStarts(plan);
  yield* withoutSome(plan, "commands");
  yield* withoutSome(plan, "scheduleCommands");
  yield* withoutSome(plan, "bulks");
  yield* withLessTrouble(plan);
  if (plan.isSkewed) yield { ...plan, isSkewed: false };
  else if (plan.remote) yield { ...plan, remote: false };
  if (plan.file) yield { ...plan, file: false };
  if (plan.historyRetentionMs !== undefined) yield { ...plan, historyRetentionMs: undefined };
  if (plan.retentionMs !== undefined)
    yield { ...plan, retentionMs: undefined, historyRetentionMs: undefined };
  yield* withZero(plan, ["latencyMs", "downMs", "readers"]);
  yield* withoutLimits(plan);
}
