import type { WorkerHost } from "../attempts/host.ts";
import { timerMs } from "../ports/clock.ts";
import type { Clock, Logger } from "../ports/ports.ts";

/** Lets the attempts under way end before a shard stops. */
export class Drain {
  readonly #host: WorkerHost;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #late = Promise.withResolvers<void>();
  readonly #timers: (() => void)[] = [];

  constructor(host: WorkerHost, clock: Clock, logger: Logger) {
    this.#host = host;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Leaves the attempts so many milliseconds at most; the shortest limit counts. */
  limit(drainMs: number): void {
    const giveUp = (): void => {
      const attempts = this.#host.size;
      this.#logger.warn({ attempts, drainMs }, "attempts are aborted, since the engine stops");
      this.#late.resolve();
    };
    this.#timers.push(this.#clock.after(timerMs(drainMs), giveUp));
  }

  /** Resolves when they have ended, or their time is over. `now`: engine time. */
  async end(drainMs: number, now: number): Promise<void> {
    this.limit(drainMs);
    await Promise.race([this.#host.drain(now), this.#late.promise]);
    for (const cancel of this.#timers) cancel();
  }
}
