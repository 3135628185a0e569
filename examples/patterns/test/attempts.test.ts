import { SimulatedClock, explore, testEngine } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { exporter, exportTable, nightlyExport } from "../src/long-attempt.ts";
import { campaign, send } from "../src/rate-limit.ts";
import { charge, lookUpCharge, pay } from "../src/retry-by-error.ts";

describe("a rate limit", () => {
  test("takes 50 messages a second of each customer, and large customers hold back no small one", async () => {
    const kit = await testEngine({ hubs: [campaign] });
    kit.script(send, { ok: { id: "m" }, afterMs: 5 });
    const texts = (count: number): string[] => Array.from({ length: count }, (_, n) => `text ${n}`);
    const big = await kit.submit(campaign, { customer: "big", texts: texts(500) });
    const small = await kit.submit(campaign, { customer: "small", texts: texts(10) });
    await kit.advance(1000);
    expect(await kit.answer(small)).toEqual({ kind: "result", value: { sent: 10, failed: 0 } });
    expect(kit.attempts(send).filter(({ input }) => input.customer === "big")).toHaveLength(50);
    await kit.advance("9.1 s");
    expect(await kit.answer(big)).toEqual({ kind: "result", value: { sent: 500, failed: 0 } });
  });

  test("costs no attempt, however long it takes", async () => {
    const kit = await testEngine({ hubs: [campaign] });
    kit.script(send, { ok: { id: "m" } });
    const texts = Array.from({ length: 1000 }, () => "text");
    await kit.call(campaign, { customer: "c", texts });
    expect(kit.attempts(send).every(({ attempt }) => attempt === 1)).toBe(true);
  });
});

test("a long attempt that hangs is made again from its last page", async () => {
  const clock = new SimulatedClock();
  const pages: number[] = [];
  const worker = exporter(async (_table, page) => {
    pages.push(page);
    // The disk hangs once.
    if (pages.filter((one) => one === 70).length === 1 && page === 70) await new Promise(() => {});
    await new Promise<void>((resolve) => void clock.after(20_000, resolve));
  });
  const kit = await testEngine({ hubs: [nightlyExport], workers: [worker], clock });
  const began = clock.monotonicMs();
  expect(await kit.call(nightlyExport, { table: "orders", pages: 100 })).toEqual({
    kind: "result",
    value: { pages: 100 },
  });
  expect(pages).toEqual([
    ...Array.from({ length: 71 }, (_, n) => n),
    70,
    ...Array.from({ length: 29 }, (_, n) => 71 + n),
  ]);
  expect(clock.monotonicMs() - began).toBeLessThan(100 * 20_000 + 40_000);
});

test("a long attempt whose process dies goes on from a page that is stored", async () => {
  const kit = await testEngine({ hubs: [nightlyExport] });
  await kit.submit(nightlyExport, { table: "orders", pages: 100 });
  for (let page = 1; page <= 10; page++) {
    await kit.advance("10 s");
    await kit.openCall(exportTable).progress({ page });
  }
  await kit.crash("1 min");
  const { page } = kit.openCall(exportTable).lastProgress as { page: number };
  expect(page).toBeGreaterThanOrEqual(7);
});

describe("a retry policy for each error", () => {
  const request = { order: "o1", cents: 100 };

  test.each([
    ["declined", 1],
    ["busy", 20],
  ] as const)("%s is tried %i times", async (code, attempts) => {
    const kit = await testEngine({ hubs: [pay] });
    kit.script(charge, { fail: code });
    expect(await kit.call(pay, request)).toMatchObject({ code: "not-paid" });
    expect(kit.attempts(charge)).toHaveLength(attempts);
  });

  test("a bank that is down is asked until it is up, or the hub gives up", async () => {
    const kit = await testEngine({ hubs: [pay] });
    kit.script(charge, { fail: "down" });
    const id = await kit.submit(pay, request);
    await kit.advance("20 h");
    kit.script(charge, { ok: { receipt: "r" } });
    await kit.advance("1 min");
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { receipt: "r" } });
    kit.script(charge, { fail: "down" });
    expect(await kit.call(pay, request)).toMatchObject({
      code: "not-paid",
      message: "there was no time left",
    });
  });

  test("after a timeout it looks, and does not charge twice", async () => {
    const kit = await testEngine({ hubs: [pay] });
    kit.script(lookUpCharge, ["hang", { ok: { receipt: "found" } }]);
    expect(await kit.call(pay, request)).toEqual({ kind: "result", value: { receipt: "found" } });
    expect(kit.attempts(charge)).toHaveLength(1);
  });
});

test.each([campaign, nightlyExport, pay])("explore finds nothing wrong with $name", (one) => {
  const requests = one === campaign ? { requests: [{ customer: "c", texts: ["a", "b"] }] } : {};
  expect(explore(one as typeof pay, requests as object).findings).toEqual([]);
});
