import type { RunEvent } from "@wheelwork/core";
import type { Schedule } from "@wheelwork/engine";
import type { TraceEntry } from "../trace.ts";
import { count, type Violation } from "../world.ts";

/** The hub whose runs are the schedules. */
export const scheduleHub = "schedule:";

/** What was seen of a schedule. */
interface Ticking {
  /** Since when its ticks are counted. */
  readonly since: number;
  readonly instants: number[];
  /** When it has made its last tick, in engine time: of one that is made up for, later than its instant. */
  lastMadeAt: number;
  /** When somebody has paused it. */
  pausedAt: number | undefined;
}

/**
 * What schedules have made (I34): each tick once, at a multiple of its time, and in their order. Where all ticks that were missed are
 * made up for, none is left out. Only those of `everyMs`, whose ticks the checker can tell by itself.
 */
export function checkSchedules(
  trace: readonly TraceEntry[],
  schedules: readonly Schedule[],
): { readonly violations: readonly Violation[]; readonly exercised: ReadonlyMap<string, number> } {
  const violations: Violation[] = [];
  const exercised = new Map<string, number>();
  const demand = (holds: boolean, message: () => string): void => {
    count(exercised, "I34");
    if (!holds) violations.push({ invariant: "I34", message: message() });
  };
  const seen = new Map<string, Ticking>();
  const begun = new Map<string, number>();
  let now = 0;
  const take = (key: string, event: RunEvent): void => {
    if (event.type === "started" || event.type === "accepted") begun.set(key, (begun.get(key) ?? 0) + 1);
    if (event.type === "started" && event.hub === scheduleHub) {
      const { since } = event.data as { readonly since: number };
      demand(!seen.has(key), () => `the schedule ${key} is begun twice`);
      seen.set(key, { since, instants: [], lastMadeAt: since, pausedAt: undefined });
    }
    const ticking = seen.get(key);
    if (ticking !== undefined && event.type === "signalled" && event.signal === "pause")
      ticking.pausedAt ??= event.at;
    if (event.type !== "posted" || event.post.kind !== "start") return;
    if (ticking === undefined) return;
    ticking.lastMadeAt = event.at;
    ticking.instants.push(Date.parse(event.post.key?.split("@")[1] ?? ""));
  };
  for (const entry of trace) {
    if (entry.type !== "committed") continue;
    ({ now } = entry);
    for (const { key, events } of entry.journal) for (const event of events) take(key, event);
  }
  for (const { name, stored } of schedules) {
    const ticking = seen.get(`schedule:${name}`);
    if (ticking === undefined || !("everyMs" in stored.ticks)) continue;
    const { everyMs } = stored.ticks;
    const { since, instants, lastMadeAt, pausedAt = now } = ticking;
    for (const [place, at] of instants.entries()) {
      const before = instants[place - 1] ?? since;
      const isNext = stored.catchUp === "all" ? at === before + everyMs : at > before;
      demand(
        isNext && (at - since) % everyMs === 0,
        () => `the schedule ${name} ticks at ${at}, after ${before}`,
      );
      const key = `${name}@${new Date(at).toISOString()}`;
      demand((begun.get(key) ?? 0) <= 1, () => `the tick ${key} has begun ${begun.get(key)} times`);
    }
    // What is left out is seen nowhere.
    if (stored.catchUp === "none") continue;
    const lateMs = pausedAt - lastMadeAt - everyMs - stored.jitterMs;
    demand(
      lateMs < 120_000,
      () => `the schedule ${name} has not ticked for ${lateMs} ms more than it should`,
    );
  }
  return { violations, exercised };
}
