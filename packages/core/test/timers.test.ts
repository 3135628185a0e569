import { end, hub, hubByHandlers, spoke, stay } from "@wheelwork/core";
import { apply, Run, restore, snapshot } from "@wheelwork/core/kernel";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Player } from "./player.ts";

const anything = z.looseObject({});
const work = spoke("work", { input: z.object({ n: z.number() }), output: anything, timeoutMs: 50 });
const base = { request: anything, reply: anything, deadline: "TimeoutRaised" } as const;
const day = 86_400_000;

/** Reminds three times, a day apart, and gives up a day later. */
const approval = hub(
  "approval",
  {
    ...base,
    errors: ["not-approved", "late"],
    deadlineMs: 30 * day,
    signals: { approval: z.object({}) },
    cancel: "Cancelled",
    chart: {
      Waiting: {
        Approved: "Up",
        Remind: "Reminding",
        GiveUp: "Down",
        Cancelled: "Down",
        TimeoutRaised: "TimedOut",
      },
      Reminding: { Next: "Waiting" },
      Up: end,
      Down: end,
      TimedOut: end,
    },
    data: () => ({ reminded: 0 }),
  },
  {
    Waiting: (s) =>
      s.wait({
        on: { approval: "Approved" },
        after: {
          Remind: {
            ms: ({ reminded }) => (reminded < 3 ? day : null),
            patch: ({ reminded }) => ({ reminded: reminded + 1 }),
          },
          GiveUp: ({ reminded }) => (reminded < 3 ? null : day),
        },
      }),
    Reminding: "Next",
    Up: ({ reminded }) => ({ reminded }),
    Down: ({ reminded }, s) => s.fail("not-approved", `reminded ${reminded} times`),
    TimedOut: (_data, s) => s.fail("late", ""),
  },
);

describe("timers of a wait (I25)", () => {
  test("remind, and remind again, and give up: an ordinary edge makes nothing late", () => {
    const player = new Player(approval, {}).runTo(2.5 * day);
    expect(player.run).toMatchObject({ state: "Waiting", late: false, data: { reminded: 2 } });
    player.runTo(3 * day);
    expect(player.run).toMatchObject({ timers: [{ event: "GiveUp", ms: day, due: 4 * day }] });
    player.runTo(4 * day);
    expect(player.run.answer).toMatchObject({ code: "not-approved", message: "reminded 3 times" });
    expect(approval.definition.answerBy).toBe("approval answers each request within 30 d");
  });

  test("leave the cancel and the hub's deadline as they are", () => {
    const cancelled = new Player(approval, {}).runTo(1.5 * day);
    cancelled.cancel();
    expect(cancelled.run.answer).toMatchObject({ message: "reminded 1 times" });
    const late = new Player(approval, {}, day + 5).runTo(2 * day);
    expect(late.run.answer).toMatchObject({ code: "late" });
    // Of one instant, the hub's deadline comes first.
    const tie = new Player(approval, {}, day).runTo(day);
    expect(tie.run.answer).toMatchObject({ code: "late" });
  });

  const edges = {
    On: "On",
    A: stay,
    B: stay,
    Moved: stay,
    Out: "Out",
    TimeoutRaised: "Out",
  } as const;
  type Times = { readonly a: number | null; readonly b: number | null; readonly log: string[] };
  const moved = hub(
    "moved",
    {
      ...base,
      deadlineMs: 1000,
      signals: { set: z.object({ a: z.number().nullable() }) },
      chart: { On: edges, Out: end },
      data: (): Times => ({ a: 100, b: 100, log: [] }),
    },
    {
      On: (s) =>
        s.wait({
          on: { set: (_data, { a }) => s.raise("Moved", { a }) },
          after: {
            B: { ms: ({ b }) => b, patch: ({ log }) => ({ log: [...log, "b"] }) },
            A: { ms: ({ a }) => a, patch: ({ log }) => ({ log: [...log, "a"] }) },
          },
        }),
      Out: ({ log }) => ({ log: [...log] }),
    },
  );

  test("fire once, in the order in which they are due and then written, and stay fired", () => {
    const player = new Player(moved, {}).runTo(500);
    expect(player.transcript.slice(1)).toMatchInlineSnapshot(`
      [
        "0 entered state=On due=100 timers=[{event:B,ms:100,due:100},{event:A,ms:100,due:100}]",
        "100 fired timer=B by=B patch={log:[b]} timers=[{event:B,ms:100,due:100,fired:true},{event:A,ms:100,due:100}]",
        "100 fired timer=A by=A patch={log:[b,a]} timers=[{event:B,ms:100,due:100,fired:true},{event:A,ms:100,due:100,fired:true}]",
      ]
    `);
    expect(player.run.due).toBe(1000);
  });

  test("are armed anew by another value, also after they have fired, and disarmed by null", () => {
    const player = new Player(moved, {}).runTo(50);
    player.signal("set", { a: 70 });
    player.runTo(80).signal("set", { a: 70 });
    player.runTo(200);
    expect(player.run.data).toMatchObject({ log: ["a", "b"] });
    player.signal("set", { a: 300 });
    player.runTo(250).signal("set", { a: null });
    player.runTo(400).signal("set", { a: 300 });
    // An instant that has passed is the next millisecond.
    expect(player.run.due).toBe(401);
    player.runTo(401);
    expect(player.run.data).toMatchObject({ log: ["a", "b", "a"] });
    expect(player.transcript.slice(1)).toMatchInlineSnapshot(`
      [
        "0 entered state=On due=100 timers=[{event:B,ms:100,due:100},{event:A,ms:100,due:100}]",
        "50 signalled id=c0 signal=set payload={a:70} taken=true by=Moved patch={a:70} timers=[{event:B,ms:100,due:100},{event:A,ms:70,due:70}]",
        "70 fired timer=A by=A patch={log:[a]} timers=[{event:B,ms:100,due:100},{event:A,ms:70,due:70,fired:true}]",
        "80 signalled id=c1 signal=set payload={a:70} taken=true by=Moved patch={a:70}",
        "100 fired timer=B by=B patch={log:[a,b]} timers=[{event:B,ms:100,due:100,fired:true},{event:A,ms:70,due:70,fired:true}]",
        "200 signalled id=c2 signal=set payload={a:300} taken=true by=Moved patch={a:300} timers=[{event:B,ms:100,due:100,fired:true},{event:A,ms:300,due:300}]",
        "250 signalled id=c3 signal=set payload={a:null} taken=true by=Moved patch={a:null} timers=[{event:B,ms:100,due:100,fired:true}]",
        "400 signalled id=c4 signal=set payload={a:300} taken=true by=Moved patch={a:300} timers=[{event:B,ms:100,due:100,fired:true},{event:A,ms:300,due:401}]",
        "401 fired timer=A by=A patch={log:[a,b,a]} timers=[{event:B,ms:100,due:100,fired:true},{event:A,ms:300,due:401,fired:true}]",
      ]
    `);
  });

  test("never fire in the millisecond in which they are armed, so nothing spins", () => {
    const spinning = hub(
      "spinning",
      {
        ...base,
        deadlineMs: 10,
        chart: { On: { Tick: stay, Again: "On", TimeoutRaised: "Out" }, Out: end },
        data: () => ({ ticks: 0 }),
      },
      {
        On: (s) =>
          s.wait({
            after: {
              Tick: {
                ms: ({ ticks }) => (ticks % 2 === 0 ? 0 : 0.5),
                patch: ({ ticks }) => ({ ticks: ticks + 1 }),
              },
              Again: ({ ticks }) => (ticks === 4 ? 0 : null),
            },
          }),
        Out: ({ ticks }) => ({ ticks }),
      },
    );
    const player = new Player(spinning, {}).runTo(10);
    expect(player.run.answer).toEqual({ kind: "result", value: { ticks: 9 } });
  });

  test("need no code of the hub to be replayed", () => {
    const player = new Player(moved, {}).runTo(100);
    player.signal("set", { a: 150 });
    const replayed = new Run("r");
    for (const event of player.events) apply(replayed, event);
    expect(snapshot(replayed)).toEqual(snapshot(player.run));
    expect(snapshot(restore("r", snapshot(replayed)))).toEqual(snapshot(player.run));
  });

  test("whose time is no time make an incident", () => {
    for (const ms of [-1, Number.NaN, 1e300, "5", undefined]) {
      const wrong = hub(
        "wrong",
        { ...base, deadlineMs: 10, chart: { On: { TimeoutRaised: "Out" }, Out: end }, data: () => ({}) },
        { On: (s) => s.wait({ after: { TimeoutRaised: () => ms as number } }), Out: () => ({}) },
      );
      expect(new Player(wrong, {}).run.incident?.error.message, String(ms)).toMatch(/TimeoutRaised/);
    }
  });
});

describe("timers of calls", () => {
  const beside = hub(
    "beside",
    {
      ...base,
      deadlineMs: 1000,
      signals: { hurry: z.object({}) },
      chart: {
        Round: { Done: stay, Tick: stay, Hurry: stay, Enough: "Enough", Next: "All", TimeoutRaised: "Late" },
        Enough: end,
        All: end,
        Late: end,
      },
      data: () => ({ done: 0, ticks: 0, limitMs: 200, open: 0 }),
    },
    {
      Round: (s) =>
        s.each(work, {
          inputs: () => [{ n: 0 }, { n: 1 }, { n: 2 }],
          limit: 2,
          drain: true,
          ok: ({ done }) => s.raise("Done", { done: done + 1 }),
          failed: "Done",
          done: "Next",
          on: { hurry: () => s.raise("Hurry", { limitMs: 60 }) },
          after: {
            Tick: {
              ms: ({ ticks }) => 25 * (ticks + 1),
              patch: ({ ticks }) => ({ ticks: ticks + 1 }),
            },
            Enough: {
              ms: ({ limitMs }) => limitMs,
              patch: (_data, open) => ({ open: open.length }),
            },
          },
        }),
      Enough: ({ done, ticks, open }) => ({ done, ticks, open }),
      All: ({ done, ticks }) => ({ done, ticks }),
      Late: () => ({}),
    },
  );

  test("fire beside the calls, and give them up: the round drains", () => {
    const player = new Player(beside, {}).at(20);
    player.outcome(0, { ok: {} });
    player.at(22).signal("hurry", {});
    player.runTo(60);
    expect(player.run).toMatchObject({ round: { held: "Enough" }, due: 1000, data: { ticks: 2, open: 1 } });
    expect(player.signal("hurry", {})).toBeUndefined();
    player.at(65).outcome(2, { ok: {} });
    expect(player.run.answer).toEqual({ kind: "result", value: { done: 2, ticks: 2, open: 1 } });
    expect(player.transcript.slice(1)).toMatchInlineSnapshot(`
      [
        "0 entered state=Round due=25 timers=[{event:Tick,ms:25,due:25},{event:Enough,ms:200,due:200}] calls=[{callee:work,first:0,inputs:[{n:0},{n:1},{n:2}],due:50,started:2}]",
        "20 settled call=0 outcome=ok by=Done patch={done:1}",
        "20 attempt call=2 attempt=1 due=70",
        "22 signalled id=c0 signal=hurry payload={} taken=true by=Hurry patch={limitMs:60} timers=[{event:Tick,ms:25,due:25},{event:Enough,ms:60,due:60}]",
        "25 fired timer=Tick by=Tick patch={ticks:1} timers=[{event:Tick,ms:50,due:50},{event:Enough,ms:60,due:60}]",
        "50 settled call=1 outcome={kind:timeout} by=Done",
        "50 fired timer=Tick by=Tick patch={ticks:2} timers=[{event:Tick,ms:75,due:75},{event:Enough,ms:60,due:60}]",
        "60 fired timer=Enough held=Enough patch={open:1}",
        "60 signalled id=c1 signal=hurry payload={}",
        "65 settled call=2 outcome=ok patch={done:2}",
        "65 entered state=Enough by=Enough",
        "65 ended answer={kind:result,value:{done:2,ticks:2,open:1}}",
      ]
    `);
  });

  test("of a state of the clean-up cut its drain", () => {
    const undoing = hub(
      "undoing",
      {
        ...base,
        deadlineMs: 100,
        cleanUp: ["Undo"],
        chart: {
          Try: { Ok: "Out", Failed: "Undo", TimeoutRaised: "Undo" },
          Undo: { Ok: stay, Stop: "Out", TimeoutRaised: "Out" },
          Out: end,
        },
        data: () => ({}),
      },
      {
        Try: (s) => s.call(work, { input: () => ({ n: 0 }), ok: "Ok", failed: "Failed" }),
        Undo: (s) =>
          s.each(work, {
            inputs: () => [{ n: 1 }, { n: 2 }],
            ok: "Stop",
            failed: "Stop",
            done: "Stop",
            drain: true,
            after: { TimeoutRaised: 30 },
          }),
        Out: () => ({}),
      },
    );
    const player = new Player(undoing, {}).at(10);
    // An error has led to the clean-up: the hub's deadline counts no longer.
    player.outcome(0, "timeout");
    expect(player.run).toMatchObject({ state: "Undo", late: true, due: 40 });
    player.at(20).outcome(1, { ok: {} });
    expect(player.run.round.held).toBe("Stop");
    player.runTo(40);
    expect(player.run).toMatchObject({ status: "ended", endedAt: 40 });
  });
});

describe("signals anywhere", () => {
  const shop = hub(
    "shop",
    {
      ...base,
      deadlineMs: 1000,
      signals: { stop: z.object({}), more: z.object({ n: z.number() }), ping: z.object({}) },
      dropSignals: ["ping"],
      chart: {
        First: { Ok: "Second", Stopped: "Out", More: stay, TimeoutRaised: "Out" },
        Second: { Ok: "Last", Pinged: stay, TimeoutRaised: "Out" },
        Last: { Ok: "Out", TimeoutRaised: "Out" },
        Out: end,
      },
      data: () => ({ more: 0, pings: 0 }),
    },
    {
      First: (s) =>
        s.call(work, {
          input: () => ({ n: 0 }),
          ok: "Ok",
          failed: "Ok",
          on: { stop: "Stopped", more: ({ more }, { n }) => s.raise("More", { more: more + n }) },
        }),
      Second: (s) =>
        s.sequence([s.step(work, { input: ({ more }) => ({ n: more }) })], {
          failed: "Ok",
          done: "Ok",
          on: { ping: ({ pings }) => s.raise("Pinged", { pings: pings + 1 }) },
        }),
      Last: (s) => s.call(work, { input: () => ({ n: 9 }), settled: "Ok" }),
      Out: ({ more, pings }) => ({ more, pings }),
    },
  );

  test("stay with a patch during a call, or leave it and close the call", () => {
    const player = new Player(shop, {});
    player.signal("more", { n: 2 });
    player.signal("more", { n: 3 });
    player.signal("stop", {});
    expect(player.run.answer).toEqual({ kind: "result", value: { more: 5, pings: 0 } });
    expect(player.outcome(0, { ok: {} })).toBe("ended");
  });

  test("are dropped where no state can take them any more, or where the hub does not keep them", () => {
    const player = new Player(shop, {});
    player.signal("ping", {}, "early");
    expect(player.signal("ping", {}, "early")).toBe("duplicate");
    player.at(5).outcome(0, { ok: {} });
    player.signal("ping", {});
    player.signal("stop", {});
    expect(player.run.received.signals).toEqual([]);
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "0 signalled id=early signal=ping payload={} dropped=true",
        "0 ignored: duplicate",
        "5 settled call=0 outcome=ok",
        "5 entered state=Second by=Ok due=1000 calls=[{callee:work,first:1,inputs:[{n:0}],due:55,index:0}]",
        "5 signalled id=c0 signal=ping payload={} taken=true by=Pinged patch={pings:1}",
        "5 signalled id=c1 signal=stop payload={} dropped=true",
      ]
    `);
  });
});

describe("a limit that depends on the data", () => {
  const batch = hub(
    "batch",
    {
      ...base,
      deadlineMs: 1000,
      signals: { limit: z.number() },
      chart: {
        Begin: { Next: "Round", First: "First" },
        First: { Next: "Round", TimeoutRaised: "Out" },
        Round: { Done: stay, Set: stay, Next: "Out", TimeoutRaised: "Out" },
        Out: end,
      },
      data: ({ first }) => ({ first: first === true, limit: 2, done: 0 }),
    },
    {
      Begin: (s) => s.pick(({ first }) => (first ? "First" : "Next")),
      First: (s) => s.call(work, { input: () => ({ n: 0 }), settled: "Next" }),
      Round: (s) =>
        s.each(work, {
          inputs: () => Array.from({ length: 6 }, (_, n) => ({ n })),
          limit: ({ limit }) => limit,
          settled: ({ done }) => s.raise("Done", { done: done + 1 }),
          done: "Next",
          on: { limit: (_data, limit) => s.raise("Set", { limit }) },
        }),
      Out: ({ done }) => ({ done }),
    },
  );
  const running = ({ run }: Player): number[] =>
    Array.from(run.calls.values()).flatMap(({ number, attempt }) => (attempt > 0 ? [number] : []));

  test("pauses with 0, goes on, and ends", () => {
    const player = new Player(batch, {});
    expect(running(player)).toEqual([0, 1]);
    player.signal("limit", 0);
    player.outcome(0, { ok: {} });
    player.outcome(1, { ok: {} });
    expect(running(player)).toEqual([]);
    expect(player.run.status).toBe("running");
    player.signal("limit", 3);
    expect(running(player)).toEqual([2, 3, 4]);
    player.outcome(3, { ok: {} });
    expect(running(player)).toEqual([2, 4, 5]);
    for (const call of [2, 4, 5]) player.outcome(call, { ok: {} });
    expect(player.run.answer).toEqual({ kind: "result", value: { done: 6 } });
  });

  test("takes a signal that came before the round", () => {
    const player = new Player(batch, { first: true });
    player.signal("limit", 4);
    player.outcome(0, { ok: {} });
    expect(running(player)).toEqual([1, 2, 3, 4]);
    expect(player.transcript.slice(3)).toMatchInlineSnapshot(`
      [
        "0 signalled id=c0 signal=limit payload=4",
        "0 settled call=0 outcome=ok",
        "0 entered state=Round by=Next due=1000 calls=[{callee:work,first:1,inputs:[{n:0},{n:1},{n:2},{n:3},{n:4},{n:5}],due:50,started:2}]",
        "0 received signal=limit by=Set patch={limit:4}",
        "0 attempt call=3 attempt=1 due=50",
        "0 attempt call=4 attempt=1 due=50",
      ]
    `);
  });

  test("starts nothing in a round that holds an event, whatever a migration makes of its limit", () => {
    const version = (number: number, limit: number) =>
      hub(
        "draining",
        {
          ...base,
          version: number,
          deadlineMs: 1000,
          chart: { Round: { Done: stay, Stop: "Out", TimeoutRaised: "Out" }, Out: end },
          data: () => ({}),
        },
        {
          Round: (s) =>
            s.each(work, {
              inputs: () => Array.from({ length: 4 }, (_, n) => ({ n })),
              limit: () => limit,
              drain: true,
              ok: "Stop",
              failed: "Stop",
              done: "Stop",
            }),
          Out: () => ({}),
        },
      );
    const player = new Player(version(1, 2), {});
    player.outcome(0, { ok: {} });
    expect(running(player)).toEqual([1]);
    player.hub = version(2, 4);
    expect(player.callDue(1)).toBe("stale");
    expect(player.run.version).toBe(2);
    expect(running(player)).toEqual([1]);
    player.outcome(1, { ok: {} });
    expect(player.run.status).toBe("ended");
  });

  test("that is no limit makes an incident", () => {
    const player = new Player(batch, {});
    player.signal("limit", 1.5);
    expect(player.run.incident?.error.message).toMatch("the limit of a round is 1.5");
  });
});

describe("timers of a hub by handlers", () => {
  const countdown = hubByHandlers(
    "countdown",
    {
      request: anything,
      reply: anything,
      errors: ["late"],
      deadlineMs: 1000,
      cleanUpMs: 100,
      calls: [work],
      signals: { move: z.number(), forget: z.string() },
      data: () => ({ fired: [] as string[] }),
    },
    {
      request: (s) => {
        s.after("a", 50);
        s.after("b", 50);
      },
      signal: (s, { name, payload }) => (name === "move" ? s.after("a", payload) : s.after(payload, null)),
      timer: (s, timer) => {
        s.patch({ fired: [...s.data.fired, timer] });
        if (timer === "c") return s.reply({ fired: [...s.data.fired] });
        if (timer === "b") s.after("c", 0);
      },
      response: () => {},
      timeout: (s) => s.after("c", 30),
    },
  );

  test("are set, moved, taken back, and fire once", () => {
    const player = new Player(countdown, {}).runTo(20);
    player.signal("move", 100);
    player.runTo(50);
    expect(player.run.data).toMatchObject({ fired: ["b"] });
    player.runTo(51);
    expect(player.run.answer).toEqual({ kind: "result", value: { fired: ["b", "c"] } });
    const forgetful = new Player(countdown, {});
    forgetful.signal("forget", "b");
    forgetful.runTo(999);
    expect(forgetful.run.data).toMatchObject({ fired: ["a"] });
    // The clean-up has timers of its own.
    forgetful.runTo(1030);
    expect(forgetful.run.answer).toEqual({ kind: "result", value: { fired: ["a", "c"] } });
  });
});
