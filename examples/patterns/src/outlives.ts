// A run that outlives the one that has started it. The order is answered as soon as its parcel is on the way, and ends. Two weeks
// later its feedback run asks the customer, and waits for the stars. Its key is made of the order's number: so there is one for
// each order, and whoever knows the number can send it the stars.
import { end, hub, spoke } from "wheelwork";
import { z } from "zod";

const day = 86_400_000;
const order = z.object({ number: z.string() });
export const send = spoke("send-parcel", { input: order, output: z.object({}), timeoutMs: 10_000 });
export const ask = spoke("ask-customer", { input: order, output: z.object({}), timeoutMs: 10_000 });

export const feedback = hub(
  "feedback",
  {
    request: order,
    reply: z.object({ stars: z.int().nullable() }),
    deadlineMs: 60 * day,
    deadline: "NoneCame",
    signals: { stars: z.object({ stars: z.int().min(1).max(5) }) },
    chart: {
      Waiting: { Ask: "Asking", NoneCame: "Over" },
      Asking: { Asked: "Listening" },
      Listening: { Came: "Over", NoneCame: "Over" },
      Over: end,
    },
    data: ({ number }) => ({ number, stars: null as number | null }),
  },
  {
    Waiting: (s) => s.wait({ after: { Ask: 14 * day } }),
    Asking: (s) => s.tell(ask, { input: ({ number }) => ({ number }), next: "Asked" }),
    Listening: (s) => s.wait({ on: { stars: (_data, { stars }) => s.raise("Came", { stars }) } }),
    Over: ({ stars }) => ({ stars }),
  },
);

export const sale = hub(
  "sale",
  {
    request: order,
    reply: z.object({}),
    errors: ["not-sent"],
    deadlineMs: 60_000,
    deadline: "NotSent",
    chart: {
      Sending: { Sent: "Starting", NotSent: "NotSent" },
      Starting: { Started: "Sold" },
      Sold: end,
      NotSent: end,
    },
    data: (request) => request,
  },
  {
    Sending: (s) => s.call(send, { input: (data) => data, ok: "Sent", failed: "NotSent" }),
    Starting: (s) =>
      s.start(feedback, {
        input: (data) => data,
        key: ({ number }) => `feedback-${number}`,
        next: "Started",
      }),
    Sold: () => ({}),
    NotSent: (_data, s) => s.fail("not-sent", "the parcel was not sent"),
  },
);
