import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "./client.ts";
import { printStates, type Counts } from "./counts.ts";
import { command, CommandError, wholeNumber, type Command } from "./command.ts";
import { findServer, serverOptions } from "./contexts.ts";
import { exitCodes, type ExitCode } from "./exit-codes.ts";
import { again, count, outputOption, printRows, say, shown, watchOption, type Column } from "./output.ts";
import { ProgressBar } from "./progress.ts";
import { whereOf } from "./where.ts";

/** A bulk, as the server shows it. */
interface Bulk {
  readonly id: string;
  readonly command: { readonly kind: string; readonly name?: string };
  readonly status: "running" | "paused" | "incident" | "done" | "cancelled" | "failed";
  readonly createdAt: string;
  readonly by?: string;
  readonly matched?: number;
  readonly done: number;
  readonly gone: number;
  readonly refused: Readonly<Record<string, number>>;
}

interface Item {
  readonly id: string;
  readonly outcome: string;
  readonly code?: string;
  readonly at: string;
}

const pathOf = (id: string): string => `/bulks/${encodeURIComponent(id)}`;

const sumOf = (refused: Bulk["refused"]): number => Object.values(refused).reduce((sum, n) => sum + n, 0);

/** What has come of a bulk, in one line. */
const resultOf = ({ done, gone, refused }: Bulk): string =>
  [
    `${done} done`,
    ...(gone === 0 ? [] : [`${gone} gone`]),
    ...Object.entries(refused).map(([code, many]) => `${many} refused (${code})`),
  ].join(", ");

/** Options of commands that may be about all requests that a filter means. */
export const bulkOptions = {
  detach: {
    type: "boolean",
    about: "with --where: prints the id of the bulk, and does not wait for its end",
  },
} as const;

/** Gives one command to all requests that a filter means, and waits for the end. It goes on in the server if this process ends. */
export async function giveAll(
  client: Client,
  values: { readonly where: string; readonly "dry-run"?: boolean; readonly detach?: boolean },
  { path, body }: { readonly path: string; readonly body?: unknown },
): Promise<ExitCode> {
  const query = whereOf(values.where);
  const sent = body === undefined ? {} : { body };
  if (values["dry-run"] === true) {
    const reply = await client.post(`/bulks/${path}`, { ...sent, query: { ...query, dryRun: "true" } });
    const counts = reply.body as Counts;
    printStates(counts);
    say(`${count(counts.count, "request")} would get the command`);
    return exitCodes.done;
  }
  const headers = { "idempotency-key": randomUUID() };
  const reply = await client.post(`/bulks/${path}`, { ...sent, query, headers });
  const { id } = reply.body as Bulk;
  if (values.detach === true) {
    say(id);
    return exitCodes.done;
  }
  process.stderr.write(`bulk ${id}: it goes on in the server, also if this command ends\n`);
  return follow(client, id);
}

/** How often a bulk is looked at, and while the server is away. */
const [lookMs, awayMs] = [250, 2000];

async function follow(client: Client, id: string): Promise<ExitCode> {
  const bar = new ProgressBar();
  for (;;) {
    try {
      const bulk = (await client.get(pathOf(id))).body as Bulk;
      if (bulk.status === "running" || bulk.status === "paused") {
        const settled = bulk.done + bulk.gone + sumOf(bulk.refused);
        const share =
          bulk.matched === undefined ? undefined : Math.min(1, settled / Math.max(1, bulk.matched));
        bar.show(bulk.status === "paused" ? `${resultOf(bulk)}, paused` : resultOf(bulk), share);
        await sleep(lookMs);
        continue;
      }
      bar.end();
      say(`${shown(id)}  ${bulk.status}: ${resultOf(bulk)}`);
      return bulk.status === "done" && sumOf(bulk.refused) === 0 ? exitCodes.done : exitCodes.failed;
    } catch (error) {
      if (!(error instanceof CommandError) || error.exitCode !== exitCodes.tryAgain) throw error;
      bar.show("the server is away", undefined);
      await sleep(awayMs);
    }
  }
}

const columns: readonly Column<Bulk>[] = [
  ["bulk", ({ id }) => id],
  ["command", ({ command: { kind, name } }) => (name === undefined ? kind : `${kind} ${name}`)],
  ["status", ({ status }) => status],
  ["matched", ({ matched }) => (matched === undefined ? undefined : `${matched}`)],
  ["result", resultOf],
  ["by", ({ by }) => by],
  ["created", ({ createdAt }) => createdAt],
];

const simple = (name: "pause" | "resume" | "cancel", about: string): Command =>
  command({
    name: `bulks ${name}`,
    about,
    takes: "BULK",
    options: serverOptions,
    run: async ({ values, positionals: [id = ""] }) => {
      const headers = { "idempotency-key": randomUUID() };
      const { body } = await new Client(findServer(values)).post(`${pathOf(id)}/${name}`, { headers });
      say(`${shown(id)}  ${(body as Bulk).status}: ${resultOf(body as Bulk)}`);
    },
  });

/** The commands about bulks. */
export const bulkCommands: readonly Command[] = [
  command({
    name: "bulks list",
    about:
      "Lists bulks, newest first: commands to all requests that a filter means (requests cancel --where).",
    takes: "",
    options: {
      limit: { type: "string", value: "N", about: "at most so many (50)" },
      ...watchOption,
      ...outputOption,
      ...serverOptions,
    },
    run: async ({ values }) => {
      const client = new Client(findServer(values));
      const limit = wholeNumber("--limit", values.limit, 50, 1);
      await again(values.watch, async () => {
        const { body } = await client.get("/bulks", { query: { limit } });
        printRows(values.output, (body as { readonly bulks: readonly Bulk[] }).bulks, {
          columns,
          idOf: ({ id }) => id,
          none: "there are no bulks",
        });
      });
    },
  }),
  command({
    name: "bulks get",
    about: "Prints a bulk as JSON: its command, its filter, and how far it is.",
    takes: "BULK",
    options: serverOptions,
    run: async ({ values, positionals: [id = ""] }) => {
      const { body } = await new Client(findServer(values)).get(pathOf(id));
      say(JSON.stringify(body, undefined, 2));
    },
  }),
  command({
    name: "bulks watch",
    about: "Waits for the end of a bulk, and says what came of it.",
    takes: "BULK",
    options: serverOptions,
    run: ({ values, positionals: [id = ""] }) => follow(new Client(findServer(values)), id),
  }),
  command({
    name: "bulks items",
    about: "Lists what came of the command to each request: done, refused with its code, or gone.",
    takes: "BULK",
    options: {
      outcome: {
        type: "string",
        choices: ["done", "refused", "gone"],
        about: "only those with this outcome",
      },
      ...outputOption,
      ...serverOptions,
    },
    run: async ({ values, positionals: [id = ""] }) => {
      const client = new Client(findServer(values));
      const rows: Item[] = [];
      let cursor: string | undefined;
      for (;;) {
        const { body } = await client.get(`${pathOf(id)}/items`, { query: { limit: 1000, cursor } });
        const page = body as { readonly items: readonly Item[]; readonly cursor?: string };
        const meant = page.items.filter(({ outcome }) => (values.outcome ?? outcome) === outcome);
        // They may be many: what prints line by line does so at once.
        if (values.output === "jsonl" || values.output === "ids") printItems(values.output, meant);
        else rows.push(...meant);
        if (page.cursor === undefined || page.cursor === cursor) break;
        cursor = page.cursor;
      }
      if (values.output !== "jsonl" && values.output !== "ids") printItems(values.output, rows);
    },
  }),
  simple("pause", "Pauses a bulk: it gives no more commands."),
  simple("resume", "Resumes a bulk."),
  simple("cancel", "Ends a bulk: requests that have not got the command get none."),
];

function printItems(output: string | undefined, items: readonly Item[]): void {
  printRows(output, items, {
    columns: [
      ["id", ({ id }) => id],
      ["outcome", ({ outcome }) => outcome],
      ["code", ({ code }) => code],
      ["at", ({ at }) => at],
    ],
    idOf: ({ id }) => id,
    none: "there are none",
  });
}
