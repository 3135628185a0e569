// A nightly job: at half past two, Berlin time, the statement of the night is written. A night may take longer than a day, and then
// the next one comes while it works. What becomes of it, the lane of the hub says (`whenBusy`):
//   queue    It waits, so each night gets its statement, one after the other. That is what statements need.
//   latest   It waits, and of those that wait only the last one is done: enough for a copy of what is there now.
//   refuse   It is left out: its request is answered with WW_BUSY.
//   replace  The night that works is cancelled, and cleans up. Then the new one begins.
//   join     As refuse: only an equal request joins, and each night has another one.
import { end, hub, schedule, spoke } from "wheelwork";
import { z } from "zod";

const hour = 3_600_000;
const night = z.object({ until: z.string() });
export const write = spoke("write-statement", {
  input: night,
  output: z.object({ entries: z.int() }),
  timeoutMs: 30 * hour,
});

export const statement = hub(
  "statement",
  {
    request: night,
    reply: z.object({ entries: z.int() }),
    errors: ["not-written"],
    deadlineMs: 36 * hour,
    deadline: "NotWritten",
    exclusive: { lane: "statements", by: () => "all", whenBusy: "queue", queueMs: 14 * 24 * hour },
    chart: { Writing: { Written: "Done", NotWritten: "NotWritten" }, Done: end, NotWritten: end },
    data: ({ until }) => ({ until, entries: 0 }),
  },
  {
    Writing: (s) =>
      s.call(write, {
        input: ({ until }) => ({ until }),
        ok: (_data, { entries }) => s.raise("Written", { entries }),
        failed: "NotWritten",
      }),
    Done: ({ entries }) => ({ entries }),
    NotWritten: (_data, s) => s.fail("not-written", "the statement was not written"),
  },
);

// Nights in which nobody worked are made up for, each of them.
export const nightly = schedule("nightly", {
  cron: "30 2 * * *",
  timeZone: "Europe/Berlin",
  catchUp: "all",
  hub: statement,
  request: ({ at }) => ({ until: new Date(at).toISOString() }),
});
