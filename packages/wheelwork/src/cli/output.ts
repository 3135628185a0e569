import { setTimeout as sleep } from "node:timers/promises";
import { CommandError } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { print } from "./inspect.ts";

/** How lists are printed. */
export const outputOption = {
  output: {
    type: "string",
    short: "o",
    choices: ["table", "json", "jsonl", "ids"],
    about: "how to print it (table)",
  },
} as const;

/** Lists that may be printed again and again. */
export const watchOption = {
  watch: { type: "boolean", about: "prints it again every two seconds, until Ctrl+C" },
} as const;

const watchMs = 2000;

/** Prints something once, or again and again. It waits while the server is away. */
export async function again(watch: boolean | undefined, print: () => Promise<void>): Promise<void> {
  if (watch !== true) return print();
  for (;;) {
    if (process.stdout.isTTY) process.stdout.write(clearScreen);
    try {
      await print();
    } catch (error) {
      if (!(error instanceof CommandError) || error.exitCode !== exitCodes.tryAgain) throw error;
      process.stderr.write(`${error.message}\n`);
    }
    await sleep(watchMs);
  }
}

/** The cursor to the corner, the screen empty. */
const clearScreen = "\u001b[H\u001b[2J";

type Output = "table" | "json" | "jsonl" | "ids";

/** A column of a table: its title, and how a row fills it. */
export type Column<T> = readonly [title: string, cell: (row: T) => string | undefined];

export const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** How many there are of something, such as `2 shards`. */
export const count = (many: number, what: string): string => `${many} ${what}${many === 1 ? "" : "s"}`;

/** Prints rows in the form that was asked for. */
export function printRows<T>(
  output: string | undefined,
  rows: readonly T[],
  {
    columns,
    idOf,
    none,
  }: { readonly columns: readonly Column<T>[]; readonly idOf: (row: T) => string; readonly none: string },
): void {
  switch ((output ?? "table") as Output) {
    case "json":
      return say(JSON.stringify(rows, undefined, 2));
    case "jsonl":
      for (const row of rows) say(JSON.stringify(row));
      return;
    case "ids":
      for (const row of rows) say(lineOfId(idOf(row)));
      return;
    case "table":
      if (rows.length === 0) return say(none);
      print([
        columns.map(([title]) => title),
        ...rows.map((row) => columns.map(([, cell]) => shown(cell(row) ?? ""))),
      ]);
  }
}

/**
 * A text of somebody else, for a terminal: what could control it is escaped. A key is any text, also one that clears the screen
 * or looks like two lines.
 */
export const shown = (text: string): string =>
  // eslint-disable-next-line no-control-regex
  text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (one) => {
    const code = one.codePointAt(0) ?? 0;
    return one === "\n" ? "\\n" : `\\u${code.toString(16).padStart(4, "0")}`;
  });

/** An id as a line that `idsOf` reads again: as JSON if it could be taken for something else. */
const lineOfId = (id: string): string =>
  // eslint-disable-next-line no-control-regex
  /^["\s]|\s$|[\u0000-\u001f\u007f]/.test(id) || id === "-" ? JSON.stringify(id) : id;

/** The ids in lines, as `-o ids` prints them. Empty lines are left out. */
export function idsOf(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.replace(/\r$/, ""))
    .filter((line) => line !== "")
    .map((line) => (line.startsWith('"') ? String(JSON.parse(line)) : line));
}
