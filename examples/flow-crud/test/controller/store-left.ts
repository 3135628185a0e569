import { expect, test } from "vitest";
import { linkEvent, Operator, specOf } from "./network.ts";
import { openerOf, planned, remove, reroute, restore, type NewStore } from "./store.ts";

/** What every store of flows does with what runs have left that have ended in the middle. */
export function conformsWhenLeft(newStore: NewStore): void {
  const open = openerOf(newStore);

  test("a plan that an earlier run has left keeps what it has until it is closed", async () => {
    const { store, operator, reopen } = await open();
    await operator.create(specOf("a", 10));
    const left = planned(await operator.plan("a", { kind: "update", changes: { bandwidth: 300 } }));
    const abandoned = { abandoned: left, isCommitted: false };
    // Whatever the next run is about, and whoever asks: a run that fails before it has closed it changes nothing of it.
    for (const intent of [reroute, restore, remove, { kind: "sync" }, { kind: "swap" }] as const) {
      expect(await operator.plan("a", intent)).toEqual(abandoned);
      expect(await store.undo("a", operator.guard(), null)).toBe("done");
    }
    const guard = { fence: 50, step: 1 };
    expect(await store.plan("a", guard, remove, { switches: [] })).toEqual(abandoned);
    const again = await reopen();
    expect(await again.plan("a", guard, remove, { switches: [] })).toEqual(abandoned);
    const next = new Operator(again);
    expect(await next.used(1, 2)).toBe(300);
    expect(await again.closePlan("a", { fence: 50, step: 6 })).toBe("done");
    expect(await again.closePlan("a", { fence: 50, step: 6 })).toBe("done");
    expect(await next.used(1, 2)).toBe(100);
    expect(await again.flow("a")).toMatchObject({ spec: { bandwidth: 100 }, status: "UP" });
    // What comes late of the run that has left it changes nothing.
    expect(await again.commit("a", { fence: 2, step: 9 }, null)).toMatchObject({ code: "superseded" });
    const removal = await again.plan("a", { fence: 50, step: 11 }, remove, { switches: [] });
    expect(removal).toMatchObject({ before: left.before, after: null });
    // The plan of the run itself is not for it to close.
    expect(await again.closePlan("a", { fence: 50, step: 16 })).toBe("done");
    expect(await again.commit("a", { fence: 50, step: 22 }, { info: null })).toBe("done");
  });

  test("a plan that was committed is settled when it is closed, and one of a new flow leaves what its intent says", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("a", 10));
    await operator.plan("a", { kind: "update", changes: { bandwidth: 300 } });
    await store.commit("a", operator.guard(), null);
    await operator.plan("a", { kind: "update", changes: { bandwidth: 200 } });
    expect(await store.closePlan("a", operator.guard())).toBe("done");
    expect(await store.flow("a")).toMatchObject({ spec: { bandwidth: 300 }, info: null });
    for (const keep of [true, false]) {
      const flowId = `kept-${keep}`;
      await operator.plan(flowId, { kind: "create", spec: specOf(flowId, 11), keep });
      expect(await operator.plan(flowId, restore)).toMatchObject({ isCommitted: false });
      await store.closePlan(flowId, operator.guard());
      const flow = await store.flow(flowId);
      expect(flow?.status).toBe(keep ? "DOWN" : undefined);
      expect(flow?.info?.includes("was ended in the middle")).toBe(keep ? true : undefined);
      if (keep) await operator.run(flowId, remove);
    }
    expect(await store.closePlan("nobody", operator.guard())).toBe("done");
  });

  test("what is to be looked at again is handed out until an operation ends well", async () => {
    let now = 1_000_000;
    const { store, operator, reopen } = await open({ wallMs: () => now });
    const pace = { limit: 10, firstMs: 1_000, mostMs: 3_000, patienceMs: 60_000 };
    const nothing = { flows: [], freed: [], nextInMs: null };
    const isDue = { flows: ["a"], freed: [], nextInMs: 60_000 };
    await operator.create(specOf("a", 10));
    await operator.create(specOf("pinned", 11, { pinned: true }));
    expect(await store.takeDue(pace)).toEqual(nothing);
    await store.note(linkEvent({ ends: [1, 2] }, false));
    // The reroute that follows from it has some time.
    expect(await store.takeDue(pace)).toEqual({ flows: [], freed: [], nextInMs: 60_000 });
    for (const pauseMs of [1_000, 2_000, 3_000, 3_000]) {
      await operator.plan("a", restore);
      await store.undo("a", operator.guard(), "switch 3 refuses");
      expect(await store.takeDue(pace)).toEqual({ flows: [], freed: [], nextInMs: pauseMs });
      now += pauseMs;
      expect(await store.takeDue(pace)).toEqual(isDue);
      // It is not handed out twice, unless nothing comes of it.
      expect(await store.takeDue(pace)).toEqual({ flows: [], freed: [], nextInMs: 60_000 });
    }
    now += 60_000;
    // Nothing may come of it for long, and then it is handed out more and more seldom.
    expect(await store.takeDue({ ...pace, mostMs: 300_000 })).toEqual({
      flows: [],
      freed: [],
      nextInMs: 240_000,
    });
    const again = await reopen();
    expect(await again.takeDue({ ...pace, limit: 1 })).toEqual(isDue);
    const next = new Operator(again, 40);
    await next.run("a", restore);
    expect([await next.status("a"), await again.takeDue(pace)]).toEqual(["UP", nothing]);
    // What happens while an operation works on the flow is looked at after it.
    await next.plan("a", restore);
    await again.note(linkEvent({ ends: [1, 3] }, false));
    await next.finish("a");
    expect(await again.takeDue(pace)).toEqual({ flows: [], freed: [], nextInMs: 60_000 });
    // No path: only the network can help.
    expect(await next.refused("a", restore)).toMatchObject({ code: "no-path" });
    expect(await again.takeDue(pace)).toEqual(nothing);
    await next.run("a", remove);
    now += 60_000;
    expect(await again.takeDue(pace)).toEqual(nothing);
    // A plan that a run has left, of a pinned flow as of any other.
    await next.plan("pinned", { kind: "update", changes: { description: "it stays" } });
    expect(await again.takeDue(pace)).toEqual(nothing);
    now += 60_000;
    expect(await again.takeDue(pace)).toEqual({ flows: ["pinned"], freed: [], nextInMs: null });
    await next.plan("pinned", restore);
    await again.closePlan("pinned", next.guard());
    now += 60_000;
    expect(await again.takeDue(pace)).toEqual(nothing);
  });
}
