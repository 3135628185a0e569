import { end, hub } from "@wheelwork/core";
import * as z from "zod";

/** A hub without calls: it gives back a number. */
export const echo = hub(
  "echo",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 10_000,
    chart: { Asked: { Next: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  { Asked: "Next", Done: ({ n }) => n },
);
