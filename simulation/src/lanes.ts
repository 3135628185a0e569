import { end, hub, hubByHandlers, spoke, stay, type AnyHub, type Exclusive, type Hub } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import type { OpenedSystem, SimulatedSystem } from "@wheelwork/testing";
import { z } from "zod";

const request = z.object({
  flow: z.string(),
  others: z.array(z.string()),
  /** When what it starts begins. Absent: now. */
  startAt: z.number().optional(),
});
type Request = z.infer<typeof request>;

const workOf = (scaleMs: number) =>
  spoke("work", {
    input: z.object({ flow: z.string() }),
    output: z.object({}),
    timeoutMs: scaleMs / 4,
    retry: { attempts: 2, backoffMs: 10 },
  });
type Work = ReturnType<typeof workOf>;

/** Hubs whose requests exclude one another, in each of the ways there are. */
const lanesOf = (work: Work, scaleMs: number): readonly AnyHub[] => {
  const operation = (
    name: string,
    options: Omit<Exclusive<Request>, "lane" | "by">,
    lane = "flow",
  ): Hub<Request> =>
    hub(
      name,
      {
        request,
        reply: z.object({}),
        errors: ["undone"],
        deadlineMs: scaleMs,
        exclusive: { lane, by: ({ flow }) => flow, ...options },
        signals: { go: z.object({}) },
        chart: {
          Working: { Worked: "Waiting", Quick: "Done", Failed: "Undoing", Late: "Undoing" },
          Waiting: { Went: "Done", Told: stay, Late: "Done" },
          Undoing: { Undone: "Undone", Late: "Undone" },
          Done: end,
          Undone: end,
        },
        data: ({ flow, others }) => ({ flow, isQuick: others.length > 0 }),
      },
      {
        Working: (s) =>
          s.call(work, {
            input: ({ flow }) => ({ flow }),
            ok: ({ isQuick }) => (isQuick ? "Quick" : "Worked"),
            failed: "Failed",
            deadline: "Late",
          }),
        Waiting: (s) => s.wait({ on: { go: "Went" }, deadline: "Late", after: { Late: scaleMs / 2 } }),
        Undoing: (s) =>
          s.call(work, {
            input: ({ flow }) => ({ flow }),
            ok: "Undone",
            failed: "Undone",
            after: { Late: scaleMs / 4 },
          }),
        Done: () => ({}),
        Undone: (_data, s) => s.fail("undone", "as it happens"),
      },
    );

  const instant = hub(
    "instant",
    {
      request,
      reply: z.object({}),
      deadlineMs: scaleMs,
      exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue", queueMs: scaleMs * 3 },
      chart: { Beginning: { Ended: "Done" }, Done: end },
      data: () => ({}),
    },
    { Beginning: "Ended", Done: () => ({}) },
  );

  // Its time in the lane ends with the time of the one that waits behind it, if both come at once.
  const punctual = hub(
    "punctual",
    {
      request,
      reply: z.object({}),
      deadlineMs: scaleMs,
      deadline: "Late",
      exclusive: { lane: "punctual", by: ({ flow }) => flow, whenBusy: "queue" },
      chart: { Waiting: { Late: "Done" }, Done: end },
      data: () => ({}),
    },
    { Waiting: (s) => s.wait({ on: {} }), Done: () => ({}) },
  );

  const queue = operation("queue", { whenBusy: "queue", queueMs: scaleMs * 2 });
  const refuse = operation("refuse", { whenBusy: "refuse" });
  const latest = operation("latest", { whenBusy: "latest" });
  const replace = operation("replace", { whenBusy: "replace" });
  const join = operation("join", { whenBusy: "join" });
  const several = operation("several", { whenBusy: "queue", slots: 2, queueMs: scaleMs * 2 }, "several");

  // It calls into its own lane and into others, and starts others.
  const caller = hub(
    "caller",
    {
      request,
      reply: z.object({}),
      deadlineMs: scaleMs,
      exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue" },
      chart: {
        Telling: { Told: "First" },
        First: { Told: "Second" },
        Second: { Told: "Third" },
        Third: { Told: "Fourth" },
        Fourth: { Told: "Fifth" },
        Fifth: { Told: "Calling" },
        Calling: { One: stay, All: "Done", Late: "Done" },
        Done: end,
      },
      data: ({ flow, others, startAt = 0 }) => ({ flow, others, startAt }),
    },
    {
      Telling: (s) =>
        s.start(queue, {
          input: ({ flow }) => ({ flow, others: [flow] }),
          startAt: ({ startAt }) => startAt,
          next: "Told",
        }),
      // Of these, each ends with the turn in which it begins.
      First: (s) => s.start(instant, { input: ({ flow }) => ({ flow, others: [] }), next: "Told" }),
      Second: (s) =>
        s.start(instant, {
          input: ({ flow }) => ({ flow, others: [] }),
          startAt: ({ startAt }) => startAt,
          next: "Told",
        }),
      Third: (s) => s.start(instant, { input: ({ flow }) => ({ flow, others: [] }), next: "Told" }),
      Fourth: (s) => s.start(punctual, { input: ({ flow }) => ({ flow, others: [] }), next: "Told" }),
      Fifth: (s) => s.start(punctual, { input: ({ flow }) => ({ flow, others: [] }), next: "Told" }),
      Calling: (s) =>
        s.each(queue, {
          inputs: ({ flow, others }) => [flow, ...others].map((one) => ({ flow: one, others: [] })),
          settled: "One",
          done: "All",
          deadline: "Late",
          limit: 2,
        }),
      Done: () => ({}),
    },
  );

  const handled = hubByHandlers(
    "handled",
    {
      request,
      reply: z.object({}),
      deadlineMs: scaleMs,
      cleanUpMs: scaleMs / 4,
      exclusive: { lane: "several", by: ({ flow }) => flow, slots: 2, whenBusy: "latest" },
      data: ({ flow }) => ({ flow }),
      calls: [work],
    },
    {
      request: (s) => s.call(work, { flow: s.data.flow }),
      response: (s) => s.reply({}),
      timeout: (s) => s.reply({}),
    },
  );

  return [queue, refuse, latest, replace, join, several, caller, handled, instant, punctual];
};

/** Hubs with lanes: few lanes, and many who want a place. */
export const lanes = (name: string, scaleMs: number): SimulatedSystem => ({
  name,
  scaleMs,
  open: ({ random: outside, clock }): OpenedSystem => {
    const work = workOf(scaleMs);
    const hubs = lanesOf(work, scaleMs);
    // Few of them in each simulation, so that they meet.
    const chosen = [outside.pick(hubs), outside.pick(hubs)];
    const now = clock.wallMs();
    return {
      hubs,
      workers: () => [worker(work, () => ({}))],
      request: (random) => {
        const flow = random.chance(0.8) ? "a" : "b";
        const others = random.chance(0.5) ? [] : [random.pick(["a", "b", "c"])];
        const of = random.pick(chosen);
        const isLater = of.name === "caller" && random.chance(0.3);
        const startAt = isLater ? { startAt: now + random.int(scaleMs * 5) } : {};
        return { hub: of, request: { flow, others, ...startAt } };
      },
      signal: () => ({ name: "go", payload: {} }),
    };
  },
});
