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
  if (found === undefined) parsed.set(name, (found = new Cron(cron, { timezone: timeZone, paused: true })));
  return found;
}

/**
 * The first tick after a time, in milliseconds since 1970; undefined: there is none. `since`: what `everyMs` counts from.
 *
 * A local time that a change of the clocks leaves out ticks when the clocks have changed. One that comes twice ticks at its first time.
 */
export function nextTick(spec: TickSpec, since: number, after: number): number | undefined {
  if ("cron" in spec) return cronOf(spec).nextRun(new Date(after))?.getTime();
  const { everyMs } = spec;
  return since + Math.max(1, Math.floor((after - since) / everyMs) + 1) * everyMs;
}

/** The last tick up to a time, that time included; undefined: there is none. */
export function lastTick(spec: TickSpec, since: number, upTo: number): number | undefined {
  // The library looks for what is before a time.
  if ("cron" in spec)
    return cronOf(spec)
      .previousRuns(1, new Date(upTo + 1))[0]
      ?.getTime();
  const count = Math.floor((upTo - since) / spec.everyMs);
  return count < 1 ? undefined : since + count * spec.everyMs;
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
