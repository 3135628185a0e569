import { setTimeout as sleep } from "node:timers/promises";
import { WheelworkError, type Answer } from "@wheelwork/core";
import type { Engine } from "@wheelwork/engine";
import { expect } from "vitest";
import { openGate } from "./app.ts";

/** What waits here waits as long as Storm needs to start a process. */
const eventually = { timeout: 300_000, interval: 50 };

/** Does as the errors say: what may succeed later is sent again. */
async function insist<T>(send: () => Promise<T>): Promise<T> {
  for (const until = performance.now() + eventually.timeout; ; await sleep(eventually.interval)) {
    try {
      return await send();
    } catch (error) {
      const isPassing = error instanceof WheelworkError && error.retryable;
      if (!isPassing || performance.now() > until) throw error;
    }
  }
}

/** Looks after lanes, later requests and a schedule that ticks each second, as a client of the processes that work on them. */
export async function operate(engine: Engine, workLog: string): Promise<void> {
  // Each shard must have been claimed once before a client can read it.
  await expect.poll(() => engine.requests({ limit: 1 }).catch(() => undefined), eventually).toBeDefined();
  await expect
    .poll(() => engine.schedule("tock").view(), eventually)
    .toMatchObject({ status: "active", id: "schedule:tock" });
  await Promise.all([lookAfterLanes(engine, workLog), beginLater(engine), lookAfterSchedule(engine)]);
}

async function lookAfterLanes(engine: Engine, workLog: string): Promise<void> {
  /** Submits an operation in a lane. */
  const submit = async (hub: string, key: string, lane: string, more: object = {}): Promise<string> => {
    const request = { id: key, key: lane, ms: 20, ledger: "ledger-of-lanes", ...more };
    return (await insist(() => engine.submit(hub, request, { key }))).id;
  };
  const answer = async (id: string): Promise<Answer> => (await insist(() => engine.answer(id))) as Answer;
  const statusOf = async (id: string): Promise<string> => (await engine.request(id)).status;

  // One works, and others come.
  const holder = await submit("create", "holder", "x", { gate: "lanes" });
  expect(await answer(await submit("ping", "early", "x"))).toMatchObject({
    code: "WW_BUSY",
    details: { holders: [holder] },
  });
  expect(await answer(await submit("verify", "other-body", "x"))).toMatchObject({ code: "WW_BUSY" });
  const queued = await submit("create", "queued", "x");
  const cancelled = await submit("create", "cancelled", "x");
  const older = await submit("update", "older", "x");
  const newer = await submit("update", "newer", "x");
  expect(await answer(older)).toMatchObject({ code: "WW_REPLACED", details: { by: newer } });
  expect(await engine.request(queued)).toMatchObject({
    status: "pending",
    lane: { name: "single", key: "x" },
  });
  expect(await insist(() => engine.cancel(cancelled))).toBe("accepted");
  expect(await answer(cancelled)).toMatchObject({ kind: "error" });
  const first = await submit("report", "first", "x", { gate: "lanes" });
  const second = await submit("report", "second", "x", { gate: "lanes" });
  const third = await submit("report", "third", "x");
  await expect
    .poll(async () => Promise.all([first, second, third].map(statusOf)), eventually)
    .toEqual(["running", "running", "pending"]);
  // Two that ask the same, and two of which the newer one wins.
  const asked = await submit("verify", "asked", "y", { id: "same", gate: "lanes" });
  const joined = await submit("verify", "joined", "y", { id: "same", gate: "lanes" });
  const before = await submit("reroute", "before", "z", { gate: "lanes" });
  const after = await submit("reroute", "after", "z");
  openGate(workLog, "lanes");
  const done = await Promise.all([holder, queued, newer].map(answer));
  const fences = done.map((one) => (one.kind === "result" ? (one.value as { fence: number }).fence : 0));
  expect(fences).toEqual(fences.toSorted((one, other) => one - other));
  expect(new Set(fences).size).toBe(3);
  expect(await answer(joined)).toEqual(await answer(asked));
  expect(await answer(before)).toMatchObject({ kind: "error", code: "failed" });
  for (const id of [asked, after, first, second, third])
    expect(await answer(id)).toMatchObject({ kind: "result" });
}

async function beginLater(engine: Engine): Promise<void> {
  const startAt = Date.now() + 4000;
  const request = { id: "later", key: "later", ms: 1, ledger: "ledger-of-later" };
  const { id } = await insist(() => engine.submit("create", request, { key: "later", startAt }));
  const tomorrow = startAt + 86_400_000;
  const { id: never } = await insist(() =>
    engine.submit("report", { ...request, id: "never" }, { key: "never", startAt: tomorrow }),
  );
  expect(await engine.request(never)).toMatchObject({ status: "pending", startAt: tomorrow });
  expect(await insist(() => engine.cancel(never))).toBe("accepted");
  expect(await insist(() => engine.answer(never))).toMatchObject({ kind: "error" });
  expect(await insist(() => engine.answer(id))).toMatchObject({ kind: "result" });
  // If it was taken so late that its time had come, it has begun at once.
  const begun = (await engine.history(id)).find(({ type }) => type === "granted" || type === "started");
  expect(begun?.at).toBeGreaterThanOrEqual(startAt);
}

async function lookAfterSchedule(engine: Engine): Promise<void> {
  const tock = engine.schedule("tock");
  const noted = async (key: string): Promise<unknown> => (await engine.answer(key)) ?? null;
  const keyOf = (at: number): string => `tock@${new Date(at).toISOString()}`;
  await insist(() => tock.pause());
  const paused = await tock.view();
  expect(paused.status).toBe("paused");
  // Asked for by hand, also while it is paused.
  const triggered = await insist(() => tock.trigger());
  await expect.poll(() => noted(triggered).catch(() => null), eventually).toMatchObject({ kind: "result" });
  const resumedAt = Date.now();
  await insist(() => tock.resume());
  const [next = 0] = await tock.next(1);
  expect(next).toBeGreaterThan(resumedAt - 1000);
  await expect.poll(() => noted(keyOf(next)).catch(() => null), eventually).toMatchObject({ kind: "result" });
  // What it has left out.
  const from = paused.lastAt + 1;
  const missing = Array.from(
    { length: Math.floor((resumedAt - paused.lastAt) / 1000) },
    (_, index) => paused.lastAt + (index + 1) * 1000,
  );
  await insist(() => tock.backfill({ from, to: resumedAt }));
  for (const at of missing)
    await expect.poll(() => noted(keyOf(at)).catch(() => null), eventually).toMatchObject({ kind: "result" });
}
