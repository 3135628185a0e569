import { explore, testEngine } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { change, createFlow, pingFlow, rerouteFlow, updateFlow, verifyFlow } from "../src/operations.ts";
import { install, release, reroute } from "../src/reroute.ts";
import { render, report } from "../src/tenants.ts";

const hubs = [createFlow, updateFlow, rerouteFlow, verifyFlow, pingFlow];

async function open() {
  const kit = await testEngine({ hubs });
  kit.script(change, { ok: {}, afterMs: 1_000 });
  const done = () => kit.attempts(change).map(({ input }) => input.operation);
  return { kit, done };
}

describe("one operation at a time on each flow", () => {
  test("queue: each is done, and other flows do not wait", async () => {
    const { kit, done } = await open();
    const ids = [];
    for (let n = 0; n < 3; n++) ids.push(await kit.submit(createFlow, { flow: "a" }));
    await kit.submit(createFlow, { flow: "b" });
    expect(done()).toHaveLength(2);
    const { lane, status } = await kit.engine.request(ids[2] as string);
    expect(status).toBe("pending");
    expect(lane).toMatchObject({ name: "flow", key: "a", position: 2, holders: [ids[0]] });
    await kit.crash();
    await kit.advance("5 s");
    for (const id of ids) expect(await kit.answer(id)).toMatchObject({ kind: "result" });
  });

  test("latest: the last one is done", async () => {
    const { kit } = await open();
    const ids = [];
    for (let n = 0; n < 3; n++) ids.push(await kit.submit(updateFlow, { flow: "a" }));
    await kit.advance("3 s");
    const [first, second, third] = await Promise.all(ids.map((id) => kit.answer(id)));
    expect([first, third]).toMatchObject([{ kind: "result" }, { kind: "result" }]);
    expect(second).toMatchObject({ code: "WW_REPLACED" });
  });

  test("replace: the one that works is cancelled", async () => {
    const { kit } = await open();
    const first = await kit.submit(rerouteFlow, { flow: "a" });
    const second = await kit.submit(rerouteFlow, { flow: "a" });
    expect(await kit.answer(first)).toMatchObject({ code: "failed" });
    await kit.advance("1 s");
    expect(await kit.answer(second)).toMatchObject({ kind: "result" });
  });

  test("join: who asks meanwhile gets the same answer", async () => {
    const { kit, done } = await open();
    const ids = [];
    for (let n = 0; n < 3; n++) ids.push(await kit.submit(verifyFlow, { flow: "a" }));
    await kit.advance("1 s");
    for (const id of ids) expect(await kit.answer(id)).toMatchObject({ kind: "result" });
    expect(done()).toEqual(["verify-flow"]);
  });

  test("refuse: who comes too early is told so", async () => {
    const { kit } = await open();
    const first = await kit.submit(createFlow, { flow: "a" });
    await expect(kit.submit(pingFlow, { flow: "a" })).rejects.toMatchObject({
      code: "WW_BUSY",
      details: { holders: [first] },
    });
  });
});

describe("the newest reroute", () => {
  test("wins, after the one before it has given its path back", async () => {
    const kit = await testEngine({ hubs: [reroute] });
    kit.script(install, { ok: {}, afterMs: 10_000 }).script(release, { ok: {}, afterMs: 1_000 });
    const [first, second, third] = [
      await kit.submit(reroute, { flow: "a", path: "1" }),
      await kit.submit(reroute, { flow: "a", path: "2" }),
      await kit.submit(reroute, { flow: "a", path: "3" }),
    ];
    await kit.advance("2 s");
    expect(await kit.answer(first)).toMatchObject({ code: "given-up" });
    expect(await kit.answer(second)).toMatchObject({ code: "WW_REPLACED" });
    await kit.crash();
    await kit.advance("12 s");
    expect(await kit.answer(third)).toEqual({ kind: "result", value: { flow: "a", path: "3" } });
    expect(kit.attempts(release).map(({ input }) => input.path)).toEqual(["1"]);
  });

  test("takes every way through it without a finding", () => {
    const found = explore(reroute, {
      requests: [{ flow: "a", path: "1" }],
      outputs: { install: [{}], release: [{}] },
    });
    expect(found.findings, String(found)).toEqual([]);
    expect(found.complete).toBe(true);
  });
});

describe("reports of tenants", () => {
  test("hold up no other tenant, and urgent ones go first", async () => {
    const kit = await testEngine({ hubs: [report] });
    kit.script(render, { ok: { pages: 3 }, afterMs: 1_000 });
    for (let n = 0; n < 5; n++) await kit.submit(report, { tenant: "large", report: `${n}` });
    await kit.submit(report, { tenant: "large", report: "urgent" }, { priority: 1 });
    const small = await kit.submit(report, { tenant: "small", report: "only" });
    await kit.advance("1 s");
    expect(await kit.answer(small)).toMatchObject({ kind: "result" });
    await kit.advance("10 s");
    const of = kit.attempts(render).filter(({ input }) => input.tenant === "large");
    expect(of.map(({ input }) => input.report)).toEqual(["0", "1", "urgent", "2", "3", "4"]);
  });
});
