import type { HostClock, SimulatedClock } from "../clock.ts";
import { seededRandom, type SeededRandom } from "../random.ts";

/** One thing that goes wrong: at the n-th operation of its kind, or at a time. */
export interface PlannedFault<Kind extends string = string> {
  readonly kind: Kind;
  /** Which operation it is, from 1, counted over all processes; for the others: when, in milliseconds. */
  readonly at: number;
  /** How long it lasts, or how far the clock jumps, in milliseconds. */
  readonly forMs: number;
}

/** A command that an operator sends to the request of this place in the list. */
export interface PlannedCommand {
  readonly at: number;
  readonly id: string;
  readonly kind: "cancel" | "signal" | "retry" | "resolve";
  readonly request: number;
  readonly seed: number;
}

/** A command that an operator gives to a schedule. */
export interface PlannedScheduleCommand {
  readonly at: number;
  readonly id: string;
  /** `cancel`: of the request that the schedule is. */
  readonly kind: "pause" | "resume" | "trigger" | "backfill" | "remove" | "cancel";
  /** Draws the schedule, and what is wanted of it. */
  readonly seed: number;
}

/** A command that an operator gives to many requests. */
export interface PlannedBulk {
  readonly at: number;
  readonly id: string;
  readonly kind: PlannedCommand["kind"];
  /** Draws the filter. */
  readonly seed: number;
  /** When it is given once more, in milliseconds. */
  readonly again: readonly number[];
  /** What somebody does to it meanwhile. */
  readonly steers: readonly { readonly at: number; readonly kind: "pause" | "resume" | "cancel" }[];
}

/** Draws bulks. */
export function drawBulks(seed: number, forMs: number, scaleMs: number): PlannedBulk[] {
  const random = drawFor(seed, "bulks");
  if (random.chance(0.6)) return [];
  return Array.from({ length: 1 + random.int(2) }, (_, place): PlannedBulk => {
    const at = Math.floor(forMs * (0.1 + 0.9 * random()));
    const kind = random.pick(["cancel", "signal", "signal", "retry", "resolve"] as const);
    const soon = (): number => at + random.int(random.pick([2, 20, scaleMs / 4]));
    const again = random.chance(0.3) ? [soon()] : [];
    const steers: { at: number; kind: "pause" | "resume" | "cancel" }[] = [];
    if (random.chance(0.5)) steers.push({ at: soon(), kind: "pause" });
    if (steers.length > 0 && random.chance(0.7)) steers.push({ at: soon() + scaleMs / 8, kind: "resume" });
    if (random.chance(0.25)) steers.push({ at: soon(), kind: "cancel" });
    return { at, id: `b${place}`, kind, seed: random.int(2 ** 31), again, steers };
  });
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

/** When a request begins that is not to begin at once, and how long it may take at most. */
export interface PlannedStart {
  /** In milliseconds of simulated time. It may be over when the request is sent. */
  readonly at: number;
  readonly deadlineMs?: number;
}

/** Some requests are to begin later than they come. */
export function drawStart(
  seed: number,
  place: number,
  at: number,
  scaleMs: number,
): PlannedStart | undefined {
  const random = drawFor(seed, "start", place);
  if (!random.chance(0.2)) return undefined;
  const later = random.chance(0.1) ? -1 : random.pick([0.1, 1, 3]);
  const start = Math.max(0, at + random() * later * scaleMs);
  // Engine time has whole milliseconds.
  const begins = random.chance(0.5) ? Math.floor(start) : start;
  return {
    at: begins,
    ...(random.chance(0.3) ? { deadlineMs: Math.ceil(scaleMs * (0.1 + random())) } : {}),
  };
}

/** What is sent along with such a request. `wallMs`: the wall clock at the beginning. */
export const sentOf = (
  start: PlannedStart | undefined,
  wallMs: number,
): { readonly startAt?: number; readonly deadlineMs?: number } =>
  start === undefined
    ? {}
    : {
        startAt: wallMs + start.at,
        ...(start.deadlineMs === undefined ? {} : { deadlineMs: start.deadlineMs }),
      };

/** The clock of a host may be so much behind at most, in milliseconds. */
const maxBehindMs = 30_000;

/** So much faster or slower go the clocks of a host at most, in millionths. */
const maxDriftPpm = 200;

/** How the clocks of a host differ: in some plans some are seconds, minutes or days ahead, or seconds behind, and all drift. */
export function drawClock(seed: number, host: number): HostClock {
  const random = drawFor(seed, "clock", host);
  const aheadMs = random.pick([0, 0, 700, 40_000, 900_000, 3 * 86_400_000, -700, -maxBehindMs]);
  return { aheadMs, driftPpm: random.pick([0, maxDriftPpm, -maxDriftPpm]) };
}

/** What engine time may be at most in a plan, at a simulated time: that of the server, if no clock jumps, and what hosts drift. */
export function latestNowOf(
  { faults }: { readonly faults: readonly PlannedFault[] },
  clock: SimulatedClock,
): (at: number) => number {
  if (faults.some(({ kind }) => kind === "clock-jump")) return () => Number.POSITIVE_INFINITY;
  const began = clock.wallMs() - clock.monotonicMs();
  return (at) => began + at * (1 + (2 * maxDriftPpm) / 1_000_000) + 2;
}

/** Draws whether the clocks of the hosts of a plan differ. */
export const drawSkew = (seed: number): boolean => drawFor(seed, "skew").chance(0.3);

/**
 * In some plans processes stand still, and stores hang, for seconds or minutes: what is asked of such a store is done when it goes on. It
 * is drawn by itself, so that the other faults of a seed stay as they are.
 */
export function drawStalls(
  seed: number,
  forMs: number,
): (PlannedFault<"freeze" | "store-hangs"> & { readonly node: number })[] {
  const random = drawFor(seed, "stalls");
  if (random.chance(0.75)) return [];
  return Array.from({ length: 1 + random.int(2) }, () => ({
    kind: random.pick(["freeze", "store-hangs", "store-hangs"] as const),
    at: random.int(forMs),
    forMs: random.pick([500, 3_000, 20_000, 120_000]) * (0.5 + random()),
    node: random.int(8),
  }));
}

/** How far the clocks of a plan go back, in milliseconds: so much later come the times that somebody has named. */
export const setBackMs = ({
  faults,
  isSkewed,
}: {
  readonly faults: readonly PlannedFault[];
  readonly isSkewed: boolean;
}): number =>
  faults.reduce(
    (sum, { kind, forMs }) =>
      sum + (kind === "clock-jump" ? Math.max(0, -forMs) : kind === "store-hangs" ? forMs : 0),
    isSkewed ? 2 * maxBehindMs : 0,
  );

/** Whether what was committed at a time, in simulated milliseconds, may be forgotten by now. */
export function mayBeForgotten(
  {
    retentionMs = Number.POSITIVE_INFINITY,
    historyRetentionMs = Number.POSITIVE_INFINITY,
    faults,
  }: {
    readonly retentionMs: number | undefined;
    readonly historyRetentionMs: number | undefined;
    readonly faults: readonly PlannedFault[];
  },
  committedAt: number,
  now: number,
): boolean {
  const keptMs = Math.min(retentionMs, historyRetentionMs);
  // A clock that jumps makes everything older.
  const hasJumped = faults.some(({ kind, at }) => kind === "clock-jump" && at <= now);
  return keptMs < Number.POSITIVE_INFINITY && (hasJumped || committedAt + keptMs <= now);
}

/** What a shard may hold, in a plan. */
export interface PlannedLimits {
  readonly checkpointEvents: number;
  readonly checkpointRuns: number;
  readonly openedCalls: number;
  readonly bulkPage: number;
  readonly horizonMs: number;
  readonly batchInputs: number;
  /** Runs in memory: with few, clients are refused and come again. */
  readonly liveRuns: number;
}

/** What workers and messages need to know of a plan. */
export interface PlannedTrouble {
  readonly seed: number;
  readonly rates: PlannedRates;
  /** Longest honest time of an attempt or a message, in milliseconds. */
  readonly latencyMs: number;
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

/** Draws rates, of which about half are 0. `slow`: the highest share of slow attempts. */
export function drawRates(random: SeededRandom, { slow }: { readonly slow: number }): PlannedRates {
  const rate = (most: number): number => (random.chance(0.5) ? 0 : random() * most);
  return {
    silent: rate(0.2),
    slow: rate(slow),
    fails: rate(0.2),
    broken: rate(0.1),
    deaf: rate(0.5),
    lost: rate(0.2),
    doubled: rate(0.3),
    delayed: rate(0.3),
  };
}

/** How commands are drawn. */
export interface CommandDraw {
  readonly scaleMs: number;
  /** How long after its request a command may come, in milliseconds. */
  readonly withinMs: () => number;
  /** The share of commands that are sent once more. */
  readonly again: number;
  /** Whether those come another way: what is drawn of their seed is drawn anew. */
  readonly anotherWay: boolean;
}

/** Draws commands to requests. */
export function drawCommands(
  random: SeededRandom,
  requests: readonly { readonly at: number }[],
  { scaleMs, withinMs, again, anotherWay }: CommandDraw,
): PlannedCommand[] {
  const commands = Array.from({ length: random.int(10) }, (_, place): PlannedCommand => {
    const kind = random.pick(["cancel", "signal", "signal", "signal", "retry", "resolve"] as const);
    const request = random.int(requests.length);
    const at = (requests[request]?.at ?? 0) + random.int(withinMs());
    // Some commands are sent again under the id of another one.
    const id = `c${random.chance(0.2) ? random.int(place + 1) : place}`;
    return { at, id, kind, request, seed: random.int(2 ** 31) };
  });
  // Some are sent again as they are: they must count once.
  for (const command of commands.filter(() => random.chance(again))) {
    const at = command.at + random.int(scaleMs);
    commands.push({ ...command, at, ...(anotherWay ? { seed: random.int(2 ** 31) } : {}) });
  }
  return commands;
}

/** Draws commands to schedules, for systems that have some. */
export function drawScheduleCommands(seed: number, forMs: number, scaleMs: number): PlannedScheduleCommand[] {
  const random = drawFor(seed, "schedules");
  if (random.chance(0.3)) return [];
  const commands: PlannedScheduleCommand[] = [];
  const give = (command: PlannedScheduleCommand): void => void commands.push(command);
  const kinds = ["pause", "pause", "trigger", "trigger", "backfill", "backfill", "remove", "cancel"] as const;
  for (let place = 0, most = 1 + random.int(6); place < most; place++) {
    const kind = random.pick(kinds);
    const [at, of] = [random.int(forMs), random.int(2 ** 31)];
    // Some come under the id of another one.
    const id = `o${random.chance(0.15) ? random.int(place + 1) : place}`;
    give({ at, id, kind, seed: of });
    // Some come together with another one.
    if (random.chance(0.3)) give({ at, id: `${id} too`, kind, seed: of });
    if (kind !== "pause") continue;
    const forLongMs = random.int(scaleMs * random.pick([0.5, 3]));
    if (random.chance(0.8)) give({ at: at + forLongMs, id: `${id} over`, kind: "resume", seed: of });
    if (random.chance(0.6))
      give({ at: at + random.int(forLongMs + 1), id: `${id} on`, kind: "trigger", seed: of });
  }
  // Some are given again as they are: they must count once.
  for (const command of commands.filter(() => random.chance(0.3)))
    give({ ...command, at: command.at + random.int(scaleMs) });
  return commands;
}

/** The faults of a plan that happen at operations, in the order in which the operations come. */
export class PlannedOperations<Fault extends PlannedFault> {
  readonly #faults = new Map<string, Fault>();
  readonly #counts = new Map<string, number>();

  /** Of two faults at one operation, the last one counts. `operationOf`: undefined for what happens at a time. */
  constructor(faults: readonly Fault[], operationOf: (kind: Fault["kind"]) => string | undefined) {
    for (const fault of faults) {
      const operation = operationOf(fault.kind);
      if (operation !== undefined) this.#faults.set(`${operation} ${fault.at}`, fault);
    }
  }

  /** The fault that the plan has for the next operation of this kind. */
  next(operation: string): Fault | undefined {
    const count = (this.#counts.get(operation) ?? 0) + 1;
    this.#counts.set(operation, count);
    return this.#faults.get(`${operation} ${count}`);
  }
}

/** Plans with a list that lacks half of its items, a quarter, …, and at last one. */
export function* withoutSome<P, Name extends keyof P>(plan: P, name: Name): Iterable<P> {
  const list = plan[name] as readonly unknown[];
  for (let size = list.length; size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < list.length; from += size)
      yield { ...plan, [name]: list.toSpliced(from, size) };
  }
}

/** Plans without one of their requests, and without what is for it in other lists. */
export function* withoutOneRequest<P extends { readonly requests: readonly unknown[] }>(
  plan: P,
  others: readonly (keyof P)[],
): Iterable<P> {
  for (let left = 0; plan.requests.length > 1 && left < plan.requests.length; left++) {
    const moved = others.map((name) => [
      name,
      (plan[name] as readonly { readonly request: number }[])
        .filter(({ request }) => request !== left)
        .map((one) => (one.request > left ? { ...one, request: one.request - 1 } : one)),
    ]);
    yield { ...plan, requests: plan.requests.toSpliced(left, 1), ...Object.fromEntries(moved) };
  }
}

/** Plans in which one of the requests begins at once. */
export function* withoutStarts<P extends { readonly requests: readonly { readonly start?: PlannedStart }[] }>(
  plan: P,
): Iterable<P> {
  for (const [place, { start, ...request }] of plan.requests.entries())
    if (start !== undefined) yield { ...plan, requests: plan.requests.with(place, request) };
}

/** Plans in which less happens to workers and messages. */
export function* withLessTrouble<P extends { readonly rates: PlannedRates }>(plan: P): Iterable<P> {
  for (const name of Object.keys(plan.rates) as (keyof PlannedRates)[])
    if (plan.rates[name] > 0) yield { ...plan, rates: { ...plan.rates, [name]: 0 } };
}

/** Plans with ordinary limits. */
export function* withoutLimits<P extends { readonly limits: PlannedLimits }>(plan: P): Iterable<P> {
  const { limits } = plan;
  for (const [name, ordinary] of [
    ["checkpointEvents", 50_000],
    ["checkpointRuns", 500],
    ["openedCalls", 500],
    ["bulkPage", 500],
    ["horizonMs", 60_000],
    ["batchInputs", 5_000],
    ["liveRuns", 200_000],
  ] as const)
    if (limits[name] < ordinary) yield { ...plan, limits: { ...limits, [name]: ordinary } };
}

/** Plans in which one of these numbers is 0. */
export function* withZero<P, Name extends keyof P>(plan: P, names: readonly Name[]): Iterable<P> {
  for (const name of names) if ((plan[name] as number) > 0) yield { ...plan, [name]: 0 };
}

/** Numbers that depend on a seed and on what they are for, not on when they are drawn. */
export function drawFor(seed: number, ...what: readonly (string | number)[]): SeededRandom {
  let hash = 0x811c9dc5 ^ seed;
  for (const part of what.join("\n")) hash = Math.imul(hash ^ (part.codePointAt(0) ?? 0), 0x01000193);
  return seededRandom(hash);
}
