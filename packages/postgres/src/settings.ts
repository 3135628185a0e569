import { connectionsOf, type PostgresPool } from "./pool.ts";

/** What a server is set to, as far as the promises of a store depend on it. */
export interface ServerSettings {
  /** Such as `17.2`. */
  readonly version: string;
  /** The clock of the server, in milliseconds since 1970. */
  readonly serverMs: number;
  /** By the names that PostgreSQL gives them. */
  readonly settings: Readonly<Record<string, string>>;
  /** The standbys that commits wait for; empty: none is connected, or the user may not see them. */
  readonly synchronousStandbys: readonly string[];
}

const names = [
  "data_checksums",
  "fsync",
  "full_page_writes",
  "max_connections",
  "server_encoding",
  "synchronous_commit",
  "synchronous_standby_names",
];

/** Looks at the server that a pool uses. @throws WheelworkError WW_STORE_UNAVAILABLE. */
export async function serverSettings(pool: PostgresPool): Promise<ServerSettings> {
  const connections = connectionsOf(pool);
  const [server] = await connections.read({
    text: "SELECT current_setting('server_version') AS version, extract(epoch FROM clock_timestamp()) * 1000 AS now",
  });
  const rows = await connections.read({
    text: "SELECT name, setting FROM pg_settings WHERE name = ANY($1)",
    values: [names],
  });
  const standbys = await connections.read({
    text: "SELECT application_name FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')",
  });
  return {
    version: String(server?.["version"]).split(" ", 1).join(""),
    serverMs: Number(server?.["now"]),
    settings: Object.fromEntries(rows.map(({ name, setting }) => [String(name), String(setting)])),
    synchronousStandbys: standbys.map((row) => String(row["application_name"])),
  };
}
