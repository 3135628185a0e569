import { end, hub, spoke } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import type { OpenedSystem, SimulatedSystem } from "@wheelwork/testing";
import { z } from "zod";

const check = spoke("check", {
  input: z.object({}),
  output: z.object({}),
  timeoutMs: 4_000,
  retry: { attempts: 5, backoffMs: 100 },
});

const make = spoke("make", {
  input: z.object({}),
  output: z.object({}),
  timeoutMs: 8_000,
  retry: { attempts: 2, backoffMs: 100 },
});

const order = hub(
  "order",
  {
    request: z.object({ isReady: z.boolean(), pieces: z.number() }),
    reply: z.object({ isReady: z.boolean(), pieces: z.number() }),
    errors: ["failed"],
    deadlineMs: 60_000,
    chart: {
      Checking: { Checked: "Making", Ready: "Done", Failed: "Failed", Late: "Failed" },
      Making: { Made: "Done", Failed: "Failed", Late: "Failed" },
      Done: end,
      Failed: end,
    },
    data: (request) => request,
  },
  {
    Checking: (s) =>
      s.call(check, {
        input: () => ({}),
        // Some need nothing that is made: they can be answered while the log is away.
        ok: ({ isReady }) => (isReady ? "Ready" : "Checked"),
        failed: "Failed",
        deadline: "Late",
      }),
    Making: (s) => s.call(make, { input: () => ({}), ok: "Made", failed: "Failed", deadline: "Late" }),
    Done: (data) => data,
    Failed: (_data, s) => s.fail("failed", "as it happens"),
  },
);

/** A hub that has the time to get its answer in spite of an outage. */
export const orders: SimulatedSystem = {
  name: "orders",
  scaleMs: 10_000,
  open: (): OpenedSystem => ({
    hubs: [order],
    workers: () => [worker(check, () => ({})), worker(make, () => ({}))],
    request: (random) => ({
      hub: order,
      request: { isReady: random.chance(0.5), pieces: random.int(1_000) },
    }),
  }),
};
