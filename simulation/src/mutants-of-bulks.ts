import type { Mutant } from "./mutant.ts";

const hub = "packages/engine/src/requests/bulk-hub.ts";
const office = "packages/engine/src/requests/bulks.ts";

/** Mutants of commands to many requests. */
export const mutantsOfBulks: readonly Mutant[] = [
  {
    name: "say that a command of a bulk is done to what has ended",
    file: office,
    from: 'return result === "ended" ? "gone" : "done";',
    to: 'return "done";',
  },
  {
    name: "say that a command of a bulk is done before it is decided",
    file: office,
    from: "isDecided: true",
    to: "isDecided: false",
    world: "cluster",
  },
  {
    name: "leave out the last request of each page of a bulk",
    file: office,
    from: ".map(({ id }) => id);\n      return { ids,",
    to: ".map(({ id }) => id).slice(0, -1);\n      return { ids,",
  },
  {
    name: "begin a bulk anew with each page",
    file: hub,
    from: 'raise(cursor === undefined ? "Over" : "Next", { page: [] })',
    to: 'raise(cursor === undefined ? "Over" : "Next", { page: [], cursor: undefined })',
  },
  {
    name: "give commands while a bulk is paused",
    file: hub,
    from: "(paused === true ? 0 : atOnce)",
    to: "(paused === undefined ? 0 : 0) + atOnce",
  },
  {
    name: "end a cancelled bulk while commands are under way",
    file: hub,
    from: "      drain: true,\n",
    to: "",
    world: "cluster",
  },
  {
    name: "let a bulk mean requests that come after it",
    file: office,
    from: "until + 1);",
    to: "until + 3_600_000);",
  },
  {
    name: "count refusals of a bulk once",
    file: hub,
    from: "[code]: (refused[code] ?? 0) + 1",
    to: "[code]: 1",
  },
  {
    name: "let a bulk mean other bulks",
    file: office,
    from: "items.filter(({ hub }) => hub !== bulkHubName)",
    to: "items",
  },
  {
    name: "count anew with each page how many a bulk means",
    file: hub,
    from: "begun === undefined ? { matched:",
    to: "begun !== null ? { matched:",
  },
  {
    name: "do not say who gives the commands of a bulk",
    file: office,
    from: "isDecided: true, ...(by === undefined ? {} : { by })",
    to: "isDecided: true, ...(by === undefined ? { by } : {})",
  },
];
