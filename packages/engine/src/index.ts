export type {
  CommandResult,
  Engine,
  EngineHealth,
  OpenCallView,
  RequestPage,
  RequestView,
  Submitted,
  SubmitOptions,
} from "./requests/api.ts";
export { LocalBus } from "./embedded/local-bus.ts";
export { createEngine, type EngineOptions } from "./embedded/engine.ts";
export { consoleLogger, type LoggerOptions } from "./ports/logger.ts";
export type {
  Batch,
  Bus,
  Checkpoint,
  Claim,
  Clock,
  Commit,
  DueRuns,
  EngineEvent,
  Found,
  Logger,
  LogProgress,
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
} from "./ports/ports.ts";
export type { ShardLimits } from "./shard/shard.ts";
export type { AttemptContext, WorkerContext } from "./attempts/context.ts";
export { relay, type RelayResponse, type RelaySpec } from "./attempts/relay.ts";
export { worker, type RelayedOutcomes, type Worker, type WorkerPorts } from "./attempts/worker.ts";
export type { ReplyPath } from "./ports/reply-path.ts";
export { SqliteStore, type Durability, type SqliteOptions } from "./stores/sqlite.ts";
export { systemClock } from "./ports/clock.ts";
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
} from "./ports/log.ts";
export type { Channel } from "./delivery/channel.ts";
export { externalWorker } from "./delivery/external-worker.ts";
export {
  clusterTopics,
  createClient,
  createNode,
  type ClientOptions,
  type ClusterNode,
  type NodeOptions,
  type ShardView,
} from "./cluster/node.ts";
export {
  deadLetterTopic,
  readDeadLetter,
  replayDeadLetter,
  type DeadLetter,
} from "./delivery/dead-letters.ts";
export { shardOf } from "./ports/keys.ts";
export { assignPartitions, type GroupMember } from "./cluster/assign-partitions.ts";
export { asyncApi } from "./cluster/asyncapi.ts";
