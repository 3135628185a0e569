import { seededRandom, type SeededRandom } from "../../random.ts";
import {
  calmRates,
  drawBulks,
  drawCommands,
  drawRates,
  drawFor,
  drawScheduleCommands,
  drawSkew,
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

/**
 * How a request is sent: through a channel, once; to a process, once; or by a client that sends it to one process after the
 * other until it is accepted, and asks for the answer until it has it.
 */
export const requestWays = ["channel", "submit", "client"] as const;

/**
 * What is sent: a request; text that is no JSON; what the hub's schema refuses; a request without a key, or under one that
 * cannot be stored.
 */
export const requestBodies = ["sound", "broken", "refused", "keyless", "odd-key"] as const;

/** A request to several shards. */
export interface ShardsRequest {
  readonly at: number;
  readonly key: string;
  /** Draws the hub and the request. */
  readonly seed: number;
  readonly by: (typeof requestWays)[number];
  readonly body: (typeof requestBodies)[number];
  /** When it begins, unless it comes through a channel. Absent: at once. */
  readonly start?: PlannedStart;
  /** When it is sent once more, in milliseconds after the first time, and whether with another body. */
  readonly again: readonly { readonly afterMs: number; readonly differs: boolean }[];
}

/** Something that somebody wants to know of any process. */
export interface ShardsRead {
  readonly at: number;
  readonly kind: "view" | "history" | "list";
  readonly request: number;
  readonly seed: number;
}

/** The parts of a plan that concern several shards, in a cluster and on Storm alike. */
export interface ShardsPlan extends PlannedTrouble {
  readonly shards: number;
  readonly requests: readonly ShardsRequest[];
  readonly commands: readonly PlannedCommand[];
  readonly scheduleCommands: readonly PlannedScheduleCommand[];
  readonly bulks: readonly PlannedBulk[];
  readonly reads: readonly ShardsRead[];
  /** When a dead letter is sent again, in milliseconds, and which of those that are there. */
  readonly replays: readonly { readonly at: number; readonly letter: number }[];
  readonly faults: readonly PlannedFault[];
  /** Longest time of a message to or from the broker, in milliseconds. */
  readonly logMs: number;
  /** Longest time of a message to or from a store, in milliseconds: what comes meanwhile may be decided ahead. */
  readonly storeMs: number;
  /** The share of the spokes that external workers serve, so that their outcomes come through the inboxes. */
  readonly external: number;
  /** The clocks of its hosts differ from those of the log and the stores. */
  readonly isSkewed: boolean;
  /** How many read the events of all runs. */
  readonly readers: number;
  /** How long answers are kept, in milliseconds; undefined: for longer than the simulation lasts. */
  readonly retentionMs: number | undefined;
  /** How long events of live runs are kept, if that is not for longer than the simulation lasts. */
  readonly historyRetentionMs: number | undefined;
  readonly forMs: number;
  readonly limits: PlannedLimits;
}

/** What the faults of a plan depend on. */
export interface FaultDraw {
  /** Draws a time, in milliseconds. */
  readonly when: () => number;
  /** Answers are forgotten while the simulation lasts. */
  readonly forgets: boolean;
}

/** Answers are kept for longer than any outage lasts, in milliseconds. */
const minRetentionMs = 90_000;

/**
 * Draws a plan: what all worlds of several shards have in common, and what one has besides.
 * @param scaleMs The time in which the system's hubs do their work, in milliseconds.
 */
export function drawShardsPlan<Own, Fault extends PlannedFault>(
  seed: number,
  scaleMs: number,
  drawOwn: (random: SeededRandom) => Own,
  drawFaults: (random: SeededRandom, draw: FaultDraw) => readonly Fault[],
): Omit<ShardsPlan, "faults"> & Own & { readonly faults: readonly Fault[] } {
  const random = seededRandom(seed);
  const forMs = Math.ceil(5_000 + random.int(20_000) + scaleMs * random() * 2);
  // What happens at about the same time meets.
  const about = random.int(forMs);
  const when = random.chance(0.5)
    ? () => random.int(forMs)
    : () => Math.min(forMs, about + random.int(3_000));
  const retentionMs = random.chance(0.12) ? minRetentionMs + random.int(60_000) : undefined;
  const requests = Array.from({ length: 2 + random.int(8) }, (_, place) => {
    const drawn = drawRequest(random, `${seed.toString(16)}-${place}`, when(), scaleMs);
    const start = drawn.by === "channel" ? undefined : drawStart(seed, place, drawn.at, scaleMs);
    const request = start === undefined ? drawn : { ...drawn, start };
    if (retentionMs === undefined || random.chance(0.6)) return request;
    // Its key is free again by then.
    const afterMs = forMs + retentionMs + 60_000 + random.int(120_000);
    return { ...request, again: [...request.again, { afterMs, differs: random.chance(0.5) }] };
  });
  const storeMs = Math.min(100, Math.ceil(scaleMs * random.pick([0, 0.001, 0.01, 0.03])));
  return {
    seed,
    ...drawOwn(random),
    shards: random.pick([1, 2, 3, 5]),
    requests,
    scheduleCommands: drawScheduleCommands(seed, forMs, scaleMs),
    bulks: drawBulks(seed, forMs, scaleMs),
    commands: random.chance(0.4) ? [] : drawShardsCommands(random, requests, scaleMs),
    reads: random.chance(0.5) ? [] : drawReads(random, requests, scaleMs),
    replays: Array.from({ length: random.chance(0.6) ? 0 : 1 + random.int(4) }, () => ({
      at: Math.floor(forMs * (0.3 + 0.7 * random())),
      letter: random.int(16),
    })),
    faults: drawFaults(random, { when, forgets: retentionMs !== undefined }),
    rates: random.chance(0.4) ? calmRates : drawRates(random, { slow: 0.3 }),
    latencyMs: Math.ceil(scaleMs * random.pick([0, 0.01, 0.05])),
    logMs: random.pick([0, 2, 20]),
    storeMs,
    external: random.pick([0, 0.5, 1]),
    isSkewed: drawSkew(seed),
    readers: drawFor(seed, "readers").pick([0, 0, 1, 2]),
    retentionMs,
    historyRetentionMs: drawFor(seed, "archive").chance(0.7) ? retentionMs : undefined,
    forMs,
    limits: {
      checkpointEvents: random.pick([1, 10, 50_000]),
      checkpointRuns: drawFor(seed, "sweep").pick([1, 2, 500]),
      bulkPage: drawFor(seed, "pages").pick([1, 2, 3, 500]),
      openedCalls: drawFor(seed, "opened").pick([1, 2, 500]),
      horizonMs: Math.ceil(random.pick([1, scaleMs / 5, 60_000])),
      batchInputs: random.pick([1, 3, 5_000]),
      liveRuns: 200_000,
    },
  };
}

function drawRequest(random: SeededRandom, key: string, at: number, scaleMs: number): ShardsRequest {
  const by = random.pick(["channel", "channel", "submit", "client"] as const);
  const odd = by === "channel" ? requestBodies : (["sound", "refused"] as const);
  const body = random.chance(0.15) ? random.pick(odd) : "sound";
  const again = Array.from({ length: random.chance(0.3) ? 1 + random.int(2) : 0 }, () => ({
    afterMs: random.pick([3, random.int(2_000), random.int(scaleMs * 4)]),
    differs: random.chance(0.4),
  }));
  return { at, key, seed: random.int(2 ** 31), by, body, again };
}

/** Some commands come again through another process. */
const drawShardsCommands = (
  random: SeededRandom,
  requests: readonly ShardsRequest[],
  scaleMs: number,
): PlannedCommand[] =>
  drawCommands(random, requests, {
    scaleMs,
    withinMs: () => random.pick([200, scaleMs]),
    again: 0.4,
    anotherWay: true,
  });

function drawReads(random: SeededRandom, requests: readonly ShardsRequest[], scaleMs: number): ShardsRead[] {
  return Array.from({ length: 1 + random.int(6) }, (): ShardsRead => {
    const request = random.int(requests.length);
    const at = (requests[request] as ShardsRequest).at + random.int(scaleMs * 2);
    return {
      at,
      kind: random.pick(["view", "history", "list"] as const),
      request,
      seed: random.int(2 ** 31),
    };
  });
}

/** Smaller plans, the smallest first. `zeros`: numbers that may as well be 0. */
export function* smallerShardsPlans<P extends ShardsPlan>(plan: P, zeros: readonly (keyof P)[]): Iterable<P> {
  for (const name of ["faults", "commands", "scheduleCommands", "bulks", "reads", "replays"] as const)
    yield* withoutSome(plan, name);
  yield* withoutOneRequest(plan, ["commands", "reads"]);
  for (const [place, request] of plan.requests.entries()) {
    if (request.again.length > 0)
      yield { ...plan, requests: plan.requests.with(place, { ...request, again: [] }) };
  }
  yield* withoutStarts(plan);
  yield* withLessTrouble(plan);
  yield* withZero(plan, [...zeros, "readers"]);
  if (plan.isSkewed) yield { ...plan, isSkewed: false };
  if (plan.historyRetentionMs !== undefined) yield { ...plan, historyRetentionMs: undefined };
  if (plan.retentionMs !== undefined)
    yield { ...plan, retentionMs: undefined, historyRetentionMs: undefined };
  if (plan.shards > 1) yield { ...plan, shards: 1 };
  yield* withoutLimits(plan);
}

/** A plan for people. */
export function describeShardsPlan({
  requests,
  commands,
  scheduleCommands,
  bulks,
  reads,
  replays,
  faults,
  ...settings
}: ShardsPlan): readonly string[] {
  const happens = [...requests, ...commands, ...scheduleCommands, ...bulks, ...reads, ...replays, ...faults];
  return [JSON.stringify(settings), ...happens.map((one) => JSON.stringify(one))];
}
