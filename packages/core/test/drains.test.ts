import { end, hub, spoke, toMermaid, type AnyHub } from "@wheelwork/core";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Player } from "./player.ts";

const charge = spoke("charge", {
  input: z.object({ n: z.number() }),
  output: z.object({ receipt: z.string() }),
  errors: ["busy"],
  timeoutMs: 1_000,
  retry: { attempts: 3, backoffMs: 50, jitter: 0 },
});

/** A state that calls, and that a signal, a timer, a cancel or the deadline leaves. */
const paying = (kind: "call" | "sequence"): AnyHub =>
  hub(
    "paying",
    {
      request: z.object({}),
      reply: z.object({ receipts: z.array(z.string()), by: z.string() }),
      deadlineMs: 500,
      deadline: "TimeRanOut",
      signals: { stop: z.object({}) },
      chart: {
        Paying: { Paid: "Paid", NotPaid: "Undone", Stopped: "Undone", GaveUp: "Undone", TimeRanOut: "Late" },
        Paid: end,
        Undone: end,
        Late: end,
      },
      data: () => ({ receipts: [] as string[], by: "" }),
    },
    {
      Paying: (s) => {
        const leaving = {
          drain: true,
          on: { stop: () => s.raise("Stopped", { by: "signal" }) },
          after: { GaveUp: { ms: 100, patch: () => ({ by: "timer" }) } },
        };
        if (kind === "call")
          return s.call(charge, {
            ...leaving,
            input: () => ({ n: 0 }),
            ok: ({ receipts }, { receipt }) => s.raise("Paid", { receipts: [...receipts, receipt] }),
            failed: "NotPaid",
          });
        const step = s.step(charge, {
          input: ({ receipts }) => ({ n: receipts.length }),
          ok: ({ receipts }, { receipt }) => ({ receipts: [...receipts, receipt] }),
        });
        return s.sequence([step, step], { ...leaving, failed: "NotPaid", done: "Paid" });
      },
      Paid: ({ receipts, by }) => ({ receipts: [...receipts], by }),
      Undone: ({ receipts, by }) => ({ receipts: [...receipts], by: `${by}, undone` }),
      Late: ({ receipts, by }) => ({ receipts: [...receipts], by: `${by}, late` }),
    },
  );

const answerOf = ({ run }: Player): unknown => (run.answer as { value?: unknown } | undefined)?.value;

describe.each(["call", "sequence"] as const)("a %s that drains", (kind) => {
  test.each([
    ["a signal", "signal", (player: Player) => player.signal("stop", {})],
    ["a timer", "timer", (player: Player) => player.at(100).due()],
  ])("waits for its attempt, and what it has done counts: %s", (_name, by, leave) => {
    const player = new Player(paying(kind), {});
    leave(player);
    expect(player.run.status).toBe("running");
    player.outcome(0, { ok: { receipt: "r" } });
    expect(answerOf(player)).toEqual({ receipts: ["r"], by: `${by}, undone` });
  });

  test("begins nothing more once it holds an event, neither a step nor an attempt", () => {
    const player = new Player(paying(kind), {});
    player.signal("stop", {});
    player.outcome(0, { error: "busy" });
    expect(answerOf(player)).toEqual({ receipts: [], by: "signal, undone" });
  });

  test("does not wait for an attempt that is not under way", () => {
    const player = new Player(paying(kind), {});
    player.outcome(0, { error: "busy" });
    player.signal("stop", {});
    expect(answerOf(player)).toEqual({ receipts: [], by: "signal, undone" });
  });

  test("holds a cancel, too, and the deadline cuts it", () => {
    const cancelled = new Player(paying(kind), {});
    cancelled.cancel();
    expect(cancelled.run.status).toBe("running");
    cancelled.outcome(0, { ok: { receipt: "r" } });
    expect(answerOf(cancelled)).toEqual({ receipts: ["r"], by: ", late" });
    const late = new Player(paying(kind), {});
    late.signal("stop", {});
    late.at(500).due();
    expect(answerOf(late)).toEqual({ receipts: [], by: "signal, late" });
  });
});

test.each(["call", "sequence"] as const)("the diagram of a %s says that it drains", (kind) => {
  expect(toMermaid(paying(kind))).toMatch(/charge( |<br\/>)\(drain\)/);
});
