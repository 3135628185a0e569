import { end, hub, type AnyHub, type RunEvent } from "@wheelwork/core";
import { apply, decide, Run, start } from "@wheelwork/core/kernel";
import { createEngine, schedule, type Schedule, type ScheduleSpec, type Tick } from "@wheelwork/engine";
import { MemoryStore, seededRandom, SimulatedClock, type SeededRandom } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { dueOf, scheduleHub, type ScheduleData } from "../src/schedules/hub.ts";
import { lastTick, nextTick } from "../src/schedules/ticks.ts";
import { Nodes } from "./nodes.ts";

// Each tick makes one request, whatever stops, jumps or changes (I34).

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

const job = hub(
  "job",
  {
    request: z.object({ at: z.number(), kind: z.string() }),
    reply: z.object({}),
    deadlineMs: 1000,
    chart: { Done: end },
    data: (request) => request,
  },
  { Done: () => ({}) },
);
const requestOf = ({ at, kind }: Tick) => ({ at, kind });

type Times = Omit<ScheduleSpec<never>, "hub" | "request">;
const nightly = (times: Times, name = "nightly"): Schedule =>
  schedule(name, { ...times, hub: job, request: requestOf });

/** An engine on a store and a clock that outlive it. */
class Life {
  readonly clock: SimulatedClock;
  store = new MemoryStore();
  #process: ReturnType<SimulatedClock["process"]>;
  engine!: ReturnType<typeof createEngine>;
  /** The instants of all ticks that were made, with the times at which that was. */
  readonly made: {
    readonly at: number;
    readonly now: number;
    readonly kind: string;
    readonly key: string;
  }[] = [];
  readonly #hubs: readonly AnyHub[];

  constructor(from: string, hubs: readonly AnyHub[] = [job]) {
    this.clock = new SimulatedClock({ wallMs: Date.parse(from) });
    this.#process = this.clock.process();
    this.#hubs = hubs;
  }

  async start(...schedules: Schedule[]): Promise<this> {
    this.#process = this.clock.process();
    this.store = this.store.reopen();
    this.engine = createEngine({
      hubs: this.#hubs,
      workers: [],
      schedules,
      store: this.store,
      clock: this.#process,
      maxDowntimeMs: 400 * day,
      retentionMs: 400 * day,
      observe: (event) => {
        if (event.name !== "accepted" || event.hub !== "job") return;
        const [, at = ""] = event.key.split("@");
        const now = this.clock.wallMs();
        this.made.push({
          at: at.startsWith("trigger:") ? now : Date.parse(at),
          now,
          kind: "",
          key: event.key,
        });
      },
    });
    await this.clock.runUntil(this.engine.start());
    await this.clock.settle();
    return this;
  }

  /** As `kill -9`. */
  kill(): void {
    this.#process.kill();
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
  }

  get instants(): string[] {
    return this.made.map(({ at }) => new Date(at).toISOString().slice(0, 16));
  }
}

const zones = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

/** All ticks of a schedule after a time, up to another. */
function ticksOf({ ticks }: Schedule["stored"], from: number, until: number): number[] {
  const found: number[] = [];
  for (let at = nextTick(ticks, from, from); at !== undefined && at <= until; at = nextTick(ticks, from, at))
    found.push(at);
  return found;
}

/** Plays the run of a schedule by itself: nobody works now and then, so that its timers fire late. Gives the ticks that it makes. */
function playAlone(one: Schedule, from: number, until: number, random: SeededRandom): number[] {
  const definition = scheduleHub(new Map([[one.name, one]]));
  const run = new Run(`schedule:${one.name}`);
  const made: number[] = [];
  const take = (events: readonly RunEvent[]): void => {
    for (const event of events) {
      apply(run, event);
      if (event.type === "posted" && event.post.kind === "start")
        made.push(Date.parse(event.post.key?.split("@")[1] ?? ""));
    }
  };
  const envAt = (now: number) => ({ now, random: 0 });
  const request = { name: one.name, stored: one.stored, since: from, last: from };
  take(start(definition, run, { request, hash: "" }, envAt(from)));
  // Each downtime is up to 20 days long.
  let up = from + random.int(30) * day;
  let upAgain = up + random.int(20) * day;
  for (let due = run.nextDue; due !== undefined; due = run.nextDue) {
    while (due > upAgain) [up, upAgain] = [upAgain + random.int(30) * day, upAgain + random.int(50) * day];
    const now = due > up && due < upAgain ? upAgain : due;
    // The jitter of the last ones may lie behind the end.
    if ((dueOf(run.data as ScheduleData) ?? Infinity) > until + hour) break;
    take(decide(definition, run, { kind: "due" }, envAt(now)).events);
  }
  return made.filter((at) => at <= until);
}

const soon = async <T>(life: Life, promise: Promise<T>): Promise<T> => {
  await life.clock.runUntil(promise, minute);
  return promise;
};

test("a schedule makes a request at each tick, and is found by its name", async () => {
  const life = await new Life("2026-03-01T00:00:00Z").start(nightly({ cron: "30 2 * * *" }));
  await life.pass(3 * day);
  expect(life.instants).toEqual(["2026-03-01T02:30", "2026-03-02T02:30", "2026-03-03T02:30"]);
  for (const { at, now } of life.made) expect(now - at).toBeLessThan(10);
  const key = "nightly@2026-03-02T02:30:00.000Z";
  expect(await life.engine.request(key)).toMatchObject({
    hub: "job",
    request: { at: Date.parse("2026-03-02T02:30:00Z"), kind: "schedule" },
  });
  expect(await life.engine.schedules()).toEqual([
    {
      name: "nightly",
      status: "active",
      id: "schedule:nightly",
      lastAt: Date.parse("2026-03-03T02:30:00Z"),
      nextAt: Date.parse("2026-03-04T02:30:00Z"),
      nextDue: Date.parse("2026-03-04T02:30:00Z"),
    },
  ]);
  // It is no request of a client.
  expect((await life.engine.requests()).items.map(({ hub: of }) => of)).toEqual(["job", "job", "job"]);
});

test("local times follow the change of the clocks: none is left out, and none comes twice", async () => {
  const berlin = { cron: "30 2 * * *", timeZone: "Europe/Berlin" };
  const spring = await new Life("2026-03-28T00:00:00Z").start(nightly(berlin));
  await spring.pass(3 * day);
  // 2:30 does not exist on the 29th: it ticks when the clocks have changed.
  expect(spring.instants).toEqual(["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]);
  const autumn = await new Life("2026-10-24T00:00:00Z").start(nightly(berlin));
  await autumn.pass(3 * day);
  // 2:30 comes twice on the 25th.
  expect(autumn.instants).toEqual(["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]);
});

test("a pattern that names several hours ticks at each of them once, and one of every hour follows the clock", () => {
  const ticks = (cron: string, timeZone: string, from: string, until: string) =>
    ticksOf(
      { ticks: { cron, timeZone }, catchUp: "all", jitterMs: 0 },
      Date.parse(from),
      Date.parse(until),
    ).map((at) => new Date(at).toISOString().slice(11, 16));
  const spring = (cron: string) => ticks(cron, "Europe/Berlin", "2026-03-28T22:59Z", "2026-03-29T03:00Z");
  const autumn = (cron: string) => ticks(cron, "Europe/Berlin", "2026-10-24T21:59Z", "2026-10-25T03:00Z");
  expect([spring("30 2,14 * * *"), autumn("30 2,14 * * *")]).toEqual([["01:00"], ["00:30"]]);
  expect([spring("30 1-3 * * *"), autumn("30 1-3 * * *")]).toEqual([
    ["00:30", "01:00", "01:30"],
    ["23:30", "00:30", "02:30"],
  ]);
  // Both times of the hour that is left out are one instant.
  expect([spring("0,30 2 * * *"), autumn("0,30 2 * * *")]).toEqual([["01:00"], ["00:00", "00:30"]]);
  expect(autumn("15,45 30 2 * * *")).toEqual(["00:30", "00:30"]);
  expect([spring("0 * * * *"), autumn("0 * * * *")]).toEqual([
    ["23:00", "00:00", "01:00", "02:00", "03:00"],
    ["22:00", "23:00", "00:00", "01:00", "02:00", "03:00"],
  ]);
  // Half an hour, in the south; and a zone that has left out a whole day.
  const howe = (from: string, until: string) => ticks("15 1,2 * * *", "Australia/Lord_Howe", from, until);
  expect(howe("2026-04-04T12:00Z", "2026-04-05T12:00Z")).toEqual(["14:15", "15:45"]);
  expect(howe("2026-10-03T12:00Z", "2026-10-04T12:00Z")).toEqual(["14:45", "15:30"]);
  expect(ticks("0 6,18 * * *", "Pacific/Apia", "2011-12-29T12:00Z", "2011-12-31T12:00Z")).toEqual([
    "16:00",
    "04:00",
    "10:00",
    "16:00",
    "04:00",
  ]);
});

test("the last tick up to a time is the one before the next one, also when clocks change", () => {
  const crons = [
    "30 2,14 * * *",
    "0,30 1-3 * * *",
    "15 2 * * *",
    "0 * * * *",
    "30 */2 * * *",
    "10 3 1,29 * *",
  ];
  for (const timeZone of zones)
    for (const cron of crons)
      for (const from of [
        "2026-03-07T00:00Z",
        "2026-03-28T00:00Z",
        "2026-04-04T00:00Z",
        "2026-10-24T00:00Z",
      ]) {
        const ticks = { cron, timeZone };
        const start = Date.parse(from);
        const all = ticksOf({ ticks, catchUp: "all", jitterMs: 0 }, start, start + 2 * day);
        for (let at = start + day; at < start + 2 * day; at += 7 * minute) {
          const found = lastTick(ticks, 0, at);
          // What was before the first one of them is not in the list.
          expect(found, `${cron} ${timeZone} ${at}`).toBe(all.findLast((tick) => tick <= at) ?? found);
          expect(nextTick(ticks, 0, at - 1)).toBeGreaterThanOrEqual(at);
        }
        for (const at of all) expect([nextTick(ticks, 0, at - 1), lastTick(ticks, 0, at)]).toEqual([at, at]);
      }
});

describe("ticks that were missed", () => {
  const downFor = async (catchUp: "none" | "last" | "all"): Promise<string[]> => {
    const hourly = nightly({ cron: "0 * * * *", catchUp });
    const life = await new Life("2026-03-01T00:30:00Z").start(hourly);
    await life.pass(hour);
    life.kill();
    await life.pass(5 * hour);
    await life.start(hourly);
    await life.pass(hour);
    return life.instants.map((instant) => instant.slice(11));
  };

  test("are made up for as the schedule says", async () => {
    expect(await downFor("all")).toEqual(["01:00", "02:00", "03:00", "04:00", "05:00", "06:00", "07:00"]);
    expect(await downFor("last")).toEqual(["01:00", "06:00", "07:00"]);
    expect(await downFor("none")).toEqual(["01:00", "07:00"]);
  });

  test("cost nothing, however many they are", async () => {
    const every = nightly({ everyMs: second, catchUp: "last" });
    const life = await new Life("2026-03-01T00:00:00Z").start(every);
    await life.pass(10 * second);
    life.kill();
    await life.pass(300 * day);
    const before = life.made.length;
    await life.start(every);
    await life.pass(5 * second);
    expect(life.made.length - before).toBe(6);
    const instants = life.made.map(({ at }) => at);
    expect(new Set(instants).size).toBe(instants.length);
  });
});

describe("a deploy", () => {
  test("that changes the times loses no tick of the former ones, and makes none of before", async () => {
    const life = await new Life("2026-03-01T00:30:00Z").start(nightly({ cron: "0 2 * * *", catchUp: "all" }));
    await life.pass(day);
    life.kill();
    // Two ticks are missed, and the new times come with the start.
    await life.pass(2 * day + 6 * hour);
    await life.start(nightly({ cron: "0 */6 * * *", catchUp: "all" }));
    await life.pass(12 * hour);
    expect(life.instants).toEqual([
      "2026-03-01T02:00",
      "2026-03-02T02:00",
      "2026-03-03T02:00",
      "2026-03-04T02:00",
      "2026-03-04T12:00",
      "2026-03-04T18:00",
    ]);
    await life.start(nightly({ everyMs: hour }));
    const changed = life.clock.wallMs();
    await life.pass(2 * hour + minute);
    expect(life.made.slice(6).map(({ at }) => at - changed)).toEqual([hour, 2 * hour]);
  });

  test("upon another one loses no tick of the times between", async () => {
    const at = (hours: string): Schedule => nightly({ cron: `0 ${hours} * * *`, catchUp: "all" });
    const life = await new Life("2026-03-01T00:30:00Z").start(at("12"));
    await life.pass(hour);
    await life.start(at("3"));
    await life.pass(minute);
    life.kill();
    // The tick at 3 is missed, and the times have changed twice since the last tick.
    await life.pass(2 * hour);
    await life.start(at("4"));
    await life.pass(hour);
    await life.start(at("5"));
    await life.pass(hour);
    expect(life.instants.map((instant) => instant.slice(11))).toEqual(["03:00", "04:00", "05:00"]);
  });

  test("that changes only what becomes of missed ticks, lets the time between two go on", async () => {
    const life = await new Life("2026-03-01T00:00:00Z").start(nightly({ everyMs: hour }));
    await life.pass(45 * minute);
    await life.start(nightly({ everyMs: hour, catchUp: "all" }));
    await life.pass(30 * minute);
    await life.start(nightly({ everyMs: hour, catchUp: "none" }));
    await life.pass(hour);
    expect(life.instants).toEqual(["2026-03-01T01:00", "2026-03-01T02:00"]);
  });

  test("without the schedule owes its ticks for a day, and removes it then", async () => {
    const hourly = nightly({ cron: "0 * * * *", catchUp: "all" });
    const life = await new Life("2026-03-01T00:30:00Z").start(hourly);
    const handle = () => life.engine.schedule("nightly");
    await life.pass(hour);
    life.kill();
    await life.start();
    await life.pass(3 * hour);
    expect(life.instants).toEqual(["2026-03-01T01:00"]);
    expect((await handle().view()).status).toBe("absent");
    // What is asked of it meanwhile, it does when it is back.
    const key = await soon(life, handle().trigger({ commandId: "meanwhile" }));
    await life.pass(minute);
    expect(life.made).toHaveLength(1);
    life.kill();
    await life.start(hourly);
    await life.pass(second);
    expect(life.made.some((made) => made.key === key)).toBe(true);
    expect(life.instants.filter((at) => at.endsWith(":00"))).toEqual([
      "2026-03-01T01:00",
      "2026-03-01T02:00",
      "2026-03-01T03:00",
      "2026-03-01T04:00",
    ]);
    life.kill();
    await life.start();
    await life.pass(2 * day);
    expect((await handle().view()).status).toBe("removed");
    life.kill();
    await life.start(hourly);
    await life.pass(hour);
    expect(life.instants.slice(5)).toEqual(["2026-03-03T05:00"]);
  });

  test("brings back a schedule that was absent while nobody worked for days", async () => {
    const hourly = nightly({ cron: "0 * * * *", catchUp: "last" });
    const life = await new Life("2026-03-01T00:30:00Z").start(hourly);
    life.kill();
    await life.start();
    await life.pass(hour);
    life.kill();
    await life.pass(3 * day);
    await life.start(hourly);
    await life.pass(second);
    expect(life.instants).toEqual(["2026-03-04T01:00"]);
  });

  test("of a lower version changes nothing, and brings back no schedule that was removed", async () => {
    const former = nightly({ cron: "0 2 * * *", catchUp: "all" });
    const newer = nightly({ cron: "0 3 * * *", catchUp: "all", version: 2 });
    const life = await new Life("2026-03-01T00:00:00Z").start(former);
    // Its shard goes back and forth between engines with the former times and with the new ones.
    for (const one of [newer, former, newer, former]) {
      await life.pass(40 * minute);
      await life.start(one);
    }
    await life.pass(day - 160 * minute);
    expect(life.instants).toEqual(["2026-03-01T03:00"]);
    await life.start(former);
    await life.pass(4 * hour);
    expect(life.instants.slice(1)).toEqual(["2026-03-02T03:00"]);
    await soon(life, life.engine.schedule("nightly").remove());
    await life.start(former);
    await life.pass(day);
    expect((await life.engine.schedule("nightly").view()).status).toBe("removed");
    await life.start(newer);
    await life.pass(day);
    expect(life.instants.slice(2)).toEqual(["2026-03-04T03:00"]);
    // It can be removed more than once.
    await soon(life, life.engine.cancel("schedule:nightly"));
    await soon(life, life.engine.cancel("schedule:nightly"));
    await life.start(newer);
    await life.pass(day);
    await soon(life, life.engine.cancel("schedule:nightly"));
    expect((await life.engine.schedule("nightly").view()).status).toBe("removed");
    expect(life.instants.slice(3)).toEqual(["2026-03-05T03:00"]);
  });

  test("that changes nothing writes nothing", async () => {
    const hourly = nightly({ cron: "0 * * * *" });
    const life = await new Life("2026-03-01T00:30:00Z").start(hourly);
    await life.pass(second);
    const before = await life.engine.history("schedule:nightly");
    await life.start(hourly);
    await life.pass(second);
    expect(await life.engine.history("schedule:nightly")).toEqual(before);
  });
});

describe("an operator", () => {
  test("pauses, resumes and triggers a schedule, and fills in what was left out", async () => {
    const life = await new Life("2026-03-01T00:30:00Z").start(nightly({ cron: "0 * * * *" }));
    const handle = life.engine.schedule("nightly");
    await life.pass(hour);
    await soon(life, handle.pause());
    await life.pass(3 * hour);
    expect((await handle.view()).status).toBe("paused");
    const key = await soon(life, handle.trigger());
    await life.pass(second);
    expect(await life.engine.request(key)).toMatchObject({ request: { kind: "trigger" }, status: "ended" });
    await soon(life, handle.resume());
    await life.pass(hour);
    expect(life.instants).toEqual(["2026-03-01T01:00", "2026-03-01T04:30", "2026-03-01T05:00"]);
    // What was made before is known by its key.
    const range = { from: Date.parse("2026-03-01T00:00:00Z"), to: Date.parse("2026-03-01T05:00:00Z") };
    await soon(life, handle.backfill(range));
    await life.pass(second);
    expect(life.instants.slice(3)).toEqual([
      "2026-03-01T00:00",
      "2026-03-01T02:00",
      "2026-03-01T03:00",
      "2026-03-01T04:00",
    ]);
    expect((await handle.next(3)).map((at) => new Date(at).toISOString().slice(11, 16))).toEqual([
      "06:00",
      "07:00",
      "08:00",
    ]);
  });

  test("sends a command again under its id, and it counts once", async () => {
    const life = await new Life("2026-03-01T00:30:00Z").start(nightly({ cron: "0 * * * *" }));
    const handle = life.engine.schedule("nightly");
    await life.pass(second);
    const key = await soon(life, handle.trigger({ commandId: "a" }));
    await life.pass(minute);
    expect(await soon(life, handle.trigger({ commandId: "a" }))).toBe(key);
    // Two of the same instant are two.
    const both = [handle.trigger(), handle.trigger(), handle.trigger({ commandId: "b" })];
    const keys = await soon(life, Promise.all(both));
    await life.pass(second);
    expect(life.made.map((made) => made.key)).toEqual([key, ...keys]);
    await soon(life, handle.pause({ commandId: "a pause" }));
    await soon(life, handle.resume({ commandId: "a resume" }));
    await soon(life, handle.pause({ commandId: "a pause" }));
    expect((await handle.view()).status).toBe("active");
    const range = { from: Date.parse("2026-02-01T00:00:00Z"), to: Date.parse("2026-02-01T01:00:00Z") };
    await soon(life, handle.backfill(range, { commandId: "c" }));
    await life.pass(second);
    await soon(life, handle.backfill(range, { commandId: "c" }));
    await expect(handle.backfill({ ...range, to: range.to + 1 }, { commandId: "c" })).rejects.toMatchObject({
      code: "WW_KEY_REUSED",
    });
    await expect(handle.trigger({ commandId: "" })).rejects.toMatchObject({ code: "WW_INVALID_INPUT" });
    expect(life.made).toHaveLength(6);
    // What has come before it was removed has counted.
    await soon(life, life.engine.cancel("schedule:nightly"));
    expect(await soon(life, handle.trigger({ commandId: "a" }))).toBe(key);
    await expect(handle.trigger({ commandId: "d" })).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
  });

  test("fills in several ranges, beside ticks that are due, and nothing that is to come", async () => {
    const life = await new Life("2026-03-01T00:00:30Z").start(
      nightly({ cron: "* * * * *", catchUp: "none" }),
    );
    const handle = life.engine.schedule("nightly");
    await life.pass(second);
    const range = (from: string, to: string) => ({ from: Date.parse(from), to: Date.parse(to) });
    // More than a day of minutes, then an hour of another day, then a range that goes on into the future.
    await soon(life, handle.backfill(range("2026-02-01T00:00:00Z", "2026-02-02T12:00:00Z")));
    await soon(life, handle.backfill(range("2026-01-01T00:01:00Z", "2026-01-01T01:00:00Z")));
    await soon(life, handle.backfill(range("2026-03-01T00:00:00Z", "2027-01-01T00:00:00Z")));
    await life.pass(minute);
    const counts = new Map<string, number>();
    for (const { at } of life.made) {
      const day = new Date(at).toISOString().slice(0, 10);
      counts.set(day, (counts.get(day) ?? 0) + 1);
    }
    expect(Object.fromEntries(counts)).toEqual({
      "2026-01-01": 60,
      "2026-02-01": 1440,
      "2026-02-02": 721,
      "2026-03-01": 2,
    });
    for (const wrong of [range("2026-01-02T00:00Z", "2026-01-01T00:00Z"), { from: 9e15, to: 9e16 }])
      await expect(handle.backfill(wrong)).rejects.toMatchObject({ code: "WW_INVALID_INPUT" });
  });

  test("is told that a schedule is removed", async () => {
    const life = await new Life("2026-03-01T00:00:00Z").start(nightly({ everyMs: hour }));
    const handle = life.engine.schedule("nightly");
    await life.pass(second);
    await soon(life, life.engine.cancel("schedule:nightly"));
    await expect(handle.trigger()).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
    await expect(handle.pause()).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
    expect(await handle.next(3)).toEqual([]);
  });

  test("is told if there is no such schedule", async () => {
    const life = await new Life("2026-03-01T00:30:00Z").start();
    await expect(life.engine.schedule("daily").pause()).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
    await expect(life.engine.signal("schedule:daily", "pause", {})).rejects.toMatchObject({
      code: "WW_NOT_FOUND",
    });
  });
});

test("jitter spreads ticks, and is the same for the same tick", async () => {
  const names = Array.from({ length: 20 }, (_, place) => `s${place}`);
  const play = async (): Promise<number[]> => {
    const jittered = names.map((name) => nightly({ cron: "0 3 * * *", jitterMs: 10 * minute }, name));
    const life = await new Life("2026-03-01T00:00:00Z").start(...jittered);
    await life.pass(day);
    expect(new Set(life.made.map(({ at }) => at))).toEqual(new Set([Date.parse("2026-03-01T03:00:00Z")]));
    return life.made.map(({ at, now }) => now - at);
  };
  const delays = await play();
  expect(delays).toHaveLength(20);
  expect(new Set(delays).size).toBeGreaterThan(15);
  expect(Math.max(...delays)).toBeLessThan(10 * minute + second);
  expect(await play()).toEqual(delays);
});

test("jitter that is longer than the time between two ticks loses none of them", async () => {
  for (const catchUp of ["none", "last", "all"] as const) {
    const life = await new Life("2026-03-01T00:00:00Z").start(
      nightly({ cron: "* * * * *", jitterMs: 10 * minute, catchUp }),
    );
    await life.pass(hour);
    const minutes = life.instants.map((instant) => Number(instant.slice(14)));
    expect(minutes.length, catchUp).toBeGreaterThan(48);
    expect(minutes, catchUp).toEqual(minutes.map((_, place) => place + 1));
  }
});

test("a tick whose request is not valid is an incident of its schedule, and is made when it is retried", async () => {
  let broken = true;
  const one = schedule("one", {
    everyMs: hour,
    catchUp: "all",
    hub: job,
    request: ({ at, kind }) => {
      if (broken) throw new Error("broken");
      return { at, kind };
    },
  });
  const life = await new Life("2026-03-01T00:00:00Z").start(one);
  await life.pass(2 * hour);
  expect((await life.engine.schedule("one").view()).status).toBe("incident");
  expect((await life.engine.requests({ status: "incident" })).items.map(({ id }) => id)).toEqual([
    "schedule:one",
  ]);
  // It would be over for good.
  await expect(soon(life, life.engine.resolve("schedule:one", "no"))).rejects.toMatchObject({
    code: "WW_NOT_INCIDENT",
  });
  broken = false;
  await soon(life, life.engine.retry("schedule:one"));
  await life.pass(second);
  expect(life.instants).toEqual(["2026-03-01T01:00", "2026-03-01T02:00"]);
});

test("a declaration that is wrong is refused with all its problems", () => {
  const wrong = {
    cron: "99 * * * *",
    everyMs: 10,
    timeZone: "Mars/Olympus",
    catchUp: "some",
    jitterMs: -1,
    version: 0,
    overlap: "skip",
  } as unknown as Times;
  const paths = [
    "name",
    "cron",
    "timeZone",
    "everyMs",
    "timeZone",
    "hub",
    "request",
    "catchUp",
    "jitterMs",
    "version",
    "overlap",
  ];
  expect(() => schedule("1st", { ...wrong, hub: {} as never, request: 7 as never })).toThrow(
    expect.objectContaining({
      code: "WW_CONFIG",
      problems: expect.arrayContaining(
        paths.map((path) => expect.objectContaining({ path }) as unknown),
      ) as unknown,
    }) as Error,
  );
  expect(() => schedule("never", { cron: "0 0 31 2 *", hub: job, request: requestOf })).toThrow(
    "never ticks",
  );
  const twice = [nightly({ everyMs: hour }), nightly({ everyMs: hour })];
  expect(() => createEngine({ hubs: [], workers: [], schedules: twice, store: "unused.db" })).toThrow(
    "nightly",
  );
});

test("over restarts, jumping clocks and the changes of autumn, each tick is made once", async () => {
  const crons = ["30 2 * * *", "0 9 * * 1-5", "45 */12 * * 0"];
  const all = zones.flatMap((timeZone, zone) =>
    crons.map((cron, place) => nightly({ cron, timeZone, catchUp: "all" }, `s${zone}-${place}`)),
  );
  const from = Date.parse("2027-10-29T12:00:00Z");
  const life = await new Life(new Date(from).toISOString()).start(...all);
  for (let round = 0; life.clock.wallMs() < from + 10 * day; round++) {
    await life.pass((10 + ((round * 7) % 41)) * hour);
    if (round % 3 === 0) life.kill();
    // The clock jumps, while the engine runs or not, and comes back.
    if (round % 4 === 1) life.clock.jumpWall(round % 8 === 1 ? -3 * hour : 3 * hour);
    if (round % 4 === 2) life.clock.jumpWall(round % 8 === 2 ? 3 * hour : -3 * hour);
    if (round % 3 !== 0) continue;
    await life.pass((round % 5) * 9 * hour);
    await life.start(...all);
  }
  await life.pass(hour);
  for (const { name, stored } of all) {
    const made = life.made.filter(({ key }) => key.startsWith(`${name}@`)).map(({ at }) => at);
    expect(made, name).toEqual(ticksOf(stored, from, Math.max(...made)));
    expect(nextTick(stored.ticks, 0, Math.max(...made)), name).toBeGreaterThan(life.clock.wallMs() - hour);
  }
});

test(
  "over a year of downtimes, in four time zones, each tick of many schedules is made once",
  { timeout: 1_200_000 },
  () => {
    const random = seededRandom(7);
    const crons = ["30 2 * * *", "0 9 * * 1-5", "15 1 1,15 * *", "45 */12 * * 0", "10 3 * * 3"];
    const from = Date.parse("2027-03-01T00:00:00Z");
    const until = from + 366 * day;
    // The environment may ask for more.
    const count = Number(process.env["WHEELWORK_SCHEDULES"] ?? 150);
    let ticks = 0;
    for (let number = 0; number < count; number++) {
      const times = random.chance(0.9)
        ? { cron: random.pick(crons), timeZone: random.pick(zones) }
        : { everyMs: (1 + random.int(40)) * day };
      const jittered = random.chance(0.3) ? { jitterMs: hour } : {};
      const one = nightly({ ...times, ...jittered, catchUp: "all" }, `s${number}`);
      const made = playAlone(one, from, until, random);
      expect(made, `${number} ${JSON.stringify(times)}`).toEqual(ticksOf(one.stored, from, until));
      ticks += made.length;
    }
    if (count > 150) console.log(`${count} schedules, ${ticks} ticks`);
  },
);

test("in a cluster each tick is made once, whichever node has the shard of the schedule", async () => {
  const made: string[] = [];
  const every = nightly({ everyMs: 30 * second, catchUp: "all" }, "every");
  const nodes = new Nodes({
    shards: 3,
    hub: job,
    workers: () => [],
    options: {
      schedules: [every],
      observe: (event) => {
        if (event.name === "accepted" && event.hub === "job") made.push(event.key);
      },
    },
  });
  let first = await nodes.node(1);
  await nodes.node(1);
  await nodes.clock.advance(2 * minute);
  for (let round = 0; round < 3; round++) {
    first.process.kill();
    await nodes.clock.advance(20 * second);
    first = await nodes.node(1);
    await nodes.clock.advance(2 * minute);
  }
  const instants = made.map((key) => Date.parse(key.split("@")[1] ?? "")).toSorted((a, b) => a - b);
  expect(instants.length).toBeGreaterThan(15);
  for (let place = 1; place < instants.length; place++)
    expect((instants[place] ?? 0) - (instants[place - 1] ?? 0)).toBe(30 * second);
});

test("while a deploy goes from node to node, no tick is lost or doubled, and a trigger that is sent again counts once", async () => {
  const made: string[] = [];
  const nodes = new Nodes({
    shards: 2,
    hub: job,
    workers: () => [],
    options: {
      observe: (event) => {
        if (event.name === "accepted" && event.hub === "job") made.push(event.key);
      },
    },
  });
  const added = nightly({ everyMs: 30 * second, catchUp: "all" }, "added");
  const former = nightly({ everyMs: 20 * second, catchUp: "all" }, "changed");
  const changed = nightly({ everyMs: 50 * second, catchUp: "all", version: 2 }, "changed");
  const versions = { former: [former], newer: [added, changed] };
  for (const version of ["former", "newer", "former", "newer", "former", "newer"] as const) {
    const { process } = await nodes.node(1, undefined, { schedules: versions[version] });
    await nodes.clock.advance(70 * second);
    process.kill();
    await nodes.clock.advance(10 * second);
  }
  const last = await nodes.node(1, undefined, { schedules: versions.newer });
  const other = await nodes.node(1, undefined, { schedules: versions.newer });
  for (const { node } of [last, other]) {
    const handle = node.schedule("added");
    const trigger = async () => {
      const key = handle.trigger({ commandId: "once" });
      await nodes.clock.runUntil(key, minute);
      return key;
    };
    expect(await trigger()).toBe(await trigger());
  }
  await nodes.clock.advance(minute);
  expect(new Set(made).size).toBe(made.length);
  expect(made.filter((key) => key.startsWith("added@trigger:"))).toHaveLength(1);
  const instants = (name: string): number[] =>
    made
      .filter((key) => key.startsWith(`${name}@2`))
      .map((key) => Date.parse(key.split("@")[1] ?? ""))
      .toSorted((a, b) => a - b);
  const gaps = (times: readonly number[]): number[] =>
    times.slice(1).map((at, place) => at - (times[place] ?? 0));
  expect(new Set(gaps(instants("added")))).toEqual(new Set([30 * second]));
  expect(instants("added").length).toBeGreaterThan(12);
  // The new times count from the first node on that had them, and the former ones up to there.
  const steps = gaps(instants("changed"));
  const change = steps.findIndex((gap) => gap !== 20 * second);
  expect(change).toBeGreaterThan(1);
  expect(new Set(steps.slice(change + 1))).toEqual(new Set([50 * second]));
  expect(steps.length - change).toBeGreaterThan(5);
});

test("no other request has the key of a schedule, and one of an earlier version holds up no other schedule", async () => {
  const life = new Life("2026-01-01T00:00:00Z");
  const { epoch, seq } = life.store.claim("earlier");
  const now = life.clock.wallMs();
  const run = new Run("schedule:taken");
  const options = { request: { at: 1, kind: "" }, hash: "another" };
  const events = start(job.definition, run, options, { now, since: now, random: 0 });
  const journal = [{ key: run.key, events }];
  life.store.commit({ epoch, seq: seq + 1, now, journal, answers: [] });
  const names = ["taken", ...Array.from({ length: 150 }, (_, n) => `s${n}`)];
  await life.start(...names.map((name) => nightly({ everyMs: day }, name)));
  await life.pass(10 * minute);
  for (const name of names.slice(1)) {
    expect((await life.engine.schedule(name).view()).status).toBe("active");
    expect(await life.engine.history(`schedule:${name}`)).toHaveLength(4);
  }
  await expect(life.engine.submit(job, { at: 1, kind: "" }, { key: "schedule:s1" })).rejects.toThrow(
    "WW_INVALID_REQUEST",
  );
});
