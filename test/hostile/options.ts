// Wrong values for options, by what the option should be.
import { WheelworkError } from "@wheelwork/core";
import { abandonWithin } from "@wheelwork/core/kernel";
import { expect } from "vitest";

const throwing = (): object =>
  new Proxy(
    {},
    Object.fromEntries(
      Object.getOwnPropertyNames(Reflect).map((trap) => [
        trap,
        (): never => {
          throw new Error(trap);
        },
      ]),
    ),
  );

/** Values that are right nowhere in a table of options, made anew each time. */
const odd: readonly (() => unknown)[] = [
  () => null,
  () => 5n,
  () => Symbol("s"),
  () => new Date(0),
  () => new Map([["n", 1]]),
  () => Promise.reject(new Error("later")),
  throwing,
];

const notText = [() => 5, () => true, () => ({}), () => ["x"], () => () => "x"];
const notNumber = [() => "5", () => true, () => ({}), () => [5], () => () => 5, () => Number.NaN, () => -1];

/** What an option should be, and values that it is not. */
const wrong = {
  /** A number from 0, or from something above. */
  number: [...odd, ...notNumber],
  /** A number, or a function that makes one. */
  time: [...odd, () => "5", () => true, () => ({}), () => [5], () => Number.NaN, () => -1],
  text: [...odd, ...notText, () => "", () => "a\0b", () => "a\ud83d"],
  flag: [...odd, () => "true", () => 1, () => 0, () => ({}), () => () => true],
  function: [...odd, () => 5, () => "f", () => true, () => ({}), () => []],
  /** A list of things that are made elsewhere. */
  list: [
    ...odd,
    () => 5,
    () => "x",
    () => ({}),
    () => new Set(),
    () => [5],
    () => [null],
    () => Array.from({ length: 1 }),
  ],
  /** Something with methods, a schema, or options within options. */
  object: [...odd, () => 5, () => "x", () => true, () => [], () => () => {}],
  /** As `object`. A text is something else. */
  either: [...odd, () => 5, () => true, () => [], () => ({})],
  /** True, false, or options. */
  ssl: [...odd, () => 5, () => "true", () => [], () => () => true],
} as const;

export type Should = keyof typeof wrong;

/** Each option of a type, and what it should be. The compiler keeps it complete. */
export type Shoulds<Options> = Readonly<Record<keyof Options, Should>>;

/** What is wrong with options, by their paths. Anything but an error of ours with this code fails the test. */
async function refusedPaths(
  make: (options: never) => unknown,
  options: object,
  code: string,
  told: string,
): Promise<readonly string[]> {
  let made: unknown;
  try {
    made = make(options as never);
    made = await made;
  } catch (error) {
    if (!(error instanceof WheelworkError)) throw new Error(`${told}: ${String(error)}`, { cause: error });
    expect({ told, code: error.code, retryable: error.retryable }).toEqual({ told, code, retryable: false });
    return error.problems.map(({ path }) => path);
  }
  await (made as { readonly close?: () => unknown }).close?.();
  throw new Error(`${told} is taken`);
}

/**
 * Gives each option of something each value that it cannot be, by itself and all at once, and another name, and demands that all of it is
 * refused, with the path of each option.
 */
export async function walkOptions<Options>(
  make: (options: never) => unknown,
  sound: NoInfer<Options>,
  shoulds: Shoulds<Options>,
  code = "WW_CONFIG",
): Promise<void> {
  const names = Object.keys(shoulds) as (keyof Options & string)[];
  const isOf = (path: string, name: string): boolean =>
    path === name || /^[.[]/.test(path.slice(name.length));
  for (const name of names)
    for (const [index, value] of wrong[shoulds[name]].entries()) {
      const given = value();
      abandonWithin(given);
      const told = `${name}, wrong in way ${index} of ${shoulds[name]}`;
      const paths = await refusedPaths(make, { ...sound, [name]: given }, code, told);
      expect(
        paths.filter((path) => !path.startsWith(name) || !isOf(path, name)),
        told,
      ).toEqual([]);
      expect(paths, told).not.toEqual([]);
    }
  const all = Object.fromEntries(names.map((name) => [name, null]));
  expect((await refusedPaths(make, all, code, "null everywhere")).toSorted()).toEqual(names.toSorted());
  const other = { ...sound, "an other name": 1 };
  expect(await refusedPaths(make, other, code, "another name")).toEqual(["an other name"]);
  for (const value of [null, undefined, 5, "x", [], new Map(), throwing()])
    await refusedPaths(make, value as never, code, "no options");
}
