import { Run, step, type Effect, type OpenedCalls } from "@wheelwork/core/kernel";
import type { RunEvent } from "@wheelwork/core";
import { beforeEach, describe, expect, test } from "vitest";

// What follows from an event is data, so it can be tested without an engine.

let run: Run;

beforeEach(() => {
  run = new Run("r");
});

const brief = (effects: readonly Effect[]): string[] =>
  effects.map((effect) => {
    if (effect.type === "post") return `post ${effect.posted.call}`;
    return "call" in effect ? `${effect.type} ${effect.call.number}` : effect.type;
  });

const happens = (event: object): string[] => brief(step(run, { at: 1, ...event } as RunEvent));

const calls = (first: number, count: number, more: Partial<OpenedCalls> = {}): OpenedCalls => ({
  callee: "work",
  first,
  inputs: Array.from({ length: count }, (_, index) => index),
  due: 100,
  ...more,
});

describe("step says what follows from an event", () => {
  test("a round that opens begins the attempts that its limit allows", () => {
    expect(happens({ type: "entered", state: "A", calls: [calls(0, 3, { started: 2 })] })).toEqual([
      "attempt 0",
      "attempt 1",
    ]);
    expect(happens({ type: "attempt", call: 2, attempt: 1, due: 100 })).toEqual(["attempt 2"]);
  });

  test("a call that settles is closed, and what its turn opens begins", () => {
    happens({ type: "entered", state: "A", calls: [calls(0, 2)] });
    expect(happens({ type: "settled", call: 0, outcome: "ok", calls: [calls(2, 1)] })).toEqual([
      "close 0",
      "attempt 2",
    ]);
  });

  test("a failed attempt closes, and its call waits for the next one", () => {
    happens({ type: "entered", state: "A", calls: [calls(0, 1)] });
    const failed = { type: "failed", call: 0, attempt: 1, failure: { kind: "timeout" }, due: 50 };
    expect(happens(failed)).toEqual(["close 0", "callback 0"]);
    expect(happens({ type: "attempt", call: 0, attempt: 2, due: 150 })).toEqual(["attempt 0"]);
  });

  test("leaving a state closes all of its calls, and cancels the children of those that are hubs (I12)", () => {
    happens({ type: "entered", state: "A", calls: [calls(0, 1), calls(1, 2, { hub: true, started: 1 })] });
    // The third call has no attempt: there is no child to cancel.
    expect(happens({ type: "entered", state: "B" })).toEqual([
      "close 0",
      "close 1",
      "cancelChild 1",
      "close 2",
    ]);
    expect(run.calls.size).toBe(0);
  });

  test("a round that drains gives up calls that do not run, and keeps those that do", () => {
    happens({ type: "entered", state: "A", calls: [calls(0, 3, { started: 2 })] });
    expect(happens({ type: "settled", call: 0, outcome: "ok", held: "Failed" })).toEqual([
      "close 0",
      "close 2",
    ]);
    expect([...run.calls.keys()]).toEqual([1]);
  });

  test("a call of a hub starts a child, and a tell opens no call", () => {
    expect(happens({ type: "entered", state: "A", calls: [calls(0, 1, { hub: true })] })).toEqual([
      "startChild 0",
    ]);
    expect(happens({ type: "told", call: 1, spoke: "note", input: {} })).toEqual(["post 1"]);
  });

  test("answers and ends", () => {
    const answer = { kind: "result", value: 1 };
    expect(happens({ type: "answered", answer })).toEqual(["answer"]);
    expect(happens({ type: "ended" })).toEqual(["end"]);
    run = new Run("other");
    expect(happens({ type: "ended", answer })).toEqual(["answer", "end"]);
  });

  test("a parked run has no callbacks, and its retry repeats the attempts that still have time", () => {
    happens({ type: "entered", state: "A", calls: [calls(0, 1), calls(1, 1, { due: 10 })] });
    expect(
      happens({ type: "incident", error: { code: "WW_X", message: "" }, input: { kind: "due" } }),
    ).toEqual(["park"]);
    expect(happens({ type: "resumed", id: "1", at: 50 })).toEqual(["attempt 0", "callback 1"]);
  });
});
