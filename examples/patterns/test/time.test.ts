import { explore, testEngine } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { approval, mail } from "../src/approval.ts";
import { batch, workOn } from "../src/batch.ts";
import { showProgress } from "../src/watching.ts";
import { auction } from "../src/countdown.ts";
import { askSupplier, priceOfYesterday, quote } from "../src/impatient.ts";
import { lookAtJob, polling, submitJob } from "../src/polling.ts";

const told = (history: Awaited<ReturnType<Awaited<ReturnType<typeof testEngine>>["history"]>>): unknown[] =>
  history.flatMap((event) => (event.type === "told" ? [(event.input as { to: string }).to] : []));

describe("approval", () => {
  test("reminds the manager, asks the director, and gives up", async () => {
    const kit = await testEngine({ hubs: [approval] });
    kit.script(mail, { ok: {} });
    const id = await kit.submit(approval, { what: "a desk" });
    await kit.advance("3.5 days");
    expect(told(await kit.history(id))).toEqual(["manager", "manager", "manager", "manager"]);
    await kit.crash();
    await kit.advance("1 day");
    expect(told(await kit.history(id)).at(-1)).toBe("director");
    await kit.advance("2 days");
    expect(await kit.answer(id)).toMatchObject({ code: "nobody-answered" });
  });

  test("takes a decision whenever it comes", async () => {
    const kit = await testEngine({ hubs: [approval] });
    kit.script(mail, { ok: {} });
    const id = await kit.submit(approval, { what: "a lamp" });
    await kit.advance("2.5 days");
    await kit.signal(id, "decision", { by: "Ada", approved: true });
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { by: "Ada" } });
  });
});

test("polling looks less and less often, and answers when the job is done", async () => {
  const kit = await testEngine({ hubs: [polling] });
  kit.script(submitJob, { ok: { job: "job-1" } });
  kit.script(lookAtJob, (_input, { call }) => ({ ok: { status: call < 10 ? "running" : "done" } }) as const);
  const id = await kit.submit(polling, { name: "nightly" });
  await kit.advance("30 min");
  expect(await kit.answer(id)).toEqual({ kind: "result", value: { job: "job-1", looks: 10 } });
  const history = await kit.history(id);
  const began = history[0]?.at ?? 0;
  const seconds = history.flatMap((event) =>
    event.type === "entered" && event.state === "Looking" ? [(event.at - began) / 1000] : [],
  );
  expect(seconds).toEqual([5, 15, 35, 75, 155, 315, 615, 915, 1215, 1515]);
});

test("a late bid moves the end of the auction", async () => {
  const kit = await testEngine({ hubs: [auction] });
  const id = await kit.submit(auction, { item: "a lamp", minutes: 10 });
  await kit.advance("5 min");
  await kit.signal(id, "bid", { by: "Ada", cents: 100, at: 5 * 60_000 });
  await kit.advance("4.5 min");
  await kit.signal(id, "bid", { by: "Grace", cents: 200, at: 9.5 * 60_000 });
  await kit.advance("55 s");
  expect(await kit.state(id)).toBe("Open");
  await kit.advance("5 s");
  expect(await kit.answer(id)).toEqual({ kind: "result", value: { winner: "Grace", cents: 200 } });
});

test("a quote says that it takes long, and then gives the supplier up", async () => {
  const kit = await testEngine({ hubs: [quote] });
  kit.script(askSupplier, "hang");
  kit.script(priceOfYesterday, { ok: { cents: 90 } });
  const id = await kit.submit(quote, { sku: "lamp" });
  await kit.advance("4 s");
  expect((await kit.engine.request(id)).view).toBe("The supplier takes longer than usual.");
  await kit.advance("6 s");
  expect(await kit.answer(id)).toEqual({ kind: "result", value: { cents: 90, fresh: false } });
  kit.script(askSupplier, { ok: { cents: 100 }, afterMs: 2_000 });
  const quick = await kit.submit(quote, { sku: "desk" });
  await kit.advance("2 s");
  expect(await kit.answer(quick)).toEqual({ kind: "result", value: { cents: 100, fresh: true } });
});

describe("batch", () => {
  test("shows each step of its progress, and goes on where it was left", async () => {
    const kit = await testEngine({ hubs: [batch] });
    kit.script(workOn, { ok: {}, afterMs: 10_000 });
    const id = await kit.submit(batch, { items: 4 });
    await kit.signal(id, "limit", { atOnce: 1 });
    const leave = new AbortController();
    const seen: number[] = [];
    const first = showProgress(kit.engine, id, (percent) => seen.push(percent), { signal: leave.signal });
    await kit.advance("25s");
    leave.abort();
    const after = await first;
    const rest = showProgress(kit.engine, id, (percent) => seen.push(percent), { after });
    await kit.advance("30s");
    await rest;
    expect((await kit.updates(id)).map(({ view }) => view)).toEqual(
      seen.map((percent) => ({ percent, paused: false })),
    );
    expect(new Set(seen)).toEqual(new Set([0, 25, 50, 75, 100]));
  });

  test("runs some at a time, pauses, goes on, and counts", async () => {
    const kit = await testEngine({ hubs: [batch] });
    kit.script(workOn, ({ item }) => (item % 100 === 7 ? { fail: "bad-item" } : { ok: {}, afterMs: 1_000 }));
    const id = await kit.submit(batch, { items: 1_000 });
    await kit.advance("2.5 s");
    await kit.signal(id, "pause", {});
    await kit.advance("1 hour");
    expect((await kit.engine.request(id)).view).toMatchObject({ percent: 15, paused: true });
    expect((await kit.engine.request(id)).openCalls?.every(({ attempt }) => attempt === 0)).toBe(true);
    await kit.signal(id, "limit", { atOnce: 500 });
    await kit.signal(id, "resume", {});
    await kit.advance("3 s");
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { done: 990, failed: 10, left: 0 } });
  });

  test("10,000 items are cancelled, and those that run are waited for", async () => {
    const kit = await testEngine({ hubs: [batch] });
    kit.script(workOn, { ok: {}, afterMs: 1_000 });
    const id = await kit.submit(batch, { items: 10_000 });
    await kit.advance("10.5 s");
    await kit.cancel(id);
    await kit.advance("1 s");
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { done: 550, failed: 0, left: 9_450 } });
  });
});

test("every path is explored, and nothing is wrong", () => {
  const reports = [
    explore(approval, { requests: [{ what: "a desk" }] }),
    explore(quote, { requests: [{ sku: "lamp" }] }),
    explore(batch, { requests: [{ items: 2 }], signals: { limit: [{ atOnce: 1 }] } }),
    explore(auction, {
      requests: [{ item: "a lamp", minutes: 1 }],
      signals: { bid: [{ by: "Ada", cents: 5, at: 59_000 }], close: [{}] },
    }),
  ];
  for (const report of reports) expect(report.findings, String(report)).toEqual([]);
});
