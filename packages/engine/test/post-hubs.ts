import { end, hub, hubByHandlers, stay, type HistoryEvent } from "@wheelwork/core";
import { z } from "zod";

/** It takes items for as long as it lives, and answers with all of them when it is closed. */
export const basket = hub(
  "basket",
  {
    request: z.object({ of: z.string() }),
    reply: z.object({ of: z.string(), items: z.array(z.number()) }),
    deadlineMs: 600_000,
    deadline: "Closed",
    signals: { add: z.object({ n: z.number() }), close: z.object({}) },
    chart: { Open: { Added: stay, Closed: "Done" }, Done: end },
    data: ({ of }) => ({ of, items: [] as readonly number[] }),
  },
  {
    Open: (s) =>
      s.wait({
        on: { add: ({ items }, { n }) => s.raise("Added", { items: [...items, n] }), close: "Closed" },
      }),
    Done: ({ of, items }) => ({ of, items: [...items] }),
  },
);

const request = z.object({ basket: z.string(), count: z.number() });

/** Starts a basket, sends it so many items, and closes it. It waits for nothing of that. */
export const shopper = hub(
  "shopper",
  {
    request,
    reply: z.object({ sent: z.number() }),
    deadlineMs: 60_000,
    chart: {
      Taking: { Taken: "Choosing" },
      Choosing: { More: "Putting", Enough: "Closing" },
      Putting: { Put: "Choosing" },
      Closing: { Closed: "Done" },
      Done: end,
    },
    data: (given) => ({ ...given, sent: 0 }),
  },
  {
    Taking: (s) =>
      s.start(basket, {
        input: (data) => ({ of: data.basket }),
        key: (data) => data.basket,
        next: "Taken",
      }),
    Choosing: (s) =>
      s.pick(({ sent, count }) => (sent < count ? s.raise("More", { sent: sent + 1 }) : "Enough")),
    Putting: (s) =>
      s.signalRun(basket, {
        id: (data) => data.basket,
        signal: "add",
        payload: ({ sent }) => ({ n: sent }),
        next: "Put",
      }),
    Closing: (s) =>
      s.signalRun(basket, {
        id: (data) => data.basket,
        signal: "close",
        payload: () => ({}),
        next: "Closed",
      }),
    Done: ({ sent }) => ({ sent }),
  },
);

/** The same by handlers, in one turn. */
export const handled = hubByHandlers(
  "handled",
  {
    request,
    reply: z.object({ sent: z.number() }),
    deadlineMs: 60_000,
    cleanUpMs: 1000,
    calls: [basket],
    data: (given) => given,
  },
  {
    request: (s) => {
      const { basket: id, count } = s.data;
      s.start(basket, { of: id }, { key: id });
      for (let n = 1; n <= count; n++) s.signalRun(basket, id, "add", { n });
      s.signalRun("basket", id, "close", {});
      s.reply({ sent: count });
    },
    response: () => {},
    timeout: (s) => s.reply({ sent: 0 }),
  },
);

/** The items that a basket is answered with that got so many, in their order. */
export const filled = (of: string, count: number) => ({
  kind: "result",
  value: { of, items: Array.from({ length: count }, (_, n) => n + 1) },
});

/** How often each signal was taken, by its id. */
export const takenIds = (history: readonly HistoryEvent[]): string[] =>
  history.flatMap((event) => (event.type === "signalled" ? [event.id] : []));
