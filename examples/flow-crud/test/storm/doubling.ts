import type { StormApp } from "@wheelwork/storm/parts";
import { end, hub, externalWorker, spoke, worker } from "wheelwork";
import * as z from "zod";

const double = spoke("double-number", {
  input: z.object({ n: z.number() }),
  output: z.object({ doubled: z.number() }),
  timeoutMs: 30_000,
});

const notice = spoke("notice", {
  input: z.object({ n: z.number() }),
  output: z.object({}),
  timeoutMs: 1000,
});

/** Has a number doubled by a worker elsewhere. */
export const doubling = hub(
  "doubling",
  {
    request: z.object({ n: z.number() }),
    reply: z.object({ doubled: z.number() }),
    errors: ["failed"],
    deadlineMs: 60_000,
    chart: {
      Noticing: { Next: "Asking", Failed: "Lost" },
      Asking: { Done: "Told", Failed: "Lost" },
      Told: end,
      Lost: end,
    },
    data: (request) => ({ ...request, doubled: 0 }),
  },
  {
    Noticing: (s) =>
      s.call(notice, { input: ({ n }) => ({ n }), ok: "Next", failed: "Failed", deadline: "Failed" }),
    Asking: (s) =>
      s.call(double, {
        input: ({ n }) => ({ n }),
        ok: (_data, { doubled }) => s.raise("Done", { doubled }),
        failed: "Failed",
        deadline: "Failed",
      }),
    Told: ({ doubled }) => ({ doubled }),
    Lost: (_data, s) => s.fail("failed", "no answer"),
  },
);

let unlucky = true;

/** A topology that is submitted from the command line. */
const app: StormApp = {
  hubs: [doubling],
  workers: [
    externalWorker(double, { topic: "double-number" }),
    worker(notice, ({ n }) => {
      // A library that throws where nobody catches it, once.
      if (n === 13 && unlucky) {
        unlucky = false;
        setTimeout(() => {
          throw new Error("an unlucky number");
        }, 1);
      }
      return {};
    }),
  ],
};
export default app;
