import type { Spoke } from "@wheelwork/core";
import type { SimulatedProcess } from "../clock.ts";

/** The work of one key that is under way in a process, and the tokens that it has. */
interface Watched {
  readonly since: Set<{ readonly at: number }>;
  tokens: number;
  at: number;
}

/** Counts what of the spokes is under way in one process, from outside of it: by when workers begin, and when their work ends. */
class LimitWatch {
  readonly #process: SimulatedProcess;
  readonly #bornAt: number;
  readonly #keys = new Map<string, Watched>();

  constructor(process: SimulatedProcess) {
    this.#process = process;
    this.#bornAt = process.monotonicMs();
  }

  /** An attempt begins. The result tells what is wrong with that, if anything, and what to call when its work has ended. */
  begin(spoke: Spoke, input: unknown): { readonly problem: string | undefined; readonly end: () => void } {
    const { limit, abandonAfterMs } = spoke;
    if (limit === undefined) return { problem: undefined, end: () => {} };
    const { concurrency, concurrent, perSecond, burst, by } = limit;
    const all = this.#of(spoke.name);
    const key = by === undefined ? all : this.#of(`${spoke.name} of ${String(by(input))}`);
    const at = this.#process.monotonicMs();
    const begun = { at };
    const problems: string[] = [];
    for (const { since } of new Set([all, key])) {
      since.add(begun);
      for (const one of since) if (one.at + abandonAfterMs <= at && one !== begun) since.delete(one);
    }
    if (all.since.size > concurrency) problems.push(`${all.since.size} of ${spoke.name}, not ${concurrency}`);
    if (key.since.size > concurrent) problems.push(`${key.since.size} of one key of ${spoke.name}`);
    if (perSecond !== Number.POSITIVE_INFINITY) {
      key.tokens = Math.min(burst, key.tokens + ((at - key.at) * perSecond) / 1000) - 1;
      key.at = at;
      // Sums of fractions are not exact.
      if (key.tokens < -1e-6) problems.push(`${spoke.name} faster than ${perSecond} in a second`);
    }
    const end = (): void => {
      for (const { since } of [all, key]) since.delete(begun);
    };
    return { problem: problems.length === 0 ? undefined : `under way: ${problems.join("; ")}`, end };
  }

  #of(name: string): Watched {
    let watched = this.#keys.get(name);
    // Buckets are empty when a process starts.
    if (watched === undefined)
      this.#keys.set(name, (watched = { since: new Set(), tokens: 0, at: this.#bornAt }));
    return watched;
  }
}

const watches = new WeakMap<SimulatedProcess, LimitWatch>();

/** What counts the work of a process. Ask for it when the process starts. */
export function watchLimits(process: SimulatedProcess): LimitWatch {
  let watch = watches.get(process);
  if (watch === undefined) watches.set(process, (watch = new LimitWatch(process)));
  return watch;
}
