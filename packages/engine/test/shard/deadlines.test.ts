import { Run } from "@wheelwork/core/kernel";
import { beforeEach, describe, expect, test } from "vitest";
import { Deadlines } from "../../src/shard/deadlines.ts";
import { EngineTime } from "../../src/shard/engine-time.ts";
import { HandClock } from "./world.ts";

let clock: HandClock;
let time: EngineTime;
let woken: number;
let deadlines: Deadlines;

beforeEach(() => {
  clock = new HandClock();
  time = new EngineTime(clock);
  time.begin(0);
  woken = 0;
  deadlines = new Deadlines(time, clock, () => woken++);
});

function runDueAt(due: number, key = "r"): Run {
  const run = new Run(key);
  run.answerBy = due;
  return run;
}

describe("deadlines", () => {
  test("what is due fires, and nothing that is not", () => {
    deadlines.registerRun(runDueAt(1100));
    expect(deadlines.callableTo(1099, { length: 0, pushed: 0 }, undefined)).toBe(1099);
    expect(deadlines.next(1099)).toBeUndefined();
    expect(deadlines.next(1100)).toBeDefined();
    expect(deadlines.next(1100)).toBeUndefined();
  });

  test("overdue callbacks wait for what was queued one turn later, and no longer", () => {
    deadlines.registerRun(runDueAt(1100));
    // The process stood still: 500 ms late, and two inputs wait.
    expect(deadlines.callableTo(1600, { length: 2, pushed: 2 }, undefined)).toBe(0);
    // One turn later another one has come. It is the last one that goes before.
    expect(deadlines.callableTo(1601, { length: 1, pushed: 3 }, undefined)).toBe(0);
    // The queue never empties. What was due when the lateness was noticed fires all the same.
    expect(deadlines.callableTo(1602, { length: 5, pushed: 8 }, undefined)).toBe(1600);
  });

  test("a little lateness and an empty queue: it fires at once", () => {
    deadlines.registerRun(runDueAt(1100));
    expect(deadlines.callableTo(1105, { length: 0, pushed: 7 }, undefined)).toBe(1105);
  });

  test("while a commit is slow, only what was due before it was decided fires", () => {
    deadlines.registerRun(runDueAt(1100));
    expect(deadlines.callableTo(1105, { length: 0, pushed: 0 }, { since: 1050, isSlow: true })).toBe(0);
    expect(deadlines.callableTo(1105, { length: 0, pushed: 0 }, { since: 1102, isSlow: true })).toBe(1102);
    expect(deadlines.callableTo(1105, { length: 0, pushed: 0 }, { since: 1050, isSlow: false })).toBe(1105);
  });

  test("one timer is armed, for the earliest; a later one replaces nothing", () => {
    deadlines.arm(1500);
    deadlines.arm(1900);
    deadlines.arm(1200);
    expect(clock.timers.map(({ at }) => at)).toEqual([1200]);
    clock.timers.shift()?.task();
    expect(woken).toBe(1);
    deadlines.arm(1900);
    expect(clock.timers).toHaveLength(1);
    deadlines.end();
    expect(clock.timers).toEqual([]);
  });

  test("a time that is months away is armed in steps that Node's timers can hold", () => {
    deadlines.arm(1000 + 2 ** 40);
    expect(clock.timers[0]?.at).toBe(1000 + 2 ** 31 - 1);
  });
});

describe("engine time", () => {
  test("begins with the later of the last commit and the wall clock, and never jumps afterwards", () => {
    time.begin(5000);
    expect(time.began).toBe(5000);
    clock.nowMs += 10;
    expect(time.now()).toBe(5010);
    time.begin(100);
    expect(time.began).toBe(5010);
    // A claim after a loss of the store goes on with the monotonic clock, whatever the wall clock says by then.
    clock.nowMs += 3000;
    time.begin(100);
    expect(time.now()).toBe(8010);
  });
});
