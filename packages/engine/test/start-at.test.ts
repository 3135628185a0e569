import { end, hub, type AnyHub, type Exclusive } from "@wheelwork/core";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { begin, refusal } from "./begin.ts";
import { Nodes } from "./nodes.ts";

// A request that is to begin later waits for its time, in the store.

const hour = 3_600_000;
const request = z.object({ flow: z.string(), ms: z.number() });

const sleeper = (exclusive?: Exclusive<z.infer<typeof request>>) =>
  hub(
    "sleeper",
    {
      request,
      reply: z.object({ did: z.string() }),
      deadlineMs: hour,
      deadline: "Late",
      signals: { hurry: z.object({}) },
      ...(exclusive === undefined ? {} : { exclusive }),
      chart: { Sleeping: { Done: "Slept", Hurry: "Slept", Late: "Late" }, Slept: end, Late: end },
      data: (given) => given,
    },
    {
      Sleeping: (s) => s.wait({ on: { hurry: "Hurry" }, after: { Done: ({ ms }) => ms } }),
      Slept: ({ flow }) => ({ did: flow }),
      Late: () => ({ did: "late" }),
    },
  );
const plain = sleeper();
const did = (flow: string) => ({ kind: "result", value: { did: flow } });

describe.each(["memory", "sqlite"] as const)("on %s", (store) => {
  test("a request begins at its time, over a restart, and has all its time from then", async () => {
    const world = await begin({ hubs: [plain], workers: () => [], store, limits: { checkpointEvents: 1 } });
    const startAt = world.clock.wallMs() + 24 * hour;
    const submit = () => world.engine.submit(plain, { flow: "a", ms: hour / 2 }, { key: "k", startAt });
    expect((await submit()).known).toBe(false);
    expect((await submit()).known).toBe(true);
    expect(await world.engine.request("k")).toMatchObject({ status: "pending", startAt, state: "" });
    await world.clock.advance(hour);
    // It waits for so long that it leaves the memory.
    expect(world.engine.health().liveRuns).toBe(0);
    await world.restart();
    expect((await world.engine.requests({ status: "pending" })).items.map(({ id }) => id)).toEqual(["k"]);
    await world.clock.advance(23 * hour - 1);
    expect((await world.engine.request("k")).status).toBe("pending");
    await world.clock.advance(1);
    expect((await world.engine.request("k")).status).toBe("running");
    expect(await world.answer("k")).toEqual(did("a"));
    const [accepted, granted, entered] = await world.engine.history("k");
    expect(accepted).toMatchObject({ type: "accepted", startAt, due: startAt });
    expect(granted).toMatchObject({ type: "granted", at: startAt, deadline: startAt + hour });
    expect(entered).toMatchObject({ type: "entered", state: "Sleeping" });
  });

  test("one whose time came while nobody worked begins at the next start, and has all its time", async () => {
    const world = await begin({ hubs: [plain], workers: () => [], store });
    const startAt = world.clock.wallMs() + hour;
    await world.engine.submit(plain, { flow: "a", ms: hour / 2 }, { key: "k", startAt, deadlineMs: hour });
    await world.restart(10 * hour);
    await world.clock.advance(1);
    expect((await world.engine.request("k")).status).toBe("running");
    expect(await world.answer("k")).toEqual(did("a"));
  });

  test("a cancel ends it before its time, and a signal is kept for it", async () => {
    const world = await begin({ hubs: [plain], workers: () => [], store });
    const startAt = world.clock.wallMs() + hour;
    for (const key of ["c", "s"])
      await world.engine.submit(plain, { flow: key, ms: hour / 2 }, { key, startAt });
    expect(await world.engine.cancel("c")).toBe("accepted");
    expect(await world.answer("c")).toMatchObject({ kind: "error", code: "WW_CANCELLED" });
    await world.engine.signal("s", "hurry", {});
    await world.clock.advance(hour + 1);
    expect((await world.engine.request("s")).answer).toEqual(did("s"));
    expect((await world.engine.request("c")).status).toBe("ended");
  });
});

describe("a request to a hub with a lane", () => {
  const queued = sleeper({ lane: "flow", by: ({ flow }) => flow, whenBusy: "queue", queueMs: hour });

  test("comes to its lane at its time, and waits there for its turn", async () => {
    const world = await begin({ hubs: [queued], workers: () => [] });
    const startAt = world.clock.wallMs() + hour;
    const ms = hour / 2;
    const { id: later } = await world.engine.submit(queued, { flow: "a", ms }, { key: "later", startAt });
    // Its time has not come: it is in nobody's way.
    const { id: first } = await world.engine.submit(queued, { flow: "a", ms: ms / 2 }, { key: "first" });
    expect((await world.engine.request(first)).status).toBe("running");
    await world.clock.advance(hour - ms / 2);
    const { id: second } = await world.engine.submit(queued, { flow: "a", ms }, { key: "second" });
    await world.clock.advance(ms / 2 + 1);
    expect(await world.engine.request(later)).toMatchObject({ status: "pending", lane: { position: 1 } });
    await world.restart();
    expect(await world.answer(second)).toEqual(did("a"));
    expect(await world.answer(later)).toEqual(did("a"));
    const types = (await world.engine.history(later)).map(({ type }) => type);
    expect(types.slice(0, 4)).toEqual(["accepted", "arrived", "granted", "entered"]);
  });

  test("is bounded there by its sender's deadline, and goes before what is less urgent", async () => {
    const world = await begin({ hubs: [queued], workers: () => [], store: "sqlite" });
    const startAt = world.clock.wallMs() + hour;
    const submit = async (key: string, ms: number, options: object = {}): Promise<string> =>
      (await world.engine.submit(queued, { flow: "a", ms }, { key, startAt, ...options })).id;
    await submit("holder", hour / 2, { startAt: startAt - 1 });
    const usual = await submit("usual", 10);
    const urgent = await submit("urgent", 10, { startAt: startAt + 1, priority: 5 });
    const hasty = await submit("hasty", 10, { deadlineMs: 60_000 });
    await world.restart();
    await world.clock.advance(hour + 1);
    expect(await world.engine.request(urgent)).toMatchObject({ status: "pending", lane: { position: 1 } });
    expect(await world.engine.request(usual)).toMatchObject({ status: "pending", lane: { position: 2 } });
    await world.clock.advance(59_998);
    expect((await world.engine.request(hasty)).status).toBe("pending");
    await world.clock.advance(1);
    expect((await world.engine.request(hasty)).answer).toMatchObject({ kind: "timeout" });
    expect(await world.answer(usual)).toEqual(did("a"));
  });

  test("begins at once if a place is free, holds it, and is answered with WW_BUSY if it may not wait", async () => {
    const refusing = sleeper({ lane: "flow", by: ({ flow }) => flow, whenBusy: "refuse" });
    const world = await begin({ hubs: [refusing], workers: () => [] });
    const startAt = world.clock.wallMs() + hour;
    const ids: string[] = [];
    for (const key of ["one", "two"])
      ids.push((await world.engine.submit(refusing, { flow: "a", ms: 10 }, { key, startAt })).id);
    await world.clock.advance(hour);
    const views = await Promise.all(ids.map((id) => world.engine.request(id)));
    expect(views.map(({ status }) => status).toSorted()).toEqual(["ended", "running"]);
    expect(views.find(({ status }) => status === "ended")?.answer).toMatchObject({ code: "WW_BUSY" });
    await world.clock.advance(100);
    // The place is free again.
    const again = await world.engine.submit(refusing, { flow: "a", ms: 10 }, { key: "three" });
    expect(await world.answer(again.id)).toEqual(did("a"));
  });
});

test.each(["no lane", "a lane"])("a first turn that the store refuses is an incident: %s", async (lane) => {
  const exclusive = { lane: "flow", by: () => "a", whenBusy: "queue" } as const;
  const bad = hub(
    "bad",
    {
      request,
      reply: z.object({ did: z.string() }),
      deadlineMs: hour,
      ...(lane === "a lane" ? { exclusive } : {}),
      chart: { Over: end },
      data: ({ flow }) => ({ flow: flow.toUpperCase() }),
    },
    { Over: ({ flow }) => ({ did: flow }) },
  );
  const faults = { refuses: (text: string) => text.includes("POISON") };
  const world = await begin({ hubs: [bad, plain], workers: () => [], faults });
  const startAt = world.clock.wallMs() + hour;
  const { id } = await world.engine.submit(bad, { flow: "poison", ms: 1 }, { key: "k", startAt });
  await world.engine.submit(plain, { flow: "other", ms: 1 }, { key: "other", startAt });
  await world.clock.advance(hour + 60_000);
  expect(await world.engine.request(id)).toMatchObject({
    status: "incident",
    incident: { error: { code: "WW_STORE_REFUSED" } },
  });
  expect(await world.answer("other")).toEqual(did("other"));
});

describe("in a cluster, a request whose hub gets another lane while it waits", () => {
  test.each([
    ["has none, if it was accepted without one", undefined, did("a")],
    ["is answered with an error, if it had another key", "former", { kind: "error", code: "WW_INCIDENT" }],
  ] as const)("%s", async (_what, former, answer) => {
    const laneOf = (by: () => string) => sleeper({ lane: "flow", by, whenBusy: "queue" });
    const options: { hubs?: AnyHub[] } = {};
    const before = former === undefined ? plain : laneOf(() => former);
    const nodes = new Nodes({ shards: 3, hub: before, workers: () => [], options });
    const soon = async <T>(promise: Promise<T>): Promise<T> => {
      await nodes.clock.runUntil(promise, 60_000);
      return promise;
    };
    const { node } = await nodes.node(1);
    await nodes.clock.advance(10_000);
    const startAt = nodes.clock.wallMs() + hour;
    const ids: string[] = [];
    for (const key of ["k0", "k1", "k2", "k3"])
      ids.push((await soon(node.submit("sleeper", { flow: "a", ms: 1 }, { key, startAt }))).id);
    await soon(node.stop());
    options.hubs = [laneOf(() => "present")];
    const { node: next } = await nodes.node(1);
    await nodes.clock.advance(hour + 1000);
    for (const id of ids) expect(await soon(next.answer(id))).toMatchObject(answer);
  });
});

test("a time that is over is now, and what is no time is refused", async () => {
  const world = await begin({ hubs: [plain], workers: () => [] });
  const { id } = await world.engine.submit(plain, { flow: "a", ms: 1 }, { startAt: 5 });
  expect((await world.engine.request(id)).status).toBe("running");
  for (const startAt of [Number.NaN, -1, Number.POSITIVE_INFINITY, "soon" as unknown as number]) {
    const error = await refusal(world, world.engine.submit(plain, { flow: "a", ms: 1 }, { startAt }));
    expect(error).toMatchObject({ code: "WW_INVALID_REQUEST", problems: [{ path: "startAt" }] });
  }
});

test("in a cluster, whichever node takes it, a request begins at its time though nodes die", async () => {
  const nodes = new Nodes({ shards: 3, hub: plain, workers: () => [] });
  const first = await nodes.node(1);
  const second = await nodes.node(1);
  await nodes.clock.advance(10_000);
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, 60_000);
    return promise;
  };
  const startAt = nodes.clock.wallMs() + 600_000;
  const keys = Array.from({ length: 6 }, (_, n) => `k${n}`);
  for (const key of keys) await soon(first.node.submit(plain, { flow: key, ms: 1 }, { key, startAt }));
  first.process.kill();
  await nodes.clock.advance(599_000);
  for (const key of keys) expect((await soon(second.node.request(key))).status).toBe("pending");
  await nodes.clock.advance(20_000);
  for (const key of keys) expect(await soon(second.node.answer(key))).toEqual(did(key));
});
