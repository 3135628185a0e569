// Something that lives for years: an account. The request that opens it is answered at once. From then on it waits for signals
// (`idle`), for ever, and a cancel closes it. Its view is its balance. The payload of a signal can refuse what it must not do.
import { answered, end, hub, stay } from "wheelwork";
import { z } from "zod";

export const account = hub(
  "account",
  {
    request: z.object({ owner: z.string() }),
    reply: z.object({ opened: z.literal(true) }),
    deadlineMs: 1_000,
    cancel: "Close",
    signals: { deposit: z.object({ cents: z.int().min(1) }), withdraw: z.object({ cents: z.int().min(1) }) },
    chart: {
      Opening: { Opened: "Open" },
      Open: { Deposited: stay, Withdrawn: stay, Refused: stay, Close: "Closed" },
      Closed: end,
    },
    data: ({ owner }) => ({ owner, cents: 0, refused: 0 }),
    view: ({ owner, cents, refused }) => ({ owner, cents, refused }),
  },
  {
    Opening: (s) => s.answer(() => ({ opened: true as const }), { next: "Opened" }),
    Open: (s) =>
      s.wait({
        idle: true,
        on: {
          deposit: (data, { cents }) => s.raise("Deposited", { cents: data.cents + cents }),
          withdraw: (data, { cents }) =>
            cents > data.cents
              ? s.raise("Refused", { refused: data.refused + 1 })
              : s.raise("Withdrawn", { cents: data.cents - cents }),
        },
      }),
    Closed: answered,
  },
);
