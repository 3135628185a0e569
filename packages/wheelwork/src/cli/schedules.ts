import { randomUUID } from "node:crypto";
import { Client } from "./client.ts";
import { command, usageError, wholeNumber, type Command } from "./command.ts";
import { findServer, serverOptions } from "./contexts.ts";
import { again, outputOption, printRows, say, watchOption } from "./output.ts";

interface Schedule {
  readonly name: string;
  readonly status: string;
  readonly lastAt: string;
  readonly nextAt?: string;
}

const pathOf = (name: string): string => `/schedules/${encodeURIComponent(name)}`;

const list = command({
  name: "schedules list",
  about: "Lists the schedules of the server.",
  takes: "",
  options: { ...watchOption, ...outputOption, ...serverOptions },
  run: async ({ values }) => {
    const client = new Client(findServer(values));
    await again(values.watch, async () => {
      const { body } = await client.get("/schedules");
      printRows(values.output, (body as { readonly schedules: readonly Schedule[] }).schedules, {
        columns: [
          ["schedule", ({ name }) => name],
          ["status", ({ status }) => status],
          ["last tick", ({ lastAt }) => lastAt],
          ["next tick", ({ nextAt }) => nextAt],
        ],
        idOf: ({ name }) => name,
        none: "the server has no schedules",
      });
    });
  },
});

const get = command({
  name: "schedules get",
  about: "Prints a schedule as JSON.",
  takes: "NAME",
  options: {
    next: { type: "string", value: "N", about: "with the instants of its next N ticks" },
    ...serverOptions,
  },
  run: async ({ values, positionals: [name = ""] }) => {
    const next = values.next === undefined ? undefined : wholeNumber("--next", values.next, 1, 1);
    const { body } = await new Client(findServer(values)).get(pathOf(name), { query: { next } });
    say(JSON.stringify(body, undefined, 2));
  },
});

const simple = (name: "pause" | "resume", about: string): Command =>
  command({
    name: `schedules ${name}`,
    about,
    takes: "NAME",
    options: serverOptions,
    run: async ({ values, positionals: [schedule = ""] }) => {
      const { body } = await new Client(findServer(values)).post(`${pathOf(schedule)}/${name}`);
      say(`${schedule}  ${(body as Schedule).status}`);
    },
  });

const backfill = command({
  name: "schedules backfill",
  about:
    "Makes the requests of all ticks in a range, both ends included. Sent twice, it makes each of them once.",
  takes: "NAME",
  options: {
    from: { type: "string", value: "TIME", about: "ISO 8601 with a time zone, such as 2026-10-01T00:00:00Z" },
    to: { type: "string", value: "TIME", about: "the same" },
    ...serverOptions,
  },
  run: async ({ values, positionals: [name = ""] }) => {
    const { from, to } = values;
    if (from === undefined || to === undefined) throw usageError("schedules backfill needs --from and --to");
    await new Client(findServer(values)).post(`${pathOf(name)}/backfill`, { body: { from, to } });
    say(`${name}  is backfilled from ${from} to ${to}`);
  },
});

const trigger = command({
  name: "schedules trigger",
  about: "Makes a request of a schedule now, and prints its key.",
  takes: "NAME",
  options: serverOptions,
  run: async ({ values, positionals: [name = ""] }) => {
    const headers = { "idempotency-key": randomUUID() };
    const { body } = await new Client(findServer(values)).post(`${pathOf(name)}/trigger`, { headers });
    say((body as { readonly key: string }).key);
  },
});

/** The commands about schedules. */
export const scheduleCommands: readonly Command[] = [
  list,
  get,
  simple("pause", "Pauses a schedule: it ticks no more."),
  simple("resume", "Resumes a schedule. Ticks that were due meanwhile are left out."),
  trigger,
  backfill,
];
