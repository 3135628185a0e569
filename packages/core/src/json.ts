/** A value that survives `JSON.stringify` and `JSON.parse` unchanged (I19). */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

type Primitive = null | undefined | boolean | number | string | bigint | symbol;

/** `T` with every property, array and nested object read-only: what handlers get to see. */
export type DeepReadonly<T> = T extends Primitive
  ? T
  : T extends readonly unknown[]
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T extends object
      ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
      : T;

/** Freezes a JSON value and all that it holds. A value that is frozen already is taken to be frozen to its depth. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

/**
 * JSON with the keys of every object in order and without properties that are undefined: equal values give equal
 * texts, whatever the order in which a client wrote them.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : inner,
  );
}
