// Another system works on a job and does not say when it is done. The hub looks again and again: after 5 s, 10 s, 20 s, …,
// and then every five minutes. The loop waits, so it may go round until the hub's deadline.
import { end, hub, spoke } from "wheelwork";
import { z } from "zod";

const second = 1_000;
const job = z.object({ job: z.string() });
export const submitJob = spoke("submit-job", {
  input: z.object({ name: z.string() }),
  output: job,
  timeoutMs: 10 * second,
  retry: { attempts: 3, backoffMs: second },
});
export const lookAtJob = spoke("look-at-job", {
  input: job,
  output: z.object({ status: z.enum(["running", "done", "failed"]) }),
  timeoutMs: 10 * second,
});

export const polling = hub(
  "polling",
  {
    request: z.object({ name: z.string() }),
    reply: z.object({ job: z.string(), looks: z.number() }),
    errors: ["not-submitted", "failed", "not-done-in-time"],
    deadlineMs: 6 * 3_600 * second,
    deadline: "TimeRanOut",
    chart: {
      Submitting: { Submitted: "Sleeping", NotSubmitted: "NotSubmitted", TimeRanOut: "Unfinished" },
      Sleeping: { Look: "Looking", TimeRanOut: "Unfinished" },
      Looking: { NotYet: "Sleeping", Done: "Done", Failed: "Failed", TimeRanOut: "Unfinished" },
      Done: end,
      Failed: end,
      NotSubmitted: end,
      Unfinished: end,
    },
    data: ({ name }) => ({ name, job: "", looks: 0 }),
  },
  {
    Submitting: (s) =>
      s.call(submitJob, {
        input: ({ name }) => ({ name }),
        ok: (_data, { job }) => s.raise("Submitted", { job }),
        failed: "NotSubmitted",
      }),
    Sleeping: (s) =>
      s.wait({ after: { Look: ({ looks }) => Math.min(5 * second * 2 ** looks, 300 * second) } }),
    Looking: (s) =>
      s.call(lookAtJob, {
        input: ({ job }) => ({ job }),
        ok: ({ looks }, { status }) =>
          s.raise(status === "running" ? "NotYet" : status === "done" ? "Done" : "Failed", {
            looks: looks + 1,
          }),
        // A look that fails says nothing about the job.
        failed: ({ looks }) => s.raise("NotYet", { looks: looks + 1 }),
      }),
    Done: ({ job, looks }) => ({ job, looks }),
    Failed: (_data, s) => s.fail("failed", "the job has failed"),
    NotSubmitted: (_data, s) => s.fail("not-submitted", "the job was not taken"),
    Unfinished: ({ job }, s) => s.fail("not-done-in-time", `the job ${job} still runs`),
  },
);
