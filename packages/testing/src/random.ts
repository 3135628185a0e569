/** A source of numbers that gives the same ones for the same seed, on every machine. */
export interface SeededRandom {
  /** In [0, 1). */
  (): number;
  /** An integer from 0 to `below` - 1. */
  int(below: number): number;
  /** One of the items. */
  pick<T>(items: readonly T[]): T;
  /** True with this probability. */
  chance(probability: number): boolean;
}

/** Makes a source of numbers (mulberry32). Print the seed when a test fails: it is all that one needs to repeat it. */
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
      if (items.length === 0) throw new RangeError("there is nothing to pick from");
      return items[int(items.length)] as T;
    },
    chance: (probability: number): boolean => next() < probability,
  });
}
