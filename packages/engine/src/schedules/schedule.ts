import { WheelworkError, type AnyHub, type Hub } from "@wheelwork/core";
import {
  hubKind,
  isDuration,
  kind,
  kinds,
  nameText,
  required,
  soundOptions,
  type OptionKinds,
} from "@wheelwork/core/kernel";
import { cronProblems, type TickSpec } from "./ticks.ts";

/** One tick of a schedule, as its `request` gets it. */
export interface Tick {
  /** The name of the schedule. */
  readonly schedule: string;
  /** The instant that it stands for, in milliseconds since 1970. It may begin later: `jitterMs`, or nobody worked then. */
  readonly at: number;
  /** `trigger`: somebody has asked for it. `backfill`: somebody has asked for ticks of the past. */
  readonly kind: "schedule" | "trigger" | "backfill";
}

/**
 * What becomes of ticks that were missed, since nobody worked when they were due. A tick is missed if it is more than a minute late.
 * - `none`: they are left out.
 * - `last`: the last one of them is made up for.
 * - `all`: each of them is.
 */
export type CatchUp = "none" | "last" | "all";

/** The declaration of a schedule. */
export interface ScheduleSpec<I> {
  /** When it ticks: a pattern of cron with five fields, or six with the seconds first. Or give `everyMs`. */
  readonly cron?: string;
  /** The time between two ticks, in milliseconds, from 1000. It counts from the first deploy. Or give `cron`. */
  readonly everyMs?: number;
  /**
   * Where the pattern is local time: the name of a time zone, such as `Europe/Berlin`. Default: UTC. A pattern that names its hours ticks
   * once at each of its local times, also when clocks change. One whose hours begin with `*` follows the clock.
   */
  readonly timeZone?: string;
  /** The hub that gets a request with each tick. What one does that comes while another works, its lane says (`exclusive`). */
  readonly hub: Hub<I>;
  /** The request of a tick. It must be a pure function. */
  readonly request: (tick: Tick) => I;
  /** Default: `last`. */
  readonly catchUp?: CatchUp;
  /** Spreads the ticks of many schedules: each begins up to so many milliseconds later, always as much for the same tick. Default: 0. */
  readonly jitterMs?: number;
  /**
   * Raise it when you change when the schedule ticks, and several nodes work: while they are replaced one after the other, those with a
   * lower version change nothing. Default: 1.
   */
  readonly version?: number;
}

/** What is stored of a schedule. */
export interface StoredSchedule {
  readonly ticks: TickSpec;
  readonly catchUp: CatchUp;
  readonly jitterMs: number;
}

/** A schedule. `schedule` makes it. */
export interface Schedule {
  readonly name: string;
  readonly hub: AnyHub;
  /** For engines. */
  readonly stored: StoredSchedule;
  readonly version: number;
  readonly request: (tick: Tick) => unknown;
}

const namePattern = /^[A-Za-z][\w.-]{0,99}$/;
const minEveryMs = 1000;

const { oneOf, pause, text, whole } = kinds;

const scheduleOptions: OptionKinds<ScheduleSpec<unknown>> = {
  cron: text(),
  everyMs: kind(
    (value) => isDuration(value as number) && (value as number) >= minEveryMs,
    `must be ${minEveryMs} milliseconds at least`,
  ),
  timeZone: text(100),
  hub: required(hubKind),
  request: required(
    kind((value) => typeof value === "function", "must be a function that makes the request of a tick"),
  ),
  catchUp: oneOf("none", "last", "all"),
  jitterMs: pause,
  version: whole(1),
};

/**
 * Declares a schedule: requests of a hub at certain times. Give it to the engine (`schedules`). Exactly one request is made for each
 * tick, with the schedule's name and the instant as its key.
 * @param name A letter, then letters, digits, `_`, `.` or `-`; 100 characters at most.
 * @throws WheelworkError WW_CONFIG with every problem.
 */
export function schedule<I>(name: string, spec: ScheduleSpec<I>): Schedule {
  const { sound, problems } = soundOptions<ScheduleSpec<I>>(spec, scheduleOptions, "a schedule");
  const { cron, everyMs, timeZone, hub, request, catchUp = "last", jitterMs = 0, version = 1 } = sound;
  const demand = (holds: boolean, path: string, message: string): void => {
    if (!holds) problems.push({ path, message });
  };
  demand(
    typeof name === "string" && namePattern.test(name),
    "name",
    "must be a letter, then letters, digits, '_', '.' or '-': 100 characters at most",
  );
  const isGiven = (option: "cron" | "everyMs"): boolean =>
    sound[option] !== undefined || problems.some(({ path }) => path === option);
  demand(isGiven("cron") !== isGiven("everyMs"), "cron", "give either this or everyMs");
  if (cron !== undefined) problems.push(...cronProblems(cron, timeZone ?? "UTC"));
  if (everyMs !== undefined) demand(timeZone === undefined, "timeZone", "is only for a pattern of cron");
  if (problems.length > 0)
    throw new WheelworkError("WW_CONFIG", `the schedule ${nameText(name)} cannot be used`, {
      problems,
    });
  const ticks: TickSpec =
    cron === undefined ? { everyMs: Math.ceil(everyMs as number) } : { cron, timeZone: timeZone ?? "UTC" };
  const stored = { ticks, catchUp, jitterMs: Math.ceil(jitterMs) };
  return Object.freeze({
    name,
    hub: hub as AnyHub,
    stored,
    version,
    request: request as Schedule["request"],
  });
}

/** The schedules of an engine, by name. @throws WheelworkError WW_CONFIG when two have one name. */
export function collectSchedules(schedules: readonly Schedule[] = []): ReadonlyMap<string, Schedule> {
  const collected = new Map<string, Schedule>();
  for (const one of schedules) {
    if (collected.has(one.name))
      throw new WheelworkError("WW_CONFIG", `two schedules are named ${one.name}`, {
        next: "Give each schedule a name of its own.",
      });
    collected.set(one.name, one);
  }
  return collected;
}
