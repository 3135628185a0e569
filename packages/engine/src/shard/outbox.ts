import type { Answer, TraceContext } from "@wheelwork/core";
import { weightOf } from "@wheelwork/core/kernel";
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
/** Of the answers to one channel, about so many bytes wait in memory. */
const maxHeldBytes = 8 * 1024 * 1024;
/** How many of the others are read back at once. */
const readAtOnce = 10;

/** An answer that waits in the store. */
interface Left {
  readonly seq: number;
  readonly reply: Omit<Reply, "answer">;
}

/** What is owed to one channel. One that takes nothing must fill neither the memory nor the room of the others. */
interface Destination {
  heldBytes: number;
  /** Those that do not fit, in their order. */
  readonly left: Left[];
  isReading: boolean;
}

/** Reads answers back; without those that are gone. */
type ReadBack = (keys: readonly string[]) => Promise<readonly Reply[]>;

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
 *
 * A channel whose topic takes nothing for long is owed ever more answers. Those that do not fit into memory are left in the store, and
 * read back when there is room.
 */
export class Outbox {
  readonly #publish: (reply: Reply) => Promise<void>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** How many answers of a batch are not published, in the order of the batches. */
  readonly #pending = new Map<number, number>();
  readonly #destinations = new Map<string, Destination>();
  readonly #readBack: ReadBack;
  readonly #waiting = new Set<() => void>();
  readonly #onDrained: () => void;
  readonly #ended = new AbortController();

  /** `onDrained` is called whenever all answers are published. */
  constructor(
    publish: (reply: Reply) => Promise<void>,
    readBack: ReadBack,
    clock: Clock,
    logger: Logger,
    onDrained: () => void,
  ) {
    this.#publish = publish;
    this.#readBack = readBack;
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
    for (const reply of replies) {
      const to = this.#destinationOf(reply.replyTo);
      const bytes = weightOf(reply.answer);
      const fits = to.heldBytes === 0 || to.heldBytes + bytes <= maxHeldBytes;
      if (fits && to.left.length === 0) void this.#deliver(seq, reply, to, bytes);
      else {
        const { answer: _, ...rest } = reply;
        to.left.push({ seq, reply: rest });
      }
    }
  }

  /** The channel stands before the first blank, if there is one. */
  #destinationOf(replyTo: string): Destination {
    const [channel = ""] = replyTo.split(" ", 1);
    let to = this.#destinations.get(channel);
    if (to === undefined)
      this.#destinations.set(channel, (to = { heldBytes: 0, left: [], isReading: false }));
    return to;
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
    this.#destinations.clear();
    for (const done of this.#waiting) done();
  }

  async #deliver(seq: number, reply: Reply, to: Destination, bytes: number): Promise<void> {
    const { signal } = this.#ended;
    to.heldBytes += bytes;
    const onFailure = (error: unknown, failures: number): void => {
      if (failures > 1) return;
      const fields = { ...runFields(reply, false), error: String(error) };
      this.#logger.warn(fields, "an answer could not be published yet; it is tried again");
    };
    await retrying(this.#clock, publishing, () => this.#publish(reply), { signal, onFailure });
    to.heldBytes -= bytes;
    if (signal.aborted) return;
    this.#done(seq);
    if (to.left.length > 0 && !to.isReading) void this.#readLeft(to);
  }

  /** Reads back what was left in the store, as far as there is room. */
  async #readLeft(to: Destination): Promise<void> {
    const { signal } = this.#ended;
    to.isReading = true;
    while (to.left.length > 0 && to.heldBytes <= maxHeldBytes / 2 && !signal.aborted) {
      const next = to.left.splice(0, readAtOnce);
      let found: readonly Reply[] = [];
      const onFailure = (error: unknown, failures: number): void => {
        if (failures === 1)
          this.#logger.warn({ error: String(error) }, "answers to publish could not be read back yet");
      };
      const read = async (): Promise<void> => {
        found = await this.#readBack(next.map(({ reply }) => reply.key));
      };
      if (!(await retrying(this.#clock, publishing, read, { signal, onFailure }))) return;
      for (const { seq, reply } of next) {
        const answer = found.find(({ id }) => id === reply.id)?.answer;
        // It has outlived its retention.
        if (answer === undefined) this.#done(seq);
        else void this.#deliver(seq, { ...reply, answer }, to, weightOf(answer));
      }
    }
    to.isReading = false;
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
