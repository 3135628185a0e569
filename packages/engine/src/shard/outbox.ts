import type { Answer, TraceContext } from "@wheelwork/core";
import { runFields } from "../ports/log-fields.ts";
import type { Clock, Logger } from "../ports/ports.ts";
import { retrying, type RetryPolicy } from "../ports/retry.ts";

/** An answer on its way to where its request wants it. */
export interface Reply {
  /** The request. */
  readonly key: string;
  readonly replyTo: string;
  /** The same whenever this answer is published again: its readers drop what they have seen. */
  readonly id: string;
  readonly answer: Answer;
  /** The span of its run. Absent: it has none, or the answer comes from the store. */
  readonly trace?: TraceContext | undefined;
}

const publishing: RetryPolicy = { minMs: 20, maxMs: 5000 };

/**
 * Publishes the answers of committed batches, each again and again until the broker has it.
 *
 * An answer is in the store before it is sent, so it cannot be lost; but only the outbox knows that it is not published
 * yet. `published` tells up to which batch everything is. The shard commits that number with its next batch, or when it comes to rest, and the next
 * owner publishes what the journal holds after it once more. So an answer is published at least once, and its readers
 * drop what they have seen by its id.
 *
 * All answers are sent at once, in the order of their batches, and do not wait for one another: one that fails is tried
 * again beside the others. The number stays before the first batch that has an answer left.
 */
export class Outbox {
  readonly #publish: (reply: Reply) => Promise<void>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** How many answers of a batch are not published, in the order of the batches. */
  readonly #pending = new Map<number, number>();
  readonly #waiting = new Set<() => void>();
  readonly #onDrained: () => void;
  readonly #ended = new AbortController();

  /** `onDrained` is called whenever all answers are published. */
  constructor(publish: (reply: Reply) => Promise<void>, clock: Clock, logger: Logger, onDrained: () => void) {
    this.#publish = publish;
    this.#clock = clock;
    this.#logger = logger;
    this.#onDrained = onDrained;
  }

  /** Answers that are not published yet. */
  get size(): number {
    let size = 0;
    for (const count of this.#pending.values()) size += count;
    return size;
  }

  /** The last batch up to which all is published. `seq` is the last batch that is committed. */
  published(seq: number): number {
    const [first] = this.#pending.keys();
    return first === undefined ? seq : first - 1;
  }

  send(seq: number, replies: readonly Reply[]): void {
    if (this.#ended.signal.aborted || replies.length === 0) return;
    this.#pending.set(seq, (this.#pending.get(seq) ?? 0) + replies.length);
    for (const reply of replies) void this.#deliver(seq, reply);
  }

  /** Waits until all is published, or `mostMs` have passed. */
  drained(mostMs: number): Promise<void> {
    if (this.#pending.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#clock.after(mostMs, () => done());
      const done = (): void => {
        cancel();
        this.#waiting.delete(done);
        resolve();
      };
      this.#waiting.add(done);
    });
  }

  /** Forgets what is left: the next claim of the shard publishes it. */
  end(): void {
    this.#ended.abort();
    this.#pending.clear();
    for (const done of this.#waiting) done();
  }

  async #deliver(seq: number, reply: Reply): Promise<void> {
    const { signal } = this.#ended;
    const onFailure = (error: unknown, failures: number): void => {
      if (failures > 1) return;
      const fields = { ...runFields(reply, false), error: String(error) };
      this.#logger.warn(fields, "an answer could not be published yet; it is tried again");
    };
    await retrying(this.#clock, publishing, () => this.#publish(reply), { signal, onFailure });
    if (!signal.aborted) this.#done(seq);
  }

  #done(seq: number): void {
    const left = (this.#pending.get(seq) ?? 0) - 1;
    if (left > 0) this.#pending.set(seq, left);
    else this.#pending.delete(seq);
    if (this.#pending.size > 0) return;
    for (const done of this.#waiting) done();
    this.#onDrained();
  }
}
