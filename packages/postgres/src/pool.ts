import { demandOptions } from "@wheelwork/core/kernel";
import { Connections } from "./connections.ts";
import type { ConnectionOptions } from "./options.ts";
import { connectionOptions } from "./option-tables.ts";

/** Connections that the shards of a process share. Close the pool after the stores that use it. */
export interface PostgresPool {
  /** Closes all connections. */
  close(): Promise<void>;
}

class SharedConnections extends Connections implements PostgresPool {}

/** Default number of connections that commit, and of those that read. */
const shared = 8;

/**
 * Makes connections that all shards of a process share: by default 8 that commit and 8 that read, for any number of
 * shards. If more shards commit at the same time, their commits wait for a connection.
 * @throws WheelworkError WW_CONFIG when the options are not valid.
 */
export function postgresPool(options: ConnectionOptions): PostgresPool {
  const given = demandOptions<ConnectionOptions>(options, connectionOptions, "a pool of connections");
  return new SharedConnections({ writers: shared, readers: shared, ...given });
}

/** The connections of a pool. */
export const connectionsOf = (pool: PostgresPool): Connections => pool as SharedConnections;
