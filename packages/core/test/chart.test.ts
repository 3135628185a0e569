import { end, hub, hubByHandlers, spoke, stay, WheelworkError } from "@wheelwork/core";
import { expect, test } from "vitest";
import { z } from "zod";
import { Player } from "./player.ts";

const anything = z.looseObject({});
const work = { input: anything, output: anything, timeoutMs: 50 };
const base = { request: anything, reply: anything, deadlineMs: 100, data: () => ({}) };

/** The problems that a declaration is refused for. */
function problems(declare: () => unknown): string[] {
  try {
    declare();
  } catch (error) {
    if (error instanceof WheelworkError && /^WW_BAD_(?:HUB|SPOKE)$/.test(error.code)) {
      return error.problems.map(({ path, message }) => `${path}: ${message}`);
    }
    throw error;
  }
  return [];
}

/** A hub by its chart. States whose names begin with W wait, and those with P pick. */
function shape(
  chart: Record<string, string | Record<string, string>>,
  boundMs = 10,
  deadlineMs: number | (() => number) = base.deadlineMs,
): unknown {
  const behaviours: Record<string, unknown> = {};
  for (const [state, row] of Object.entries(chart)) {
    const events = typeof row === "string" ? [] : Object.keys(row);
    if (typeof row === "string") behaviours[state] = () => ({});
    else if (state.startsWith("P")) {
      behaviours[state] = (s: { pick(choose: () => string): unknown }) => s.pick(() => events[0] as string);
    } else {
      behaviours[state] = (s: { wait(options: object): unknown }) =>
        s.wait(state === "W" ? { deadline: events[0] } : { after: { [events[0] as string]: boundMs } });
    }
  }
  return (hub as (...args: unknown[]) => unknown)("shape", { ...base, deadlineMs, chart }, behaviours);
}

test("lists everything that is wrong with a declaration", () => {
  expect(problems(() => shape({ W: { Late: "Done" }, Lost: end, Done: end }))).toEqual([
    "chart.Lost: cannot be reached from the first state",
  ]);
  expect(
    problems(() =>
      shape({ W: { Late: "Done", Other: "P1" }, P1: { On: "P2" }, P2: { On: "P1" }, Done: end }),
    ),
  ).toEqual([
    "chart.P1: is a dead end: no end can be reached from it",
    "chart.P2: is a dead end: no end can be reached from it",
  ]);
  expect(problems(() => shape({ W: { Late: "Nowhere", On: "Done", Off: "toString" }, Done: end }))).toEqual([
    "chart.W.Late: leads to Nowhere, which is not a state of the chart",
    "chart.W.Off: leads to toString, which is not a state of the chart",
  ]);
  expect(problems(() => shape({ W: { Late: stay, On: "Done" }, Done: end }))[0]).toMatch(
    /raises Late, but no edge for it leaves W/,
  );
  expect(problems(() => shape({}))).toContain("chart: has no state");
  expect(
    problems(() =>
      spoke("1 x", { ...work, timeoutMs: 0, errors: ["WW_X"], retry: { attempts: 0, jitter: 2 } }),
    ),
  ).toHaveLength(5);
  for (const timeoutMs of [Number.NaN, Number.POSITIVE_INFINITY, 1e300, -1]) {
    expect(problems(() => spoke("x", { ...work, timeoutMs }))).toHaveLength(1);
    expect(
      problems(() => hub("x", { ...base, deadlineMs: timeoutMs, chart: { A: end } }, { A: () => ({}) })),
    ).toHaveLength(1);
  }
});

test("refuses an endless cycle of states that pass", () => {
  const declare = (): unknown =>
    hub(
      "cycle",
      { ...base, chart: { A: { Next: "B", Out: "Done" }, B: { Next: "A" }, Done: end } },
      { A: "Next", B: "Next", Done: () => ({}) },
    );
  expect(problems(declare)).toEqual(["chart.A: an endless cycle of states that pass: A → B → A"]);
});

test("refuses a wait after the deadline that has no bound of its own", () => {
  const declare = (): unknown =>
    hub(
      "late",
      { ...base, chart: { A: { Late: "B" }, B: { Late: "Done" }, Done: end } },
      {
        A: (s) => s.wait({ deadline: "Late" }),
        B: (s) => s.wait({ deadline: "Late", after: { Late: () => 5 } }),
        Done: () => ({}),
      },
    );
  expect(problems(declare)).toEqual([
    "behaviours.B.after: needs a constant time for an event that leaves the state: it belongs to the clean-up, where the hub's deadline no longer counts",
    "behaviours.B.deadline: never comes: the state belongs to the clean-up. Use `after`",
  ]);
});

test("refuses a cycle of waits after the deadline, wherever the search for it begins", () => {
  expect(
    problems(() =>
      shape({ W: { Late: "W1" }, W1: { Late: "W2" }, W2: { Late: "W1", Out: "Done" }, Done: end }),
    ),
  ).toEqual([
    "chart.W1: an unbounded cycle of waits in the clean-up: W1 → W2 → W1. W1 belongs to the clean-up, since the deadline's event Late leads from W to W1",
  ]);
  // The wait is on the longer of two cycles that share their way back.
  const chart = {
    W: { Late: "PA" },
    PA: { On: "PB", Wait: "W1", Out: "Done" },
    PB: { On: "PA" },
    W1: { Late: "PB" },
    Done: end,
  };
  expect(problems(() => shape(chart))).toEqual([
    "chart.W1: an unbounded cycle of waits in the clean-up: W1 → PB → PA → W1. W1 belongs to the clean-up, since the deadline's event Late leads from W to PA, and from there: PA → W1",
  ]);
});

test("the time after the deadline is that of the longest path, also with cycles of picks", () => {
  const chart = {
    W: { Late: "PB", On: "PA" },
    PB: { On: "PA", Wait: "W1" },
    PA: { On: "Done", Back: "PB" },
    W1: { Late: "W2", On: "Done" },
    W2: { Late: "Done" },
    Done: end,
  };
  const made = shape(chart, 50) as ReturnType<typeof hub>;
  const { definition } = made;
  expect(definition.answerBy).toBe("shape answers each request within 200 ms");
  for (const state of ["PA", "PB", "W1"]) expect(definition.states.get(state)?.remainingMs, state).toBe(100);
  expect(definition.states.get("W2")?.remainingMs).toBe(50);
  expect(definition.states.get("W")?.late).toBe(false);
});

test("a hub says by when it answers, also if each request has its own deadline", () => {
  const promise = (deadlineMs: number | (() => number), boundMs?: number): string => {
    const chart =
      boundMs === undefined ? { W: { Late: "Done" } } : { W: { Late: "W1" }, W1: { Late: "Done" } };
    const made = shape({ ...chart, Done: end }, boundMs, deadlineMs) as ReturnType<typeof hub>;
    return made.definition.answerBy;
  };
  expect(promise(5000)).toBe("shape answers each request within 5 s");
  expect(promise(259_440_000, 3_600_000)).toBe("shape answers each request within 3 d 1 h 4 min");
  expect(promise(() => 5000)).toBe("shape answers each request within its deadline");
  expect(promise(() => 5000, 70_000)).toBe("shape answers each request within its deadline + 1 min 10 s");
});

test("the client's deadline only shortens the hub's", () => {
  const made = shape({ W: { Late: "Done" }, Done: end }) as ReturnType<typeof hub>;
  expect(new Player(made, {}).run.deadline).toBe(100);
  expect(new Player(made, {}, 30).run.deadline).toBe(30);
  expect(new Player(made, {}, 1e300).run.deadline).toBe(100);
});

test("many attempts without a backoff end (I17)", () => {
  const patient = spoke("patient", {
    ...work,
    timeoutMs: 1,
    retry: { attempts: 2000, backoffMs: 0, jitter: 1 },
  });
  const chart = { A: { Ok: "Done", Bad: "Done" }, Done: end } as const;
  const made = hub(
    "retrying",
    { ...base, deadlineMs: 10_000, chart },
    {
      A: (s) => s.call(patient, { input: () => ({}), ok: "Ok", failed: "Bad", deadline: "Bad" }),
      Done: () => ({}),
    },
  );
  const player = new Player(made, {}).runTo(9_999);
  expect(player.run.status).toBe("ended");
  expect(player.now).toBe(9_999);
  expect(player.run.endedAt).toBe(2000);
});

/** A hub by a chart and one by handlers, with other options, of which the compiler would refuse some. */
const both = (given: object): readonly (() => unknown)[] => [
  () => hub("h", { ...base, ...given, chart: { Done: end } } as never, { Done: () => ({}) } as never),
  () =>
    hubByHandlers(
      "h",
      { ...base, cleanUpMs: 100, calls: [], ...given } as never,
      { request: () => {}, timeout: () => {}, response: () => {} } as never,
    ),
];

test.each([
  [
    { migrate: { 1: (run: unknown) => run } },
    ["migrate.1: is no version before 1: raise the version of the hub"],
  ],
  [
    { version: 2, migrate: (run: unknown) => run },
    ["migrate: must be an object with a function for each former version"],
  ],
  [
    { version: 3, migrate: { one: () => 1, 2: "Waiting", 3: () => 1 } },
    [
      "migrate.2: must be a function of the run",
      "migrate.3: is no version before 3: raise the version of the hub",
      "migrate.one: is no version",
    ],
  ],
])("a migration that would never be called is refused: %#", (given, expected) => {
  for (const declare of both(given))
    expect(problems(declare).toSorted()).toEqual(expect.arrayContaining(expected));
});

test.each([["1000"], [undefined], [0], [null], [Number.NaN]])("%s is no deadline of a hub", (deadlineMs) => {
  for (const declare of both({ deadlineMs }))
    expect(problems(declare)).toEqual([
      expect.stringContaining("deadlineMs: must be a number of milliseconds"),
    ]);
});

test.each([["100"], [undefined], [0]])(
  "%s is no time for the clean-up, which is called by its name",
  (cleanUpMs) => {
    const [, byHandlers] = both({ cleanUpMs });
    expect(problems(byHandlers as () => unknown)).toEqual([
      expect.stringContaining("cleanUpMs: must be a number of milliseconds"),
    ]);
  },
);
