import { setField } from "./plain.ts";

// Many hubs collect: each outcome adds a row to a list, or an entry to a map, in the run's data. If each event held the whole
// list, a run with n rows would write n * n / 2 of them. So an event holds what is new. Handlers know nothing of this: they
// return the whole list, and what is the very same value at the same place is not new.

/** Items and fields that a value of the data must have, so that its growth is written instead of the value. */
const minSize = 16;

type Fields = Readonly<Record<string, unknown>>;

/**
 * What a plain value adds to an earlier one: the further items of an array, or the fields of an object that are new or have
 * another value. undefined: it is something else, or too small to matter.
 */
export function growth(before: unknown, after: unknown): object | undefined {
  if (Array.isArray(before)) {
    if (!Array.isArray(after) || before.length < minSize || after.length <= before.length) return undefined;
    for (let index = 0; index < before.length; index++) if (before[index] !== after[index]) return undefined;
    return Object.freeze(after.slice(before.length));
  }
  if (!isFields(before) || !isFields(after)) return undefined;
  const keys = Object.keys(before);
  if (keys.length < minSize) return undefined;
  const added: Record<string, unknown> = {};
  let [index, count] = [0, 0];
  for (const key of Object.keys(after)) {
    const isOld = index < keys.length;
    // The order of the fields is a part of what code sees.
    if (isOld && keys[index] !== key) return undefined;
    if (!isOld || before[key] !== after[key]) {
      setField(added, key, after[key]);
      count++;
    }
    index++;
  }
  return index < keys.length || count === 0 || count > keys.length / 2 ? undefined : Object.freeze(added);
}

/** An earlier value with its growth. */
export function grown(before: unknown, added: object): object {
  if (Array.isArray(before)) return Object.freeze([...(before as unknown[]), ...(added as unknown[])]);
  const whole: Record<string, unknown> = {};
  for (const fields of [before as Fields, added as Fields])
    for (const key of Object.keys(fields)) setField(whole, key, fields[key]);
  return Object.freeze(whole);
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Gives an event a change of the data. `recorded`: the data after the events before it. JSON has no undefined, so `unset` names the
 * fields to remove. Of a list or a map that has grown, `grown` holds what is new.
 */
export function withChange<Event extends object>(
  event: Event,
  patch: Fields,
  recorded: Fields | undefined,
): Event {
  let unset: string[] | undefined;
  let added: Record<string, object> | undefined;
  for (const key in patch) {
    const value = patch[key];
    if (value === undefined) (unset ??= []).push(key);
    else if (typeof value === "object") {
      const more = growth(recorded?.[key], value);
      if (more !== undefined) setField((added ??= {}), key, more);
    }
  }
  if (added === undefined) {
    const changed: Event & { patch?: object; unset?: readonly string[] } = event;
    changed.patch = patch;
    if (unset !== undefined) changed.unset = unset;
    return changed;
  }
  const rest: Record<string, unknown> = {};
  for (const key in patch) if (!Object.hasOwn(added, key)) setField(rest, key, patch[key]);
  return Object.assign(event, unset === undefined ? { patch: rest } : { patch: rest, unset }, {
    grown: added,
  });
}
