import { end, hub, spoke, stay } from "@wheelwork/core";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { callsOf } from "../src/run.ts";
import { Player } from "./player.ts";

const number = z.object({ n: z.number() });
const work = spoke("work", { input: number, output: number, errors: ["refused"], timeoutMs: 50 });

const base = { request: number, reply: z.object({ log: z.array(z.string()) }), deadlineMs: 1000 };
const log = (): { log: string[] } => ({ log: [] });

describe("incidents (I16)", () => {
  /** Its handlers throw while `broken` holds. */
  const broken = { start: false, ok: false, signal: false, late: false };
  const boom = (when: keyof typeof broken): void => {
    if (broken[when]) throw new Error(`broken ${when}`);
  };
  const fragile = hub(
    "fragile",
    {
      ...base,
      signals: { go: z.string() },
      cancel: "Cancel",
      chart: {
        Round: { Ok: stay, Bad: "Cleaning", Done: "Waiting", Late: "Cleaning" },
        Waiting: { Go: "Done", More: stay, Late: "Cleaning", Cancel: "Cleaning" },
        Cleaning: { Cleaned: "Done", Late: "Done" },
        Done: end,
      },
      data: ({ n }) => {
        boom("start");
        return { n, log: [] as string[] };
      },
    },
    {
      Round: (s) =>
        s.each(work, {
          inputs: ({ n }) => Array.from({ length: n }, (_, index) => ({ n: index })),
          ok: ({ log }, output) => {
            boom("ok");
            return s.raise("Ok", { log: [...log, `got ${output.n}`] });
          },
          failed: "Bad",
          done: "Done",
          deadline: {
            raise: "Late",
            patch: ({ log }) => {
              boom("late");
              return { log: [...log, "late"] };
            },
          },
        }),
      Waiting: (s) =>
        s.wait({
          on: {
            go: ({ log }, text) => {
              boom("signal");
              return s.raise(text === "go" ? "Go" : "More", { log: [...log, text] });
            },
          },
          deadline: "Late",
        }),
      Cleaning: (s) => s.call(work, { input: () => ({ n: 99 }), settled: "Cleaned", after: { Late: 100 } }),
      Done: ({ log }) => ({ log: [...log] }),
    },
  );
  const breaking = (...what: (keyof typeof broken)[]): void => {
    for (const key of Object.keys(broken) as (keyof typeof broken)[]) broken[key] = what.includes(key);
  };

  test("the whole turn is dropped; a retry makes it again, and then takes what came meanwhile", () => {
    breaking("ok");
    const player = new Player(fragile, { n: 2 }).at(1);
    player.outcome(0, { ok: { n: 0 } });
    expect(player.run.status).toBe("incident");
    expect(player.run.calls.size).toBe(2);
    player.at(2).outcome(1, { ok: { n: 1 } });
    expect(player.outcome(1, { ok: { n: 1 } })).toBe("duplicate");
    expect(player.outcome(0, { ok: { n: 1 } })).toBe("duplicate");
    breaking();
    player.at(3).retry();
    expect(player.run.state).toBe("Waiting");
    expect(player.run.data).toEqual({ n: 2, log: ["got 0", "got 1"] });
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "1 incident WW_DEFECT broken ok (outcome)",
        "2 parked outcome",
        "2 ignored: duplicate",
        "2 ignored: duplicate",
        "3 resumed id=c0",
        "3 settled call=0 outcome=ok by=Ok patch={log:[got 0]}",
        "3 settled call=1 outcome=ok by=Ok patch={log:[got 0,got 1]}",
        "3 entered state=Waiting by=Done due=1000",
      ]
    `);
    expect(player.retry()).toBe("not-incident");
  });

  test("a retry that fails again parks again, and loses nothing", () => {
    breaking("ok");
    const player = new Player(fragile, { n: 3 }).at(1);
    for (const call of [0, 1, 2]) player.outcome(call, { ok: { n: call } });
    player.retry();
    expect(player.run.status).toBe("incident");
    breaking();
    player.retry();
    expect(player.run.data).toEqual({ n: 3, log: ["got 0", "got 1", "got 2"] });
  });

  test("a retry that is sent twice counts once", () => {
    breaking("ok");
    const player = new Player(fragile, { n: 1 }).at(1);
    player.outcome(0, { ok: { n: 0 } });
    player.retry("same");
    expect(player.retry("same")).toBe("duplicate");
    breaking();
    player.retry("other");
    expect(player.run.state).toBe("Waiting");
    expect(player.retry("other")).toBe("duplicate");
  });

  test("signals and cancels that come to a parked run count after its retry", () => {
    breaking("signal");
    const player = new Player(fragile, { n: 0 }).at(1);
    player.signal("go", "one", "s1");
    expect(player.run.status).toBe("incident");
    expect(player.signal("go", "one", "s1")).toBe("duplicate");
    player.signal("go", "two", "s2");
    expect(player.signal("go", "two", "s2")).toBe("duplicate");
    player.signal("go", "go", "s3");
    breaking();
    player.retry();
    expect(player.run.answer).toEqual({ kind: "result", value: { log: ["one", "two", "go"] } });

    breaking("signal");
    const cancelled = new Player(fragile, { n: 0 }).at(1);
    cancelled.signal("go", "one");
    expect(cancelled.cancel()).toBeUndefined();
    expect(cancelled.cancel()).toBe("duplicate");
    breaking();
    cancelled.retry();
    expect(cancelled.run.state).toBe("Cleaning");
  });

  test("the first turn can be retried too", () => {
    breaking("start");
    const player = new Player(fragile, { n: 1 });
    expect(player.run.status).toBe("incident");
    player.signal("go", "go");
    breaking();
    player.at(5).retry();
    expect(player.run.state).toBe("Round");
    player.outcome(0, { ok: { n: 1 } });
    expect(player.run.answer).toEqual({ kind: "result", value: { log: ["got 1", "go"] } });
  });

  test("the engine answers with a timeout at answerBy (I6); a retry after that only cleans up", () => {
    breaking("ok");
    const player = new Player(fragile, { n: 2 }).at(1);
    player.outcome(0, { ok: { n: 0 } });
    player.runTo(5000);
    expect(player.run).toMatchObject({ status: "incident", answeredAt: 1100, answer: { kind: "timeout" } });
    breaking();
    player.retry();
    expect(player.run.state).toBe("Cleaning");
    player.outcome(2, { ok: { n: 1 } });
    expect(player.run.status).toBe("ended");
    expect(player.transcript.slice(2)).toMatchInlineSnapshot(`
      [
        "1 incident WW_DEFECT broken ok (outcome)",
        "1100 answered answer={kind:timeout,code:WW_TIMEOUT,message:the hub fragile reached no end within its time: an incident has parked it,details:{incident:{code:WW_DEFECT,message:broken ok,state:Round}}}",
        "5000 resumed id=c0",
        "5000 entered state=Cleaning by=Late late=true answerBy=5100 patch={log:[late]} due=5100 timers=[{event:Late,ms:100,due:5100}] calls=[{callee:work,first:2,inputs:[{n:99}],due:5050}]",
        "5000 settled call=2 outcome=ok",
        "5000 entered state=Done by=Cleaned",
        "5000 ended",
      ]
    `);
  });

  test("the engine answers in time even if the handler of the deadline throws", () => {
    breaking("late");
    const player = new Player(fragile, { n: 1 }).at(1);
    callsOf(player.run).clear();
    player.runTo(1000);
    expect(player.run.status).toBe("incident");
    player.runTo(1100);
    expect(player.run.answer?.kind).toBe("timeout");
    breaking();
    player.retry();
    player.runTo(2000);
    expect(player.run.status).toBe("ended");
  });

  test("resolve ends the run with an answer", () => {
    breaking("ok");
    const player = new Player(fragile, { n: 1 }).at(1);
    player.outcome(0, { ok: { n: 0 } });
    player.resolve("given up by hand");
    expect(player.run.answer).toEqual({ kind: "error", code: "WW_INCIDENT", message: "given up by hand" });
    expect(player.resolve("again")).toBe("ended");
  });
});

describe("versions (I20)", () => {
  const chart1 = { Old: { Ok: "Done", Late: "Done" }, Done: end } as const;
  const behaviours = (state: string) => ({
    [state]: (s: never) =>
      (s as { call: (...args: unknown[]) => never }).call(work, {
        input: () => ({ n: 1 }),
        ok: "Ok",
        failed: "Late",
        deadline: "Late",
      }),
    Done: () => ({ log: [] }),
  });
  const chart2 = { New: { Ok: "Done", Late: "Done" }, Done: end } as const;
  const v1 = hub("versioned", { ...base, chart: chart1, data: log }, behaviours("Old") as never);
  const unmapped = hub(
    "versioned",
    { ...base, version: 2, chart: chart2, data: log },
    behaviours("New") as never,
  );
  const mapped = hub(
    "versioned",
    {
      ...base,
      version: 3,
      chart: chart2,
      data: log,
      migrate: {
        1: ({ data }) => ({ state: "Middle", data }),
        2: ({ state, data }) => ({
          state: state === "Middle" ? "New" : state,
          data: { ...data, log: ["migrated"] },
        }),
      },
    },
    behaviours("New") as never,
  );

  test("a state that the chart does not have is an incident; the run goes on once a version maps the state", () => {
    const player = new Player(v1, { n: 1 }).at(1);
    player.hub = unmapped;
    player.outcome(0, { ok: { n: 1 } });
    expect(player.transcript.at(-1)).toMatch(/incident WW_UNMAPPED_STATE .*\(outcome\)/s);
    player.hub = mapped;
    player.at(2).retry();
    // The migration has only renamed the state, so the outcome that was kept still counts.
    expect(player.run.status).toBe("ended");
    expect(player.transcript.slice(3)).toMatchInlineSnapshot(`
      [
        "2 resumed id=c0",
        "2 migrated version=3 data={log:[migrated]}",
        "2 entered state=New kept=true due=1000",
        "2 settled call=0 outcome=ok",
        "2 entered state=Done by=Ok late=true",
        "2 ended answer={kind:result,value:{log:[]}}",
        "2 ignored: ended",
      ]
    `);
  });
});

test("a handler may throw anything, also what cannot even be looked at: it parks its run", () => {
  const snare = (): never => {
    throw new Error("it cannot be looked at");
  };
  const revoked = Proxy.revocable(new Error("x"), {});
  revoked.revoke();
  const thrown: readonly unknown[] = [
    undefined,
    revoked.proxy,
    new Proxy({}, { get: snare, getPrototypeOf: snare }),
    Object.defineProperty(new Error("x"), "message", { get: snare }),
  ];
  for (const one of thrown) {
    const throwing = hub(
      "throwing",
      { ...base, chart: { Asked: { Next: "Done" }, Done: end }, data: log },
      {
        Asked: "Next",
        Done: () => {
          throw one;
        },
      },
    );
    const player = new Player(throwing, { n: 1 });
    expect(player.run).toMatchObject({ status: "incident", incident: { error: { code: "WW_DEFECT" } } });
  }
});
