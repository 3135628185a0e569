import { end, hub, spoke } from "@wheelwork/core";
import { schedule, worker, type Schedule } from "@wheelwork/engine";
import type { OpenedSystem, SimulatedSystem } from "@wheelwork/testing";
import { z } from "zod";

const tick = z.object({ at: z.number() });

/** Requests at certain times, beside those of clients: ticks that are missed are made up for in all ways. */
export const schedules = (name: string, scaleMs: number): SimulatedSystem => ({
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
    const ticking = (place: number): Schedule =>
      schedule(`s${place}`, {
        everyMs: Math.max(1000, scaleMs * (2 + random.int(20))),
        catchUp: random.pick(["all", "last", "none"] as const),
        ...(random.chance(0.3) ? { jitterMs: 1 + random.int(scaleMs) } : {}),
        hub: job,
        request: ({ at }) => {
          if (defective()) throw new Error("the request of a tick is defective, as planned");
          return { at };
        },
      });
    return {
      hubs: [job],
      schedules: Array.from({ length: 1 + random.int(3) }, (_, place) => ticking(place)),
      workers: () => [worker(work, () => ({}))],
      request: (draw) => ({ hub: job, request: { at: draw.int(1000) } }),
    };
  },
});
