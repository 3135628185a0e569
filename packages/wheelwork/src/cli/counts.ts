import { Client } from "./client.ts";
import { command, type Command } from "./command.ts";
import { findServer, serverOptions } from "./contexts.ts";
import { again, count, printRows, say, watchOption, type Column } from "./output.ts";
import { filterOf, filterOptions, whereOption } from "./where.ts";

/** How many requests there are, as the server counts them. */
export interface Counts {
  readonly count: number;
  readonly states: readonly {
    readonly hub: string;
    readonly status: string;
    readonly state: string;
    readonly count: number;
  }[];
  readonly outcomes: readonly {
    readonly hub: string;
    readonly outcome: string;
    readonly code?: string;
    readonly count: number;
  }[];
}

const stateColumns: readonly Column<Counts["states"][number]>[] = [
  ["hub", ({ hub }) => hub],
  ["status", ({ status }) => status],
  ["state", ({ state }) => state],
  ["count", (row) => `${row.count}`],
];

const outcomeColumns: readonly Column<Counts["outcomes"][number]>[] = [
  ["hub", ({ hub }) => hub],
  ["answer", ({ outcome }) => outcome],
  ["code", ({ code }) => code],
  ["count", (row) => `${row.count}`],
];

/** Prints how many requests are in which state of which hub. */
export function printStates({ states }: Pick<Counts, "states">): void {
  printRows("table", states, {
    columns: stateColumns,
    idOf: ({ hub }) => hub,
    none: "there are no such requests",
  });
}

/** Prints all counts, in the form that was asked for. */
function printCounts(counts: Counts, output: string | undefined): void {
  if (output === "json") return say(JSON.stringify(counts, undefined, 2));
  if (output === "number") return say(`${counts.count}`);
  printStates(counts);
  if (counts.outcomes.length > 0) {
    say("");
    printRows("table", counts.outcomes, { columns: outcomeColumns, idOf: ({ hub }) => hub, none: "" });
  }
  say(`${counts.states.length > 0 ? "\n" : ""}${count(counts.count, "request")}`);
}

export const countRequests: Command = command({
  name: "requests count",
  about: "Counts requests, exactly: by hub, status and state, and those that are over by their answer.",
  more: `-o number prints the number only, for scripts:
  wheelwork requests count --where "hub=order status=error answeredFrom=2026-11-27T06:00:00Z" -o number`,
  takes: "",
  options: {
    ...filterOptions,
    ...whereOption,
    ...watchOption,
    output: {
      type: "string",
      short: "o",
      choices: ["table", "json", "number"],
      about: "how to print it (table)",
    },
    ...serverOptions,
  },
  run: async ({ values }) => {
    const client = new Client(findServer(values));
    const query = filterOf(values);
    await again(values.watch, async () => {
      const { body } = await client.get("/counts", { query });
      printCounts(body as Counts, values.output);
    });
  },
});
