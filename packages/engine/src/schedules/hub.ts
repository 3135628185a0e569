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
 *   Removed    the engine no longer has the schedule, or somebody has cancelled it. A deploy that has it again brings it back
 *
 * When it ticks is stored, and not only declared: so a deploy that changes it knows which ticks of the former times are owed.
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
  /** The tick that begins now. */
  readonly tick?: Pick<Tick, "at" | "kind">;
  /** Ticks of the past that somebody has asked for: those after one time, up to another. */
  readonly fill?: { readonly after: number; readonly to: number };
  /** From a time on it ticks otherwise: it was deployed then. */
  readonly change?: { readonly stored: StoredSchedule; readonly at: number };
}

/** The commands of a schedule, with what they bring. `at`: engine time when it was sent. */
export type ScheduleCommand =
  | { readonly name: "deploy"; readonly payload: { readonly stored: StoredSchedule; readonly at: number } }
  | { readonly name: "pause"; readonly payload: Record<string, never> }
  | { readonly name: "resume" | "trigger"; readonly payload: { readonly at: number } }
  | { readonly name: "backfill"; readonly payload: { readonly from: number; readonly to: number } };

/** A tick that is so late was missed, in milliseconds. */
const missedMs = 60_000;

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

/** The key of the request of a tick. */
export const tickKey = (name: string, at: number): string => `${name}@${new Date(at).toISOString()}`;

/** How much later than its instant a tick begins, in milliseconds: always as much for the same tick. */
function jitterOf(name: string, at: number, { jitterMs }: StoredSchedule): number {
  if (jitterMs === 0) return 0;
  const share = Number.parseInt(digest("sha256", `${name} ${at}`, "hex").slice(0, 8), 16) / 2 ** 32;
  return Math.floor(share * jitterMs);
}

/** The next tick, and how the schedule ticks then. */
interface Upcoming {
  readonly at: number;
  readonly stored: StoredSchedule;
  readonly since: number;
}

/** A change of the times counts once all ticks before it are done. */
export function upcoming({ stored, since, last, change }: ScheduleData): Upcoming | undefined {
  const at = nextTick(stored.ticks, since, last);
  if (change === undefined || (at !== undefined && at <= change.at))
    return at === undefined ? undefined : { at, stored, since };
  const changed = nextTick(change.stored.ticks, change.at, change.at);
  return changed === undefined ? undefined : { at: changed, stored: change.stored, since: change.at };
}

/** When the run acts next, in milliseconds of engine time. */
export function dueOf(data: ScheduleData): number | undefined {
  if (data.paused === true) return undefined;
  const next = upcoming(data);
  return next === undefined ? undefined : next.at + jitterOf(data.name, next.at, next.stored);
}

function sleepMs(data: ScheduleData, { enteredAt }: TimerClock): number | null {
  if (data.fill !== undefined) return 0;
  const due = dueOf(data);
  return due === undefined ? null : Math.max(0, due - enteredAt);
}

function filled(data: ScheduleData, { after, to }: NonNullable<ScheduleData["fill"]>): Turn {
  const at = nextTick(data.stored.ticks, data.since, after);
  if (at === undefined || at > to) return { raise: "Stay", patch: { fill: undefined } };
  return { raise: "Tick", patch: { tick: { at, kind: "backfill" }, fill: { after: at, to } } };
}

function ticked(data: ScheduleData, now: number): Turn {
  if (data.fill !== undefined) return filled(data, data.fill);
  const next = data.paused === true ? undefined : upcoming(data);
  if (next === undefined) return { raise: "Stay" };
  const { at, stored, since } = next;
  const lateMs = now - at - jitterOf(data.name, at, stored);
  if (lateMs < 0) return { raise: "Stay" };
  const changes = stored === data.stored ? {} : { stored, since, change: undefined };
  // Ticks of the former times end with the change.
  const bound = stored === data.stored && data.change !== undefined ? Math.min(now, data.change.at) : now;
  const isMissed = lateMs > missedMs;
  const lastUpTo = (time: number): number => lastTick(stored.ticks, since, time) ?? at;
  if (isMissed && stored.catchUp === "none") {
    const last = Math.max(at, lastUpTo(Math.min(bound, now - missedMs - stored.jitterMs)));
    return { raise: "Stay", patch: { ...changes, last } };
  }
  const due = isMissed && stored.catchUp === "last" ? Math.max(at, lastUpTo(bound)) : at;
  return { raise: "Tick", patch: { ...changes, last: due, tick: { at: due, kind: "schedule" } } };
}

function commanded(data: ScheduleData, { name, payload }: ScheduleCommand): Turn {
  switch (name) {
    case "deploy": {
      const present = data.change?.stored ?? data.stored;
      const isSame = canonicalJson(present) === canonicalJson(payload.stored);
      return isSame ? { raise: "Stay" } : { raise: "Stay", patch: { change: payload } };
    }
    case "pause":
      return { raise: "Stay", patch: { paused: true } };
    case "resume":
      // What was due meanwhile is left out.
      return data.paused === true
        ? { raise: "Stay", patch: { paused: undefined, last: Math.max(data.last, payload.at) } }
        : { raise: "Stay" };
    case "trigger":
      return { raise: "Tick", patch: { tick: { at: payload.at, kind: "trigger" } } };
    case "backfill":
      return { raise: "Stay", patch: { fill: { after: payload.from - 1, to: payload.to } } };
  }
}

const signals = ["deploy", "pause", "resume", "trigger", "backfill"] as const;

const waiting: StateLogic = {
  kind: "wait",
  idle: true,
  callees: [],
  signals,
  timers: [{ event: "Tick", ms: (data, clock) => sleepMs(data as ScheduleData, clock) }],
  enter: () => ({}),
  fired: (data, _timer, _open, { now }) => ticked(data as ScheduleData, now),
  signal: (data, name, payload) => commanded(data as ScheduleData, { name, payload } as ScheduleCommand),
};

const removed: StateLogic = {
  kind: "wait",
  idle: true,
  callees: [],
  signals,
  enter: () => ({}),
  signal: (_data, name, payload) => {
    if (name !== "deploy") return { raise: "Stay" };
    const { stored, at } = payload as (ScheduleCommand & { name: "deploy" })["payload"];
    const patch = { stored, since: at, last: at, paused: undefined, change: undefined, fill: undefined };
    return { raise: "Restored", patch };
  },
};

/** Starts the request of a tick. */
const starting = (schedules: ReadonlyMap<string, Schedule>): StateLogic => ({
  kind: "pick",
  callees: [],
  enter: (given) => {
    const { name, tick } = given as ScheduleData;
    const declared = schedules.get(name);
    if (declared === undefined || tick === undefined) return { raise: "Removed", patch: { tick: undefined } };
    const request = declared.request({ schedule: name, ...tick });
    const post = startOf(declared.hub as Hub, request, tickKey(name, tick.at));
    return { raise: "Next", posts: [post], patch: { tick: undefined } };
  },
});

const chart = {
  Answering: { Next: "Waiting" },
  Waiting: { Tick: "Starting", Stay: stay, Removed: "Removed" },
  Starting: { Next: "Waiting", Removed: "Removed" },
  Removed: { Stay: stay, Restored: "Waiting", Removed: "Gone" },
  Gone: end,
} as const;

/** The hub whose runs are the schedules. */
export function scheduleHub(schedules: ReadonlyMap<string, Schedule>): HubDefinition {
  const logics = new Map<string, StateLogic>([
    ["Answering", answerLogic(() => ({}), { next: "Next" })],
    ["Waiting", waiting],
    ["Starting", starting(schedules)],
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
