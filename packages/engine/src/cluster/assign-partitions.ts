import type { MemberState, Partitions } from "../ports/log.ts";

/** A member of a group, with the partitions that it works on, and those that it cannot work on. */
export interface GroupMember {
  readonly id: string;
  readonly state: MemberState;
}

/**
 * Shares the partitions of a topic out: each member keeps what it works on as far as that is fair, so that little moves;
 * nobody gets what it refuses, unless all do. For whoever implements `Log`.
 */
export function assignPartitions(
  topic: string,
  partitions: number,
  members: readonly GroupMember[],
): Map<string, number[]> {
  const sorted = members.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const shares = new Map(sorted.map(({ id }) => [id, [] as number[]]));
  const of = (list: readonly Partitions[]): ReadonlySet<number> =>
    new Set(list.filter((one) => one.topic === topic).flatMap((one) => one.partitions));
  const refused = new Map(sorted.map(({ id, state }) => [id, of(state.refuses)]));
  const left = new Set(Array.from({ length: partitions }, (_, partition) => partition));
  const least = Math.floor(partitions / sorted.length);
  let larger = partitions % sorted.length;
  for (const { id, state } of sorted) {
    const share = shares.get(id) as number[];
    for (const partition of of(state.owns)) {
      if (!left.has(partition) || refused.get(id)?.has(partition) === true) continue;
      if (share.length === least) {
        if (larger === 0) break;
        larger--;
      } else if (share.length > least) break;
      share.push(partition);
      left.delete(partition);
    }
  }
  for (const partition of left) {
    const able = sorted.filter(({ id }) => refused.get(id)?.has(partition) !== true);
    const sizes = (able.length > 0 ? able : sorted).map(({ id }) => shares.get(id) as number[]);
    sizes.reduce((best, share) => (share.length < best.length ? share : best)).push(partition);
  }
  return shares;
}
