import { end, hub, hubByHandlers, spoke, stay } from "@wheelwork/core";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Player } from "./player.ts";

const number = z.object({ n: z.number() });
const work = spoke("work", { input: number, output: number, errors: ["refused"], timeoutMs: 50 });
const retried = spoke("retried", {
  input: number,
  output: number,
  errors: ["busy", "hopeless"],
  timeoutMs: 50,
  retry: { attempts: 3, backoffMs: 10, jitter: 0.5, giveUpOn: ["hopeless"] },
});

const base = { request: number, reply: z.object({ log: z.array(z.string()) }), deadlineMs: 1000 };
const log = (): { log: string[] } => ({ log: [] });

describe("states", () => {
  test("pass, pick, end", () => {
    const passing = hub(
      "passing",
      {
        ...base,
        chart: { A: { Next: "B" }, B: { Small: "Small", Big: "Big" }, Small: end, Big: end },
        data: ({ n }) => ({ n, log: ["start"] }),
      },
      {
        A: "Next",
        B: (s) => s.pick(({ n, log }) => s.raise(n < 10 ? "Small" : "Big", { log: [...log, "picked"] })),
        Small: ({ log }) => ({ log: [...log, "small"] }),
        Big: ({ log }) => ({ log: [...log, "big"] }),
      },
    );
    expect(new Player(passing, { n: 3 }).transcript).toMatchInlineSnapshot(`
      [
        "0 started hub=passing version=1 request={n:3} data={n:3,log:[start]} deadline=1000 answerBy=1000",
        "0 entered state=A",
        "0 entered state=B by=Next",
        "0 entered state=Small by=Small patch={log:[start,picked]}",
        "0 ended answer={kind:result,value:{log:[start,picked,small]}}",
      ]
    `);
    expect(new Player(passing, { n: 30 }).run.answer).toEqual({
      kind: "result",
      value: { log: ["start", "picked", "big"] },
    });
  });

  const calling = hub(
    "calling",
    {
      ...base,
      errors: ["failed"],
      chart: { Call: { Ok: "Done", Error: "Failed", Late: "Failed" }, Done: end, Failed: end },
      data: ({ n }) => ({ n, log: [] as string[] }),
    },
    {
      Call: (s) =>
        s.call(retried, {
          input: ({ n }) => ({ n }),
          ok: ({ log }, output) => s.raise("Ok", { log: [...log, `got ${output.n}`] }),
          error: ({ log }, { code }) => s.raise("Error", { log: [...log, code] }),
          timeout: ({ log }) => s.raise("Error", { log: [...log, "timeout"] }),
          deadline: "Late",
        }),
      Done: ({ log }) => ({ log: [...log] }),
      Failed: ({ log }, s) => s.fail("failed", log.join()),
    },
  );

  test("call: ok", () => {
    const player = new Player(calling, { n: 1 }).at(7);
    player.outcome(0, { ok: { n: 2 } });
    expect(player.transcript).toMatchInlineSnapshot(`
      [
        "0 started hub=calling version=1 request={n:1} data={n:1,log:[]} deadline=1000 answerBy=1000",
        "0 entered state=Call due=1000 calls=[{callee:retried,first:0,inputs:[{n:1}],due:50}]",
        "7 settled call=0 outcome=ok",
        "7 entered state=Done by=Ok patch={log:[got 2]}",
        "7 ended answer={kind:result,value:{log:[got 2]}}",
      ]
    `);
  });

  test("call: attempts, backoff, jitter, and the last outcome", () => {
    const player = new Player(calling, { n: 1 }).at(5);
    player.outcome(0, { error: "busy" });
    player.random = 0.5;
    player.runTo(200);
    expect(player.transcript).toMatchInlineSnapshot(`
      [
        "0 started hub=calling version=1 request={n:1} data={n:1,log:[]} deadline=1000 answerBy=1000",
        "0 entered state=Call due=1000 calls=[{callee:retried,first:0,inputs:[{n:1}],due:50}]",
        "5 failed call=0 attempt=1 failure={kind:error,code:busy,message:as told} due=15",
        "15 attempt call=0 attempt=2 due=65",
        "65 failed call=0 attempt=2 failure={kind:timeout} due=80",
        "80 attempt call=0 attempt=3 due=130",
        "130 settled call=0 outcome={kind:timeout}",
        "130 entered state=Failed by=Error late=true patch={log:[timeout]}",
        "130 ended answer={kind:error,code:failed,message:timeout}",
      ]
    `);
  });

  test("call: an error after which there is no retry", () => {
    const player = new Player(calling, { n: 1 }).at(5);
    player.outcome(0, { error: "hopeless" });
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "5 settled call=0 outcome={kind:error,code:hopeless,message:as told}",
        "5 entered state=Failed by=Error late=true patch={log:[hopeless]}",
        "5 ended answer={kind:error,code:failed,message:hopeless}",
      ]
    `);
  });

  test("call: its deadline closes it, and later outcomes are ignored (I4, I12)", () => {
    const player = new Player(calling, { n: 1 }, 30).runTo(30);
    expect(player.outcome(0, { ok: { n: 1 } })).toBe("ended");
    expect(player.transcript).toMatchInlineSnapshot(`
      [
        "0 started hub=calling version=1 request={n:1} data={n:1,log:[]} deadline=30 answerBy=30",
        "0 entered state=Call due=30 calls=[{callee:retried,first:0,inputs:[{n:1}],due:50}]",
        "30 entered state=Failed by=Late late=true",
        "30 ended answer={kind:error,code:failed,message:}",
        "30 ignored: ended",
      ]
    `);
  });

  test("outcomes of another attempt, of another epoch and of unknown calls change nothing (I3, I4)", () => {
    const player = new Player(calling, { n: 1 }).at(5);
    expect(player.report(0, 2, 1, { ok: { n: 1 } })).toBe("stale");
    expect(player.report(0, 1, 0, { ok: { n: 1 } })).toBe("stale");
    expect(player.report(1, 1, 1, { ok: { n: 1 } })).toBe("late");
    player.report(0, 1, 1, { error: "busy" });
    expect(player.report(0, 1, 1, { ok: { n: 1 } })).toBe("stale");
    player.runTo(20);
    expect(player.report(0, 1, 1, { ok: { n: 1 } })).toBe("stale");
    expect(player.report(0, 2, 1, { ok: { n: 5 } })).toBeUndefined();
    expect(player.run.answer).toEqual({ kind: "result", value: { log: ["got 5"] } });
  });

  const rounds = (options: { limit?: number; drain?: boolean }) =>
    hub(
      "rounds",
      {
        ...base,
        chart: {
          Round: { Ok: stay, Bad: "Cleaning", Done: "Done", Late: "Cleaning", Cancel: "Cleaning" },
          Cleaning: { Cleaned: "Done" },
          Done: end,
        },
        data: ({ n }) => ({ n, log: [] as string[] }),
        cancel: { raise: "Cancel", patch: ({ log }) => ({ log: [...log, "cancelled"] }) },
      },
      {
        Round: (s) =>
          s.each(work, {
            ...options,
            inputs: ({ n }) => Array.from({ length: n }, (_, index) => ({ n: index })),
            ok: ({ log }, output, call) => s.raise("Ok", { log: [...log, `${call.index}=${output.n}`] }),
            failed: ({ log }, failure, call) =>
              s.raise("Bad", { log: [...log, `${call.index}: ${failure.kind}`] }),
            done: "Done",
            deadline: {
              raise: "Late",
              patch: ({ log }, open) => ({ log: [...log, `open: ${open.map(({ index }) => index).join()}`] }),
            },
          }),
        Cleaning: "Cleaned",
        Done: ({ log }) => ({ log: [...log] }),
      },
    );

  test("each: all succeed, in any order", () => {
    const player = new Player(rounds({}), { n: 3 }).at(1);
    player.outcome(2, { ok: { n: 2 } });
    player.outcome(0, { ok: { n: 0 } });
    player.outcome(0, { ok: { n: 0 } });
    player.at(2).outcome(1, { ok: { n: 1 } });
    expect(player.transcript).toMatchInlineSnapshot(`
      [
        "0 started hub=rounds version=1 request={n:3} data={n:3,log:[]} deadline=1000 answerBy=1000",
        "0 entered state=Round due=1000 calls=[{callee:work,first:0,inputs:[{n:0},{n:1},{n:2}],due:50}]",
        "1 settled call=2 outcome=ok by=Ok patch={log:[2=2]}",
        "1 settled call=0 outcome=ok by=Ok patch={log:[2=2,0=0]}",
        "1 ignored: late",
        "2 settled call=1 outcome=ok by=Ok patch={log:[2=2,0=0,1=1]}",
        "2 entered state=Done by=Done late=true",
        "2 ended answer={kind:result,value:{log:[2=2,0=0,1=1]}}",
      ]
    `);
  });

  test("each: no inputs", () => {
    expect(new Player(rounds({}), { n: 0 }).transcript.slice(1)).toMatchInlineSnapshot(`
      [
        "0 entered state=Round",
        "0 entered state=Done by=Done late=true",
        "0 ended answer={kind:result,value:{log:[]}}",
      ]
    `);
  });

  test("each with a limit: a queued call begins when another one settles", () => {
    const player = new Player(rounds({ limit: 2 }), { n: 3 }).at(1);
    player.outcome(1, { ok: { n: 1 } });
    player.at(2).outcome(0, { ok: { n: 0 } });
    player.at(3).outcome(2, { ok: { n: 2 } });
    expect(player.transcript).toMatchInlineSnapshot(`
      [
        "0 started hub=rounds version=1 request={n:3} data={n:3,log:[]} deadline=1000 answerBy=1000",
        "0 entered state=Round due=1000 calls=[{callee:work,first:0,inputs:[{n:0},{n:1},{n:2}],due:50,started:2}]",
        "1 settled call=1 outcome=ok by=Ok patch={log:[1=1]}",
        "1 attempt call=2 attempt=1 due=51",
        "2 settled call=0 outcome=ok by=Ok patch={log:[1=1,0=0]}",
        "3 settled call=2 outcome=ok by=Ok patch={log:[1=1,0=0,2=2]}",
        "3 entered state=Done by=Done late=true",
        "3 ended answer={kind:result,value:{log:[1=1,0=0,2=2]}}",
      ]
    `);
  });

  test("each without drain: a failure leaves the state at once", () => {
    const player = new Player(rounds({ limit: 2 }), { n: 3 }).at(1);
    player.outcome(1, { error: "refused" });
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "1 settled call=1 outcome={kind:error,code:refused,message:as told}",
        "1 entered state=Cleaning by=Bad late=true patch={log:[1: error]}",
        "1 entered state=Done by=Cleaned",
        "1 ended answer={kind:result,value:{log:[1: error]}}",
      ]
    `);
  });

  test("each with drain: a failure is held until the running attempts are over", () => {
    const player = new Player(rounds({ limit: 2, drain: true }), { n: 4 }).at(1);
    player.outcome(0, { error: "refused" });
    expect([...player.run.calls.keys()]).toEqual([1]);
    player.at(2).outcome(1, { ok: { n: 1 } });
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "1 settled call=0 outcome={kind:error,code:refused,message:as told} held=Bad patch={log:[0: error]}",
        "2 settled call=1 outcome=ok patch={log:[0: error,1=1]}",
        "2 entered state=Cleaning by=Bad late=true",
        "2 entered state=Done by=Cleaned",
        "2 ended answer={kind:result,value:{log:[0: error,1=1]}}",
      ]
    `);
  });

  test("each with drain: the deadline ends the drain", () => {
    const player = new Player(rounds({ drain: true }), { n: 3 }, 20).at(1);
    player.outcome(0, { error: "refused" });
    player.runTo(20);
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "1 settled call=0 outcome={kind:error,code:refused,message:as told} held=Bad patch={log:[0: error]}",
        "20 entered state=Cleaning by=Late late=true patch={log:[0: error,open: 1,2]}",
        "20 entered state=Done by=Cleaned",
        "20 ended answer={kind:result,value:{log:[0: error,open: 1,2]}}",
      ]
    `);
  });

  test("each with drain: a cancel is held too, and counts once", () => {
    const player = new Player(rounds({ drain: true }), { n: 2 }).at(1);
    expect(player.cancel()).toBeUndefined();
    expect(player.cancel()).toBe("duplicate");
    player.outcome(0, { ok: { n: 0 } });
    player.at(2).outcome(1, { error: "refused" });
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "1 cancelling id=c0 held=Cancel patch={log:[cancelled]}",
        "1 ignored: duplicate",
        "1 settled call=0 outcome=ok patch={log:[cancelled,0=0]}",
        "2 settled call=1 outcome={kind:error,code:refused,message:as told} patch={log:[cancelled,0=0,1: error]}",
        "2 entered state=Cleaning by=Cancel cancelled=true late=true",
        "2 entered state=Done by=Cleaned",
        "2 ended answer={kind:result,value:{log:[cancelled,0=0,1: error]}}",
      ]
    `);
  });

  test("sequence: one call after another; `done` follows the last one", () => {
    const sequential = hub(
      "sequential",
      {
        ...base,
        chart: { Steps: { Done: "Done", Bad: "Failed" }, Done: end, Failed: end },
        data: ({ n }) => ({ n, log: [] as string[] }),
      },
      {
        Steps: (s) =>
          s.sequence(
            [
              s.step(work, { input: ({ n }) => ({ n }), ok: (_data, output) => ({ n: output.n }) }),
              s.step(retried, {
                input: ({ n }) => ({ n: n * 10 }),
                ok: ({ log }, output) => ({ log: [...log, `${output.n}`] }),
              }),
            ],
            { failed: "Bad", done: "Done", deadline: "Bad" },
          ),
        Done: ({ log }) => ({ log: [...log] }),
        Failed: () => ({ log: ["failed"] }),
      },
    );
    const player = new Player(sequential, { n: 1 }).at(1);
    player.outcome(0, { ok: { n: 4 } });
    player.at(2).outcome(1, { ok: { n: 5 } });
    expect(player.transcript.slice(1)).toMatchInlineSnapshot(`
      [
        "0 entered state=Steps due=1000 calls=[{callee:work,first:0,inputs:[{n:1}],due:50,index:0}]",
        "1 settled call=0 outcome=ok patch={n:4} calls=[{callee:retried,first:1,inputs:[{n:40}],due:51,index:1}]",
        "2 settled call=1 outcome=ok patch={log:[5]}",
        "2 entered state=Done by=Done",
        "2 ended answer={kind:result,value:{log:[5]}}",
      ]
    `);
    const failing = new Player(sequential, { n: 1 }).at(1);
    failing.outcome(0, { error: "refused" });
    expect(failing.run.answer).toEqual({ kind: "result", value: { log: ["failed"] } });
  });

  const waiting = hub(
    "waiting",
    {
      ...base,
      signals: { approve: z.string(), note: z.string(), other: z.string() },
      deadline: "Late",
      chart: {
        Working: { Ok: "Waiting", Late: "TimedOut" },
        Waiting: { Approved: "Second", Noted: stay, Late: "TimedOut" },
        Second: { Again: "Done", Late: "TimedOut" },
        Done: end,
        TimedOut: end,
      },
      data: log,
    },
    {
      Working: (s) => s.call(work, { input: () => ({ n: 0 }), ok: "Ok", failed: "Late" }),
      Waiting: (s) =>
        s.wait({
          on: {
            approve: ({ log }, by) => s.raise("Approved", { log: [...log, `approved by ${by}`] }),
            note: ({ log }, text) => s.raise("Noted", { log: [...log, `note ${text}`] }),
          },
          after: { Late: 100 },
        }),
      Second: (s) =>
        s.wait({
          on: { other: ({ log }, text) => s.raise("Again", { log: [...log, `other ${text}`] }) },
          after: { Late: 100 },
        }),
      Done: ({ log }) => ({ log: [...log] }),
      TimedOut: ({ log }) => ({ log: [...log, "timed out"] }),
    },
  );

  test("wait: signals that come in time, twice, and too late", () => {
    const player = new Player(waiting, { n: 0 });
    player.outcome(0, { ok: { n: 0 } });
    player.at(10).signal("note", "a", "one");
    expect(player.signal("note", "a", "one")).toBe("duplicate");
    player.at(11).signal("approve", "me");
    player.at(12).signal("other", "x");
    expect(player.signal("note", "b")).toBe("ended");
    expect(player.transcript.slice(3)).toMatchInlineSnapshot(`
      [
        "0 entered state=Waiting by=Ok due=100 timers=[{event:Late,ms:100,due:100}]",
        "10 signalled id=one signal=note payload=a taken=true by=Noted patch={log:[note a]}",
        "10 ignored: duplicate",
        "11 signalled id=c0 signal=approve payload=me taken=true",
        "11 entered state=Second by=Approved patch={log:[note a,approved by me]} due=111 timers=[{event:Late,ms:100,due:111}]",
        "12 signalled id=c1 signal=other payload=x taken=true",
        "12 entered state=Done by=Again patch={log:[note a,approved by me,other x]}",
        "12 ended answer={kind:result,value:{log:[note a,approved by me,other x]}}",
        "12 ignored: ended",
      ]
    `);
  });

  test("wait: a timer", () => {
    const player = new Player(waiting, { n: 0 });
    player.outcome(0, { ok: { n: 0 } });
    player.runTo(100);
    expect(player.run.answer).toEqual({ kind: "result", value: { log: ["timed out"] } });
  });

  test("wait: signals that came before are taken in their order, each once, with their changes", () => {
    const player = new Player(waiting, { n: 0 });
    player.signal("note", "early");
    player.signal("note", "early, too");
    player.signal("approve", "you");
    player.signal("approve", "nobody needs it");
    player.signal("other", "buffered for the second wait");
    player.at(5).outcome(0, { ok: { n: 0 } });
    expect(player.run.answer).toEqual({
      kind: "result",
      value: {
        log: ["note early", "note early, too", "approved by you", "other buffered for the second wait"],
      },
    });
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "0 signalled id=c0 signal=note payload=early",
        "0 signalled id=c1 signal=note payload=early, too",
        "0 signalled id=c2 signal=approve payload=you",
        "0 signalled id=c3 signal=approve payload=nobody needs it",
        "0 signalled id=c4 signal=other payload=buffered for the second wait",
        "5 settled call=0 outcome=ok",
        "5 entered state=Waiting by=Ok due=105 timers=[{event:Late,ms:100,due:105}]",
        "5 received signal=note by=Noted patch={log:[note early]}",
        "5 received signal=note by=Noted patch={log:[note early,note early, too]}",
        "5 received signal=approve",
        "5 entered state=Second by=Approved patch={log:[note early,note early, too,approved by you]} due=105 timers=[{event:Late,ms:100,due:105}] drops=[approve]",
        "5 received signal=other",
        "5 entered state=Done by=Again patch={log:[note early,note early, too,approved by you,other buffered for the second wait]}",
        "5 ended answer={kind:result,value:{log:[note early,note early, too,approved by you,other buffered for the second wait]}}",
      ]
    `);
  });

  test("tell: gives a spoke work, and goes on", () => {
    const telling = hub(
      "telling",
      {
        ...base,
        chart: { Tell: { Next: "Again" }, Again: { Next: "Done" }, Done: end },
        data: ({ n }) => ({ n }),
      },
      {
        Tell: (s) => s.tell(work, { input: ({ n }) => ({ n }), next: "Next" }),
        Again: (s) => s.tell(work, { input: () => null, next: "Next" }),
        Done: () => ({ log: [] }),
      },
    );
    expect(new Player(telling, { n: 1 }).transcript.slice(1)).toMatchInlineSnapshot(`
      [
        "0 entered state=Tell",
        "0 told call=0 spoke=work input={n:1}",
        "0 entered state=Again by=Next",
        "0 entered state=Done by=Next",
        "0 ended answer={kind:result,value:{log:[]}}",
      ]
    `);
  });
});

describe("bounds", () => {
  test("a cycle of picks is an incident, not an endless turn (I15)", () => {
    const circling = hub(
      "circling",
      {
        ...base,
        chart: { A: { On: "B", Out: "Done" }, B: { On: "A" }, Done: end },
        data: () => ({ out: false }),
      },
      {
        A: (s) => s.pick(({ out }) => (out ? "Out" : "On")),
        B: (s) => s.pick(() => "On"),
        Done: () => ({ log: [] }),
      },
    );
    const player = new Player(circling, { n: 1 });
    expect(player.run.status).toBe("incident");
    expect(player.transcript.at(-1)).toMatch(
      /^0 incident WW_DEFECT .*the hub took 1000 steps without a wait, the last one into the state [AB]/,
    );
    player.runTo(1000);
    expect(player.run.answer?.kind).toBe("timeout");
  });

  test("an undeclared edge, undeclared error code, wrong reply, or wrong input is an incident", () => {
    const wrong = (what: string) =>
      hub(
        "wrong",
        {
          ...base,
          chart: { A: { Next: "B" }, B: { Ok: "Done", Bad: "Failed" }, Done: end, Failed: end },
          data: log,
        },
        {
          A: (s) => s.pick(() => (what === "edge" ? ("Nowhere" as "Next") : "Next")),
          B: (s) =>
            s.call(work, {
              input: () => ({ n: (what === "input" ? "x" : 1) as number }),
              ok: "Ok",
              failed: "Bad",
              deadline: "Bad",
            }),
          Done: () => (what === "reply" ? ({} as never) : { log: [] }),
          Failed: (_data, s) => s.fail("undeclared" as never, "x"),
        },
      );
    expect(new Player(wrong("edge"), { n: 1 }).transcript.at(-1)).toMatch(/incident WW_UNDECLARED_EDGE/);
    expect(new Player(wrong("input"), { n: 1 }).transcript.at(-1)).toMatch(/incident WW_INVALID_INPUT/);
    const reply = new Player(wrong("reply"), { n: 1 });
    reply.outcome(0, { ok: { n: 1 } });
    expect(reply.transcript.at(-1)).toMatch(/incident WW_INVALID_REPLY/);
    const code = new Player(wrong("code"), { n: 1 });
    code.outcome(0, { error: "refused" });
    expect(code.transcript.at(-1)).toMatch(/incident WW_INVALID_REPLY/);
  });

  test("data that is not plain JSON and data that a handler mutates are incidents (I19, I1)", () => {
    const bad = (data: () => object, mutate = false) =>
      hub(
        "bad",
        { ...base, chart: { A: { Next: "Done" }, Done: end }, data: data as () => { list: number[] } },
        {
          A: (s) =>
            s.pick(({ list }) => {
              if (mutate) (list as number[]).push(1);
              return "Next";
            }),
          Done: () => ({ log: [] }),
        },
      );
    expect(
      new Player(
        bad(() => ({ list: new Date(0) })),
        { n: 1 },
      ).run.status,
    ).toBe("incident");
    expect(
      new Player(
        bad(() => ({ list: [Number.NaN] })),
        { n: 1 },
      ).run.status,
    ).toBe("incident");
    expect(
      new Player(
        bad(() => ({ list: [] })),
        { n: 1 },
      ).run.status,
    ).toBe("ended");
    expect(
      new Player(
        bad(() => ({ list: [] }), true),
        { n: 1 },
      ).run.status,
    ).toBe("incident");
  });

  test("fractions of milliseconds are rounded up, wherever a time is given", () => {
    const slow = spoke("slow", {
      input: number,
      output: number,
      timeoutMs: 10.2,
      retry: { attempts: 2, backoffMs: 0.4, jitter: 0 },
    });
    const fractional = hub(
      "fractional",
      {
        ...base,
        deadlineMs: 100.5,
        chart: { A: { Ok: "Done", Bad: "B" }, B: { Late: "Done" }, Done: end },
        data: log,
      },
      {
        A: (s) => s.call(slow, { input: () => ({ n: 1 }), ok: "Ok", failed: "Bad", deadline: "Bad" }),
        B: (s) => s.wait({ on: {}, after: { Late: 7.3 } }),
        Done: () => ({ log: [] }),
      },
    );
    for (const deadlineMs of [undefined, 60.25]) {
      const player = new Player(fractional, { n: 1 }, deadlineMs);
      for (let now = 0; now < 200 && player.run.status === "running"; now++) {
        const dues = [
          player.run.nextDue,
          player.run.answerBy,
          ...[...player.run.calls.values()].map(({ due }) => due),
        ];
        for (const due of dues)
          expect(due === undefined || Number.isSafeInteger(due), String(due)).toBe(true);
        player.runTo(now);
      }
      expect(player.run.status).toBe("ended");
    }
  });
});

describe("cancel", () => {
  const cancellable = hub(
    "cancellable",
    {
      ...base,
      cancel: "Cancel",
      chart: {
        First: { Ok: "Second", Late: "Cleaning" },
        Second: { Ok: "Done", Late: "Cleaning", Cancel: "Third" },
        Third: { Ok: "Fourth", Late: "Cleaning", Cancel: "Done" },
        Fourth: { Ok: "Done", Late: "Cleaning", Cancel: "Done" },
        Cleaning: { Ok: "Done", Late: "Done" },
        Done: end,
      },
      data: log,
    },
    {
      First: (s) => s.call(work, { input: () => ({ n: 1 }), ok: "Ok", failed: "Late", deadline: "Late" }),
      Second: (s) =>
        s.each(work, {
          inputs: () => [{ n: 1 }, { n: 2 }],
          settled: "Ok",
          done: "Ok",
          deadline: "Late",
          drain: true,
        }),
      Fourth: (s) => s.call(work, { input: () => ({ n: 4 }), ok: "Ok", failed: "Late", deadline: "Late" }),
      Third: (s) => s.call(work, { input: () => ({ n: 3 }), ok: "Ok", failed: "Late", deadline: "Late" }),
      Cleaning: (s) => s.call(work, { input: () => ({ n: 9 }), settled: "Ok", after: { Late: 100 } }),
      Done: () => ({ log: [] }),
    },
  );

  test("waits for the first state that has its event, and is raised once", () => {
    const player = new Player(cancellable, { n: 1 });
    expect(player.cancel()).toBeUndefined();
    expect(player.cancel()).toBe("duplicate");
    player.at(1).outcome(0, { ok: { n: 1 } });
    expect(player.run.state).toBe("Third");
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "0 cancelling id=c0",
        "0 ignored: duplicate",
        "1 settled call=0 outcome=ok",
        "1 entered state=Second by=Ok",
        "1 entered state=Third by=Cancel cancelled=true due=1000 calls=[{callee:work,first:1,inputs:[{n:3}],due:51}]",
      ]
    `);
  });

  test("is raised once, too, when a drain holds it", () => {
    const player = new Player(cancellable, { n: 1 });
    player.outcome(0, { ok: { n: 1 } });
    player.cancel();
    player.at(1).outcome(1, { ok: { n: 1 } });
    player.outcome(2, { ok: { n: 1 } });
    expect(player.run.state).toBe("Third");
    player.at(2).outcome(3, { ok: { n: 1 } });
    expect(player.run.state).toBe("Fourth");
  });

  test("does nothing during the clean-up and after the end", () => {
    const player = new Player(cancellable, { n: 1 }).runTo(50);
    expect(player.run.state).toBe("Cleaning");
    expect(player.cancel()).toBe("cleaning-up");
    player.runTo(200);
    expect(player.cancel()).toBe("ended");
    expect(player.run.answer?.kind).toBe("result");
  });

  const unnamed = (cancel?: typeof end) =>
    hub(
      "plain",
      {
        ...base,
        ...(cancel === undefined ? {} : { cancel }),
        chart: { A: { Ok: "Done", Late: "Undoing" }, Undoing: { Undone: "Done", Late: "Done" }, Done: end },
        data: log,
      },
      {
        A: (s) =>
          s.call(work, {
            input: () => ({ n: 1 }),
            ok: "Ok",
            failed: "Late",
            deadline: {
              raise: "Late",
              patch: (data, open) => ({ log: [...data.log, `${open.length} open`] }),
            },
          }),
        Undoing: (s) => s.call(work, { input: () => ({ n: 2 }), settled: "Undone", after: { Late: 100 } }),
        Done: ({ log }) => ({ log: [...log] }),
      },
    );

  test("is as if the time were over now, if the hub has no event for it: it cleans up", () => {
    const player = new Player(unnamed(), { n: 1 });
    player.cancel();
    expect(player.run).toMatchObject({ state: "Undoing", late: true, cancel: "moved" });
    // In the clean-up, a cancel changes nothing.
    expect(player.cancel("again")).toBe("duplicate");
    player.outcome(1, { ok: { n: 2 } });
    expect(player.run.answer).toMatchObject({ kind: "result", value: { log: ["1 open"] } });
  });

  test("ends the run at once where the hub says so by name", () => {
    const player = new Player(unnamed(end), { n: 1 });
    player.cancel();
    expect(player.run.status).toBe("ended");
    expect(player.run.answer).toMatchObject({ kind: "error", code: "WW_CANCELLED" });
  });
});

describe("hubs by handlers", () => {
  const slow = spoke("slow", { input: number, output: number, timeoutMs: 1000 });
  const handled = hubByHandlers(
    "handled",
    {
      request: number,
      reply: z.object({ log: z.array(z.string()) }),
      deadlineMs: 100,
      cleanUpMs: 50,
      calls: [slow],
      signals: { more: z.number() },
      data: () => ({ log: [] as string[] }),
    },
    {
      request: (s) => {
        s.call(slow, { n: 1 });
      },
      response: (s, { input }, outcome) => {
        s.patch({ log: [...s.data.log, `${JSON.stringify(input)} ${outcome.kind}`] });
        if (s.open === 0) s.reply({ log: [...s.data.log] });
      },
      timeout: (s, cause) => {
        s.patch({ log: [...s.data.log, cause] });
      },
      signal: (s, { payload }) => {
        s.call(slow, { n: payload });
      },
    },
  );

  test("calls, signals, replies", () => {
    const player = new Player(handled, { n: 0 }).at(1);
    player.signal("more", 7);
    player.outcome(0, { ok: { n: 1 } });
    player.at(2).outcome(1, { ok: { n: 1 } });
    expect(player.run.answer).toEqual({ kind: "result", value: { log: ['{"n":1} ok', '{"n":7} ok'] } });
  });

  test("a clean-up that does not end in time answers with a timeout", () => {
    const player = new Player(handled, { n: 0 }).runTo(100);
    expect(player.run.state).toBe("CleaningUp");
    player.runTo(150);
    expect(player.run).toMatchObject({ status: "ended", answer: { code: "WW_TIMEOUT" } });
  });
});
