// A delayed start: a trial of a service is ended two weeks after it has begun. The request that ends it is accepted with the one that
// begins it, and waits in the store until its time comes. Whoever buys the service meanwhile cancels it.
import { end, hub, spoke } from "wheelwork";
import { z } from "zod";

const account = z.object({ account: z.string() });
export const close = spoke("close-account", {
  input: account,
  output: z.object({}),
  timeoutMs: 10_000,
  retry: { attempts: 5, backoffMs: 1_000 },
});

const endOfTrial = hub(
  "end-of-trial",
  {
    request: account,
    reply: z.object({ closed: z.string() }),
    errors: ["still-open"],
    deadlineMs: 3_600_000,
    deadline: "Failed",
    chart: { Closing: { Closed: "Closed", Failed: "StillOpen" }, Closed: end, StillOpen: end },
    data: (request) => request,
  },
  {
    Closing: (s) => s.call(close, { input: (data) => data, ok: "Closed", failed: "Failed" }),
    Closed: (data) => ({ closed: data.account }),
    StillOpen: (data, s) => s.fail("still-open", `the account ${data.account} could not be closed`),
  },
);

export const trial = hub(
  "trial",
  {
    request: z.object({ account: z.string(), beginsAt: z.number() }),
    reply: z.object({ until: z.number() }),
    deadlineMs: 60_000,
    chart: { Planning: { Planned: "Running" }, Running: end },
    data: ({ account: name, beginsAt }) => ({ account: name, until: beginsAt + 14 * 86_400_000 }),
  },
  {
    Planning: (s) =>
      s.start(endOfTrial, {
        input: (data) => ({ account: data.account }),
        key: (data) => `end-of-trial-${data.account}`,
        startAt: ({ until }) => until,
        next: "Planned",
      }),
    Running: ({ until }) => ({ until }),
  },
);
