import type { RunEvent } from "@wheelwork/core";
import { hash as digest } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { TraceEntry } from "../trace.ts";
import { count, type Violation } from "../world.ts";
import { tickAfter, type Ticks } from "./ticks.ts";

/** The hub whose runs are the schedules. */
export const scheduleHub = "schedule:";

/** A tick that is later than this has been missed, in milliseconds. */
const missedMs = 60_000;

/** What a deploy brings, as the run of a schedule has it in its history. */
interface Declared {
  readonly stored: {
    readonly ticks: Ticks;
    readonly catchUp: "none" | "last" | "all";
    readonly jitterMs: number;
  };
  readonly version?: number;
}

/** How a schedule ticks from a time on, until the next one of these. */
interface Times {
  readonly ticks: Ticks;
  readonly catchUp: Declared["stored"]["catchUp"];
  readonly jitterMs: number;
  /** What its ticks are counted from. */
  readonly since: number;
  /** From then on it ticks so. What was due before, or right then, is of the times before. */
  readonly from: number;
}

/** The next tick, and the times that it is of. */
type Next = Times & { readonly at: number; readonly place: number };

/** Ticks of the past that somebody has asked for: those after one time, up to another. */
interface Fill {
  readonly after: number;
  readonly to: number;
}

/** What was seen of a schedule. */
interface Ticking {
  readonly name: string;
  readonly times: Times[];
  version: number;
  state: string;
  /** What the run says that its next request is for. */
  tick: { readonly at: number; readonly kind: "schedule" | "trigger" | "backfill" } | undefined;
  /** Ticks up to here are done, or left out. */
  last: number;
  /** When it has made its last tick, in engine time. */
  lastMadeAt: number;
  pausedAt: number | undefined;
  /** The ids of the commands that have asked for a request, and those that have asked for ticks of the past. */
  triggers: string[];
  fills: Fill[];
  /** Commands that came while it was parked. */
  kept: (RunEvent & { type: "signalled" })[];
  /** The keys of the requests that it has made, in their order. */
  readonly made: string[];
}

type Demand = (holds: boolean, message: () => string) => void;

/**
 * What schedules have made, over all shards (I34): each tick that their times have, once and in their order, whichever versions of the
 * program were at work, and none while they are paused or removed. What is left out was missed, and its schedule leaves out what was
 * missed. What somebody asks for is made once, and nothing else.
 */
export function checkSchedules(traces: readonly (readonly TraceEntry[])[]): {
  readonly violations: readonly Violation[];
  readonly exercised: ReadonlyMap<string, number>;
} {
  const violations: Violation[] = [];
  const exercised = new Map<string, number>();
  const demand: Demand = (holds, message) => {
    count(exercised, "I34");
    if (!holds) violations.push({ invariant: "I34", message: message() });
  };
  const seen = new Map<string, Ticking>();
  const begun = new Map<string, number>();
  /** What the store has not taken. */
  const refused = new Set<string>();
  /** Who carries the posts of requests. */
  const carriers = new Map<string, string[]>();
  const commands = new Set<string>();
  let purges = false;
  for (const trace of traces) {
    let now = 0;
    let epoch = 0;
    /** For how long nobody had worked when the present owner came. */
    let awayMs = 0;
    const here = new Set<Ticking>();
    for (const entry of trace) {
      if (entry.type === "refuses") refused.add(entry.key);
      purges ||= entry.type === "purged";
      if (entry.type === "operated") checkCommand(entry, commands, demand);
      if (entry.type !== "committed") continue;
      if (entry.epoch !== epoch) awayMs = entry.now - now;
      ({ now, epoch } = entry);
      for (const { key, events } of entry.journal)
        for (const event of events) {
          if (event.type === "started" || event.type === "accepted")
            begun.set(key, (begun.get(key) ?? 0) + 1);
          if (event.type === "signalled") commands.add(`${key} ${event.signal} ${event.id}`);
          if (event.type === "started" && event.hub === scheduleHub) {
            demand(!seen.has(key), () => `the schedule ${key} is begun twice`);
            const ticking = begin(event.data as Declared & { readonly name: string; readonly since: number });
            seen.set(key, ticking);
            here.add(ticking);
          } else take(seen.get(key), event, awayMs, demand);
          if (event.type === "posted" && event.post.kind === "start" && seen.has(key)) {
            const { key: made = "" } = event.post;
            carriers.set(made, [...(carriers.get(made) ?? []), `${key}/t${event.call}`]);
          }
        }
    }
    for (const ticking of here) checkEnd(ticking, now, demand);
  }
  for (const { made } of seen.values())
    for (const [key, { length: asked }] of Map.groupBy(made, (one) => one)) {
      const times = begun.get(key) ?? 0;
      demand(
        // What was asked for again may be forgotten by then. The store may not take it.
        times === 1 ||
          (purges && times > 0 && times <= asked) ||
          [key, ...(carriers.get(key) ?? [])].some((one) => refused.has(one)),
        () => `the request ${key} was made ${asked} times, and has begun ${times} times`,
      );
    }
  return { violations, exercised };
}

function begin({
  name,
  since,
  stored,
  version = 1,
}: Declared & { readonly name: string; readonly since: number }): Ticking {
  const times = [timesOf(stored, since, since)];
  const none = { tick: undefined, pausedAt: undefined, triggers: [], fills: [], kept: [], made: [] };
  return { name, times, version, state: "", last: since, lastMadeAt: since, ...none };
}

const timesOf = (stored: Declared["stored"], since: number, from: number): Times => ({
  ...stored,
  since,
  from,
});

/** The next tick that is owed. */
function nextOf({ times, last }: Pick<Ticking, "times" | "last">): Next {
  for (const [place, one] of times.entries()) {
    const at = tickAfter(one.ticks, one.since, Math.max(last, one.from));
    if (at <= (times[place + 1]?.from ?? Number.POSITIVE_INFINITY)) return { ...one, at, place };
  }
  throw new TypeError("a schedule has no times");
}

/** `awayMs`: for how long nobody had worked before the present owner. */
function take(ticking: Ticking | undefined, event: RunEvent, awayMs: number, demand: Demand): void {
  if (ticking === undefined) return;
  switch (event.type) {
    case "entered":
      ticking.state = event.state;
      if (event.state === "Starting") ({ tick: ticking.tick } = event.patch as Pick<Ticking, "tick">);
      // It is forgotten.
      if (event.state === "Removed") Object.assign(ticking, { triggers: [], fills: [], pausedAt: undefined });
      return;
    case "signalled":
      if (event.taken === true) command(ticking, event, event.at, awayMs);
      else if (event.dropped !== true) ticking.kept.push(event);
      return;
    case "received": {
      const place = ticking.kept.findIndex(({ signal }) => signal === event.signal);
      const [kept] = ticking.kept.splice(place, 1);
      if (kept !== undefined) command(ticking, kept, event.at, awayMs);
      return;
    }
    case "fired":
      // It has nothing to do. Ticks of times that come later were not asked for.
      checkFills(ticking, event.at, demand);
      ticking.fills = [];
      return;
    case "posted":
      if (event.post.kind === "start")
        made(ticking, event.post.key ?? "", event.post.request, event.at, demand);
      return;
    default:
  }
}

/** A command counts. `at`: when it does. */
function command(
  ticking: Ticking,
  { id, signal, payload }: RunEvent & { type: "signalled" },
  at: number,
  awayMs: number,
): void {
  if (signal === "deploy") return deployed(ticking, payload as Declared & { readonly at: number });
  if (ticking.state === "Removed") return;
  switch (signal) {
    case "pause":
      // What fell due while nobody worked is left out, if the pause comes before all of it is made.
      ticking.pausedAt ??= at - awayMs;
      return;
    case "resume":
      if (ticking.pausedAt !== undefined) ticking.last = Math.max(ticking.last, at);
      ticking.pausedAt = undefined;
      return;
    case "trigger":
      ticking.triggers.push(id);
      return;
    case "backfill": {
      const { from, to } = payload as { readonly from: number; readonly to: number };
      ticking.fills.push({ after: from - 1, to: Math.min(to, at) });
      return;
    }
    default:
  }
}

function deployed(ticking: Ticking, { stored, version = 1, at }: Declared & { readonly at: number }): void {
  if (version < ticking.version) return;
  ticking.version = version;
  if (ticking.state === "Removed") {
    ticking.times.splice(0, ticking.times.length, timesOf(stored, at, at));
    ticking.last = at;
    return;
  }
  const newest = ticking.times.at(-1) as Times;
  const since = isDeepStrictEqual(newest.ticks, stored.ticks) ? newest.since : at;
  const { catchUp, jitterMs } = stored;
  const isSame = since === newest.since && catchUp === newest.catchUp && jitterMs === newest.jitterMs;
  if (!isSame) ticking.times.push(timesOf(stored, since, at));
}

/** A request is made. */
function made(ticking: Ticking, key: string, request: unknown, now: number, demand: Demand): void {
  const { name, tick, state } = ticking;
  ticking.made.push(key);
  ticking.tick = undefined;
  demand(tick !== undefined && state === "Starting", () => `the schedule ${name} makes ${key} in ${state}`);
  if (tick === undefined) return;
  const { at } = request as { readonly at: number };
  demand(at <= now, () => `the schedule ${name} makes ${key} at ${now} for ${at}`);
  if (tick.kind === "trigger") return triggered(ticking, key, demand);
  const named = `${name}@${new Date(at).toISOString()}`;
  demand(key === named, () => `the schedule ${name} makes ${key} for ${at}`);
  if (tick.kind === "backfill") filled(ticking, at, now, demand);
  else ticked(ticking, at, now, demand);
}

/** Somebody has asked for a request: the first one gets it first. */
function triggered({ name, triggers }: Ticking, key: string, demand: Demand): void {
  const id = triggers.shift();
  demand(
    id !== undefined && key === `${name}@trigger:${digest("sha256", id, "hex").slice(0, 32)}`,
    () => `the schedule ${name} makes ${key}, and ${id ?? "nobody"} has asked for one`,
  );
}

/** A tick of the past, that somebody has asked for. */
function filled(ticking: Ticking, at: number, now: number, demand: Demand): void {
  const { name, fills } = ticking;
  const next = nextOf(ticking);
  demand(
    ticking.pausedAt !== undefined || next.at + next.jitterMs > now || isLeftOut(next, now),
    () => `the schedule ${name} fills in ${at} at ${now}, and ${next.at} is due`,
  );
  const fill = firstFill(ticking, now);
  const owed = fill === undefined ? [] : presentTimes(ticking, now).map((times) => nextIn(fill, times));
  demand(
    fill !== undefined && at <= fill.to && owed.includes(at),
    () => `the schedule ${name} fills in ${at}, and asked for is ${owed.join(" or ")} of ${describe(fills)}`,
  );
  if (fill !== undefined) fills[0] = { after: at, to: fill.to };
}

const describe = (fills: readonly Fill[]): string =>
  fills.map(({ after, to }) => `${after + 1} to ${to}`).join(", ");

const nextIn = ({ after }: Fill, { ticks, since }: Times): number => tickAfter(ticks, since, after);

/** The first that has a tick left. */
function firstFill(ticking: Ticking, now: number): Fill | undefined {
  const present = presentTimes(ticking, now);
  const { fills } = ticking;
  for (let [fill] = fills; fill !== undefined; [fill] = fills) {
    const left = fill;
    if (present.some((times) => nextIn(left, times) <= left.to)) return left;
    fills.shift();
  }
  return undefined;
}

/** All that somebody has asked for is made. */
function checkFills(ticking: Ticking, now: number, demand: Demand): void {
  demand(
    firstFill(ticking, now) === undefined || presentTimes(ticking, now).length > 1,
    () => `the schedule ${ticking.name} has not filled in ${describe(ticking.fills)}`,
  );
}

/** The times by which it ticks now. What is left out without a trace may have brought later ones. */
function presentTimes(ticking: Ticking, now: number): readonly Times[] {
  const { times } = ticking;
  const next = nextOf(ticking);
  // Two deploys may be of one instant: engine time stands still while a clock is behind.
  const { place } = next;
  const leavesOut = isLeftOut(next, now) || ticking.pausedAt !== undefined;
  return leavesOut ? times.slice(place) : [times[place] as Times];
}

const isMissed = ({ at, jitterMs }: Next, now: number): boolean => now - at - jitterMs > missedMs;
const isLeftOut = (next: Next, now: number): boolean => next.catchUp === "none" && isMissed(next, now);

/** A tick is made. Those before it that were not are left out. */
function ticked(ticking: Ticking, at: number, now: number, demand: Demand): void {
  const { name, pausedAt } = ticking;
  demand(pausedAt === undefined, () => `the schedule ${name} ticks at ${now}, and is paused`);
  let next = nextOf(ticking);
  // Where the last one is made up for, the first one that was missed takes along all before the last one, however late they are.
  let missed: number | undefined;
  const takesAlong = (one: Next): boolean => one.catchUp === "last" && missed === one.place;
  for (; next.at < at; next = nextOf(ticking)) {
    const left = next;
    if (isMissed(left, now)) missed = left.place;
    demand(
      left.catchUp !== "all" && (isMissed(left, now) || takesAlong(left)),
      () => `the schedule ${name} ticks for ${at} at ${now}, and has left out ${left.at}`,
    );
    ticking.last = left.at;
  }
  demand(next.at === at, () => `the schedule ${name} ticks for ${at}, and its next tick is ${next.at}`);
  demand(!isLeftOut(next, now), () => `the schedule ${name} ticks for ${at} at ${now}, which was missed`);
  ticking.last = at;
  ticking.lastMadeAt = now;
  const following = nextOf(ticking);
  demand(
    next.catchUp !== "last" ||
      !(isMissed(next, now) || takesAlong(next)) ||
      following.since !== next.since ||
      following.at > now,
    () => `the schedule ${name} makes up for ${at} at ${now}, and ${following.at} was the last one`,
  );
}

/** Nothing more happens: what was due, and what was asked for, is made. */
function checkEnd(ticking: Ticking, now: number, demand: Demand): void {
  const { name, state, triggers, pausedAt = now, last, lastMadeAt, times } = ticking;
  // The newest version of the program does not have it.
  if (state === "Absent" || state === "Removed") return;
  demand(triggers.length === 0, () => `the schedule ${name} owes ${triggers.join(", ")}`);
  checkFills(ticking, now, demand);
  const next = nextOf(ticking);
  // What is left out is seen nowhere.
  if (next.catchUp === "none") return;
  const { ticks, since, jitterMs, catchUp, from } = times.at(-1) as Times;
  const isOwed = next.catchUp === "all" || catchUp !== "last";
  const dueAt = isOwed ? next.at : tickAfter(ticks, since, Math.max(last, lastMadeAt, from));
  const lateMs = pausedAt - dueAt - Math.max(jitterMs, next.jitterMs);
  demand(lateMs < 120_000, () => `the schedule ${name} has not ticked for ${lateMs} ms more than it should`);
}

/** What an operator is told of a command is so. */
function checkCommand(
  entry: TraceEntry & { type: "operated" },
  commands: ReadonlySet<string>,
  demand: Demand,
): void {
  const { key, id, kind, made: told } = entry;
  if (kind === "cancel") return;
  demand(commands.has(`${key} ${kind} ${id}`), () => `${kind} ${id} to ${key} is accepted, and is not there`);
  if (told === undefined) return;
  const name = key.slice(scheduleHub.length);
  const named = `${name}@trigger:${digest("sha256", id, "hex").slice(0, 32)}`;
  demand(told === named, () => `${kind} ${id} to ${key} is told the key ${told}`);
}
