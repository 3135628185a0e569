import { transcriber, type HistoryEvent, durationText } from "@wheelwork/core";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "./client.ts";
import { bulkOptions, giveAll } from "./bulks.ts";
import { command, CommandError, usageError, wholeNumber, type Command, type Given } from "./command.ts";
import { findServer, serverOptions } from "./contexts.ts";
import { exitCodes, type ExitCode } from "./exit-codes.ts";
import { eventOptions, watchAll } from "./events.ts";
import { servedHubs } from "./hubs.ts";
import {
  nextPlace,
  ServerSource,
  sourceOptions,
  withSource,
  type Answer,
  type Filter,
  type Row,
  type Source,
  type View,
} from "./source.ts";
import { countRequests } from "./counts.ts";
import { filterOf, filterOptions, whereOption } from "./where.ts";
import { again, idsOf, outputOption, printRows, say, shown, watchOption, type Column } from "./output.ts";

const columns: readonly Column<Row>[] = [
  ["id", ({ id }) => id],
  ["hub", ({ hub }) => hub],
  ["status", ({ status }) => status],
  ["state", ({ state }) => state],
  ["created", ({ createdAt }) => createdAt],
  ["answered", ({ answeredAt }) => answeredAt],
  [
    "took",
    ({ createdAt, answeredAt }) =>
      answeredAt === undefined ? undefined : durationText(Date.parse(answeredAt) - Date.parse(createdAt)),
  ],
];

const pathOf = (id: string): string => `/requests/${encodeURIComponent(id)}`;
const pageSize = 1000;

/** Requests, newest first, page by page. */
async function* listed(
  source: Source,
  filter: Omit<Filter, "limit" | "cursor">,
  most: number,
): AsyncGenerator<readonly Row[]> {
  let cursor: string | undefined;
  let left = most;
  do {
    const page = await source.list({ ...filter, limit: Math.min(left, pageSize), cursor });
    yield page.requests;
    left -= page.requests.length;
    cursor = page.cursor;
  } while (cursor !== undefined && left > 0);
}

/** The ids that the arguments name. `-` stands for those that come in. */
function namedIds(given: readonly string[]): string[] {
  return given.flatMap((id) => (id === "-" ? idsOf(readFileSync(0, "utf8")) : [id]));
}

/** A value that an argument holds: JSON, `@FILE` with JSON, or `-` for standard input. */
function jsonArgument(given: string | undefined, what: string): unknown {
  if (given === undefined) return undefined;
  const text = textArgument(given, what);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw usageError(`${what} is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function textArgument(given: string, what: string): string {
  if (given === "-") return readFileSync(0, "utf8");
  if (!given.startsWith("@")) return given;
  const file = given.slice(1);
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw usageError(`the file ${file} of ${what} cannot be read: ${(error as Error).message}`);
  }
}

const list = command({
  name: "requests list",
  about: "Lists requests, newest first if --order does not say otherwise.",
  more: `-o ids prints ids only, which other commands read: wheelwork requests list --status incident -o ids | wheelwork requests retry -

--where takes all that a server can look for, such as a text or a value inside of requests and views:
  wheelwork requests list --where "text=broken"
  wheelwork requests list --where "hub=order value=request.customer.id=42 minDurationMs=5000"`,
  takes: "",
  options: {
    ...filterOptions,
    ...whereOption,
    order: {
      type: "string",
      choices: ["newest", "oldest", "duration", "attempts"],
      about:
        "which come first (newest). duration: whose answer took longest; attempts: whose open call was made most often",
    },
    limit: { type: "string", value: "N", about: "at most so many (50)" },
    all: { type: "boolean", about: "all of them, page by page" },
    ...watchOption,
    ...outputOption,
    ...sourceOptions,
  },
  run: async ({ values }) => {
    if (values.all === true && values.limit !== undefined)
      throw usageError("give --all or --limit, not both");
    const most = values.all === true ? Number.POSITIVE_INFINITY : wholeNumber("--limit", values.limit, 50, 1);
    const form = { columns, idOf: ({ id }: Row) => id, none: "there are no such requests" };
    if (values.where !== undefined && values.store !== undefined)
      throw usageError("--where asks a server: leave --store out");
    const filter = { ...filterOf(values), ...(values.order === undefined ? {} : { order: values.order }) };
    const streams = values.output === "jsonl" || values.output === "ids";
    await again(values.watch, () =>
      withSource(values, async (source) => {
        const rows: Row[] = [];
        for await (const page of listed(source, filter, most)) {
          if (streams) printRows(values.output, page, form);
          else rows.push(...page);
        }
        if (!streams) printRows(values.output, rows, form);
      }),
    );
  },
});

const get = command({
  name: "requests get",
  about: "Prints a request as JSON: its state, its open calls, its incident, its view, its answer.",
  takes: "ID",
  options: {
    at: {
      type: "string",
      value: "EVENT",
      about: "as it was after this event, with its data: 0 is the first one",
    },
    ...sourceOptions,
  },
  run: async ({ values, positionals: [id = ""] }) => {
    if (values.at !== undefined) {
      if (values.store !== undefined) throw usageError("--at asks a server: leave --store out");
      const event = wholeNumber("--at", values.at, 0, 0);
      const { body } = await new Client(findServer(values)).get(`${pathOf(id)}/history/${event}`);
      return say(JSON.stringify(body, undefined, 2));
    }
    const view = await withSource(values, (source) => source.get(id));
    say(JSON.stringify(view, undefined, 2));
  },
});

const times: ReadonlySet<string> = new Set(["at", "due", "deadline", "answerBy", "startAt"]);

/** An event as the engine has it: the server gives times as ISO texts. */
function eventOf(given: object): HistoryEvent {
  const withNumbers = (fields: object): object =>
    Object.fromEntries(
      Object.entries(fields).map(([name, value]: [string, unknown]) => [
        name,
        times.has(name) && typeof value === "string" ? Date.parse(value) : value,
      ]),
    );
  const event = withNumbers(given) as { calls?: readonly object[] };
  return (
    event.calls === undefined ? event : { ...event, calls: event.calls.map(withNumbers) }
  ) as HistoryEvent;
}

/** Pages of a history from a place on, each with the place of what comes later. */
async function* history(
  source: Source,
  id: string,
  from: number,
): AsyncGenerator<{ readonly events: readonly object[]; readonly next: number }> {
  let next = from;
  for (let isMore = true; isMore;) {
    const { events, hasMore } = await source.history(id, next, pageSize);
    next = nextPlace(events, next);
    isMore = hasMore;
    yield { events, next };
  }
}

const historyOf = command({
  name: "requests history",
  about: "Prints what happened to a request, oldest first.",
  takes: "ID",
  options: {
    output: {
      type: "string",
      short: "o",
      choices: ["text", "json", "jsonl"],
      about: "how to print it (text)",
    },
    last: { type: "string", value: "N", about: "only the last N events" },
    ...sourceOptions,
  },
  run: async ({ values, positionals: [id = ""] }) => {
    const all: object[] = [];
    const transcribe = transcriber();
    if (values.last !== undefined) {
      if (values.store !== undefined) throw usageError("--last asks a server: leave --store out");
      const query = { order: "newest", limit: wholeNumber("--last", values.last, 1, 1) };
      const { body } = await new Client(findServer(values)).get(`${pathOf(id)}/history`, { query });
      const events = (body as { readonly events: readonly object[] }).events.toReversed();
      if (values.output === "json") return say(JSON.stringify(events, undefined, 2));
      for (const event of events) printEvent(event, values.output, transcribe);
      return;
    }
    await withSource(values, async (source) => {
      for await (const { events } of history(source, id, 0)) {
        if (values.output === "json") all.push(...events);
        else for (const event of events) printEvent(event, values.output, transcribe);
      }
    });
    if (values.output === "json") say(JSON.stringify(all, undefined, 2));
  },
});

function printEvent(
  event: object,
  output: string | undefined,
  transcribe: (event: HistoryEvent) => string,
): void {
  if (output === "jsonl") return say(JSON.stringify(event));
  for (const line of transcribe(eventOf(event)).trimEnd().split("\n")) say(shown(line));
}

const whatIf = command({
  name: "requests what-if",
  about:
    "Tells what would happen to a request, and does nothing: no worker is called, and nothing is stored.",
  more: `SUPPOSITION is JSON, @FILE, or - for standard input:
  {"kind":"signal","name":"approve","payload":{}}      a signal comes
  {"kind":"cancel"}, {"kind":"retry"}                  a command comes
  {"kind":"outcome","call":3,"outcome":{"kind":"error","code":"busy","message":"x"},"isFinal":true}
                                                       an open call fails, and so do all its attempts
  {"kind":"time"}, {"kind":"time","until":"deadline"}  nobody answers, and time passes`,
  takes: "ID SUPPOSITION",
  options: {
    output: { type: "string", short: "o", choices: ["text", "json"], about: "how to print it (text)" },
    ...serverOptions,
  },
  run: async ({ values, positionals: [id = "", given] }) => {
    const client = new Client(findServer(values));
    const body = jsonArgument(given, "the supposition");
    const reply = (await client.post(`${pathOf(id)}/what-if`, { body })).body as Supposed;
    if (values.output === "json") return say(JSON.stringify(reply, undefined, 2));
    const transcribe = transcriber();
    // What it was before says where the events begin.
    for await (const page of history(new ServerSource(client), id, 0))
      for (const event of page.events) transcribe(eventOf(event));
    for (const event of reply.events) printEvent(event, values.output, transcribe);
    const { status, state } = reply.request;
    if (reply.events.length === 0) say(`nothing would change: ${reply.ignored ?? "nothing is due"}`);
    say(`it would be ${status}${state === "" ? "" : ` in ${shown(state)}`}`);
    if (reply.answerBy !== undefined) say(`it would be answered by ${reply.answerBy}`);
  },
});

interface Supposed {
  readonly events: readonly object[];
  readonly ignored?: string;
  readonly answerBy?: string;
  readonly request: View;
}

/** How often a request is looked at while nothing happens, and while the server is away. */
const [lookMs, awayMs] = [250, 2000];

const watch = command({
  name: "requests watch",
  about:
    "Prints what happens to a request until it has ended; without ID, to all requests, until Ctrl+C. It waits while the server is away.",
  takes: "[ID]",
  options: {
    output: { type: "string", short: "o", choices: ["text", "jsonl"], about: "how to print it (text)" },
    ...eventOptions,
    ...serverOptions,
  },
  run: async ({ values, positionals: [id] }) => {
    const client = new Client(findServer(values));
    if (id === undefined) return watchAll(client, ofEvents(values), eventOf);
    const given = Object.keys(ofEvents(values)).filter((name) => name !== "output");
    if (given.length > 0) throw usageError(`--${given.join(", --")}: only without ID`);
    const source = new ServerSource(client);
    const transcribe = transcriber();
    let next = 0;
    let isAway = false;
    for (;;) {
      try {
        // The request is read before its history: so what led to its end is in the history.
        const { status, answer } = await source.get(id);
        for await (const page of history(source, id, next)) {
          for (const event of page.events) printEvent(event, values.output, transcribe);
          ({ next } = page);
        }
        isAway = false;
        if (status === "ended" || status === "lost") return exitCodeOfAnswer(answer);
        await sleep(lookMs);
      } catch (error) {
        if (!(error instanceof CommandError) || error.exitCode !== exitCodes.tryAgain) throw error;
        if (!isAway) process.stderr.write(`${error.message.split("\n")[0] ?? ""}: waiting for it\n`);
        isAway = true;
        await sleep(awayMs);
      }
    }
  },
});

/** Without what says where the server is. */
const ofEvents = <V extends { readonly url?: string; readonly context?: string }>({
  url: _url,
  context: _context,
  ...values
}: V) => values;

const exitCodeOfAnswer = (answer: Answer | undefined): ExitCode => {
  if (answer === undefined) return exitCodes.noAnswerYet;
  return answer.kind === "result" ? exitCodes.done : exitCodes.badAnswer;
};

const waitOption = {
  wait: { type: "string", value: "SECONDS", about: "waits for the answer at most so long" },
} as const;

/** The longest wait that is asked for at once. */
const longestWait = 60;

/** Waits for the answer, and prints it. */
async function printAnswer(client: Client, id: string, waitSeconds: number): Promise<ExitCode> {
  const until = Date.now() + waitSeconds * 1000;
  for (;;) {
    const left = Math.max(0, Math.min(longestWait, Math.ceil((until - Date.now()) / 1000)));
    // The reply has the status of the answer, so that it may look like a refusal. The request itself says what the answer is.
    const prefer = left === 0 ? {} : { prefer: `wait=${left}` };
    const isAnswer = ({ headers }: { readonly headers: Headers }): boolean => headers.has("content-location");
    await client.get(`${pathOf(id)}/answer`, { headers: prefer, expected: isAnswer });
    const view = (await client.get(pathOf(id))).body as View;
    if (view.answer !== undefined || Date.now() >= until) return printKnownAnswer(id, view);
  }
}

function printKnownAnswer(id: string, { answer, status }: View): ExitCode {
  if (answer === undefined) process.stderr.write(`${shown(id)} has no answer yet: it is ${status}\n`);
  else say(JSON.stringify(answer, undefined, 2));
  return exitCodeOfAnswer(answer);
}

const answer = command({
  name: "requests answer",
  about: "Prints the answer to a request as JSON.",
  takes: "ID",
  options: { ...waitOption, ...sourceOptions },
  run: ({ values, positionals: [id = ""] }) => {
    const waitSeconds = wholeNumber("--wait", values.wait, 0, 0);
    if (values.store === undefined) return printAnswer(new Client(findServer(values)), id, waitSeconds);
    if (values.wait !== undefined)
      throw usageError("an engine that has stopped gives no answers: leave --wait out, or start it");
    return withSource(values, async (source) => printKnownAnswer(id, await source.get(id)));
  },
});

const submit = command({
  name: "requests submit",
  about: "Sends a request to a hub, and prints its id. With --wait, prints its answer.",
  more: `REQUEST is JSON, @FILE, or - for standard input. The same key is the same request, so a command that is not sure to have
arrived may be repeated with it.`,
  takes: "HUB REQUEST",
  options: {
    key: { type: "string", value: "KEY", about: "the key of the request (a random one)" },
    "start-at": {
      type: "string",
      value: "TIME",
      about: "when it is to begin: ISO 8601 with a time zone, such as 2026-10-01T00:00:00Z (now)",
    },
    ...waitOption,
    ...serverOptions,
  },
  run: async ({ values, positionals: [hub = "", request] }) => {
    const client = new Client(findServer(values));
    const body = jsonArgument(request, "the request");
    const key = values.key ?? randomUUID();
    const id = await send(client, hub, body, key, values["start-at"]);
    if (values.wait !== undefined) return printAnswer(client, id, wholeNumber("--wait", values.wait, 0, 0));
    say(id);
    return exitCodes.done;
  },
});

/** Sends a request to a hub. The result is its id. */
async function send(
  client: Client,
  hub: string,
  body: unknown,
  key: string,
  startAt?: string,
): Promise<string> {
  const found = (await servedHubs(client)).find(({ name }) => name === hub);
  if (found?.path === undefined) {
    const why =
      found === undefined ? `the server has no hub ${hub}` : `the hub ${hub} takes no requests over HTTP`;
    throw new CommandError(`${why}\n  See: wheelwork hubs list`, exitCodes.notFound);
  }
  const headers = { "idempotency-key": encodeURIComponent(key), prefer: "wait=0" };
  const reply = await client.post(found.path, {
    body,
    headers,
    query: { startAt },
    expected: (one) => one.headers.has("content-location"),
  });
  return idOf(reply, key);
}

const rerun = command({
  name: "requests rerun",
  about:
    "Sends what a request has asked for to its hub once more, as a new request, and prints its id. With --wait, prints its answer.",
  more: `REQUEST is asked for instead: JSON, @FILE, or - for standard input. Without it the body is the old one, as the schema of its
hub has made it. All that the old request has done stays done.`,
  takes: "ID [REQUEST]",
  options: {
    key: { type: "string", value: "KEY", about: "the key of the new request (a random one)" },
    ...waitOption,
    ...serverOptions,
  },
  run: async ({ values, positionals: [id = "", edited] }) => {
    const client = new Client(findServer(values));
    const { hub, request } = (await client.get(pathOf(id))).body as View;
    const body = jsonArgument(edited, "the request") ?? request;
    const made = await send(client, hub, body, values.key ?? randomUUID());
    if (values.wait !== undefined) return printAnswer(client, made, wholeNumber("--wait", values.wait, 0, 0));
    say(made);
    return exitCodes.done;
  },
});

/** The id of the request that a reply is about: a hub with a lane makes another one of the key. */
function idOf({ body, headers }: { readonly body: unknown; readonly headers: Headers }, key: string): string {
  const { requestId } = (typeof body === "object" && body !== null ? body : {}) as {
    readonly requestId?: unknown;
  };
  if (typeof requestId === "string") return requestId;
  const location = headers.get("location") ?? headers.get("content-location");
  const [, id] = /\/requests\/([^/]+)/.exec(location ?? "") ?? [];
  return id === undefined ? key : decodeURIComponent(id);
}

/** How many commands are under way at once. */
const atOnce = 8;

interface OfMany {
  readonly path: string;
  readonly body?: unknown;
  /** What was done, such as "asked to end". */
  readonly said: string;
}

/** Sends a command to each of many requests. One that fails stops no other one. */
async function each(
  client: Client,
  ids: readonly string[],
  dryRun: boolean | undefined,
  { path, body, said }: OfMany,
): Promise<ExitCode> {
  if (dryRun === true) {
    for (const id of ids) say(`${shown(id)}  would be ${said}`);
    return exitCodes.done;
  }
  const codes = new Set<ExitCode>();
  const waiting = ids.values();
  const work = async (): Promise<void> => {
    for (const id of waiting) {
      try {
        const headers = { "idempotency-key": randomUUID() };
        await client.post(`${pathOf(id)}/${path}`, body === undefined ? { headers } : { body, headers });
        say(`${shown(id)}  ${said}`);
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        process.stderr.write(`${shown(id)}  ${error.message}\n`);
        codes.add(error.exitCode);
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  const [only = exitCodes.done] = codes;
  return codes.size > 1 ? exitCodes.failed : only;
}

const manyOptions = {
  ...whereOption,
  "dry-run": { type: "boolean", about: "says what it would do, and does nothing" },
  ...bulkOptions,
  ...serverOptions,
} as const;

const many = `ID is an id, or - for ids that come in, one in each line, as \`requests list -o ids\` prints them. With --where the server
gives the command to all requests that the filter means, as a bulk: it goes on if this command ends, and \`bulks list\` shows it.`;

/** Sends a command to all requests that a filter means, or to each of those that are named. */
function give(
  values: Given<typeof manyOptions>["values"],
  ids: readonly string[],
  of: OfMany,
): Promise<ExitCode> {
  const client = new Client(findServer(values));
  const { where } = values;
  if (where !== undefined && ids.length > 0) throw usageError("give ids or --where, not both");
  if (where !== undefined) return giveAll(client, { ...values, where }, of);
  if (values.detach === true) throw usageError("--detach goes with --where");
  if (ids.length === 0) throw usageError("give ids, or --where with a filter");
  return each(client, namedIds(ids), values["dry-run"], of);
}

const commands = [
  command({
    name: "requests cancel",
    about: "Asks requests to end early.",
    more: many,
    takes: "[ID]...",
    options: manyOptions,
    run: async ({ values, positionals }) =>
      give(values, positionals, {
        path: "cancel",
        said: "asked to end",
      }),
  }),
  command({
    name: "requests signal",
    about: "Sends a signal to a request.",
    more: `${many}\nPAYLOAD is JSON, or @FILE. Without it the payload is null.`,
    takes: "[ID] NAME [PAYLOAD]",
    options: manyOptions,
    run: async ({ values, positionals }) => {
      const [name, payload, ...more] = values.where === undefined ? positionals.slice(1) : positionals;
      if (name === undefined || more.length > 0)
        throw usageError("requests signal takes ID NAME [PAYLOAD], or NAME [PAYLOAD] and --where");
      return give(values, values.where === undefined ? positionals.slice(0, 1) : [], {
        path: `signals/${encodeURIComponent(name)}`,
        body: jsonArgument(payload, "the payload") ?? null,
        said: `sent the signal ${name}`,
      });
    },
  }),
  command({
    name: "requests retry",
    about: "Lets parked requests (incidents) go on where they stopped.",
    more: many,
    takes: "[ID]...",
    options: manyOptions,
    run: async ({ values, positionals }) =>
      give(values, positionals, {
        path: "retry",
        said: "retried",
      }),
  }),
  command({
    name: "requests resolve",
    about: "Ends parked requests (incidents) with an error.",
    more: many,
    takes: "[ID]...",
    options: {
      message: { type: "string", value: "TEXT", about: "the message of the answer (compulsory)" },
      ...manyOptions,
    },
    run: async ({ values, positionals }) => {
      if (values.message === undefined) throw usageError("requests resolve needs --message");
      return give(values, positionals, {
        path: "resolve",
        body: { message: values.message },
        said: "resolved",
      });
    },
  }),
];

const incidents = command({
  name: "incidents",
  about:
    "Lists parked requests in groups: by hub, state, code and message. -o ids prints the ids of all of them.",
  takes: "",
  options: { hub: filterOptions.hub, ...watchOption, ...outputOption, ...sourceOptions },
  run: ({ values }) =>
    again(values.watch, () => withSource(values, (source) => printIncidents(source, values))),
});

async function printIncidents(
  source: Source,
  values: { readonly hub?: string; readonly output?: string },
): Promise<void> {
  if (values.output === "ids") {
    const filter = { ...filterOf(values), status: ["incident"] };
    for await (const page of listed(source, filter, Number.POSITIVE_INFINITY))
      printRows("ids", page, { columns, idOf: ({ id }) => id, none: "" });
    return;
  }
  printRows(values.output, await source.incidents(values.hub === undefined ? {} : { hub: values.hub }), {
    columns: [
      ["many", ({ count }) => `${count}`],
      ["hub", ({ hub }) => hub],
      ["state", ({ state }) => state],
      ["code", ({ code }) => code],
      ["error", ({ message }) => message],
    ],
    // Ids are printed above.
    idOf: () => "",
    none: "there are no incidents",
  });
}

/** The commands about requests. */
export const requestCommands: readonly Command[] = [
  list,
  countRequests,
  get,
  watch,
  historyOf,
  whatIf,
  answer,
  submit,
  rerun,
  ...commands,
  incidents,
];
