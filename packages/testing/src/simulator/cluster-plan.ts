import { seededRandom, type SeededRandom } from "../random.ts";
import { calmRates, type PlannedRates } from "./plan.ts";

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
  "clock-jump",
  "defect",
] as const;
/** The name of a fault of a cluster. */
export type ClusterFaultKind = (typeof clusterFaultKinds)[number];

/** One thing that goes wrong: at the n-th commit, read or record of the nodes, or at a time. */
export interface ClusterFault {
  readonly kind: ClusterFaultKind;
  /** Which commit, read or record it is, counted over all nodes; for the others: when, in milliseconds. */
  readonly at: number;
  /** How long it lasts, until the next process starts, or how far the clock jumps, in milliseconds. */
  readonly forMs: number;
  /** Which of the nodes that live then it strikes, or which shard. */
  readonly node: number;
}

/**
 * How a request is sent: through a channel, once; to a node, once; or by a client that sends it to one node after the
 * other until it is accepted, and asks for the answer until it has it.
 */
export const clusterWays = ["channel", "submit", "client"] as const;

/**
 * What is sent: a request; text that is no JSON; what the hub's schema refuses; a request without a key, or under one that
 * cannot be stored.
 */
export const clusterBodies = ["sound", "broken", "refused", "keyless", "odd-key"] as const;

/** A request of a cluster's simulation. */
export interface ClusterRequest {
  readonly at: number;
  readonly key: string;
  /** Draws the hub and the request. */
  readonly seed: number;
  readonly by: (typeof clusterWays)[number];
  readonly body: (typeof clusterBodies)[number];
  /** When it is sent once more, in milliseconds after the first time, and whether with another body. */
  readonly again: readonly { readonly afterMs: number; readonly differs: boolean }[];
}

/** A command that an operator gives to any node, for the request of this place in the list. */
export interface ClusterCommand {
  readonly at: number;
  readonly id: string;
  readonly kind: "cancel" | "signal" | "retry" | "resolve";
  readonly request: number;
  readonly seed: number;
}

/** Something that somebody wants to know of any node. */
export interface ClusterRead {
  readonly at: number;
  readonly kind: "view" | "history" | "list";
  readonly request: number;
  readonly seed: number;
}

/** All that a simulation of a cluster does: drawn from a seed. */
export interface ClusterPlan {
  readonly seed: number;
  readonly nodes: number;
  readonly shards: number;
  readonly requests: readonly ClusterRequest[];
  readonly commands: readonly ClusterCommand[];
  readonly reads: readonly ClusterRead[];
  /** When a dead letter is sent again, in milliseconds, and which of those that are there. */
  readonly replays: readonly { readonly at: number; readonly letter: number }[];
  readonly faults: readonly ClusterFault[];
  readonly rates: PlannedRates;
  /** Longest honest time of an attempt, or of a message of a relay, in milliseconds. */
  readonly latencyMs: number;
  /** Longest time of a message to or from the broker, in milliseconds. */
  readonly logMs: number;
  /** Longest time of a message to or from a store, in milliseconds: what comes meanwhile may be decided ahead. */
  readonly storeMs: number;
  /** The share of the spokes that are served elsewhere, so that their outcomes come through the inboxes. */
  readonly elsewhere: number;
  /** How long answers are kept, in milliseconds; undefined: for longer than the simulation lasts. */
  readonly retentionMs: number | undefined;
  readonly forMs: number;
  readonly limits: {
    readonly checkpointEvents: number;
    readonly horizonMs: number;
    readonly batchInputs: number;
  };
}

/** Faults that happen at an operation, and of which kind it is. */
export const clusterOperations: Partial<Record<ClusterFaultKind, "commit" | "read" | "append">> = {
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

/** Answers are kept for longer than any outage lasts. */
const minRetentionMs = 90_000;

/**
 * Draws a plan.
 * @param scaleMs The time in which the system's hubs do their work, in milliseconds.
 */
export function clusterPlanOf(seed: number, scaleMs: number): ClusterPlan {
  const random = seededRandom(seed);
  const rate = (most: number): number => (random.chance(0.5) ? 0 : random() * most);
  const forMs = Math.ceil(5_000 + random.int(20_000) + scaleMs * random() * 2);
  // What happens at about the same time meets.
  const about = random.int(forMs);
  const when = random.chance(0.5)
    ? () => random.int(forMs)
    : () => Math.min(forMs, about + random.int(3_000));
  const retentionMs = random.chance(0.12) ? minRetentionMs + random.int(60_000) : undefined;
  const requests = Array.from({ length: 2 + random.int(8) }, (_, place) => {
    const request = drawRequest(random, `${seed.toString(16)}-${place}`, when(), scaleMs);
    if (retentionMs === undefined || random.chance(0.6)) return request;
    // Its key is free again by then.
    const afterMs = forMs + retentionMs + 60_000 + random.int(120_000);
    return { ...request, again: [...request.again, { afterMs, differs: random.chance(0.5) }] };
  });
  const storeMs = Math.min(100, Math.ceil(scaleMs * random.pick([0, 0.001, 0.01, 0.03])));
  return {
    seed,
    nodes: 2 + random.int(3),
    shards: random.pick([1, 2, 3, 5]),
    requests,
    commands: random.chance(0.4) ? [] : drawCommands(random, requests, scaleMs),
    reads: random.chance(0.5) ? [] : drawReads(random, requests, scaleMs),
    replays: Array.from({ length: random.chance(0.6) ? 0 : 1 + random.int(4) }, () => ({
      at: Math.floor(forMs * (0.3 + 0.7 * random())),
      letter: random.int(16),
    })),
    faults: drawFaults(random, when, { lasting: retentionMs !== undefined }),
    rates: random.chance(0.4)
      ? calmRates
      : {
          silent: rate(0.2),
          slow: rate(0.3),
          fails: rate(0.2),
          broken: rate(0.1),
          deaf: rate(0.5),
          lost: rate(0.2),
          doubled: rate(0.3),
          delayed: rate(0.3),
        },
    latencyMs: Math.ceil(scaleMs * random.pick([0, 0.01, 0.05])),
    logMs: random.pick([0, 2, 20]),
    storeMs,
    elsewhere: random.pick([0, 0.5, 1]),
    retentionMs,
    forMs,
    limits: {
      checkpointEvents: random.pick([1, 10, 50_000]),
      horizonMs: Math.ceil(random.pick([1, scaleMs / 5, 60_000])),
      batchInputs: random.pick([1, 3, 5_000]),
    },
  };
}

function drawRequest(random: SeededRandom, key: string, at: number, scaleMs: number): ClusterRequest {
  const by = random.pick(["channel", "channel", "submit", "client"] as const);
  const odd = by === "channel" ? clusterBodies : (["sound", "refused"] as const);
  const body = random.chance(0.15) ? random.pick(odd) : "sound";
  const again = Array.from({ length: random.chance(0.3) ? 1 + random.int(2) : 0 }, () => ({
    afterMs: random.pick([3, random.int(2_000), random.int(scaleMs * 4)]),
    differs: random.chance(0.4),
  }));
  return { at, key, seed: random.int(2 ** 31), by, body, again };
}

function drawCommands(
  random: SeededRandom,
  requests: readonly ClusterRequest[],
  scaleMs: number,
): ClusterCommand[] {
  const commands = Array.from({ length: random.int(10) }, (_, place): ClusterCommand => {
    const kind = random.pick(["cancel", "signal", "signal", "signal", "retry", "resolve"] as const);
    const request = random.int(requests.length);
    const at = (requests[request] as ClusterRequest).at + random.int(random.pick([200, scaleMs]));
    // Some commands are sent again under the id of another one.
    const id = `c${random.chance(0.2) ? random.int(place + 1) : place}`;
    return { at, id, kind, request, seed: random.int(2 ** 31) };
  });
  // Some are sent again as they are, through another node: they must count once.
  for (const command of commands.filter(() => random.chance(0.4)))
    commands.push({ ...command, at: command.at + random.int(scaleMs), seed: random.int(2 ** 31) });
  return commands;
}

function drawReads(
  random: SeededRandom,
  requests: readonly ClusterRequest[],
  scaleMs: number,
): ClusterRead[] {
  return Array.from({ length: 1 + random.int(6) }, (): ClusterRead => {
    const request = random.int(requests.length);
    const at = (requests[request] as ClusterRequest).at + random.int(scaleMs * 2);
    return {
      at,
      kind: random.pick(["view", "history", "list"] as const),
      request,
      seed: random.int(2 ** 31),
    };
  });
}

function drawFaults(
  random: SeededRandom,
  when: () => number,
  { lasting }: { readonly lasting: boolean },
): ClusterFault[] {
  // A few kinds at a time: what happens together in one run should differ from run to run.
  const kinds = clusterFaultKinds
    .filter(() => random.chance(0.35))
    // Where answers are forgotten, the wall clock must not say that all is old.
    .filter((kind) => kind !== "clock-jump" || !lasting)
    // A log that was cut is a disaster of its own, and stops a shard.
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
export function* smallerCluster(plan: ClusterPlan): Iterable<ClusterPlan> {
  for (const name of ["faults", "commands", "reads", "replays"] as const) {
    const list: readonly unknown[] = plan[name];
    for (let size = list.length; size >= 1; size = Math.floor(size / 2)) {
      for (let from = 0; from < list.length; from += size)
        yield { ...plan, [name]: list.toSpliced(from, size) };
    }
  }
  for (let left = 0; plan.requests.length > 1 && left < plan.requests.length; left++) {
    const moved = <T extends { readonly request: number }>(list: readonly T[]): T[] =>
      list
        .filter(({ request }) => request !== left)
        .map((one) => (one.request > left ? { ...one, request: one.request - 1 } : one));
    const requests = plan.requests.toSpliced(left, 1);
    yield { ...plan, requests, commands: moved(plan.commands), reads: moved(plan.reads) };
  }
  for (const [place, request] of plan.requests.entries()) {
    if (request.again.length > 0)
      yield { ...plan, requests: plan.requests.with(place, { ...request, again: [] }) };
  }
  for (const name of Object.keys(plan.rates) as (keyof PlannedRates)[])
    if (plan.rates[name] > 0) yield { ...plan, rates: { ...plan.rates, [name]: 0 } };
  for (const name of ["latencyMs", "logMs", "storeMs", "elsewhere"] as const)
    if (plan[name] > 0) yield { ...plan, [name]: 0 };
  if (plan.retentionMs !== undefined) yield { ...plan, retentionMs: undefined };
  if (plan.shards > 1) yield { ...plan, shards: 1 };
  if (plan.nodes > 2) yield { ...plan, nodes: plan.nodes - 1 };
  const { limits } = plan;
  if (limits.checkpointEvents < 50_000) yield { ...plan, limits: { ...limits, checkpointEvents: 50_000 } };
  if (limits.horizonMs < 60_000) yield { ...plan, limits: { ...limits, horizonMs: 60_000 } };
  if (limits.batchInputs < 5_000) yield { ...plan, limits: { ...limits, batchInputs: 5_000 } };
}
