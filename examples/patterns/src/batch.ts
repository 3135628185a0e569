// Many items, some at a time. Signals pause the round, let it go on, and change how many run at once. A cancel waits for the
// items that run, and the answer says how far it got.
import { end, hub, spoke, stay } from "wheelwork";
import { z } from "zod";

export const workOn = spoke("work-on", {
  input: z.object({ item: z.int() }),
  output: z.object({}),
  errors: ["bad-item"],
  timeoutMs: 30_000,
  retry: { attempts: 3, backoffMs: 1_000, giveUpOn: ["bad-item"] },
});

export const batch = hub(
  "batch",
  {
    request: z.object({ items: z.int().max(100_000) }),
    reply: z.object({ done: z.int(), failed: z.int(), left: z.int() }),
    deadlineMs: 24 * 3_600_000,
    deadline: "Stop",
    cancel: "Stop",
    signals: {
      pause: z.object({}),
      resume: z.object({}),
      limit: z.object({ atOnce: z.int().min(1).max(500) }),
    },
    chart: {
      Working: { ItemDone: stay, ItemFailed: stay, Changed: stay, AllDone: "Over", Stop: "Over" },
      Over: end,
    },
    data: ({ items }) => ({ items, done: 0, failed: 0, atOnce: 50, paused: false }),
    view: ({ items, done, failed, paused }) => ({
      percent: Math.floor((100 * (done + failed)) / items),
      paused,
    }),
  },
  {
    Working: (s) =>
      s.each(workOn, {
        inputs: ({ items }) => Array.from({ length: items }, (_, item) => ({ item })),
        limit: ({ paused, atOnce }) => (paused ? 0 : atOnce),
        drain: true,
        on: {
          pause: () => s.raise("Changed", { paused: true }),
          resume: () => s.raise("Changed", { paused: false }),
          limit: (_data, { atOnce }) => s.raise("Changed", { atOnce }),
        },
        ok: ({ done }) => s.raise("ItemDone", { done: done + 1 }),
        failed: ({ failed }) => s.raise("ItemFailed", { failed: failed + 1 }),
        done: "AllDone",
      }),
    Over: ({ items, done, failed }) => ({ done, failed, left: items - done - failed }),
  },
);
