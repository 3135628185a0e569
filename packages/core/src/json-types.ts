import type { Out, Schema } from "./schema.ts";

/*
 * What may be stored, as types. What a run keeps comes back from JSON, so that a `Date` in it would be a string after a
 * restart. These types let the compiler refuse what `plain` (plain.ts) refuses at run time. Accepted are interfaces,
 * read-only arrays, tuples, optional properties, unions, branded strings and objects, and recursive types; also `unknown`
 * and `any`, of which nothing is known before run time. Symbols as keys are let pass, since JSON drops them: brands are
 * such keys.
 *
 * A check compares a type with what is JSON of it (`JsonOf`), which costs the compiler little. Only where that fails, the
 * reason is looked for (`NoJson`), for the message.
 */

/** What is wrong with a type, as the compiler shows it: `{ "JSON has no such type": "at is a Date" }`. */
interface NotJson<Why> {
  readonly "JSON has no such type": Why;
}

/** Nothing is assignable to it. */
declare const none: unique symbol;
interface None {
  readonly [none]: never;
}

type Primitive = null | boolean | number | string;
type Callable = (...args: never) => unknown;

/** What of `T` is JSON. `T` is JSON if it is assignable to this. */
type JsonOf<T> = 0 extends 1 & T
  ? T
  : unknown extends T
    ? T
    : T extends Primitive | undefined
      ? T
      : T extends bigint | symbol | Callable
        ? None
        : T extends readonly unknown[]
          ? number extends T["length"]
            ? readonly JsonOf<undefined extends T[number] ? OrNone<T[number]> : T[number]>[]
            : { readonly [K in keyof T]: JsonOf<T[K]> }
          : { readonly [K in keyof T]: K extends symbol ? T[K] : JsonOf<T[K]> };

/** An array has no place for undefined, unless nothing is known of its elements. */
type OrNone<T> = unknown extends T ? T : Exclude<T, undefined>;

/** Whether a value of this type may be stored. */
type IsJson<T> = [T] extends [JsonOf<T>] ? true : false;

/** Goes beside a schema: nothing if what it makes may be stored. */
export type StoredSchema<S extends Schema> = IsJson<Out<S>> extends true ? unknown : NotJson<NoJson<Out<S>>>;

/** Goes beside schemas by name. */
export type StoredSchemas<Schemas> = {
  readonly [N in keyof Schemas]: Schemas[N] extends Schema ? StoredSchema<Schemas[N]> : unknown;
};

/** Goes beside a type: nothing if its values may be stored. Each field that may not has its own error. */
export type StoredData<T> =
  IsJson<T> extends true
    ? unknown
    : IsOneOf<T> extends true
      ? NotJson<NoJson<T>>
      : T extends Instance | readonly unknown[]
        ? NotJson<NoJson<T>>
        : { readonly [K in keyof T]: K extends string ? StoredField<T[K], K> : unknown };

/** Whether a type is a union. A value could have the fields of one member, and a wrong one of another. */
type IsOneOf<T, All = T> = T extends unknown ? ([All] extends [T] ? false : true) : false;

type StoredField<T, Name extends string> = IsJson<T> extends true ? unknown : NotJson<NoJson<T, Name>>;

/** What is told from plain objects, for the message. */
type Instance = Callable | Date | ReadonlyMap<unknown, unknown> | ReadonlySet<unknown> | PromiseLike<unknown>;

/** Levels that are searched for the reason. */
type Levels = [1, 1, 1, 1, 1, 1];

/** Where a type is not JSON, and what is there. */
type NoJson<T, Path extends string = "it", Left extends unknown[] = Levels> = unknown extends T
  ? never
  : T extends Primitive | undefined
    ? never
    : T extends bigint
      ? `${Path} is a bigint`
      : T extends symbol
        ? `${Path} is a symbol`
        : T extends Callable
          ? `${Path} is a function`
          : T extends Date
            ? `${Path} is a Date`
            : T extends PromiseLike<unknown>
              ? `${Path} is a promise`
              : T extends ReadonlyMap<unknown, unknown>
                ? `${Path} is a Map`
                : T extends ReadonlySet<unknown>
                  ? `${Path} is a Set`
                  : Left extends [unknown, ...infer Less]
                    ? T extends readonly (infer E)[]
                      ? undefined extends E
                        ? `${Path} holds undefined`
                        : NoJson<E, `${Path}[]`, Less>
                      : {
                          [K in keyof T & (string | number)]-?: NoJson<
                            T[K],
                            Path extends "it" ? `${K}` : `${Path}.${K}`,
                            Less
                          >;
                        }[keyof T & (string | number)]
                    : `${Path} is not JSON`;

/** A type whose fields may be written: for an object that is made field by field, and is read-only to all others. */
export type Writable<T> = { -readonly [Field in keyof T]: T[Field] };
