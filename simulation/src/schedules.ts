import { end, hub, spoke } from "@wheelwork/core";
import { schedule, worker, type Schedule } from "@wheelwork/engine";
import { seededRandom, type OpenedSystem, type SeededRandom, type SimulatedSystem } from "@wheelwork/testing";
import { z } from "zod";

const tick = z.object({ at: z.number() });

/** How often schedules tick, in milliseconds. */
export interface Rates {
  readonly minMs: number;
  readonly maxMs: number;
}

/** What a version of the program says of a schedule. */
type Declared = Pick<Parameters<typeof schedule>[1], "catchUp" | "jitterMs" | "version"> & {
  readonly everyMs: number;
};

/**
 * Requests at certain times, beside those of clients: ticks that are missed are made up for in all ways. The next version of the program
 * may lack a schedule, have one more, or have other times for it.
 */
export const schedules = (name: string, scaleMs: number, { minMs, maxMs }: Rates): SimulatedSystem => ({
  name,
  scaleMs,
  open: ({ random, defective }): OpenedSystem => {
    const work = spoke("work", { input: tick, output: z.object({}), timeoutMs: scaleMs / 2 });
    const job = hub(
      "job",
      {
        request: tick,
        reply: z.object({}),
        deadlineMs: scaleMs,
        deadline: "Over",
        chart: { Working: { Over: "Done" }, Done: end },
        data: (request) => request,
      },
      {
        Working: (s) => s.call(work, { input: (data) => data, ok: "Over", failed: "Over" }),
        Done: () => ({}),
      },
    );
    const drawn = (draw: SeededRandom, version: number): Declared => ({
      everyMs: minMs + draw.int(maxMs - minMs),
      catchUp: draw.pick(["all", "last", "none"] as const),
      ...(draw.chance(0.3) ? { jitterMs: 1 + draw.int(scaleMs) } : {}),
      version,
    });
    /** What each version of the program says of one schedule is what the one before has said, or something else. */
    const declaredIn = (seed: number, version: number): Declared | undefined => {
      const draw = seededRandom(seed);
      let isThere = draw.chance(0.8);
      let declared = drawn(draw, 1);
      for (let next = 2; next <= version; next++) {
        if (draw.chance(0.3)) isThere = !isThere;
        const { everyMs } = declared;
        if (draw.chance(0.4)) declared = { ...drawn(draw, next), ...(draw.chance(0.3) ? { everyMs } : {}) };
      }
      return isThere ? declared : undefined;
    };
    const seeds = Array.from({ length: 1 + random.int(3) }, () => random.int(2 ** 31));
    const schedulesIn = (version: number): Schedule[] =>
      seeds.flatMap((seed, place) => {
        const declared = declaredIn(seed, version);
        if (declared === undefined) return [];
        const request = ({ at }: { readonly at: number }): z.infer<typeof tick> => {
          if (defective()) throw new Error("the request of a tick is defective, as planned");
          return { at };
        };
        return [schedule(`s${place}`, { ...declared, hub: job, request })];
      });
    const hubs = [job];
    return {
      hubs,
      upgraded: () => hubs,
      schedules: schedulesIn,
      workers: () => [worker(work, () => ({}))],
      request: (draw) => ({ hub: job, request: { at: draw.int(1000) } }),
    };
  },
});
