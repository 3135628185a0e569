// What the first stores cannot have: hubs and schedules of what was added since (former.test.ts).
import { answered, end, hub, spoke, stay, type AnyHub } from "@wheelwork/core";
import { schedule, worker, type Engine, type Schedule, type Worker } from "@wheelwork/engine";
import { z } from "zod";
import { hour, lay } from "./hubs.ts";

const none = z.object({});
const days = 40 * 24 * hour;

/** Its attempts hang in the writer, and have said before how far they have come. */
export const exportPages = spoke("export", {
  input: z.object({ run: z.string() }),
  output: z.object({ from: z.number() }),
  timeoutMs: 100 * hour,
  heartbeatMs: 1_000,
});
export const exported = z.object({ page: z.number() });

const exporting = hub(
  "exporting",
  {
    request: z.object({ run: z.string() }),
    reply: z.object({ from: z.number() }),
    errors: ["failed"],
    deadlineMs: days,
    deadline: "Failed",
    chart: { Exporting: { Exported: "Over", Failed: "Bad" }, Over: end, Bad: end },
    data: ({ run }) => ({ run, from: -1 }),
  },
  {
    Exporting: (s) =>
      s.call(exportPages, {
        input: ({ run }) => ({ run }),
        ok: (_data, { from }) => s.raise("Exported", { from }),
        failed: "Failed",
      }),
    Over: ({ from }) => ({ from }),
    Bad: (_data, s) => s.fail("failed", "it has failed"),
  },
);

/** One at a time for each flow. */
const turns = hub(
  "turns",
  {
    request: z.object({ run: z.string(), flow: z.string() }),
    reply: z.object({ laid: z.string() }),
    errors: ["failed"],
    deadlineMs: days,
    deadline: "Failed",
    exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue", queueMs: days },
    labels: ({ flow }) => ({ flow }),
    chart: { Laying: { Laid: "Over", Failed: "Bad" }, Over: end, Bad: end },
    data: ({ run }) => ({ run, laid: "" }),
  },
  {
    Laying: (s) =>
      s.call(lay, {
        input: ({ run }) => ({ run, what: "hang" }),
        ok: (_data, { laid }) => s.raise("Laid", { laid }),
        failed: "Failed",
      }),
    Over: ({ laid }) => ({ laid }),
    Bad: (_data, s) => s.fail("failed", "it has failed"),
  },
);

/** It has answered, and takes signals for ever. */
const account = hub(
  "account",
  {
    request: z.object({ run: z.string() }),
    reply: z.object({ opened: z.literal(true) }),
    deadlineMs: hour,
    cancel: "Close",
    signals: { deposit: z.object({ cents: z.number() }) },
    chart: { Opening: { Opened: "Open" }, Open: { Deposited: stay, Close: "Closed" }, Closed: end },
    data: () => ({ cents: 0 }),
    view: ({ cents }) => ({ cents }),
  },
  {
    Opening: (s) => s.answer(() => ({ opened: true as const }), { next: "Opened" }),
    Open: (s) =>
      s.wait({
        idle: true,
        on: { deposit: (data, { cents }) => s.raise("Deposited", { cents: data.cents + cents }) },
      }),
    Closed: answered,
  },
);

/** Parts at once, beside timers that are functions of the data: it reminds after 2 h, and after 4 h more. */
const parts = hub(
  "parts",
  {
    request: z.object({ run: z.string() }),
    reply: z.object({ got: z.array(z.string()), reminded: z.number() }),
    deadlineMs: days,
    deadline: "TimeRanOut",
    signals: { enough: none },
    chart: {
      Working: { Got: stay, Reminded: stay, All: "Waiting", TimeRanOut: "Over" },
      Waiting: { Enough: "Over", TimeRanOut: "Over" },
      Over: end,
    },
    data: ({ run }) => ({ run, got: [] as string[], reminded: 0 }),
  },
  {
    Working: (s) => {
      const part = (what: string) =>
        s.part(lay, {
          input: ({ run }) => ({ run, what }),
          ok: ({ got }, _output, { tag }) => s.raise("Got", { got: [...got, tag] }),
        });
      return s.all(
        { now: part("part"), later: part("hang part") },
        {
          failed: "Got",
          done: ({ reminded }) => (reminded < 0 ? "TimeRanOut" : "All"),
          after: {
            Reminded: {
              ms: ({ reminded }) => (reminded < 2 ? (2 + 4 * reminded) * hour : null),
              patch: ({ reminded }) => ({ reminded: reminded + 1 }),
            },
          },
        },
      );
    },
    Waiting: (s) => s.wait({ on: { enough: "Enough" } }),
    Over: ({ got, reminded }) => ({ got: [...got], reminded }),
  },
);

/** It starts a run, signals another one, and ends. */
const posting = hub(
  "posting",
  {
    request: z.object({ run: z.string(), start: z.string(), signal: z.string() }),
    reply: none,
    deadlineMs: hour,
    chart: { Starting: { Started: "Signalling" }, Signalling: { Signalled: "Over" }, Over: end },
    data: (request) => request,
  },
  {
    Starting: (s) =>
      s.start("asking", {
        input: ({ start }) => ({ run: start }),
        key: ({ start }) => start,
        next: "Started",
      }),
    Signalling: (s) =>
      s.signalRun("asking", {
        id: ({ signal }) => signal,
        signal: "go",
        payload: () => ({ text: "posted" }),
        next: "Signalled",
      }),
    Over: () => ({}),
  },
);

const ticked = hub(
  "ticked",
  {
    request: z.object({ at: z.number() }),
    reply: z.object({ at: z.number() }),
    deadlineMs: hour,
    chart: { Over: end },
    data: ({ at }) => ({ at }),
  },
  { Over: ({ at }) => ({ at }) },
);

export const laterHubs: readonly AnyHub[] = [exporting, turns, account, parts, posting, ticked];
export const laterSchedules: readonly Schedule[] = [
  schedule("hourly", { everyMs: hour, catchUp: "all", hub: ticked, request: ({ at }) => ({ at }) }),
];

/** The worker of the writer: it comes to page 3, and hangs. */
export const exporter = (tell: (run: string, key: string) => void): Worker =>
  worker(exportPages, async ({ run }, ctx) => {
    tell(run, ctx.idempotencyKey);
    for (;;) {
      ctx.progress({ page: 3 });
      await new Promise((later) => setTimeout(later, 100));
    }
  });

/** Begins the runs of these hubs. The result is the ids of those that live. */
export async function beginLater(engine: Engine, place: string, now: number): Promise<string[]> {
  const live: string[] = [];
  const begin = async (
    hub: string,
    key: string,
    request: object = {},
    options: object = {},
  ): Promise<string> => {
    const run = `${key}-${place}`;
    const { id } = await engine.submit(hub, { run, ...request }, { key: run, ...options });
    live.push(id);
    return id;
  };
  const flow = `flow-${place}`;
  await begin("turns", "holds", { flow });
  await begin("turns", "queues", { flow });
  await begin("turns", "urgent", { flow }, { priority: 1 });
  const opened = await begin("account", "account");
  await engine.signal(opened, "deposit", { cents: 5 }, { commandId: "d1" });
  await begin("parts", "parts");
  const startAt = now + 5 * hour;
  const delayed = await begin("asking", "delayed", {}, { startAt });
  const started = `started-${place}`;
  await engine.call("posting" as never, { run: `posts-${place}`, start: started, signal: delayed } as never, {
    key: `posts-${place}`,
  });
  live.push(started);
  const exports = await begin("exporting", "exports");
  for (;;) {
    const { openCalls } = await engine.request(exports);
    if (JSON.stringify(openCalls).includes('"page":3')) return live;
    await new Promise((later) => setTimeout(later, 100));
  }
}
