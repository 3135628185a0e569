import type { ShardCounts } from "../shard/counts.ts";
import type { EngineHealth } from "./api.ts";

/** Figures of an engine as they are now. */
export interface EngineStats {
  /** The shards that this process works on. An embedded engine has one, with the number 0. */
  readonly shards: readonly ShardStats[];
}

/** Figures of a shard as they are now. */
export interface ShardStats extends ShardCounts {
  readonly shard: number;
  readonly status: EngineHealth["status"];
  /** Attempts that are under way or wait for a place. */
  readonly openAttempts: number;
  /** Inputs that wait to be decided. */
  readonly queued: number;
  /** Callbacks that are registered. */
  readonly callbacks: number;
  /** Answers that are not published yet. */
  readonly unpublished: number;
  /** Records of its inbox that it has not consumed. Only in a cluster. */
  readonly lag?: number;
  /** How large the store is. Only of a store that can tell. */
  readonly storeBytes?: number;
}
