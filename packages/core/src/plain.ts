import { WheelworkError, type ErrorCode, type Problem } from "./errors.ts";

/** How deep a value may be nested. Writing and reading JSON is recursive, and so is user code that walks a value. */
export const maxDepth = 500;

/**
 * How many numbers, strings, arrays and objects one value may hold. It bounds values that contain the same parts often.
 */
const maxValues = 2_000_000;

/** A value as it is kept, or why it cannot be kept. */
export type Plain<T> = { readonly value: T; readonly problem?: never } | { readonly problem: Problem };

/** Counts the parts of a value. */
interface Seen {
  values: number;
}

/** What is known of values that are copied while each is compared with another one. */
export interface Compared {
  /** How many parts the value has that is being copied. */
  values: number;
  /** Whether each of the values that were copied is the same as what it was compared with. */
  isSame: boolean;
}

/**
 * Copies a value as plain JSON, so that memory and store hold the same.
 *
 * Everything that a run keeps is written as JSON, and may be read back at any moment: after a crash, or when the run
 * comes back into memory. A `Date` would come back as a string, and a `Map` as `{}`. An object that its maker changes
 * later would differ between memory and store. So each value that comes from outside (a request, an output, a payload,
 * the result of a handler) is copied where it enters. Code sees the copy, the store writes the copy, and nobody else
 * holds it.
 *
 * The copy is exactly what `JSON.parse(JSON.stringify(value))` gives, and it is frozen at every depth. Values that JSON
 * would change silently are refused, with their path: dates, maps, sets, instances of classes, functions, symbols,
 * bigints, NaN, Infinity, and `undefined` in arrays. A value whose getter throws is refused too. Three things are
 * dropped, as JSON does: properties that are undefined, the sign of -0, and properties that are symbols, not
 * enumerable, or inherited.
 */
export function tryPlain<T>(value: T): Plain<T> {
  // undefined stays undefined. JSON lacks it only inside a value.
  if (value === undefined) return { value };
  try {
    return { value: copy(value, 0, { values: 0 }) as T };
  } catch (error) {
    abandonWithin(value);
    return { problem: error === refused ? tell(value) : unreadable(error) };
  }
}

/**
 * Like `tryPlain`, but returns the copy.
 * @param what Names the value in the error.
 * @throws WheelworkError with the given code when the value is not plain JSON.
 */
export function plain<T>(value: T, code: ErrorCode, what: string): T {
  if (value === undefined) return value;
  try {
    return copy(value, 0, { values: 0 }) as T;
  } catch (error) {
    throw notPlain(value, error, code, what);
  }
}

/**
 * Like `plain`, but also says whether the value is the same as another one, as plain JSON. One walk copies and compares: what a schema
 * makes of an input of a call is the hottest value of the loop.
 * @param given What the value is compared with. `compared.isSame` becomes false if they differ.
 */
export function plainLike<T>(value: T, given: unknown, compared: Compared, code: ErrorCode, what: string): T {
  if (value === undefined) {
    if (given !== undefined) compared.isSame = false;
    return value;
  }
  try {
    compared.values = 0;
    return copyLike(value, given, 0, compared) as T;
  } catch (error) {
    throw notPlain(value, error, code, what);
  }
}

/** The error for a value that cannot be copied. Nobody waits for promises within it. */
function notPlain(value: unknown, error: unknown, code: ErrorCode, what: string): WheelworkError {
  abandonWithin(value);
  const problem = error === refused ? tell(value) : unreadable(error);
  return new WheelworkError(code, `${what} is not plain JSON`, {
    problems: [problem],
    next: "Store dates as numbers or strings, and maps and sets as arrays. Leave out everything that JSON does not have.",
  });
}

/**
 * Copies a change of a run's data. A field may be undefined: it is removed from the data. What is the very same value as in
 * `data`, at the same place of a list or a map, is plain already: to copy it again would take ever longer as the list grows.
 * @param what Names the patch in the error.
 * @throws WheelworkError WW_DEFECT when the patch is no plain object, or another field is not plain JSON.
 */
export function plainPatch(patch: object | undefined, data: unknown, what: string): object | undefined {
  if (patch === undefined) return undefined;
  demandNone(patch, wrongWithPatch(patch, data), what, "the fields that change");
  const kept: Record<string, unknown> = {};
  try {
    for (const key of Object.keys(patch)) {
      const value: unknown = (patch as Record<string, unknown>)[key];
      setField(kept, key, value === undefined ? undefined : plainField(value, key, data));
    }
  } catch (error) {
    abandonWithin(patch);
    throw error;
  }
  return kept;
}

/**
 * Demands that what a function gave is an object with fields. Others must not be spread: a text would become a field for each of its
 * characters, and a promise nothing.
 * @throws WheelworkError WW_DEFECT
 */
export function demandFields(given: unknown, what: string): void {
  demandNone(given, wrongWithPatch(given, given), what, "fields");
}

function demandNone(given: unknown, wrong: string | undefined, what: string, fields: string): void {
  if (wrong === undefined) return;
  abandonWithin(given);
  throw new WheelworkError("WW_DEFECT", `${what} ${wrong}, and no object with ${fields}`, {
    next: "Give an object such as { count: 1 }, or leave it out. Then retry the incident.",
  });
}

/** A map, a text or an event would change nothing, or fields that nobody has named. */
function wrongWithPatch(patch: unknown, data: unknown): string | undefined {
  if (patch === null) return "is null";
  if (Array.isArray(patch)) return "is an array";
  if (isRaised(patch, data)) return "is an event";
  return typeof patch === "object" ? wrongWith(patch, 0) : `is a ${typeof patch}`;
}

/** What `s.raise` has made, unless the data has such a field itself. */
function isRaised(patch: unknown, data: unknown): boolean {
  if (typeof patch !== "object" || patch === null || !Object.hasOwn(patch, "raise")) return false;
  const has = (of: unknown): boolean => typeof of === "object" && of !== null && Object.hasOwn(of, "raise");
  return !has(data) && Object.keys(patch).every((key) => raised.has(key));
}

/** The fields of what `s.raise` makes. */
const raised: ReadonlySet<string> = new Set(["raise", "patch", "close"]);

function plainField(value: unknown, key: string, data: unknown): unknown {
  try {
    if (typeof value !== "object" || value === null) return copy(value, 0, { values: 0 });
    const known: unknown = (data as Record<string, unknown> | undefined)?.[key];
    if (value === known) return known;
    const isKin =
      typeof known === "object" && known !== null && Array.isArray(value) === Array.isArray(known);
    return isKin ? copyOver(value, known) : copy(value, 0, { values: 0 });
  } catch {
    // It says what is wrong, and where.
    return plain(value, "WW_DEFECT", `the field ${key} of the data`);
  }
}

/** Copies a value over an earlier plain one of its kind, which lends the parts that are the same. */
function copyOver(value: object, known: object): object {
  const seen: Seen = { values: 0 };
  const lent = known as Record<string, unknown>;
  if (!Array.isArray(value)) return copyObject(value, 0, seen, lent);
  const copied: unknown[] = [];
  if ((seen.values += value.length) > maxValues) throw refused;
  for (let index = 0; index < value.length; index++) {
    const one: unknown = value[index];
    const isLent = one !== undefined && one === lent[index];
    copied.push(isLent ? one : copy(one, 1, seen));
  }
  return Object.freeze(copied);
}

/** The hub's own idempotency key of a call. */
export function plainKey(key: unknown, callee: string): string {
  if (typeof key === "string" && key.length <= maxKeyLength) return key;
  throw new WheelworkError(
    "WW_DEFECT",
    `the key of a call of ${callee} is not a text of ${maxKeyLength} characters at most`,
    { next: "Correct the `key` function of the hub. Then retry the incident." },
  );
}

/** Characters of the key that a hub gives to a call. */
const maxKeyLength = 1000;

/** About how many bytes a plain value takes as JSON. Only what is large must be right. */
export function weightOf(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null) return 8;
  let weight = 8;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) weight += weightOf(value[index]);
    return weight;
  }
  for (const key in value) weight += key.length + weightOf((value as Record<string, unknown>)[key]);
  return weight;
}

/** Whether something that was thrown is such an error. A proxy that was revoked cannot even be asked. */
export function isError<T>(thrown: unknown, kind: abstract new (...args: never[]) => T): thrown is T {
  try {
    return thrown instanceof kind;
  } catch {
    return false;
  }
}

/**
 * The message of anything that was thrown. It never throws, even if reading the message does. What was thrown may be a promise: its later
 * rejection is ignored.
 */
export function textOf(thrown: unknown): string {
  try {
    abandonWithin(thrown);
    const text = shown(thrown instanceof Error ? thrown.message : thrown);
    return text.length <= maxText ? text : `${text.slice(0, maxText).toWellFormed()}…`;
  } catch {
    return "something that cannot be shown";
  }
}

/** The text of a list would have all that is in it, and a list may have billions of places. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return ArrayBuffer.isView(value) ? `${value.byteLength} bytes` : String(value);
}

/** Characters of a message that are kept, as of a stack, and how many causes. Each failed attempt has them in its history. */
const [maxText, maxStack, maxCauses] = [8000, 8000, 5];

/**
 * Where an exception came from, and its causes, if it tells: 8,000 characters at most. What users throw may be anything, and
 * may throw when it is asked.
 */
export function stackOf(thrown: unknown): string | undefined {
  try {
    if (!(thrown instanceof Error)) return undefined;
    const stacks: string[] = [];
    let cause: unknown = thrown;
    while (cause !== undefined && cause !== null && stacks.length <= maxCauses) {
      const { stack } = cause instanceof Error ? cause : { stack: undefined };
      stacks.push(typeof stack === "string" ? stack : textOf(cause));
      cause = cause instanceof Error ? cause.cause : undefined;
    }
    return stacks.join("\nCaused by: ").slice(0, maxStack);
  } catch {
    return undefined;
  }
}

/**
 * What a function of the user returned, unless it is a promise. Decisions are synchronous (I1), so nobody waits for a
 * promise. Its later rejection is ignored: it would end the process.
 * @param what Names the function in the error.
 * @throws WheelworkError WW_DEFECT when it is a promise.
 */
export function synchronous<T>(returned: T, what: string): T {
  if (!isThenable(returned)) return returned;
  abandon(returned);
  throw new WheelworkError("WW_DEFECT", `${what} is asynchronous`, {
    next: "Make it a plain function, and do what takes time in a worker. Then retry the incident.",
  });
}

/**
 * The same of a function that is to return a text or a number. Whoever asked says what is wrong with anything else; promises within it are
 * ignored, too.
 * @throws WheelworkError WW_DEFECT when it is a promise.
 */
export function scalar<T>(returned: T, what: string): T {
  synchronous(returned, what);
  abandonWithin(returned);
  return returned;
}

/** Whether a value can be awaited. One that cannot even be asked is not. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if ((typeof value !== "object" || value === null) && typeof value !== "function") return false;
  try {
    return typeof (value as { then?: unknown }).then === "function";
  } catch {
    return false;
  }
}

/** Ignores the rejection of a promise that nobody waits for. Without a handler, it would end the process. */
export function abandon(thenable: PromiseLike<unknown>): void {
  try {
    thenable.then(nothing, nothing);
  } catch {
    // Its `then` throws, so it is not a promise. There is nothing to ignore.
  }
}

const nothing = (): void => {};

/** How many values are looked through for promises. */
const maxLookedThrough = 200_000;

/**
 * Ignores the rejections of all promises within a value that is refused: a list that is made with an asynchronous function has one for each
 * of its items, and an output one for each `await` that was forgotten. The first that is rejected would end the process.
 */
export function abandonWithin(value: unknown, depth = 0, seen = { left: maxLookedThrough }): void {
  if (typeof value !== "object" || value === null || depth > maxDepth) return;
  if (isThenable(value)) return abandon(value);
  let keys: Iterable<string | number>;
  try {
    if (!Array.isArray(value) && !hasPlainPrototype(value)) return;
    keys = Array.isArray(value) ? value.keys() : Object.keys(value);
  } catch {
    // What cannot be read was not made by mistake.
    return;
  }
  for (const key of keys) {
    // Counted here, too: a list may have billions of places with nothing in them.
    if (--seen.left < 0) return;
    try {
      abandonWithin((value as Record<string | number, unknown>)[key], depth + 1, seen);
    } catch {
      // The others may be promises.
    }
  }
}

function tell(value: unknown): Problem {
  try {
    return problemOf(value);
  } catch (error) {
    return unreadable(error);
  }
}

const unreadable = (error: unknown): Problem => ({ path: "", message: `cannot be read: ${textOf(error)}` });

/**
 * Makes the copy, or throws `refused`. It is on the hottest path of the loop, so it keeps no path and makes no message.
 * For a refused value, `problemOf` finds both.
 */
function copy(value: unknown, depth: number, seen: Seen): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      if (!Number.isFinite(value)) throw refused;
      // -0 becomes 0, as in JSON.
      return value + 0;
    case "object":
      if (value === null) return null;
      if (depth >= maxDepth) throw refused;
      return Array.isArray(value) ? copyArray(value, depth, seen) : copyObject(value, depth, seen);
    default:
      throw refused;
  }
}

function copyArray(array: readonly unknown[], depth: number, seen: Seen): readonly unknown[] {
  const { length } = array;
  if ((seen.values += length) > maxValues) throw refused;
  const copied: unknown[] = [];
  for (let index = 0; index < length; index++) copied.push(copy(array[index], depth + 1, seen));
  return Object.freeze(copied);
}

function copyObject(
  object: object,
  depth: number,
  seen: Seen,
  lent: Record<string, unknown> = nothingLent,
): object {
  if (!hasPlainPrototype(object)) throw refused;
  const copied: Record<string, unknown> = {};
  let fields = 0;
  // This takes half the time of Object.keys. A plain object inherits nothing enumerable.
  for (const key in object) {
    let value: unknown = (object as Record<string, unknown>)[key];
    if (value === undefined) continue;
    // Nearly all fields are texts and numbers. To call another function for each takes a sixth of the time.
    if (typeof value === "number") {
      if (!Number.isFinite(value)) throw refused;
      value += 0;
    } else if (typeof value !== "string" && (lent === nothingLent || value !== lent[key]))
      value = copy(value, depth + 1, seen);
    fields++;
    if (key === "__proto__") setField(copied, key, value);
    else copied[key] = value;
  }
  if ((seen.values += fields) > maxValues) throw refused;
  return Object.freeze(copied);
}

const nothingLent: Record<string, unknown> = Object.freeze({});

/** Like `copy`, and compares with another value. Once one part differs, nothing more is compared. */
function copyLike(value: unknown, given: unknown, depth: number, compared: Compared): unknown {
  if (typeof value !== "object" || value === null) {
    if (value !== given) compared.isSame = false;
    return copy(value, depth, compared);
  }
  if (!compared.isSame || value === given) return copy(value, depth, compared);
  if (typeof given !== "object" || given === null || Array.isArray(value) !== Array.isArray(given)) {
    compared.isSame = false;
    return copy(value, depth, compared);
  }
  if (depth >= maxDepth) throw refused;
  return Array.isArray(value)
    ? copyArrayLike(value, given as readonly unknown[], depth, compared)
    : copyObjectLike(value, given, depth, compared);
}

function copyArrayLike(
  array: readonly unknown[],
  given: readonly unknown[],
  depth: number,
  compared: Compared,
): readonly unknown[] {
  const { length } = array;
  if (length !== given.length) compared.isSame = false;
  if ((compared.values += length) > maxValues) throw refused;
  const copied: unknown[] = [];
  for (let index = 0; index < length; index++)
    copied.push(copyLike(array[index], given[index], depth + 1, compared));
  return Object.freeze(copied);
}

function copyObjectLike(object: object, given: object, depth: number, compared: Compared): object {
  if (!hasPlainPrototype(object)) throw refused;
  if (Object.getPrototypeOf(given) !== Object.getPrototypeOf(object)) compared.isSame = false;
  const copied: Record<string, unknown> = {};
  let fields = 0;
  /** How many fields are undefined in both. */
  let absent = 0;
  for (const key in object) {
    let value: unknown = (object as Record<string, unknown>)[key];
    const before: unknown = (given as Record<string, unknown>)[key];
    if (value === undefined) {
      if (before !== undefined) compared.isSame = false;
      else if (Object.hasOwn(given, key)) absent++;
      continue;
    }
    if (typeof value === "string") {
      if (value !== before) compared.isSame = false;
    } else if (typeof value === "number") {
      if (!Number.isFinite(value)) throw refused;
      if (value !== before) compared.isSame = false;
      value += 0;
    } else value = copyLike(value, before, depth + 1, compared);
    fields++;
    if (key === "__proto__") setField(copied, key, value);
    else copied[key] = value;
  }
  if ((compared.values += fields) > maxValues) throw refused;
  if (compared.isSame) {
    let others = fields + absent;
    for (const key in given) if (key !== undefined) others--;
    if (others !== 0) compared.isSame = false;
  }
  return Object.freeze(copied);
}

/**
 * Thrown inside this file only. It is made once, since making an error is slow and most callers need only a yes or no.
 */
const refused = new Error("not plain JSON");

/** What is wrong with a value that `copy` refuses, and where. */
function problemOf(value: unknown): Problem {
  const path: string[] = [];
  const message = find(value, path, { values: 0 });
  return message === undefined
    ? { path: "", message: `holds more than ${maxValues} values` }
    : { path: path.map(textOf).join("."), message };
}

/** Finds the first part that is refused, and says what is wrong with it. `path` then leads to it. */
function find(value: unknown, path: string[], seen: Seen): string | undefined {
  const wrong = ++seen.values > maxValues ? undefined : wrongWith(value, path.length);
  if (wrong !== undefined || typeof value !== "object" || value === null) return wrong;
  // It would be looked through for nothing.
  if (Array.isArray(value) && value.length > maxValues) seen.values = maxValues + 1;
  if (seen.values > maxValues) return undefined;
  for (const key of Array.isArray(value) ? value.keys() : Object.keys(value)) {
    const inner = (value as Record<string | number, unknown>)[key];
    if (inner === undefined && !Array.isArray(value)) continue;
    path.push(String(key));
    const found = find(inner, path, seen);
    if (found !== undefined) return found;
    path.pop();
    if (seen.values > maxValues) return undefined;
  }
  return undefined;
}

/** What is wrong with a value itself, apart from the values inside it. */
function wrongWith(value: unknown, depth: number): string | undefined {
  switch (typeof value) {
    case "string":
    case "boolean":
      return undefined;
    case "number":
      return Number.isFinite(value) ? undefined : `is ${value}, which JSON does not have`;
    case "undefined":
      return "is undefined, which JSON does not have";
    case "object":
      if (value === null) return undefined;
      if (depth >= maxDepth) return `is nested more than ${maxDepth} deep, or holds itself`;
      if (Array.isArray(value) || hasPlainPrototype(value)) return undefined;
      return `is ${nameOf(value)}, not a plain object`;
    default:
      return `is a ${typeof value}, which JSON does not have`;
  }
}

function hasPlainPrototype(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object);
  if (prototype === Object.prototype || prototype === null) return true;
  // `Object.prototype` of another realm, such as the sandbox of a test runner.
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "hasOwnProperty");
}

/** Sets a field, also one with the name `__proto__`, which a plain assignment would take for the prototype. */
export function setField(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key !== "__proto__") object[key] = value;
  else Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

function nameOf(object: object): string {
  try {
    const { name } = (object as { constructor?: { name?: unknown } }).constructor ?? {};
    return typeof name === "string" && name !== ""
      ? `an instance of ${name.slice(0, 100)}`
      : "an object of a class";
  } catch {
    return "an object of a class";
  }
}
