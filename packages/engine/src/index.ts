export type {
  AuditPage,
  CommandOptions,
  CommandResult,
  DeadLetterPage,
  DeadLetterView,
  Engine,
  EngineHealth,
  IncidentGroup,
  LanePage,
  LaneSummary,
  LaneView,
  OpenCallView,
  RequestCounts,
  RequestPage,
  RequestsOptions,
  RequestView,
  SearchOptions,
  ShardSummary,
  StopOptions,
  Submitted,
  SubmitOptions,
} from "./requests/api.ts";
export type { BulkCommand, BulkItem, BulkProgress } from "./ports/bulks.ts";
export type { BulkHandle, BulkItemPage, BulkOptions, BulkPage, BulkView } from "./requests/bulks.ts";
export type { AuditFilter, AuditOptions } from "./requests/audit.ts";
export type { Supposition, WhatIf } from "./requests/what-if.ts";
export type { ScheduleHandle, ScheduleView } from "./requests/schedules.ts";
export type { HistoryPage, HistoryPageOptions } from "./requests/past.ts";
export type { RunHandle } from "./requests/run-handle.ts";
export {
  eventTypes,
  type EventFilter,
  type EventsOptions,
  type EventsPage,
  type EventType,
  type ToldEvent,
} from "./requests/events.ts";
export type { RunUpdate, WatchOptions } from "./requests/run-watch.ts";
export { createEngine, type EngineOptions } from "./embedded/engine.ts";
export { readStore, type StoreReader } from "./embedded/stored.ts";
export { placedKey } from "./requests/validate.ts";
export type { CommonOptions, Redactable } from "./requests/options.ts";
export type { ShardLimits } from "./shard/options.ts";
export { schedule, type CatchUp, type Schedule, type ScheduleSpec, type Tick } from "./schedules/schedule.ts";
export { LocalBus } from "./embedded/local-bus.ts";
export { createMetrics, loopDelays, type Metrics } from "./metrics/metrics.ts";
export { metrics, type MetricDefinition, type MetricSink } from "./metrics/definitions.ts";
export { gaugesOf, measure, type Gauge } from "./metrics/measure.ts";
export { serveMetrics, type MetricsServer, type MetricsServerOptions } from "./metrics/serve.ts";
export { prometheusName } from "./metrics/prometheus.ts";
export type { EngineStats, ShardStats } from "./requests/stats.ts";
export { guardedLogger } from "./ports/guards.ts";
export { consoleLogger, defaultLogger, silentLogger, type LoggerOptions } from "./ports/logger.ts";
export { nextAfter } from "./ports/history.ts";
export { afterArrivals, connectionAccepted } from "./ports/arrivals.ts";
export { systemClock } from "./ports/clock.ts";
export { SqliteStore, type Durability, type SqliteOptions } from "./stores/sqlite.ts";
export { backupStore, verifyStore, type StoreProgress, type StoreVerdict } from "./stores/sqlite-backup.ts";
export type {
  Activity,
  Facet,
  FacetCount,
  ListPlace,
  RequestFilter,
  StoreFilter,
  RequestList,
  StatusFilter,
  TimeRange,
} from "./ports/filter.ts";
export { labelsOfTexts, statusFilters } from "./ports/filter.ts";
export { giveUpBatch } from "./stores/sqlite-repair.ts";
export type { Harm } from "./ports/harms.ts";
export type {
  AuditAbout,
  AuditBatch,
  AuditEntry,
  AuditPlace,
  Batch,
  BegunRuns,
  Bus,
  Checkpoint,
  Claim,
  Downtime,
  Clock,
  Commit,
  Damaged,
  DamagedAnswer,
  DamagedBatch,
  DamagedLaneRun,
  DamagedRun,
  DueRuns,
  EngineEvent,
  Found,
  LaneRun,
  Logger,
  LogProgress,
  MaybePromise,
  Message,
  PinnedStore,
  RequestRow,
  RequestStatus,
  Rows,
  RunEvents,
  ShardState,
  Store,
  StoredAnswer,
  StoredRun,
} from "./ports/ports.ts";
export {
  readTraceparent,
  spanIdOf,
  traceIdOf,
  type SpanName,
  type TracedRun,
  type Tracing,
} from "./ports/trace.ts";
export type { AttemptContext, WorkerContext } from "./attempts/context.ts";
export { relay, type RelayResponse, type RelaySpec } from "./attempts/relay.ts";
export { worker, type RelayedOutcomes, type Worker, type WorkerPorts } from "./attempts/worker.ts";
export type { ReplyPath } from "./ports/reply-path.ts";
export { externalWorker } from "./delivery/external-worker.ts";
