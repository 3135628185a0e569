import type { DeepReadonly } from "./json.ts";

/*
 * Types that keep the errors of a hub's declaration local: one mistake, one error, at the wrong word.
 *
 * The compiler infers the type of a run's data, `D`, from `data`. It works in two passes. The first one skips functions
 * whose parameters have no types, so `D` is not known in it, but checks everything else. If it fails, there is no second
 * pass: `D` is never known, and every handler of the hub gets an error. One wrong word in a chart then shows dozens.
 *
 * So everything besides the functions is checked only once `D` is known. Until then, `D` is `DataUnknown`, the default of
 * the type parameter, and `Once<D, T>` allows anything beside `T`, which is left for inference and for contextual types.
 * The check comes in the second pass, when all handlers have their types, and fails there alone.
 *
 * A function whose parameter is `D`, such as the `patch` of `cancel` or `view`, cannot wait: the compiler gives its parameter the type
 * that `D` has when it comes to the function. So `data` must stand before it.
 */

/** Stands for the type of the data until the compiler has inferred it. The name of its field is for its message. */
export interface DataUnknown {
  readonly "write `data` before what uses its type": never;
}

/** Whether the type of the data is known. */
type IsKnown<D> = 0 extends 1 & D ? true : [D] extends [DataUnknown] ? false : true;

/** `T` once the data is known; until then, anything. */
export type Once<D, T> = IsKnown<D> extends true ? T : T | {} | null;

/** `Known` once the data is known; until then, `Unknown`. */
export type OnceElse<D, Known, Unknown> = IsKnown<D> extends true ? Known : Unknown;

/**
 * Goes beside the type of a function of the data: until the data is known, any function will do. It is not `Once` of that
 * type, since that would hide the data, which the compiler looks for when it comes to the function.
 */
export type Before<D> = OnceElse<D, never, {}>;

/** The data, as a function of the declaration gets it. */
export type Seen<D> = OnceElse<D, DeepReadonly<NoInfer<D>>, DataUnknown>;

/** The declaration `S`. Until the data is known, only `data` must be there, and any name is allowed. */
export type Declared<S extends { readonly data: unknown }, D, Required extends keyof S> = Partial<S> &
  Pick<S, "data"> &
  (IsKnown<D> extends true ? { readonly [K in Required]: unknown } : { readonly [other: string]: unknown });

/** What goes wrong with a patch that has a field which the data does not have. */
interface NoSuchField {
  readonly "the data has no such field": never;
}

/**
 * Goes beside the type of a patch: refuses fields that the data does not have. The compiler refuses them by itself where
 * an object is written as an argument, but not where a function returns it. `K` is inferred: the names of all fields of the
 * patches for which it stands.
 */
export type NoOthers<K extends PropertyKey, D> = {
  readonly [N in K]?: N extends keyof D ? unknown : NoSuchField;
};

/**
 * A change of the data, where `D` is still being inferred. It says the same as `Partial<D>`. The union lets the compiler see
 * that a field may want literals, so that `{ reason: "late" }` does not become a change of `reason` to any string.
 */
export type Change<D> = OnceElse<
  D,
  { readonly [K in keyof D]?: D[K] | Extract<D[K], string | number | boolean> },
  object
>;

/** What a function returns that must not be asynchronous. */
export type Synchronous = void | null | boolean | number | string | { readonly then?: never };
