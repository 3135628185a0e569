import { end, hub, spoke, stay, type AnyHub } from "@wheelwork/core";
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
