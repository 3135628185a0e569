import { end, hub, spoke, stay, type AnyHub, type Schema } from "@wheelwork/core";
import { isOpening } from "@wheelwork/core/kernel";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Player } from "./player.ts";

/** Long rounds are opened in parts, so that no turn looks at all inputs (round.ts). */

let checks = 0;
/** Counts how often it is asked. */
const counting: Schema<{ n: number }> = {
  "~standard": {
    version: 1,
    vendor: "test",
    validate: (value) => {
      checks++;
      const { n } = value as { n: number };
      return n === 666 ? { issues: [{ message: "is 666" }] } : { value: value as { n: number } };
    },
  },
};
const step = spoke("step", { input: counting, output: z.object({}), errors: ["bad"], timeoutMs: 50 });

interface Options {
  readonly limit?: number | ((data: { atOnce: number }) => number);
  readonly drain?: boolean;
  readonly times?: number;
  readonly version?: number;
  /** The state has another name, and its inputs are made of a field with another name. */
  readonly moved?: boolean;
  readonly pad?: string;
}

/** Works on the items of its request. It takes what is done off them: its inputs must not change with that. */
const batch = ({ limit, drain, times = 1, version = 1, moved = false, pad = "" }: Options = {}): AnyHub =>
  hub(
    "batch",
    {
      request: z.object({ items: z.number() }),
      reply: z.looseObject({}),
      deadlineMs: 1000,
      deadline: "Late",
      cancel: "Stop",
      signals: { atOnce: z.number(), more: z.number() },
      version,
      migrate: (version === 1
        ? {}
        : {
            1: (({ state, data: { items, ...data } }: { state: string; data: Record<string, unknown> }) => ({
              state: moved ? "Moved" : state,
              data: { ...data, count: items },
            })) as never,
          }) as never,
      chart: {
        [moved ? "Moved" : "Working"]: {
          Ok: stay,
          Set: stay,
          Failed: "Down",
          Done: "Up",
          Late: "Down",
          Stop: "Down",
        },
        Up: end,
        Down: end,
      },
      data: ({ items }: { items: number }) => ({ items, done: 0, atOnce: 2, open: 0, sum: 0 }),
    } as never,
    {
      [moved ? "Moved" : "Working"]: (s: any) =>
        s.each(step, {
          inputs: (data: any) =>
            Array.from({ length: (data.items ?? data.count) * times }, (_, n) =>
              pad === "" ? { n } : { n, pad },
            ),
          ok: (data: any, _output: unknown, { input }: any) =>
            s.raise("Ok", { items: 0, count: 0, done: data.done + 1, sum: data.sum + input.n }),
          failed: "Failed",
          done: "Done",
          deadline: {
            raise: "Late",
            patch: (_data: unknown, open: any[]) => ({ open: open.length, sum: open.at(-1).input.n }),
          },
          on: { atOnce: (_data: unknown, atOnce: number) => s.raise("Set", { atOnce }) },
          ...(limit === undefined ? {} : { limit }),
          ...(drain === undefined ? {} : { drain }),
        }),
      Up: ({ done, sum }: any) => ({ done, sum }),
      Down: ({ done, open, sum }: any) => ({ done, open, sum }),
    } as never,
  );

/** Opens what is due. The result is how many turns that took. */
function open(player: Player): number {
  let turns = 0;
  for (; isOpening(player.run); turns++) player.input({ kind: "open" });
  return turns;
}

const running = (player: Player): number[] =>
  [...player.run.calls.values()].filter(({ attempt }) => attempt > 0).map(({ number }) => number);

/** All that runs succeeds, again and again, until the run has ended. The result is the most calls that were open at once. */
function finish(player: Player): number {
  let most = 0;
  while (player.run.status === "running") {
    open(player);
    most = Math.max(most, player.run.calls.size);
    for (const number of running(player)) player.outcome(number, { ok: {} });
  }
  return most;
}

const value = ({ run }: Player): unknown => (run.answer?.kind === "result" ? run.answer.value : run.answer);

describe("a long round", () => {
  test("checks a part of them in each turn, and begins them all if nothing limits it", () => {
    checks = 0;
    const player = new Player(batch(), { items: 60 }, undefined, 10);
    expect(checks).toBe(10);
    expect(player.run.calls.size).toBe(10);
    expect(open(player)).toBe(5);
    expect(running(player).length).toBe(60);
    finish(player);
    expect(value(player)).toEqual({ done: 60, sum: (60 * 59) / 2 });
  });

  test("with a limit, opens the next part once no call is queued, and its inputs are those of the beginning", () => {
    const player = new Player(batch({ limit: 3 }), { items: 65 }, undefined, 10);
    expect(open(player)).toBe(0);
    expect(running(player)).toEqual([0, 1, 2]);
    const most = finish(player);
    expect(most).toBeLessThanOrEqual(13);
    expect(value(player)).toEqual({ done: 65, sum: (65 * 64) / 2 });
  });

  test("of the default size is opened in parts of 500, and of large inputs in smaller ones", () => {
    const opened = ({ run }: Player): number => run.calls.size;
    expect(opened(new Player(batch({ times: 9 }), { items: 60 }))).toBe(500);
    expect(opened(new Player(batch({ pad: "x".repeat(100_000) }), { items: 60 }))).toBe(3);
  });

  test("with a limit that is a function, is paused and goes on", () => {
    const player = new Player(batch({ limit: ({ atOnce }) => atOnce }), { items: 30 }, undefined, 4);
    player.signal("atOnce", 0);
    for (const number of running(player)) player.outcome(number, { ok: {} });
    expect(running(player)).toEqual([]);
    player.signal("atOnce", 7);
    open(player);
    expect(running(player).length).toBe(7);
    finish(player);
    expect(value(player)).toMatchObject({ done: 30 });
  });

  test("tells the deadline of all that has not settled", () => {
    const player = new Player(batch({ limit: 3 }), { items: 65 }, undefined, 10);
    player.outcome(0, { ok: {} });
    player.at(1000).due();
    expect(value(player)).toEqual({ done: 1, open: 64, sum: 64 });
  });

  test("that drains gives up the inputs that have no call", () => {
    const player = new Player(batch({ limit: 3, drain: true }), { items: 65 }, undefined, 10);
    player.cancel();
    expect(player.run.round.held).toBe("Stop");
    expect(isOpening(player.run)).toBe(false);
    for (const number of running(player)) player.outcome(number, { ok: {} });
    expect(value(player)).toMatchObject({ done: 3 });
  });

  test("is parked by an input that is not valid, when its part is opened", () => {
    const player = new Player(batch(), { items: 680 }, undefined, 100);
    open(player);
    expect(player.run.status).toBe("incident");
    expect(player.run.calls.size).toBe(600);
    for (const number of running(player).slice(0, 3)) player.outcome(number, { ok: {} });
    player.retry();
    expect(player.run.incident?.error.message).toContain("not valid");
    expect(player.run.data).toMatchObject({ done: 0 });
  });

  test("is parked if it has another number of inputs than before", () => {
    const player = new Player(batch({ limit: 1 }), { items: 30 }, undefined, 10);
    player.hub = batch({ limit: 1, times: 2 });
    for (let number = 0; number < 10; number++) player.outcome(number, { ok: {} });
    open(player);
    expect(player.run.incident?.error.message).toContain("had 30 inputs when it began, and has 60 now");
    player.hub = batch({ limit: 1 });
    player.retry();
    finish(player);
    expect(value(player)).toMatchObject({ done: 30 });
  });

  test.each([{ moved: false }, { moved: true }])(
    "goes on in the next version of its hub (%o)",
    ({ moved }) => {
      const player = new Player(batch({ limit: 2 }), { items: 30 }, undefined, 10);
      player.hub = batch({ limit: 2, version: 2, times: 2, moved });
      finish(player);
      expect(player.run.epoch).toBe(2);
      expect(value(player)).toEqual({ done: 60, sum: (60 * 59) / 2 });
    },
  );

  test("ends in a version in which nothing is left", () => {
    const player = new Player(batch({ limit: 1 }), { items: 30 }, undefined, 10);
    for (let number = 0; number < 10; number++) player.outcome(number, { ok: {} });
    player.hub = batch({ limit: 1, version: 2, times: 0 });
    player.input({ kind: "open" });
    expect(value(player)).toMatchObject({ done: 10 });
  });
});
