// A call beside timers: the customer is told after 3 s that it takes longer, and after 10 s the hub gives the call up and
// answers with the price of yesterday. To leave the state closes the call: what it may still bring is ignored.
import { end, hub, spoke, stay } from "wheelwork";
import { z } from "zod";

const item = z.object({ sku: z.string() });
const price = z.object({ cents: z.int() });
export const askSupplier = spoke("ask-supplier", {
  input: item,
  output: price,
  timeoutMs: 60_000,
  retry: { attempts: 3, backoffMs: 500 },
});
export const priceOfYesterday = spoke("price-of-yesterday", { input: item, output: price, timeoutMs: 2_000 });

export const quote = hub(
  "quote",
  {
    request: item,
    reply: z.object({ cents: z.int(), fresh: z.boolean() }),
    errors: ["no-price"],
    deadlineMs: 60_000,
    deadline: "TooLate",
    chart: {
      Asking: {
        Priced: "Fresh",
        NotPriced: "Remembering",
        TakesLong: stay,
        GiveUp: "Remembering",
        TooLate: "NoPrice",
      },
      Remembering: { Priced: "Stale", NotPriced: "NoPrice", TooLate: "NoPrice" },
      Fresh: end,
      Stale: end,
      NoPrice: end,
    },
    data: ({ sku }) => ({ sku, cents: 0, slow: false }),
    view: ({ slow }) => (slow ? "The supplier takes longer than usual." : "The supplier is asked."),
  },
  {
    Asking: (s) =>
      s.call(askSupplier, {
        input: ({ sku }) => ({ sku }),
        ok: (_data, { cents }) => s.raise("Priced", { cents }),
        failed: "NotPriced",
        after: { TakesLong: { ms: 3_000, patch: () => ({ slow: true }) }, GiveUp: 10_000 },
      }),
    Remembering: (s) =>
      s.call(priceOfYesterday, {
        input: ({ sku }) => ({ sku }),
        ok: (_data, { cents }) => s.raise("Priced", { cents }),
        failed: "NotPriced",
      }),
    Fresh: ({ cents }) => ({ cents, fresh: true }),
    Stale: ({ cents }) => ({ cents, fresh: false }),
    NoPrice: (_data, s) => s.fail("no-price", "nobody knows a price"),
  },
);
