import type { CommandMemory } from "@wheelwork/core/kernel";
import type { Claim, Downtime } from "../ports/ports.ts";

/** So much of each downtime counts, in milliseconds: a day. */
const countedMs = 86_400_000;

/** A post is tried for a day, and may wait in an inbox. So long does the run that gets it know it at least, in milliseconds. */
export const postsKnownMs = 2 * countedMs;

/** As many as retention can need: each of them counts for a day at least. */
const maxDowntimes = 400;

/**
 * How old answers are, for their retention. Engine time alone does not say it: a wrong clock at one start takes engine time
 * days ahead, and a system that was switched off for weeks would forget everything before anybody could ask. So only the time
 * that an engine ran counts, and a day at most of each downtime. The long downtimes are kept in the store for that.
 */
export class Retention {
  readonly #downtimes: readonly Downtime[];
  readonly #retentionMs: number;
  #isSaved: boolean;

  /** @param began Engine time of the claim: from the last commit until then, nobody worked. */
  constructor({ downtimes = [], engineTime }: Claim, began: number, retentionMs: number) {
    this.#retentionMs = retentionMs;
    this.#isSaved = engineTime === 0 || began - engineTime <= countedMs;
    const all = this.#isSaved ? downtimes : [...downtimes, { from: engineTime, to: began }];
    this.#downtimes = all.slice(-maxDowntimes);
  }

  /** The engine time before which a run must have ended, so that its retention is over. */
  endedBefore(now: number, retentionMs: number): number {
    let left = retentionMs;
    let until = now;
    for (const { from, to } of this.#downtimes.toReversed()) {
      if (until - to >= left) break;
      left -= until - to;
      // Nothing has ended in a downtime, so that any time in it is the end of what ended before.
      if (left <= countedMs) return to - left;
      left -= countedMs;
      until = from;
    }
    return until - left;
  }

  /** The ids of commands are known as long as answers are, and those of posts as long as they may come again. */
  memory(now: number): CommandMemory {
    const commandsSince = this.endedBefore(now, this.#retentionMs);
    const isLong = this.#retentionMs >= postsKnownMs;
    return { commandsSince, postsSince: isLong ? commandsSince : this.endedBefore(now, postsKnownMs) };
  }

  /** What the next commit must say, once. */
  unsaved(): readonly Downtime[] | undefined {
    if (this.#isSaved) return undefined;
    this.#isSaved = true;
    return this.#downtimes;
  }
}
