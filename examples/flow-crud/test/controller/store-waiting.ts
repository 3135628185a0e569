import { expect, test } from "vitest";
import type { FlowStore } from "../../src/controller/store.ts";
import { linkEvent, Operator, segmentOf, specOf, square, type Cable } from "./network.ts";
import { openerOf, planned, remove, restore, type NewStore } from "./store.ts";

const pace = { limit: 200, firstMs: 1_000, mostMs: 300_000, patienceMs: 60_000 };
const wide = square.map((cable): Cable => ({ ...cable, kbps: 2_000 }));

/** What every store of flows does with flows that wait for what others have. */
export function conformsWhenOthersWait(newStore: NewStore): void {
  let now = 1_000_000;
  const open = () => openerOf(newStore)({ wallMs: () => now }, wide);

  /** Looks after the pause that is between two looks. */
  const look = async (store: FlowStore): Promise<readonly string[]> => {
    now += pace.firstMs;
    return (await store.takeDue(pace)).freed;
  };

  /** Flows of 300 kbit/s that wait, the most important first: their way 1-2-4 is cut, and a filler has 1,900 of 2,000 on 1-3-4. */
  async function openWaiting(ids: readonly string[]) {
    const opened = await open();
    const { store, operator } = opened;
    await store.note(linkEvent({ ends: [1, 2] }, false));
    await operator.create(specOf("filler", 10, { bandwidth: 1_900 }));
    await store.note(linkEvent({ ends: [1, 2] }));
    for (const [index, flowId] of ids.entries())
      await operator.create(
        specOf(flowId, 20 + index, { strictBandwidth: true, priority: index, bandwidth: 300 }),
      );
    await store.note(linkEvent({ ends: [1, 2] }, false));
    for (const flowId of ids)
      expect(await operator.refused(flowId, restore)).toMatchObject({ code: "no-path" });
    expect(await look(store)).toEqual([]);
    return opened;
  }

  /** A flow takes something, and gives it back. */
  async function giveBack(operator: Operator): Promise<void> {
    await operator.create(specOf("other", 15, { bandwidth: 64 }));
    await operator.run("other", remove);
  }

  test("what is given back goes to those that can use it, the most important first, each beside those before it", async () => {
    const { store, operator } = await openWaiting(["c", "a", "b"]);
    expect(await look(store)).toEqual([]);
    await operator.run("filler", { kind: "update", changes: { bandwidth: 1_300 } });
    // There is room for two.
    expect(store.promiseLook("filler")).toBe(true);
    expect(await look(store)).toEqual(["c", "a"]);
    // They are on their way: nobody hands them out again, and for the third one there is nothing.
    await giveBack(operator);
    expect(await look(store)).toEqual([]);
    for (const flowId of ["c", "a"]) await operator.run(flowId, restore);
    expect(await look(store)).toEqual([]);
    expect([await operator.status("c"), await operator.status("a"), await operator.status("b")]).toEqual([
      "UP",
      "UP",
      "DOWN",
    ]);
    await operator.run("filler", remove);
    expect(await look(store)).toEqual(["b"]);
    // Whoever was to reroute it may be gone: then it is due like any other.
    now += pace.patienceMs * 2;
    expect((await store.takeDue(pace)).flows).toEqual(["b"]);
  });

  test("only those are handed out that lack what was given back", async () => {
    const { store, operator } = await open();
    await operator.create(specOf("pinned", 11, { pinned: true }));
    await operator.create(specOf("quick", 12, { maxLatencyMs: 2 }));
    await operator.create(specOf("narrow", 13, { bandwidth: 600 }));
    await operator.create(specOf("filler", 14, { bandwidth: 1_900 }));
    expect(await operator.ways("filler")).toEqual([[1, 3, 4]]);
    await store.note(linkEvent({ ends: [1, 2] }, false));
    await store.note(linkEvent({ ends: [1, 3], latencyMs: 5 }));
    expect((await operator.refused("quick", restore)).code).toBe("no-path");
    await operator.run("narrow", restore);
    expect([await operator.status("narrow"), await operator.status("quick")]).toEqual(["DEGRADED", "DOWN"]);
    expect(await look(store)).toEqual([]);
    await giveBack(operator);
    expect(await look(store)).toEqual([]);
    // Of the others, one wants a quick link, and one stays.
    await operator.run("filler", remove);
    expect(await look(store)).toEqual(["narrow"]);
    await operator.run("narrow", restore);
    expect(await operator.status("narrow")).toBe("UP");
    await store.changeLink(segmentOf({ ends: [1, 3] }), { latencyMs: 1 });
    // Plans were made for it in vain: it has a pause.
    now += 30_000;
    expect(await look(store)).toEqual(["quick"]);
  });

  test("a flow that lacks its protected path gets it as soon as others leave it room", async () => {
    const { store, operator } = await openWaiting([]);
    await store.note(linkEvent({ ends: [1, 2] }));
    await operator.create(specOf("safe", 11, { bandwidth: 500 }));
    await operator.run("safe", { kind: "update", changes: { protectedPath: true } });
    expect([await operator.status("safe"), await operator.ways("safe")]).toEqual(["DEGRADED", [[1, 2, 4]]]);
    expect(await look(store)).toEqual([]);
    await operator.run("filler", { kind: "update", changes: { bandwidth: 1_600 } });
    expect(await look(store)).toEqual([]);
    now += 30_000;
    await operator.run("filler", { kind: "update", changes: { bandwidth: 1_500 } });
    expect(await look(store)).toEqual(["safe"]);
    await operator.run("safe", restore);
    expect(await operator.status("safe")).toBe("UP");
  });

  test("one look at a time is promised, and looks are as rare as the pace says, however often something is given back", async () => {
    const ids = ["a", "b", "c", "d", "e"];
    const { store, operator, reopen } = await openWaiting(ids);
    expect(store.promiseLook("x")).toBe(false);
    await giveBack(operator);
    const asked = ["x", "y", "x"].map((by) => store.promiseLook(by));
    expect(asked).toEqual([true, false, true]);
    // Whoever has promised it may be gone.
    now += 10_000;
    expect(store.promiseLook("y")).toBe(true);
    expect(await look(store)).toEqual([]);
    expect(store.promiseLook("x")).toBe(false);
    await giveBack(operator);
    expect(await store.takeDue(pace)).toEqual({ flows: [], freed: [], nextInMs: 1_000 });
    now += 400;
    expect(await store.takeDue(pace)).toEqual({ flows: [], freed: [], nextInMs: 600 });
    now += 600;
    expect(await store.takeDue(pace)).toEqual({ flows: [], freed: [], nextInMs: null });
    // Who begins anew does not know what was given back before, and looks.
    await operator.run("filler", remove);
    const again = await reopen();
    expect(await look(again)).toEqual(ids);
  });

  test("what a plan has taken and gives back is noticed, too", async () => {
    const { store, operator } = await openWaiting(["a", "b"]);
    const changes = { bandwidth: 100 };
    // Until the end of the operation it has what it had.
    await operator.plan("filler", { kind: "update", changes });
    expect([store.promiseLook("x"), await look(store)]).toEqual([false, []]);
    await store.undo("filler", operator.guard(), null);
    await operator.run("filler", remove);
    planned(await operator.plan("new", { kind: "create", spec: specOf("new", 50, { bandwidth: 1_800 }) }));
    expect([store.promiseLook("x"), await look(store)]).toEqual([true, []]);
    await store.undo("new", operator.guard(), null);
    expect([store.promiseLook("x"), await look(store)]).toEqual([true, ["a", "b"]]);
  });
}
