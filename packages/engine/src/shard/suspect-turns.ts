import { isSuspect, type Call } from "@wheelwork/core/kernel";
import type { Suspects } from "../attempts/suspects.ts";
import type { Clock } from "../ports/ports.ts";
import type { Batch } from "./batch.ts";
import type { IgnoredReason, InputItem } from "./items.ts";
import type { Residency } from "./residency.ts";

/** What the turns of suspects need of their shard. */
export interface SuspectTurnsOptions {
  /** Those of all shards of the process. */
  readonly suspects: Suspects;
  readonly clock: Clock;
  /** The shard itself: it holds its suspects under this name. */
  readonly owner: object;
  readonly isRunning: () => boolean;
  readonly push: (item: InputItem) => void;
  /** Calls `then` when the limit of its spoke lets an attempt begin that has its place. */
  readonly renew: (call: Call, then: () => void) => void;
}

/** The suspects of one shard (core/src/deaths.ts): when they wait for their turn, begin, and are let go. */
export class SuspectTurns {
  readonly #options: SuspectTurnsOptions;
  readonly #suspects: Suspects;

  constructor(options: SuspectTurnsOptions) {
    this.#options = options;
    this.#suspects = options.suspects;
  }

  /**
   * Whether an attempt that has its place must wait for its turn. It waits only then: otherwise a death while it waits for its
   * place would be blamed on it.
   */
  holds(call: Call): boolean {
    if (!isSuspect(call)) return false;
    const { clock, owner } = this.#options;
    this.#suspects.add(call, owner, () => this.#begin(call));
    clock.soon(() => this.next());
    return true;
  }

  /** An attempt is under way whose turn was before, in this process or an earlier one. */
  begun(call: Call): void {
    this.#suspects.begun(call, this.#options.owner);
  }

  /** Its attempt has ended. */
  ended(call: Call): void {
    if (this.#suspects.size > 0) this.#suspects.delete(call);
  }

  /** Those whose attempt is over, or whose run is parked, need no turn, or no longer have it. */
  letGo({ closed, parked }: Batch["effects"], residency: Residency): void {
    if (this.#suspects.size === 0) return;
    for (const call of closed) this.#suspects.delete(call);
    for (const { key } of parked)
      for (const call of residency.get(key)?.run.calls.values() ?? []) this.#suspects.delete(call);
  }

  /** Begins as many as may be under way. */
  next(): void {
    if (this.#suspects.size > 0 && this.#options.isRunning()) this.#suspects.next();
  }

  /** The shard stops, or has lost its memory. */
  forget(): void {
    this.#suspects.deleteAll(this.#options.owner);
  }

  /** It is the turn of a suspect: that is committed before it begins, so that the next owner knows. */
  #begin(call: Call): void {
    const { number, attempt, run } = call;
    const done = {
      resolve: (ignored: IgnoredReason | undefined): void => {
        if (ignored !== undefined) this.#suspects.delete(call);
      },
      reject: (): void => this.#suspects.delete(call),
    };
    const input = { kind: "begin", call: number, attempt } as const;
    const { push, renew } = this.#options;
    // It waits for its token now, since a death is blamed on it from its commit on.
    renew(call, () => push({ kind: "input", key: run.key, input, done }));
  }
}
