export type {
  CommandResult,
  Engine,
  EngineHealth,
  OpenCallView,
  RequestPage,
  RequestView,
  Submitted,
  SubmitOptions,
} from "./api.ts";
export { LocalBus } from "./bus.ts";
export { createEngine, type EngineOptions } from "./engine.ts";
export { consoleLogger, type LoggerOptions } from "./logger.ts";
export type {
  Batch,
  Bus,
  Checkpoint,
  Claim,
  Clock,
  Commit,
  DueRuns,
  EngineSignal,
  Found,
  Logger,
  Marks,
  MaybePromise,
  Message,
  RequestFilter,
  RequestRow,
  Rows,
  RunEvents,
  ShardState,
  Store,
  StoredAnswer,
  StoredRun,
} from "./ports.ts";
export type { ShardLimits } from "./shard.ts";
export {
  relay,
  remote,
  worker,
  type RelayedOutcomes,
  type RelayResponse,
  type RelaySpec,
  type Worker,
  type AttemptContext,
  type WorkerContext,
} from "./worker.ts";
export { SqliteStore, type Durability, type SqliteOptions } from "./sqlite.ts";
export { systemClock } from "./clock.ts";
export type {
  Log,
  LogReader,
  LogReading,
  LogRecord,
  LogTopic,
  MemberOptions,
  MemberState,
  Membership,
  Partitions,
} from "./log.ts";
export type { Channel } from "./channel.ts";
export {
  clusterTopics,
  createClient,
  createNode,
  type ClientOptions,
  type ClusterNode,
  type NodeOptions,
  type ShardView,
} from "./cluster.ts";
export { deadLetterTopic, readDeadLetter, replayDeadLetter, type DeadLetter } from "./dead-letters.ts";
export { shardOf } from "./shards.ts";
export { shareOut, type GroupMember } from "./share-out.ts";
export { asyncApi } from "./asyncapi.ts";
