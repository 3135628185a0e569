export type { ConnectionOptions, PostgresDurability } from "./options.ts";
export { postgresPool, type PostgresPool } from "./pool.ts";
export { postgresStore, type PostgresOptions } from "./store.ts";
export { serverSettings, type ServerSettings } from "./settings.ts";
