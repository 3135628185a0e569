import { WheelworkError } from "./errors.ts";
import type { HubDefinition } from "./hub.ts";
import { thawed } from "./json.ts";
import { plain, tryPlain } from "./plain.ts";
import type { ParkedInput } from "./events.ts";
import type { Run } from "./run.ts";
import { accepts, check, type Schema } from "./schema.ts";

/*
 * What a run has stored may be older than the schema that it belongs to: the input of an open call, a signal that no
 * state has taken, the request of a run that could not begin. The schema may have changed since, in an upgrade. So such
 * a value is held against the schema of today before anybody gets it.
 *
 * A stored value is what a schema has made, and not what it was given. Most schemas accept what they make. One that
 * makes another type of it (a number of a text) does not, and a second check of its values would say nothing. Whether a
 * schema accepts what it makes is known only where it makes it, so it is noted there (`transformed`), and such values
 * are not checked again.
 */

const ofNothing = new WeakMap<Schema, boolean>();

/** Whether a schema takes undefined, and not null. */
function isOfNothing(schema: Schema): boolean {
  let is = ofNothing.get(schema);
  if (is === undefined) {
    is = accepts(schema, undefined) && !accepts(schema, null);
    ofNothing.set(schema, is);
  }
  return is;
}

/** What an input counts as. JSON has no undefined, and null is what is stored of it: so it is null at once where the schema takes that. */
export const countsAs = (schema: Schema, input: unknown): unknown =>
  input === undefined && !isOfNothing(schema) ? null : input;

/** An input as it was before it was stored: see `countsAs`. */
export const beforeStored = (schema: Schema, input: unknown): unknown =>
  input === null && isOfNothing(schema) ? undefined : input;

/**
 * A stored value, held against the schema of today. Fields that it lacks and that the schema fills in (a new default)
 * are added. Nothing that is stored changes.
 * @param what Names the value in the error.
 * @throws WheelworkError WW_INVALID_INPUT with every problem when the schema does not accept it.
 */
export function checkStored(schema: Schema, stored: unknown, what: string): unknown {
  // It is frozen, and a schema that changes what it is given has made it all the same.
  const checked = check(schema, beforeStored(schema, thawed(stored)));
  if (checked.problems === undefined) {
    const made = tryPlain(checked.value);
    return made.problem === undefined ? completed(stored, made.value) : stored;
  }
  throw new WheelworkError(
    "WW_INVALID_INPUT",
    `${what} was stored before the present schema, which refuses it`,
    {
      problems: checked.problems,
      next: "Let the schema accept it, such as by a default for a new field. Or resolve the incident. Then retry.",
    },
  );
}

/**
 * A request that was stored before the present schema of its hub, as its run gets it.
 * @throws WheelworkError WW_INVALID_INPUT when the schema refuses it.
 */
export function storedRequest(definition: HubDefinition, request: unknown): unknown {
  const what = `the request to ${definition.name}`;
  return plain(checkStored(definition.request, request, what), "WW_DEFECT", what);
}

/**
 * The request of a run that has been pending, as the run gets it when it begins.
 * @throws WheelworkError WW_INVALID_INPUT when its hub has another version by now, whose schema refuses it.
 */
export function waitedRequest(
  definition: HubDefinition,
  { origin: { request }, version, start }: Run,
): unknown {
  const recheck = start?.recheck;
  if (recheck === "never" || (version === definition.version && recheck !== "always")) return request;
  return storedRequest(definition, request);
}

/** How the first turn of a run that has been pending is kept while the run is parked. */
export const unbegunAfterWait = ({ start }: Pick<Run, "start">): ParkedInput =>
  start?.recheck === "never" ? { kind: "start", transformed: true } : { kind: "start" };

/** Whether a value has all that another one has, and at most fields besides. */
export function extendsStored(made: unknown, stored: unknown): boolean {
  return isEqual(completed(stored, made), made);
}

/** A stored value with the fields that it lacks and another one has, at every depth. */
function completed(stored: unknown, made: unknown): unknown {
  if (!isObject(stored) || !isObject(made) || Array.isArray(stored) !== Array.isArray(made)) return stored;
  if (Array.isArray(stored)) {
    if (stored.length !== (made as unknown as readonly unknown[]).length) return stored;
    const filled = stored.map((value, index) => completed(value, made[index]));
    return filled.every((value, index) => value === stored[index]) ? stored : filled;
  }
  let isSame = true;
  const fields = Object.entries(stored).map(([key, value]) => {
    const filled = Object.hasOwn(made, key) ? completed(value, made[key]) : value;
    isSame &&= filled === value;
    return [key, filled] as const;
  });
  const missing = Object.entries(made).filter(([key]) => !Object.hasOwn(stored, key));
  // fromEntries also sets a field with the name `__proto__`.
  return isSame && missing.length === 0 ? stored : Object.fromEntries([...fields, ...missing]);
}

function isEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (!isObject(a) || !isObject(b) || Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => isEqual(a[key], b[key]));
}

const isObject = (value: unknown): value is Readonly<Record<string | number, unknown>> =>
  typeof value === "object" && value !== null;
