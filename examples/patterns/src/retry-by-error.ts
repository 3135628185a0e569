// Not all errors are alike. A card that is declined stays declined. A bank that is busy is asked again soon. After a timeout nobody
// knows whether the money was taken, so the hub looks, instead of asking for it again. A bank that is down is asked until the
// hub gives up.
import { end, hub, spoke } from "wheelwork";
import { z } from "zod";

const payment = z.object({ order: z.string(), cents: z.number() });
export const charge = spoke("charge", {
  input: payment,
  output: z.object({ receipt: z.string() }),
  errors: ["declined", "busy", "down"],
  timeoutMs: 10_000,
  retry: {
    attempts: 3,
    backoffMs: 1_000,
    giveUpOn: ["declined", "WW_TIMEOUT"],
    on: {
      busy: { attempts: 20, backoffMs: 200, factor: 1.5, maxBackoffMs: 5_000 },
      down: { attempts: "unlimited", backoffMs: 30_000, factor: 1 },
    },
  },
});
export const lookUpCharge = spoke("look-up-charge", {
  input: z.object({ order: z.string() }),
  output: z.object({ receipt: z.string().nullable() }),
  timeoutMs: 10_000,
  retry: { attempts: "unlimited", backoffMs: 5_000 },
});

export const pay = hub(
  "pay",
  {
    request: payment,
    reply: z.object({ receipt: z.string() }),
    errors: ["not-paid", "unknown"],
    deadlineMs: 24 * 3_600_000,
    deadline: "TimeRanOut",
    chart: {
      Charging: { Charged: "Paid", Failed: "NotPaid", Late: "Looking", TimeRanOut: "NotPaid" },
      Looking: { Found: "Paid", NotFound: "NotPaid", TimeRanOut: "Unknown" },
      Paid: end,
      NotPaid: end,
      Unknown: end,
    },
    data: ({ order, cents }) => ({ order, cents, receipt: "", why: "there was no time left" }),
  },
  {
    Charging: (s) =>
      s.call(charge, {
        input: ({ order, cents }) => ({ order, cents }),
        ok: (_data, { receipt }) => s.raise("Charged", { receipt }),
        failed: (_data, failure) =>
          failure.kind === "timeout" ? s.raise("Late") : s.raise("Failed", { why: failure.message }),
      }),
    Looking: (s) =>
      s.call(lookUpCharge, {
        input: ({ order }) => ({ order }),
        ok: (_data, { receipt }) =>
          receipt === null
            ? s.raise("NotFound", { why: "the bank was late" })
            : s.raise("Found", { receipt }),
        // It is asked until there is no time left.
        failed: "TimeRanOut",
      }),
    Paid: ({ receipt }) => ({ receipt }),
    NotPaid: ({ why }, s) => s.fail("not-paid", why),
    Unknown: ({ order }, s) => s.fail("unknown", `look whether ${order} is paid`),
  },
);
