import { parseArgs } from "node:util";
import { exitCodes, type ExitCode } from "./exit-codes.ts";

// One registry describes all commands. It gives the parser, the help, the completion of shells and docs/cli.md. `parseArgs` of
// Node does the parsing: the commands need no more than options and arguments, and a framework would be the largest dependency.

/** An option of a command. */
interface Option {
  readonly type: "string" | "boolean";
  readonly short?: string;
  /** What its value stands for, such as SECONDS. */
  readonly value?: string;
  /** What it does, and its default. */
  readonly about: string;
  /** All values that it takes. */
  readonly choices?: readonly string[];
  /** It may be given several times. */
  readonly multiple?: true;
}

export type Options = Readonly<Record<string, Option>>;

/** What was given for options. */
type Values<O extends Options> = {
  readonly [N in keyof O]?: O[N]["type"] extends "boolean"
    ? boolean
    : O[N] extends { readonly multiple: true }
      ? readonly string[]
      : string;
};

/** What a command is called with. */
export interface Given<O extends Options = Options> {
  readonly values: Values<O>;
  readonly positionals: readonly string[];
}

/** A command, as the registry knows it. */
export interface Command {
  /** One or two words, such as `requests list`. */
  readonly name: string;
  /** What it does, in one line. */
  readonly about: string;
  /** More lines of help. */
  readonly more?: string;
  /** Its arguments. Those in brackets may be left out, and three dots stand for any number. */
  readonly takes: string;
  readonly options: Options;
  run(given: Given): Promise<ExitCode>;
}

/** Something that ends a command with an exit code of its own. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: ExitCode;

  constructor(message: string, exitCode: ExitCode = exitCodes.failed, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.exitCode = exitCode;
  }
}

/** The command line is wrong. */
export const usageError = (message: string): CommandError => new CommandError(message, exitCodes.usage);

/** Makes a command whose `run` knows the types of its options. A `run` that returns nothing is done. */
export function command<const O extends Options>(
  spec: Omit<Command, "run" | "options"> & {
    readonly options: O;
    readonly run: (given: Given<O>) => Promise<ExitCode | void>;
  },
): Command {
  return {
    ...spec,
    run: async (given) => (await spec.run(given as Given<O>)) ?? exitCodes.done,
  };
}

/**
 * The command that the first words name, and the other words. Options may stand before the name, or within it. The first word of several
 * commands, alone, lists what they are about: `schedules` is `schedules list`.
 */
export function findCommand(
  commands: readonly Command[],
  words: readonly string[],
): { readonly command: Command; readonly rest: readonly string[] } | undefined {
  // Only who knows which options take a value can tell a value from a word. All commands mean the same by one option.
  const known = configOf(Object.assign({}, ...commands.map(({ options }) => options)) as Options);
  const { tokens } = parseArgs({
    args: [...words],
    options: known,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const places = tokens.flatMap(({ kind, index }) => (kind === "positional" ? [index] : []));
  const without = (named: readonly number[]): string[] => words.filter((_word, at) => !named.includes(at));
  for (const length of [2, 1]) {
    const named = places.slice(0, length);
    const name = named.map((at) => words[at]).join(" ");
    const found = commands.find((one) => one.name === name);
    if (found !== undefined) return { command: found, rest: without(named) };
  }
  const [only, ...others] = places;
  if (only === undefined || others.length > 0) return undefined;
  const list = commands.find(({ name }) => name === `${words[only]} list`);
  return list === undefined ? undefined : { command: list, rest: without([only]) };
}

/** Why the words name no command, and what may have been meant. */
export function unknownCommand(commands: readonly Command[], words: readonly string[]): CommandError {
  const [first = "", second = ""] = words.filter((word) => !word.startsWith("-"));
  const group = commands.flatMap(({ name }) =>
    name.startsWith(`${first} `) ? [name.slice(first.length + 1)] : [],
  );
  if (group.length === 0) {
    const names = new Set(commands.flatMap(({ name }) => [name, name.split(" ")[0] as string]));
    return usageError(`there is no command ${first}${hint([first, `${first} ${second}`], [...names])}`);
  }
  const known = `${first} takes one of ${group.join(", ")}`;
  if (second === "") return usageError(known);
  return usageError(`${known}, not ${second}${hint([second], group)}`);
}

/** Which name may have been meant: the one that differs least from one of the words, if that is little. */
function hint(words: readonly string[], names: readonly string[]): string {
  const near = names
    .flatMap((name) =>
      words.map((word) => ({ name, far: distance(word, name), most: Math.max(1, name.length / 4) })),
    )
    .filter(({ far, most }) => far <= most)
    .toSorted((one, other) => one.far - other.far);
  return near[0] === undefined ? "" : `. Did you mean ${near[0].name}?`;
}

/** How many characters must be put in, left out, replaced or swapped with the next one to make one word another one. */
function distance(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, at) => at)];
  for (let line = 1; line <= from.length; line++) {
    const [last = [], before = []] = [rows[line - 1], rows[line - 2]];
    const row = [line];
    for (let at = 1; at <= to.length; at++) {
      const isSame = from[line - 1] === to[at - 1];
      const isSwapped = line > 1 && at > 1 && from[line - 1] === to[at - 2] && from[line - 2] === to[at - 1];
      row[at] = Math.min(
        (last[at - 1] ?? 0) + (isSame ? 0 : 1),
        (last[at] ?? 0) + 1,
        (row[at - 1] ?? 0) + 1,
        isSwapped ? (before[at - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    rows.push(row);
  }
  return rows[from.length]?.[to.length] ?? 0;
}

function configOf(
  options: Options,
): Record<string, { type: "string" | "boolean"; short?: string; multiple?: boolean }> {
  return Object.fromEntries(
    Object.entries(options).map(([option, { type, short, multiple = false }]) => [
      option,
      short === undefined ? { type, multiple } : { type, short, multiple },
    ]),
  );
}

/**
 * Parses what follows the name of a command.
 * @throws CommandError with every problem: unknown options, values that are not among the choices, too few or too many arguments.
 */
export function parse({ name, takes, options }: Command, words: readonly string[]): Given {
  const unknown = unknownOptions(name, words, options);
  if (unknown.length > 0) throw usageError(unknown.join("\n"));
  const { values, positionals } = parsed(words, options);
  const problems = Object.entries(values).flatMap(([option, value]) => {
    const choices = options[option]?.choices;
    const wrong = [value].flat().find((one) => choices?.includes(String(one)) === false);
    return wrong === undefined
      ? []
      : [`--${option} must be one of ${choices?.join(", ")}, not ${String(wrong)}`];
  });
  const expected = takes.split(" ").filter((word) => word !== "");
  const least = expected.filter((word) => !word.startsWith("[")).length;
  const most = takes.includes("...") ? Number.POSITIVE_INFINITY : expected.length;
  if (positionals.length < least || positionals.length > most)
    problems.push(`${name} takes ${takes === "" ? "no arguments" : takes}`);
  if (problems.length > 0) throw usageError(problems.join("\n"));
  return { values: values as Given["values"], positionals };
}

/** What is wrong with each option that the command has not. The parser names the first one only, and takes it for an argument. */
function unknownOptions(name: string, words: readonly string[], options: Options): string[] {
  const { tokens } = parseArgs({
    args: [...words],
    options: configOf(options),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const names = Object.keys(options).map((option) => `--${option}`);
  const given = tokens.flatMap((token) =>
    token.kind === "option" && !Object.hasOwn(options, token.name) ? [token.name] : [],
  );
  const dashed = (option: string): string => (option.length === 1 ? `-${option}` : `--${option}`);
  return [...new Set(given)].map(
    (option) => `${name} has no option ${dashed(option)}${hint([`--${option}`], names)}`,
  );
}

function parsed(words: readonly string[], options: Options) {
  try {
    return parseArgs({ args: [...words], options: configOf(options), allowPositionals: true });
  } catch (error) {
    throw usageError(error instanceof Error ? error.message : String(error));
  }
}

/** A whole number from `least`. @throws CommandError when it is none. */
export function wholeNumber(
  name: string,
  given: string | undefined,
  otherwise: number,
  least: number,
): number {
  const value = given === undefined ? otherwise : Number(given);
  if (given?.trim() !== "" && Number.isSafeInteger(value) && value >= least) return value;
  throw usageError(`${name} must be a whole number from ${least}, not ${given}`);
}
