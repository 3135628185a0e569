import { answered, end, hub, WheelworkError, type Answer, type AnyHub } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import {
  caller,
  instant,
  laneWorld,
  operation,
  patient,
  plain,
  work,
  type LaneOptions,
} from "./lane-hubs.ts";
import type { World, WorldOptions } from "./world.ts";

/** `exclusive`: which requests run side by side, and what one does that comes while others work. */

async function open(hubs: readonly AnyHub[], options: Partial<WorldOptions> = {}) {
  const made = await laneWorld(hubs, options);
  onTestFinished(() => made.world.close());
  const submit = async (hub: string, request: object, key?: string, more: object = {}): Promise<string> => {
    const { id } = await made.world.engine.submit(hub, request, {
      ...(key === undefined ? {} : { key }),
      ...more,
    });
    await made.world.clock.settle();
    return id;
  };
  const statusOf = async (id: string) => (await made.world.engine.request(id)).status;
  const laneOf = async (id: string) => (await made.world.engine.request(id)).lane;
  return { ...made, submit, statusOf, laneOf };
}

const did = (value: string): Answer => ({ kind: "result", value: { did: value } });

/** When a run began: its grant, or its start. */
async function beganAt(world: World, id: string): Promise<number> {
  const history = await world.engine.history(id);
  return history.find(({ type }) => type === "granted" || type === "started")?.at ?? Number.NaN;
}

async function endedAt(world: World, id: string): Promise<number> {
  const history = await world.engine.history(id);
  return history.at(-1)?.at ?? Number.NaN;
}

/** How long a request took, from its acceptance to its end. */
async function tookMs(world: World, id: string): Promise<number> {
  const history = await world.engine.history(id);
  return (history.at(-1)?.at ?? Number.NaN) - (history[0]?.at ?? Number.NaN);
}

const stores: Partial<WorldOptions>[] = [
  {},
  { store: "sqlite" },
  { faults: { later: true } },
  { limits: { checkpointEvents: 1, horizonMs: 1 } },
  { store: "sqlite", limits: { checkpointEvents: 1, horizonMs: 1 } },
  { faults: { later: true }, limits: { checkpointEvents: 1, horizonMs: 1 } },
];

describe.each(stores)("queue (%o)", (options) => {
  test("requests of one key run one after the other, in their order, and those of other keys beside them", async () => {
    const { world, submit, most } = await open([operation("op")], options);
    const ids: string[] = [];
    for (let n = 0; n < 5; n++) ids.push(await submit("op", { flow: "a", note: `${n}` }, `a${n}`));
    const other = await submit("op", { flow: "b" }, "b");
    expect(await world.answer(other)).toEqual(did("b"));
    expect(world.clock.monotonicMs()).toBe(100);
    for (const [n, id] of ids.entries()) expect(await world.answer(id)).toEqual(did(`${n}`));
    for (const [n, id] of ids.slice(1).entries())
      expect(await beganAt(world, id)).toBe(await endedAt(world, ids[n] as string));
    expect(most).toEqual(
      new Map([
        ["a", 1],
        ["b", 1],
      ]),
    );
  });

  test("a lane may have several places", async () => {
    const { world, submit, most } = await open([operation("op", { slots: 3 })], options);
    const ids = [];
    for (let n = 0; n < 7; n++) ids.push(await submit("op", { flow: "a" }));
    for (const id of ids) await world.answer(id);
    expect(most.get("a")).toBe(3);
    expect(world.clock.monotonicMs()).toBe(300);
  });

  test("hubs of one lane exclude one another", async () => {
    const { world, submit, begun, most } = await open([operation("create"), operation("delete")], options);
    const ids = [];
    for (const name of ["create", "delete", "create"]) ids.push(await submit(name, { flow: "a" }));
    for (const id of ids) await world.answer(id);
    expect(begun).toEqual(["create a", "delete a", "create a"]);
    expect(most.get("a")).toBe(1);
  });

  test("priority goes first, and a minute of waiting is worth a step of it", async () => {
    const { world, submit } = await open([operation("op", { queueMs: 1e9 }, 1e6)], options);
    const first = await submit("op", { flow: "a", ms: 100_000 });
    const plain = await submit("op", { flow: "a", note: "plain" });
    await world.clock.advance(50_000);
    const urgent = await submit("op", { flow: "a", note: "urgent" }, "u", { priority: 1 });
    const low = await submit("op", { flow: "a", note: "low" }, "l", { priority: -1 });
    for (const id of [first, plain, urgent, low]) await world.answer(id);
    const began = await Promise.all([urgent, plain, low].map((id) => beganAt(world, id)));
    expect(began).toEqual(began.toSorted((a, b) => a - b));
  });

  test("a deadline counts from the grant, and the time in the queue is bounded by queueMs", async () => {
    const { world, submit, statusOf } = await open([operation("op", { queueMs: 950 }, 1000)], options);
    const first = await submit("op", { flow: "a", ms: 900 });
    const second = await submit("op", { flow: "a", ms: 900, note: "second" });
    const third = await submit("op", { flow: "a", ms: 900 });
    expect(await statusOf(second)).toBe("pending");
    expect(await world.answer(first)).toEqual(did("a"));
    expect(await world.answer(third)).toMatchObject({ kind: "timeout", code: "WW_TIMEOUT" });
    expect(await tookMs(world, third)).toBe(950);
    expect(await world.answer(second)).toEqual(did("second"));
    expect(world.clock.monotonicMs()).toBe(1800);
  });

  test("the caller's own deadline bounds the wait and the work together", async () => {
    const { world, submit } = await open([operation("op")], options);
    await submit("op", { flow: "a", ms: 300 });
    const waits = await submit("op", { flow: "a" }, "w", { deadlineMs: 200 });
    const works = await submit("op", { flow: "a", ms: 300 }, "v", { deadlineMs: 400 });
    expect(await world.answer(waits)).toMatchObject({ kind: "timeout" });
    expect(await tookMs(world, waits)).toBe(200);
    // It began at 300, was late at 400, and was undone for 50.
    expect(await world.answer(works)).toMatchObject({ kind: "error", code: "given-up" });
    expect(await tookMs(world, works)).toBe(450);
  });

  test("the place is held until the end, not until the answer, and a parked run keeps it", async () => {
    const { world, submit, statusOf, laneOf } = await open([operation("op", { queueMs: 100_000 })], options);
    const first = await submit("op", { flow: "a" });
    const second = await submit("op", { flow: "a" });
    const third = await submit("op", { flow: "a" });
    const { holders, position, name, key } = (await laneOf(third)) ?? {};
    expect({ holders, position, name, key }).toEqual({
      holders: [first],
      position: 2,
      name: "flow",
      key: "a",
    });
    expect(await laneOf(first)).toMatchObject({ holders: [first] });
    await world.answer(first);
    await world.clock.settle();
    expect(await statusOf(second)).toBe("running");
    expect(await laneOf(third)).toMatchObject({ holders: [second], position: 1 });
    const { items } = await world.engine.requests({ status: "pending" });
    expect(items).toMatchObject([{ id: third, status: "pending", lane: { name: "flow", key: "a" } }]);
    await world.engine.cancel(second);
    await world.clock.settle();
    // It cleans up.
    expect(await statusOf(third)).toBe("pending");
    await world.ended(third);
    expect(await beganAt(world, third)).toBe(await endedAt(world, second));
  });

  test("a request that waits may be cancelled, and another one takes its turn", async () => {
    const { world, submit } = await open([operation("op")], options);
    await submit("op", { flow: "a" });
    const second = await submit("op", { flow: "a" });
    const third = await submit("op", { flow: "a" });
    expect(await world.engine.cancel(second)).toBe("accepted");
    expect(await world.engine.answer(second)).toMatchObject({ kind: "error", code: "WW_CANCELLED" });
    expect(await world.engine.cancel(second)).toBe("ended");
    await world.answer(third);
    expect(world.clock.monotonicMs()).toBe(200);
  });

  test("a request that waits is known under its key, and its id is a key, too", async () => {
    const { world, submit } = await open([operation("op")], options);
    await submit("op", { flow: "a" });
    const id = await submit("op", { flow: "a", note: "x" }, "order 7");
    expect(id).toMatch(/^order 7@~[0-9a-f]{16}$/);
    const { engine } = world;
    expect(await engine.submit("op", { flow: "a", note: "x" }, { key: "order 7" })).toEqual({
      id,
      known: true,
    });
    expect(await engine.submit("op", { flow: "a", note: "x" }, { key: id })).toEqual({ id, known: true });
    await expect(engine.submit("op", { flow: "a", note: "y" }, { key: "order 7" })).rejects.toThrow(
      "WW_KEY_REUSED",
    );
    // The key of a request is one of its lane.
    const other = await engine.submit("op", { flow: "b", note: "y" }, { key: "order 7" });
    expect(other.known).toBe(false);
    expect(await world.answer(id)).toEqual(did("x"));
    expect(await engine.submit("op", { flow: "a", note: "x" }, { key: "order 7" })).toEqual({
      id,
      known: true,
    });
  });

  test("a stop and a restart keep the queue", async () => {
    const { world, submit, statusOf, laneOf, most } = await open([operation("op", {}, 1e6)], options);
    const ids: string[] = [];
    for (let n = 0; n < 4; n++) ids.push(await submit("op", { flow: "a", note: `${n}` }));
    await world.clock.advance(30);
    await world.engine.stop();
    await world.restart(1000);
    await world.clock.settle();
    expect(await statusOf(ids[3] as string)).toBe("pending");
    expect(await laneOf(ids[3] as string)).toMatchObject({ holders: [ids[0]], position: 3 });
    await world.restart(0);
    for (const [n, id] of ids.entries()) expect(await world.answer(id)).toEqual(did(`${n}`));
    expect(most.get("a")).toBe(1);
  });

  test("what a run that waits is sent, it takes when its turn has come", async () => {
    const { world, submit } = await open([patient("op", {}, 10_000)], options);
    const first = await submit("op", { flow: "a" });
    const second = await submit("op", { flow: "a" });
    await world.engine.signal(second, "go", {});
    await world.clock.settle();
    await world.engine.signal(first, "go", {});
    expect(await world.answer(second)).toEqual(did("a"));
    expect(world.clock.monotonicMs()).toBe(0);
  });

  test("who watches a request that waits sees its turn come", async () => {
    const op = operation("op", {}, 10_000);
    const { world, submit } = await open([op], options);
    await submit("op", { flow: "a" });
    const id = await submit("op", { flow: "a" });
    const states: string[] = [];
    const watching = (async () => {
      for await (const { status } of world.engine.run(op, id).watch()) states.push(status);
    })();
    await world.answer(id);
    await world.clock.runUntil(watching);
    expect(states).toEqual(["pending", "running", "ended"]);
  });

  test("a queue is as long as its limit", async () => {
    const { world, submit } = await open([operation("op", { queueLimit: 2 })], options);
    for (let n = 0; n < 3; n++) await submit("op", { flow: "a" });
    await expect(world.engine.submit("op", { flow: "a" })).rejects.toThrow("WW_BUSY");
    await submit("op", { flow: "b" });
  });
});

describe.each(stores)("refuse (%o)", (options) => {
  test("the second request is refused at once, with the id of the first one", async () => {
    const { world, submit } = await open([operation("op", { whenBusy: "refuse" })], options);
    const first = await submit("op", { flow: "a" });
    const error = await world.engine
      .submit("op", { flow: "a" }, { key: "k" })
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "WW_BUSY", retryable: true, details: { holders: [first] } });
    expect((error as Error).message).toContain(first);
    await world.answer(first);
    // Nothing is known of the one that was refused.
    const { known } = await world.engine.submit("op", { flow: "a" }, { key: "k" });
    expect(known).toBe(false);
  });
});

describe.each(stores)("a request that says what it does (%o)", (options) => {
  const asked = operation("op", { whenBusy: ({ note }) => (note === "waits" ? "queue" : "refuse") });

  test("waits, or is refused at once", async () => {
    const { world, submit } = await open([asked], options);
    await submit("op", { flow: "a" });
    await expect(world.engine.submit("op", { flow: "a" })).rejects.toThrow("WW_BUSY");
    const id = await submit("op", { flow: "a", note: "waits" });
    expect(await world.answer(id)).toMatchObject({ kind: "result", value: { did: "waits" } });
  });

  test.each([
    ["throws", () => JSON.parse("no") as "queue"],
    ["gives something else", () => "join" as "queue"],
    ["gives a promise", () => Promise.resolve("queue") as unknown as "queue"],
  ])("is refused if its function %s, and nobody else is", async (_what, whenBusy) => {
    const broken = operation("broken", { whenBusy });
    const { world, submit } = await open([broken, operation("op")], options);
    await expect(world.engine.submit("broken", { flow: "a" })).rejects.toThrow("WW_DEFECT");
    const id = await submit("op", { flow: "a" });
    expect(await world.answer(id)).toMatchObject({ kind: "result" });
  });
});

describe.each(stores)("join (%o)", (options) => {
  test("an equal request gets the answer of the one that works, and another one is refused", async () => {
    const { world, submit, begun, laneOf } = await open([operation("op", { whenBusy: "join" })], options);
    const first = await submit("op", { flow: "a", note: "same" });
    const second = await submit("op", { flow: "a", note: "same" }, "k");
    const third = await submit("op", { flow: "a", note: "same" });
    await expect(world.engine.submit("op", { flow: "a", note: "other" })).rejects.toThrow("WW_BUSY");
    expect(await laneOf(second)).toMatchObject({ joins: first, holders: [first] });
    await world.engine.cancel(third);
    expect(await world.answer(second)).toEqual(did("same"));
    expect(await world.answer(first)).toEqual(did("same"));
    expect(await world.answer(third)).toMatchObject({ code: "WW_CANCELLED" });
    expect(begun).toEqual(["op a"]);
    expect(await endedAt(world, second)).toBe(await endedAt(world, first));
    expect(await world.engine.submit("op", { flow: "a", note: "same" }, { key: "k" })).toEqual({
      id: second,
      known: true,
    });
  });

  test("the answer is that of the one that works, whatever it is", async () => {
    const { world, submit } = await open([operation("op", { whenBusy: "join" })], options);
    const first = await submit("op", { flow: "a" });
    const second = await submit("op", { flow: "a" });
    await world.engine.cancel(first);
    expect(await world.answer(second)).toMatchObject({ kind: "error", code: "given-up" });
  });

  test("it outlives a restart", async () => {
    const { world, submit } = await open([operation("op", { whenBusy: "join" }, 1e6)], options);
    await submit("op", { flow: "a" });
    const second = await submit("op", { flow: "a" });
    await world.restart(100);
    expect(await world.answer(second)).toEqual(did("a"));
  });
});

describe.each(stores)("latest (%o)", (options) => {
  test("the newest request waits, and those between are answered", async () => {
    const { world, submit, begun } = await open([operation("op", { whenBusy: "latest" })], options);
    const ids: string[] = [];
    for (let n = 0; n < 4; n++) ids.push(await submit("op", { flow: "a", note: `${n}` }));
    const [first, second, third, last] = ids as [string, string, string, string];
    for (const [id, by] of [
      [second, third],
      [third, last],
    ] as const)
      expect(await world.engine.answer(id)).toMatchObject({
        kind: "error",
        code: "WW_REPLACED",
        details: { by },
      });
    expect(await world.answer(last)).toEqual(did("3"));
    expect(await world.answer(first)).toEqual(did("0"));
    expect(begun).toHaveLength(2);
  });

  test("requests of other hubs keep their places", async () => {
    const { world, submit } = await open(
      [operation("op", { whenBusy: "latest" }), operation("delete")],
      options,
    );
    await submit("op", { flow: "a" });
    const removal = await submit("delete", { flow: "a", note: "gone" });
    const before = await submit("op", { flow: "a" });
    const newest = await submit("op", { flow: "a", note: "newest" });
    expect(await world.engine.answer(before)).toMatchObject({ code: "WW_REPLACED" });
    expect(await world.answer(newest)).toEqual(did("newest"));
    expect(await world.answer(removal)).toEqual(did("gone"));
  });
});

describe.each(stores)("replace (%o)", (options) => {
  test("the one that works is cancelled and cleans up, and then the newest one begins", async () => {
    const { world, submit, most } = await open([operation("op", { whenBusy: "replace" })], options);
    const first = await submit("op", { flow: "a" });
    await world.clock.advance(20);
    const second = await submit("op", { flow: "a" });
    const third = await submit("op", { flow: "a", note: "third" });
    expect(await world.engine.answer(second)).toMatchObject({ code: "WW_REPLACED", details: { by: third } });
    expect(await world.answer(first)).toMatchObject({ code: "given-up" });
    expect(await world.answer(third)).toEqual(did("third"));
    expect(world.clock.monotonicMs()).toBe(20 + 50 + 100);
    expect(await beganAt(world, third)).toBe(await endedAt(world, first));
    expect(most.get("a")).toBe(1);
  });

  test("a run that waits for a signal is replaced, in memory or not", async () => {
    const { world, submit } = await open([patient("op", { whenBusy: "replace" })], options);
    const first = await submit("op", { flow: "a", note: "first" });
    await world.clock.advance(5000);
    const second = await submit("op", { flow: "a", note: "second" });
    expect(await world.answer(first)).toEqual(did("first"));
    await world.engine.signal(second, "go", {});
    expect(await world.answer(second)).toEqual(did("second"));
  });
});

describe.each(stores)("calls of hubs (%o)", (options) => {
  const inner = operation("inner");
  const op = caller("op", inner);

  test("what a run calls shares its place", async () => {
    const { world, submit, most } = await open([op], options);
    const first = await submit("op", { flow: "a", calls: ["a"] });
    const second = await submit("inner", { flow: "a", note: "second" });
    expect(await world.answer(first)).toEqual(did("ok"));
    expect(await world.answer(second)).toEqual(did("second"));
    expect(most.get("a")).toBe(1);
    expect(world.clock.monotonicMs()).toBe(200);
  });

  test("a place is free once all that has shared it has ended", async () => {
    const { world, submit, most } = await open([op], options);
    const first = await submit("op", { flow: "a", calls: ["a"] });
    const second = await submit("inner", { flow: "a", note: "second" });
    await world.clock.advance(10);
    await world.engine.cancel(first);
    // It has ended, and the run that it has called cleans up.
    expect(await world.answer(first)).toMatchObject({ kind: "error" });
    expect(await world.answer(second)).toEqual(did("second"));
    expect(world.clock.monotonicMs()).toBe(10 + 50 + 100);
    expect(most.get("a")).toBe(1);
  });

  test("a call into another lane waits there for its turn, and the place is given back if nobody wants it any more", async () => {
    const { world, submit, most } = await open([op], options);
    const blocks = await submit("inner", { flow: "b", ms: 300 });
    const first = await submit("op", { flow: "a", calls: ["b"] });
    const second = await submit("op", { flow: "c", calls: ["b"] });
    await world.engine.cancel(second);
    expect(await world.answer(second)).toMatchObject({ kind: "error" });
    expect(await world.answer(first)).toEqual(did("ok"));
    expect(world.clock.monotonicMs()).toBe(400);
    expect(await world.answer(blocks)).toEqual(did("b"));
    expect(most.get("b")).toBe(1);
  });

  test("a call that is refused fails, and says why", async () => {
    const strict = operation("strict", { whenBusy: "refuse" });
    const { world, submit } = await open([caller("op", strict)], options);
    await submit("strict", { flow: "b" });
    const first = await submit("op", { flow: "a", calls: ["b"] });
    expect(await world.answer(first)).toMatchObject({ kind: "error", code: "given-up", message: "WW_BUSY" });
  });
});

describe.each(stores)("another version (%o)", (options) => {
  test.each([
    ["more places", operation("op", { slots: 2 }, 1e6), 2],
    ["no lane", plain("op"), 3],
  ])("with %s lets more of those who wait begin", async (_what, next, together) => {
    const { world, submit, most } = await open([operation("op", {}, 1e6)], options);
    const ids: string[] = [];
    for (let n = 0; n < 3; n++) ids.push(await submit("op", { flow: "a" }));
    world.kill();
    world.hubs = [next];
    await world.restart();
    for (const id of ids) expect(await world.answer(id)).toEqual(did("a"));
    expect(most.get("a")).toBe(together);
  });
});

describe.each(stores)("runs that end at once (%o)", (options) => {
  test("give their place on until nobody waits, also if the process dies meanwhile", async () => {
    const { world, submit } = await open([operation("op", {}, 1e6), instant("instant")], options);
    const first = await submit("op", { flow: "a" });
    const ids: string[] = [];
    for (let n = 0; n < 50; n++) ids.push(await submit("instant", { flow: "a" }));
    await world.clock.advance(99);
    await world.restart();
    expect(await world.answer(first)).toEqual(did("a"));
    for (const id of ids) {
      expect(await world.answer(id)).toEqual(did("a"));
      if (id === ids[20]) await world.restart();
    }
    expect(world.clock.monotonicMs()).toBe(199);
  });
});

test("a place that is free at a claim is granted there", async () => {
  // The one that is next is not in memory when its place becomes free, and the process dies right then.
  for (let at = 50; at < 70; at++) {
    const { world, submit } = await open([patient("op", {}, 1e6), instant("instant")], {
      limits: { checkpointEvents: 1, horizonMs: 1 },
      faults: { later: true, faultAt: (number) => (number === at ? "crash-after" : undefined) },
    });
    const first = await submit("op", { flow: "a" });
    const ids: string[] = [];
    for (let n = 0; n < 40; n++) ids.push(await submit("instant", { flow: "a" }));
    world.engine.signal(first, "go", {}).catch(() => {});
    await world.clock.settle();
    if (world.store.crashed) await world.restart(0, { later: true });
    for (const id of ids) expect(await world.answer(id)).toEqual(did("a"));
    world.close();
  }
});

describe("a hub with a lane", () => {
  const refused = (options: object): WheelworkError => {
    try {
      operation("op", options as LaneOptions);
    } catch (error) {
      return error as WheelworkError;
    }
    throw new Error("it was taken");
  };

  test("is refused with all that is wrong with its lane", () => {
    const error = refused({
      lane: "no blanks",
      by: 1,
      slots: 0,
      whenBusy: "wait",
      queueMs: -1,
      queueLimit: 1.5,
    });
    expect(error.code).toBe("WW_BAD_HUB");
    expect(error.problems.map(({ path }) => path)).toEqual(
      ["lane", "by", "slots", "whenBusy", "queueMs", "queueLimit"].map((path) => `exclusive.${path}`),
    );
    expect(refused({ whenBusy: "replace", slots: 2 }).problems).toHaveLength(1);
  });

  test("says how long an answer may take", () => {
    expect(operation("op", {}, 60_000).definition.answerBy).toBe(
      "op answers each request within 2 min 0.5 s",
    );
    expect(operation("op", { queueMs: 1000 }, 60_000).definition.answerBy).toContain("1 min 1.5 s");
  });

  test("is refused by an engine whose hubs do not agree on the slots of a lane", async () => {
    await expect(open([operation("a"), operation("b", { slots: 2 })])).rejects.toThrow(
      /WW_CONFIG[^]*the lane flow 1 slots/,
    );
  });

  test("takes no request for which it cannot say the key", async () => {
    const { world } = await open([operation("op")]);
    await expect(world.engine.submit("op", { flow: "" })).rejects.toThrow("WW_DEFECT");
    await expect(world.engine.submit("op", { flow: "x".repeat(201) })).rejects.toThrow("WW_DEFECT");
    await expect(world.engine.submit("op", { flow: "a" }, { priority: 0.5 })).rejects.toThrow("priority");
  });
});

test("workers get a fence that rises with each grant, over restarts, and that calls within the place share", async () => {
  const op = operation("op");
  const fences: (number | undefined)[] = [];
  const within: (number | undefined)[] = [];
  const outsideOfLanes: (number | undefined)[] = [];
  const { world, submit } = await open([caller("caller", op), op, plain("plain")], {
    workers: (sleep) => [
      worker(work, async ({ ms, of }, { fence, requestId }) => {
        const seen = of === "plain" ? outsideOfLanes : requestId.includes("/") ? within : fences;
        seen.push(fence);
        await sleep(ms);
        return {};
      }),
    ],
  });
  const ids: string[] = [];
  for (let n = 0; n < 4; n++) ids.push(await submit("op", { flow: "a", note: `${n}` }));
  await world.answer(ids[1] as string);
  await world.restart();
  for (const id of ids) await world.answer(id);
  const rising = [...new Set(fences)] as number[];
  expect(rising).toHaveLength(4);
  expect(rising).toEqual(rising.toSorted((one, other) => one - other));
  expect(rising.every((fence) => Number.isSafeInteger(fence))).toBe(true);
  expect((await world.answer(await submit("caller", { flow: "a", calls: ["a", "a"] }))).kind).toBe("result");
  expect(new Set(within).size).toBe(1);
  expect(within).toHaveLength(2);
  expect(within[0]).toBeGreaterThan(rising.at(-1) ?? 0);
  expect((await world.answer(await submit("plain", { flow: "a" }))).kind).toBe("result");
  expect(outsideOfLanes).toEqual([undefined]);
});

test("what a run that has answered calls gets the fence of its place, also if the run that was granted it has ended", async () => {
  const exclusive = { lane: "flow", by: () => "a", whenBusy: "queue" } as const;
  const declared = {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 60_000,
    exclusive,
    data: () => ({}),
  };
  const inner = hub(
    "inner",
    { ...declared, deadline: "Failed", chart: { Working: { Worked: "Done", Failed: "Done" }, Done: end } },
    {
      Working: (s) =>
        s.call(work, { input: () => ({ flow: "a", ms: 1, of: "inner" }), ok: "Worked", failed: "Failed" }),
      Done: () => ({}),
    },
  );
  const middle = hub(
    "middle",
    {
      ...declared,
      chart: {
        Answering: { Answered: "Waiting" },
        Waiting: { Waited: "Calling" },
        Calling: { Called: "Done", Failed: "Done" },
        Done: end,
      },
    },
    {
      Answering: (s) => s.answer(() => ({}), { next: "Answered" }),
      Waiting: (s) => s.wait({ after: { Waited: 1000 } }),
      Calling: (s) =>
        s.call(inner, { input: () => ({}), ok: "Called", failed: "Failed", after: { Failed: 60_000 } }),
      Done: answered,
    },
  );
  const outer = hub(
    "outer",
    { ...declared, deadline: "Failed", chart: { Calling: { Called: "Done", Failed: "Done" }, Done: end } },
    {
      Calling: (s) => s.call(middle, { input: () => ({}), ok: "Called", failed: "Failed" }),
      Done: () => ({}),
    },
  );
  const fences: (number | undefined)[] = [];
  const { world } = await open([outer], {
    workers: () => [
      worker(work, (_input, { fence }) => {
        fences.push(fence);
        return {};
      }),
    ],
  });
  const { id } = await world.engine.submit(outer, {});
  await world.clock.advance(500);
  expect((await world.engine.request(id)).status).toBe("ended");
  const [started] = await world.engine.history(id);
  await world.clock.advance(5000);
  expect(fences).toEqual([(started as { lane?: { fence?: number } }).lane?.fence]);
});
