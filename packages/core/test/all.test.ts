import { end, hub, spoke, stay, type AnyHub, type RunEvent } from "@wheelwork/core";
import { decide, step } from "@wheelwork/core/kernel";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Player } from "./player.ts";

/** Rounds of different calls: `s.all`. */

const anything = z.looseObject({});
const number = z.object({ n: z.number() });
const left = spoke("left", { input: number, output: number, errors: ["bad"], timeoutMs: 50 });
const right = spoke("right", {
  input: anything,
  output: anything,
  errors: ["bad"],
  timeoutMs: 50,
  retry: { attempts: 2 },
});

const base = {
  request: z.object({ n: z.number().nullable() }),
  reply: z.looseObject({}),
  deadlineMs: 1000,
  deadline: "Late",
} as const;

/** The left part notes its output and fails by itself; the right one leaves its failures to the round. */
const both = (drain: boolean): AnyHub =>
  hub(
    "both",
    {
      ...base,
      chart: {
        Working: { Noted: stay, Refused: "Down", Failed: "Down", Done: "Up", Late: "Down" },
        Up: end,
        Down: end,
      },
      data: ({ n }) => ({ n, noted: 0, why: "" }),
    },
    {
      Working: (s) =>
        s.all(
          {
            left: s.part(left, {
              input: ({ n }) => (n === null ? null : { n }),
              ok: ({ noted }, { n }) => s.raise("Noted", { noted: noted + n }),
              error: "Refused",
              key: ({ n }) => `left-${n}`,
            }),
            right: s.part(right, { input: () => ({}) }),
          },
          {
            failed: (_data, failure, { tag }) => s.raise("Failed", { why: `${tag}: ${failure.kind}` }),
            done: "Done",
            drain,
          },
        ),
      Up: ({ noted }) => ({ noted }),
      Down: ({ why, noted }) => ({ why, noted }),
    },
  );

/** The number of the call of a part. */
const callOf = (player: Player, tag: string): number =>
  [...player.run.calls.values()].find((call) => call.tag === tag)?.number ?? -1;

const value = (player: Player): unknown =>
  player.run.answer?.kind === "result" ? player.run.answer.value : player.run.answer;

describe("all parts", () => {
  test("are called at once, by their names, and the round is done with the last of them", () => {
    const player = new Player(both(false), { n: 3 });
    const calls = Array.from(player.run.calls.values(), ({ callee, tag, index, key }) => ({
      callee,
      tag,
      index,
      key,
    }));
    expect(calls).toEqual([
      { callee: "left", tag: "left", index: 0, key: "left-3" },
      { callee: "right", tag: "right", index: 1, key: undefined },
    ]);
    player.outcome(callOf(player, "left"), { ok: { n: 4 } });
    expect(player.run.status).toBe("running");
    player.outcome(callOf(player, "right"), { ok: {} });
    expect(value(player)).toEqual({ noted: 4 });
  });

  test("a part without an input calls nothing, and keeps its place", () => {
    const player = new Player(both(false), { n: null });
    expect(Array.from(player.run.calls.values(), ({ tag, index }) => [tag, index])).toEqual([["right", 1]]);
    player.outcome(callOf(player, "right"), { ok: {} });
    expect(value(player)).toEqual({ noted: 0 });
  });

  test("a round in which no part calls anything is done at once", () => {
    const idle = hub(
      "idle",
      {
        ...base,
        chart: { Working: { Failed: stay, Done: "Up", Late: "Up" }, Up: end },
        data: () => ({}),
      },
      {
        Working: (s) =>
          s.all({ one: s.part(left, { input: () => null }) }, { failed: "Failed", done: "Done" }),
        Up: () => ({ idle: true }),
      },
    );
    expect(value(new Player(idle, { n: 1 }))).toEqual({ idle: true });
  });

  test("a part handles its own failures, and the round those that are left", () => {
    const own = new Player(both(false), { n: 3 });
    own.outcome(callOf(own, "left"), { error: "bad" });
    expect(value(own)).toEqual({ why: "", noted: 0 });
    const common = new Player(both(false), { n: 3 });
    common.outcome(callOf(common, "left"), "timeout");
    expect(value(common)).toEqual({ why: "left: timeout", noted: 0 });
    // Its spoke allows two attempts.
    const retried = new Player(both(false), { n: 3 });
    retried.outcome(callOf(retried, "right"), { error: "bad" });
    expect(retried.run.status).toBe("running");
    retried.outcome(callOf(retried, "right"), { error: "bad" });
    expect(value(retried)).toEqual({ why: "right: error", noted: 0 });
  });

  test("a part that moves the run closes the others; with drain they are waited for, and count", () => {
    const race = new Player(both(false), { n: 3 });
    race.outcome(callOf(race, "right"), "timeout");
    race.outcome(callOf(race, "right"), "timeout");
    expect(race.run.status).toBe("ended");
    expect(race.run.calls.size).toBe(0);
    const drained = new Player(both(true), { n: 3 });
    drained.outcome(callOf(drained, "right"), "timeout");
    drained.outcome(callOf(drained, "right"), "timeout");
    expect(drained.run.status).toBe("running");
    drained.outcome(callOf(drained, "left"), { ok: { n: 4 } });
    expect(value(drained)).toEqual({ why: "right: timeout", noted: 4 });
  });

  test("a migration that only renames the state leaves the parts alone", () => {
    const player = new Player(both(false), { n: 3 });
    player.outcome(callOf(player, "right"), { ok: {} });
    const renamed = hub(
      "both",
      {
        ...base,
        version: 2,
        migrate: { 1: ({ data }) => ({ state: "Doing", data }) },
        chart: { Doing: { Noted: stay, Failed: "Down", Done: "Up", Late: "Down" }, Up: end, Down: end },
        data: ({ n }) => ({ n, noted: 0 }),
      },
      {
        Doing: (s) =>
          s.all(
            {
              left: s.part(left, {
                input: ({ n }) => ({ n: n ?? 0 }),
                ok: ({ noted }, { n }) => s.raise("Noted", { noted: noted + 10 * n }),
                key: ({ n }) => `left-${n}`,
              }),
              right: s.part(right, { input: () => ({}) }),
            },
            { failed: "Failed", done: "Done" },
          ),
        Up: ({ noted }) => ({ noted }),
        Down: () => ({}),
      },
    );
    player.hub = renamed;
    player.outcome(callOf(player, "left"), { ok: { n: 4 } });
    expect(player.run.state).toBe("Up");
    expect(value(player)).toEqual({ noted: 40 });
  });
});

describe("parts that a handler closes", () => {
  const child = hub(
    "child",
    { ...base, request: anything, chart: { On: { Late: "Out" }, Out: end }, data: () => ({}) },
    { On: (s) => s.wait({}), Out: () => ({}) },
  );
  const closing = hub(
    "closing",
    {
      ...base,
      signals: { without: z.array(z.string()) },
      chart: {
        Begin: { Wait: "First", Go: "Working" },
        First: { Next: "Working", Late: "Out" },
        Working: { Enough: stay, Done: "Out", Late: "Out" },
        Out: end,
      },
      data: ({ n }) => ({ n, closed: [] as string[] }),
    },
    {
      Begin: (s) => s.pick(({ n }) => (n === null ? "Go" : "Wait")),
      First: (s) => s.call(right, { input: () => ({}), settled: "Next" }),
      Working: (s) =>
        s.all(
          {
            fast: s.part(left, {
              input: () => ({ n: 1 }),
              ok: () => s.raise("Enough", { closed: ["slow"] }, { close: ["slow", "fast", "nobody"] }),
            }),
            slow: s.part(right, { input: () => ({}) }),
            child: s.part(child, { input: () => ({}) }),
          },
          {
            failed: "Done",
            done: "Done",
            on: { without: (_data, tags) => s.raise("Enough", { closed: [...tags] }, { close: [...tags] }) },
            after: { Enough: { ms: 40, patch: () => ({ closed: ["by time"] }) } },
          },
        ),
      Out: ({ closed }) => ({ closed: [...closed] }),
    },
  );

  test("bring nothing any more; the others go on", () => {
    const player = new Player(closing, { n: null });
    const slow = callOf(player, "slow");
    player.outcome(callOf(player, "fast"), { ok: { n: 1 } });
    expect(Array.from(player.run.calls.values(), ({ tag }) => tag)).toEqual(["child"]);
    expect(player.outcome(slow, { ok: {} })).toBe("late");
    player.outcome(callOf(player, "child"), { ok: {} });
    expect(value(player)).toEqual({ closed: ["slow"] });
  });

  test("end the round, if no other is open", () => {
    const player = new Player(closing, { n: null });
    player.outcome(callOf(player, "child"), { ok: {} });
    player.signal("without", ["fast", "slow"]);
    expect(value(player)).toEqual({ closed: ["fast", "slow"] });
    const last = new Player(closing, { n: null });
    last.signal("without", ["child"]);
    last.outcome(callOf(last, "fast"), { ok: { n: 1 } });
    expect(value(last)).toEqual({ closed: ["slow"] });
  });

  test("may be those that the same turn has opened, for a signal that came before", () => {
    const player = new Player(closing, { n: 1 });
    player.signal("without", ["slow"]);
    player.signal("without", ["child", "slow"]);
    player.outcome(0, { ok: {} });
    expect(Array.from(player.run.calls.values(), ({ tag }) => tag)).toEqual(["fast"]);
    player.outcome(callOf(player, "fast"), { ok: { n: 1 } });
    expect(value(player)).toEqual({ closed: ["slow"] });
    const none = new Player(closing, { n: 1 });
    none.signal("without", ["slow", "child", "fast"]);
    none.outcome(0, { ok: {} });
    expect(value(none)).toEqual({ closed: ["slow", "child", "fast"] });
  });

  test("tell the runs of hubs to end", () => {
    const player = new Player(closing, { n: null });
    const { definition } = closing;
    const input = { kind: "signal", id: "s", signal: "without", payload: ["child", "slow"] } as const;
    const [event] = decide(definition, player.run, input, { now: 1, random: 0 }).events;
    const effects = step(player.run, event as RunEvent).map(({ type }) => type);
    expect(effects).toEqual(["close", "close", "cancelChild"]);
  });
});
