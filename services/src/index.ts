export { installKafka, KafkaBroker, kafkaIsInstalled } from "./kafka.ts";
export { installPostgres, postgresIsInstalled, PostgresServer } from "./postgres.ts";
export { freePort } from "./process.ts";
export { defaultCache } from "./folder.ts";
