import type { Clock } from "@wheelwork/engine";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { clockOf } from "../src/ports/clock.ts";

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
