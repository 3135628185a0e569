import type { BusyTurns } from "../ports/clock.ts";

/** So many items are sorted at once, and so many are merged before somebody looks whether the turn is over. */
const atOnce = 4096;

/** Sorts a list that may be long in its place, some of it at a time. Those that are equal keep their order. */
export async function sortInTurns<T>(
  list: T[],
  compare: (a: T, b: T) => number,
  turns: BusyTurns,
): Promise<void> {
  let from: T[] = [];
  for (let start = 0; start < list.length; start += atOnce) {
    if (start > 0) await turns.next();
    for (const item of list.slice(start, start + atOnce).toSorted(compare)) from.push(item);
  }
  for (let size = atOnce; size < from.length; size *= 2) {
    const merged: T[] = [];
    for (let start = 0; start < from.length; start += 2 * size) {
      let [a, b] = [start, Math.min(start + size, from.length)];
      const [middle, end] = [b, Math.min(start + 2 * size, from.length)];
      while (a < middle || b < end) {
        const takesFirst = b >= end || (a < middle && compare(from[a] as T, from[b] as T) <= 0);
        merged.push(from[takesFirst ? a++ : b++] as T);
        if (merged.length % atOnce === 0) await turns.next();
      }
    }
    from = merged;
  }
  for (const [place, item] of from.entries()) list[place] = item;
}
