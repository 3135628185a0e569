import type { RunStatus } from "@wheelwork/core";
import type { EngineHealth } from "./api.ts";

/** Figures of an engine as they are now. */
export interface EngineStats {
  /** The shards that this process works on. An embedded engine has one, with the number 0. */
  readonly shards: readonly ShardStats[];
}

/** Figures of a shard as they are now. */
export interface ShardStats {
  readonly shard: number;
  readonly status: EngineHealth["status"];
  /** Runs in memory: those that are due in a minute or have calls. Others are in the store only. */
  readonly runs: readonly {
    readonly hub: string;
    readonly status: RunStatus;
    readonly state: string;
    readonly count: number;
  }[];
  /** All lanes of each name together. */
  readonly lanes: readonly { readonly name: string; readonly held: number; readonly waiting: number }[];
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
