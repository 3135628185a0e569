// Deploys that follow one another. Each waits for the baton, rolls its service out, and passes the baton on: a signal to the next
// deploy. One that fails passes it on, too, so that those behind it do not wait in vain. A hub cannot be named within itself, so
// the next deploy is found by the name of its hub and the id of its request.
import { end, hub, spoke } from "wheelwork";
import { z } from "zod";

export const rollOut = spoke("roll-out", {
  input: z.object({ service: z.string() }),
  output: z.object({}),
  errors: ["unhealthy"],
  timeoutMs: 600_000,
});

export const deploy = hub(
  "deploy",
  {
    request: z.object({ service: z.string(), next: z.string().nullable() }),
    reply: z.object({ deployed: z.string() }),
    errors: ["not-deployed"],
    deadlineMs: 3_600_000,
    deadline: "Failed",
    signals: { baton: z.object({ good: z.boolean() }) },
    chart: {
      Waiting: { Begin: "RollingOut", Failed: "Warning" },
      RollingOut: { Running: "Passing", Failed: "Warning" },
      Passing: { Passed: "Deployed" },
      Warning: { Warned: "NotDeployed" },
      Deployed: end,
      NotDeployed: end,
    },
    data: (request) => request,
  },
  {
    Waiting: (s) => s.wait({ on: { baton: (_data, { good }) => (good ? "Begin" : "Failed") } }),
    RollingOut: (s) =>
      s.call(rollOut, { input: ({ service }) => ({ service }), ok: "Running", failed: "Failed" }),
    // The last one has nobody behind it: an id of null sends nothing.
    Passing: (s) =>
      s.signalRun("deploy", {
        id: ({ next }) => next,
        signal: "baton",
        payload: () => ({ good: true }),
        next: "Passed",
      }),
    Warning: (s) =>
      s.signalRun("deploy", {
        id: ({ next }) => next,
        signal: "baton",
        payload: () => ({ good: false }),
        next: "Warned",
      }),
    Deployed: ({ service }) => ({ deployed: service }),
    NotDeployed: ({ service }, s) => s.fail("not-deployed", `${service} is not deployed`),
  },
);
