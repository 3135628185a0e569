import { end, hub, type AnyHub } from "@wheelwork/core";
import { pend } from "@wheelwork/core/kernel";
import { expect, test } from "vitest";
import { z } from "zod";

/** A hub whose deadline is a promise that is rejected. Types refuse it. */
const late = (hub as unknown as (...args: unknown[]) => AnyHub)(
  "late",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: () => Promise.reject(new Error("nobody waits for it")),
    exclusive: { lane: "lane", by: () => "key", whenBusy: "queue" },
    chart: { Done: end },
    data: () => ({}),
  },
  { Done: () => ({}) },
);

test("a request waits for its turn though its hub gives no deadline, and no rejection is left over", async () => {
  const options = { request: {}, hash: "h", lane: { name: "lane", key: "key", rank: 1 } };
  const pending = pend(late.definition, options, { now: 1000, random: 0 });
  // A minute stands in for the deadline: for the wait, and for the work.
  expect(pending).toMatchObject({ type: "accepted", due: 61_000, answerBy: 121_000 });
  // Vitest fails a run with a rejection that nobody handles.
  await new Promise((resolve) => setImmediate(resolve));
});
