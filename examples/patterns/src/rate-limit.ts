// A supplier takes 50 messages a second of each customer, and two at the same time. The others wait, and that costs them neither
// an attempt nor any of their time. A customer who sends a hundred thousand messages holds back nobody else.
import { end, hub, spoke, stay } from "wheelwork";
import { z } from "zod";

const message = z.object({ customer: z.string(), text: z.string() });
export const send = spoke("send-message", {
  input: message,
  output: z.object({ id: z.string() }),
  timeoutMs: 2_000,
  retry: { attempts: 3, backoffMs: 500 },
  limit: { perSecond: 50, concurrent: 2, by: ({ customer }) => customer },
});

export const campaign = hub(
  "campaign",
  {
    request: z.object({ customer: z.string(), texts: z.array(z.string()) }),
    reply: z.object({ sent: z.number(), failed: z.number() }),
    errors: ["not-sent-in-time"],
    deadlineMs: 3_600_000,
    deadline: "TimeRanOut",
    chart: {
      Sending: { Sent: stay, NotSent: stay, All: "Done", TimeRanOut: "Unfinished" },
      Done: end,
      Unfinished: end,
    },
    data: ({ customer, texts }) => ({ customer, texts, sent: 0, failed: 0 }),
  },
  {
    Sending: (s) =>
      s.each(send, {
        inputs: ({ customer, texts }) => texts.map((text) => ({ customer, text })),
        ok: ({ sent }) => s.raise("Sent", { sent: sent + 1 }),
        failed: ({ failed }) => s.raise("NotSent", { failed: failed + 1 }),
        done: "All",
      }),
    Done: ({ sent, failed }) => ({ sent, failed }),
    Unfinished: ({ sent }, s) => s.fail("not-sent-in-time", `${sent} messages are sent`),
  },
);
