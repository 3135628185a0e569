import type { RunEvent } from "@wheelwork/core";
import type { TraceEntry } from "../trace.ts";
import { count, type Violation } from "../world.ts";

/** The hub whose runs are the schedules. */
export const scheduleHub = "schedule:";

/** A tick that is later than this has been missed, in milliseconds. */
const missedMs = 60_000;

/** What a deploy brings, as the run of a schedule has it in its history. */
interface Declared {
  readonly stored: {
    readonly ticks: { readonly everyMs?: number };
    readonly catchUp: "none" | "last" | "all";
    readonly jitterMs: number;
  };
  readonly version?: number;
}

/** How a schedule ticks from a time on, until the next one of these. */
interface Times {
  readonly everyMs: number;
  readonly catchUp: Declared["stored"]["catchUp"];
  readonly jitterMs: number;
  /** What its ticks are counted from. */
  readonly since: number;
  /** From then on it ticks so. What was due before, or right then, is of the times before. */
  readonly from: number;
}

/** What was seen of a schedule. */
interface Ticking {
  readonly name: string;
  readonly times: Times[];
  version: number;
  state: string;
  /** Ticks up to here are done, or left out. */
  last: number;
  /** When it has made its last tick, in engine time. */
  lastMadeAt: number;
  pausedAt: number | undefined;
  /** The keys of all ticks. */
  readonly made: string[];
}

/**
 * What schedules have made, over all shards (I34): each tick that its times have, once and in their order, whichever versions of the
 * program were at work. What is left out was missed, and its schedule leaves out what was missed. Only those of `everyMs`, whose ticks
 * the checker can tell by itself.
 */
export function checkSchedules(traces: readonly (readonly TraceEntry[])[]): {
  readonly violations: readonly Violation[];
  readonly exercised: ReadonlyMap<string, number>;
} {
  const violations: Violation[] = [];
  const exercised = new Map<string, number>();
  const demand = (holds: boolean, message: () => string): void => {
    count(exercised, "I34");
    if (!holds) violations.push({ invariant: "I34", message: message() });
  };
  const seen = new Map<string, Ticking>();
  const begun = new Map<string, number>();
  /** What the store has not taken. */
  const refused = new Set<string>();
  /** Ticks whose posts the store has not taken. */
  const lost = new Set<string>();
  for (const trace of traces) {
    let now = 0;
    let epoch = 0;
    /** For how long nobody had worked when the present owner came. */
    let awayMs = 0;
    const here = new Set<Ticking>();
    for (const entry of trace) {
      if (entry.type === "refuses") refused.add(entry.key);
      if (entry.type !== "committed") continue;
      if (entry.epoch !== epoch) awayMs = entry.now - now;
      ({ now, epoch } = entry);
      for (const { key, events } of entry.journal)
        for (const event of events) {
          if (event.type === "started" || event.type === "accepted")
            begun.set(key, (begun.get(key) ?? 0) + 1);
          if (event.type === "started" && event.hub === scheduleHub) {
            demand(!seen.has(key), () => `the schedule ${key} is begun twice`);
            const ticking = ticked(
              event.data as Declared & { readonly name: string; readonly since: number },
            );
            seen.set(key, ticking);
            here.add(ticking);
          } else take(seen.get(key), event, awayMs, demand);
          if (event.type === "posted" && event.post.kind === "start" && refused.has(`${key}/t${event.call}`))
            lost.add(event.post.key ?? "");
        }
    }
    for (const ticking of here) checkEnd(ticking, now, demand);
  }
  for (const { made } of seen.values())
    for (const key of made) {
      const times = begun.get(key) ?? 0;
      // The store may not take it.
      demand(
        times === 1 || refused.has(key) || lost.has(key),
        () => `the tick ${key} has begun ${times} times`,
      );
    }
  return { violations, exercised };
}

type Demand = (holds: boolean, message: () => string) => void;

function ticked({
  name,
  since,
  stored,
  version = 1,
}: Declared & { readonly name: string; readonly since: number }): Ticking {
  const times = [timesOf(stored, since, since)];
  const begun = { last: since, lastMadeAt: since, pausedAt: undefined };
  return { name, times, version, state: "", ...begun, made: [] };
}

const timesOf = (
  { ticks: { everyMs = Number.NaN }, catchUp, jitterMs }: Declared["stored"],
  since: number,
  from: number,
): Times => ({ everyMs, catchUp, jitterMs, since, from });

/** The next tick that is owed, and the times that it is of. */
function nextOf({ times, last }: Ticking): Times & { readonly at: number } {
  for (const [place, one] of times.entries()) {
    const { since, everyMs, from } = one;
    const after = Math.max(last, from);
    const at = since + Math.max(1, Math.floor((after - since) / everyMs) + 1) * everyMs;
    if (at <= (times[place + 1]?.from ?? Number.POSITIVE_INFINITY)) return { ...one, at };
  }
  throw new TypeError("a schedule has no times");
}

/** `awayMs`: for how long nobody had worked before the present owner. */
function take(ticking: Ticking | undefined, event: RunEvent, awayMs: number, demand: Demand): void {
  if (ticking === undefined) return;
  switch (event.type) {
    case "entered":
      ticking.state = event.state;
      return;
    case "signalled":
      // What fell due while nobody worked is left out, if the pause comes before all of it is made.
      if (event.signal === "pause") ticking.pausedAt ??= event.at - awayMs;
      if (event.signal === "deploy") deployed(ticking, event.payload as Declared & { readonly at: number });
      return;
    case "posted":
      if (event.post.kind === "start") made(ticking, event.post.key ?? "", event.at, demand);
      return;
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
  const since = newest.everyMs === stored.ticks.everyMs ? newest.since : at;
  const { catchUp, jitterMs } = stored;
  const isSame = since === newest.since && catchUp === newest.catchUp && jitterMs === newest.jitterMs;
  if (!isSame) ticking.times.push(timesOf(stored, since, at));
}

/** A tick is made. Those before it that were not are left out. */
function made(ticking: Ticking, key: string, now: number, demand: Demand): void {
  const { name } = ticking;
  const at = Date.parse(key.split("@")[1] ?? "");
  // Somebody has asked for it.
  if (Number.isNaN(at)) return;
  demand(at <= now, () => `the schedule ${name} ticks at ${now} for ${at}`);
  const isMissed = (next: Times & { readonly at: number }): boolean =>
    now - next.at - next.jitterMs > missedMs;
  let next = nextOf(ticking);
  // Where the last one is made up for, the first one that was missed takes along all before the last one, however late they are.
  let missed: Times["from"] | undefined;
  const takesAlong = (one: Times): boolean => one.catchUp === "last" && missed === one.from;
  for (; next.at < at; next = nextOf(ticking)) {
    const left = next;
    if (isMissed(left)) missed = left.from;
    demand(
      left.catchUp !== "all" && (isMissed(left) || takesAlong(left)),
      () => `the schedule ${name} ticks for ${at} at ${now}, and has left out ${left.at}`,
    );
    ticking.last = left.at;
  }
  demand(next.at === at, () => `the schedule ${name} ticks for ${at}, and its next tick is ${next.at}`);
  demand(
    next.catchUp !== "none" || !isMissed(next),
    () => `the schedule ${name} ticks for ${at} at ${now}, which was missed`,
  );
  ticking.last = at;
  ticking.lastMadeAt = now;
  ticking.made.push(key);
  const following = nextOf(ticking);
  demand(
    next.catchUp !== "last" ||
      !(isMissed(next) || takesAlong(next)) ||
      following.since !== next.since ||
      following.at > now,
    () => `the schedule ${name} makes up for ${at} at ${now}, and ${following.at} was the last one`,
  );
}

/** Somebody has paused it, or nothing more happens: what was due is made. */
function checkEnd(ticking: Ticking, now: number, demand: Demand): void {
  const { name, state, lastMadeAt, pausedAt = now, times } = ticking;
  const next = nextOf(ticking);
  // The newest version of the program does not have it; or what is left out is seen nowhere.
  if (state === "Absent" || state === "Removed" || next.catchUp === "none") return;
  const { everyMs, jitterMs, catchUp } = times.at(-1) as Times;
  const since = next.catchUp === "all" || catchUp !== "last" ? next.at : lastMadeAt + everyMs;
  const lateMs = pausedAt - since - Math.max(jitterMs, next.jitterMs);
  demand(lateMs < 120_000, () => `the schedule ${name} has not ticked for ${lateMs} ms more than it should`);
}
