import type { RunEvent } from "@wheelwork/core";

/*
 * The journal is the hottest text that the engine writes. The events that nearly every run has many of are written short: that makes
 * the journal of a flow half of its size, and saves the time to write it. What is short happened when its batch was decided.
 *
 *   [call, by, at?, patch?]           a call settled well, and its round goes on; `at`: if it happened earlier
 *   [by, call, call, …]               several such, one after the other, without a patch
 *   [by, state, due?, calls?]         the run entered a state; null for what there is not
 *   {"type": …}                       everything else, and what earlier versions have written
 */

type Settled = Extract<RunEvent, { type: "settled" }>;
type Entered = Extract<RunEvent, { type: "entered" }>;
type ShortSettled = readonly [call: number, by: string, ...rest: readonly (number | object)[]];
type ShortGroup = readonly [by: string, ...calls: number[]];
type ShortEntered = readonly [
  by: string | null,
  state: string,
  due?: number | null,
  calls?: Entered["calls"],
];
/** An event as the journal has it, or several. */
export type StoredEvent = RunEvent | ShortSettled | ShortGroup | ShortEntered;

const quotedNames = new Map<string, string>();

/** The JSON of a name of a chart. */
function quoted(name: string): string {
  let text = quotedNames.get(name);
  if (text === undefined) {
    text = JSON.stringify(name);
    // They are few; the bound is for hubs that make names up.
    if (quotedNames.size < 10_000) quotedNames.set(name, text);
  }
  return text;
}

/** The events of a run in a batch that was decided at `now`, each with a comma before it. */
export function eventTexts(events: readonly RunEvent[], now: number): string {
  let text = "";
  /** The event of the group that is open. */
  let group: string | undefined;
  for (const event of events) {
    const isPlain = event.type === "settled" && isShortSettled(event) && event.at === now;
    const by = isPlain && event.patch === undefined ? event.by : undefined;
    if (by !== undefined && by === group) {
      text += `,${(event as Settled).call}`;
      continue;
    }
    if (group !== undefined) text += "]";
    group = by;
    text += by === undefined ? `,${eventText(event, now)}` : `,[${quoted(by)},${(event as Settled).call}`;
  }
  return group === undefined ? text : `${text}]`;
}

function eventText(event: RunEvent, now: number): string {
  if (event.type === "settled" && event.by !== undefined && isShortSettled(event)) {
    const head = `[${event.call},${quoted(event.by)}${event.at === now ? "" : `,${event.at}`}`;
    return event.patch === undefined ? `${head}]` : `${head},${JSON.stringify(quickToWrite(event.patch))}]`;
  }
  if (event.type === "entered" && isShortEntered(event, now)) {
    const { by, state, due, calls } = event;
    const head = `[${by === undefined ? "null" : quoted(by)},${quoted(state)}`;
    if (calls !== undefined) return `${head},${due ?? null},${JSON.stringify(calls)}]`;
    return due === undefined ? `${head}]` : `${head},${due}]`;
  }
  if (event.type === "started") return JSON.stringify({ ...event, data: quickToWrite(event.data) });
  return JSON.stringify(event);
}

/**
 * Values of fields, with copies of the lists among them. They are frozen, and V8 takes three times as long to write a frozen list as one
 * that is not: it looks up each item by its name.
 */
function quickToWrite(fields: unknown): unknown {
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) return fields;
  let quick: Record<string, unknown> | undefined;
  for (const key in fields) {
    const value: unknown = (fields as Readonly<Record<string, unknown>>)[key];
    if (!Array.isArray(value)) continue;
    // It has all fields of its own, so that this assigns none but that, whatever its name.
    quick ??= { ...fields };
    quick[key] = [...(value as readonly unknown[])];
  }
  return quick ?? fields;
}

/** Whether the short form says all of it. */
function isShortSettled(event: Settled): boolean {
  const { outcome, calls, closes, held, timers, unset, grown, givenBy } = event;
  return (
    givenBy === undefined &&
    outcome === "ok" &&
    calls === undefined &&
    closes === undefined &&
    held === undefined &&
    timers === undefined &&
    unset === undefined &&
    grown === undefined
  );
}

/** Whether the short form says all of it. */
function isShortEntered(event: Entered, now: number): boolean {
  const { at, patch, unset, grown, timers, drops, answerBy, late, cancelled, kept, givenBy } = event;
  return (
    givenBy === undefined &&
    at === now &&
    patch === undefined &&
    unset === undefined &&
    grown === undefined &&
    timers === undefined &&
    drops === undefined &&
    answerBy === undefined &&
    late === undefined &&
    cancelled === undefined &&
    kept === undefined
  );
}

/** The events of a run that `eventTexts` wrote, from their JSON. */
export function* eventsOf(stored: readonly StoredEvent[], now: number): Generator<RunEvent> {
  for (const event of stored) {
    if (!isShort(event)) yield event;
    else if (typeof event[0] === "number") yield settledOf(event as ShortSettled, now);
    else if (typeof event[1] === "string") yield enteredOf(event as ShortEntered, now);
    else {
      const [by, ...calls] = event as ShortGroup;
      for (const call of calls) yield { type: "settled", at: now, call, outcome: "ok", by };
    }
  }
}

const isShort = (event: StoredEvent): event is ShortSettled | ShortGroup | ShortEntered =>
  Array.isArray(event);

function settledOf([call, by, ...rest]: ShortSettled, now: number): RunEvent {
  const [at, patch] = typeof rest[0] === "number" ? [rest[0], rest[1]] : [now, rest[0]];
  const event = { type: "settled", at, call, outcome: "ok", by } as const;
  return patch === undefined ? event : { ...event, patch: patch as object };
}

function enteredOf([by, state, due, calls]: ShortEntered, at: number): RunEvent {
  return {
    type: "entered",
    at,
    state,
    ...(by === null ? {} : { by }),
    ...(due === undefined || due === null ? {} : { due }),
    ...(calls === undefined ? {} : { calls }),
  };
}
