import type { Clock, LogProgress, Logger } from "../ports/ports.ts";
import type { EngineTime } from "./engine-time.ts";
import type { Feed } from "./feed.ts";
import { Outbox } from "./outbox.ts";

/** How long callbacks wait at most for what was in the log at the claim, in milliseconds. */
const maxCatchUpMs = 10_000;

/**
 * How far one claim has come with the log that feeds its shard, and with the answers that it publishes.
 *
 * - `position`: everything before this offset is decided. It is committed with the batch that consumed it, so a record is
 *   neither lost nor decided twice, however the owner dies.
 * - Pinned offsets hold the committed position back: the effect of such a record (a dead letter) is not durable yet.
 * - The catch-up: what was in the log at the claim goes before callbacks that are overdue. An outcome may wait there, and the
 *   outage of the owner must not turn it into a timeout.
 */
export class LogTracker {
  readonly feed: Feed;
  readonly outbox: Outbox;
  readonly #time: EngineTime;
  #position = 0;
  readonly #pinned = new Set<number>();
  /** What the last commit says. */
  #committed: LogProgress | undefined = undefined;
  /** The end of the log at the claim, and until when callbacks wait for it to be read. */
  #catchUp = { offset: 0, before: 0 };

  constructor(feed: Feed, clock: Clock, time: EngineTime, logger: Logger) {
    this.feed = feed;
    this.#time = time;
    this.outbox = new Outbox((reply) => feed.publish(reply), clock, logger);
  }

  /** All records before this offset are decided. */
  get position(): number {
    return this.#position;
  }

  /** The record with this offset is decided. */
  advance(offset: number): void {
    this.#position = offset + 1;
  }

  /** The committed position does not pass this record before the result is called. */
  pin(offset: number): () => void {
    this.#pinned.add(offset);
    return () => void this.#pinned.delete(offset);
  }

  /** Begins to read where the last commit left the log. `wake` is called when everything from before the claim has come. */
  async begin(committed: LogProgress | undefined, isOver: () => boolean, wake: () => void): Promise<void> {
    this.#committed = committed;
    const isAnew = committed?.log === "";
    const { from, end, later } = await this.feed.begin(isAnew ? undefined : committed?.position);
    if (isOver()) return this.feed.end();
    this.#position = from;
    const before = this.#time.now() + maxCatchUpMs;
    this.#catchUp = { offset: later === undefined ? end : Number.POSITIVE_INFINITY, before };
    void later?.then((offset) => {
      this.#catchUp = { offset, before };
      wake();
    });
  }

  /** Whether the log holds records from before the claim that are not decided yet. */
  catchesUp(now: number): boolean {
    return this.#position < this.#catchUp.offset && now < this.#catchUp.before;
  }

  /** When callbacks stop waiting for the log, at the latest. */
  get catchesUpBefore(): number {
    return this.#catchUp.before;
  }

  /** What the next commit says. `actedSeq` is the last batch whose answers were handed to the outbox. */
  next(actedSeq: number): LogProgress {
    let position = this.#position;
    for (const offset of this.#pinned) position = Math.min(position, offset);
    return { log: this.feed.log, position, published: this.outbox.published(actedSeq) };
  }

  /** Whether `next` would move the position, or also what is published. */
  hasMoved(next: LogProgress): { readonly position: boolean; readonly published: boolean } {
    return {
      position: next.position !== this.#committed?.position,
      published: next.published !== this.#committed?.published,
    };
  }

  /** The commit that is being made says so. */
  stage(next: LogProgress): void {
    this.#committed = next;
  }

  /** Reads and publishes no more. The next owner goes on from what is committed. */
  end(): void {
    this.feed.end();
    this.outbox.end();
  }
}
