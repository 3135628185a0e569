import { WheelworkError } from "@wheelwork/core";
import type { HubDefinition } from "@wheelwork/core/kernel";
import { BusyTurns } from "../ports/clock.ts";
import type { Claim, Clock, EngineEvent, Logger, MaybePromise, Store } from "../ports/ports.ts";
import type { Culprit } from "./batch.ts";
import type { Harms } from "../ports/harms.ts";
import { Decider } from "./decider.ts";
import type { Tracing } from "../ports/trace.ts";
import { Deadlines } from "./deadlines.ts";
import type { EngineTime } from "./engine-time.ts";
import type { Feed } from "./feed.ts";
import type { Intake } from "./intake.ts";
import type { Item } from "./items.ts";
import { Lanes } from "./lanes.ts";
import { LogTracker } from "./log-progress.ts";
import { Pipeline, type Loop } from "./pipeline.ts";
import type { OutcomeRules } from "./records.ts";
import { Retention } from "./retention.ts";
import type { ShardLimits } from "./options.ts";
import { Residency, type ResidencyLimits } from "./residency.ts";
import { repliesOf, storedReplies } from "./unpublished.ts";

/** What a tenure is made of. All of it outlives the tenure. */
export interface TenureOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly observe: ((event: EngineEvent) => void) | undefined;
  readonly tracing: Tracing | undefined;
  readonly hubs: ReadonlyMap<string, HubDefinition>;
  readonly random: () => number;
  readonly limits: ResidencyLimits & Pick<ShardLimits, "openedCalls">;
  readonly retentionMs: number;
  readonly feed: Feed | undefined;
  readonly time: EngineTime;
  /** See `ShardOptions.harms`. */
  readonly harms?: Harms;
  readonly intake: Intake;
  readonly outcomes: OutcomeRules;
  /** The runs that the store has refused, by key. */
  readonly culprits: Map<string, Culprit>;
  readonly loop: Loop & { wake(): void };
}

/**
 * One claim of a shard, and everything that its owner knows through it: the runs in memory, what is due, the batches under
 * way, the place in the log. When a commit fails or its outcome is unknown, none of this can be trusted. Then the tenure is
 * ended and thrown away whole, and the next claim builds another from the store.
 *
 * ```
 *   claim --> load (runs, journal, versions, due runs) --> read the log --> working --> end
 * ```
 */
export class Tenure {
  readonly claim: Claim;
  readonly residency: Residency;
  readonly deadlines: Deadlines;
  readonly retention: Retention;
  readonly log: LogTracker | undefined;
  readonly decider: Decider;
  readonly pipeline: Pipeline;
  readonly #options: TenureOptions;
  #isOver = false;

  constructor(claim: Claim, options: TenureOptions) {
    const { clock, feed, limits, logger, loop, outcomes, store, time } = options;
    this.claim = claim;
    this.#options = options;
    time.begin(claim.engineTime, claim.serverMs);
    this.retention = new Retention(claim, time.began, options.retentionMs);
    this.deadlines = new Deadlines(time, clock, () => {
      if (!this.#isOver) loop.wake();
    });
    this.residency = new Residency(
      store,
      this.deadlines,
      time,
      limits,
      new Lanes(options.hubs),
      options.harms,
    );
    this.log =
      feed === undefined
        ? undefined
        : new LogTracker(feed, clock, time, logger, {
            isWorking: () => this.pipeline.pending !== undefined,
            readBack: (keys) => storedReplies(store, keys),
            wake: () => loop.wake(),
          });
    const shared = {
      epoch: claim.epoch,
      residency: this.residency,
      deadlines: this.deadlines,
      retention: this.retention,
      log: this.log,
    };
    const { hubs, random, intake, observe, culprits, tracing } = options;
    this.decider = new Decider({
      ...shared,
      seq: claim.seq,
      since: time.began,
      hubs,
      outcomes,
      culprits,
      random,
      openedCalls: limits.openedCalls,
      isObserved: observe !== undefined,
      tracing,
    });
    const { decider } = this;
    this.pipeline = new Pipeline({ ...shared, store, clock, logger, observe, time, intake, decider, loop });
  }

  /** Whether it has ended: what a promise brings for it no longer counts. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Reads back what is stored. @throws WheelworkError WW_HUB_UNKNOWN when runs of unknown hubs or versions are stored. */
  async load(): Promise<void> {
    const turns = new BusyTurns(this.#options.clock);
    await this.residency.load(turns);
    await this.residency.checkVersions(this.#options.hubs, turns);
    await this.residency.scan();
  }

  /**
   * Publishes the answers that may not have been published, and reads the log from where the last commit left it.
   * @throws WheelworkError WW_LOG_LOST when the log is another one than the store has read.
   */
  async readLog(): Promise<void> {
    const { log } = this;
    if (log === undefined || this.#isOver) return;
    const { store, loop } = this.#options;
    const { logProgress, seq } = this.claim;
    checkLog(this.claim, log.feed);
    // What is damaged before the last checkpoint keeps the shard from nothing.
    for await (const batch of store.journal(logProgress?.published ?? seq))
      log.outbox.send(batch.seq, await repliesOf(store, batch));
    await log.begin(
      logProgress,
      () => this.#isOver,
      () => {
        if (!this.#isOver) loop.wake();
      },
    );
  }

  /** Deletes what has outlived its retention, `limit` things at most; how many: see `Store.purge`. */
  async purge(limit: number): Promise<number> {
    const { clock, store, time } = this.#options;
    const begun = await this.residency.begunRuns(clock);
    if (this.#isOver) return 0;
    const endedBefore = this.retention.endedBefore(time.now(), this.#options.retentionMs);
    return store.purge(endedBefore, limit, begun);
  }

  /** Archives events of live runs that are older than that, `limit` parts at most; whether there is more: see `Store.archive`. */
  archive(historyRetentionMs: number, limit: number): MaybePromise<boolean> {
    const { store, time } = this.#options;
    return store.archive(this.retention.endedBefore(time.now(), historyRetentionMs), limit);
  }

  /** Deletes commands of the audit list that are older than that; whether there is more: see `Store.purgeAudit`. */
  purgeAudit(auditRetentionMs: number, limit: number): MaybePromise<boolean> {
    const { store, time } = this.#options;
    return store.purgeAudit(this.retention.endedBefore(time.now(), auditRetentionMs), limit);
  }

  /** Throws everything away. The result is what had been taken from the queue and is not committed. */
  end(): readonly Item[] {
    this.#isOver = true;
    this.deadlines.end();
    this.log?.end();
    return this.pipeline.end();
  }
}

/**
 * The log must be the one that the store has read, or have taken its place, unless an operator lets the shard begin anew (an
 * empty name).
 * @throws WheelworkError WW_LOG_LOST
 */
export function checkLog({ logProgress }: Claim, feed: Feed): void {
  const isAnew = logProgress?.log === "";
  if (logProgress === undefined || isAnew || logProgress.log === feed.log) return;
  if (feed.replaces?.(logProgress.log) !== true) {
    throw new WheelworkError(
      "WW_LOG_LOST",
      `the log of this shard is ${feed.log}, but its store has read ${logProgress.position} records of another log, ${logProgress.log}`,
      {
        next: "Start with the inbox that it had before. See the page on deploying: another inbox. A topology of Storm and a cluster cannot share a store.",
      },
    );
  }
}
