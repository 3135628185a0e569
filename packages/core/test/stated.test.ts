import { end, hub, hubByHandlers, spoke, stay, WheelworkError } from "@wheelwork/core";
import { describe, expect, test } from "vitest";
import { z } from "zod";

/*
 * Plain JavaScript has no types, and what is spread or cast is not checked. What a declaration says before any run is checked when it is
 * made, so that no run is parked by it: names of options and events, and what must be there.
 */

const none = z.object({});
const work = spoke("work", { input: none, output: none, timeoutMs: 100 });

/** The problems of a declaration, each as one line. */
function problemsOf(make: () => unknown): string[] {
  try {
    make();
    return [];
  } catch (error) {
    if (!(error instanceof WheelworkError)) throw error;
    return (error.problems ?? []).map(({ path, message }) => `${path}: ${message}`);
  }
}

type Behaviour = (s: Record<string, (...given: unknown[]) => unknown>) => unknown;

/** A hub with one state that does something, as plain JavaScript would make it. */
const hubOf = (behaviour: Behaviour | undefined, more: object = {}): (() => unknown) => {
  const spec = {
    request: none,
    reply: none,
    deadlineMs: 1_000,
    deadline: "Late",
    signals: { go: none },
    chart: { Doing: { Next: "Done", Note: stay, Late: "Done" }, Done: end },
    data: () => ({}),
    ...more,
  };
  return () => hub("bad", spec as never, { Doing: behaviour, Done: () => ({}) } as never);
};

const one = { input: () => ({}), settled: "Next" };
const round = { inputs: () => [], settled: "Note", done: "Next" };
const all = { failed: "Next", done: "Next" };
const handlers =
  "needs a handler of each outcome: `settled`, or `ok` and `failed`, or `ok`, `error` and `timeout`";

describe("what is right is taken:", () => {
  test.each<[string, Behaviour]>([
    ["a call", (s) => s["call"]!(work, { ...one, after: { Note: 5 }, drain: undefined })],
    ["a round", (s) => s["each"]!(work, { ...round, limit: 2, on: { go: "Note" } })],
    ["parts", (s) => s["all"]!({ a: s["part"]!(work, { input: () => null }) }, all)],
    ["no parts", (s) => s["all"]!({}, all)],
    ["a sequence", (s) => s["sequence"]!([s["step"]!(work, { input: () => ({}) })], all)],
    ["a wait", (s) => s["wait"]!({ after: { Next: { ms: () => 5, patch: () => ({}) } } })],
    ["a start by name", (s) => s["start"]!("other", { input: () => ({}), next: "Next" })],
  ])("%s", (_what, behaviour) => {
    expect(problemsOf(hubOf(behaviour))).toEqual([]);
  });
});

describe("what is wrong is refused, and named:", () => {
  test.each<[string, Behaviour | undefined, string[]]>([
    [
      "no behaviour",
      undefined,
      ["behaviours.Doing: must be the name of an event, or a function that returns what s has made"],
    ],
    [
      "a behaviour of nothing",
      () => undefined,
      ["behaviours.Doing: must be the name of an event, or a function that returns what s has made"],
    ],
    [
      "a call of nothing",
      (s) => s["call"]!(undefined, one),
      ["behaviours.Doing: s.call needs a spoke or a hub"],
    ],
    ["a call by name", (s) => s["call"]!("work", one), ["behaviours.Doing: s.call needs a spoke or a hub"]],
    ["no options", (s) => s["call"]!(work), ["behaviours.Doing: needs the options of s.call"]],
    ["no input", (s) => s["call"]!(work, { settled: "Next" }), ["behaviours.Doing.input: is missing"]],
    [
      "no handlers",
      (s) => s["call"]!(work, { input: () => ({}), ok: "Next", error: "Next" }),
      [`behaviours.Doing: ${handlers}`],
    ],
    [
      "misspelt options",
      (s) => s["wait"]!({ on: { go: "Next" }, afer: { Next: 5 }, withinMs: 5 }),
      ["afer", "withinMs"].map(
        (name) => `behaviours.Doing.${name}: is no option of s.wait, which has after, deadline, idle, on`,
      ),
    ],
    [
      "an event that is not there",
      (s) => s["call"]!(work, { ...one, settled: "Nxt" }),
      ["behaviours.Doing.settled: raises Nxt, but Doing has no such event"],
    ],
    [
      "an event that stays",
      (s) => s["call"]!(work, { ...one, settled: "Note" }),
      ["behaviours.Doing.settled: raises Note, which stays: it must leave Doing"],
    ],
    [
      "a done that stays",
      (s) => s["each"]!(work, { ...round, done: "Note" }),
      ["behaviours.Doing.done: raises Note, which stays: it must leave Doing"],
    ],
    [
      "an event of a signal",
      (s) => s["wait"]!({ on: { go: "Nxt" } }),
      ["behaviours.Doing.on.go: raises Nxt, but Doing has no such event"],
    ],
    [
      "a number as a handler",
      (s) => s["each"]!(work, { ...round, settled: 5 }),
      ["behaviours.Doing.settled: must be the name of an event, or a function"],
    ],
    [
      "a time as a text",
      (s) => s["wait"]!({ after: { Next: "5 s" } }),
      ["behaviours.Doing.after.Next: must be a number of milliseconds, a function, or { ms, patch }"],
    ],
    [
      "a patch as an object",
      (s) => s["wait"]!({ after: { Next: { ms: 5, patch: {} } } }),
      ["behaviours.Doing.after.Next.patch: must be a function"],
    ],
    ["a list of timers", (s) => s["wait"]!({ after: [5] }), ["behaviours.Doing.after: must be an object"]],
    [
      "a drain as a text",
      (s) => s["call"]!(work, { ...one, drain: "yes" }),
      ["behaviours.Doing.drain: must be true or false"],
    ],
    [
      "a part that is none",
      (s) => s["all"]!({ a: work }, all),
      ["behaviours.Doing.a: must be made by s.part"],
    ],
    [
      "a part with mistakes",
      (s) => s["all"]!({ a: s["part"]!(undefined, { inputs: () => ({}), ok: "Nxt" }) }, { done: "Next" }),
      [
        "behaviours.Doing.a: s.part needs a spoke or a hub",
        "behaviours.Doing.a.inputs: is no option of s.part, which has error, failed, input, key, ok, timeout",
        "behaviours.Doing.a.input: is missing",
        "behaviours.Doing.failed: is missing",
      ],
    ],
    [
      "an event of a part",
      (s) => s["all"]!({ a: s["part"]!(work, { input: () => ({}), ok: "Nxt" }) }, all),
      ["behaviours.Doing.a.ok: raises Nxt, but Doing has no such event"],
    ],
    [
      "one step",
      (s) => s["sequence"]!(s["step"]!(work, one), all),
      ["behaviours.Doing: needs a list of steps"],
    ],
    ["a pick of an event", (s) => s["pick"]!("Next"), ["behaviours.Doing: must be a function"]],
    [
      "a tell of nothing",
      (s) => s["tell"]!(undefined, { input: () => ({}), next: "Next" }),
      ["behaviours.Doing: s.tell needs a spoke or a hub"],
    ],
    [
      "a signal without its name",
      (s) => s["signalRun"]!("other", { id: () => "x", payload: () => 1, next: "Next" }),
      ["behaviours.Doing.signal: is missing"],
    ],
  ])("%s", (_what, behaviour, problems) => {
    expect(problemsOf(hubOf(behaviour))).toEqual(problems);
  });

  test("misspelt options of hubs, lanes, spokes, retries and limits", () => {
    const names = (problems: string[]): string[] =>
      problems.map((line) => line.replace(/, which has .*/, ""));
    const wait: Behaviour = (s) => s["wait"]!({ on: { go: "Next" } });
    const lane = { lane: "l", by: () => "k", whenBusy: "queue", queueTimeMs: 5 };
    expect(names(problemsOf(hubOf(wait, { cancle: "Late", exclusive: lane })))).toEqual([
      "cancle: is no option of a hub",
      "exclusive.queueTimeMs: is no option of a lane",
    ]);
    const spec = {
      request: none,
      reply: none,
      deadlineMs: 5,
      cleanUpMs: 5,
      calls: [],
      data: () => ({}),
      chart: {},
    };
    const does = { request: () => {}, response: () => {}, timeout: () => {} };
    expect(names(problemsOf(() => hubByHandlers("bad", spec as never, does as never)))).toEqual([
      "chart: is no option of a hub by handlers",
    ]);
    const retry = { attempts: 2, backOffMs: 5, on: { WW_TIMEOUT: { atempts: 2 } } };
    const bad = {
      input: none,
      output: none,
      timeoutMs: 5,
      heartBeatMs: 1,
      retry,
      limit: { concurrent: 1, perMinute: 5 },
    };
    expect(names(problemsOf(() => spoke("bad", bad as never)))).toEqual([
      "heartBeatMs: is no option of a spoke",
      "retry.backOffMs: is no option of a retry",
      'retry.on["WW_TIMEOUT"].atempts: is no option of a rule',
      "limit.perMinute: is no option of a limit",
    ]);
  });
});
