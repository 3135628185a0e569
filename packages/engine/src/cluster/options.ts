import type { AnyHub } from "@wheelwork/core";
import type { Channel } from "../delivery/channel.ts";
import type { Log } from "../ports/log.ts";
import type { Clock, Store } from "../ports/ports.ts";
import type { Tracing } from "../ports/trace.ts";
import type { Engine, EngineHealth } from "../requests/api.ts";
import type { CommonOptions } from "../requests/options.ts";

/** Where a cluster is. All its nodes and clients say the same. */
export interface ClusterOptions {
  /** How many shards the cluster has: fixed when its store is created. */
  readonly shards: number;
  /** Opens the store of a shard. It is closed when it is no longer needed. */
  readonly store: (shard: number) => Store;
  readonly log: Log;
  /** The topic of the inboxes, with a partition for each shard. Default `wheelwork-inbox`. */
  readonly inbox?: string;
}

/** What a node of a cluster needs. All nodes of one cluster have the same topics, shards and store. */
export interface NodeOptions extends ClusterOptions, CommonOptions {
  /** The nodes of one cluster are one group. Default `wheelwork`. */
  readonly group?: string;
  /** How requests come in, and answers go out, besides the methods of `Engine`. */
  readonly channels?: readonly Channel[];
  /** The name of this node in logs. Default: host and process. */
  readonly name?: string;
  /**
   * Something that only people can set right. The node has let go of a shard, or may not join its group. Or records of the inbox or
   * of a channel were deleted before they were read (WW_LOG_LOST): the node goes on, and the senders get no answer. Or a part of the
   * store is damaged (WW_STORE_CORRUPT): the node goes on with all that is sound.
   */
  readonly onFailure?: (error: Error) => void;
}

/** What a client of a cluster needs: it works on nothing itself. */
export interface ClientOptions extends ClusterOptions {
  /** The hubs that it may ask for. */
  readonly hubs: readonly AnyHub[];
  /** See the option of an engine: what is active where a request is submitted has caused it. */
  readonly tracing?: Tracing;
  /** For tests: the clock. */
  readonly clock?: Clock;
}

/** A shard as a node sees it. */
export interface ShardView {
  readonly shard: number;
  readonly status: EngineHealth["status"];
  readonly position: number;
  readonly liveRuns: number;
  readonly queued: number;
  readonly unpublished: number;
}

/**
 * A node of a cluster, as its program sees it: an engine whose requests may belong to any node. What is not this node's
 * goes through the inbox of its shard, and is read from the store, so that every node answers for all.
 */
export interface ClusterNode extends Engine {
  /** The shards that this node works on. */
  readonly shards: readonly ShardView[];
}
