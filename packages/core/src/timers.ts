import { WheelworkError } from "./errors.ts";
import type { OpenCall, StateLogic, Turn } from "./logic.ts";
import { scalar, textOf } from "./plain.ts";
import type { Timer } from "./events.ts";
import type { Run } from "./run.ts";
import { isDuration, maxMs } from "./duration.ts";

/*
 * A state that waits may have timers, each with an event of its row. `after` says when: so many milliseconds after the
 * run has entered the state. It may be a function of the data, which is evaluated on entry, after each turn that stays,
 * and after a migration:
 *
 *   another value than before     the timer is armed for the new instant, also if it has fired
 *   the same value                nothing changes: a timer that has fired stays fired
 *   null                          the timer is disarmed
 *
 * What is committed is the instant, so that a replay needs no code of the hub. A timer never fires in the millisecond in
 * which it is armed. So each turn of a timer takes time, however the functions are written, and no run spins (I25).
 */

/** What `after` says of one timer, in the form that the kernel knows. */
export interface TimerLogic {
  /** What it raises when it fires. */
  readonly event: string;
  /** Milliseconds since the run entered the state. */
  readonly ms: number | ((data: unknown, clock: TimerClock) => number | null);
  /** What changes in the run's data when it fires. */
  readonly patch?: (data: unknown, open: readonly OpenCall[], clock: TimerClock) => object;
}

/** What the functions of a timer may know besides the data. */
export interface TimerClock {
  /** When the run entered the state, in milliseconds of engine time. */
  readonly enteredAt: number;
  /** Engine time now, in milliseconds. */
  readonly now: number;
}

/**
 * The timers of a state that now apply, in the order in which they are written; after them those that a hub by handlers has
 * set. `before`: those that applied so far. `set`: what this turn sets or takes back.
 */
export function armedTimers(
  logics: readonly TimerLogic[] = [],
  before: readonly Timer[],
  data: unknown,
  clock: TimerClock,
  set: NonNullable<Turn["after"]> = {},
): readonly Timer[] {
  const armed: Timer[] = [];
  for (const { event, ms: given } of logics) {
    const ms = typeof given === "number" ? Math.ceil(given) : evaluated(event, given(data, clock));
    if (ms === null) continue;
    const known = before.find((timer) => timer.event === event && timer.set !== true);
    armed.push(known?.ms === ms ? known : { event, ms, due: Math.max(clock.enteredAt + ms, clock.now + 1) });
  }
  for (const timer of before) if (timer.set === true && !Object.hasOwn(set, timer.event)) armed.push(timer);
  for (const [event, given] of Object.entries(set)) {
    const ms = evaluated(event, given);
    if (ms !== null) armed.push({ event, ms, due: clock.now + Math.max(1, ms), set: true });
  }
  return armed;
}

function evaluated(event: string, given: number | null): number | null {
  const ms = scalar(given, `the time of the timer ${event}`);
  if (ms === null) return null;
  if (typeof ms === "number" && ms >= 0 && ms <= maxMs) return Math.ceil(ms);
  throw new WheelworkError("WW_DEFECT", `the time of the timer ${event} is ${textOf(ms)}`, {
    next: `Return a number of milliseconds from 0 to ${maxMs}, or null. Then retry the incident.`,
  });
}

/** Whether two lists of timers are the same. */
export function areSame(some: readonly Timer[], others: readonly Timer[]): boolean {
  return some.length === others.length && some.every((timer, place) => timer === others[place]);
}

/** The timers with one of them fired. */
export function withFired(timers: readonly Timer[], fired: Timer): readonly Timer[] {
  return timers.map((timer) => (isSame(timer, fired) ? { ...timer, fired: true as const } : timer));
}

/** The timers without one of them. */
export function without(timers: readonly Timer[], gone: Timer): readonly Timer[] {
  return timers.filter((timer) => !isSame(timer, gone));
}

const isSame = (one: Timer, other: Timer): boolean => one.event === other.event && one.set === other.set;

/** The timer that fires next: the earliest, and of those of one instant the one that is written first. */
export function nextTimer(timers: readonly Timer[]): Timer | undefined {
  let next: Timer | undefined;
  for (const timer of timers)
    if (timer.fired !== true && (next === undefined || timer.due < next.due)) next = timer;
  return next;
}

/**
 * The timers of a wait that began before hubs had timers: a bound of the wait was then the earlier of its own and the hub's
 * deadline. Its own bound stands for the first timer of the state.
 */
export function formerTimers(run: Run, { timers: [first] = [] }: StateLogic): readonly Timer[] {
  const { due, late, deadline, enteredAt, data, events } = run;
  if (first === undefined || due === undefined || (!late && due >= deadline)) return [];
  const given = typeof first.ms === "number" ? first.ms : first.ms(data, { enteredAt, now: events.lastAt });
  const ms = typeof given === "number" && isDuration(given) ? Math.ceil(given) : 0;
  return [{ event: first.event, ms, due }];
}
