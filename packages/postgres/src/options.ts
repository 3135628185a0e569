import type { ConnectionOptions as TlsOptions } from "node:tls";

/**
 * How much a commit waits for the server's disk: `full`: as the server is set up, by default until it is on its disk; a
 * shard whose server has lost commits all the same, stops (WW_COMMITS_LOST). `normal`: a crash of the server may undo the
 * last ones, which the engine notices, says, and reads back.
 */
export type PostgresDurability = "full" | "normal";

/** How the server is reached. */
export interface ConnectionOptions {
  /**
   * `postgres://user:password@host:port/database`; instead of it, or of parts of it, the fields below. Several servers, of
   * which the one that takes writes is used: `postgres://user@host-1:port,host-2:port/database`.
   */
  readonly connectionString?: string;
  /** One, or several, each with its own port if need be: `["host-1", "host-2:5433"]`. */
  readonly host?: string | readonly string[];
  readonly port?: number;
  readonly database?: string;
  readonly user?: string;
  /** The password, or what gives it for each new connection. */
  readonly password?: string | (() => string | Promise<string>);
  /** TLS: `true` checks the server's certificate against the known authorities; or Node's own options (`ca`, `cert`, …). */
  readonly ssl?: boolean | TlsOptions;
  /** The schema that the tables are in, which is created if need be. Default `wheelwork`. */
  readonly schema?: string;
  /** Default `full`. */
  readonly durability?: PostgresDurability;
  /** How long one statement, or one attempt to connect, may take, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
  /** Connections for reads, besides those that commit. Default 2. */
  readonly readers?: number;
  /** Connections that commit. Default 1, since a shard commits one batch at a time; a pool that shards share has 8. */
  readonly writers?: number;
}
