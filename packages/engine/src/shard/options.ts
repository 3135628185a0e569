import { WheelworkError } from "@wheelwork/core";
import type { HubDefinition } from "@wheelwork/core/kernel";
import type { Redact } from "../attempts/outcomes.ts";
import type { Suspects } from "../attempts/suspects.ts";
import type { Worker } from "../attempts/worker.ts";
import type { Bus, Claim, Clock, EngineEvent, Logger, Store } from "../ports/ports.ts";
import type { Harms } from "../ports/harms.ts";
import type { ReplyPath } from "../ports/reply-path.ts";
import { earlierOf } from "./engine-time.ts";
import type { Tracing } from "../ports/trace.ts";
import type { Feed } from "./feed.ts";
import type { ResidencyLimits } from "./residency.ts";

/** What the loop needs of its surroundings. */
export interface ShardOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly bus: Bus;
  readonly replies: ReplyPath;
  readonly logger: Logger;
  readonly hubs: ReadonlyMap<string, HubDefinition>;
  readonly workers: readonly Worker[];
  /** Numbers in [0, 1), for the jitter of retries. */
  readonly random: () => number;
  readonly owner: string;
  readonly observe: ((event: EngineEvent) => void) | undefined;
  readonly tracing: Tracing | undefined;
  readonly redact: Redact | undefined;
  readonly limits: ShardLimits;
  /** See `CommonOptions.retentionMs`. */
  readonly retentionMs: number;
  /** See `CommonOptions.maxDowntimeMs`. */
  readonly maxDowntimeMs: number;
  /** What the store has found of damaged batches (`harming`). Absent: it looks for none. */
  readonly harms?: Harms;
  /** Absent: inputs come from callers alone. */
  readonly feed?: Feed;
  /** Those of all shards of the process. Default: the shard is the only one. */
  readonly suspects?: Suspects;
  /**
   * The shard has ended by itself, and is not claimed again: it is another owner's (WW_STORE_LOCKED), or its store has lost
   * commits (WW_COMMITS_LOST).
   */
  readonly onEnded?: (why: WheelworkError) => void;
}

/** Bounds of the loop. */
export interface ShardLimits extends ResidencyLimits {
  /** Requests that wait to be decided; beyond it they are refused. */
  readonly queuedRequests: number;
  /** Runs in memory; beyond it new requests are refused. */
  readonly liveRuns: number;
  /**
   * About how many bytes the shards of this process may hold in memory: runs, requests that wait, and those who wait for answers.
   * Beyond it new requests are refused.
   */
  readonly memoryBytes: number;
  /** How long inputs may wait to be decided, in milliseconds; beyond it a part of the new requests is refused. */
  readonly lateMs: number;
  /** Inputs of one batch. */
  readonly batchInputs: number;
  /** Events between two checkpoints. */
  readonly checkpointEvents: number;
  /** Runs that one batch writes at most of a checkpoint. */
  readonly checkpointRuns: number;
  /** Calls of a run that one turn opens, closes or goes on with at most. */
  readonly openedCalls: number;
  /** Requests that a bulk holds at once. */
  readonly bulkPage: number;
  /** Runs that are due later than this leave the memory, in milliseconds. */
  readonly horizonMs: number;
}

/** A clock that is behind the last commit by more than this is worth a warning, in milliseconds. */
const maxAheadMs = 60_000;

/**
 * Holds the clocks of the host and of the store's server against each other and against the last commit.
 * @throws WheelworkError WW_CLOCK when the earlier one is far ahead of what the store has seen.
 */
export function checkClocks(
  { engineTime, serverMs = Number.POSITIVE_INFINITY }: Claim,
  ownMs: number,
  { logger, maxDowntimeMs }: Pick<ShardOptions, "logger" | "maxDowntimeMs">,
): void {
  const wallMs = earlierOf(ownMs, serverMs);
  checkDowntime(engineTime, wallMs, maxDowntimeMs);
  const aheadMs = engineTime - wallMs;
  if (aheadMs > maxAheadMs)
    logger.warn({ aheadMs }, "the last commit is later than the clock says: the engine's time stays ahead");
  if (Number.isFinite(serverMs) && Math.abs(ownMs - serverMs) > maxAheadMs)
    logger.warn(
      { aheadMs: Math.round(ownMs - serverMs) },
      "the clocks of this host and of the store's server differ: the earlier one counts",
    );
}

/**
 * The same before a claim, which fences whoever works on the shard.
 * @throws WheelworkError WW_CLOCK
 */
export function checkDowntimeOf({ engineTime, serverMs }: Claim, ownMs: number, maxDowntimeMs: number): void {
  checkDowntime(engineTime, earlierOf(ownMs, serverMs), maxDowntimeMs);
}

function checkDowntime(engineTime: number, wallMs: number, maxDowntimeMs: number): void {
  const downMs = Math.floor(wallMs) - engineTime;
  if (engineTime === 0 || downMs <= maxDowntimeMs) return;
  const [last, now] = [engineTime, wallMs].map((ms) => new Date(ms).toISOString());
  throw new WheelworkError(
    "WW_CLOCK",
    `the last commit was at ${last}, and the clock says ${now}: ${Math.floor(downMs / 86_400_000)} days later`,
    {
      next: `If the clock is wrong, set it right. If nobody has worked for so long, start with maxDowntimeMs: ${downMs + 86_400_000}. Deadlines that have passed meanwhile fire then.`,
    },
  );
}

/** Nobody can commit now. It may be sent again. */
export const unavailable = (): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", "the store does not take commits at the moment", {
    next: "Send it again later, with the same key.",
    retryable: true,
  });

/** The engine takes nothing now, or nothing more. */
export const stopping = (): WheelworkError =>
  new WheelworkError("WW_STOPPING", "the engine is not running, or is stopping", {
    next: "Send it again when it runs, with the same key.",
    retryable: true,
  });

/** Why a shard takes no new request. */
export type Overload = "count" | "memory" | "lateness";

const overloads: Readonly<Record<Overload, string>> = {
  count: "the engine has as many requests as it may hold",
  memory: "the requests that the engine has take as much memory as they may",
  lateness: "the engine is late with the requests that it has",
};

const refusals = new Map<Overload, WheelworkError>();

/** The shard takes no new requests now. It is one error for all of them: an overloaded engine has no time to make others. */
export function overloaded(why: Overload): WheelworkError {
  let error = refusals.get(why);
  if (error === undefined) {
    error = new WheelworkError("WW_OVERLOADED", overloads[why], {
      next: "Send the request again later, with the same key.",
      retryable: true,
    });
    refusals.set(why, error);
  }
  return error;
}

/** Whether the owner may not claim again by itself. */
export const endsShard = (error: unknown): error is WheelworkError =>
  error instanceof WheelworkError && (error.code === "WW_STORE_LOCKED" || error.code === "WW_COMMITS_LOST");
