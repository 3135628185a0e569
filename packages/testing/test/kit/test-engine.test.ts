import { end, hub } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { testEngine, transcriptOf } from "@wheelwork/testing";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { z } from "zod";
import { createFlow, install, notify, parent, remove, standing } from "./hubs.ts";

test("calls are settled by hand, and the run goes on at once", async () => {
  const kit = await testEngine({ hubs: [createFlow] });
  const id = await kit.submit(createFlow, { length: 2 });
  expect(await kit.state(id)).toBe("Installing");
  const first = kit.openCall(install);
  expect(first).toMatchObject({
    request: id,
    spoke: "install-rule",
    call: 0,
    attempt: 1,
    input: { rule: 0 },
  });
  await first.ok({ installed: 0 });
  expect(await kit.data(id)).toMatchObject({ installed: 1 });
  expect(() => kit.openCall(remove)).toThrow(/WW_NOT_FOUND.*\n.*install-rule #1 of request-1/);
  await kit.openCall(install).ok({ installed: 1 });
  expect(() => kit.openCall(install)).toThrow("No call of any spoke waits.");
  expect(await kit.state(id)).toBe("Approving");
  expect(await kit.answer(id)).toBeUndefined();
  expect(await kit.signal(id, "approval", { by: "Ada" })).toBe("accepted");
  expect(await kit.answer(id)).toEqual({ kind: "result", value: { installed: 2 } });
  expect(kit.calls(notify).map(({ input }) => input)).toEqual([{ text: "up" }]);
});

test("time passes only when the test says so, and each deadline comes at its own time", async () => {
  const kit = await testEngine({ hubs: [createFlow] });
  const id = await kit.submit(createFlow, { length: 1 });
  await kit.advance(99);
  expect(kit.attempts(install).map(({ attempt }) => attempt)).toEqual([1]);
  await kit.advance("1 ms");
  expect(kit.calls()).toEqual([]);
  await kit.advance(10);
  expect(kit.calls(install)).toMatchObject([{ attempt: 2, idempotencyKey: `${id}/0` }]);
  await kit.advance(100);
  expect(await kit.state(id)).toBe("Removing");
  await kit.advance("0.1s");
  expect(await kit.answer(id)).toEqual({ kind: "error", code: "not-installed", message: "timeout" });
  await expect(kit.advance("soon")).rejects.toMatchObject({ code: "WW_CONFIG" });
  await expect(kit.advance(-1)).rejects.toMatchObject({ code: "WW_CONFIG" });
});

test("scripts answer: always the same, in sequence, by a function, and after a time", async () => {
  const kit = await testEngine({ hubs: [createFlow] });
  kit.script(remove, { ok: {} });
  kit.script(install, ["hang", { fail: "table-full", message: "8 at most" }, { ok: { installed: 0 } }]);
  expect(await kit.call(createFlow, { length: 1 })).toMatchObject({ message: "8 at most" });
  kit.script(install, ({ rule }, { attempt }) =>
    rule === 1 && attempt === 1 ? "hang" : { ok: { installed: rule }, afterMs: 30 },
  );
  const id = await kit.submit(createFlow, { length: 2 });
  await kit.advance(30);
  expect(await kit.data(id)).toMatchObject({ installed: 1 });
  await kit.advance(109);
  expect(await kit.state(id)).toBe("Installing");
  await kit.advance(1);
  expect(await kit.state(id)).toBe("Approving");
});

test("an answer that comes late changes nothing", async () => {
  const kit = await testEngine({ hubs: [createFlow] });
  const id = await kit.submit(createFlow, { length: 1 });
  const late = kit.openCall(install);
  await kit.advance(110);
  const before = await kit.transcript(id);
  await late.ok({ installed: 0 });
  expect(await kit.transcript(id)).toBe(before);
});

test("real workers serve their spokes, and hubs called by hubs run too", async () => {
  const kit = await testEngine({
    hubs: [parent],
    workers: [worker(install, (_input, ctx) => ctx.fail("table-full", "no place"))],
  });
  kit.script(remove, { ok: {} });
  expect(await kit.call(parent, {})).toEqual({ kind: "result", value: { text: "not-installed" } });
});

test("a crash loses nothing: open calls are made again under their keys", async () => {
  const kit = await testEngine({ hubs: [createFlow] });
  const id = await kit.submit(createFlow, { length: 2 });
  await kit.openCall(install).ok({ installed: 0 });
  await kit.crash();
  expect(kit.calls(install)).toMatchObject([{ call: 1, attempt: 1, idempotencyKey: `${id}/1` }]);
  await kit.openCall(install).ok({ installed: 1 });
  expect(await kit.states(id)).toEqual(["Installing", "Approving"]);
  // Longer than the deadline: the run is cleaned up by the next process.
  await kit.crash("1 h");
  expect(await kit.state(id)).toBe("Removing");
  await kit.cancel(id);
  await kit.advance("1 s");
  expect(await kit.answer(id)).toMatchObject({ kind: "error", message: "stopped" });
});

test("the process after a crash may have other hubs, schedules and workers, and keeps what a deploy does not name", async () => {
  const kit = await testEngine({ hubs: [createFlow], workers: [worker(notify, () => ({}))] });
  const id = await kit.submit(createFlow, { length: 1 });
  const other = hub(
    "other",
    {
      request: z.object({}),
      reply: z.object({}),
      deadlineMs: 1_000,
      chart: { Done: end },
      data: () => ({}),
    },
    { Done: () => ({}) },
  );
  // An engine that lacks a stored hub does not start, and nothing is lost.
  await expect(kit.crash(0, { hubs: [other] })).rejects.toThrow("create-flow");
  await kit.crash("1 ms", { hubs: [createFlow], workers: [worker(install, () => ({ installed: 0 }))] });
  await kit.advance(1);
  expect(await kit.state(id)).toBe("Approving");
  await kit.crash();
  expect(kit.calls(install)).toEqual([]);
});

test("the transcript is a golden text: it holds every thing that happened, and no id", async () => {
  const kit = await testEngine({ hubs: [createFlow] });
  kit.script(install, [{ ok: { installed: 0 } }, "hang", { fail: "table-full", message: "8 at most" }]);
  const id = await kit.submit(createFlow, { length: 2 }, { key: "some-key" });
  await kit.advance(110);
  await kit.crash();
  await kit.cancel(id);
  await kit.advance(1000);
  await expect(await kit.transcript(id)).toMatchFileSnapshot("golden/create-flow.txt");
  kit.script(install, { ok: { installed: 0 }, afterMs: 20 });
  const waiting = await kit.submit(createFlow, { length: 1 });
  await kit.signal(waiting, "approval", { by: "Ada" });
  await kit.advance(20);
  await expect(await kit.transcript(waiting)).toMatchFileSnapshot("golden/create-flow-approved.txt");
});

test("what a run has for another is in its transcript, and reaches the other over a crash", async () => {
  const kit = await testEngine({ hubs: [standing] });
  const id = await kit.submit(standing, { flow: "flow-7", length: 1 });
  await kit.crash();
  await expect(await kit.transcript(id)).toMatchFileSnapshot("golden/standing.txt");
  await kit.openCall(install).ok({ installed: 0 });
  expect(await kit.answer("flow-7")).toEqual({ kind: "result", value: { installed: 1 } });
});

test("a transcript tells of incidents, migrations and the engine's own answer, too", () => {
  const at = 1_000;
  const input = { kind: "outcome" } as const;
  const timeout = { kind: "timeout", code: "WW_TIMEOUT", message: "too late" } as const;
  const started = { type: "started", at, hub: "h", version: 1, request: {}, hash: "", data: {} } as const;
  expect(
    transcriptOf([
      { ...started, deadline: at + 500, answerBy: at + 900 },
      {
        type: "incident",
        at: at + 10,
        error: { code: "WW_DEFECT", message: "no\nmore", stack: "at" },
        input,
      },
      { type: "parked", at: at + 20, input },
      { type: "answered", at: at + 900, answer: timeout },
      { type: "resumed", at: at + 950, id: "c" },
      { type: "migrated", at: at + 950, version: 2, data: { b: 1, a: 2 } },
      { type: "entered", at: at + 960, state: "End", patch: { a: 3 }, unset: ["b"] },
      { type: "ended", at: at + 960 },
    ]),
  ).toMatchInlineSnapshot(`
    "      0 ms  request to h {} until 500 ms
         10 ms  incident WW_DEFECT: no (outcome)
         20 ms  parked: outcome
        900 ms  answer: timeout WW_TIMEOUT "too late"
        950 ms  resumed
        950 ms  migrated to version 2 {"a":2,"b":1}
        960 ms  → End {"a":3} without b
        960 ms  end
    "
  `);
});

test("generated answers are the same for the same seed, and reach more than the happy way", async () => {
  const transcripts = async (seed: number): Promise<string[]> => {
    const kit = await testEngine({ hubs: [createFlow], generate: { seed, failures: 0.3 } });
    const ids = await Promise.all(Array.from({ length: 20 }, () => kit.submit(createFlow, { length: 3 })));
    await kit.advance("1 min");
    return Promise.all(ids.map(async (id) => kit.transcript(id)));
  };
  const first = await transcripts(1);
  expect(await transcripts(1)).toEqual(first);
  expect(await transcripts(2)).not.toEqual(first);
  expect(first.some((text) => text.includes("table-full"))).toBe(true);
  expect(first.some((text) => text.includes("Approving"))).toBe(true);
});

test("it works under node:test, too", async () => {
  const flags = ["--test", "--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const file = join(import.meta.dirname, "node-test.ts");
  // What tells node:test that it runs within another test would have it print nothing.
  const { NODE_TEST_CONTEXT: _within, ...env } = process.env;
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, "--test-reporter=tap", file], {
    env,
  });
  expect(stdout).toMatch(/^# pass 2$/m);
  expect(stdout).toMatch(/^# fail 0$/m);
});

test("the transcript says when a run begins that another one starts", async () => {
  const delays = hub(
    "delays",
    {
      request: z.object({ at: z.number() }),
      reply: z.object({}),
      deadlineMs: 1000,
      chart: { Starting: { Started: "Done" }, Done: end },
      data: (request) => request,
    },
    {
      Starting: (s) =>
        s.start(createFlow, { input: () => ({ length: 1 }), startAt: ({ at }) => at, next: "Started" }),
      Done: () => ({}),
    },
  );
  const kit = await testEngine({ hubs: [delays] });
  await kit.call(delays, { at: kit.clock.wallMs() + 5000 }, { key: "k" });
  expect(await kit.transcript("k")).toContain('starts create-flow {"length":1} at 5000 ms\n');
});
