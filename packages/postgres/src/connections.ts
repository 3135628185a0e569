import { setTimeout as sleep } from "node:timers/promises";
import {
  Pool,
  types,
  type ClientBase,
  type ClientConfig,
  type PoolClient,
  type PoolConfig,
  type QueryConfig,
} from "pg";
import { configError, isDoubtful, isLost, toError, unavailable } from "./errors.ts";
import type { ConnectionOptions } from "./options.ts";
import { primaryOf, serversOf } from "./servers.ts";

type Row = Record<string, unknown>;

const readAttempts = 3;

/** Connections to one server: those that write, so that a commit never waits behind reads, and some that read. */
interface Place {
  readonly server: ClientConfig;
  readonly timeline: number;
  readonly writer: Pool;
  readonly readers: Pool;
}

/**
 * Connections to a server, or to whichever of several takes writes. One that fails is thrown away, and the next statement
 * makes a new one; of several servers it asks first which of them it is now. Once another one was found, nothing that the
 * server before says counts any more, though it may come back and take writes.
 */
export class Connections {
  readonly schema: string;
  /** The last batch of each shard that was seen committed here: a server that lacks it has lost commits. */
  readonly committed = new Map<number, number>();
  /** Whether losing the last commits is what was asked for. */
  readonly toleratesLoss: boolean;
  readonly #servers: readonly ClientConfig[];
  readonly #open: (server: ClientConfig, timeline: number) => Place;
  #place: Place | undefined;
  /** Something failed at its server: another one may take writes by now. */
  #inDoubt = false;
  #finding: Promise<Place> | undefined = undefined;
  #closed = false;

  constructor(options: ConnectionOptions) {
    const {
      schema = "wheelwork",
      durability = "full",
      timeoutMs = 10_000,
      readers = 2,
      writers = 1,
      ...server
    } = options;
    if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) {
      throw configError(
        `the schema ${JSON.stringify(schema)} cannot be used`,
        "Name it with small letters, digits and _.",
      );
    }
    const counts = [readers, writers].every((count) => Number.isInteger(count) && count >= 1);
    if (!Number.isFinite(timeoutMs) || timeoutMs < 1 || !counts)
      throw configError(
        "timeoutMs, readers and writers must be at least 1",
        "Leave them out for the defaults.",
      );
    if (/[?&]options=/.test(options.connectionString ?? ""))
      throw configError(
        "the connection string sets options, as the store itself does",
        "Set them for the user on the server.",
      );
    this.schema = schema;
    this.toleratesLoss = durability === "normal";
    const settings = [
      `search_path=${schema}`,
      // A server that waits for the rest of a transaction must not hold its locks for ever, when the client has gone.
      `idle_in_transaction_session_timeout=${timeoutMs}`,
      // Plans are made once, when the tables may be empty: one that reads a whole table is a disaster when it has grown.
      "enable_seqscan=off",
      "tcp_keepalives_idle=10",
      "tcp_keepalives_interval=5",
      "tcp_keepalives_count=3",
      ...(durability === "normal" ? ["synchronous_commit=off"] : []),
    ];
    const config: PoolConfig = {
      options: settings.map((setting) => `-c ${setting}`).join(" "),
      connectionTimeoutMillis: timeoutMs,
      statement_timeout: timeoutMs,
      // The server keeps the bound itself, unless it is frozen, or cut off.
      query_timeout: timeoutMs + 1000,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      idleTimeoutMillis: 0,
      types: { getTypeParser: parserOf as typeof types.getTypeParser },
    };
    this.#servers = serversOf(server).map((given) => ({
      application_name: "wheelwork",
      ...given,
      ...config,
    }));
    this.#open = (to, timeline) => ({
      server: to,
      timeline,
      writer: pool({ ...to, max: writers }),
      readers: pool({ ...to, max: readers }),
    });
    const [only, ...more] = this.#servers;
    this.#place = only === undefined || more.length > 0 ? undefined : this.#open(only, 0);
  }

  /** Runs one statement on a connection that writes; whatever fails may have happened or not. */
  write(statement: QueryConfig): Promise<Row[]> {
    return this.#at(async ({ writer }) => (await writer.query<Row>(statement)).rows);
  }

  /** Asks, and asks again some times when the connection was lost. */
  async read(statement: QueryConfig): Promise<Row[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#at(async ({ readers }) => (await readers.query<Row>(statement)).rows);
      } catch (error) {
        if (attempt === readAttempts || !isLost(error)) throw error;
        await sleep(attempt * 50);
      }
    }
  }

  /** Runs statements in one transaction on a connection that writes. */
  transaction<T>(body: (client: ClientBase) => Promise<T>): Promise<T> {
    return this.#at(async ({ writer }) => {
      let client: PoolClient | undefined;
      try {
        client = await writer.connect();
        await client.query("BEGIN");
        const result = await body(client);
        await client.query("COMMIT");
        client.release();
        return result;
      } catch (error) {
        // With its connection, the transaction ends.
        client?.release(true);
        throw error;
      }
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#finding?.catch(() => {});
    if (this.#place !== undefined) await end(this.#place);
  }

  /** Does something at the server that takes writes. What another one has done meanwhile counts as not seen. */
  async #at<T>(body: (place: Place) => Promise<T>): Promise<T> {
    try {
      const place = this.#inDoubt || this.#place === undefined ? await this.#find() : this.#place;
      let result: T;
      try {
        result = await body(place);
      } catch (error) {
        if (this.#servers.length > 1 && place === this.#place) this.#inDoubt ||= isDoubtful(error);
        throw error;
      }
      if (place === this.#place) return result;
    } catch (error) {
      throw toError(error);
    }
    throw unavailable("the server that was asked was left for another one meanwhile");
  }

  #find(): Promise<Place> {
    return (this.#finding ??= this.#look().finally(() => (this.#finding = undefined)));
  }

  async #look(): Promise<Place> {
    const before = this.#place;
    const { server, timeline } = await primaryOf(this.#servers, before?.timeline ?? 0);
    if (this.#closed) throw unavailable("the store is closed");
    this.#inDoubt = false;
    if (before?.server === server && before.timeline === timeline) return before;
    if (before !== undefined) void end(before);
    return (this.#place = this.#open(server, timeline));
  }
}

const end = ({ writer, readers }: Place): Promise<unknown> => Promise.all([writer.end(), readers.end()]);

function pool(config: PoolConfig): Pool {
  const made = new Pool(config);
  // A connection that is lost tells whoever uses it; in between, nobody listens, and the next statement makes a new one.
  made.on("error", () => {});
  made.on("connect", (client) => void client.on("error", () => {}));
  return made;
}

const int8 = 20;

/** Numbers of 64 bits are times and counts here, which a JavaScript number holds. */
function parserOf(oid: number, format?: "text" | "binary"): (value: string) => unknown {
  return oid === int8 ? Number : (types.getTypeParser(oid, format as "text") as (value: string) => unknown);
}
