// One operation at a time on each flow. All hubs share the lane "flow", and each says what a request does that comes while
// another one works on the same flow.
import { end, hub, spoke, type WhenBusy } from "wheelwork";
import { z } from "zod";

const flow = z.object({ flow: z.string() });
export const change = spoke("change", {
  input: z.object({ flow: z.string(), operation: z.string() }),
  output: z.object({}),
  timeoutMs: 30_000,
});

const operation = (name: string, whenBusy: WhenBusy) =>
  hub(
    name,
    {
      request: flow,
      reply: z.object({ done: z.string() }),
      errors: ["failed"],
      deadlineMs: 60_000,
      deadline: "Failed",
      exclusive: { lane: "flow", by: (request) => request.flow, whenBusy, queueMs: 300_000 },
      chart: { Changing: { Changed: "Done", Failed: "Failed" }, Done: end, Failed: end },
      data: (request) => request,
    },
    {
      Changing: (s) =>
        s.call(change, {
          input: (data) => ({ flow: data.flow, operation: name }),
          ok: "Changed",
          failed: "Failed",
        }),
      Done: () => ({ done: name }),
      Failed: (_data, s) => s.fail("failed", `${name} has failed`),
    },
  );

/** Each is done, one after the other. */
export const createFlow = operation("create-flow", "queue");
/** Of those that come while another one works, only the last one is done. The others are answered with WW_REPLACED. */
export const updateFlow = operation("update-flow", "latest");
/** The one that works is cancelled, and the last one is done. */
export const rerouteFlow = operation("reroute-flow", "replace");
/** Those who ask while it works get its answer. */
export const verifyFlow = operation("verify-flow", "join");
/** Whoever comes too early is told so at once: WW_BUSY. */
export const pingFlow = operation("ping-flow", "refuse");
