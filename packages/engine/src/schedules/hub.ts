import { end, stay, type Hub, type Schema } from "@wheelwork/core";
import {
  answeredEnd,
  answerLogic,
  canonicalJson,
  defineHub,
  startOf,
  type ErasedSpec,
  type HubDefinition,
  type StateLogic,
  type TimerClock,
  type Turn,
} from "@wheelwork/core/kernel";
import { hash as digest } from "node:crypto";
import { scheduleHubName } from "../ports/keys.ts";
import type { Schedule, StoredSchedule, Tick } from "./schedule.ts";
import { lastTick, nextTick } from "./ticks.ts";

/*
 * A schedule is a run of this hub, which has answered and lives for ever. So a tick is what happens to any run: a timer fires, the run
 * starts another one, and both are one commit. Nothing else has to remember ticks, or to make sure that there is one request for each.
 *
 *   Waiting    until the next tick is due. Takes the commands of operators, as signals
 *   Starting   starts the request of the tick: its key is the name of the schedule and the instant
 *   Absent     a tick is due, and the engine does not have the schedule. An engine that has it brings it back, and its ticks are owed
 *   Removed    no engine has had it for a day, or somebody has removed it. A deploy that has it brings it back, and owes nothing
 *
 * When it ticks is stored, and not only declared: so a deploy that changes it knows which ticks of the former times are owed. While a
 * deploy goes from node to node, its shard may go back and forth between engines with and without the schedule, or with former times
 * of it. So an engine that lacks it takes nothing away, and one whose declaration has a lower version changes nothing.
 */

/** What the run of a schedule knows. */
export interface ScheduleData {
  readonly name: string;
  readonly stored: StoredSchedule;
  /** What `everyMs` counts from. */
  readonly since: number;
  /** Ticks up to here are done, or left out. */
  readonly last: number;
  readonly paused?: boolean;
  /** The tick that begins now. `id`: of the command that has asked for it. */
  readonly tick?: Trigger & Pick<Tick, "kind">;
  /** Requests that somebody has asked for. */
  readonly triggers?: readonly Trigger[];
  /** Ticks of the past that somebody has asked for: those after one time, up to another. */
  readonly fills?: readonly Fill[];
  /** From certain times on it ticks otherwise: it was deployed then. In their order. */
  readonly changes?: readonly Change[];
  /** The highest version that has declared it. Default: 1. */
  readonly version?: number;
}

/** `id`: of the command. Earlier versions did not keep it. */
interface Trigger {
  readonly at: number;
  readonly id?: string;
}

interface Fill {
  readonly after: number;
  readonly to: number;
}

interface Change {
  readonly stored: StoredSchedule;
  readonly since: number;
  readonly at: number;
}

/**
 * The commands of a schedule, with what they bring. They count from when the schedule takes them: the clock of another process, which may
 * be wrong, says nothing of what is due.
 */
export type ScheduleCommand =
  | { readonly name: "deploy"; readonly payload: Deploy }
  | { readonly name: "pause" | "resume" | "remove"; readonly payload: Record<string, never> }
  | { readonly name: "trigger"; readonly payload: { readonly id: string } }
  | { readonly name: "backfill"; readonly payload: { readonly from: number; readonly to: number } };

interface Deploy {
  readonly stored: StoredSchedule;
  /** Engine time when it was deployed: the owner of the schedule's shard does that. */
  readonly at: number;
  /** Default: 1. */
  readonly version?: number;
}

/** A tick that is so late was missed, in milliseconds. */
const missedMs = 60_000;
/** A schedule that no engine has had for so long is removed, in milliseconds: longer than a deploy takes. */
const absentMs = 86_400_000;

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

/** The key of the request of a tick. */
const tickKey = (name: string, at: number): string => `${name}@${new Date(at).toISOString()}`;

/** The key of the request that a command asks for. Two commands at the same instant make two requests, and one that is sent again one. */
export const triggerKey = (name: string, id: string): string =>
  `${name}@trigger:${digest("sha256", id, "hex").slice(0, 32)}`;

/** How much later than its instant a tick begins, in milliseconds: always as much for the same tick. */
function jitterOf(name: string, at: number, { jitterMs }: StoredSchedule): number {
  if (jitterMs === 0) return 0;
  const share = Number.parseInt(digest("sha256", `${name} ${at}`, "hex").slice(0, 8), 16) / 2 ** 32;
  return Math.floor(share * jitterMs);
}

/** How a schedule ticks, and up to where its ticks are done. */
type Ticking = Pick<ScheduleData, "stored" | "since" | "last" | "changes">;

/** A change of the times counts once all ticks before it are done. */
function present({ stored, since, last, changes = [] }: Ticking): Ticking {
  const [change, ...later] = changes;
  if (change === undefined) return { stored, since, last };
  const at = nextTick(stored.ticks, since, last);
  return at !== undefined && at <= change.at
    ? { stored, since, last, changes }
    : present({
        stored: change.stored,
        since: change.since,
        last: Math.max(last, change.at),
        changes: later,
      });
}

/** The next tick, and how the schedule ticks then. */
export interface Upcoming extends Ticking {
  readonly at: number;
}

export function upcoming(data: Ticking): Upcoming | undefined {
  const then = present(data);
  const at = nextTick(then.stored.ticks, then.since, then.last);
  return at === undefined ? undefined : { ...then, at };
}

/** When the run acts next, in milliseconds of engine time. */
export function dueOf(data: ScheduleData): number | undefined {
  if (data.paused === true) return undefined;
  const next = upcoming(data);
  return next === undefined ? undefined : next.at + jitterOf(data.name, next.at, next.stored);
}

function sleepMs(data: ScheduleData, { enteredAt }: TimerClock): number | null {
  if (data.triggers !== undefined || data.fills !== undefined) return 0;
  const due = dueOf(data);
  return due === undefined ? null : Math.max(0, due - enteredAt);
}

/** The next tick of the past that somebody has asked for. */
function filled(data: ScheduleData): Turn {
  const { stored, since } = present(data);
  const [fill, ...later] = data.fills ?? [];
  if (fill === undefined) return { raise: "Stay", patch: { fills: undefined } };
  const at = nextTick(stored.ticks, since, fill.after);
  if (at === undefined || at > fill.to) return filled({ ...data, fills: later });
  return {
    raise: "Tick",
    patch: { tick: { at, kind: "backfill" }, fills: [{ after: at, to: fill.to }, ...later] },
  };
}

function ticked(data: ScheduleData, now: number): Turn {
  const [trigger, ...triggers] = data.triggers ?? [];
  if (trigger !== undefined) {
    const others = triggers.length > 0 ? triggers : undefined;
    return { raise: "Tick", patch: { tick: { ...trigger, kind: "trigger" }, triggers: others } };
  }
  const next = data.paused === true ? undefined : upcoming(data);
  const lateMs = next === undefined ? -1 : now - next.at - jitterOf(data.name, next.at, next.stored);
  // What is due goes first: it must not be late for ticks of the past.
  if (next === undefined || lateMs < 0) return filled(data);
  const { at, stored, since, changes } = next;
  const times = { stored, since, changes };
  // Ticks of these times end with the next change.
  const bound = Math.min(now, changes?.[0]?.at ?? now);
  // A tick may have waited for the jitter of the one before it.
  const isMissed = now - at - stored.jitterMs > missedMs;
  const lastUpTo = (time: number): number => lastTick(stored.ticks, since, time) ?? at;
  if (isMissed && stored.catchUp === "none") {
    const last = Math.max(at, lastUpTo(Math.min(bound, now - missedMs - stored.jitterMs)));
    // The next one may be due. A timer that stays at 0 would not fire again.
    const turn = ticked({ ...data, ...times, last } as ScheduleData, now);
    return { ...turn, patch: { ...times, last, ...turn.patch } };
  }
  const due = isMissed && stored.catchUp === "last" ? Math.max(at, lastUpTo(bound)) : at;
  return { raise: "Tick", patch: { ...times, last: due, tick: { at: due, kind: "schedule" } } };
}

/** How it ticks after a deploy. `everyMs` goes on counting if it is the same. */
function deployed(data: ScheduleData, { stored, at, version = 1 }: Deploy): Turn {
  const { version: known = 1 } = data;
  if (version < known) return { raise: "Stay" };
  const newer = version > known ? { version } : {};
  const then = present(data);
  const newest = then.changes?.at(-1) ?? then;
  if (canonicalJson(newest.stored) === canonicalJson(stored)) return { raise: "Stay", patch: newer };
  const isSameTime = canonicalJson(newest.stored.ticks) === canonicalJson(stored.ticks);
  const change: Change = { stored, since: isSameTime ? newest.since : at, at };
  return { raise: "Stay", patch: { ...then, ...newer, changes: [...(then.changes ?? []), change] } };
}

/** Whether a schedule ticks as it is declared, so that a deploy need not tell it. */
export function isDeployed(data: ScheduleData, stored: StoredSchedule, version: number): boolean {
  const newest = data.changes?.at(-1) ?? data;
  return (data.version ?? 1) === version && canonicalJson(newest.stored) === canonicalJson(stored);
}

function commanded(data: ScheduleData, { name, payload }: ScheduleCommand, now: number): Turn {
  switch (name) {
    case "deploy":
      return deployed(data, payload);
    case "pause":
      return { raise: "Stay", patch: { paused: true } };
    case "resume":
      // What was due meanwhile is left out.
      return data.paused === true
        ? { raise: "Stay", patch: { paused: undefined, last: Math.max(data.last, now) } }
        : { raise: "Stay" };
    case "trigger":
      return { raise: "Stay", patch: { triggers: [...(data.triggers ?? []), { at: now, id: payload.id }] } };
    case "backfill": {
      // What is to come will tick by itself.
      const fill = { after: payload.from - 1, to: Math.min(payload.to, now) };
      return { raise: "Stay", patch: { fills: [...(data.fills ?? []), fill] } };
    }
    case "remove":
      return { raise: "Removed" };
  }
}

const signals = ["deploy", "pause", "resume", "trigger", "backfill", "remove"] as const;

const waiting = (schedules: ReadonlyMap<string, Schedule>): StateLogic => ({
  kind: "wait",
  idle: true,
  callees: [],
  signals,
  timers: [{ event: "Tick", ms: (data, clock) => sleepMs(data as ScheduleData, clock) }],
  enter: () => ({}),
  fired: (given, _timer, _open, { now }) => {
    const data = given as ScheduleData;
    return schedules.has(data.name) ? ticked(data, now) : { raise: "Absent" };
  },
  signal: (data, name, payload, now) =>
    commanded(data as ScheduleData, { name, payload } as ScheduleCommand, now),
});

const absent = (schedules: ReadonlyMap<string, Schedule>): StateLogic => ({
  kind: "wait",
  idle: true,
  callees: [],
  signals,
  timers: [{ event: "Removed", ms: () => absentMs }],
  enter: () => ({}),
  // Nobody may have worked for days, and an engine that has it has not come to its deploy yet.
  fired: (data) => ({ raise: schedules.has((data as ScheduleData).name) ? "Back" : "Removed" }),
  signal: (data, name, payload, now) => {
    const turn = commanded(data as ScheduleData, { name, payload } as ScheduleCommand, now);
    return name === "deploy" ? { ...turn, raise: "Back" } : turn;
  },
});

const removed: StateLogic = {
  kind: "wait",
  idle: true,
  callees: [],
  signals,
  enter: () => ({}),
  signal: (data, name, payload) => {
    if (name !== "deploy") return { raise: "Stay" };
    const { stored, at, version = 1 } = payload as Deploy;
    if (version < ((data as ScheduleData).version ?? 1)) return { raise: "Stay" };
    const none = { paused: undefined, changes: undefined, triggers: undefined, fills: undefined };
    return { raise: "Restored", patch: { stored, version, since: at, last: at, ...none } };
  },
};

/** Starts the request of a tick. The engine has the schedule, or the run would not have come here. */
const starting = (schedules: ReadonlyMap<string, Schedule>): StateLogic => ({
  kind: "pick",
  callees: [],
  enter: (given) => {
    const { name, tick } = given as ScheduleData;
    const declared = schedules.get(name) as Schedule;
    const { at, kind, id } = tick as NonNullable<typeof tick>;
    const request = declared.request({ schedule: name, at, kind });
    const post = startOf(
      declared.hub as Hub,
      request,
      id === undefined ? tickKey(name, at) : triggerKey(name, id),
    );
    return { raise: "Next", posts: [post], patch: { tick: undefined } };
  },
});

const chart = {
  Answering: { Next: "Waiting" },
  Waiting: { Tick: "Starting", Stay: stay, Absent: "Absent", Removed: "Removed" },
  Starting: { Next: "Waiting" },
  Absent: { Back: "Waiting", Stay: stay, Removed: "Removed" },
  Removed: { Stay: stay, Restored: "Waiting", Removed: "Gone" },
  Gone: end,
} as const;

/** The hub whose runs are the schedules. */
export function scheduleHub(schedules: ReadonlyMap<string, Schedule>): HubDefinition {
  const logics = new Map<string, StateLogic>([
    ["Answering", answerLogic(() => ({}), { next: "Next" })],
    ["Waiting", waiting(schedules)],
    ["Starting", starting(schedules)],
    ["Absent", absent(schedules)],
    ["Removed", removed],
    ["Gone", answeredEnd],
  ]);
  const spec = {
    request: anything,
    reply: anything,
    deadlineMs: 60_000,
    chart,
    data: (request: unknown) => request as object,
    signals: Object.fromEntries(signals.map((name) => [name, anything])),
    cancel: "Removed",
  };
  return {
    ...defineHub("schedule", spec as unknown as ErasedSpec, chart, logics).definition,
    name: scheduleHubName,
  };
}
