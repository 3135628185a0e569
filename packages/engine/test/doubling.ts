import { end, hub, spoke } from "@wheelwork/core";
import { z } from "zod";

export const work = spoke("work", { input: z.number(), output: z.number(), timeoutMs: 1000 });

/** A hub with one call: it doubles a number, or gives it back if the worker does not. */
export const doubling = hub(
  "doubling",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 10_000,
    chart: { Working: { Next: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  {
    Working: (s) =>
      s.call(work, {
        input: ({ n }) => n,
        ok: (_data, n) => s.raise("Next", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Done: ({ n }) => n,
  },
);
