import { end, hub, spoke, type RetryPolicy, type HistoryEvent, type SpokeSpec } from "@wheelwork/core";
import { explore, testEngine } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import * as z from "zod";

/** Retries by the kind of failure, limits and heartbeats, as a test of a hub sees them. */

const input = z.object({ n: z.number().optional() });
const output = z.object({});
type Spec = SpokeSpec<typeof input, typeof output, "busy" | "broken">;

const served = (more: Partial<Spec>) =>
  spoke("work", { input, output, errors: ["busy", "broken"], timeoutMs: 1000, ...more });
const retried = (retry: RetryPolicy<"busy" | "broken">) => served({ retry });
type Served = ReturnType<typeof served>;

/** Calls the spoke, and answers with what the call came to. */
const caller = (callee: Served, withinMs = 60_000) =>
  hub(
    "caller",
    {
      request: z.object({}),
      reply: z.object({ came: z.string() }),
      deadlineMs: withinMs,
      chart: { Work: { Ok: "Done", Bad: "Done", Late: "Done" }, Done: end },
      data: () => ({ came: "ok" }),
    },
    {
      Work: (s) =>
        s.call(callee, {
          input: () => ({}),
          ok: "Ok",
          failed: (_data, failure) =>
            s.raise("Bad", { came: failure.kind === "error" ? failure.code : failure.kind }),
          deadline: { raise: "Late", patch: () => ({ came: "deadline" }) },
        }),
      Done: ({ came }) => ({ came }),
    },
  );

const times = (history: readonly HistoryEvent[], type: HistoryEvent["type"]): number[] =>
  history.filter((event) => event.type === type).map(({ at }) => at - (history[0]?.at ?? 0));

describe("retries", () => {
  const policy = retried({
    attempts: 3,
    backoffMs: 100,
    giveUpOn: ["broken", "WW_TIMEOUT"],
    on: { busy: { attempts: 5, backoffMs: 10, factor: 1 }, WW_WORKER_FAILED: { attempts: 2 } },
  });

  test.each([
    ["busy", [10, 20, 30, 40]],
    ["broken", []],
    ["WW_WORKER_FAILED", [100]],
    ["WW_INVALID_OUTPUT", [100, 300]],
  ] as const)("follow the rule of the failure: %s", async (code, begun) => {
    const hubs = [caller(policy)] as const;
    const kit = await testEngine({ hubs });
    kit.script(policy, { fail: code as "busy" });
    const id = await kit.submit(hubs[0], {});
    await kit.advance("1 min");
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { came: code } });
    expect(times(await kit.history(id), "attempt")).toEqual(begun);
  });

  test("can be left out after a timeout, or follow another rule", async () => {
    for (const [callee, begun] of [
      [policy, []],
      [retried({ attempts: 9, on: { WW_TIMEOUT: { attempts: 2, backoffMs: 7 } } }), [1007]],
    ] as const) {
      const hubs = [caller(callee)] as const;
      const kit = await testEngine({ hubs });
      const id = await kit.submit(hubs[0], {});
      await kit.advance("1 min");
      expect(await kit.answer(id)).toEqual({ kind: "result", value: { came: "timeout" } });
      expect(times(await kit.history(id), "attempt")).toEqual(begun);
    }
  });

  test("count the attempts of the call, whatever they failed by", async () => {
    const hubs = [caller(policy)] as const;
    const kit = await testEngine({ hubs });
    kit.script(policy, [{ fail: "busy" }, { fail: "busy" }, { fail: "WW_WORKER_FAILED" as "busy" }]);
    expect(await kit.call(hubs[0], {})).toEqual({ kind: "result", value: { came: "WW_WORKER_FAILED" } });
    expect(kit.attempts(policy)).toHaveLength(3);
  });

  test("without end are ended by the state (I17)", async () => {
    const forever = retried({
      attempts: "unlimited",
      backoffMs: 1000,
      maxBackoffMs: 5000,
      giveUpOn: ["broken"],
    });
    const hubs = [caller(forever, 3_600_000)] as const;
    const kit = await testEngine({ hubs });
    kit.script(forever, { fail: "busy" });
    const id = await kit.submit(hubs[0], {});
    await kit.advance("30 min");
    expect(await kit.answer(id)).toBeUndefined();
    await kit.crash("1 min");
    await kit.advance("1 h");
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { came: "deadline" } });
    expect(kit.attempts(forever).length).toBeGreaterThan(700);
    kit.script(forever, [{ fail: "busy" }, { fail: "broken" }]);
    expect(await kit.call(hubs[0], {})).toEqual({ kind: "result", value: { came: "broken" } });
  });

  test("without end are explored as what they come to: the deadline", () => {
    const forever = retried({ attempts: "unlimited", backoffMs: 1, factor: 1, giveUpOn: ["broken"] });
    const report = explore(caller(forever, 100_000_000));
    expect(report.findings).toEqual([]);
    expect(report.edges.reached).toBe(report.edges.total);
  });

  test("that cannot be meant are named when the spoke is declared", () => {
    expect(() => retried({ attempts: "unlimited" })).toThrow(/retry\.backoffMs: .*unlimited/);
    expect(() => retried({ on: { busy: { factor: 0 } } })).toThrow(/retry\.on\["busy"\]\.factor/);
    expect(() => retried({ giveUpOn: ["WW_CONFIG" as "busy"] })).toThrow(/retry\.on\["WW_CONFIG"\]/);
  });

  test("a tell whose attempts have no end has a day", async () => {
    const note = retried({ attempts: "unlimited", backoffMs: 60_000, factor: 1 });
    const teller = hub(
      "teller",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 1000,
        chart: { Tell: { Told: "Done" }, Done: end },
        data: () => ({}),
      },
      { Tell: (s) => s.tell(note, { input: () => ({}), next: "Told" }), Done: () => ({}) },
    );
    const kit = await testEngine({ hubs: [teller] });
    kit.script(note, { fail: "busy" });
    expect((await kit.call(teller, {})).kind).toBe("result");
    await kit.advance("3 d");
    expect(kit.attempts(note)).toHaveLength(24 * 60);
  });
});

test("a limit lets the calls of a test wait, and costs them no attempt", async () => {
  const narrow: Served = served({ limit: { perSecond: 10, concurrent: 2, by: () => "one" } });
  const hubs = [caller(narrow)] as const;
  const kit = await testEngine({ hubs });
  const ids = await Promise.all([1, 2, 3].map(() => kit.submit(hubs[0], {})));
  expect(kit.calls()).toEqual([]);
  await kit.advance(400);
  expect(kit.calls()).toHaveLength(2);
  await kit.openCall(narrow).ok({});
  expect(kit.calls()).toHaveLength(2);
  for (const call of kit.calls()) await call.ok({});
  expect(kit.attempts().map(({ attempt }) => attempt)).toEqual([1, 1, 1]);
  for (const id of ids) expect(await kit.answer(id)).toEqual({ kind: "result", value: { came: "ok" } });
});

describe("heartbeats", () => {
  const long: Served = served({ timeoutMs: 600_000, heartbeatMs: 5000, retry: { attempts: 2 } });
  const hubs = [caller(long, 3_600_000)] as const;

  test("are given by the test, and the next attempt goes on from there", async () => {
    const kit = await testEngine({ hubs });
    const id = await kit.submit(hubs[0], {});
    await kit.advance(4000);
    await kit.openCall(long).progress({ page: 4 });
    expect((await kit.engine.request(id)).openCalls?.[0]).toMatchObject({ progress: { page: 4 } });
    await kit.advance(4999);
    expect(kit.openCall(long).attempt).toBe(1);
    await kit.advance(1);
    expect(kit.openCall(long)).toMatchObject({ attempt: 2, lastProgress: { page: 4 } });
    expect(await kit.transcript(id)).toContain('work #0 attempt 1 progresses {"page":4}');
    await kit.advance("5 s");
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { came: "WW_NO_HEARTBEAT" } });
  });

  test("are given by a script until its answer", async () => {
    const kit = await testEngine({ hubs });
    kit.script(long, { ok: {}, afterMs: 300_000 });
    expect(await kit.call(hubs[0], {})).toEqual({ kind: "result", value: { came: "ok" } });
    expect(kit.attempts(long)).toHaveLength(1);
  });

  test("are explored: a worker may fall silent", () => {
    const report = explore(hubs[0]);
    expect(report.findings).toEqual([]);
    expect(report.configurations).toBeGreaterThan(explore(caller(served({}), 3_600_000)).configurations);
  });
});
