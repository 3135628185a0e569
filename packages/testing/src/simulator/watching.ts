import { WheelworkError } from "@wheelwork/core";
import type { Engine, WatchOptions } from "@wheelwork/engine";
import type { SimulatedClock, SimulatedProcess } from "../clock.ts";
import { drawFor } from "./plans.ts";
import type { Seen } from "./trace.ts";

/** A process at which one can watch. */
interface Watchable {
  readonly number: number;
  readonly process: Pick<SimulatedProcess, "alive">;
  readonly engine: Engine;
  /** Settles when it dies. */
  readonly death: Promise<void>;
}

/** Somebody who may watch a request. */
export interface Watcher {
  readonly seed: number;
  readonly key: string;
  readonly scaleMs: number;
  readonly clock: SimulatedClock;
  /** A process that can be asked now. */
  readonly any: () => Watchable | undefined;
  /** Events are archived while it watches: then many watch, and some come back late. */
  readonly archives: boolean;
  /** Whether the request may be unknown by now, so that nobody can tell of it. */
  readonly mayBeForgotten: () => boolean;
  readonly see: (seen: Seen) => void;
}

/** The share of the requests that are watched; and where events are archived. */
const [watchedShare, watchedWhereArchived] = [0.35, 0.8];

/**
 * Watches some requests, to their answer or to their end: now from the beginning, now from the present. It reads slowly at times, leaves
 * by itself, and loses its process. Then it goes on at any process, after the last event that it has seen.
 */
export async function watchSome(watcher: Watcher): Promise<void> {
  const { seed, key, scaleMs, clock, archives, see } = watcher;
  const random = drawFor(seed, "watch", key);
  if (!random.chance(archives ? watchedWhereArchived : watchedShare)) return;
  const wait = (ms: number): Promise<undefined> =>
    new Promise((resolve) => void clock.after(ms, () => resolve(undefined)));
  const until = random.pick(["answer", "end"] as const);
  let after: number | undefined = random.chance(0.7) ? 0 : undefined;
  for (;;) {
    const asked = watcher.any();
    if (asked === undefined) {
      await wait(scaleMs / 20);
      continue;
    }
    const leave = new AbortController();
    const options: WatchOptions = { until, signal: leave.signal, ...(after === undefined ? {} : { after }) };
    if (random.chance(0.4)) clock.after(random.int(scaleMs), () => leave.abort());
    // One that hears nothing for long does not know whether its process lives. Others wait for ever.
    const patience = random.chance(0.5) ? wait(scaleMs * 2 + 6_000) : new Promise<undefined>(() => {});
    const updates = asked.engine.watch(key, options)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = updates.next();
        next.catch(() => {});
        const told = await Promise.race([next, asked.death, patience]);
        if (told === undefined || !asked.process.alive) break;
        const node = asked.number;
        if (told.done === true) {
          if (leave.signal.aborted) break;
          return see({ type: "shown-all", key, node, after, until });
        }
        see({ type: "shown", key, node, after, update: told.value });
        after = told.value.event;
        if (random.chance(0.2)) await wait(random.int(archives ? scaleMs * 2 : scaleMs / 4));
      }
    } catch (error) {
      if (!(error instanceof WheelworkError)) throw error;
      if (error.code === "WW_NOT_FOUND" && watcher.mayBeForgotten()) return;
    } finally {
      leave.abort();
    }
    await wait(archives && random.chance(0.5) ? random.int(scaleMs * 3) : scaleMs / 20);
  }
}
