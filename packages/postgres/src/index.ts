export type { ConnectionOptions } from "./connections.ts";
export { postgresPool, type PostgresPool } from "./pool.ts";
export { postgresStore, type PostgresDurability, type PostgresOptions } from "./store.ts";
