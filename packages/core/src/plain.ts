import type { Problem } from "./errors.ts";

/**
 * What is kept is what was seen.
 *
 * Everything that a run keeps is written as JSON and may be read back at any moment, after a crash or when the run comes back
 * into memory. A `Date` would come back as a text, a `Map` as `{}`, and an object that its maker changes later would be one
 * thing in memory and another in the store. So a value that comes from outside (a request, an output, a payload, what a
 * handler returns) is copied where it enters. Code sees the copy, the store writes the copy, and nobody else holds it.
 *
 * The copy is exactly what `JSON.parse(JSON.stringify(value))` gives, and it is frozen to its depth. What JSON would change
 * silently is refused, with the path: dates, maps, sets, instances of classes, functions, symbols, bigints, NaN, Infinity,
 * `undefined` in arrays. Three things are dropped because JSON drops them and nobody misses them: properties that are
 * undefined, the sign of -0, and properties that only some code can see (symbols, not enumerable, inherited).
 */
export function plain<T>(value: T): T {
  const seen = { values: 0 };
  return copy(value, 0, seen) as T;
}

/** How deep a value may be nested. What writes and reads JSON is recursive, and so is user code that walks a value. */
export const maxDepth = 500;

/** How many numbers, texts, arrays and objects one value may hold. It bounds values that share parts of themselves. */
export const maxValues = 2_000_000;

/** Thrown by `plain`: where the value is not plain JSON, and why. */
export class NotPlain extends Error {
  override readonly name = "NotPlain";
  /** From the inside out, while it is thrown through the levels of the value. */
  readonly #path: string[] = [];

  /** The path, with dots, and what is wrong there. */
  get problem(): Problem {
    return { path: this.#path.toReversed().join("."), message: this.message };
  }

  /** @internal */
  within(key: string): this {
    this.#path.push(key);
    return this;
  }
}

/** The problem of a value that is not plain JSON, or the value. A getter that throws is a problem, too. */
export function tryPlain<T>(
  value: T,
): { readonly value: T; readonly problem?: never } | { readonly problem: Problem } {
  try {
    return { value: plain(value) };
  } catch (error) {
    if (error instanceof NotPlain) return { problem: error.problem };
    return { problem: { path: "", message: `cannot be read: ${textOf(error)}` } };
  }
}

/** The text of anything that was thrown, even if it throws when it is asked. */
export function textOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? thrown.message : String(thrown);
  } catch {
    return "something that cannot be shown";
  }
}

interface Seen {
  values: number;
}

function copy(value: unknown, depth: number, seen: Seen): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      if (!Number.isFinite(value)) throw new NotPlain(`is ${value}, which JSON does not have`);
      // -0 becomes 0, as in JSON.
      return value + 0;
    case "object":
      if (value === null) return null;
      if (depth >= maxDepth) throw new NotPlain(`is nested more than ${maxDepth} deep, or holds itself`);
      if (++seen.values > maxValues) throw new NotPlain(`holds more than ${maxValues} values`);
      return Array.isArray(value) ? copyArray(value, depth, seen) : copyObject(value, depth, seen);
    case "undefined":
      throw new NotPlain("is undefined, which JSON does not have");
    default:
      throw new NotPlain(`is a ${typeof value}, which JSON does not have`);
  }
}

function copyArray(array: readonly unknown[], depth: number, seen: Seen): readonly unknown[] {
  const { length } = array;
  if ((seen.values += length) > maxValues) throw new NotPlain(`holds more than ${maxValues} values`);
  const copied: unknown[] = [];
  for (let index = 0; index < length; index++) {
    try {
      copied.push(copy(array[index], depth + 1, seen));
    } catch (error) {
      throw error instanceof NotPlain ? error.within(String(index)) : error;
    }
  }
  return Object.freeze(copied);
}

function copyObject(object: object, depth: number, seen: Seen): object {
  const prototype: unknown = Object.getPrototypeOf(object);
  if (prototype !== Object.prototype && prototype !== null && !isForeignPlain(prototype))
    throw new NotPlain(`is ${nameOf(object)}, not a plain object`);
  const copied: Record<string, unknown> = {};
  for (const key of Object.keys(object)) {
    const inner: unknown = (object as Record<string, unknown>)[key];
    if (inner === undefined) continue;
    seen.values++;
    try {
      const value = copy(inner, depth + 1, seen);
      if (key === "__proto__") define(copied, key, value);
      else copied[key] = value;
    } catch (error) {
      throw error instanceof NotPlain ? error.within(key) : error;
    }
  }
  return Object.freeze(copied);
}

/** `Object.prototype` of another realm, such as a test runner's sandbox. */
function isForeignPlain(prototype: unknown): boolean {
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "hasOwnProperty");
}

function define(object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
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
