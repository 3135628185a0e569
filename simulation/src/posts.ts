import { end, hub, stay } from "@wheelwork/core";
import type { OpenedSystem, SimulatedSystem } from "@wheelwork/testing";
import { z } from "zod";

const item = z.object({ n: z.number() });

/** It takes items from whoever sends them, until it is closed or its time is up. */
const basketOf = (scaleMs: number) =>
  hub(
    "basket",
    {
      request: z.object({ of: z.string() }),
      reply: z.object({ items: z.number() }),
      deadlineMs: scaleMs * 4,
      deadline: "Closed",
      signals: { add: item, close: item },
      chart: { Open: { Added: stay, Closed: "Done" }, Done: end },
      data: () => ({ items: 0 }),
    },
    {
      Open: (s) =>
        s.wait({
          on: { add: ({ items }) => s.raise("Added", { items: items + 1 }), close: "Closed" },
        }),
      Done: ({ items }) => ({ items }),
    },
  );

/** Starts a basket, or finds it started, and sends it some items, one turn after the other or all in one. */
const senderOf = (basket: ReturnType<typeof basketOf>, scaleMs: number, pauses: boolean) =>
  hub(
    pauses ? "slow-sender" : "sender",
    {
      request: z.object({
        to: z.string(),
        count: z.number(),
        closes: z.boolean(),
        /** When the basket is opened. Absent: now. */
        opensAt: z.number().optional(),
      }),
      reply: z.object({ sent: z.number() }),
      deadlineMs: scaleMs * 2,
      deadline: "Late",
      chart: {
        Starting: { Next: "Choosing" },
        Choosing: { More: "Sending", Close: "Closing", Enough: "Done" },
        Sending: { Next: "Pausing" },
        Pausing: { Next: "Choosing", Late: "Done" },
        Closing: { Next: "Done" },
        Done: end,
      },
      data: (request) => ({ ...request, sent: 0 }),
    },
    {
      Starting: (s) =>
        s.start(basket, {
          input: ({ to }) => ({ of: to }),
          key: ({ to }) => to,
          startAt: ({ opensAt = 0 }) => opensAt,
          next: "Next",
        }),
      Choosing: (s) =>
        s.pick(({ sent, count, closes }) =>
          sent < count ? s.raise("More", { sent: sent + 1 }) : closes ? "Close" : "Enough",
        ),
      Sending: (s) =>
        s.signalRun(basket, {
          id: ({ to }) => to,
          signal: "add",
          payload: ({ sent }) => ({ n: sent }),
          next: "Next",
        }),
      Pausing: (s) => s.wait({ after: { Next: pauses ? scaleMs / 20 : 1 } }),
      Closing: (s) =>
        s.signalRun(basket, { id: ({ to }) => to, signal: "close", payload: () => ({ n: 0 }), next: "Next" }),
      Done: ({ sent }) => ({ sent }),
    },
  );

/** Runs that start others, and send them signals: several of them the same one. */
export const posts = (name: string, scaleMs: number): SimulatedSystem => ({
  name,
  scaleMs,
  open: ({ random: outside, clock }): OpenedSystem => {
    const basket = basketOf(scaleMs);
    const senders = [senderOf(basket, scaleMs, false), senderOf(basket, scaleMs, true)];
    const now = clock.wallMs();
    const baskets = Array.from({ length: 1 + outside.int(3) }, (_, place) => `basket${place}`);
    return {
      hubs: [...senders, basket],
      workers: () => [],
      request: (random) => ({
        hub: random.pick(senders),
        request: {
          to: random.pick(baskets),
          count: random.int(16),
          closes: random.chance(0.2),
          ...(random.chance(0.3) ? { opensAt: now + random.int(scaleMs * 5) } : {}),
        },
      }),
      signal: () => ({ name: "add", payload: { n: 7 } }),
    };
  },
});
