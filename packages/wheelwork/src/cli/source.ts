import { labelsOfTexts, nextAfter, readStore, type RequestView, type StoreReader } from "@wheelwork/engine";
import { Client } from "./client.ts";
import { usageError } from "./command.ts";
import { findServer, serverOptions, type ServerValues } from "./contexts.ts";

/** A request, as a list shows it. */
export interface Row {
  readonly id: string;
  readonly hub: string;
  readonly version: number;
  readonly status: string;
  readonly state: string;
  readonly createdAt: string;
  readonly answeredAt?: string;
}

export interface Answer {
  readonly kind: string;
}

/** A request, as it is shown alone. */
export interface View extends Row {
  readonly request: unknown;
  readonly answer?: Answer;
  readonly incident?: {
    readonly at: string;
    readonly error: { readonly code?: string; readonly message: string };
  };
}

export interface Filter {
  readonly status?: readonly string[];
  readonly hub?: string;
  /** Each is `name=value`. */
  readonly label?: readonly string[];
  readonly order?: string;
  readonly limit: number;
  readonly cursor: string | undefined;
}

/** Incidents of one kind. */
export interface Incidents {
  readonly hub: string;
  readonly state: string;
  readonly code?: string;
  readonly message?: string;
  readonly count: number;
}

/** Where requests are read: a server, or the file of an engine that has stopped. Both give the same. */
export interface Source {
  list(filter: Filter): Promise<{ readonly requests: readonly Row[]; readonly cursor?: string }>;
  get(id: string): Promise<View>;
  incidents(filter: Pick<Filter, "hub">): Promise<readonly Incidents[]>;
  history(
    id: string,
    after: number,
    limit: number,
  ): Promise<{ readonly events: readonly object[]; readonly hasMore: boolean }>;
}

/** Options of the commands that read requests. */
export const sourceOptions = {
  store: {
    type: "string",
    value: "FILE",
    about: "reads the SQLite file of an engine that has stopped; nothing is written",
  },
  ...serverOptions,
} as const;

type Values = { readonly [Name in keyof typeof sourceOptions]?: string | undefined };

/** Reads from the server, or from the file, that the options name. */
export async function withSource<T>(
  { store, ...server }: Values,
  read: (source: Source) => Promise<T>,
): Promise<T> {
  if (store === undefined) return read(new ServerSource(new Client(findServer(server as ServerValues))));
  const names = Object.keys(serverOptions) as (keyof ServerValues)[];
  if (names.some((name) => server[name] !== undefined))
    throw usageError("give --store for a file, or --url or --context for a server");
  const reader = readStore(store);
  let given: T;
  try {
    given = await read(new FileSource(reader));
  } catch (error) {
    // An engine that has begun to work on the file is a better reason than what came of it.
    await reader.close();
    throw error;
  }
  await reader.close();
  return given;
}

export class ServerSource implements Source {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  async list(filter: Filter): ReturnType<Source["list"]> {
    const { body } = await this.#client.get("/requests", { query: { ...filter } });
    return body as Awaited<ReturnType<Source["list"]>>;
  }

  async get(id: string): Promise<View> {
    return (await this.#client.get(`/requests/${encodeURIComponent(id)}`)).body as View;
  }

  async incidents(filter: Pick<Filter, "hub">): Promise<readonly Incidents[]> {
    const { body } = await this.#client.get("/incidents", { query: { ...filter } });
    return (body as { readonly incidents: readonly Incidents[] }).incidents;
  }

  async history(id: string, after: number, limit: number): ReturnType<Source["history"]> {
    const path = `/requests/${encodeURIComponent(id)}/history`;
    const { body } = await this.#client.get(path, { query: { cursor: after, limit } });
    const { events, cursor } = body as { readonly events: readonly object[]; readonly cursor?: string };
    return { events, hasMore: cursor !== undefined };
  }
}

class FileSource implements Source {
  readonly #reader: StoreReader;

  constructor(reader: StoreReader) {
    this.#reader = reader;
  }

  async list({ cursor, label = [], ...filter }: Filter): ReturnType<Source["list"]> {
    const { items, ...more } = await this.#reader.requests({
      ...(filter as { readonly limit: number }),
      labels: labelsOfTexts(label),
      ...(cursor === undefined ? {} : { cursor }),
    });
    return { requests: items.map((item) => withTexts(item) as Row), ...more };
  }

  async get(id: string): Promise<View> {
    const { openCalls, incident, lane, ...view } = await this.#reader.request(id);
    return {
      ...(withTexts(view) as View),
      ...(openCalls === undefined ? {} : { openCalls: openCalls.map(withTexts) }),
      ...(incident === undefined ? {} : { incident: incidentText(incident) }),
      ...(lane === undefined ? {} : { lane: withTexts(lane) }),
    };
  }

  incidents(filter: Pick<Filter, "hub">): Promise<readonly Incidents[]> {
    return this.#reader.incidents(filter);
  }

  async history(id: string, after: number, limit: number): ReturnType<Source["history"]> {
    // One more than the page holds says that there is another page.
    const events = await this.#reader.history(id, { after, limit: limit + 1 });
    const page = events.slice(0, limit).map((event) => {
      const shown = withTexts(event);
      return event.type === "incident" ? { ...shown, error: withoutStack(event.error) } : shown;
    });
    return { events: page, hasMore: events.length > limit };
  }
}

function incidentText(incident: NonNullable<RequestView["incident"]>): NonNullable<View["incident"]> {
  const error = withoutStack(incident.error) as NonNullable<View["incident"]>["error"];
  return { ...incident, at: textOfTime(incident.at), error };
}

const withoutStack = ({ stack: _stack, ...error }: { readonly stack?: unknown }): object => error;

const timeNames: ReadonlySet<string> = new Set([
  "at",
  "due",
  "deadline",
  "answerBy",
  "startAt",
  "createdAt",
  "answeredAt",
  "endedAt",
  "waitsUntil",
]);

/** The last day that a Date can hold. */
const latest = 8.64e15;
const textOfTime = (ms: number): string => new Date(Math.min(ms, latest)).toISOString();

/** With its times as the server writes them, and without what is not there. */
function withTexts(given: object): object {
  return Object.fromEntries(
    Object.entries(given).flatMap(([name, value]: [string, unknown]) => {
      if (value === undefined) return [];
      return [[name, timeNames.has(name) && typeof value === "number" ? textOfTime(value) : value]];
    }),
  );
}

/** Where the next page of a history begins. Its times are texts, which do not matter here. */
export const nextPlace = (events: readonly object[], after: number): number =>
  nextAfter(events as Parameters<typeof nextAfter>[0], after);
