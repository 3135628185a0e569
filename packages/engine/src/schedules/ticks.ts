import { Cron } from "croner";

/** When a schedule ticks, as it is stored: plain data. */
export type TickSpec =
  | CronSpec
  /** Counted from when the schedule was first deployed, or was changed. */
  | { readonly everyMs: number };

interface CronSpec {
  readonly cron: string;
  readonly timeZone: string;
}

/** Patterns are parsed once. A process has few. */
const parsed = new Map<string, Cron>();

function cronOf({ cron, timeZone }: CronSpec): Cron {
  const name = `${timeZone} ${cron}`;
  let found = parsed.get(name);
  if (found === undefined) {
    // The library asks Intl for the local time at each step, for UTC as well. Of an offset it does not.
    const zone = timeZone === "UTC" ? { utcOffset: 0 } : { timezone: timeZone };
    parsed.set(name, (found = new Cron(cron, { ...zone, paused: true })));
  }
  return found;
}

const dayMs = 86_400_000;

/** Whether a pattern names its hours. One whose hours begin with `*` follows the clock: it ticks evenly. */
function namesHours(cron: string): boolean {
  const fields = cron.trim().split(/\s+/);
  const hours = fields.length < 5 ? "*" : (fields.at(fields.length === 5 ? 1 : 2) as string);
  return !/^[*?]/.test(hours);
}

/** Formats are made once. A process has few time zones. */
const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(timeZone: string): Intl.DateTimeFormat {
  let found = formats.get(timeZone);
  if (found === undefined) {
    const date = { year: "numeric", month: "numeric", day: "numeric" } as const;
    const time = { hour: "numeric", minute: "numeric", second: "numeric", hourCycle: "h23" } as const;
    formats.set(timeZone, (found = new Intl.DateTimeFormat("en-US", { ...date, ...time, timeZone })));
  }
  return found;
}

/** So many days are known of each zone at most. */
const maxDays = 4096;
/** The offsets of whole days of UTC, by zone and day. A day in which the clocks change is `null`. */
const offsets = new Map<string, Map<number, number | null>>();

/**
 * How far the local time of a zone is ahead of UTC then, in milliseconds. Many schedules ask for the same days, and Intl takes its time.
 * No zone has changed its clocks there and back within a day.
 */
function offsetAt(timeZone: string, at: number): number {
  let days = offsets.get(timeZone);
  if (days === undefined) offsets.set(timeZone, (days = new Map()));
  const day = Math.floor(at / dayMs);
  let found = days.get(day);
  if (found === undefined) {
    const [first, last] = [readOffset(timeZone, day * dayMs), readOffset(timeZone, (day + 1) * dayMs - 1000)];
    if (days.size >= maxDays) days.clear();
    days.set(day, (found = first === last ? first : null));
  }
  return found ?? readOffset(timeZone, at);
}

function readOffset(timeZone: string, at: number): number {
  const second = Math.floor(at / 1000) * 1000;
  const parts = formatOf(timeZone).formatToParts(second);
  const part = (name: string): number => Number(parts.find(({ type }) => type === name)?.value);
  const local = Date.UTC(
    part("year"),
    part("month") - 1,
    part("day"),
    part("hour"),
    part("minute"),
    part("second"),
  );
  return local - second;
}

/**
 * The instant of a local time, which is given as if it were UTC. Of one that comes twice, the first; of one that a change of the clocks
 * leaves out, when they have changed.
 */
function instantOf(timeZone: string, local: number): number {
  const [before, after] = [offsetAt(timeZone, local - dayMs), offsetAt(timeZone, local + dayMs)];
  const found = [before, after].filter((offset) => offsetAt(timeZone, local - offset) === offset);
  if (found.length > 0) return local - Math.max(...found);
  // The change lies between what the local time would be by either offset.
  let [from, to] = [local - Math.max(before, after), local - Math.min(before, after)];
  while (to - from > 1) {
    const middle = Math.floor((from + to) / 2);
    if (offsetAt(timeZone, middle) === before) from = middle;
    else to = middle;
  }
  return to;
}

/** So many are known of each pattern at most. */
const maxNextTicks = 64;
/**
 * The next ticks after certain times, by time zone and pattern. A schedule asks for each of its ticks several times, and all schedules
 * with the same pattern ask for the same ones.
 */
const nextTicks = new Map<string, Map<number, number | undefined>>();

/**
 * The first tick after a time, in milliseconds since 1970; undefined: there is none. `since`: what `everyMs` counts from.
 *
 * A pattern that names its hours ticks once at each of its local times: when the clocks have changed, if the change leaves it out, and the
 * first time, if it comes twice. Any other pattern follows the clock.
 */
export function nextTick(spec: TickSpec, since: number, after: number): number | undefined {
  if ("everyMs" in spec)
    return since + Math.max(1, Math.floor((after - since) / spec.everyMs) + 1) * spec.everyMs;
  const { cron, timeZone } = spec;
  const name = `${timeZone} ${cron}`;
  let known = nextTicks.get(name);
  if (known === undefined) nextTicks.set(name, (known = new Map()));
  if (known.has(after)) return known.get(after);
  if (known.size >= maxNextTicks) known.clear();
  const at = nextOfCron(spec, after);
  known.set(after, at);
  return at;
}

function nextOfCron(spec: CronSpec, after: number): number | undefined {
  const { cron, timeZone } = spec;
  if (timeZone === "UTC" || !namesHours(cron)) return cronOf(spec).nextRun(new Date(after))?.getTime();
  // Later local times have no earlier instants. So those up to the local time of `after` are done.
  const locals = cronOf({ cron, timeZone: "UTC" });
  let local = locals.nextRun(new Date(after + offsetAt(timeZone, after)));
  while (local !== null) {
    const at = instantOf(timeZone, local.getTime());
    if (at > after) return at;
    local = locals.nextRun(local);
  }
  return undefined;
}

/** The last tick up to a time, that time included; undefined: there is none. */
export function lastTick(spec: TickSpec, since: number, upTo: number): number | undefined {
  if ("everyMs" in spec) {
    const count = Math.floor((upTo - since) / spec.everyMs);
    return count < 1 ? undefined : since + count * spec.everyMs;
  }
  // The library looks for what is before a time.
  const before = (cron: CronSpec, time: number): number | undefined =>
    cronOf(cron).previousRuns(1, new Date(time))[0]?.getTime();
  const { cron, timeZone } = spec;
  if (timeZone === "UTC" || !namesHours(cron)) return before(spec, upTo + 1);
  // If the clocks have gone back since, later local times have been.
  const ahead = Math.max(offsetAt(timeZone, upTo), offsetAt(timeZone, upTo - dayMs));
  let local: number | undefined = upTo + ahead + 1;
  while ((local = before({ cron, timeZone: "UTC" }, local)) !== undefined) {
    const at = instantOf(timeZone, local);
    if (at <= upTo) return at;
  }
  return undefined;
}

function isTimeZone(timeZone: string): boolean {
  try {
    return Intl.DateTimeFormat("en", { timeZone }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

/** What is wrong with a pattern and a time zone, by their names. */
export function cronProblems(
  cron: string,
  timeZone: string,
): { readonly path: string; readonly message: string }[] {
  const problems = [];
  if (!isTimeZone(timeZone))
    problems.push({ path: "timeZone", message: "must be the name of a time zone, such as Europe/Berlin" });
  try {
    if (new Cron(cron, { paused: true }).nextRun() === null)
      problems.push({ path: "cron", message: "never ticks" });
  } catch (error) {
    const why = (error as Error).message.replace(/^CronPattern: /, "");
    problems.push({ path: "cron", message: `is no pattern of cron: ${why}` });
  }
  return problems;
}
