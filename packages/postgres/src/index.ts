export { postgresStore, type PostgresDurability, type PostgresOptions } from "./store.ts";
