import { end, hub, spoke, stay, type AnyHub } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import type { SimulatedSystem } from "@wheelwork/testing";
import { z } from "zod";

const numbers = z.object({ n: z.number() });

/**
 * Hubs that have much for one another at once: rounds of many hubs, hubs that answer each other at once, tells in a row. What
 * they do is spread over many batches, between which a process may die.
 */
export const fanOuts: SimulatedSystem = {
  name: "fan-outs",
  scaleMs: 40_000,
  open: ({ defective }) => {
    const work = spoke("work", {
      input: numbers,
      output: z.object({}),
      timeoutMs: 6_000,
      retry: { attempts: 2, backoffMs: 500 },
    });
    const note = spoke("note", { input: numbers, output: z.object({}), timeoutMs: 6_000 });

    const pong = hub(
      "pong",
      { request: numbers, reply: numbers, deadlineMs: 20_000, chart: { Done: end }, data: (given) => given },
      { Done: ({ n }) => ({ n: n + 1 }) },
    );

    /** Calls a hub that answers at once, again and again. */
    const ping = hub(
      "ping",
      {
        request: numbers,
        reply: numbers,
        errors: ["late"],
        deadlineMs: 60_000,
        chart: { Calling: { Again: "Calling", Enough: "Done", Late: "Failed" }, Done: end, Failed: end },
        data: ({ n }) => ({ rounds: 1 + n, n: 0 }),
      },
      {
        Calling: (s) =>
          s.call(pong, {
            input: ({ n }) => ({ n }),
            ok: ({ rounds }, { n }) => s.raise(n < rounds ? "Again" : "Enough", { n }),
            failed: "Late",
            deadline: "Late",
          }),
        Done: ({ n }) => ({ n }),
        Failed: (_data, s) => s.fail("late", "there was no time"),
      },
    );

    /** Works, rests for long, unless it is the first of its round, and undoes what it did if it may not end. */
    const piece = hub(
      "piece",
      {
        request: numbers,
        reply: numbers,
        errors: ["undone"],
        deadlineMs: 40_000,
        chart: {
          Working: { Worked: "Choosing", Lost: "Undoing" },
          Choosing: { Rest: "Resting", Go: "Done" },
          Resting: { Rested: "Done", Lost: "Undoing" },
          Undoing: { Undone: "Failed" },
          Done: end,
          Failed: end,
        },
        signals: { go: z.object({}) },
        data: (given) => given,
      },
      {
        Working: (s) =>
          s.call(work, { input: ({ n }) => ({ n }), ok: "Worked", failed: "Lost", deadline: "Lost" }),
        Choosing: (s) => s.pick(({ n }) => (n === 1 ? "Go" : "Rest")),
        Resting: (s) => s.wait({ on: { go: "Rested" }, deadline: "Lost" }),
        Undoing: (s) =>
          s.call(note, {
            input: ({ n }) => ({ n }),
            ok: "Undone",
            failed: "Undone",
            after: { Undone: 10_000 },
          }),
        Done: ({ n }) => ({ n }),
        Failed: (_data, s) => s.fail("undone", "it was given up"),
      },
    );

    /** A round of hubs. It waits for all of them, drains when one is lost, or is left when one has answered. */
    const round = (name: string, callee: AnyHub, kind: "all" | "drain" | "race"): AnyHub =>
      hub(
        name,
        {
          request: numbers,
          reply: numbers,
          errors: ["lost"],
          deadlineMs: 80_000,
          cancel: "Lost",
          chart: {
            Working: { One: stay, All: "Telling", Lost: "Failed" },
            Telling: { Told: "Choosing" },
            Choosing: { More: "Telling", Enough: "Done" },
            Done: end,
            Failed: end,
          },
          data: ({ n }) => ({ count: n, n: 0, told: 0 }),
        },
        {
          Working: (s) =>
            s.each(callee as typeof piece, {
              inputs: ({ count }) => Array.from({ length: count }, (_, n) => ({ n: 1 + (n % 4) })),
              ok: ({ n }) => {
                if (defective()) throw new Error("the handler is defective, as planned");
                return s.raise(kind === "race" ? "All" : "One", { n: n + 1 });
              },
              failed: kind === "drain" ? "Lost" : "One",
              done: "All",
              deadline: "Lost",
              ...(kind === "drain" ? { drain: true } : {}),
            }),
          Telling: (s) => s.tell(note, { input: ({ told }) => ({ n: told }), next: "Told" }),
          Choosing: (s) => s.pick(({ told }) => s.raise(told < 3 ? "More" : "Enough", { told: told + 1 })),
          Done: ({ n }) => ({ n }),
          Failed: (_data, s) => s.fail("lost", "one of them has failed"),
        },
      );
    const drained = round("drained", piece, "drain");
    const pieces = round("pieces", piece, "race");
    const hubs = [
      pong,
      ping,
      piece,
      pieces,
      drained,
      round("pings", ping, "all"),
      round("race", drained, "race"),
      round("both", pieces, "drain"),
    ];
    const called = hubs.filter(({ name }) => name !== "pong" && name !== "piece");
    return {
      hubs,
      workers: () => [worker(work, () => ({})), worker(note, () => ({}))],
      request: (random) => ({ hub: random.pick(called), request: { n: random.int(12) } }),
    };
  },
};
