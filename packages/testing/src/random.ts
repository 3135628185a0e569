/** A source of random numbers. The same seed gives the same numbers, on every machine. */
export interface SeededRandom {
  /** The next number in [0, 1). */
  (): number;
  /** A whole number from 0 to `below` - 1. */
  int(below: number): number;
  /** One of the items. @throws RangeError when there are none. */
  pick<T>(items: readonly T[]): T;
  /** True with this probability. */
  chance(probability: number): boolean;
}

/**
 * Makes a source of random numbers (the algorithm is mulberry32). Print the seed when a test fails: it repeats the
 * test.
 */
export function seededRandom(seed: number): SeededRandom {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (below: number): number => Math.floor(next() * below);
  return Object.assign(next, {
    int,
    pick: <T>(items: readonly T[]): T => {
      if (items.length === 0) throw new RangeError("the list of items to pick from is empty");
      return items[int(items.length)] as T;
    },
    chance: (probability: number): boolean => next() < probability,
  });
}
