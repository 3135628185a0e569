import { WheelworkError } from "@wheelwork/core";
import { pause } from "../ports/retry.ts";
import type { Log } from "../ports/log.ts";
import type { Clock, Message, Store } from "../ports/ports.ts";

/** Clocks that differ by less are right, in milliseconds. */
const maxSkewMs = 60_000;
/** How often the clock of this host is compared with others, in milliseconds. */
const compareMs = 60_000;
/** How long a start waits for a comparison, in milliseconds. */
const patienceMs = 5000;

/** What others know of the time, in milliseconds since 1970. */
interface Witnesses {
  /** The wall clock of the store's server. */
  readonly serverMs: number;
  /** Engine time of the last commit, if there is one. */
  readonly committedMs: number;
}

/**
 * How much the wall clock of this host is to be corrected, in milliseconds. One clock may be wrong, that of the host or that of the store's
 * server; where the two differ, the last commit says which of them can be right: others have made it. It is never believed beyond both.
 */
export function correctionOf(ownMs: number, { serverMs, committedMs }: Witnesses): number {
  if (Math.abs(ownMs - serverMs) <= maxSkewMs) return 0;
  const [earlier, later] = [Math.min(ownMs, serverMs), Math.max(ownMs, serverMs)];
  return Math.min(Math.max(committedMs, earlier), later) - ownMs;
}

/**
 * The clock of this host as others know it: for what is told to other hosts, and what is asked of records that others have written. A broker
 * refuses records that are dated an hour ahead, and deletes those that seem to be old. The time of a shard is another thing.
 */
export class HostClock implements Clock {
  readonly #clock: Clock;
  readonly #open: () => Store;
  #correctionMs = 0;
  /** When it was compared last, in monotonic time; infinite: there is nothing to compare it with. */
  #comparedAt = Number.NEGATIVE_INFINITY;

  /** @param open Opens a store to ask. */
  constructor(clock: Clock, open: () => Store) {
    this.#clock = clock;
    this.#open = open;
  }

  wallMs(): number {
    return this.#clock.wallMs() + this.#correctionMs;
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  after(ms: number, task: () => void): () => void {
    return this.#clock.after(ms, task);
  }

  soon(task: () => void): void {
    this.#clock.soon(task);
  }

  /** Compares it at a start. A store that is slow, or away, does not hold that up. @throws WheelworkError WW_CONFIG. */
  async begin(): Promise<void> {
    const compared = this.#compare();
    compared.catch(() => {});
    const isCompared = new AbortController();
    await Promise.race([compared, pause(this.#clock, patienceMs, isCompared.signal)]).finally(() =>
      isCompared.abort(),
    );
  }

  /** Compares it again if it is time. What is wrong with the store its shards tell. */
  compareAgain(): void {
    if (this.#comparedAt < this.#clock.monotonicMs() - compareMs) this.#compare().catch(() => {});
  }

  /** A log to which records are given with the corrected time, where it differs. */
  dated(log: Log): Log {
    const of = (message: Message): Message =>
      this.#correctionMs === 0 || message.timestampMs !== undefined
        ? message
        : { ...message, timestampMs: Math.floor(this.wallMs()) };
    return {
      publish: (topic, message) => log.publish(topic, of(message)),
      append: (topic, message, partition) => log.append(topic, of(message), partition),
      subscribe: (topic, receive) => log.subscribe(topic, receive),
      topic: (name) => log.topic(name),
      end: (topic, partition) => log.end(topic, partition),
      read: (topic, partition, from, reader) => log.read(topic, partition, from, reader),
      join: (options) => log.join(options),
      close: () => log.close(),
    };
  }

  /** @throws WheelworkError WW_CONFIG when nobody can work with the store. */
  async #compare(): Promise<void> {
    this.#comparedAt = this.#clock.monotonicMs();
    const store = this.#open();
    try {
      const serverMs = await store.probe?.();
      // A store without a clock is not asked again.
      if (serverMs === undefined) return void (this.#comparedAt = Number.POSITIVE_INFINITY);
      const ownMs = this.#clock.wallMs();
      this.#correctionMs = correctionOf(ownMs, { serverMs, committedMs: await lastCommit(store) });
    } catch (error) {
      // A store that is away is asked again.
      if (error instanceof WheelworkError && error.code === "WW_CONFIG") throw error;
    } finally {
      await store.close();
    }
  }
}

async function lastCommit(store: Store): Promise<number> {
  try {
    return (await store.peek()).engineTime;
  } catch {
    // Nobody has claimed it yet.
    return 0;
  }
}
