import type { AnyHub } from "@wheelwork/core";
import type { EngineEvent, Schedule, ShardLimits, Tracing, Worker } from "@wheelwork/engine";
import type { Channel } from "@wheelwork/engine/cluster";
import type { StormSecurity } from "./security.ts";

/** What runs on Storm: the same hubs, workers and channels as in every other engine. */
export interface StormApp {
  readonly hubs: readonly AnyHub[];
  readonly workers: readonly Worker[];
  readonly channels?: readonly Channel[];
  /** Requests at certain times. Default: none. */
  readonly schedules?: readonly Schedule[];
  /** Is told what happens in a hub's task. It must not throw. */
  readonly observe?: (signal: EngineEvent) => void;
  /** See the option of an engine. Storm's spout drops headers: messages bring a trace along if their channel finds it in the value. */
  readonly tracing?: Tracing;
  readonly limits?: Partial<ShardLimits>;
  /** How long answers and histories are kept after the end, in milliseconds. Default 7 days. */
  readonly retentionMs?: number;
  /** How long the events of a run that lives are kept, in milliseconds, and no less than `retentionMs`. Default 30 days. */
  readonly historyRetentionMs?: number;
  /** Ends what the workers use. */
  readonly close?: () => void | Promise<void>;
}

/**
 * The addresses where the parts meet. The topology's configuration carries them, so everybody who may look at the topology
 * sees them.
 */
export interface StormConfig {
  readonly brokers: string;
  /** How the brokers are reached, if not openly: see `stormSecurity`. */
  readonly security?: StormSecurity;
  /** Of PostgreSQL. Better without a password: PGPASSWORD or a password file of the supervisors has it. */
  readonly databaseUrl: string;
  readonly schema?: string;
  /** How many tasks bolt-hub has: fixed when the store is created. */
  readonly shards: number;
  /** The topic of the inboxes, with a partition for each shard. */
  readonly inbox: string;
  /**
   * Each task of bolt-hub shows the figures of its shard at this port and its index: with 9464 and four shards, the ports 9464 to 9467 of
   * the supervisors. See `serveMetrics`. Default: none are shown.
   */
  readonly metricsPort?: number;
  /** The address for it. Default: `127.0.0.1`, so that only the supervisor's own machine reaches it. */
  readonly metricsHost?: string;
  /** What the application wants to know besides; plain JSON. */
  readonly app?: unknown;
}

/** The name of the configuration within the topology's. */
export const configKey = "wheelwork.config";
