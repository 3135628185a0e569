import { postgresIsInstalled } from "@wheelwork/services";
import { describe } from "vitest";
import { postgresForTests } from "../postgres.ts";
import { onPostgres } from "./system.ts";

// The same over PostgreSQL: the flows, and the runs of their operations. In the long form (WHEELWORK_LONG=1), all that is tested over REST.

const isLong = process.env["WHEELWORK_LONG"] !== undefined;
/** Those that need no time of their own, and take their systems from `startRest`. */
const suites: readonly string[] = [
  "errors",
  "flows",
  "history",
  "left-in-the-middle",
  "network",
  "promises",
  "random",
  "restore",
  "waiting",
];

describe.skipIf(!isLong || !postgresIsInstalled())("on PostgreSQL", async () => {
  const { server } = postgresForTests();
  onPostgres(() => ({ url: server().url }));

  // What is short of it is beside the store: a server takes its time to start.
  describe.each(suites)("%s", (name) => import(`./${name}.test.ts`));
});
