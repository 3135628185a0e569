import type { Store } from "@wheelwork/engine";
import type { Kafka } from "@wheelwork/kafka";
import type { ServerSettings } from "@wheelwork/postgres";
import { WheelworkError } from "@wheelwork/core";
import { usageError } from "./command.ts";

/** Where the cluster is. */
export interface Place {
  readonly log: Kafka;
  readonly brokers: string;
  readonly shards: number;
  readonly inbox: string;
  store(shard: number): Store;
  /** What the server of the store is set to. */
  settings(): Promise<ServerSettings>;
  close(): Promise<void>;
}

/** Options of the commands that look at the servers of a cluster. */
export const placeOptions = {
  brokers: {
    type: "string",
    value: "LIST",
    about: "of Kafka: host:port, with commas (KAFKA_BROKERS, 127.0.0.1:9092)",
  },
  database: {
    type: "string",
    value: "URL",
    about: "of PostgreSQL (DATABASE_URL, postgres://wheelwork@127.0.0.1:5432/wheelwork)",
  },
  schema: { type: "string", value: "NAME", about: "of its tables (wheelwork)" },
  shards: { type: "string", value: "N", about: "of the cluster (SHARDS, 8)" },
  inbox: { type: "string", value: "TOPIC", about: "of the inboxes of the shards (wheelwork-inbox)" },
} as const;

/** For the help of those commands. */
export const placeHelp = `TLS and SASL of Kafka: KAFKA_TLS=true, KAFKA_CA, KAFKA_CERT and KAFKA_KEY (files), KAFKA_USERNAME, KAFKA_PASSWORD, KAFKA_SASL
(SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN). Those of PostgreSQL are in its URL, as are several servers.`;

/** What was given for the options of a cluster. */
export type PlaceValues = { readonly [Name in keyof typeof placeOptions]?: string | undefined };

/** Connects to the cluster that the options and the environment name. */
async function openPlace(values: PlaceValues): Promise<Place> {
  const { env } = process;
  const brokers = values.brokers ?? env["KAFKA_BROKERS"] ?? "127.0.0.1:9092";
  const connectionString =
    values.database ?? env["DATABASE_URL"] ?? "postgres://wheelwork@127.0.0.1:5432/wheelwork";
  const shards = Number(values.shards ?? env["SHARDS"] ?? 8);
  if (!Number.isInteger(shards) || shards < 1)
    throw new WheelworkError("WW_CONFIG", `--shards must be an integer of at least 1, not ${values.shards}`);
  const { kafka, kafkaSecurity } = await needed("@wheelwork/kafka", () => import("@wheelwork/kafka"));
  const { postgresPool, postgresStore, serverSettings } = await needed(
    "@wheelwork/postgres",
    () => import("@wheelwork/postgres"),
  );
  const log = kafka({ brokers, clientId: "wheelwork-cli", ...kafkaSecurity() });
  const schema = values.schema === undefined ? {} : { schema: values.schema };
  const pool = postgresPool({ connectionString, ...schema });
  return {
    log,
    brokers,
    shards,
    inbox: values.inbox ?? "wheelwork-inbox",
    store: (shard) => postgresStore({ pool, shard, shards }),
    settings: () => serverSettings(pool),
    close: async () => {
      await log.close();
      await pool.close();
    },
  };
}

/** Connects to the cluster for as long as something is done there. */
export async function withPlace<T>(values: PlaceValues, body: (place: Place) => Promise<T>): Promise<T> {
  const place = await openPlace(values);
  try {
    return await body(place);
  } finally {
    await place.close();
  }
}

/** Whether the servers of a cluster are asked, not an HTTP server: options go before the environment. */
export function isDirect(
  values: PlaceValues & { readonly url?: string | undefined; readonly context?: string | undefined },
  env: NodeJS.ProcessEnv = process.env,
): boolean {
  const isNamed = values.url !== undefined || values.context !== undefined;
  const isCluster = values.brokers !== undefined || values.database !== undefined;
  if (isNamed && isCluster)
    throw usageError("give --url or --context for a server, or --brokers and --database for a cluster");
  if (isNamed || isCluster) return isCluster;
  const hasServer = env["WHEELWORK_URL"] !== undefined || env["WHEELWORK_CONTEXT"] !== undefined;
  return !hasServer && env["KAFKA_BROKERS"] !== undefined;
}

/** Loads an optional package. @throws WheelworkError WW_CONFIG when it is not installed. */
export async function needed<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    throw new WheelworkError("WW_CONFIG", `the package ${name} cannot be loaded`, {
      next: `Install it: npm install ${name}`,
      cause: error,
    });
  }
}
