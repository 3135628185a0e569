import type { RunEvent } from "@wheelwork/core";
import { scheduleHub } from "./checker/schedules.ts";

/** The runs of schedules, as far as it matters whether all has come to rest: they live for ever. */
export class ScheduleRuns {
  /** When each of them acts next, in engine time. One that is parked acts once somebody has retried it: that is now. */
  readonly #due = new Map<string, number | undefined>();

  /** Their keys. */
  get keys(): ReadonlySet<string> {
    return new Set(this.#due.keys());
  }

  has(key: string): boolean {
    return this.#due.has(key);
  }

  /**
   * Something is committed of a run. @returns Whether that is a schedule which has nothing to do at the moment; undefined: it is none.
   */
  committed(key: string, events: readonly RunEvent[]): boolean | undefined {
    const [first] = events;
    if (first?.type === "started" && first.hub === scheduleHub) this.#due.set(key, undefined);
    if (!this.#due.has(key)) return undefined;
    let due = this.#due.get(key);
    for (const event of events) {
      if (event.type === "ended") due = undefined;
      if (event.type === "incident") due = 0;
      if (event.type === "resumed") due = event.at;
      if (event.type === "entered" || ("timers" in event && event.timers !== undefined))
        due = (event as { readonly due?: number }).due;
    }
    this.#due.set(key, due);
    const now = events.at(-1)?.at ?? 0;
    return due === undefined || due > now + 1;
  }
}
