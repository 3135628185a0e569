import { explore, testEngine, type TestEngine } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { deploy, rollOut } from "../src/baton.ts";
import { close, trial } from "../src/delayed.ts";
import { ask, feedback, sale, send } from "../src/outlives.ts";
import { payment, requestPayment } from "../src/own-id.ts";

describe("a feedback run", () => {
  test("outlives the sale that has started it, and gets the stars weeks later", async () => {
    const kit = await testEngine({ hubs: [sale] });
    kit.script(send, { ok: {} });
    const asked: string[] = [];
    kit.script(ask, ({ number }) => {
      asked.push(number);
      return { ok: {} };
    });
    const id = await kit.submit(sale, { number: "7" });
    expect(await kit.answer(id)).toEqual({ kind: "result", value: {} });
    expect((await kit.engine.request(id)).status).toBe("ended");
    await kit.crash("1 day");
    expect(await kit.state("feedback-7")).toBe("Waiting");
    await kit.advance("13 days");
    expect(asked).toEqual(["7"]);
    await kit.crash();
    await kit.signal("feedback-7", "stars", { stars: 5 });
    expect(await kit.answer("feedback-7")).toEqual({ kind: "result", value: { stars: 5 } });
  });

  test("begins once, however often the order is sent, and not at all without a parcel", async () => {
    const kit = await testEngine({ hubs: [sale] });
    kit.script(send, [{ ok: {} }, { ok: {} }, "hang"]);
    for (const [key, number] of [
      ["a", "7"],
      ["b", "7"],
      ["c", "8"],
    ] as const)
      await kit.submit(sale, { number }, { key });
    await kit.advance("1 min");
    expect(await kit.answer("c")).toMatchObject({ code: "not-sent" });
    const { items } = await kit.engine.requests({ hub: "feedback" });
    expect(items.map(({ id }) => id)).toEqual(["feedback-7"]);
  });
});

describe("deploys", () => {
  const begin = async (kit: TestEngine): Promise<void> => {
    await kit.submit(deploy, { service: "web", next: null }, { key: "web" });
    await kit.submit(deploy, { service: "api", next: "web" }, { key: "api" });
    await kit.submit(deploy, { service: "db", next: "api" }, { key: "db" });
    await kit.signal("db", "baton", { good: true });
  };

  test("follow one another, over a crash", async () => {
    const kit = await testEngine({ hubs: [deploy] });
    await begin(kit);
    await kit.openCall(rollOut).ok({});
    expect(await kit.answer("db")).toEqual({ kind: "result", value: { deployed: "db" } });
    expect(await kit.state("web")).toBe("Waiting");
    await kit.crash();
    await kit.openCall(rollOut).ok({});
    await kit.openCall(rollOut).ok({});
    expect(await kit.answer("web")).toEqual({ kind: "result", value: { deployed: "web" } });
  });

  test("fail with the one that they wait for", async () => {
    const kit = await testEngine({ hubs: [deploy] });
    await begin(kit);
    await kit.openCall(rollOut).fail("unhealthy", "it restarts again and again");
    for (const id of ["db", "api", "web"])
      expect(await kit.answer(id)).toMatchObject({ code: "not-deployed" });
  });

  test("a baton for nobody is lost: the deploy is done all the same, and the loss is listed and reported", async () => {
    const reported: string[] = [];
    const kit = await testEngine({ hubs: [deploy], observe: ({ name }) => reported.push(name) });
    await kit.submit(deploy, { service: "api", next: "web" }, { key: "api" });
    await kit.signal("api", "baton", { good: true });
    await kit.openCall(rollOut).ok({});
    expect(await kit.answer("api")).toEqual({ kind: "result", value: { deployed: "api" } });
    const { items } = await kit.engine.requests({ status: "lost" });
    expect(items).toHaveLength(1);
    expect((await kit.engine.request(items[0]?.id ?? "")).answer).toMatchObject({
      code: "not-delivered",
      message: expect.stringContaining("WW_NOT_FOUND") as string,
    });
    expect(reported.filter((name) => name === "tell-lost")).toHaveLength(1);
  });
});

test("every path is explored, and nothing is wrong", () => {
  const requests = ["api", null].map((next) => ({ service: "db", next }));
  const reports = [
    explore(feedback, { requests: [{ number: "7" }] }),
    explore(sale, { requests: [{ number: "7" }] }),
    explore(payment, { requests: [{ cents: 5 }], signals: { paid: [{ receipt: "r" }] } }),
    explore(deploy, { requests, signals: { baton: [{ good: true }, { good: false }] } }),
  ];
  for (const report of reports) expect(report.findings, String(report)).toEqual([]);
});

describe("the end of a trial", () => {
  const beginsAt = Date.UTC(2026, 0, 1);

  test("comes two weeks after its begin, though it was planned then, and a crash lies between", async () => {
    const kit = await testEngine({ hubs: [trial] });
    const closed: string[] = [];
    kit.script(close, ({ account }) => {
      closed.push(account);
      return { ok: {} };
    });
    await kit.call(trial, { account: "ada", beginsAt });
    await kit.advance("13 days");
    await kit.crash("1 h");
    expect((await kit.engine.request("end-of-trial-ada")).status).toBe("pending");
    expect(closed).toEqual([]);
    await kit.advance("1 day");
    expect(closed).toEqual(["ada"]);
    expect(await kit.answer("end-of-trial-ada")).toEqual({ kind: "result", value: { closed: "ada" } });
  });

  test("does not come if somebody cancels it meanwhile", async () => {
    const kit = await testEngine({ hubs: [trial] });
    kit.script(close, { ok: {} });
    await kit.call(trial, { account: "ada", beginsAt });
    await kit.engine.cancel("end-of-trial-ada");
    await kit.advance("15 days");
    expect(kit.calls(close)).toEqual([]);
  });
});

describe("a payment", () => {
  test("is signalled by the id that the provider got with its order, over a crash", async () => {
    const kit = await testEngine({ hubs: [payment] });
    const references: string[] = [];
    kit.script(requestPayment, ({ reference }) => {
      references.push(reference);
      return { ok: {} };
    });
    const id = await kit.submit(payment, { cents: 500 });
    await kit.crash();
    expect(references).toEqual([id]);
    await kit.signal(references[0] as string, "paid", { receipt: "r-1" });
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { receipt: "r-1" } });
  });
});
