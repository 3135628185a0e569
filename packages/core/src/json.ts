/** A value that survives `JSON.stringify` and `JSON.parse` unchanged (I19). */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

type Primitive = null | undefined | boolean | number | string | bigint | symbol;

/** `T` with all properties read-only, at every depth. Handlers get their data like this. */
export type DeepReadonly<T> = T extends Primitive
  ? T
  : T extends readonly unknown[]
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T extends object
      ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
      : T;

/** Freezes a JSON value at every depth, and returns it. It takes a frozen value to be frozen at every depth already. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

/** A copy of a JSON value that may be changed. */
export function thawed(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(thawed);
  // fromEntries also sets a field with the name `__proto__`.
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, thawed(inner)]));
}

/**
 * JSON with sorted keys, and without properties that are undefined. Equal values give equal strings, in whichever order
 * a client wrote the properties. The hash of a request body is made of it.
 */
export const canonicalJson = (value: unknown): string => JSON.stringify(ordered(value));

/** A value with sorted keys, at every depth: itself, if they are. */
function ordered(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    const items = value.map(ordered);
    return items.every((item, index) => item === value[index]) ? value : items;
  }
  if (isFlatAndSorted(value)) return value;
  const keys = Object.keys(value);
  let isSame = keys.every((key, index) => index === 0 || (keys[index - 1] as string) < key);
  if (!isSame) keys.sort();
  const entries = keys.map((key) => {
    const inner = (value as Readonly<Record<string, unknown>>)[key];
    const kept = ordered(inner);
    isSame &&= kept === inner;
    return [key, kept] as const;
  });
  // fromEntries also sets a field with the name `__proto__`.
  return isSame ? value : Object.fromEntries(entries);
}

/** Whether nothing in an object is to be sorted. Most bodies are small and flat: nothing is made for them. */
function isFlatAndSorted(object: object): boolean {
  let last: string | undefined;
  for (const key in object) {
    if (last !== undefined && last >= key) return false;
    const value: unknown = (object as Readonly<Record<string, unknown>>)[key];
    if (typeof value === "object" && value !== null) return false;
    last = key;
  }
  return true;
}
