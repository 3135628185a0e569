import {
  hubKind,
  kind,
  kinds,
  required,
  type OptionKind,
  type OptionKinds,
  type RequiredKind,
} from "@wheelwork/core/kernel";
import type { ShardLimits } from "../shard/options.ts";
import type { StopOptions } from "./api.ts";
import type { CommonOptions } from "./options.ts";

/* What the options of engines may be. */

const { bound, fn, having, list, nested, pause, span, whole } = kinds;

const workerKind: OptionKind = kind((value) => {
  const { spoke, attempt } = (value ?? {}) as { readonly spoke?: unknown; readonly attempt?: unknown };
  const { kind: of, name } = (spoke ?? {}) as { readonly kind?: unknown; readonly name?: unknown };
  return of === "spoke" && typeof name === "string" && typeof attempt === "function";
}, "must be a worker");

const scheduleKind: OptionKind = kind((value) => {
  const { name, hub, stored, request } = (value ?? {}) as { readonly [field: string]: unknown };
  const isMade = typeof stored === "object" && stored !== null && typeof request === "function";
  return typeof name === "string" && hubKind.problems(hub, "").length === 0 && isMade;
}, "must be a schedule");

export const hubsKind: RequiredKind = required(list(hubKind));
export const workersKind: RequiredKind = required(list(workerKind));
export const schedulesKind = list(scheduleKind);
export const clockKind = having("a clock", "wallMs", "monotonicMs", "after", "soon");
export const busKind = having("a bus", "publish", "subscribe");
export const tracingKind = having("a tracing", "isSampled", "active", "within");
const loggerKind = having("a logger", "debug", "info", "warn", "error");
export const storeKind = having(
  "a store",
  "claim",
  "peek",
  "journal",
  "hubVersions",
  "hotRuns",
  "laneRuns",
  "dueRuns",
  "find",
  "history",
  "list",
  "facets",
  "commit",
  "purge",
  "archive",
  "audit",
  "purgeAudit",
  "close",
);

const limitsOptions: OptionKinds<Partial<ShardLimits>> = {
  queuedRequests: bound(1),
  liveRuns: bound(1),
  memoryBytes: kind((value) => typeof value === "number" && value >= 0, "must be a number of bytes from 0"),
  lateMs: span,
  batchInputs: bound(1),
  checkpointEvents: bound(1),
  checkpointRuns: bound(1),
  openedCalls: bound(1),
  bulkPage: whole(1, 100_000),
  horizonMs: span,
};

export const limitsKind = nested<Partial<ShardLimits>>(limitsOptions, "limits");

/** Those that every engine has. */
export const commonOptions: OptionKinds<CommonOptions> = {
  hubs: hubsKind,
  workers: workersKind,
  schedules: schedulesKind,
  logger: loggerKind,
  redact: fn,
  observe: fn,
  tracing: tracingKind,
  retentionMs: span,
  historyRetentionMs: span,
  auditRetentionMs: span,
  maxDowntimeMs: span,
  drainMs: pause,
  limits: limitsKind,
  clock: clockKind,
  random: fn,
};

export const stopOptions: OptionKinds<StopOptions> = { drainMs: pause };
