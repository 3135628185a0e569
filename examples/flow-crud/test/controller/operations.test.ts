import { explore, testEngine } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { createController } from "../../src/controller/controller.ts";
import { FlowSpec, switchIdOf, type Layout, type Path } from "../../src/controller/model.ts";
import { controllerSpokes } from "../../src/controller/spokes.ts";
import type { Plan } from "../../src/controller/store.ts";

// What the hubs of flows decide, without a database and without switches.

const spokes = controllerSpokes();
const { hubs } = createController();
const [one, two, three, four] = [1, 2, 3, 4].map((number) => switchIdOf(BigInt(number))) as [
  string,
  string,
  string,
  string,
];

const spec = FlowSpec.parse({
  flowId: "f",
  source: { switchId: one, port: 1, vlan: 10 },
  destination: { switchId: three, port: 1, vlan: 20 },
  bandwidth: 1000,
});

const pathOver = (id: number, middle: string, port: number): Path => ({
  id,
  role: "main",
  segments: [
    { from: one, fromPort: port, to: middle, toPort: 101 },
    { from: middle, fromPort: 103, to: three, toPort: port },
  ],
  vlan: 100 + id,
  meters: { forward: 32 + id, reverse: 32 + id },
  bandwidth: 1000,
  latencyMs: 1,
});

const old: Layout = { spec, paths: [pathOver(1, two, 102)] };
const next: Layout = { spec, paths: [pathOver(2, four, 104)] };
const planOf = (before: Layout | null, after: Layout | null, version = 1000): Plan => ({
  version,
  before,
  after,
  isMoved: true,
  shortcoming: null,
});
const confirmed = { ok: { unconfirmed: [] } };

test.each([
  ["an update", hubs.update, [{ flowId: "f", changes: { priority: 1 } }], planOf(old, next)],
  ["a create", hubs.create, [{ spec, keep: true }], planOf(null, next)],
  ["a delete", hubs.delete, [{ flowId: "f" }], planOf(old, null)],
] as const)("every path of %s is explored, and nothing is wrong", (_what, hub, requests, plan) => {
  const report = explore(hub as typeof hubs.update, {
    requests: requests as never,
    outputs: {
      "plan-flow": [{ plan, abandoned: null }],
      "ensure-rules": [{ unconfirmed: [] }],
      "install-rules": [{}],
      "commit-flow": [{}],
      "settle-flow": [{}],
      "undo-flow": [{}],
    },
    maxConfigurations: 20_000,
  });
  // Each of them takes only some of the edges that they share.
  const findings = report.findings.filter(
    ({ kind }) => kind !== "edge-untaken" && kind !== "state-unreached",
  );
  expect(findings, String(report)).toEqual([]);
  expect(report.complete).toBe(true);
});

async function kitOf(of = hubs) {
  const kit = await testEngine({ hubs: Object.values(of) });
  /** What has been done, in its order. */
  const done: string[] = [];
  const note = (what: string): void => void done.push(what);
  return { kit, done, note };
}

test("a flow moves make before break, and its old rules go at last", async () => {
  const { kit, done, note } = await kitOf();
  kit.script(spokes.plan, { ok: { plan: planOf(old, next), abandoned: null } });
  kit.script(spokes.install, ({ switchId, rules, seq }) => {
    note(`install ${seq} ${switchId.at(-1)}: ${rules.map(({ kind }) => kind).join(" ")}`);
    return { ok: {} };
  });
  kit.script(spokes.commit, () => (note("commit"), { ok: {} }));
  kit.script(spokes.ensure, ({ seq, present, absent }) => {
    note(`ensure ${seq}: ${present.length} there, ${absent.length} gone`);
    return confirmed;
  });
  kit.script(spokes.settle, () => (note("settle"), { ok: {} }));
  const answer = await kit.call(hubs.reroute, { flowId: "f" });
  expect(answer).toMatchObject({ kind: "result", value: { flowId: "f", isMoved: true, unconfirmed: [] } });
  expect(done.map((line) => line.replace(/^install 1001 4: rule rule$/, "transit"))).toEqual([
    "install 1001 1: meter rule",
    "transit",
    "install 1001 3: rule meter",
    "install 1001 1: rule",
    "install 1001 3: rule",
    "commit",
    // Four rules behind the entries, and two meters. The entries were overwritten.
    "ensure 1003: 0 there, 6 gone",
    "settle",
  ]);
});

test("if a switch between the ends fails, another path is tried, and the first one leaves nothing", async () => {
  const { kit, done, note } = await kitOf();
  kit.script(spokes.plan, ({ step, avoid }) => {
    note(`plan ${step} without ${avoid.switches.map((id) => id.at(-1)).join(" ") || "nothing"}`);
    return {
      ok: {
        plan: step === 1 ? planOf(old, next) : planOf(old, { spec, paths: [pathOver(3, two, 102)] }, 2000),
        abandoned: null,
      },
    };
  });
  kit.script(spokes.install, ({ switchId }) =>
    switchId === four ? { fail: "table-full", message: "the table is full" } : { ok: {} },
  );
  kit.script(spokes.ensure, ({ seq, present, absent }) => {
    note(`ensure ${seq}: ${present.length} there, ${absent.length} gone`);
    return confirmed;
  });
  kit.script(spokes.commit, ({ step }) => (note(`commit ${step}`), { ok: {} }));
  kit.script(spokes.settle, ({ step }) => (note(`settle ${step}`), { ok: {} }));
  expect(await kit.call(hubs.reroute, { flowId: "f" })).toMatchObject({ kind: "result" });
  expect(done).toEqual([
    "plan 1 without nothing",
    "ensure 1002: 2 there, 6 gone",
    "plan 11 without 4",
    "commit 12",
    "ensure 2003: 0 there, 6 gone",
    "settle 14",
  ]);
});

test("if a switch at an end fails, no path helps: all is put back", async () => {
  const { kit, done, note } = await kitOf();
  kit.script(spokes.plan, { ok: { plan: planOf(old, next), abandoned: null } });
  kit.script(spokes.install, ({ switchId, rules }) =>
    switchId === three && rules.length === 1 ? { fail: "refused", message: "no such port" } : { ok: {} },
  );
  kit.script(spokes.ensure, ({ present, absent }) => {
    note(`${present.map(({ switchId }) => switchId.at(-1)).join(" ")} there, ${absent.length} gone`);
    return confirmed;
  });
  kit.script(spokes.undo, ({ step, info }) => (note(`undo ${step}: ${info}`), { ok: {} }));
  const answer = await kit.call(hubs.update, { flowId: "f", changes: { bandwidth: 5 } });
  expect(answer).toMatchObject({
    kind: "error",
    code: "not-installed",
    message: `switch ${three}: no such port`,
  });
  expect(done).toEqual(["1 3 there, 6 gone", "undo 5: null"]);
});

test("what a plan refuses is answered at once, and nothing is undone", async () => {
  const { kit } = await kitOf();
  kit.script(spokes.plan, { fail: "no-path", message: "no path has 1000 kbit/s" });
  expect(await kit.call(hubs.create, { spec })).toMatchObject({ kind: "error", code: "no-path" });
  expect(kit.attempts(spokes.undo)).toEqual([]);
});

test.each(["deadline", "cancel"] as const)("a %s in the middle undoes what was begun", async (by) => {
  // Otherwise the switches are given up before.
  const { kit } = await kitOf(createController({ switchTimeoutMs: 60_000 }).hubs);
  kit.script(spokes.plan, { ok: { plan: planOf(null, next), abandoned: null } });
  kit.script(spokes.install, "hang");
  kit.script(spokes.ensure, confirmed);
  kit.script(spokes.undo, { ok: {} });
  const id = await kit.submit(hubs.create, { spec, keep: true });
  await kit.advance(by === "cancel" ? "1s" : "31s");
  if (by === "cancel") await kit.cancel(id);
  expect(await kit.answer(id)).toMatchObject({
    kind: "error",
    code: by === "cancel" ? "cancelled" : "timeout",
  });
  expect(kit.attempts(spokes.ensure)[0]?.input).toMatchObject({
    seq: 1002,
    present: [],
    absent: { length: 8 },
  });
  expect(kit.attempts(spokes.undo)[0]?.input).toMatchObject({ step: 5 });
});

test.each([
  // What the earlier run would have told the switches at last: to put back the entries and remove the new path, or to remove the old one.
  [false, "ensure 1002: 2 there, 6 gone"],
  [true, "ensure 1003: 0 there, 6 gone"],
])(
  "what an earlier run has left is closed before anything else (committed: %s)",
  async (isCommitted, closing) => {
    const { kit, done, note } = await kitOf();
    let left: Plan | null = planOf(old, next);
    const stands = isCommitted ? next : old;
    kit.script(spokes.plan, ({ step }) => {
      note(`plan ${step}`);
      if (left !== null) return { ok: { plan: null, abandoned: { abandoned: left, isCommitted } } };
      return { ok: { plan: planOf(stands, null, 2000), abandoned: null } };
    });
    kit.script(spokes.ensure, ({ seq, present, absent }) => {
      note(`ensure ${seq}: ${present.length} there, ${absent.length} gone`);
      return confirmed;
    });
    kit.script(spokes.closePlan, ({ step }) => {
      note(`close ${step}`);
      left = null;
      return { ok: {} };
    });
    kit.script(spokes.commit, ({ step }) => (note(`commit ${step}`), { ok: {} }));
    kit.script(spokes.settle, ({ step }) => (note(`settle ${step}`), { ok: {} }));
    expect(await kit.call(hubs.delete, { flowId: "f" })).toMatchObject({ kind: "result" });
    expect(done).toEqual([
      "plan 1",
      closing,
      "close 6",
      "plan 11",
      "commit 12",
      "ensure 2003: 0 there, 8 gone",
      "settle 14",
    ]);
  },
);

test("if what an earlier run has left cannot be closed in time, it stays for the next one", async () => {
  const { kit } = await kitOf();
  kit.script(spokes.plan, {
    ok: { plan: null, abandoned: { abandoned: planOf(old, next), isCommitted: false } },
  });
  kit.script(spokes.ensure, ({ absent }) => (absent.length > 0 ? "hang" : confirmed));
  kit.script(spokes.undo, { ok: {} });
  const id = await kit.submit(hubs.sync, { flowId: "f" });
  await kit.advance("31s");
  expect(await kit.answer(id)).toMatchObject({ kind: "error", code: "timeout" });
  expect(kit.attempts(spokes.closePlan)).toEqual([]);
});

test("nobody waits for a clean-up that takes long, and it goes on", async () => {
  const { kit } = await kitOf();
  kit.script(spokes.plan, { ok: { plan: planOf(old, null), abandoned: null } });
  kit.script(spokes.commit, { ok: {} });
  kit.script(spokes.ensure, "hang");
  kit.script(spokes.settle, { ok: {} });
  const id = await kit.submit(hubs.delete, { flowId: "f" });
  await kit.advance("11s");
  expect(await kit.answer(id)).toMatchObject({ kind: "result", value: { layout: null } });
  // Its flow takes no other operation before its rules are gone, or noted.
  await expect(kit.submit(hubs.create, { spec })).rejects.toThrow("WW_BUSY");
  await kit.advance("1 h");
  expect(kit.attempts(spokes.settle)).toEqual([]);
  kit.script(spokes.ensure, { ok: { unconfirmed: [{ switchId: two, rules: 2 }] } });
  await kit.advance("1 min");
  expect(kit.attempts(spokes.settle)).toHaveLength(1);
  await kit.submit(hubs.create, { spec });
});

test("flows that are due are looked after by a schedule, over a death of the process, for as long as there are some", async () => {
  const { all, schedules } = createController({ patienceMs: 60_000 });
  const kit = await testEngine({ hubs: all, schedules });
  let due = ["f", "g"];
  kit.script(spokes.takeDue, () => {
    const flows = due.splice(0);
    return { ok: { flows, freed: [], nextInMs: flows.length > 0 ? 60_000 : null } };
  });
  kit.script(spokes.plan, { fail: "no-path", message: "no path" });
  const planned = () => kit.attempts(spokes.plan).map(({ input }) => input.flowId);
  await kit.advance("4 min");
  expect([kit.attempts(spokes.takeDue), planned()]).toEqual([[], []]);
  await kit.advance("1 min");
  expect(planned()).toEqual(["f", "g"]);
  // Meanwhile it rests.
  due = ["h"];
  await kit.crash("1 min");
  await kit.advance("10s");
  expect(planned()).toEqual(["f", "g", "h"]);
  // Then nothing is left, and it ends. The next tick begins anew.
  await kit.advance("10s");
  const looks = kit.attempts(spokes.takeDue).length;
  await kit.advance("2 min");
  expect(kit.attempts(spokes.takeDue)).toHaveLength(looks);
  await kit.advance("5 min");
  expect(kit.attempts(spokes.takeDue)).toHaveLength(looks + 1);
});

test("the newest reroute of the network waits for the operation under way, and stands for those before it", async () => {
  const { kit } = await kitOf();
  kit.script(spokes.plan, { ok: { plan: planOf(old, old), abandoned: null }, afterMs: 1_000 });
  kit.script(spokes.commit, { ok: {} });
  const first = await kit.submit(hubs.update, { flowId: "f", changes: {} });
  const second = await kit.submit(hubs.restore, { flowId: "f", reason: "a link has failed" });
  const third = await kit.submit(hubs.restore, { flowId: "f", reason: "another link has failed" });
  await kit.advance("10s");
  expect(await kit.answer(first)).toMatchObject({ kind: "result" });
  expect(await kit.answer(second)).toMatchObject({ kind: "error", code: "WW_REPLACED" });
  expect(await kit.answer(third)).toMatchObject({ kind: "result" });
});
