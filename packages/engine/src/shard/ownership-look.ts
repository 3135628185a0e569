import type { Clock } from "../ports/ports.ts";

/** How long a shard commits nothing before it looks whether it is still its owner's, in milliseconds: the first time, and at most. */
const [firstMs, maxMs] = [5_000, 300_000];

/** What the look needs of its shard. */
export interface LookedAt {
  /** Whether somebody waits for what the shard has to tell. */
  readonly isAwaited: () => boolean;
  /** The last batch that is committed. */
  readonly committed: () => string;
  /** Asks the store who has the shard. The shard ends if somebody else has. undefined: the store is asked anyway, by `Store.check`. */
  readonly look: (() => Promise<unknown>) | undefined;
}

/**
 * An owner that has been frozen may have been taken over meanwhile. It notices that with its next commit. If it has nothing to commit,
 * those who wait for an answer or watch a run would wait for ever: the other owner tells them nothing. So while somebody waits, and
 * nothing is committed, the owner looks. It looks less often the longer nothing is committed: one that was frozen for minutes has a look that
 * is overdue when it wakes up.
 */
export class OwnershipLook {
  readonly #clock: Clock;
  readonly #shard: LookedAt;
  #cancel: (() => void) | undefined = undefined;
  #seen: string | undefined = undefined;
  #lookMs = firstMs;

  constructor(clock: Clock, shard: LookedAt) {
    this.#clock = clock;
    this.#shard = shard;
  }

  /** Somebody waits from now on. */
  begin(): void {
    if (this.#cancel !== undefined || this.#shard.look === undefined) return;
    this.#lookMs = firstMs;
    this.#seen = this.#shard.committed();
    this.#arm();
  }

  end(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #arm(): void {
    this.#cancel = this.#clock.after(this.#lookMs, () => this.#next());
  }

  #next(): void {
    this.#cancel = undefined;
    if (!this.#shard.isAwaited()) return;
    const committed = this.#shard.committed();
    const isIdle = committed === this.#seen;
    this.#seen = committed;
    this.#lookMs = isIdle ? Math.min(maxMs, 2 * this.#lookMs) : firstMs;
    this.#arm();
    // A store that cannot be read says nothing of who has the shard.
    if (isIdle) this.#shard.look?.().catch(() => undefined);
  }
}
