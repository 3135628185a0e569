import { nextTurn } from "../ports/clock.ts";
import type { Clock } from "../ports/ports.ts";
import type { Lane } from "../shard/lanes.ts";
import { givenKey } from "../ports/keys.ts";
import type { LaneSummary } from "./api.ts";

/** Which lanes to list. */
export interface LaneFilter {
  readonly name?: string | undefined;
  readonly limit: number;
}

/** The lanes of a shard with the longest queues, and how many lanes it has. */
export interface LongestLanes {
  readonly lanes: readonly Omit<LaneSummary, "places">[];
  readonly total: number;
}

/** Holders that a list names of a lane. */
const maxHolders = 100;
/** So many lanes are looked at before the loop goes on: there may be very many. */
const atOnce = 10_000;

/** Those with the longest queues first, and of equal ones in the order of their names. */
export function laneOrder(a: LongestLanes["lanes"][number], b: LongestLanes["lanes"][number]): number {
  if (a.waiting !== b.waiting) return b.waiting - a.waiting;
  if (a.held !== b.held) return b.held - a.held;
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return a.key < b.key ? -1 : 1;
}

/** Looks at all lanes, a part of them at a time, and keeps those with the longest queues. */
export async function longestLanes(
  lanes: Iterable<Lane>,
  { name, limit }: LaneFilter,
  clock: Clock,
): Promise<LongestLanes> {
  let kept: LongestLanes["lanes"][number][] = [];
  let total = 0;
  let left = atOnce;
  for (const lane of lanes) {
    if (--left === 0) {
      left = atOnce;
      await nextTurn(clock);
    }
    if (name !== undefined && lane.name !== name) continue;
    total++;
    kept.push(summaryOf(lane));
    if (kept.length >= 2 * limit + 100) kept = kept.toSorted(laneOrder).slice(0, limit);
  }
  return { lanes: kept.toSorted(laneOrder).slice(0, limit), total };
}

function summaryOf({ name, key, held, queued, joined, holders }: Lane): LongestLanes["lanes"][number] {
  const shown: string[] = [];
  for (const holder of holders) {
    if (shown.length === maxHolders) break;
    shown.push(givenKey(holder));
  }
  return { name, key, held, waiting: queued + joined, holders: shown };
}
