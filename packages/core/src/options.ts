import { demandsOf, WheelworkError, type Problem } from "./errors.ts";
import { isDuration, maxMs, mustBeDuration } from "./duration.ts";
import { textProblem } from "./text.ts";

/*
 * Options that programs give: to declarations, engines, servers. A table says of each option what it may be, and the compiler keeps the
 * table complete. What is of another kind is refused where it is given, with all that is wrong. Otherwise a text would be compared as a
 * number, and added as a text, and a function that is missing would be missed in the middle of a run.
 */

/** What an option may be. */
export interface OptionKind {
  /** It may not be left out. */
  readonly isRequired: boolean;
  /** What is wrong with a value, for one at this path. What it throws says that the value cannot be read. */
  readonly problems: (value: unknown, path: string) => readonly Problem[];
}

/** What an option may be that may not be left out. */
export interface RequiredKind extends OptionKind {
  readonly isRequired: true;
}

/** What each option of a type may be. Those that the type demands are `required`. */
export type OptionKinds<Options> = {
  readonly [Name in keyof Options]-?: object extends Pick<Options, Name> ? OptionKind : RequiredKind;
};

/** A kind of values that a predicate knows. `must` says what others must be. */
export const kind = (is: (value: unknown) => boolean, must: string): OptionKind => ({
  isRequired: false,
  problems: (value, path) => (is(value) ? [] : [{ path, message: must }]),
});

/** The same kind for an option that may not be left out. */
export const required = ({ problems }: OptionKind): RequiredKind => ({ isRequired: true, problems });

export const isFunction = (value: unknown): boolean => typeof value === "function";

/** An object with options: a list, a map or a date is none, though it has no option of another name. */
function isOptions(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.prototype.toString.call(value) === "[object Object]";
}

/** So long is no list that a program gives. */
const maxListed = 100_000;

const isNumber = (value: unknown, least: number, most: number): boolean =>
  typeof value === "number" && value >= least && value <= most;

const isWhole = (value: unknown, least: number, most: number): boolean =>
  Number.isSafeInteger(value) && isNumber(value, least, most);

export const kinds = {
  flag: kind((value) => typeof value === "boolean", "must be true or false"),
  fn: kind(isFunction, "must be a function"),
  object: (must = "must be an object"): OptionKind => kind(isOptions, must),
  /** A time that may bound something. */
  duration: kind((value) => isDuration(value as number), mustBeDuration),
  /** A time that may be none, or a pause. */
  pause: kind((value) => isNumber(value, 0, maxMs), `must be a number of milliseconds from 0 to ${maxMs}`),
  /** A time for which something is kept, or waited for: perhaps for ever. */
  span: kind(
    (value) => isNumber(value, 0, Number.POSITIVE_INFINITY),
    "must be a number of milliseconds from 0",
  ),
  /** A port to listen on. */
  port: kind((value) => isWhole(value, 0, 65_535), "must be a whole number from 0 to 65535"),
  text: (max = 1000): OptionKind => ({
    isRequired: false,
    problems: (value, path) => {
      const message =
        textProblem(value, max) ?? (String(value).includes("\0") ? "must not have NUL" : undefined);
      return message === undefined ? [] : [{ path, message }];
    },
  }),
  matching: (pattern: RegExp, must: string): OptionKind =>
    kind((value) => typeof value === "string" && pattern.test(value), must),
  whole: (least: number, most = Number.MAX_SAFE_INTEGER): OptionKind =>
    kind(
      (value) => isWhole(value, least, most),
      `must be a whole number from ${least}${most === Number.MAX_SAFE_INTEGER ? "" : ` to ${most}`}`,
    ),
  /** As `whole`. `Infinity`: there is no bound. */
  bound: (least: number): OptionKind =>
    kind(
      (value) => value === Number.POSITIVE_INFINITY || isWhole(value, least, Number.MAX_SAFE_INTEGER),
      `must be a whole number from ${least}, or Infinity`,
    ),
  number: (least: number, most: number): OptionKind =>
    kind((value) => isNumber(value, least, most), `must be a number from ${least} to ${most}`),
  oneOf: (...values: readonly unknown[]): OptionKind =>
    kind((value) => values.includes(value), `must be one of ${values.join(", ")}`),
  /** Something with methods: a port, or what another function has made. */
  having: (what: string, ...methods: readonly string[]): OptionKind => ({
    isRequired: false,
    problems: (value, path) => {
      const isThing = (typeof value === "object" && value !== null) || isFunction(value);
      if (!isThing) return [{ path, message: `must be ${what}` }];
      const missing = methods.filter((name) => !isFunction((value as Record<string, unknown>)[name]));
      return missing.length === 0
        ? []
        : [{ path, message: `must be ${what}: it lacks ${missing.join(", ")}` }];
    },
  }),
  /** Either of two kinds. `must` says of both what others must be. */
  either: (first: OptionKind, second: OptionKind, must: string): OptionKind =>
    kind((value) => first.problems(value, "").length === 0 || second.problems(value, "").length === 0, must),
  list: (of: OptionKind, least = 0): OptionKind => ({
    isRequired: false,
    problems: (value, path) => {
      if (!Array.isArray(value)) return [{ path, message: "must be a list" }];
      const { length } = value as readonly unknown[];
      if (length > maxListed) return [{ path, message: `must be a list of ${maxListed} at most` }];
      if (length < least) return [{ path, message: "must not be empty" }];
      const problems: Problem[] = [];
      for (let index = 0; index < length; index++)
        problems.push(...looked(of, value[index], `${path}[${index}]`));
      return problems;
    },
  }),
  /** An object whose fields are all of one kind, whatever their names. */
  fields: (of: OptionKind): OptionKind => ({
    isRequired: false,
    problems: (value, path) =>
      isOptions(value)
        ? Object.entries(value).flatMap(([name, held]) =>
            held === undefined ? [] : looked(of, held, `${path}[${JSON.stringify(name)}]`),
          )
        : [{ path, message: "must be an object" }],
  }),
  /** Options within an option. `what` they are options of: `a retry`. */
  nested: <Options extends object>(table: OptionKinds<Options>, what: string): OptionKind => ({
    isRequired: false,
    problems: (value, path) => soundOptions(value, table, what, path).problems,
  }),
} as const;

/** What is wrong with a value. One that throws cannot be read, and is refused like all others. */
function looked(of: OptionKind, value: unknown, path: string): readonly Problem[] {
  try {
    return of.problems(value, path);
  } catch {
    return [{ path, message: "cannot be read" }];
  }
}

/** The options that are as they should be, and what is wrong with the others. */
export interface SoundOptions<Options> {
  /** A copy. Each option was read once. */
  readonly sound: Partial<Options>;
  readonly problems: Problem[];
}

/**
 * Looks at options. An option with another name is a problem: it would do nothing, and nobody would be told. With types, the compiler
 * finds it, unless it is spread or cast.
 * @param what They are options of: `a hub`.
 * @param path That of the options; empty: they are all that was given.
 */
export function soundOptions<Options extends object>(
  given: unknown,
  table: OptionKinds<Options>,
  what: string,
  path = "",
): SoundOptions<Options> {
  const sound: Record<string, unknown> = {};
  const problems: Problem[] = [];
  try {
    if (!isOptions(given)) return { sound: {}, problems: [{ path, message: "must be an object" }] };
    const at = path === "" ? "" : `${path}.`;
    const demand = demandsOf(problems, at);
    const known = (): string => Object.keys(table).toSorted().join(", ");
    for (const name of Object.keys(given))
      if (!Object.hasOwn(table, name) && given[name] !== undefined)
        demand(false, name, `is no option of ${what}, which has ${known()}`);
    for (const [name, of] of Object.entries<OptionKind>(table)) {
      let value: unknown;
      try {
        value = given[name];
      } catch {
        demand(false, name, "cannot be read");
        continue;
      }
      // What is missing is said by what it must be.
      if (value === undefined && !of.isRequired) continue;
      const wrong = looked(of, value, `${at}${name}`);
      if (wrong.length === 0) sound[name] = value;
      else problems.push(...wrong);
    }
  } catch {
    return { sound: {}, problems: [{ path, message: "cannot be read" }] };
  }
  return { sound: sound as Partial<Options>, problems };
}

/**
 * A copy of options that are as they should be.
 * @param what They are options of: `an engine`.
 * @throws WheelworkError WW_CONFIG with every problem.
 */
export function demandOptions<Options extends object>(
  given: Options,
  table: OptionKinds<Options>,
  what: string,
): Options {
  const { sound, problems } = soundOptions<Options>(given, table, what);
  if (problems.length === 0) return sound as Options;
  throw new WheelworkError("WW_CONFIG", `the options of ${what} are not valid`, {
    problems,
    next: "Correct what is listed.",
  });
}
