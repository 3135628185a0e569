import { systemClock, type Clock } from "@wheelwork/engine";
import { describe, expect, test } from "vitest";
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

  test("a task that became due while its process was frozen can still be cancelled, by another one that did", async () => {
    const clock = new SimulatedClock();
    const process = clock.process();
    const ran: string[] = [];
    process.after(5, () => cancel());
    const cancel = process.after(6, () => void ran.push("cancelled"));
    process.after(7, () => void ran.push("last"));
    process.freeze();
    await clock.advance(10);
    process.thaw();
    await clock.settle();
    expect(ran).toEqual(["last"]);
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
