/** What goes wrong between the workers and the switches. Default: nothing, and at once. */
export interface Faults {
  /** Time from a command to its answer, half on each way, in milliseconds: a number, or drawn between two. */
  readonly latencyMs?: number | { readonly from: number; readonly to: number };
  /** Share of the messages that are lost, on each way: 0 to 1. */
  readonly loss?: number;
  /** Share of the commands that come twice. */
  readonly duplicates?: number;
  /** Share of the messages that are held back by `reorderMs`, on each way, so that later ones overtake them. */
  readonly reorder?: number;
  /** Default 20 ms. */
  readonly reorderMs?: number;
}

/** What happens to one copy of a command. */
export interface Passage {
  /** Milliseconds until the switch has it; undefined: it never comes. */
  readonly there: number | undefined;
  /** Milliseconds until its answer is back; undefined: it never comes. */
  readonly back: number | undefined;
}

const untroubled: readonly Passage[] = [{ there: 0, back: 0 }];

/** Numbers in [0, 1) from a seed: the same seed, the same numbers. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Draws what happens to a command: one passage for each copy of it. All is drawn when the command comes, a fixed count
 * of numbers each, so that equal seeds and equal commands give equal faults however the timers fall.
 */
export function passagesOf(faults: Faults, random: () => number): readonly Passage[] {
  const { latencyMs = 0, loss = 0, duplicates = 0, reorder = 0, reorderMs = 20 } = faults;
  if (latencyMs === 0 && loss === 0 && duplicates === 0 && reorder === 0) return untroubled;
  const way = (): number | undefined => {
    const [lost, held, drawn] = [random(), random(), random()];
    const latency =
      typeof latencyMs === "number" ? latencyMs : latencyMs.from + (latencyMs.to - latencyMs.from) * drawn;
    return lost < loss ? undefined : latency / 2 + (held < reorder ? reorderMs : 0);
  };
  const copies = random() < duplicates ? 2 : 1;
  const passages = [
    { there: way(), back: way() },
    { there: way(), back: way() },
  ];
  return passages.slice(0, copies);
}
