import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type { Clock } from "@wheelwork/engine";
import type { TestRunner } from "./store-fixtures.ts";

/** A clock under test. */
export interface OpenedClock {
  readonly clock: Clock;
  /** Lets time of the clock pass, in milliseconds, and waits until everything that becomes due has run. */
  readonly pass: (ms: number) => Promise<void>;
}

/** Longest delay that a clock must support, in milliseconds. It is the longest of Node's timers. */
const maxMs = 2 ** 31 - 1;

/**
 * The conformance suite of the Clock port. Every clock must pass it, with real or simulated time.
 * @param runner Your test runner, such as vitest.
 * @param name Names the clock in the titles of the tests.
 * @param open Opens a clock for one test.
 */
export function clockConformance(runner: TestRunner, name: string, open: () => OpenedClock): void {
  const { describe } = runner;
  const test = (title: string, body: (opened: OpenedClock) => Promise<void>): void =>
    runner.test(title, () => body(open()));

  describe(`clock conformance: ${name}`, () => {
    test("tells the time in milliseconds, and its monotonic time never goes back", async ({
      clock,
      pass,
    }) => {
      ok(clock.wallMs() > Date.UTC(2020, 0, 1) && clock.wallMs() < Date.UTC(3000, 0, 1));
      const began = clock.monotonicMs();
      let last = began;
      for (let step = 0; step < 5; step++) {
        await pass(5);
        const now = clock.monotonicMs();
        ok(now >= last, `${now} follows ${last}`);
        last = now;
      }
      // Timers count in whole milliseconds, so each step may be short by a fraction of one.
      ok(last - began > 20, `${last - began} ms have passed, of 25`);
    });

    test("runs each task once, and less than a millisecond early at most", async ({ clock, pass }) => {
      const began = clock.monotonicMs();
      const after: number[] = [];
      for (const delay of [0, 1, 7, 30]) clock.after(delay, () => after.push(clock.monotonicMs() - began));
      deepStrictEqual(after, [], "not at once");
      await pass(60);
      strictEqual(after.length, 4);
      for (const [place, delay] of [0, 1, 7, 30].entries())
        ok((after[place] ?? 0) > delay - 1, `${after[place]} ms after, of ${delay}`);
    });

    test("runs tasks in the order of their times, and those of one time in the order of planning", async ({
      clock,
      pass,
    }) => {
      const ran: string[] = [];
      const plan = (delay: number, what: string): void => void clock.after(delay, () => ran.push(what));
      plan(20, "third");
      plan(5, "first");
      plan(20, "fourth");
      plan(10, "second");
      plan(20, "fifth");
      await pass(60);
      deepStrictEqual(ran, ["first", "second", "third", "fourth", "fifth"]);
    });

    test("takes a time that is over for now", async ({ clock, pass }) => {
      const warnings: Error[] = [];
      const warned = (warning: Error): void => {
        if (/^Timeout\w*Warning$/.test(warning.name)) warnings.push(warning);
      };
      process.on("warning", warned);
      const began = clock.monotonicMs();
      const ran: string[] = [];
      let least = Number.POSITIVE_INFINITY;
      const plan = (delay: number, what: string): void =>
        void clock.after(delay, () => {
          ran.push(what);
          least = Math.min(least, clock.monotonicMs() - began);
        });
      plan(3, "third");
      plan(-0.015, "first");
      plan(-1e6, "second");
      deepStrictEqual(ran, [], "not at once");
      await pass(30);
      process.off("warning", warned);
      deepStrictEqual(ran, ["first", "second", "third"]);
      ok(least >= 0, "time has gone back");
      deepStrictEqual(warnings, []);
    });

    test("counts a delay from when the task is planned", async ({ clock, pass }) => {
      const began = clock.monotonicMs();
      const second = { at: 0 };
      clock.after(10, () => void clock.after(10, () => (second.at = clock.monotonicMs() - began)));
      await pass(60);
      ok(second.at > 18, `${second.at} ms after, of 20`);
    });

    test("does not run a cancelled task, even if a task of the same time cancels it", async ({
      clock,
      pass,
    }) => {
      const ran: string[] = [];
      const cancels: (() => void)[] = [];
      clock.after(5, () => {
        ran.push("first");
        for (const cancel of cancels) cancel();
      });
      for (const delay of [5, 10]) cancels.push(clock.after(delay, () => ran.push(`cancelled ${delay}`)));
      clock.after(5, () => ran.push("last"));
      await pass(40);
      deepStrictEqual(ran, ["first", "last"]);
      for (const cancel of cancels) cancel();
      await pass(10);
      deepStrictEqual(ran, ["first", "last"]);
    });

    test("ignores the cancel of a task that has run, and harms no other task", async ({ clock, pass }) => {
      const ran: string[] = [];
      const cancel = clock.after(1, () => ran.push("one"));
      await pass(20);
      clock.after(1, () => ran.push("other"));
      cancel();
      await pass(20);
      deepStrictEqual(ran, ["one", "other"]);
    });

    test("runs tasks of `soon` in order, after promises that are ready and before time passes", async ({
      clock,
      pass,
    }) => {
      const ran: string[] = [];
      clock.after(50, () => ran.push("timer"));
      clock.soon(() => {
        ran.push("first");
        clock.soon(() => ran.push("third"));
      });
      clock.soon(() => ran.push("second"));
      const ready = Promise.resolve().then(() => ran.push("promise"));
      deepStrictEqual(ran, [], "not at once");
      await ready;
      await pass(100);
      deepStrictEqual(ran, ["promise", "first", "second", "third", "timer"]);
    });

    test(`supports delays up to ${maxMs} ms`, async ({ clock, pass }) => {
      let ran = 0;
      const cancels = [maxMs - 1, maxMs].map((delay) => clock.after(delay, () => ran++));
      await pass(20);
      strictEqual(ran, 0);
      for (const cancel of cancels) cancel();
    });
  });
}
