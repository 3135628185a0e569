import type { AnyHub } from "@wheelwork/core";
import type { Worker } from "../attempts/worker.ts";
import type { Schedule } from "../schedules/schedule.ts";
import type { Clock, EngineEvent, Logger } from "../ports/ports.ts";
import type { Redact } from "../attempts/outcomes.ts";
import type { Tracing } from "../ports/trace.ts";
import type { ShardLimits } from "../shard/options.ts";

export type { Redactable } from "../attempts/outcomes.ts";

/** What every engine needs, wherever its shards are. */
export interface CommonOptions {
  /** The hubs that it serves, those that are only called by others included. */
  readonly hubs: readonly AnyHub[];
  /** One worker for each spoke that the hubs call. */
  readonly workers: readonly Worker[];
  /** Requests at certain times. A schedule that is not listed any more makes none. Default: none. */
  readonly schedules?: readonly Schedule[];
  /**
   * Default: warnings and errors go to standard error, as lines for people on a terminal and else of JSON. `silentLogger` logs nothing. The environment
   * variable WHEELWORK_LOG_LEVEL sets the level of the default logger: debug, info, warn, error or silent.
   */
  readonly logger?: Logger;
  /**
   * Removes what must not be kept from a failure before anything logs or stores it: failures of attempts, and exceptions that
   * park a run. The code stays as it is. If it throws, only the code is kept. Default: all is kept.
   */
  readonly redact?: Redact;
  /** Is told what happens in the engine, for metrics and traces. What it throws is logged once, and ignored. */
  readonly observe?: (signal: EngineEvent) => void;
  /** Carries traces on to workers and to what they send. `@wheelwork/opentelemetry` makes one. */
  readonly tracing?: Tracing;
  /**
   * How long answers and histories are kept after the end, in milliseconds. Default 7 days. The time that an engine runs counts,
   * and a day at most of each downtime. Nothing is deleted in the first hour after a start.
   */
  readonly retentionMs?: number;
  /**
   * How long the events of a run that lives are kept, in milliseconds, counted in the same way. Older ones are archived: they are
   * deleted, and the history begins with an event `archived`. The run itself loses nothing. What is there of the history when
   * the run ends is kept for `retentionMs` more. It is never shorter than `retentionMs`. Default 30 days.
   */
  readonly historyRetentionMs?: number;
  /** How long the audit list keeps a command, in milliseconds, counted in the same way. Default 90 days. */
  readonly auditRetentionMs?: number;
  /**
   * How far the clock may be ahead of the last commit at a start, in milliseconds. Beyond it the start is refused (WW_CLOCK): a
   * clock that is wrong for one start would let all deadlines pass. Default 30 days.
   */
  readonly maxDowntimeMs?: number;
  /**
   * How long the attempts that are under way may go on when the engine stops, in milliseconds. What has not ended by then is
   * aborted, and made again at the next start. 0: everything is aborted at once. Default 5000.
   */
  readonly drainMs?: number;
  readonly limits?: Partial<ShardLimits>;
  /** For tests: the clock. */
  readonly clock?: Clock;
  /** For tests: numbers in [0, 1) for the jitter of retries. */
  readonly random?: () => number;
}

/** How long attempts may go on when the engine stops, if nobody says otherwise, in milliseconds. */
export const defaultDrainMs = 5000;

const day = 86_400_000;

/** How far the clock may be ahead of the last commit if nobody says otherwise, in milliseconds. */
export const defaultMaxDowntimeMs = 30 * day;

/** How long answers and histories are kept if nobody says otherwise, in milliseconds. */
export const defaultRetentionMs = 7 * day;

/** How long the audit list keeps a command if nobody says otherwise, in milliseconds. */
export const defaultAuditRetentionMs = 90 * day;

/** How long events of live runs are kept: as long as commands are known, at least. */
export const historyRetentionOf = ({
  retentionMs = defaultRetentionMs,
  historyRetentionMs = 30 * day,
}: Pick<CommonOptions, "retentionMs" | "historyRetentionMs">): number =>
  Math.max(retentionMs, historyRetentionMs);
