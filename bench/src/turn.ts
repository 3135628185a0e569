import { end, hub } from "@wheelwork/core";
import * as z from "zod";

/** In milliseconds. */
export const day = 86_400_000;

/** A hub whose runs hold their place until a signal comes. */
export const turn = hub(
  "turn",
  {
    request: z.object({ lane: z.string() }),
    reply: z.object({}),
    deadlineMs: 30 * day,
    exclusive: { lane: "turns", by: ({ lane }) => lane, whenBusy: "queue", queueLimit: 1_000_000 },
    chart: { Waiting: { Went: "Done", Late: "Done" }, Done: end },
    data: () => ({}),
    signals: { go: z.object({}) },
  },
  {
    Waiting: (s) => s.wait({ on: { go: "Went" }, deadline: "Late" }),
    Done: () => ({}),
  },
);
