import { expect, onTestFinished, test } from "vitest";
import type { Abandoned, FlowStore, Plan, Refusal } from "../../src/controller/store.ts";
import { build, id, linkEvent, Operator, segmentOf, specOf, square, switchEvent } from "./network.ts";

/** What a store of a test is told. */
interface TestStoreOptions {
  readonly rememberMs?: number;
  readonly wallMs?: () => number;
}

/** A content of its own; the result opens it, and opens the same content again. */
export type NewStore = (options: TestStoreOptions) => Promise<() => FlowStore>;

export const reroute = { kind: "reroute", isAutomatic: false } as const;
export const restore = { kind: "reroute", isAutomatic: true } as const;
export const remove = { kind: "delete" } as const;

/** The result opens a store with a network, and looks through its books when the test is over. */
export function openerOf(newStore: NewStore) {
  return async (options: TestStoreOptions = {}, cables = square) => {
    const opening = await newStore(options);
    const store = opening();
    let current = store;
    const reopen = async (): Promise<FlowStore> => {
      await current.close();
      current = opening();
      return current;
    };
    onTestFinished(async () => {
      expect(await current.audit()).toEqual([]);
      await current.close();
    });
    const operator = new Operator(store);
    await build(store, 5, cables);
    return { store, operator, reopen };
  };
}

/** A plan that was not refused. */
export const planned = (plan: Plan | Abandoned | Refusal): Plan => {
  if ("version" in plan) return plan;
  throw new Error(JSON.stringify(plan));
};

/** What every store of flows does. */
export function conforms(newStore: NewStore): void {
  const open = openerOf(newStore);

  test("a flow is created: it takes what it needs when it is planned, and stands when it is committed", async () => {
    const { store, operator } = await open();
    const spec = specOf("a", 10);
    const plan = planned(await operator.plan("a", { kind: "create", spec }));
    expect(plan).toMatchObject({ version: 1_000, before: null, isMoved: true, shortcoming: null });
    expect(plan.after?.paths).toEqual([
      {
        id: 1,
        role: "main",
        segments: [segmentOf({ ends: [1, 2] }), segmentOf({ ends: [2, 4] })],
        vlan: 2,
        meters: { forward: 32, reverse: 32 },
        bandwidth: 100,
        latencyMs: 2,
      },
    ]);
    expect([await operator.used(1, 2), await operator.used(4, 2), await operator.used(1, 3)]).toEqual([
      100, 100, 0,
    ]);
    expect(await store.flow("a")).toMatchObject({ status: "DOWN", paths: [] });
    await operator.finish("a");
    expect(await store.flow("a")).toMatchObject({ status: "UP", spec, live: { 1: true }, info: null });
    expect(await store.counts()).toEqual({ UP: 1, DOWN: 0, DEGRADED: 0 });
  });

  test("flows get VLANs and meters that nobody has on their switches, and ids that nobody has had", async () => {
    const { operator } = await open();
    await operator.create(specOf("a", 10));
    const second = await operator.create(specOf("b", 11));
    expect(second.after?.paths[0]).toMatchObject({ id: 2, vlan: 3, meters: { forward: 33, reverse: 33 } });
    await operator.run("a", remove);
    const third = await operator.create(specOf("c", 10));
    expect(third.after?.paths[0]).toMatchObject({ id: 3, vlan: 2, meters: { forward: 32, reverse: 32 } });
    const unmetered = await operator.create(specOf("d", 12, { bandwidth: 0 }));
    expect(unmetered.after?.paths[0]).toMatchObject({
      meters: { forward: null, reverse: null },
      bandwidth: 0,
    });
    const ignoring = await operator.create(specOf("e", 13, { ignoreBandwidth: true }));
    expect(ignoring.after?.paths[0]).toMatchObject({ meters: { forward: 34, reverse: 34 }, bandwidth: 0 });
    expect(await operator.used(1, 2)).toBe(200);
  });

  test("both ends on one switch: a path without links, and two meters", async () => {
    const { store, operator } = await open();
    const ends = {
      source: { switchId: id(5), port: 1, vlan: 0 },
      destination: { switchId: id(5), port: 1, vlan: 7 },
    };
    const { after } = await operator.create(specOf("a", 10, ends));
    expect(after?.paths).toMatchObject([{ segments: [], vlan: null, meters: { forward: 32, reverse: 33 } }]);
    expect(await store.flow("a")).toMatchObject({ status: "UP", live: { 1: true } });
  });

  test("all that is wrong with a flow is said at once, and nothing is left of it", async () => {
    const { store, operator } = await open();
    const end = { switchId: id(9), port: 1, vlan: 5 };
    const wrong = {
      source: end,
      destination: end,
      bandwidth: 63,
      pinned: true,
      protectedPath: true,
      ignoreBandwidth: true,
      strictBandwidth: true,
      diverseWith: "nobody",
      maxLatencyMs: 5,
      maxLatencyTier2Ms: 4,
    };
    const { code, message } = await operator.refused("a", { kind: "create", spec: specOf("a", 1, wrong) });
    expect(code).toBe("invalid");
    for (const problem of [
      "below 64",
      "same port and VLAN",
      "on one switch",
      "pinned",
      "ignores its bandwidth",
      "source is on switch",
      "destination is on switch",
      "nobody",
      "second limit",
    ]) {
      expect(message).toContain(problem);
    }
    await store.note(switchEvent(4, false));
    const onLink = { source: { switchId: id(1), port: 102, vlan: 5 } };
    const second = await operator.refused("a", { kind: "create", spec: specOf("a", 1, onLink) });
    expect(second.message).toContain("port 102");
    expect(second.message).toContain("not connected");
    expect(await store.flow("a")).toBeUndefined();
    expect(await store.counts()).toEqual({ UP: 0, DOWN: 0, DEGRADED: 0 });
  });

  test("an endpoint has one owner; a whole port is another endpoint than its VLANs", async () => {
    const { operator } = await open();
    await operator.create(specOf("a", 10));
    await operator.create(specOf("whole", 0));
    const taken = await operator.refused("b", { kind: "create", spec: specOf("b", 10) });
    expect(taken).toMatchObject({ code: "conflict", message: expect.stringContaining("flow a") });
    expect(await operator.refused("c", { kind: "create", spec: specOf("c", 0) })).toMatchObject({
      code: "conflict",
    });
    expect(await operator.refused("a", { kind: "create", spec: specOf("a", 20) })).toMatchObject({
      code: "exists",
    });
    const changes = { source: { switchId: id(1), port: 1, vlan: 0 } };
    expect(await operator.refused("a", { kind: "update", changes })).toMatchObject({ code: "conflict" });
  });

  test("no operation on a flow that is not known", async () => {
    const { store, operator } = await open();
    for (const intent of [
      reroute,
      remove,
      { kind: "sync" },
      { kind: "swap" },
      { kind: "update", changes: {} },
    ] as const) {
      expect(await operator.refused("a", intent)).toMatchObject({ code: "unknown" });
    }
    expect(await store.commit("b", { fence: 1, step: 1 }, null)).toMatchObject({ code: "unknown" });
    expect(await store.settle("b", { fence: 1, step: 2 }, null)).toMatchObject({ code: "unknown" });
    expect(await store.undo("b", { fence: 1, step: 3 }, "no")).toBe("done");
    expect(await store.flows({ limit: 10 })).toEqual([]);
  });

  test("a repeated step is answered as before and changes nothing; an earlier one is superseded", async () => {
    const { store, operator } = await open();
    const intent = { kind: "create", spec: specOf("a", 10) } as const;
    const plan = (fence: number, step: number) => store.plan("a", { fence, step }, intent, { switches: [] });
    const first = planned(await plan(5, 1));
    expect(await plan(5, 1)).toEqual(first);
    expect(await store.commit("a", { fence: 5, step: 2 }, null)).toBe("done");
    expect(await store.commit("a", { fence: 5, step: 2 }, null)).toBe("done");
    expect(await plan(5, 1)).toMatchObject({ code: "superseded" });
    expect(await plan(4, 9)).toMatchObject({ code: "superseded" });
    // The number of the last step with another operation.
    expect(await plan(5, 2)).toMatchObject({ code: "superseded" });
    expect(await store.settle("a", { fence: 5, step: 3 }, "why")).toBe("done");
    expect(await store.settle("a", { fence: 5, step: 3 }, "why")).toBe("done");
    const refusal = await plan(6, 1);
    expect(refusal).toMatchObject({ code: "exists" });
    await operator.store.undo("a", { fence: 6, step: 2 }, null);
    expect(await plan(6, 1)).toMatchObject({ code: "superseded" });
    expect(await store.flow("a")).toMatchObject({ info: "why", status: "UP" });
  });

  test("the guard outlives its flow, and is forgotten when it is old", async () => {
    let now = 1_000_000;
    const { store, operator } = await open({ rememberMs: 60_000, wallMs: () => now });
    const late = { kind: "create", spec: specOf("a", 10) } as const;
    const plan = (fence: number, step: number) => store.plan("a", { fence, step }, late, { switches: [] });
    await plan(1, 1);
    await store.undo("a", { fence: 1, step: 2 }, null);
    expect(await store.flow("a")).toBeUndefined();
    expect(await plan(1, 1)).toMatchObject({ code: "superseded" });
    // A run that was given up before its first attempt came.
    await store.undo("b", { fence: 1, step: 2 }, null);
    const b = { kind: "create", spec: specOf("b", 11) } as const;
    expect(await store.plan("b", { fence: 1, step: 1 }, b, { switches: [] })).toMatchObject({
      code: "superseded",
    });
    now += 59_000;
    await operator.create(specOf("c", 12));
    expect(await plan(1, 1)).toMatchObject({ code: "superseded" });
    now += 62_000;
    await operator.create(specOf("d", 13));
    expect(planned(await plan(1, 1)).after).not.toBeNull();
  });

  test("a plan that is undone leaves nothing, or a flow that is DOWN", async () => {
    const { store, operator } = await open();
    await operator.plan("a", { kind: "create", spec: specOf("a", 10) });
    expect(await store.undo("a", operator.guard(), "gone")).toBe("done");
    expect([await store.flow("a"), await operator.used(1, 2)]).toEqual([undefined, 0]);
    await operator.plan("a", { kind: "create", spec: specOf("a", 10), keep: true });
    expect(await store.undo("a", operator.guard(), "switch 2 refused")).toBe("done");
    expect(await store.flow("a")).toMatchObject({ status: "DOWN", paths: [], info: "switch 2 refused" });
    expect(await operator.used(1, 2)).toBe(0);
    // It keeps its id and its endpoints, and can be rerouted.
    expect(await operator.refused("a", { kind: "create", spec: specOf("a", 10) })).toMatchObject({
      code: "exists",
    });
    expect(await operator.refused("b", { kind: "create", spec: specOf("b", 10) })).toMatchObject({
      code: "conflict",
    });
    expect(await operator.refused("a", { kind: "sync" })).toMatchObject({ code: "invalid" });
    await operator.run("a", restore);
    expect(await store.flow("a")).toMatchObject({ status: "UP", info: null });
  });

  test("the next try of a run begins with what its earlier one has taken", async () => {
    const { operator } = await open();
    await operator.plan("a", { kind: "create", spec: specOf("a", 10) });
    // Switch 2 has refused.
    const next = planned(await operator.again("a", { kind: "create", spec: specOf("a", 10) }, [id(2)]));
    expect(next).toMatchObject({ before: null, version: 2_000 });
    expect([await operator.used(1, 2), await operator.used(1, 3)]).toEqual([0, 100]);
  });

  test("a committed plan can be undone until it is settled, since a run may not know that it was committed", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10));
    await operator.plan("a", { kind: "update", changes: { bandwidth: 200 } });
    await store.commit("a", operator.guard(), null);
    expect(await store.flow("a")).toMatchObject({ spec: { bandwidth: 200 } });
    expect(await store.undo("a", operator.guard(), null)).toBe("done");
    expect(await store.flow("a")).toMatchObject({ spec: { bandwidth: 100 }, paths: [{ id: 1 }] });
    expect(await operator.used(1, 2)).toBe(100);
    expect(await store.settle("a", operator.guard(), null)).toMatchObject({ code: "unknown" });
    // Another run does not undo what was committed.
    await operator.plan("a", { kind: "update", changes: { bandwidth: 200 } });
    await store.commit("a", operator.guard(), null);
    expect(await store.undo("a", { fence: 99, step: 1 }, null)).toBe("done");
    expect(await store.flow("a")).toMatchObject({ spec: { bandwidth: 200 } });
  });

  test("a switch that connects concerns no flow that is being created", async () => {
    const { store, operator } = await open();
    await operator.plan("a", { kind: "create", spec: specOf("a", 10) });
    expect(await store.note(switchEvent(1, true))).toEqual([]);
    // A link of its path that fails does.
    expect(await store.note(linkEvent({ ends: [1, 2] }, false))).toEqual(["a"]);
  });

  test("an end on a port that its switch does not have is refused", async () => {
    const { store, operator } = await open();
    await store.note({
      kind: "switch",
      switchId: id(1),
      isConnected: true,
      address: "",
      description: "",
      ports: [{ port: 1, name: "eth1", isUp: true, speedKbps: 0 }],
    });
    await operator.create(specOf("a", 10, { source: { switchId: id(1), port: 1, vlan: 5 } }));
    const refused = await operator.refused("b", {
      kind: "create",
      spec: specOf("b", 11, { source: { switchId: id(1), port: 9, vlan: 5 } }),
    });
    expect(refused).toMatchObject({ code: "invalid" });
    expect(refused.message).toContain("port 9");
  });

  test("a flow that is kept stays, also if its next try finds no path", async () => {
    const { store, operator } = await open();
    await operator.plan("a", { kind: "create", spec: specOf("a", 10), keep: true });
    const everything = { switches: [1, 2, 3, 4].map(id) };
    const second = await store.plan(
      "a",
      operator.guard(),
      { kind: "create", spec: specOf("a", 10) },
      everything,
    );
    expect(second).toMatchObject({ code: expect.stringMatching(/no-path|inactive|invalid/) as string });
    expect(await store.undo("a", operator.guard(), "no path")).toBe("done");
    expect(await store.flow("a")).toMatchObject({ status: "DOWN", paths: [], info: "no path" });
    expect(await operator.used(1, 2)).toBe(0);
  });

  test("a commit settles with it, if it is told to", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10));
    await operator.plan("a", { kind: "update", changes: { bandwidth: 200 } });
    expect(await store.commit("a", operator.guard(), { info: "it is narrow" })).toBe("done");
    expect(await store.flow("a")).toMatchObject({ spec: { bandwidth: 200 }, info: "it is narrow" });
    expect(await operator.used(1, 2)).toBe(200);
    expect(await store.recall("a", operator.guard())).toBe("settled");
    // There is nothing to go back to any more.
    expect(await store.undo("a", operator.guard(), null)).toBe("done");
    expect(await store.flow("a")).toMatchObject({ spec: { bandwidth: 200 } });
  });

  test("who does not know what has come of a commit asks, and then it comes true no more", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10));
    await operator.plan("a", { kind: "update", changes: { bandwidth: 200 } });
    const late = operator.guard();
    const asked = operator.guard();
    expect(await store.recall("a", asked)).toBe("open");
    expect(await store.commit("a", late, null)).toMatchObject({ code: "superseded" });
    expect(await store.recall("a", asked)).toBe("open");
    expect(await store.undo("a", operator.guard(), null)).toBe("done");
    expect(await store.flow("a")).toMatchObject({ spec: { bandwidth: 100 } });
    await operator.plan("a", { kind: "update", changes: { bandwidth: 300 } });
    await store.commit("a", operator.guard(), null);
    expect(await store.recall("a", operator.guard())).toBe("committed");
    expect(await store.settle("a", operator.guard(), null)).toBe("done");
    expect(await operator.used(1, 2)).toBe(300);
    expect(await store.recall("nobody", operator.guard())).toBe("open");
  });

  test("a flow that is deleted is not shown from the commit on, and its id is free when it is settled", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10));
    const plan = planned(await operator.plan("a", remove));
    expect(plan).toMatchObject({ after: null, before: { paths: [{ id: 1 }] }, isMoved: false });
    await store.commit("a", operator.guard(), null);
    expect([await store.flow("a"), await operator.used(1, 2)]).toEqual([undefined, 100]);
    const settled = operator.guard();
    expect(await operator.refused("b", { kind: "create", spec: specOf("b", 10) })).toMatchObject({
      code: "conflict",
    });
    expect(await store.settle("a", settled, null)).toBe("done");
    expect(await operator.used(1, 2)).toBe(0);
    await operator.create(specOf("b", 10));
    await operator.plan("b", remove);
    await store.commit("b", operator.guard(), null);
    // A run that has ended without it is no obstacle: the next one ends the deletion first.
    const intent = { kind: "create", spec: specOf("b", 10) } as const;
    expect(await operator.plan("b", intent)).toMatchObject({ isCommitted: true, abandoned: { after: null } });
    await store.closePlan("b", operator.guard());
    expect(await operator.again("b", intent)).toMatchObject({ before: null });
    await operator.finish("b");
  });

  test("a link is never over-booked; a flow's old and new path share what both need of it", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10, { bandwidth: 600 }));
    await operator.create(specOf("b", 11, { bandwidth: 600 }));
    expect([await operator.ways("a"), await operator.ways("b")]).toEqual([[[1, 2, 4]], [[1, 3, 4]]]);
    const third = specOf("c", 12, { bandwidth: 600 });
    expect(await operator.refused("c", { kind: "create", spec: third })).toMatchObject({ code: "no-path" });
    expect(await store.flow("c")).toBeUndefined();
    const plan = planned(await operator.plan("a", { kind: "update", changes: { bandwidth: 900 } }));
    expect(plan).toMatchObject({ isMoved: true, after: { paths: [{ id: 3, bandwidth: 900 }] } });
    expect(await operator.used(1, 2)).toBe(900);
    await operator.finish("a");
    await operator.plan("a", { kind: "update", changes: { bandwidth: 100 } });
    // The old path still has it.
    expect(await operator.used(1, 2)).toBe(900);
    await operator.finish("a");
    expect(await operator.used(1, 2)).toBe(100);
    const changes = { bandwidth: 1_001 };
    expect(await operator.refused("a", { kind: "update", changes })).toMatchObject({ code: "no-path" });
    expect(await store.flow("a")).toMatchObject({ spec: { bandwidth: 100 } });
    await operator.create(specOf("free", 13, { bandwidth: 5_000, ignoreBandwidth: true }));
  });

  test("an update changes no more than it must", async () => {
    const { store, operator } = await open();
    const { after: created } = await operator.create(specOf("a", 10));
    const described = await operator.run("a", {
      kind: "update",
      changes: { description: "new", priority: 3 },
    });
    expect(described).toMatchObject({
      isMoved: false,
      after: { spec: { description: "new" }, paths: created?.paths },
    });
    const moved = await operator.run("a", {
      kind: "update",
      changes: { destination: { switchId: id(4), port: 2, vlan: 11 } },
    });
    expect(moved).toMatchObject({ isMoved: false, after: { paths: created?.paths } });
    // The old endpoint is free, the new one is not.
    await operator.create(specOf("b", 20, { destination: { switchId: id(4), port: 1, vlan: 10 } }));
    const same = { destination: { switchId: id(4), port: 2, vlan: 11 } };
    const conflict = await operator.refused("c", { kind: "create", spec: specOf("c", 30, same) });
    expect(conflict).toMatchObject({ code: "conflict" });
    const ignoring = await operator.run("a", { kind: "update", changes: { ignoreBandwidth: true } });
    expect(ignoring).toMatchObject({ isMoved: false, after: { paths: [{ id: 1, bandwidth: 0 }] } });
    const other = await operator.run("a", {
      kind: "update",
      changes: { destination: { switchId: id(1), port: 9, vlan: 11 } },
    });
    expect(other).toMatchObject({ isMoved: true, after: { paths: [{ segments: [] }] } });
    expect(await store.flow("a")).toMatchObject({ status: "UP" });
    const wrong = { destination: { switchId: id(1), port: 102, vlan: 0 }, protectedPath: true, bandwidth: 1 };
    const { code, message } = await operator.refused("a", { kind: "update", changes: wrong });
    expect([code, ["port 102", "protected", "below 64"].every((part) => message.includes(part))]).toEqual([
      "invalid",
      true,
    ]);
  });

  test("a protected path shares no link with the main one; it is swapped to, and back", async () => {
    const { store, operator } = await open();
    const { after } = await operator.create(specOf("a", 10, { protectedPath: true }));
    expect(after?.paths).toMatchObject([{ role: "main" }, { role: "protected" }]);
    expect(await operator.ways("a")).toEqual([
      [1, 2, 4],
      [1, 3, 4],
    ]);
    const swapped = await operator.run("a", { kind: "swap" });
    expect(swapped).toMatchObject({
      isMoved: true,
      after: {
        paths: [
          { id: 2, role: "main" },
          { id: 1, role: "protected" },
        ],
      },
    });
    expect(await operator.ways("a")).toEqual([
      [1, 3, 4],
      [1, 2, 4],
    ]);
    await store.note(linkEvent({ ends: [1, 2] }, false));
    expect(await operator.status("a")).toBe("DEGRADED");
    expect(await operator.refused("a", { kind: "swap" })).toMatchObject({ code: "invalid" });
    const blocked = specOf("b", 11, { protectedPath: true });
    expect(await operator.refused("b", { kind: "create", spec: blocked })).toMatchObject({ code: "no-path" });
    expect(await store.flow("b")).toBeUndefined();
    // An update goes on without one.
    await operator.create(specOf("b", 11));
    const plan = await operator.run("b", { kind: "update", changes: { protectedPath: true } });
    expect(plan).toMatchObject({ isMoved: false, shortcoming: expect.stringContaining("protected") });
    expect(await store.flow("b")).toMatchObject({ status: "DEGRADED", info: plan.shortcoming });
    const without = await operator.run("a", { kind: "update", changes: { protectedPath: false } });
    expect(without).toMatchObject({ isMoved: false, after: { paths: [{ id: 2 }] } });
    expect(await operator.status("a")).toBe("UP");
  });

  test("a flow that has all again when a link returns does not say any more what it lacked", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10, { protectedPath: true }));
    const restore = { kind: "reroute", isAutomatic: true } as const;
    expect(await store.note(linkEvent({ ends: [1, 3] }, false))).toEqual(["a"]);
    const { shortcoming } = await operator.run("a", restore);
    expect(await store.flow("a")).toMatchObject({ status: "DEGRADED", info: shortcoming });
    expect(shortcoming).not.toBeNull();
    expect(await store.note(linkEvent({ ends: [1, 3] }))).toEqual(["a"]);
    await operator.run("a", restore);
    expect(await store.flow("a")).toMatchObject({ status: "UP", info: null });
    expect(await store.note(linkEvent({ ends: [1, 3] }))).toEqual([]);
  });

  test("the first path gives way if it alone blocks each protected one", async () => {
    const cables = [
      [1, 2],
      [2, 3],
      [3, 4],
      [1, 3],
      [2, 4],
    ].map((ends) => ({ ends: ends as [number, number] }));
    const { store, operator } = await open({}, cables);
    for (const ends of [
      [1, 3],
      [2, 4],
    ] as const)
      await store.changeLink(segmentOf({ ends }), { cost: 5_000 });
    await operator.create(specOf("a", 10, { protectedPath: true }));
    await operator.create(specOf("b", 11));
    expect(await operator.ways("b")).toEqual([[1, 2, 3, 4]]);
    await operator.run("b", { kind: "update", changes: { protectedPath: true } });
    const pair = [
      [1, 2, 4],
      [1, 3, 4],
    ];
    expect([await operator.ways("a"), await operator.ways("b")]).toEqual([pair, pair]);
  });

  test("a link that fails concerns the flows on it, and no others; those of lower numbers first, then the larger ones", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("late", 10, { priority: 5 }));
    await operator.create(specOf("small", 11, { bandwidth: 64 }));
    await operator.create(specOf("large", 12));
    await operator.create(specOf("first", 13, { priority: 1, bandwidth: 64 }));
    await operator.create(specOf("pinned", 14, { pinned: true }));
    const aside = { destination: { switchId: id(3), port: 1, vlan: 15 } };
    await operator.create(specOf("aside", 15, aside));
    const failure = linkEvent({ ends: [4, 2] }, false);
    const expected = ["first", "late", "large", "small"];
    expect(await store.note(failure)).toEqual(expected);
    expect(await store.note(failure)).toEqual(expected);
    expect(await store.counts()).toEqual({ UP: 1, DOWN: 5, DEGRADED: 0 });
    expect(
      (await store.flows({ status: "DOWN", limit: 2, after: "first" })).map(({ spec }) => spec.flowId),
    ).toEqual(["large", "late"]);
    expect(await operator.refused("pinned", restore)).toMatchObject({ code: "pinned" });
    await operator.run("first", restore);
    // When it is there again: those that are not UP, or that it has touched and that nobody has looked at since.
    const back = linkEvent({ ends: [2, 4] });
    expect(await store.note(back)).toEqual(["late", "large", "small"]);
    expect(await store.note(back)).toEqual(["late", "large", "small"]);
    const same = await operator.run("late", restore);
    expect(same).toMatchObject({ isMoved: false, after: same.before });
    expect(await store.note(back)).toEqual(["large", "small"]);
    expect(await store.note(switchEvent(2, false))).toEqual([]);
    expect(await store.note(switchEvent(2))).toEqual([]);
  });

  test("a broken flow moves, one that is UP does not; without another path it waits for the link", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10));
    const calm = await operator.run("a", restore);
    expect(calm).toMatchObject({ isMoved: false, after: calm.before, shortcoming: null });
    await store.note(linkEvent({ ends: [1, 2] }, false));
    expect(await operator.status("a")).toBe("DOWN");
    expect(await operator.run("a", restore)).toMatchObject({ isMoved: true, before: { paths: [{ id: 1 }] } });
    expect([await operator.status("a"), await operator.ways("a")]).toEqual(["UP", [[1, 3, 4]]]);
    await store.note(linkEvent({ ends: [1, 2] }));
    // The old path is as good, and not better.
    expect(await operator.run("a", reroute)).toMatchObject({ isMoved: false });
    await store.changeLink(segmentOf({ ends: [1, 3] }), { cost: 701 });
    expect(await operator.run("a", restore)).toMatchObject({ isMoved: false });
    expect(await operator.run("a", reroute)).toMatchObject({ isMoved: true });
    await store.note(linkEvent({ ends: [1, 2] }, false));
    await store.note(linkEvent({ ends: [1, 3] }, false));
    expect(await operator.refused("a", restore)).toMatchObject({ code: "no-path" });
    await store.undo("a", operator.guard(), "no path");
    expect(await store.flow("a")).toMatchObject({ status: "DOWN", info: "no path" });
    expect(await store.note(linkEvent({ ends: [1, 3] }))).toEqual(["a"]);
    await operator.run("a", restore);
    expect(await store.flow("a")).toMatchObject({ status: "UP", info: null });
  });

  test("a broken main path gives its role to the protected one, and is replaced if that can be", async () => {
    const cables = [...square, { ends: [1, 5] as const }, { ends: [5, 4] as const }];
    const { store, operator } = await open({}, cables);
    await operator.create(specOf("a", 10, { protectedPath: true }));
    await store.note(linkEvent({ ends: [2, 4] }, false));
    expect(await operator.status("a")).toBe("DOWN");
    const replaced = await operator.run("a", restore);
    expect(replaced).toMatchObject({
      isMoved: true,
      shortcoming: null,
      after: { paths: [{ id: 2 }, { id: 3 }] },
    });
    expect(await operator.ways("a")).toEqual([
      [1, 3, 4],
      [1, 5, 4],
    ]);
    await store.note(linkEvent({ ends: [3, 4] }, false));
    const kept = await operator.run("a", restore);
    expect(kept).toMatchObject({ shortcoming: expect.any(String), after: { paths: [{ id: 3 }, { id: 2 }] } });
    expect(await operator.status("a")).toBe("DEGRADED");
    // A broken protected path does not move the main one.
    await store.note(linkEvent({ ends: [2, 4] }));
    const mended = await operator.run("a", restore);
    expect(mended).toMatchObject({ isMoved: false, after: { paths: [{ id: 3 }, { id: 4 }] } });
    expect([await operator.status("a"), await operator.ways("a")]).toEqual([
      "UP",
      [
        [1, 5, 4],
        [1, 2, 4],
      ],
    ]);
  });

  test("a flow without its bandwidth is DEGRADED, unless it insists on it; it gets it back when there is room", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10, { bandwidth: 600 }));
    await operator.create(specOf("strict", 11, { bandwidth: 64, strictBandwidth: true }));
    await operator.create(specOf("full", 12, { bandwidth: 1_000 }));
    await store.note(linkEvent({ ends: [1, 2] }, false));
    const plan = await operator.run("a", restore);
    expect(plan.after?.paths).toMatchObject([{ bandwidth: 0, meters: { forward: 35, reverse: 35 } }]);
    expect(plan.shortcoming).toContain("600");
    expect(await operator.status("a")).toBe("DEGRADED");
    expect(await operator.refused("strict", restore)).toMatchObject({ code: "no-path" });
    expect(await operator.run("a", restore)).toMatchObject({
      isMoved: false,
      shortcoming: expect.any(String),
    });
    await operator.run("full", remove);
    expect(await operator.run("a", restore)).toMatchObject({
      isMoved: false,
      after: { paths: [{ bandwidth: 600 }] },
    });
    expect([await operator.status("a"), await operator.used(1, 3)]).toEqual(["UP", 600]);
  });

  test("latency: a limit, and a second one that is better than nothing", async () => {
    const cables = square.map((cable, index) => ({ ...cable, latencyMs: index < 2 ? 10 : 2 }));
    const { store, operator } = await open({}, cables);
    await store.changeLink(segmentOf({ ends: [1, 3] }), { cost: 701 });
    await operator.create(specOf("quick", 10, { strategy: "latency" }));
    await operator.create(specOf("cheap", 11));
    await operator.create(specOf("limited", 12, { maxLatencyMs: 5 }));
    expect([
      await operator.ways("quick"),
      await operator.ways("cheap"),
      await operator.ways("limited"),
    ]).toEqual([[[1, 3, 4]], [[1, 2, 4]], [[1, 3, 4]]]);
    const never = specOf("never", 13, { maxLatencyMs: 3 });
    expect(await operator.refused("never", { kind: "create", spec: never })).toMatchObject({
      code: "no-path",
    });
    const second = { strategy: "max_latency", maxLatencyMs: 3, maxLatencyTier2Ms: 4 } as const;
    const plan = await operator.create(specOf("second", 14, second));
    expect(plan.shortcoming).toContain("3 ms");
    expect(await operator.status("second")).toBe("DEGRADED");
  });

  test("diverse flows share no link if that can be", async () => {
    const { operator } = await open();
    await operator.create(specOf("a", 10));
    await operator.create(specOf("b", 11, { diverseWith: "a" }));
    expect([await operator.ways("a"), await operator.ways("b")]).toEqual([[[1, 2, 4]], [[1, 3, 4]]]);
    // The named one keeps away as well, also for more cost.
    for (const cable of [{ ends: [1, 5] }, { ends: [5, 4] }] as const) {
      await operator.store.note(linkEvent(cable));
      await operator.store.changeLink(segmentOf(cable), { cost: 5_000 });
    }
    await operator.store.note(linkEvent({ ends: [1, 2] }, false));
    await operator.run("a", restore);
    expect(await operator.ways("a")).toEqual([[1, 5, 4]]);
    await operator.store.note(linkEvent({ ends: [1, 5] }, false));
    const plan = await operator.create(specOf("c", 12, { diverseWith: "b" }));
    expect(plan.shortcoming).toContain("flow b");
  });

  test("a switch to avoid is on no new path, and no protected path is swapped to over it", async () => {
    const cables = [...square, { ends: [1, 5] as const }, { ends: [5, 4] as const }];
    const { store, operator } = await open({}, cables);
    await operator.create(specOf("a", 10, { protectedPath: true }));
    await operator.create(specOf("b", 11));
    await store.note(linkEvent({ ends: [1, 2] }, false));
    expect(await operator.run("a", restore, [id(3)])).toMatchObject({ isMoved: true });
    expect((await operator.ways("a"))[0]).toEqual([1, 5, 4]);
    await store.note(linkEvent({ ends: [1, 2] }));
    // An update leaves a switch that has refused it, too.
    await operator.run("b", { kind: "update", changes: { description: "new" } }, [id(2)]);
    expect(await operator.ways("b")).toEqual([[1, 3, 4]]);
    // The ends cannot be avoided.
    await operator.run("b", reroute, [id(1), id(3), id(4)]);
    expect(await operator.ways("b")).toEqual([[1, 2, 4]]);
  });

  test("a VLAN of an endpoint is not taken on a link that was found on its port", async () => {
    const { store, operator } = await open();
    const ends = {
      source: { switchId: id(5), port: 7, vlan: 2 },
      destination: { switchId: id(5), port: 8, vlan: 2 },
    };
    await operator.create(specOf("a", 10, ends));
    const found = [
      { from: id(1), fromPort: 50, to: id(5), toPort: 7 },
      { from: id(5), fromPort: 51, to: id(4), toPort: 50 },
    ];
    for (const link of found) {
      await store.note({ kind: "link", ...link, isUp: true });
      await store.changeLink(link, { cost: 1 });
    }
    const { after } = await operator.create(specOf("b", 11));
    expect([await operator.ways("b"), after?.paths[0]?.vlan]).toEqual([[[1, 5, 4]], 3]);
  });

  test("a live protected path is not given up for bandwidth", async () => {
    const aside = [0, 1].flatMap((index) => [
      { ends: [1, 5] as const, index, kbps: 500 },
      { ends: [5, 4] as const, index, kbps: 500 },
    ]);
    const { store, operator } = await open({}, [...square, ...aside]);
    await operator.create(specOf("a", 10, { bandwidth: 600, protectedPath: true }));
    await store.note(linkEvent({ ends: [1, 2] }, false));
    await store.note(linkEvent({ ends: [1, 3] }, false));
    const both = await operator.run("a", restore);
    expect(both.after?.paths).toMatchObject([{ bandwidth: 0 }, { bandwidth: 0 }]);
    expect(await store.note(linkEvent({ ends: [1, 2] }))).toEqual(["a"]);
    expect(await operator.run("a", restore)).toMatchObject({
      isMoved: false,
      after: { paths: both.after?.paths },
    });
    await store.note(linkEvent({ ends: [1, 3] }));
    await operator.run("a", restore);
    expect(await store.flow("a")).toMatchObject({
      status: "UP",
      paths: [{ bandwidth: 600 }, { bandwidth: 600 }],
    });
  });

  test("a flow with an end on a switch that is away is not rerouted, and not created", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10));
    await store.note(switchEvent(4, false));
    await store.note(linkEvent({ ends: [1, 2] }, false));
    expect(await operator.refused("a", restore)).toMatchObject({
      code: "inactive",
      message: expect.stringContaining(id(4)),
    });
    expect(await operator.refused("a", reroute)).toMatchObject({ code: "inactive" });
    expect(await store.note(switchEvent(4))).toEqual(["a"]);
    // A switch that is away is not on a path either.
    await store.note(switchEvent(3, false));
    expect(await operator.refused("a", restore)).toMatchObject({ code: "no-path" });
  });

  test("the network is shown, and changed by its operator", async () => {
    const { store, operator } = await open();
    await store.note({ kind: "port", switchId: id(5), port: 2, name: "eth2", isUp: true, speedKbps: 5 });
    await store.note({ kind: "port", switchId: id(5), port: 1, name: "eth1", isUp: false, speedKbps: 0 });
    expect((await store.switches())[4]).toEqual({
      switchId: id(5),
      isConnected: true,
      address: "127.0.0.1:5",
      description: "a switch",
      ports: [
        { port: 1, name: "eth1", isUp: false, speedKbps: 0 },
        { port: 2, name: "eth2", isUp: true, speedKbps: 5 },
      ],
    });
    expect(await store.links()).toHaveLength(8);
    await operator.create(specOf("a", 10));
    const link = segmentOf({ ends: [2, 1] });
    expect(await store.changeLink(link, { cost: 3, latencyMs: 7, bandwidth: 100 })).toBe(true);
    await store.note(linkEvent({ ends: [1, 2], latencyMs: 9 }));
    const changed = (await store.links()).filter(
      ({ from, to }) => [from, to].toSorted().join() === `${id(1)},${id(2)}`,
    );
    expect(changed).toHaveLength(2);
    for (const one of changed) {
      expect(one).toMatchObject({ cost: 3, latencyMs: 7, bandwidth: 100, used: 100, isUp: true });
    }
    expect(await store.changeLink(link, { bandwidth: 99 })).toMatchObject({ code: "conflict" });
    expect(await store.changeLink(link, { cost: -1, latencyMs: NaN })).toMatchObject({ code: "invalid" });
    expect(await store.changeLink(segmentOf({ ends: [1, 5] }), { cost: 1 })).toBe(false);
    // Another cable on the port of a link: that link is gone.
    const cable = { from: id(1), fromPort: 102, to: id(5), toPort: 7 };
    expect(await store.note({ kind: "link", ...cable, isUp: true })).toEqual(["a"]);
    expect(await operator.status("a")).toBe("DOWN");
  });

  test("all is there again after a restart: flows, what is under way, guards, and the network", async () => {
    const { store, operator, reopen } = await open();
    await operator.create(specOf("a", 10, { protectedPath: true, description: "\u0000 \ud800 ' \" \\ ü" }));
    await operator.create(specOf("gone", 11));
    await operator.run("gone", remove);
    const plan = planned(await operator.plan("a", { kind: "update", changes: { bandwidth: 300 } }));
    const before = [await store.flows({ limit: 9 }), await store.links(), await store.switches()];
    const again = await reopen();
    expect([await again.flows({ limit: 9 }), await again.links(), await again.switches()]).toEqual(before);
    const late = { kind: "create", spec: specOf("gone", 11) } as const;
    expect(await again.plan("gone", { fence: 2, step: 1 }, late, { switches: [] })).toMatchObject({
      code: "superseded",
    });
    const second = new Operator(again);
    const repeated = { kind: "update", changes: { bandwidth: 300 } } as const;
    expect(await again.plan("a", { fence: 4, step: 1 }, repeated, { switches: [] })).toEqual(plan);
    await again.undo("a", { fence: 4, step: 5 }, null);
    const next = await again.plan("a", { fence: 5, step: 1 }, remove, { switches: [] });
    expect(next).toMatchObject({ before: plan.before, version: plan.version + 1_000 });
    expect(await second.used(1, 2)).toBe(100);
    expect(await again.audit()).toEqual([]);
  });
}
