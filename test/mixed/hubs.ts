// Hubs that mix what the examples show one by one. All times are multiples of a unit, so that a test can play them in hours of
// simulated time, and a process that is killed in seconds of the true one.
import { answered, end, hub, spoke, stay, type AnyHub } from "@wheelwork/core";
import { schedule, type Schedule } from "@wheelwork/engine";
import { z } from "zod";

const none = z.object({});
const named = z.object({ name: z.string() });

/** The hubs and spokes of the mixtures, with their times in units of so many milliseconds. */
export function mixtures(unitMs: number) {
  const times = (count: number): number => count * unitMs;

  // ---- A schedule whose hub has a lane in which requests queue, and answers first: it holds its place until its end.

  const sweepDisk = spoke("sweep-disk", {
    input: z.object({ at: z.number() }),
    output: none,
    timeoutMs: times(1_000),
    retry: { attempts: 3, backoffMs: unitMs },
  });
  const sweep = hub(
    "sweep",
    {
      request: z.object({ at: z.number() }),
      reply: z.object({ begun: z.number() }),
      deadlineMs: times(60),
      exclusive: { lane: "sweeps", by: () => "all", whenBusy: "queue", queueMs: times(100_000) },
      chart: { Beginning: { Begun: "Sweeping" }, Sweeping: { Swept: "Done" }, Done: end },
      data: ({ at }) => ({ at }),
    },
    {
      Beginning: (s) => s.answer(({ at }) => ({ begun: at }), { next: "Begun" }),
      Sweeping: (s) =>
        s.call(sweepDisk, {
          input: ({ at }) => ({ at }),
          ok: "Swept",
          failed: "Swept",
          after: { Swept: times(5_000) },
        }),
      Done: answered,
    },
  );

  // ---- A timer that a signal moves, while a call with heartbeats is open.

  const convert = spoke("convert", {
    input: named,
    output: z.object({ parts: z.int() }),
    timeoutMs: times(10_000),
    heartbeatMs: times(30),
    retry: { attempts: 5, backoffMs: unitMs },
  });
  const conversion = hub(
    "conversion",
    {
      request: named,
      reply: z.object({ parts: z.int(), extended: z.int() }),
      errors: ["given-up"],
      deadlineMs: times(20_000),
      deadline: "GaveUp",
      signals: { extend: z.object({ by: z.int().min(1) }) },
      chart: {
        Converting: { Converted: "Done", Extended: stay, Failed: "GivenUp", GaveUp: "GivenUp" },
        Done: end,
        GivenUp: end,
      },
      data: ({ name }) => ({ name, limit: 100, extended: 0, parts: 0 }),
      view: ({ limit, extended }) => ({ limit, extended }),
    },
    {
      Converting: (s) =>
        s.call(convert, {
          input: ({ name }) => ({ name }),
          ok: (_data, { parts }) => s.raise("Converted", { parts }),
          failed: "Failed",
          on: {
            extend: ({ limit, extended }, { by }) =>
              s.raise("Extended", { limit: limit + by, extended: extended + 1 }),
          },
          after: { GaveUp: ({ limit }) => times(limit) },
        }),
      Done: ({ parts, extended }) => ({ parts, extended }),
      GivenUp: ({ extended }, s) => s.fail("given-up", `after ${extended} extensions`),
    },
  );

  // ---- A run that outlives the one that has started it, in the lane that its starter holds: it waits until that has ended.

  const paint = spoke("paint", {
    input: z.object({ site: z.string(), who: z.string() }),
    output: none,
    timeoutMs: times(50),
    retry: { attempts: 3, backoffMs: unitMs },
  });
  const site = z.object({ site: z.string() });
  const lane = { lane: "site", by: (request: { readonly site: string }) => request.site } as const;
  const inspection = hub(
    "inspection",
    {
      request: site,
      reply: site,
      deadlineMs: times(500),
      exclusive: { ...lane, whenBusy: "queue", queueMs: times(5_000) },
      chart: { Inspecting: { Over: "Done" }, Done: end },
      data: (request) => request,
    },
    {
      Inspecting: (s) =>
        s.call(paint, {
          input: (data) => ({ site: data.site, who: "inspection" }),
          ok: "Over",
          failed: "Over",
          deadline: "Over",
        }),
      Done: (data) => ({ site: data.site }),
    },
  );
  const building = hub(
    "building",
    {
      request: site,
      reply: site,
      deadlineMs: times(500),
      deadline: "Over",
      exclusive: { ...lane, whenBusy: "refuse" },
      chart: {
        Ordering: { Ordered: "Building" },
        Building: { Over: "Done" },
        Done: end,
      },
      data: (request) => request,
    },
    {
      Ordering: (s) =>
        s.start(inspection, {
          input: (data) => ({ site: data.site }),
          key: (data) => `inspection of ${data.site}`,
          next: "Ordered",
        }),
      Building: (s) =>
        s.call(paint, {
          input: (data) => ({ site: data.site, who: "building" }),
          ok: "Over",
          failed: "Over",
        }),
      Done: (data) => ({ site: data.site }),
    },
  );

  // ---- Calls at once, of which one has a rate for each key. A signal gives the slow one up.

  const send = spoke("send", {
    input: z.object({ customer: z.string(), name: z.string() }),
    output: none,
    timeoutMs: times(50),
    limit: { perSecond: 50, by: ({ customer }) => customer },
  });
  const print = spoke("print", { input: named, output: none, timeoutMs: times(10_000) });
  const letter = hub(
    "letter",
    {
      request: z.object({ customer: z.string(), name: z.string() }),
      reply: z.object({ sent: z.boolean(), printed: z.boolean() }),
      deadlineMs: times(50_000),
      deadline: "Over",
      signals: { hurry: none },
      chart: { Sending: { Sent: stay, Printed: stay, Hurried: stay, Over: "Done" }, Done: end },
      data: ({ customer, name }) => ({ customer, name, sent: false, printed: false }),
    },
    {
      Sending: (s) =>
        s.all(
          {
            mail: s.part(send, {
              input: ({ customer, name }) => ({ customer, name }),
              ok: () => s.raise("Sent", { sent: true }),
            }),
            paper: s.part(print, {
              input: ({ name }) => ({ name }),
              ok: () => s.raise("Printed", { printed: true }),
            }),
          },
          {
            failed: "Over",
            done: "Over",
            on: { hurry: () => s.raise("Hurried", {}, { close: ["paper"] }) },
          },
        ),
      Done: ({ sent, printed }) => ({ sent, printed }),
    },
  );

  // ---- A retry policy for each error, and a signal that ends the retries in between.

  const charge = spoke("charge", {
    input: named,
    output: z.object({ receipt: z.string() }),
    errors: ["busy", "down"],
    timeoutMs: times(10),
    retry: {
      attempts: 3,
      backoffMs: unitMs,
      on: { down: { attempts: "unlimited", backoffMs: times(20), factor: 1 }, WW_TIMEOUT: { attempts: 1 } },
    },
  });
  const sale = hub(
    "sale",
    {
      request: named,
      reply: z.object({ receipt: z.string() }),
      errors: ["withdrawn", "not-paid"],
      deadlineMs: times(50_000),
      deadline: "NotPaid",
      signals: { withdraw: z.object({ why: z.string() }) },
      chart: {
        Charging: { Paid: "Paid", NotPaid: "NotPaid", Withdrawn: "Withdrawn" },
        Paid: end,
        NotPaid: end,
        Withdrawn: end,
      },
      data: ({ name }) => ({ name, receipt: "", why: "" }),
    },
    {
      Charging: (s) =>
        s.call(charge, {
          input: ({ name }) => ({ name }),
          ok: (_data, { receipt }) => s.raise("Paid", { receipt }),
          failed: (_data, failure) =>
            s.raise("NotPaid", { why: failure.kind === "error" ? failure.code : "late" }),
          on: { withdraw: (_data, { why }) => s.raise("Withdrawn", { why }) },
        }),
      Paid: ({ receipt }) => ({ receipt }),
      NotPaid: ({ why }, s) => s.fail("not-paid", why),
      Withdrawn: ({ why }, s) => s.fail("withdrawn", why),
    },
  );

  // ---- Steps after one another, each undone in reverse order when one fails, within a time of their own.

  const take = spoke("take", {
    input: z.object({ name: z.string(), step: z.int() }),
    output: z.object({ taken: z.string() }),
    errors: ["none-left"],
    timeoutMs: times(50),
    retry: { attempts: 2, backoffMs: unitMs, giveUpOn: ["none-left"] },
  });
  const giveBack = spoke("give-back", {
    input: z.object({ taken: z.string() }),
    output: none,
    timeoutMs: times(50),
    retry: { attempts: "unlimited", backoffMs: times(5) },
  });
  const saga = hub(
    "saga",
    {
      request: named,
      reply: z.object({ taken: z.array(z.string()) }),
      errors: ["undone", "left"],
      deadlineMs: times(2_000),
      deadline: "Failed",
      cleanUp: ["Undoing"],
      chart: {
        Taking: { Taken: "Done", Failed: "Undoing" },
        Undoing: { OneUndone: stay, Undone: "Undone", TookTooLong: "Left" },
        Done: end,
        Undone: end,
        Left: end,
      },
      data: ({ name }) => ({ name, taken: [] as string[] }),
    },
    {
      Taking: (s) =>
        s.sequence(
          [0, 1, 2].map((step) =>
            s.step(take, {
              input: ({ name }) => ({ name, step }),
              ok: (data, { taken }) => ({ taken: [...data.taken, taken] }),
            }),
          ),
          { done: "Taken", failed: "Failed" },
        ),
      Undoing: (s) =>
        s.each(giveBack, {
          inputs: ({ taken }) => taken.toReversed().map((one) => ({ taken: one })),
          limit: 1,
          settled: "OneUndone",
          done: "Undone",
          after: { TookTooLong: times(300) },
        }),
      Done: ({ taken }) => ({ taken: [...taken] }),
      Undone: ({ taken }, s) => s.fail("undone", taken.join()),
      Left: ({ taken }, s) => s.fail("left", taken.join()),
    },
  );

  // ---- Runs that pass a baton on, each to the next one, whose id they are told.

  const leg = hub(
    "leg",
    {
      request: z.object({ next: z.string().nullable() }),
      reply: z.object({ ran: z.int() }),
      errors: ["no-baton"],
      deadlineMs: times(20_000),
      deadline: "NoBaton",
      signals: { baton: z.object({ ran: z.int() }) },
      chart: {
        Waiting: { Taken: "Passing", NoBaton: "NoBaton" },
        Passing: { Passed: "Done" },
        Done: end,
        NoBaton: end,
      },
      data: ({ next }) => ({ next, ran: 0 }),
    },
    {
      Waiting: (s) => s.wait({ on: { baton: (_data, { ran }) => s.raise("Taken", { ran: ran + 1 }) } }),
      Passing: (s) =>
        s.signalRun("leg", {
          id: ({ next }) => next,
          signal: "baton",
          payload: ({ ran }) => ({ ran }),
          next: "Passed",
        }),
      Done: ({ ran }) => ({ ran }),
      NoBaton: (_data, s) => s.fail("no-baton", "nobody has passed it on"),
    },
  );

  const hubs: readonly AnyHub[] = [sweep, conversion, inspection, building, letter, sale, saga, leg];
  return {
    hubs,
    sweep,
    sweepDisk,
    convert,
    conversion,
    paint,
    inspection,
    building,
    send,
    print,
    letter,
    charge,
    sale,
    take,
    giveBack,
    saga,
    leg,
  };
}

/** Sweeps at certain times, and makes up for all that were missed. */
export const sweeper = (
  { sweep }: ReturnType<typeof mixtures>,
  times: { readonly everyMs: number } | { readonly cron: string; readonly timeZone: string },
  { name = "sweeper", version = 1 }: { readonly name?: string; readonly version?: number } = {},
): Schedule =>
  schedule(name, { ...times, version, catchUp: "all", hub: sweep, request: ({ at }) => ({ at }) });

/** A shop in two versions: the second has another state, another field, and another time. */
export function shopOf(version: 1 | 2, unitMs: number) {
  const common = {
    request: named,
    reply: z.object({ log: z.array(z.string()) }),
    deadlineMs: 10_000 * unitMs,
    deadline: "Over",
    exclusive: {
      lane: "shop",
      by: ({ name }: { readonly name: string }) => name.slice(0, 1),
      whenBusy: "queue",
      queueMs: 10_000 * unitMs,
    },
    signals: { go: none },
  } as const;
  if (version === 1)
    return hub(
      "shop",
      {
        ...common,
        chart: { Waiting: { Reminded: stay, Went: "Done", Over: "Done" }, Done: end },
        data: ({ name }) => ({ name, reminded: 0 }),
      },
      {
        Waiting: (s) =>
          s.wait({
            on: { go: "Went" },
            after: {
              Reminded: {
                ms: ({ reminded }) => (reminded + 1) * 100 * unitMs,
                patch: ({ reminded }) => ({ reminded: reminded + 1 }),
              },
            },
          }),
        Done: ({ name, reminded }) => ({ log: [name, `${reminded}`] }),
      },
    );
  return hub(
    "shop",
    {
      ...common,
      version: 2,
      migrate: {
        1: ({ data }) => ({
          state: "Idling",
          data: { name: data["name"] as string, log: [`was ${String(data["reminded"])}`] },
        }),
      },
      chart: { Idling: { Reminded: stay, Went: "Done", Over: "Done" }, Done: end },
      data: ({ name }) => ({ name, log: [] as string[] }),
    },
    {
      Idling: (s) =>
        s.wait({
          on: { go: "Went" },
          after: {
            Reminded: {
              ms: ({ log }) => (log.length + 1) * 150 * unitMs,
              patch: ({ log }) => ({ log: [...log, "reminded"] }),
            },
          },
        }),
      Done: ({ name, log }) => ({ log: [name, ...log] }),
    },
  );
}
