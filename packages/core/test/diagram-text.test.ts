import { expect, test } from "vitest";
import { chartOf, toText } from "../src/diagram-text.ts";
import { end, stay } from "../src/chart.ts";
import { hub } from "../src/hub.ts";
import type { RunEvent } from "../src/events.ts";
import type { Schema } from "../src/schema.ts";
import { spoke } from "../src/spoke.ts";

const any = <T>(): Schema<T> => ({
  "~standard": { version: 1 as const, vendor: "test", validate: (value: unknown) => ({ value: value as T }) },
});
const ask = spoke("ask", { input: any<null>(), output: any<null>(), timeoutMs: 10 });

const approval = hub(
  "approval",
  {
    request: any<null>(),
    reply: any<string>(),
    deadlineMs: 60_000,
    chart: {
      Asking: { Next: "Waiting", Late: "Undoing" },
      Waiting: { Reminded: stay, Approved: "承認", Again: "Asking", Late: "Undoing", Cancelled: "Undoing" },
      Undoing: { Next: "承認", GaveUp: "承認" },
      承認: end,
    },
    data: () => ({}),
    signals: { approve: any<null>(), remind: any<null>() },
    cancel: "Cancelled",
  },
  {
    Asking: (s) => s.call(ask, { input: () => null, settled: "Next", deadline: "Late" }),
    Waiting: (s) => s.wait({ on: { approve: "Approved", remind: () => "Reminded" }, deadline: "Late" }),
    Undoing: (s) => s.call(ask, { input: () => null, settled: "Next", after: { GaveUp: 500 } }),
    承認: () => "approved",
  },
);

test("a chart is drawn as boxes of text", () => {
  expect(`\n${toText(approval)}`).toMatchInlineSnapshot(`
    "
    approval, version 1
    approval answers each request within 1 min 0.5 s

       ┌──────────┐
    ●─▶│ Asking   │
       │ call ask │
       └──────────┘
        ├─ Next ─▶ Waiting
        └─ Late ─▶ Undoing  (deadline)

       ┌────────────────────────────┐
       │ Waiting                    │
       │ wait for approve or remind │
       │ Reminded ↺                 │
       └────────────────────────────┘
        ├─ Approved ──▶ 承認
        ├─ Again ─────▶ Asking
        ├─ Late ──────▶ Undoing  (deadline)
        └─ Cancelled ─▶ Undoing  (cancel)

       ┌──────────────────────┐
       │ ~ Undoing            │
       │ call ask             │
       │ after 500 ms: GaveUp │
       └──────────────────────┘
        ├─ Next ───▶ 承認
        └─ GaveUp ─▶ 承認  (timer)

       ╔════════╗
       ║ ~ 承認 ║
       ╚════════╝

    ~ clean-up
    "
  `);
});

test("the path of a run is marked", () => {
  const entered = (state: string, by?: string): RunEvent => ({
    type: "entered",
    at: 0,
    state,
    ...(by === undefined ? {} : { by }),
  });
  const history = [
    entered("Asking"),
    entered("Waiting", "Next"),
    entered("Asking", "Again"),
    entered("Waiting", "Next"),
  ];
  expect(`\n${toText(approval, { history })}`).toMatchInlineSnapshot(`
    "
    approval, version 1
    approval answers each request within 1 min 0.5 s
    the run: running

       ┌──────────┐
    ●─▶│ * Asking │
       │ call ask │
       └──────────┘
        ├─ Next ─▶ Waiting  [1, 3 (2×)]
        └─ Late ─▶ Undoing  (deadline)

       ┌────────────────────────────┐
       │ > Waiting                  │
       │ wait for approve or remind │
       │ Reminded ↺                 │
       │ running                    │
       └────────────────────────────┘
        ├─ Approved ──▶ 承認
        ├─ Again ─────▶ Asking  [2]
        ├─ Late ──────▶ Undoing  (deadline)
        └─ Cancelled ─▶ Undoing  (cancel)

       ┌──────────────────────┐
       │ ~ Undoing            │
       │ call ask             │
       │ after 500 ms: GaveUp │
       └──────────────────────┘
        ├─ Next ───▶ 承認
        └─ GaveUp ─▶ 承認  (timer)

       ╔════════╗
       ║ ~ 承認 ║
       ╚════════╝

    ~ clean-up   * the run was there   > the run is there   [n] step n of the run
    "
  `);
});

test("no name of a state can control a terminal", () => {
  const sly = hub(
    "sly",
    {
      request: any<null>(),
      reply: any<string>(),
      deadlineMs: 1000,
      chart: { "\u001B[2J": { Next: "Done", Late: "Done" }, Done: end },
      data: () => ({}),
    },
    {
      "\u001B[2J": (s) => s.call(ask, { input: () => null, settled: "Next", deadline: "Late" }),
      Done: () => "done",
    },
  );
  expect(toText(sly)).not.toContain("\u001B");
});

test("a chart is plain data", () => {
  const chart = chartOf(approval);
  expect(structuredClone(chart)).toEqual(chart);
  expect(chart).toMatchObject({
    hub: "approval",
    version: 1,
    initial: "Asking",
    states: [
      {
        name: "Asking",
        does: ["call ask"],
        edges: [
          { event: "Next", to: "Waiting" },
          { event: "Late", to: "Undoing", by: "deadline" },
        ],
      },
      { name: "Waiting", does: ["wait for approve or remind", "Reminded ↺"] },
      { name: "Undoing", late: true, edges: [{ event: "Next" }, { event: "GaveUp", by: "timer" }] },
      { name: "承認", end: true, edges: [] },
    ],
  });
});
