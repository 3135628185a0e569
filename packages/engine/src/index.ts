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
  MaybePromise,
  Message,
  RequestFilter,
  RequestRow,
  Rows,
  RunEvents,
  Store,
  StoredAnswer,
  StoredRun,
} from "./ports.ts";
export type { ShardLimits } from "./shard.ts";
export {
  relay,
  worker,
  type RelayResponse,
  type RelaySpec,
  type Worker,
  type AttemptContext,
  type WorkerContext,
} from "./worker.ts";
export { SqliteStore, type Durability, type SqliteOptions } from "./sqlite.ts";
export { systemClock } from "./clock.ts";
