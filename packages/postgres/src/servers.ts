import type { WheelworkError } from "@wheelwork/core";
import { Client, type ClientConfig } from "pg";
import { parseIntoClientConfig } from "pg-connection-string";
import type { ConnectionOptions } from "./options.ts";
import { configError, toError, unavailable } from "./errors.ts";

/** What names the server: the rest of the options is Wheelwork's own. */
type ServerOptions = Pick<
  ConnectionOptions,
  "connectionString" | "host" | "port" | "database" | "user" | "password" | "ssl"
>;

/** The server that takes writes, among several. */
export interface Primary {
  readonly server: ClientConfig;
  /** How often a standby was promoted before it: that of a server which was left behind is smaller. */
  readonly timeline: number;
}

/** How long the others may take to answer, once one has said that it takes writes, in milliseconds. */
const graceMs = 1000;

/**
 * How to reach each of the servers that the options name. What is given beside the connection string goes before it.
 * @throws WheelworkError WW_CONFIG when they are not valid.
 */
export function serversOf({ connectionString, host, ...fields }: ServerOptions): ClientConfig[] {
  try {
    const [before, authority, after] = partsOf(connectionString ?? "");
    const named = authority === "" ? [] : authority.split(",");
    const parsed =
      connectionString === undefined ? {} : parseIntoClientConfig(`${before}${named[0] ?? ""}${after}`);
    demandWrites(parsed);
    // What the string does not say, it says with empty texts.
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
    // Reads the options as each connection will.
    for (const server of servers) void new Client(server);
    return servers;
  } catch (error) {
    // Without its cause, which may hold the password.
    const { code, path } = error as { readonly code?: unknown; readonly path?: unknown };
    if (error instanceof Error && error.name === "WheelworkError") throw error;
    if (path !== undefined)
      throw configError(
        `the file ${String(path)} of the connection string cannot be read (${String(code)})`,
        "Name one that is there.",
      );
    throw configError(
      `the connection options are not valid${code === undefined ? "" : ` (${String(code)})`}`,
      "Write the connection string as postgres://user:password@host:port/database.",
    );
  }
}

/** The hosts of a connection string, as it has them between the user and the database, and what is around them. */
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
    `the store cannot work on a server with target_session_attrs=${wanted}`,
    "Leave it out: of several servers the one that takes writes is used.",
  );
}

/**
 * Asks all servers at once, and gives the one that takes writes; of several, as after a failover whose old primary came
 * back, the one that was promoted last.
 * @param least The latest timeline that was seen: a server on an earlier one was left behind.
 * @throws WheelworkError WW_STORE_UNAVAILABLE when there is none now, with what each of them said; WW_CONFIG when none
 * of them lets us in.
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

/** The sentence of an error alone. */
const saidBy = ({ message }: Error): string =>
  (message.split("\n")[0] ?? "").replace(/^WW_\w+: (?:PostgreSQL: )?/, "");

/** The timeline of a server that takes writes. */
async function timelineOf(server: ClientConfig, least: number): Promise<number> {
  const client = new Client(server);
  // What ends it, the statement hears of.
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
    // Nobody waits for a server that may be frozen.
    client.end().catch(() => {});
  }
}
