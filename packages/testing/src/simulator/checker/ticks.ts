/** When a schedule ticks, as it is stored. */
export type Ticks =
  | { readonly everyMs: number }
  /** A pattern whose days are `*`. */
  | { readonly cron: string; readonly timeZone: string };

const secondMs = 1000;
const minuteMs = 60_000;
const hourMs = 3_600_000;
/** Clocks change at whole quarters of an hour, and by as much. */
const quarterMs = 900_000;
/** No clock is set back by more. */
const maxBackMs = 3 * hourMs;

/** The first tick after a time, made without the engine's help: it asks the time zone what its clocks show, and nothing else. */
export function tickAfter(ticks: Ticks, since: number, after: number): number {
  if ("everyMs" in ticks) {
    const { everyMs } = ticks;
    return since + Math.max(1, Math.floor((after - since) / everyMs) + 1) * everyMs;
  }
  const pattern = patternOf(ticks.cron);
  return pattern.followsClock
    ? whenShown(pattern, ticks.timeZone, after)
    : whenReached(pattern, ticks.timeZone, after);
}

interface Pattern {
  readonly seconds: ReadonlySet<number>;
  readonly minutes: ReadonlySet<number>;
  readonly hours: ReadonlySet<number>;
  readonly followsClock: boolean;
}

const patterns = new Map<string, Pattern>();

function patternOf(cron: string): Pattern {
  let found = patterns.get(cron);
  if (found === undefined) patterns.set(cron, (found = parsed(cron)));
  return found;
}

function parsed(cron: string): Pattern {
  const fields = cron.split(" ");
  const [second = "", minute = "", hour = "", ...days] = fields.length === 5 ? ["0", ...fields] : fields;
  if (days.some((day) => day !== "*")) throw new TypeError(`the checker knows no days: ${cron}`);
  return {
    seconds: numbersOf(second, 60),
    minutes: numbersOf(minute, 60),
    hours: numbersOf(hour, 24),
    followsClock: hour.startsWith("*"),
  };
}

/** The numbers that a field means, of those below another. */
function numbersOf(field: string, below: number): Set<number> {
  const found = new Set<number>();
  for (const part of field.split(",")) {
    const [range = "", step = "1"] = part.split("/");
    const [first, last = first] = range === "*" ? [0, below - 1] : range.split("-").map(Number);
    for (let one = first as number; one <= (last as number); one += Number(step)) found.add(one);
  }
  return found;
}

/** How far a local time is from one that the pattern has, at least; 0: the pattern has it. */
function missingMs({ seconds, minutes, hours }: Pattern, local: number): number {
  if (!hours.has(Math.floor(local / hourMs) % 24)) return quarterMs - (local % quarterMs);
  if (!minutes.has(Math.floor(local / minuteMs) % 60)) return minuteMs - (local % minuteMs);
  return seconds.has(Math.floor(local / secondMs) % 60) ? 0 : secondMs - (local % secondMs);
}

const secondAfter = (time: number): number => (Math.floor(time / secondMs) + 1) * secondMs;

/** The first time after another at which clocks show what the pattern has. */
function whenShown(pattern: Pattern, zone: string, after: number): number {
  let at = secondAfter(after);
  for (let ms = missingMs(pattern, localAt(zone, at)); ms > 0; ms = missingMs(pattern, localAt(zone, at)))
    at += ms;
  return at;
}

/** The first time after another at which clocks reach a local time that the pattern has, for the first time. */
function whenReached(pattern: Pattern, zone: string, after: number): number {
  let reached = localAt(zone, after);
  for (let quarter = quarterOf(after); quarter > after - maxBackMs; quarter -= quarterMs)
    reached = Math.max(reached, localAt(zone, quarter - 1));
  let local = secondAfter(reached);
  for (let ms = missingMs(pattern, local); ms > 0; ms = missingMs(pattern, local)) local += ms;
  let quarter = quarterOf(after);
  while (localAt(zone, quarter + quarterMs - 1) < local) quarter += quarterMs;
  return Math.max(quarter, quarter + local - localAt(zone, quarter));
}

const quarterOf = (time: number): number => Math.floor(time / quarterMs) * quarterMs;

const offsets = new Map<string, number>();

/** What clocks of a zone show then, as if it were UTC. */
function localAt(zone: string, time: number): number {
  const quarter = quarterOf(time);
  const name = `${zone} ${quarter}`;
  let offset = offsets.get(name);
  if (offset === undefined) {
    const shown = new Date(quarter).toLocaleString("sv-SE", { timeZone: zone });
    offsets.set(name, (offset = Date.parse(`${shown.replace(" ", "T")}Z`) - quarter));
  }
  return time + offset;
}
