import { demandOptions } from "@wheelwork/core/kernel";
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
import { connectionOptions } from "./option-tables.ts";
import { primaryOf, serversOf } from "./servers.ts";

type Row = Record<string, unknown>;

/** How often a read is tried when its connection is lost. */
const readAttempts = 3;

/** Connections to one server. Those that write are separate, so a commit never waits behind reads. */
interface Place {
  readonly server: ClientConfig;
  /** How often a standby was promoted before it. */
  readonly timeline: number;
  readonly writer: Pool;
  readonly readers: Pool;
}

/**
 * Connections to the server that takes writes, of one server or several. A connection that fails is closed, and the
 * next statement opens a new one. Of several servers, it first finds out again which one takes writes. Once it has left
 * a server for another one, it ignores all results of the first one: that server may come back and take writes too.
 */
export class Connections {
  readonly schema: string;
  /** The last batch of each shard that this process has seen committed. A server that lacks it has lost commits. */
  readonly committed = new Map<number, number>();
  /** The user has chosen that the server may lose the last commits (`durability: "normal"`). */
  readonly toleratesLoss: boolean;
  readonly #servers: readonly ClientConfig[];
  readonly #open: (server: ClientConfig, timeline: number) => Place;
  #place: Place | undefined;
  /** Something failed at the present server, so another one may take writes by now. */
  #inDoubt = false;
  #finding: Promise<Place> | undefined = undefined;
  #closed = false;

  /** @throws WheelworkError WW_CONFIG when the options are not valid. */
  constructor(given: ConnectionOptions) {
    const options = demandOptions<ConnectionOptions>(given, connectionOptions, "connections of PostgreSQL");
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
        `the name of the schema, ${JSON.stringify(schema)}, is not valid`,
        "Use small letters, digits and _, 63 characters at most. It must not begin with a digit.",
      );
    }
    if (/[?&]options=/.test(options.connectionString ?? ""))
      throw configError(
        "the connection string has the parameter options, which the store sets itself",
        "Remove it. Set these options for the user on the server (ALTER ROLE … SET …).",
      );
    this.schema = schema;
    this.toleratesLoss = durability === "normal";
    const settings = [
      `search_path=${schema}`,
      // To compile a count takes longer than the count.
      "jit=off",
      // If the client has gone, the server must not wait for the rest of a transaction, and hold its locks, for ever.
      `idle_in_transaction_session_timeout=${timeoutMs}`,
      // Plans are made once, perhaps while the tables are empty. A plan that scans a whole table would be kept, and be
      // far too slow when the table has grown.
      "enable_seqscan=off",
      // Such a plan reads all rows of an index before it sorts them.
      "enable_bitmapscan=off",
      "tcp_keepalives_idle=10",
      "tcp_keepalives_interval=5",
      "tcp_keepalives_count=3",
      ...(durability === "normal" ? ["synchronous_commit=off"] : []),
    ];
    const config: PoolConfig = {
      options: settings.map((setting) => `-c ${setting}`).join(" "),
      connectionTimeoutMillis: timeoutMs,
      statement_timeout: timeoutMs,
      // The server itself keeps statement_timeout, unless it is frozen or cut off. Then this one ends the statement.
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

  /** Runs one statement on a connection that writes. If it fails, it may have been carried out nevertheless. */
  write(statement: QueryConfig): Promise<Row[]> {
    return this.#at(async ({ writer }) => (await writer.query<Row>(statement)).rows);
  }

  /** Runs one statement that only reads. If the connection is lost, it tries again, a few times. */
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
        // Closing the connection ends the transaction.
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

  /**
   * Does something at the server that takes writes. If another server has replaced it meanwhile, the result is dropped,
   * and the error says that the outcome is unknown.
   */
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
    throw unavailable("another server takes writes now, so the outcome of the statement is not known");
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
  // A statement that runs gets the error of a lost connection. An idle connection has no statement, and an error
  // without a listener would end the process. The next statement opens a new connection.
  made.on("error", () => {});
  made.on("connect", (client) => void client.on("error", () => {}));
  return made;
}

/** The type `int8` of PostgreSQL. */
const int8 = 20;

/** The driver gives 64-bit numbers as strings. Ours are times and counts, and a JavaScript number is exact for them. */
function parserOf(oid: number, format?: "text" | "binary"): (value: string) => unknown {
  return oid === int8 ? Number : (types.getTypeParser(oid, format as "text") as (value: string) => unknown);
}
