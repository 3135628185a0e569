import type { ConnectionOptions as TlsOptions } from "node:tls";

/**
 * How long a commit waits for the server's disk.
 * - `full`: as long as the server is configured to wait, by default until the commit is on its disk. If the server has
 *   lost commits nevertheless, their shard stops (WW_COMMITS_LOST).
 * - `normal`: it does not wait. A crash of the server may undo the last commits. The engine notices this, reports it,
 *   reads the shard back and goes on.
 */
export type PostgresDurability = "full" | "normal";

/** How to reach the server, or several servers. */
export interface ConnectionOptions {
  /**
   * `postgres://user:password@host:port/database`. The fields below replace parts of it. With several servers, the one
   * that takes writes is used: `postgres://user@host-1:port,host-2:port/database`.
   */
  readonly connectionString?: string;
  /** One or several, each with its port if it differs: `["host-1", "host-2:5433"]`. */
  readonly host?: string | readonly string[];
  readonly port?: number;
  readonly database?: string;
  readonly user?: string;
  /** The password, or a function that returns it for each new connection. */
  readonly password?: string | (() => string | Promise<string>);
  /**
   * TLS. `true` checks the server's certificate with the authorities that Node knows. Or give Node's options (`ca`, …).
   */
  readonly ssl?: boolean | TlsOptions;
  /** The schema of the tables. It is created if it does not exist. Default: `wheelwork`. */
  readonly schema?: string;
  /** Default: `full`. */
  readonly durability?: PostgresDurability;
  /** How long one statement, or one attempt to connect, may take, in milliseconds. Default: 10,000. */
  readonly timeoutMs?: number;
  /** How many connections read. Default: 2, or 8 for a pool. */
  readonly readers?: number;
  /** How many connections commit. Default: 1, since a shard commits one batch at a time, or 8 for a pool. */
  readonly writers?: number;
}
