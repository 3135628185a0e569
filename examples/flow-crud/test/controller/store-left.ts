import { expect, test } from "vitest";
import { Operator, specOf } from "./network.ts";
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
}
