import type { RunStatus } from "@wheelwork/core";
import type { Run } from "@wheelwork/core/kernel";
import { nextTurn } from "../ports/clock.ts";
import type { Clock } from "../ports/ports.ts";
import type { Lane } from "./lanes.ts";

/** How many runs are where. */
export interface ShardCounts {
  /** Runs in memory: those that are due in a minute or have calls. Others are in the store only. */
  readonly runs: readonly {
    readonly hub: string;
    readonly status: RunStatus;
    readonly state: string;
    readonly count: number;
  }[];
  /** All lanes of each name together. */
  readonly lanes: readonly { readonly name: string; readonly held: number; readonly waiting: number }[];
}

/** So many runs are counted before the loop goes on: there may be very many. */
const atOnce = 10_000;

export async function countRuns(runs: Iterable<Run>, clock: Clock): Promise<ShardCounts["runs"]> {
  const counts = new Map<string, { hub: string; status: RunStatus; state: string; count: number }>();
  let left = atOnce;
  for (const { hub, status, state } of runs) {
    const name = `${hub}\0${status}\0${state}`;
    const known = counts.get(name);
    if (known === undefined) counts.set(name, { hub, status, state, count: 1 });
    else known.count++;
    if (--left > 0) continue;
    left = atOnce;
    await nextTurn(clock);
  }
  return [...counts.values()];
}

export function countLanes(lanes: Iterable<Lane>): ShardCounts["lanes"] {
  const counts = new Map<string, { name: string; held: number; waiting: number }>();
  for (const { name, held, queued } of lanes) {
    const known = counts.get(name);
    if (known === undefined) counts.set(name, { name, held, waiting: queued });
    else {
      known.held += held;
      known.waiting += queued;
    }
  }
  return [...counts.values()];
}
