import type { WheelworkError } from "@wheelwork/core";
import { Client, type ClientConfig } from "pg";
import { parseIntoClientConfig } from "pg-connection-string";
import type { ConnectionOptions } from "./options.ts";
import { configError, toError, unavailable } from "./errors.ts";

/** The options that name the server. All others are Wheelwork's own. */
type ServerOptions = Pick<
  ConnectionOptions,
  "connectionString" | "host" | "port" | "database" | "user" | "password" | "ssl"
>;

/** The server that takes writes. */
export interface Primary {
  readonly server: ClientConfig;
  /** PostgreSQL's timeline: it grows with each promotion of a standby. An old primary has a smaller one. */
  readonly timeline: number;
}

/** How long to wait for the other servers once one has said that it takes writes, in milliseconds. */
const graceMs = 1000;

/**
 * The driver's options for each server that the options name. Fields take precedence over the connection string.
 * @throws WheelworkError WW_CONFIG when the options are not valid.
 */
export function serversOf({ connectionString, host, ...fields }: ServerOptions): ClientConfig[] {
  try {
    const [before, authority, after] = partsOf(connectionString ?? "");
    const named = authority === "" ? [] : authority.split(",");
    const parsed =
      connectionString === undefined ? {} : parseIntoClientConfig(`${before}${named[0] ?? ""}${after}`);
    demandWrites(parsed);
    // The parser gives empty strings for parts that are missing.
    const said = Object.entries(parsed).filter(([, value]) => value !== "");
    const given = Object.entries(fields).filter(([, value]) => value !== undefined);
    const config = Object.fromEntries([...said, ...given]) as ClientConfig;
    const hosts =
      host === undefined
        ? named.length > 1
          ? named
          : []
        : typeof host === "string"
          ? host.split(",")
          : host;
    const servers =
      hosts.length === 0 ? [config] : hosts.map((one) => ({ ...config, ...placeOf(one, config) }));
    // The driver checks the options when it makes a client.
    for (const server of servers) void new Client(server);
    return servers;
  } catch (error) {
    // The new error has no cause: the cause may hold the password.
    const { code, path } = error as { readonly code?: unknown; readonly path?: unknown };
    if (error instanceof Error && error.name === "WheelworkError") throw error;
    if (path !== undefined)
      throw configError(
        `the file ${String(path)} of the connection string cannot be read (${String(code)})`,
        "Name a file that this program may read.",
      );
    throw configError(
      `the connection options are not valid${code === undefined ? "" : ` (${String(code)})`}`,
      "Write the connection string as postgres://user:password@host:port/database.",
    );
  }
}

/** A connection string in three parts. `authority` is its hosts, which stand between the user and the database. */
function partsOf(text: string): [before: string, authority: string, after: string] {
  const [, before, authority, after] = /^([a-z]+:\/\/(?:[^@/?#]*@)?)([^/?#]*)(.*)$/is.exec(text) ?? [];
  return [before ?? text, authority ?? "", after ?? ""];
}

function placeOf(given: string, { port }: ClientConfig): Pick<ClientConfig, "host" | "port"> {
  const [, host, own] = /^(\[[0-9a-f:.]+\]|\/.*|[^:[\]]+)(?::(\d{1,5}))?$/i.exec(given.trim()) ?? [];
  if (host === undefined)
    throw configError(`the host ${JSON.stringify(given)} is not valid`, "Write it as host or host:port.");
  const number = own === undefined ? port : Number(own);
  return { host: host.replace(/^\[|\]$/g, ""), ...(number === undefined ? {} : { port: number }) };
}

function demandWrites(parsed: object): void {
  const wanted = (parsed as { readonly target_session_attrs?: string }).target_session_attrs;
  if (wanted === undefined || wanted === "read-write" || wanted === "primary") return;
  throw configError(
    `the store must write, but the connection string has target_session_attrs=${wanted}`,
    "Leave it out. Of several servers, the store uses the one that takes writes.",
  );
}

/**
 * Asks all servers at once, and returns the primary: it takes writes. After a failover, an old primary may come back and
 * take writes too. Then it returns the server that was promoted last.
 * @param least The latest timeline that was seen. A server on an earlier one was left behind, and is refused.
 * @throws WheelworkError WW_STORE_UNAVAILABLE when no server takes writes now, with what each server said; WW_CONFIG
 * when all of them refuse the connection for a reason that somebody must correct.
 */
export async function primaryOf(servers: readonly ClientConfig[], least: number): Promise<Primary> {
  const found: Primary[] = [];
  const refusals: { readonly server: ClientConfig; readonly error: WheelworkError }[] = [];
  await new Promise<void>((settled) => {
    let left = servers.length;
    const ask = async (server: ClientConfig): Promise<void> => {
      try {
        found.push({ server, timeline: await timelineOf(server, least) });
        setTimeout(settled, graceMs).unref();
      } catch (error) {
        refusals.push({ server, error: toError(error) });
      }
      if (--left === 0) settled();
    };
    for (const server of servers) void ask(server);
  });
  const [latest] = found.toSorted((a, b) => b.timeline - a.timeline);
  if (latest !== undefined) return latest;
  const said = refusals.map(
    ({ server: { host, port }, error }) => `${host}:${port ?? 5432}: ${saidBy(error)}`,
  );
  const message = `no server takes writes: ${said.join("; ")}`;
  const [first] = refusals;
  if (first !== undefined && refusals.every(({ error }) => error.code === "WW_CONFIG"))
    throw configError(message, first.error.next ?? "");
  throw unavailable(message);
}

/** The sentence of an error, without its code and its next step. */
const saidBy = ({ message }: Error): string =>
  (message.split("\n")[0] ?? "").replace(/^WW_\w+: (?:PostgreSQL: )?/, "");

/** The timeline of a server. @throws WheelworkError when it takes no writes, or was left behind. */
async function timelineOf(server: ClientConfig, least: number): Promise<number> {
  const client = new Client(server);
  // The statement gets the error of a lost connection. Without a listener, the error would also end the process.
  client.on("error", () => {});
  try {
    await client.connect();
    const { rows } = await client.query<{ file: string | null }>(
      "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_walfile_name(pg_current_wal_lsn()) END AS file",
    );
    const file = rows[0]?.file ?? undefined;
    if (file === undefined) throw unavailable("it is a standby");
    const timeline = Number.parseInt(file.slice(0, 8), 16);
    if (timeline >= least) return timeline;
    throw unavailable(`it was left behind on timeline ${timeline}, since ${least} has been seen`);
  } finally {
    // It does not wait for this: the server may be frozen.
    client.end().catch(() => {});
  }
}
