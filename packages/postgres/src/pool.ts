import { Connections } from "./connections.ts";
import type { ConnectionOptions } from "./options.ts";

/** Connections that the shards of a process share. Whoever made it closes it, after the stores. */
export interface PostgresPool {
  close(): Promise<void>;
}

class SharedConnections extends Connections implements PostgresPool {}

const shared = 8;

/**
 * Connections for all shards of a process: 8 that commit and 8 that read, unless told otherwise, however many shards there
 * are. More commits at once than that wait for each other.
 * @throws WheelworkError WW_CONFIG when the options are not valid.
 */
export function postgresPool(options: ConnectionOptions): PostgresPool {
  return new SharedConnections({ writers: shared, readers: shared, ...options });
}

/** The connections of a pool. */
export const connectionsOf = (pool: PostgresPool): Connections => pool as SharedConnections;
