import { end, hub, stay } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { SimulatedClock, testEngine, type TestEngine } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { z } from "zod";
import { mixtures, shopOf, sweeper } from "./hubs.ts";

// What the examples show one by one, mixed: on the embedded engine, in simulated time, over crashes.

const minute = 60_000;
const m = mixtures(1_000);

/** The schedules of an engine and its requests, as short texts. */
const sweeps = async ({ engine }: TestEngine): Promise<string[]> =>
  (await engine.requests({ hub: "sweep", limit: 100 })).items
    .map(({ id }) => id.split(".000Z")[0] ?? "")
    .toSorted();

test("a schedule whose hub answers first and queues in a lane works on one tick after the other, over a crash", async () => {
  const clock = new SimulatedClock({ wallMs: Date.parse("2026-01-01T00:00:00Z") });
  const kit = await testEngine({ hubs: m.hubs, schedules: [sweeper(m, { everyMs: minute })], clock });
  const statuses = async () =>
    (await kit.engine.requests({ hub: "sweep" })).items.map(({ status }) => status).toSorted();
  await kit.advance("3 min");
  expect(await statuses()).toEqual(["pending", "pending", "running"]);
  // It holds its place until its end, and has its answer as soon as it begins.
  expect(await kit.answer((await kit.engine.requests({ status: "running" })).items[0]!.id)).toMatchObject({
    kind: "result",
  });
  await kit.crash("2 min");
  // A timer never fires in the millisecond in which it is armed.
  await kit.advance(10);
  expect(await statuses()).toEqual(["pending", "pending", "pending", "pending", "running"]);
  const swept: number[] = [];
  for (let tick = 0; tick < 5; tick++) {
    expect(kit.calls(m.sweepDisk)).toHaveLength(1);
    swept.push(kit.openCall(m.sweepDisk).input.at);
    await kit.openCall(m.sweepDisk).ok({});
  }
  const from = Date.parse("2026-01-01T00:01:00Z");
  expect(swept).toEqual([0, 1, 2, 3, 4].map((tick) => from + tick * minute));
  expect(new Set(await statuses())).toEqual(new Set(["ended"]));
});

test("a signal moves the timer that gives up a call with heartbeats, over a crash", async () => {
  const kit = await testEngine({ hubs: m.hubs });
  const extended = await kit.submit(m.conversion, { name: "long" });
  const other = await kit.submit(m.conversion, { name: "short" });
  const progress = async (from: number, until: number) => {
    for (let at = from; at < until; at += 10) {
      for (const call of kit.calls(m.convert)) call.progress({ at });
      await kit.advance("10 s");
    }
  };
  await progress(0, 60);
  await kit.signal(extended, "extend", { by: 100 });
  await kit.crash("5 s");
  // The same attempt goes on from what was stored.
  expect(kit.calls(m.convert).map(({ attempt }) => attempt)).toEqual([1, 1]);
  for (const { lastProgress } of kit.calls(m.convert))
    expect((lastProgress as { readonly at: number }).at).toBeGreaterThan(10);
  await progress(65, 105);
  expect(await kit.answer(other)).toMatchObject({ code: "given-up", message: "after 0 extensions" });
  expect((await kit.engine.request(extended)).view).toEqual({ limit: 200, extended: 1 });
  await progress(105, 195);
  expect(await kit.answer(extended)).toBeUndefined();
  await kit.advance("5 s");
  expect(await kit.answer(extended)).toMatchObject({ code: "given-up", message: "after 1 extensions" });
  expect(kit.calls(m.convert)).toEqual([]);
});

test("a run that outlives its starter waits in the lane that its starter holds, until that has ended", async () => {
  const kit = await testEngine({ hubs: m.hubs });
  const starter = await kit.submit(m.building, { site: "a" });
  const working = () => kit.calls(m.paint).map(({ input }) => input.who);
  await expect(kit.submit(m.building, { site: "a" })).rejects.toThrow("WW_BUSY");
  await kit.crash("1 s");
  expect(working()).toEqual(["building"]);
  // It is cancelled, which does not touch what it has started.
  await kit.cancel(starter);
  await kit.advance(10);
  expect(working()).toEqual(["inspection"]);
  await kit.openCall(m.paint).ok({});
  const [inspection] = (await kit.engine.requests({ hub: "inspection" })).items;
  expect(await kit.answer(inspection!.id)).toEqual({ kind: "result", value: { site: "a" } });
});

test("of calls at once one has a rate for each key, and a signal gives up the other, over a crash", async () => {
  const begun: number[] = [];
  const clock = new SimulatedClock();
  const send = worker(m.send, async () => {
    begun.push(clock.wallMs());
    return {};
  });
  const kit = await testEngine({ hubs: m.hubs, clock, workers: [send] });
  const ids: string[] = [];
  for (let n = 0; n < 120; n++) ids.push(await kit.submit(m.letter, { customer: "ada", name: `${n}` }));
  await kit.advance("1 s");
  // What waits for a token is given up with its state: nothing is sent for it later.
  const withdrawn = ids.pop() as string;
  await kit.cancel(withdrawn);
  await kit.crash();
  await kit.advance("3 s");
  expect(await kit.answer(withdrawn)).toEqual({ kind: "result", value: { sent: false, printed: false } });
  expect(begun).toHaveLength(ids.length);
  const most = begun.map((from) => begun.filter((at) => at >= from && at < from + 1_000).length);
  expect(Math.max(...most)).toBeLessThanOrEqual(51);
  for (const id of ids) await kit.signal(id, "hurry", {});
  for (const id of ids)
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { sent: true, printed: false } });
});

test("a signal ends the retries of an error that is retried without end, over a crash", async () => {
  const kit = await testEngine({ hubs: m.hubs });
  const id = await kit.submit(m.sale, { name: "x" });
  await kit.openCall(m.charge).fail("down");
  await kit.advance("20 s");
  await kit.openCall(m.charge).fail("down");
  await kit.crash("11 s");
  await kit.signal(id, "withdraw", { why: "I have changed my mind" });
  expect(await kit.answer(id)).toMatchObject({ code: "withdrawn", message: "I have changed my mind" });
  await kit.advance("1 h");
  expect(kit.attempts(m.charge)).toHaveLength(2);
  // Other errors have rules of their own.
  const busy = await kit.submit(m.sale, { name: "y" });
  for (let attempt = 0; attempt < 3; attempt++) {
    await kit.openCall(m.charge).fail("busy");
    await kit.advance("10 s");
  }
  expect(await kit.answer(busy)).toMatchObject({ code: "not-paid", message: "busy" });
  const late = await kit.submit(m.sale, { name: "z" });
  await kit.advance("10 s");
  expect(await kit.answer(late)).toMatchObject({ code: "not-paid", message: "late" });
});

test("what a sequence has done is undone in reverse order, within a time that an outage does not use up", async () => {
  const kit = await testEngine({ hubs: m.hubs });
  const id = await kit.submit(m.saga, { name: "x" });
  await kit.openCall(m.take).ok({ taken: "a" });
  await kit.crash("1 s");
  await kit.openCall(m.take).ok({ taken: "b" });
  await kit.openCall(m.take).fail("none-left");
  expect(kit.openCall(m.giveBack).input).toEqual({ taken: "b" });
  await kit.openCall(m.giveBack).ok({});
  await kit.crash("1 h");
  await kit.advance("299 s");
  expect(await kit.state(id)).toBe("Undoing");
  expect(new Set(kit.attempts(m.giveBack).map(({ input }) => input.taken))).toEqual(new Set(["b", "a"]));
  await kit.advance("1 s");
  expect(await kit.answer(id)).toMatchObject({ code: "left" });
  const other = await kit.submit(m.saga, { name: "y" });
  await kit.openCall(m.take).ok({ taken: "c" });
  // A cancel raises the event of the deadline.
  await kit.cancel(other);
  await kit.openCall(m.giveBack).ok({});
  expect(await kit.answer(other)).toMatchObject({ code: "undone", message: "c" });
});

test("a parked run shows its view, takes signals for later, and goes on after a deploy", async () => {
  const counter = (unlucky?: number) =>
    hub(
      "counter",
      {
        request: z.object({}),
        reply: z.object({ count: z.int() }),
        deadlineMs: 60 * minute,
        deadline: "Over",
        signals: { add: z.object({ count: z.int() }) },
        chart: { Counting: { Added: stay, Over: "Done" }, Done: end },
        data: () => ({ count: 0 }),
        view: ({ count }) => ({ count }),
      },
      {
        Counting: (s) =>
          s.wait({
            on: {
              add: (data, { count }) => {
                if (count === unlucky) throw new Error(`${count} brings bad luck`);
                return s.raise("Added", { count: data.count + count });
              },
            },
          }),
        Done: ({ count }) => ({ count }),
      },
    );
  const kit = await testEngine({ hubs: [counter(13)] });
  const id = await kit.submit(counter(13), {});
  for (const count of [1, 13, 2]) await kit.signal(id, "add", { count });
  expect(await kit.engine.request(id)).toMatchObject({ status: "incident", view: { count: 1 } });
  await kit.crash("1 min", { hubs: [counter()] });
  expect(await kit.engine.request(id)).toMatchObject({ status: "incident", view: { count: 1 } });
  await kit.engine.retry(id);
  await kit.advance(10);
  expect(await kit.engine.request(id)).toMatchObject({ status: "running", view: { count: 16 } });
});

test("a request may begin at any time of the calendar, and at once if that has passed", async () => {
  const wallMs = Date.parse("2026-01-01T00:00:00Z");
  const clock = new SimulatedClock({ wallMs });
  const kit = await testEngine({ hubs: m.hubs, clock });
  const submit = (site: string, startAt: number) => kit.submit(m.building, { site }, { startAt });
  for (const startAt of [-1, Number.NaN, Infinity, 8.64e15 + 1, "2026-01-01" as never, null as never])
    await expect(submit("a", startAt)).rejects.toThrow("startAt: must be a time");
  for (const [site, startAt] of [
    ["b", 0],
    ["c", wallMs - 1],
    ["d", wallMs],
  ] as const)
    expect(await kit.state(await submit(site, startAt))).toBe("Building");
  const last = await submit("e", 8.64e15);
  const soon = await submit("f", wallMs + 20 * 86_400_000 + 0.5);
  const before = await submit("g", wallMs + minute);
  const inTheWay = await submit("g", wallMs);
  await kit.crash("20 d");
  await kit.advance(1);
  expect(await kit.state(soon)).toBe("Building");
  // It comes to its lane at its time, whoever has a place there by then.
  expect(await kit.answer(before)).toMatchObject({ code: "WW_BUSY", details: { holders: [inTheWay] } });
  expect(await kit.engine.request(last)).toMatchObject({ status: "pending", startAt: 8.64e15 });
  await kit.cancel(last);
  expect(await kit.answer(last)).toMatchObject({ code: "WW_CANCELLED" });
});

test("a signal to a run that has ended changes nothing, from a client and from another run", async () => {
  const kit = await testEngine({ hubs: m.hubs });
  await kit.submit(m.leg, { next: null }, { key: "last" });
  await kit.submit(m.leg, { next: "last" }, { key: "first" });
  await kit.crash();
  await kit.signal("first", "baton", { ran: 0 });
  await kit.advance(100);
  expect(await kit.answer("last")).toEqual({ kind: "result", value: { ran: 2 } });
  expect(await kit.signal("last", "baton", { ran: 0 })).toBe("ended");
  await kit.submit(m.leg, { next: "last" }, { key: "late" });
  await kit.signal("late", "baton", { ran: 0 });
  expect(await kit.answer("late")).toEqual({ kind: "result", value: { ran: 1 } });
  const { items } = await kit.engine.requests({ status: "lost" });
  expect(items.map(({ id }) => id)).toEqual(["late/t0"]);
  expect(await kit.answer("late/t0")).toMatchObject({
    message: expect.stringContaining("the run of the request last has ended") as string,
  });
});

test("runs migrate with their timers and their places in a lane", async () => {
  const [former, newer] = [shopOf(1, 1_000), shopOf(2, 1_000)];
  const kit = await testEngine({ hubs: [former] });
  const holder = await kit.submit(former, { name: "a1" });
  const waiting = await kit.submit(former, { name: "a2" });
  const other = await kit.submit(former, { name: "b1" });
  await kit.advance("120 s");
  // It is for a run that has not begun.
  await kit.signal(waiting, "go", {});
  await kit.crash("10 s", { hubs: [newer] });
  expect(await kit.engine.request(waiting)).toMatchObject({ status: "pending", lane: { position: 1 } });
  await kit.signal(holder, "go", {});
  expect(await kit.answer(holder)).toEqual({ kind: "result", value: { log: ["a1", "was 1"] } });
  // The next one begins as the newer version says, in the same commit.
  expect(await kit.answer(waiting)).toEqual({ kind: "result", value: { log: ["a2"] } });
  // A run migrates at its next turn, which is its timer's: 100 s after the first one. The newer timer counts from there: 300 s.
  await kit.advance("71 s");
  expect(await kit.state(other)).toBe("Idling");
  await kit.advance("298 s");
  expect(await kit.data(other)).toEqual({ name: "b1", log: ["was 1"] });
  await kit.crash("2 s");
  await kit.advance(1);
  expect(await kit.data(other)).toEqual({ name: "b1", log: ["was 1", "reminded"] });
});

test("a schedule is changed in its zone, its name and its times, and taken out, and each tick is made once", async () => {
  const clock = new SimulatedClock({ wallMs: Date.parse("2026-10-24T00:00:00Z") });
  const at = (timeZone: string) => ({ cron: "30 2 * * *", timeZone });
  const kit = await testEngine({ hubs: m.hubs, clock, schedules: [sweeper(m, at("Europe/Berlin"))] });
  kit.script(m.sweepDisk, { ok: {} });
  // Half past two comes twice on the 25th. Nobody works until the instant of the first one.
  await kit.advance(Date.parse("2026-10-25T00:29:00Z") - clock.wallMs());
  await kit.crash("1 min");
  await kit.advance("61 min");
  const first = ["sweeper@2026-10-24T00:30:00", "sweeper@2026-10-25T00:30:00"];
  expect(await sweeps(kit)).toEqual(first);
  const newYork = [sweeper(m, at("America/New_York"), { version: 2 })];
  await kit.crash("1 min", { schedules: newYork });
  await kit.advance("6 h");
  const second = [...first, "sweeper@2026-10-25T06:30:00"];
  expect(await sweeps(kit)).toEqual(second);
  // Another name is another schedule, which ticks from its first start on.
  const renamed = sweeper(m, at("America/New_York"), { name: "brush" });
  await kit.crash("22 h", { schedules: [renamed] });
  await kit.advance("2 h");
  expect(await sweeps(kit)).toEqual(["brush@2026-10-26T06:30:00", ...second]);
  // It is taken out for less than a day, in which it would have ticked: that is made up for.
  await kit.crash("21 h", { schedules: [] });
  await kit.advance("3 h");
  await kit.crash("1 h", { schedules: [renamed] });
  await kit.advance(10);
  const third = ["brush@2026-10-26T06:30:00", "brush@2026-10-27T06:30:00", ...second];
  expect(await sweeps(kit)).toEqual(third);
  // It is taken out for longer, and is there again with other times. What was due meanwhile is left out.
  await kit.crash("23 h", { schedules: [] });
  await kit.crash("25 h");
  const hourly = sweeper(m, { everyMs: 60 * minute }, { name: "brush" });
  await kit.crash("1 h", { schedules: [hourly] });
  const from = clock.wallMs();
  await kit.advance("3 h");
  const instants = (await kit.engine.requests({ hub: "sweep", createdAt: { from } })).items.map(({ id }) =>
    Date.parse(id.slice("brush@".length, id.lastIndexOf("@"))),
  );
  expect(instants.toSorted()).toEqual([1, 2, 3].map((hours) => from + hours * 60 * minute));
  expect(await sweeps(kit)).toHaveLength(third.length + 3);
});
