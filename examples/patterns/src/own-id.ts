// A run that tells others its id. A provider gets the id with the order of a payment, and sends it back when the customer has paid:
// then the web server signals the run that waits for it. The run keeps its id in its data, as all that it knows.
import { end, hub, spoke } from "wheelwork";
import { z } from "zod";

export const requestPayment = spoke("request-payment", {
  input: z.object({ cents: z.number(), reference: z.string() }),
  output: z.object({}),
  timeoutMs: 10_000,
});

export const payment = hub(
  "payment",
  {
    request: z.object({ cents: z.number() }),
    reply: z.object({ receipt: z.string() }),
    errors: ["not-paid"],
    deadlineMs: 3_600_000,
    deadline: "NotPaid",
    signals: { paid: z.object({ receipt: z.string() }) },
    chart: {
      Requesting: { Requested: "Waiting", NotPaid: "NotPaid" },
      Waiting: { Paid: "Paid", NotPaid: "NotPaid" },
      Paid: end,
      NotPaid: end,
    },
    data: ({ cents }, { id }) => ({ cents, id, receipt: "" }),
  },
  {
    Requesting: (s) =>
      s.call(requestPayment, {
        input: ({ cents, id }) => ({ cents, reference: id }),
        ok: "Requested",
        failed: "NotPaid",
      }),
    Waiting: (s) => s.wait({ on: { paid: (_data, { receipt }) => s.raise("Paid", { receipt }) } }),
    Paid: ({ receipt }) => ({ receipt }),
    NotPaid: (_data, s) => s.fail("not-paid", "the customer has not paid"),
  },
);
