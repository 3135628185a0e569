import { answered, end, hub, spoke, stay, WheelworkError, type AnyHub } from "@wheelwork/core";
import { restore, snapshot } from "@wheelwork/core/kernel";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Player } from "./player.ts";

/** Hubs that answer first, and go on. */

const anything = z.looseObject({});
const day = 86_400_000;
const work = spoke("work", { input: anything, output: anything, errors: ["bad"], timeoutMs: 5000 });

const slow = spoke("slow", { input: anything, output: anything, errors: ["bad"], timeoutMs: 40 * day });

const base = {
  request: anything,
  reply: z.looseObject({}),
  errors: ["refused"],
  deadlineMs: 1000,
  data: () => ({ seen: 0 }),
} as const;

/** Reserves, answers, and provisions after that. What the deadline leads to has an end of its own. */
const provisioning = hub(
  "provisioning",
  {
    ...base,
    deadline: "Late",
    chart: {
      Reserving: { Reserved: "Answering", Failed: "Refused", Late: "Refused" },
      Answering: { Provision: "Provisioning" },
      Provisioning: { Again: "Provisioning", Done: "Provisioned", Late: "Provisioned" },
      Provisioned: end,
      Refused: end,
    },
  },
  {
    Reserving: (s) => s.call(work, { input: () => ({}), ok: "Reserved", failed: "Failed" }),
    Answering: (s) => s.answer(({ seen }) => ({ reserved: true, seen }), { next: "Provision" }),
    Provisioning: (s) =>
      s.call(slow, { input: () => ({}), ok: "Done", failed: "Again", after: { Done: 30 * day } }),
    Provisioned: answered,
    Refused: (_data, s) => s.fail("refused", "no"),
  },
);

/** Cleans up for a month, and lets nobody wait for that. */
const patient = hub(
  "patient",
  {
    ...base,
    deadline: "Late",
    chart: {
      Working: { Done: "Done", Late: "Undoing" },
      Undoing: { Undone: "Failed", TakesLong: "Answering" },
      Answering: { Next: "UndoingStill" },
      UndoingStill: { Undone: "Over", GaveUp: "Over" },
      Done: end,
      Failed: end,
      Over: end,
    },
  },
  {
    Working: (s) => s.call(work, { input: () => ({}), ok: "Done", failed: "Late" }),
    Undoing: (s) =>
      s.call(slow, { input: () => ({}), ok: "Undone", failed: "TakesLong", after: { TakesLong: 300 } }),
    Answering: (s) => s.answer((_data, done) => done.fail("refused", "it takes long"), { next: "Next" }),
    UndoingStill: (s) =>
      s.call(slow, { input: () => ({}), ok: "Undone", failed: "GaveUp", after: { GaveUp: 30 * day } }),
    Done: () => ({}),
    Failed: (_data, s) => s.fail("refused", "it is undone"),
    Over: answered,
  },
);

test("a caller waits for the answer, and not for the clean-up that goes on after it", () => {
  expect(patient.definition.answerBy).toBe("patient answers each request within 1.3 s");
  expect(patient.definition.states.get("Undoing")?.remainingMs).toBe(300);
});

/** Counts signals for years. */
const entity = hub(
  "entity",
  {
    ...base,
    signals: { seen: z.number() },
    cancel: "Close",
    chart: {
      Opening: { Open: "Open" },
      Open: { Seen: stay, Close: "Closed" },
      Closed: end,
    },
  },
  {
    Opening: (s) => s.answer(() => ({ open: true }), { next: "Open" }),
    Open: (s) => s.wait({ idle: true, on: { seen: ({ seen }, n) => s.raise("Seen", { seen: seen + n }) } }),
    Closed: answered,
  },
);

const only = (player: Player): number => [...player.run.calls.keys()][0] ?? -1;

describe("a hub that answers first", () => {
  test("goes on after its answer, and no deadline runs", () => {
    const player = new Player(provisioning, {});
    player.at(900).outcome(only(player), { ok: {} });
    expect(player.run).toMatchObject({
      state: "Provisioning",
      status: "running",
      late: false,
      answer: { kind: "result", value: { reserved: true, seen: 0 } },
    });
    player.runTo(29 * day);
    expect(player.run.state).toBe("Provisioning");
    player.outcome(only(player), { error: "bad" });
    player.outcome(only(player), { ok: {} });
    expect(player.run).toMatchObject({
      state: "Provisioned",
      status: "ended",
      answer: { kind: "result", value: { reserved: true, seen: 0 } },
    });
    expect(player.events.filter(({ type }) => type === "answered")).toHaveLength(1);
    expect(player.events.at(-1)).not.toHaveProperty("answer");
  });

  test("that is too late cleans up, and answers at its end", () => {
    const player = new Player(provisioning, {}).runTo(1000);
    expect(player.run).toMatchObject({ state: "Refused", late: true, answer: { code: "refused" } });
  });

  test("cleans up after an outage, though a timer that leads to its answer came due before the deadline", () => {
    const made = hub(
      "outage",
      {
        ...base,
        deadline: "Late",
        chart: {
          Waiting: { Go: "Answering", Late: "Refused" },
          Answering: { Next: "Serving" },
          Serving: { Served: "Served" },
          Served: end,
          Refused: end,
        },
      },
      {
        Waiting: (s) => s.wait({ after: { Go: 100 } }),
        Answering: (s) => s.answer(() => ({}), { next: "Next" }),
        Serving: (s) => s.wait({ after: { Served: day } }),
        Served: answered,
        Refused: (_data, s) => s.fail("refused", "late"),
      },
    );
    const player = new Player(made, {});
    // Nobody worked until the engine's own answer was due.
    player.at(5000).due();
    expect(player.run).toMatchObject({ state: "Refused", answer: { code: "refused" } });
  });

  test("waits for ever, through snapshots, and ends with a cancel", () => {
    const player = new Player(entity, {});
    expect(player.run.answer).toEqual({ kind: "result", value: { open: true } });
    expect([player.run.due, player.run.nextDue]).toEqual([undefined, undefined]);
    player.at(1000 * day);
    player.run = restore("r", JSON.parse(JSON.stringify(snapshot(player.run))));
    player.signal("seen", 3);
    player.signal("seen", 4);
    expect(player.run.data).toEqual({ seen: 7 });
    expect(player.due()).toBe("stale");
    player.cancel();
    expect(player.run).toMatchObject({ state: "Closed", status: "ended" });
  });

  test("goes on where it stopped when an incident after its answer is retried", () => {
    let broken = true;
    const made = hub(
      "broken",
      {
        ...base,
        signals: { go: z.number() },
        cancel: "Close",
        chart: {
          Opening: { Open: "Open" },
          Open: { Seen: stay, Close: "Closed" },
          Closed: end,
        },
      },
      {
        Opening: (s) => s.answer(() => ({}), { next: "Open" }),
        Open: (s) =>
          s.wait({
            idle: true,
            on: {
              go: (_data, n) => {
                if (broken) throw new Error("broken");
                return s.raise("Seen", { seen: n });
              },
            },
          }),
        Closed: answered,
      },
    );
    const player = new Player(made, {});
    player.signal("go", 5);
    expect(player.run.status).toBe("incident");
    broken = false;
    player.at(day).retry();
    expect(player.run).toMatchObject({ status: "running", state: "Open", data: { seen: 5 } });
  });
});

/** Answers first if it is told to; one end serves both ways. */
const eitherWay = hub(
  "either-way",
  {
    ...base,
    signals: { open: z.null(), close: z.null() },
    cancel: "Close",
    deadline: "Close",
    chart: {
      Choosing: { Open: "Opening", Close: "Closed" },
      Opening: { Next: "Open" },
      Open: { Close: "Closed" },
      Closed: end,
    },
  },
  {
    Choosing: (s) => s.wait({ on: { open: "Open", close: "Close" } }),
    Opening: (s) => s.answer(() => ({ by: "opening" }), { next: "Next" }),
    Open: (s) => s.wait({ idle: true, on: { close: "Close" } }),
    Closed: (_data, s) => {
      calls++;
      return s.fail("refused", "never opened");
    },
  },
);
let calls = 0;

describe("an end that is reached both ways", () => {
  test.each(["close", "deadline", "cancel"] as const)("answers those who have no answer (%s)", (way) => {
    calls = 0;
    const player = new Player(eitherWay, {});
    if (way === "close") player.signal("close", null);
    else if (way === "cancel") player.cancel();
    else player.at(base.deadlineMs).due();
    expect(player.run).toMatchObject({
      status: "ended",
      state: "Closed",
      answer: { kind: "error", code: "refused" },
    });
    expect(calls).toBeGreaterThan(0);
  });

  test.each(["close", "cancel"] as const)("is not called for those who have one (%s)", (way) => {
    calls = 0;
    const player = new Player(eitherWay, {});
    player.signal("open", null);
    if (way === "close") player.at(day).signal("close", null);
    else player.at(day).cancel();
    expect(player.run).toMatchObject({
      status: "ended",
      state: "Closed",
      answer: { kind: "result", value: { by: "opening" } },
    });
    expect(calls).toBe(0);
  });
});

/** The problems of a chart whose states do what their names say. */
function problemsOf(
  chart: Record<string, unknown>,
  behaviours: Record<string, unknown>,
  more = {},
): string[] {
  try {
    (hub as unknown as (...args: unknown[]) => AnyHub)(
      "wrong",
      { ...base, deadline: "Late", signals: { go: anything }, chart, ...more },
      behaviours,
    );
    return [];
  } catch (error) {
    return (error as WheelworkError).problems?.map(({ path, message }) => `${path}: ${message}`) ?? [];
  }
}

type Any = { [name: string]: (...args: unknown[]) => unknown };
const answer = (s: Any): unknown => s["answer"]?.(() => ({}), { next: "Next" });
const wait =
  (options: object) =>
  (s: Any): unknown =>
    s["wait"]?.({ on: { go: "Next" }, ...options });

describe("each path answers exactly once", () => {
  test("no state answers a second time", () => {
    const found = problemsOf(
      { A: { Next: "B" }, B: { Next: "Over" }, Over: end },
      { A: answer, B: answer, Over: answered },
    );
    expect(found).toEqual([expect.stringMatching(/^chart\.B: answers, and can be reached after/)]);
  });

  test("an end that is reached both before and after the answer returns the reply", () => {
    const chart = { Pick: { Next: "A", Skip: "Over" }, A: { Next: "Over" }, Over: end };
    const pick = (s: Any): unknown => s["pick"]?.(() => "Next");
    expect(problemsOf(chart, { Pick: pick, A: answer, Over: answered })).toEqual([
      "behaviours.Over: must return the reply: it is also reached before the hub has answered",
    ]);
    expect(problemsOf(chart, { Pick: pick, A: answer, Over: () => ({}) })).toEqual([]);
  });

  test("an end after the answer gives none, and one before it must", () => {
    const after = { A: { Next: "Over" }, Over: end };
    expect(problemsOf(after, { A: answer, Over: () => ({}) })).toEqual([
      expect.stringMatching(/^behaviours\.Over: must be `answered`/),
    ]);
    expect(problemsOf({ A: { Next: "Over" }, Over: end }, { A: "Next", Over: answered })).toEqual([
      expect.stringMatching(/^behaviours\.Over: must return the reply/),
    ]);
  });

  test("a wait after the answer has a bound, or is idle and can be cancelled", () => {
    const chart = { A: { Next: "B" }, B: { Next: "Over" }, Over: end };
    const of = (options: object, more = {}): string[] =>
      problemsOf(chart, { A: answer, B: wait(options), Over: answered }, more);
    expect(of({})).toEqual([expect.stringMatching(/^behaviours\.B\.after: needs a constant time/)]);
    expect(of({ after: { Next: 1000 } })).toEqual([]);
    expect(of({ idle: true })).toEqual([expect.stringMatching(/^behaviours\.B\.idle: needs an edge/)]);
    expect(of({ idle: true }, { cancel: "Next" })).toEqual([]);
    expect(of({ idle: true }, { cancel: end })).toEqual([]);
  });

  test("nothing is idle before the answer", () => {
    const chart = { B: { Next: "Over", Late: "Over" }, Over: end };
    expect(problemsOf(chart, { B: wait({ idle: true }), Over: () => ({}) }, { cancel: "Next" })).toEqual([
      expect.stringMatching(/^behaviours\.B\.idle: is only for states after the answer/),
    ]);
  });

  test("waits may form a cycle after the answer", () => {
    const chart = { A: { Next: "B" }, B: { Next: "C", Close: "Over" }, C: { Next: "B" }, Over: end };
    const found = problemsOf(chart, {
      A: answer,
      B: wait({ after: { Close: day } }),
      C: wait({ after: { Next: day } }),
      Over: answered,
    });
    expect(found).toEqual([]);
  });
});
