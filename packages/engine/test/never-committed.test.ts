import { end, hub } from "@wheelwork/core";
import { expect, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";

// What an owner has decided, and was fenced before it was committed, has never happened. Nobody is shown it.

const breaking = hub(
  "breaking",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 60_000,
    signals: { throw: z.object({}), note: z.object({}) },
    chart: { Waiting: { Noted: "Noted", Late: "Done" }, Noted: { More: "Done", Late: "Done" }, Done: end },
    data: () => ({}),
  },
  {
    Waiting: (s) =>
      s.wait({
        on: {
          note: "Noted",
          throw: () => {
            throw new Error("a defect");
          },
        },
        deadline: "Late",
      }),
    Noted: (s) => s.wait({ on: { note: "More" }, deadline: "Late" }),
    Done: () => ({}),
  },
);

const commitMs = 100;

test.each([
  ["asks while the commit is under way", 0],
  ["asks at the moment when it fails", commitMs],
  ["asks after that", 3 * commitMs],
])("an owner that was fenced shows nothing that was never committed to one that %s", async (_, afterMs) => {
  for (const signal of ["throw", "note"]) {
    const system = new Nodes({ shards: 1, hub: breaking, workers: () => [] });
    const { clock } = system;
    const { node } = await system.node(commitMs);
    await clock.runUntil(node.submit(breaking, {}, { key: "k" }), 60_000);
    await clock.advance(10 * commitMs);
    const given = node.signal("k", signal, {}).catch((error: { code: string }) => error.code);
    // It is decided, and on its way to the store.
    await clock.advance(commitMs / 2);
    (system.disks[0] as ReturnType<(typeof system.disks)[number]["reopen"]>).reopen().claim("another");
    await clock.advance(afterMs);
    const seen: string[] = [];
    const look = node.request("k").then(
      ({ status, state }) => void seen.push(`${status} ${state}`),
      (error: { code: string; retryable: boolean }) => void seen.push(`${error.code} ${error.retryable}`),
    );
    await clock.runUntil(look, 60_000);
    await clock.runUntil(given, 60_000);
    expect(["running Waiting", "WW_STOPPING true", "WW_STORE_UNAVAILABLE true"]).toContain(seen[0]);
  }
});
