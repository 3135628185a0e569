import { systemClock, type Clock } from "@wheelwork/engine";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { clockOf } from "@wheelwork/engine/parts";
import { clockConformance, SimulatedClock, type OpenedClock } from "../src/index.ts";

const simulated = (machine: SimulatedClock, clock: Clock): OpenedClock => ({
  clock,
  pass: (ms) => machine.advance(ms),
});

clockConformance({ describe, test }, "systemClock", () => ({
  clock: systemClock,
  pass: (ms) => new Promise((resolve) => void setTimeout(resolve, ms)),
}));
clockConformance({ describe, test }, "SimulatedClock", () => {
  const machine = new SimulatedClock();
  return simulated(machine, machine);
});
clockConformance({ describe, test }, "a process on a SimulatedClock", () => {
  const machine = new SimulatedClock();
  return simulated(machine, machine.process());
});

describe("the clock of a host that is suspended", () => {
  const second = 1000;
  const host = { wall: Date.UTC(2026, 0, 1), awake: 7 * second, up: 900 * second };
  const pass = (ms: number, asleepMs = 0): void => {
    host.wall += ms + asleepMs;
    host.awake += ms;
    host.up += ms + asleepMs;
    vi.advanceTimersByTime(ms);
  };
  const clock = (): Clock =>
    clockOf({
      wallMs: () => host.wall,
      monotonicMs: () => host.awake,
      uptimeMs: () => Math.floor(host.up / 10) * 10,
    });

  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("goes on meanwhile, and fires soon after the host has woken what fell due", () => {
    const suspended = clock();
    const began = suspended.monotonicMs();
    const fired: number[] = [];
    suspended.after(3_600_000, () => fired.push(suspended.monotonicMs() - began));
    suspended.after(10_000_000, () => fired.push(suspended.monotonicMs() - began));
    for (let n = 0; n < 60; n++) pass(second);
    expect(fired).toEqual([]);
    pass(second, 7_200_000);
    for (let n = 0; n < 6; n++) pass(second);
    expect(fired).toHaveLength(1);
    expect(suspended.monotonicMs() - began).toBeGreaterThanOrEqual(7_260_000);
    // What is due later is neither early nor late by that.
    for (let n = 0; n < 2800; n++) pass(second);
    expect(Math.round((fired[1] ?? 0) / second)).toBe(10_000);
  });

  test("a wall clock that somebody sets changes nothing, and neither does an uptime that goes back", () => {
    const steady = clock();
    const began = steady.monotonicMs();
    for (const by of [86_400_000, -172_800_000]) {
      host.wall += by;
      pass(2 * second);
    }
    host.up -= 100 * second;
    pass(2 * second);
    expect(steady.monotonicMs() - began).toBe(6 * second);
    expect(steady.wallMs()).toBe(host.wall);
  });

  test("a cancelled task does not run, however far it has come", () => {
    const steady = clock();
    const ran: string[] = [];
    const cancel = steady.after(20 * second, () => ran.push("cancelled"));
    for (let n = 0; n < 12; n++) pass(second);
    cancel();
    for (let n = 0; n < 20; n++) pass(second);
    expect(ran).toEqual([]);
  });
});

describe("simulated time", () => {
  test("moves only when nothing is ready (I22), and to each timer's own time", async () => {
    const clock = new SimulatedClock();
    const seen: string[] = [];
    const see = (what: string): void => void seen.push(`${what} at ${clock.monotonicMs()}`);
    clock.after(10, () => {
      see("timer");
      clock.soon(() => see("soon"));
      void Promise.resolve().then(() => see("promise"));
    });
    clock.after(10, () => see("timer of the same time"));
    clock.after(11, () => see("next timer"));
    await clock.advance(20);
    expect(seen).toEqual([
      "timer at 10",
      "promise at 10",
      "soon at 10",
      "timer of the same time at 10",
      "next timer at 11",
    ]);
    expect(clock.monotonicMs()).toBe(20);
  });

  test("fires the longest delay at its time, and one that does not fit at once, as Node's own timers do", async () => {
    const clock = new SimulatedClock();
    const fired: number[] = [];
    clock.after(2 ** 31 - 1, () => fired.push(clock.monotonicMs()));
    clock.after(2 ** 31, () => fired.push(clock.monotonicMs()));
    await clock.advance(2 ** 31);
    expect(fired).toEqual([1, 2 ** 31 - 1]);
  });

  test("a killed process runs nothing more, a frozen one later; the wall clock jumps alone", async () => {
    const clock = new SimulatedClock();
    const killed = clock.process();
    const frozen = clock.process();
    const ran: string[] = [];
    for (const [name, process] of Object.entries({ killed, frozen })) {
      process.after(5, () => ran.push(`${name} at ${clock.monotonicMs()}`));
      process.soon(() => ran.push(`${name} soon`));
    }
    killed.kill();
    frozen.freeze();
    const wall = clock.wallMs();
    clock.jumpWall(-3_600_000);
    await clock.advance(8);
    expect(ran).toEqual([]);
    expect([frozen.frozen, killed.alive]).toEqual([true, false]);
    frozen.thaw();
    await clock.settle();
    expect(ran).toEqual(["frozen soon", "frozen at 8"]);
    expect([clock.wallMs() - wall, clock.monotonicMs()]).toEqual([8 - 3_600_000, 8]);
  });
});
