import type { Clock, Store } from "@wheelwork/engine";
import { systemClock } from "@wheelwork/engine/parts";
import { kafka, type Kafka } from "@wheelwork/kafka";
import { postgresStore } from "@wheelwork/postgres";
import type { StormConfig } from "./app.ts";
import { clientSecurity } from "./security.ts";

/** What the parts use of Kafka. */
export type StormLog = Pick<Kafka, "publish" | "since" | "progress" | "close">;

/** How the parts reach what is outside of them. A simulation has others than the real ones. */
export interface StormPorts {
  /** Time, and what is to run later. */
  readonly clock: Clock;
  /** Numbers in [0, 1) for the jitter of retries. */
  readonly random: () => number;
  /** Connects to the brokers. */
  connect(config: Pick<StormConfig, "brokers" | "security">, clientId: string): StormLog;
  /** Opens the store of a shard. */
  openStore(config: StormConfig, shard: number): Store;
}

/** The clock of the process, Kafka, and PostgreSQL. */
export const realPorts: StormPorts = {
  clock: systemClock,
  random: Math.random,
  connect: ({ brokers, security }, clientId) => kafka({ brokers, clientId, ...clientSecurity(security) }),
  openStore: ({ databaseUrl, schema, shards }, shard) =>
    postgresStore({
      connectionString: databaseUrl,
      shard,
      shards,
      ...(schema === undefined ? {} : { schema }),
    }),
};

/** Runs a task again and again, each time so long after the last one, in milliseconds. */
export function every(clock: Clock, ms: number, task: () => void): void {
  clock.after(ms, () => {
    // First: what the task throws must not end it.
    every(clock, ms, task);
    task();
  });
}
