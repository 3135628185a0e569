// Two providers are asked at once. The first price wins: to leave the state closes the other call. If one fails, the other
// may still win.
import { end, hub, spoke, stay } from "wheelwork";
import { z } from "zod";

const item = z.object({ sku: z.string() });
const price = z.object({ cents: z.int() });
export const askNorth = spoke("ask-north", {
  input: item,
  output: price,
  errors: ["none-left"],
  timeoutMs: 5_000,
});
export const askSouth = spoke("ask-south", {
  input: item,
  output: price,
  errors: ["none-left"],
  timeoutMs: 5_000,
});

export const race = hub(
  "race",
  {
    request: item,
    reply: z.object({ from: z.string(), cents: z.int() }),
    errors: ["no-price"],
    deadlineMs: 10_000,
    deadline: "NoneCame",
    chart: {
      Asking: { Priced: "Bought", NoPrice: stay, NoneCame: "NotBought" },
      Bought: end,
      NotBought: end,
    },
    data: ({ sku }) => ({ sku, from: "", cents: 0 }),
  },
  {
    Asking: (s) =>
      s.all(
        {
          north: s.part(askNorth, {
            input: ({ sku }) => ({ sku }),
            ok: (_data, { cents }, { tag }) => s.raise("Priced", { from: tag, cents }),
          }),
          south: s.part(askSouth, {
            input: ({ sku }) => ({ sku }),
            ok: (_data, { cents }, { tag }) => s.raise("Priced", { from: tag, cents }),
          }),
        },
        { failed: "NoPrice", done: "NoneCame" },
      ),
    Bought: ({ from, cents }) => ({ from, cents }),
    NotBought: (_data, s) => s.fail("no-price", "no provider named a price"),
  },
);
