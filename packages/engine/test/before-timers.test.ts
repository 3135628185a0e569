import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, SqliteStore, worker } from "@wheelwork/engine";
import { SimulatedClock } from "@wheelwork/testing";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { z } from "zod";
import { folder } from "./world.ts";

const undo = spoke("undo", { input: z.object({}), output: z.object({}), timeoutMs: 1_000_000 });
const spec = {
  request: z.object({}),
  reply: z.object({ said: z.array(z.string()) }),
  deadlineMs: 1_000_000,
  signals: { go: z.object({}) },
  data: () => ({ said: [] as string[] }),
};

/** The hub as it is written today. The store has runs of `withinMs: 100_000` in First, and `withinMs: 50_000` in Undo. */
const today = hub(
  "former",
  {
    ...spec,
    deadline: "TimeoutRaised",
    chart: {
      First: { Go: "Out", NoAnswer: "Undo", TimeoutRaised: "Undo" },
      Undo: { Undone: "Out", TooLate: "Out" },
      Out: end,
    },
  },
  {
    First: (s) =>
      s.wait({
        on: { go: "Go" },
        after: { NoAnswer: { ms: 100_000, patch: ({ said }) => ({ said: [...said, "no answer"] }) } },
      }),
    Undo: (s) =>
      s.call(undo, {
        input: () => ({}),
        settled: "Undone",
        after: { TooLate: { ms: 50_000, patch: ({ said }) => ({ said: [...said, "too late"] }) } },
      }),
    Out: ({ said }) => ({ said: [...said] }),
  },
);

test("live runs of a store from before there were timers keep their times", async () => {
  const path = join(folder(), "store.db");
  const old = new DatabaseSync(path);
  old.exec(readFileSync(join(import.meta.dirname, "before-timers.sql"), "utf8"));
  old.close();
  const clock = new SimulatedClock();
  const store = new SqliteStore(path);
  const engine = createEngine({
    hubs: [today],
    workers: [worker(undo, () => new Promise(() => {}))],
    store,
    clock: clock.process(),
    drainMs: 0,
  });
  await engine.start();
  await clock.advance(45_000);
  await clock.settle();
  expect(await Promise.all(keys.map(async (key) => (await engine.request(key)).status))).toEqual(
    keys.map(() => "running"),
  );
  await clock.advance(200_000);
  await clock.settle();
  const told: object[] = [];
  for (const key of keys) {
    const { createdAt, endedAt = 0, answer } = await engine.request(key);
    told.push({ key, tookMs: endedAt - createdAt, said: (answer as { value?: unknown }).value });
  }
  expect(told).toMatchInlineSnapshot(`
    [
      {
        "key": "waits-in-a-row",
        "said": {
          "said": [
            "no answer",
            "too late",
          ],
        },
        "tookMs": 150000,
      },
      {
        "key": "undoes-in-a-row",
        "said": {
          "said": [
            "too late",
          ],
        },
        "tookMs": 51001,
      },
      {
        "key": "waits-in-the-journal",
        "said": {
          "said": [
            "no answer",
            "too late",
          ],
        },
        "tookMs": 150000,
      },
      {
        "key": "undoes-in-the-journal",
        "said": {
          "said": [
            "too late",
          ],
        },
        "tookMs": 51001,
      },
    ]
  `);
  const stopped = engine.stop();
  await clock.advance(1000);
  await stopped;
  await store.close();
});

const keys = ["waits-in-a-row", "undoes-in-a-row", "waits-in-the-journal", "undoes-in-the-journal"];
