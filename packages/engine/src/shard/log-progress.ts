import type { Clock, LogProgress, Logger } from "../ports/ports.ts";
import type { EngineTime } from "./engine-time.ts";
import type { Feed } from "./feed.ts";
import { Outbox, type Reply } from "./outbox.ts";

/** How long callbacks wait at most for what was in the log at the claim, in milliseconds. */
const maxCatchUpMs = 10_000;
/** How long a shard is at rest before it notes how far it has come, in milliseconds: long enough to cost nothing. */
const restMs = 1000;

/** What the tracker asks of the loop. */
export interface RestingLoop {
  /** Something is being read or committed. */
  readonly isWorking: () => boolean;
  /** Reads answers from the store, which are to be published: see `Outbox`. */
  readonly readBack: (keys: readonly string[]) => Promise<readonly Reply[]>;
  /** Has a batch decided and committed, even if there is no input for it. */
  readonly wake: () => void;
}

/**
 * How far one claim has come with the log that feeds its shard, and with the answers that it publishes.
 *
 * - `position`: everything before this offset is decided. It is committed with the batch that consumed it, so a record is
 *   neither lost nor decided twice, however the owner dies.
 * - Records may be decided out of their order: the position is before the first one that waits.
 * - Pinned offsets hold the committed position back: the effect of such a record (a dead letter) is not durable yet.
 * - The catch-up: what was in the log at the claim goes before callbacks that are overdue. An outcome may wait there, and the
 *   outage of the owner must not turn it into a timeout.
 * - Rest: that an answer is published, or a dead letter durable, is committed with the next batch. If none comes within a
 *   second, a batch is committed for it. Otherwise the last answers of a shard would count as unpublished until it works
 *   again, and its next owner would publish them again.
 */
export class LogTracker {
  readonly feed: Feed;
  readonly outbox: Outbox;
  readonly #time: EngineTime;
  /** All records that were queued before this offset are decided, apart from those that wait. */
  #position = 0;
  /**
   * Records that are queued and not decided, in their order. One for a request that waits for its decision is behind that, and later
   * ones overtake it.
   */
  readonly #waiting = new Set<number>();
  readonly #pinned = new Set<number>();
  /** What the last commit says. */
  #committed: LogProgress | undefined = undefined;
  /** The end of the log at the claim, and until when callbacks wait for it to be read. */
  #catchUp = { offset: 0, before: 0 };
  readonly #clock: Clock;
  readonly #loop: RestingLoop;
  #cancelRest: (() => void) | undefined = undefined;
  /** The shard is at rest: what is published is worth a batch. */
  #isResting = false;

  constructor(feed: Feed, clock: Clock, time: EngineTime, logger: Logger, loop: RestingLoop) {
    this.feed = feed;
    this.#clock = clock;
    this.#time = time;
    this.#loop = loop;
    this.outbox = new Outbox(
      (reply) => feed.publish(reply),
      loop.readBack,
      clock,
      logger,
      () => this.#rest(),
    );
  }

  /** All records before this offset are decided. */
  get position(): number {
    const [first = Number.POSITIVE_INFINITY] = this.#waiting;
    return Math.min(this.#position, first);
  }

  /** Something is queued, perhaps what a record says. Records come in their order. */
  queued({ offset }: { readonly offset?: number }): void {
    if (offset !== undefined) this.#waiting.add(offset);
  }

  /** The record with this offset is decided. */
  advance(offset: number): void {
    this.#waiting.delete(offset);
    this.#position = Math.max(this.#position, offset + 1);
  }

  /** The committed position does not pass this record before the result is called. */
  pin(offset: number): () => void {
    this.#pinned.add(offset);
    return () => {
      this.#pinned.delete(offset);
      this.#rest();
    };
  }

  /** Something is durable that no commit has said yet. However much there is of it, one timer waits for the rest. */
  #rest(): void {
    this.#cancelRest ??= this.#clock.after(restMs, () => {
      this.#cancelRest = undefined;
      // The last of the answers that are under way comes back here.
      if (this.outbox.size > 0) return;
      if (this.#loop.isWorking()) return this.#rest();
      this.#isResting = true;
      this.#loop.wake();
    });
  }

  /** Begins to read where the last commit left the log. `wake` is called when everything from before the claim has come. */
  async begin(committed: LogProgress | undefined, isOver: () => boolean, wake: () => void): Promise<void> {
    this.#committed = committed;
    const isAnew = committed?.log === "";
    const isReplaced = committed !== undefined && !isAnew && committed.log !== this.feed.log;
    const position = isAnew || isReplaced ? undefined : committed?.position;
    const { from, end, later } = await this.feed.begin(position, isReplaced);
    if (isOver()) return this.feed.end();
    this.#position = from;
    // What is lost is told once, and not by each owner that follows.
    if (committed !== undefined && (isReplaced || from !== position)) this.#rest();
    const before = this.#time.now() + maxCatchUpMs;
    this.#catchUp = { offset: later === undefined ? end : Number.POSITIVE_INFINITY, before };
    void later?.then((offset) => {
      this.#catchUp = { offset, before };
      wake();
    });
  }

  /** Whether the log holds records from before the claim that are not decided yet. */
  catchesUp(now: number): boolean {
    return this.position < this.#catchUp.offset && now < this.#catchUp.before;
  }

  /** When callbacks stop waiting for the log, at the latest. */
  get catchesUpBefore(): number {
    return this.#catchUp.before;
  }

  /** What the next commit says. `actedSeq` is the last batch whose answers were handed to the outbox. */
  next(actedSeq: number): LogProgress {
    let { position } = this;
    for (const offset of this.#pinned) position = Math.min(position, offset);
    return { log: this.feed.log, position, published: this.outbox.published(actedSeq) };
  }

  /** Whether `next` would move the position, or also what is published. */
  hasMoved(next: LogProgress): { readonly position: boolean; readonly published: boolean } {
    return {
      position: next.position !== this.#committed?.position || next.log !== this.#committed.log,
      published: next.published !== this.#committed?.published,
    };
  }

  /** Whether `next` is worth a batch of its own. */
  isDue(next: LogProgress): boolean {
    const { position, published } = this.hasMoved(next);
    return position || (this.#isResting && published);
  }

  /** The commit that is being made says so. */
  stage(next: LogProgress): void {
    this.#committed = next;
    this.#isResting = false;
  }

  /** Reads and publishes no more. The next owner goes on from what is committed. */
  end(): void {
    this.#cancelRest?.();
    this.feed.end();
    this.outbox.end();
  }
}
