import { seededRandom, type SeededRandom } from "../random.ts";

/** Everything that can go wrong in a simulation, by name. */
export const faultKinds = [
  "crash-before-commit",
  "crash-after-commit",
  "commit-fails",
  "commit-unseen",
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
] as const;
/** The name of a fault. */
export type FaultKind = (typeof faultKinds)[number];

/** One thing that goes wrong: at the n-th operation of its kind, or at a time. */
export interface PlannedFault {
  readonly kind: FaultKind;
  /** Which commit, effect, claim or read it is, from 1, counted over all processes; for the others: when, in milliseconds. */
  readonly at: number;
  /** How long it lasts, or how far the clock jumps, in milliseconds. */
  readonly forMs: number;
}

/** A request that a client sends, under a key, until it has its answer. */
export interface PlannedRequest {
  readonly at: number;
  readonly key: string;
  /** Draws the hub and the request. */
  readonly seed: number;
  /** It is sent twice at once. */
  readonly twice: boolean;
}

/** A command that an operator sends to the request of this place in the list. */
export interface PlannedCommand {
  readonly at: number;
  readonly id: string;
  readonly kind: "cancel" | "signal" | "retry" | "resolve";
  readonly request: number;
  readonly seed: number;
}

/** Shares of what workers and messages suffer, each from 0 to 1. */
export interface PlannedRates {
  /** Attempts that never answer. */
  readonly silent: number;
  /** Attempts that take longer than they may. */
  readonly slow: number;
  /** Attempts that fail with an error that their spoke declares. */
  readonly fails: number;
  /** Attempts that throw, or give what is no output. */
  readonly broken: number;
  /** Attempts that answer although they were told to stop. */
  readonly deaf: number;
  /** Messages that are lost, come twice, or are overtaken. */
  readonly lost: number;
  readonly doubled: number;
  readonly delayed: number;
}

/** All that a simulation does: made from a seed, and made smaller when it fails. Nothing else is drawn while it runs. */
export interface Plan {
  readonly seed: number;
  readonly requests: readonly PlannedRequest[];
  readonly commands: readonly PlannedCommand[];
  readonly faults: readonly PlannedFault[];
  readonly rates: PlannedRates;
  /** Longest honest time of an attempt or a message, in milliseconds. */
  readonly latencyMs: number;
  /** Time from a death to the next start, in milliseconds, at most. */
  readonly downMs: number;
  /** How long things go wrong, in milliseconds: afterwards all must come to rest by itself. */
  readonly forMs: number;
  /** The store reads and commits as over a network. */
  readonly remote: boolean;
  /** The store is a SQLite file in the same process, and no process takes over from a live one. */
  readonly file: boolean;
  /** How long answers and histories are kept, in milliseconds; undefined: for longer than the simulation lasts. */
  readonly retentionMs: number | undefined;
  /** It is played again without its faults, which cost no time: the answers must be the same (I10). */
  readonly compares: boolean;
  readonly limits: {
    readonly checkpointEvents: number;
    readonly horizonMs: number;
    readonly batchInputs: number;
  };
}

/** Nothing happens to workers and messages. */
export const calmRates: PlannedRates = {
  silent: 0,
  slow: 0,
  fails: 0,
  broken: 0,
  deaf: 0,
  lost: 0,
  doubled: 0,
  delayed: 0,
};

/** When faults of a kind happen: at a time, or at an operation, which there are so many of. */
const operations: Partial<Record<FaultKind, number>> = {
  "crash-before-commit": 120,
  "crash-after-commit": 120,
  "commit-fails": 120,
  "commit-unseen": 120,
  "crash-before-effect": 150,
  "crash-in-recovery": 60,
  "read-fails": 60,
};

/** Faults that cost no time, and lose nothing that does not come again at once. */
const timeless: readonly FaultKind[] = [
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
export function planOf(seed: number, scaleMs: number): Plan {
  const random = seededRandom(seed);
  const rate = (most: number): number => (random.chance(0.5) ? 0 : random() * most);
  const hostile = random.pick([0, 0, 1, 1, 1, 3]);
  const forMs = Math.ceil(scaleMs * (0.5 + random() * 4));
  const requests = Array.from({ length: 1 + random.int(8) }, (_, place): PlannedRequest => {
    const key = `${seed.toString(16)}-${place}`;
    return { at: random.int(forMs), key, seed: random.int(2 ** 31), twice: random.chance(0.15) };
  });
  const commands = Array.from({ length: random.int(10) }, (_, place): PlannedCommand => {
    const kind = random.pick(["cancel", "signal", "signal", "signal", "retry", "resolve"] as const);
    const request = random.int(requests.length);
    const at = (requests[request] as PlannedRequest).at + random.int(scaleMs);
    // Some commands are sent again under the id of another one.
    const id = `c${random.chance(0.2) ? random.int(place + 1) : place}`;
    return { at, id, kind, request, seed: random.int(2 ** 31) };
  });
  // Some are sent again as they are: they must count once.
  for (const command of commands.filter(() => random.chance(0.3)))
    commands.push({ ...command, at: command.at + random.int(scaleMs) });
  // A few kinds at a time: what happens together in one run should differ from run to run.
  const kinds = faultKinds.filter(() => random.chance(0.35));
  const faults = Array.from(
    { length: kinds.length === 0 ? 0 : random.int(10) * hostile },
    (): PlannedFault => {
      const kind = random.pick(kinds);
      const most = operations[kind];
      const longest = random.pick([scaleMs / 20, scaleMs / 2, scaleMs * 3]);
      return {
        kind,
        at: most === undefined ? random.int(forMs) : 1 + random.int(random.pick([most / 8, most])),
        forMs: kind === "clock-jump" ? (random() - 0.5) * 7_200_000 : random.int(longest),
      };
    },
  );
  const plan: Plan = {
    seed,
    requests,
    commands,
    faults: faults.toSorted((a, b) => a.at - b.at),
    rates:
      hostile === 0 && random.chance(0.5)
        ? calmRates
        : {
            silent: rate(0.2),
            slow: rate(0.2),
            fails: rate(0.2),
            broken: rate(0.1),
            deaf: rate(0.5),
            lost: rate(0.2),
            doubled: rate(0.3),
            delayed: rate(0.3),
          },
    latencyMs: Math.ceil(scaleMs * random.pick([0, 0.01, 0.05])),
    downMs: Math.ceil(scaleMs * random.pick([0, 0, 0.1, 3])),
    forMs,
    remote: random.chance(0.3),
    file: false,
    retentionMs: random.chance(0.2) ? Math.ceil(scaleMs * random.pick([0.1, 1, 3])) : undefined,
    compares: false,
    limits: {
      checkpointEvents: random.pick([1, 5, 40, 50_000]),
      horizonMs: Math.ceil(random.pick([1, scaleMs / 5, 60_000])),
      batchInputs: random.pick([1, 3, 5_000]),
    },
  };
  const kept = random.chance(0.1) ? onFile(plan) : plan;
  return seed % 8 === 0 ? withoutLosses(kept, random) : kept;
}

/** The same on a file, which is locked by the process that has it. */
function onFile(plan: Plan): Plan {
  const faults = plan.faults.filter(({ kind }) => kind !== "take-over");
  return { ...plan, faults, remote: false, file: true };
}

/** What is left of a plan in which nothing costs time. */
function withoutLosses(plan: Plan, random: SeededRandom): Plan {
  const faults = plan.faults.map((fault) => ({ ...fault, kind: random.pick(timeless) }));
  // Requests may compete for what there is outside: which one gets it, time decides.
  const requests = plan.requests.slice(0, 1);
  const local = {
    requests,
    commands: [],
    rates: calmRates,
    latencyMs: 0,
    downMs: 0,
    remote: false,
    retentionMs: undefined,
  };
  return { ...plan, ...local, faults, compares: true };
}

/** Smaller plans, the smallest first: one of them may fail as well. */
export function* smaller(plan: Plan): Iterable<Plan> {
  yield* without(plan, "faults");
  yield* withoutRequests(plan);
  yield* without(plan, "commands");
  for (const name of Object.keys(plan.rates) as (keyof PlannedRates)[])
    if (plan.rates[name] > 0) yield { ...plan, rates: { ...plan.rates, [name]: 0 } };
  if (plan.remote) yield { ...plan, remote: false };
  if (plan.file) yield { ...plan, file: false };
  if (plan.retentionMs !== undefined) yield { ...plan, retentionMs: undefined };
  if (plan.latencyMs > 0) yield { ...plan, latencyMs: 0 };
  if (plan.downMs > 0) yield { ...plan, downMs: 0 };
  const { limits } = plan;
  if (limits.checkpointEvents < 50_000) yield { ...plan, limits: { ...limits, checkpointEvents: 50_000 } };
  if (limits.horizonMs < 60_000) yield { ...plan, limits: { ...limits, horizonMs: 60_000 } };
  if (limits.batchInputs < 5_000) yield { ...plan, limits: { ...limits, batchInputs: 5_000 } };
}

/** A list without half of its items, a quarter, …, and at last without one. */
function* without(plan: Plan, name: "faults" | "commands"): Iterable<Plan> {
  const list: readonly unknown[] = plan[name];
  for (let size = list.length; size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < list.length; from += size)
      yield { ...plan, [name]: list.filter((_, place) => place < from || place >= from + size) };
  }
}

function* withoutRequests(plan: Plan): Iterable<Plan> {
  for (let left = 0; plan.requests.length > 1 && left < plan.requests.length; left++) {
    yield {
      ...plan,
      requests: plan.requests.filter((_, place) => place !== left),
      commands: plan.commands
        .filter(({ request }) => request !== left)
        .map((command) => (command.request > left ? { ...command, request: command.request - 1 } : command)),
    };
  }
  for (const [place, request] of plan.requests.entries()) {
    if (request.twice) yield { ...plan, requests: plan.requests.with(place, { ...request, twice: false }) };
  }
}

/** Numbers that depend on a seed and on what they are for, not on when they are drawn. */
export function drawFor(seed: number, ...what: readonly (string | number)[]): SeededRandom {
  let hash = 0x811c9dc5 ^ seed;
  for (const part of what.join("\n")) hash = Math.imul(hash ^ (part.codePointAt(0) ?? 0), 0x01000193);
  return seededRandom(hash);
}
