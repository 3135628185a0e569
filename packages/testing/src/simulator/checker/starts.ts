import type { AnyHub, RunEvent } from "@wheelwork/core";
import type { TraceEntry } from "../trace.ts";
import { count, type Violation } from "../world.ts";
import { addressOf } from "./posts.ts";

type Event<T extends RunEvent["type"]> = Extract<RunEvent, { type: T }>;

/** What somebody asks for under a key: when it begins, and how long it may take at most. */
export interface Asked {
  readonly key: string;
  /** In milliseconds since 1970. Absent: at once. */
  readonly startAt?: number;
  readonly deadlineMs?: number;
}

/** A run that was accepted and has not begun. */
interface Postponed {
  readonly startAt: number;
  readonly hub: string;
  readonly request: unknown;
  /** It has come to its lane, and waits there. */
  arrived: boolean;
}

/**
 * When requests begin that are to begin at a certain time, over all shards (I35): not before, with all their time from then, and one
 * that does not begin was cancelled, or refused by its lane. That they begin as soon as somebody works is held against them as callbacks are (I7).
 */
export function checkStarts(
  traces: readonly (readonly TraceEntry[])[],
  asked: readonly Asked[],
  hubs: readonly AnyHub[],
): { readonly violations: readonly Violation[]; readonly exercised: ReadonlyMap<string, number> } {
  const violations: Violation[] = [];
  const exercised = new Map<string, number>();
  const demand = (holds: boolean, message: () => string): void => {
    count(exercised, "I35");
    if (!holds) violations.push({ invariant: "I35", message: message() });
  };
  const journals = traces.map((trace) =>
    trace.flatMap((one) => (one.type === "committed" ? one.journal : [])),
  );
  const wanted = new Map<string, Asked[]>();
  const want = (one: Asked): void => {
    const address = addressOf(one.key);
    const all = wanted.get(address);
    if (all === undefined) wanted.set(address, [one]);
    else all.push(one);
  };
  for (const one of asked) want(one);
  for (const { events } of journals.flat())
    for (const event of events) if (event.type === "posted") wantStarted(event, want);

  const byName = new Map(hubs.map((hub) => [hub.name, hub] as const));
  const longestOf = (key: string, { hub, request }: Postponed): number | undefined => {
    const limits = (wanted.get(addressOf(key)) ?? []).map(({ deadlineMs = Infinity }) => deadlineMs);
    const own = byName.get(hub)?.definition.deadlineMs(request);
    return own === undefined ? undefined : Math.ceil(Math.min(own, Math.max(...limits)));
  };
  const begins = (key: string, event: Event<"started"> | Event<"accepted">): Postponed | undefined => {
    const all = wanted.get(addressOf(key));
    // Calls of hubs, and what the engine itself begins.
    if (all === undefined || event.parent !== undefined) return undefined;
    const times = all.map(({ startAt = 0 }) => Math.ceil(startAt));
    const { at, hub, request } = event;
    if (event.type === "accepted" && event.startAt !== undefined) {
      const { startAt, due } = event;
      const isAsked = times.includes(startAt) && startAt > at && due === startAt;
      demand(isAsked, () => `${key} is to begin at ${startAt}, and ${times.join(", ")} was asked for`);
      return { startAt, hub, request, arrived: false };
    }
    demand(Math.min(...times) <= at, () => `${key} begins at ${at}, and ${times.join(", ")} was asked for`);
    return undefined;
  };
  for (const journal of journals) {
    const postponed = new Map<string, Postponed>();
    for (const { key, events } of journal)
      for (const event of events) {
        const one = postponed.get(key);
        switch (event.type) {
          case "started":
          case "accepted": {
            const begun = begins(key, event);
            if (begun !== undefined) postponed.set(key, begun);
            break;
          }
          case "arrived":
            if (one === undefined) break;
            one.arrived = true;
            demand(event.at >= one.startAt, () => `${key} comes at ${event.at}, before ${one.startAt}`);
            break;
          case "granted": {
            if (one === undefined) break;
            postponed.delete(key);
            const { at, deadline } = event;
            demand(at >= one.startAt, () => `${key} begins at ${at}, before its time ${one.startAt}`);
            const longest = longestOf(key, one);
            if (longest === undefined) break;
            const isWhole = one.arrived ? deadline <= at + longest : deadline === at + longest;
            demand(
              isWhole,
              () => `${key} begins at ${at}, has ${longest} ms, and its deadline is ${deadline}`,
            );
            break;
          }
          case "ended": {
            if (one === undefined) break;
            postponed.delete(key);
            const { at, answer } = event;
            const isCancelled = answer?.kind === "error" && answer.code === "WW_CANCELLED";
            demand(
              // Its lane may refuse it.
              one.arrived || isCancelled || (at >= one.startAt && answer?.kind === "error"),
              () => `${key} ends at ${at}, its time is ${one.startAt}, and it has not begun`,
            );
            break;
          }
          default:
        }
      }
  }
  return { violations, exercised };
}

function wantStarted({ post }: Event<"posted">, want: (one: Asked) => void): void {
  if (post.kind !== "start" || post.key === undefined) return;
  want({ key: post.key, ...(post.startAt === undefined ? {} : { startAt: post.startAt }) });
}
