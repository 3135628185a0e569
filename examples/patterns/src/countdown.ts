// An auction ends a while after it has begun. Each bid in the last minute moves the end: it is then a minute after the bid. The
// time of the timer is a function of the data, so a signal moves it by what it writes into the data.
import { end, hub, stay } from "wheelwork";
import { z } from "zod";

const minute = 60_000;

export const auction = hub(
  "auction",
  {
    request: z.object({ item: z.string(), minutes: z.number().positive() }),
    reply: z.object({ winner: z.string().nullable(), cents: z.number() }),
    deadlineMs: 7 * 24 * 60 * minute,
    deadline: "Over",
    signals: { bid: z.object({ by: z.string(), cents: z.int(), at: z.number() }), close: z.object({}) },
    chart: { Open: { Bid: stay, TooLow: stay, Over: "Sold" }, Sold: end },
    data: ({ minutes }) => ({
      lastsMs: minutes * minute,
      extendedMs: 0,
      winner: null as string | null,
      cents: 0,
    }),
  },
  {
    Open: (s) =>
      s.wait({
        on: {
          // `at` is when the bid was made, in milliseconds since the auction began.
          bid: ({ cents, lastsMs, extendedMs }, bid) =>
            bid.cents <= cents
              ? "TooLow"
              : s.raise("Bid", {
                  winner: bid.by,
                  cents: bid.cents,
                  extendedMs: Math.max(extendedMs, bid.at + minute - lastsMs),
                }),
          close: "Over",
        },
        after: { Over: ({ lastsMs, extendedMs }) => lastsMs + extendedMs },
      }),
    Sold: ({ winner, cents }) => ({ winner, cents }),
  },
);
