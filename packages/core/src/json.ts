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

/**
 * JSON with sorted keys, and without properties that are undefined. Equal values give equal strings, in whichever order
 * a client wrote the properties. The hash of a request body is made of it.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner,
  );
}
