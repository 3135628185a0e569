import { end, hub, stay, type AnyHub, type Hub } from "@wheelwork/core";
import { worker, type Engine } from "@wheelwork/engine";
import { shardOf } from "@wheelwork/engine/cluster";
import { FaultyStore, type Fault, type MemoryStore } from "@wheelwork/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { keyInLane } from "../src/ports/keys.ts";
import { laneWorld, operation, work, type LaneOptions } from "./lane-hubs.ts";
import { Nodes, type NodesOptions } from "./nodes.ts";

/** A call of a hub in another lane is the same on one engine and in a cluster, where that lane is in another shard (I36). */

const shards = 4;
const hour = 3_600_000;
type Flow = Hub<{ flow: string }>;

/** It calls a hub for each flow, and answers what they came to, in the order in which it was told. */
const boss = (callee: Flow, options: { deadlineMs?: number; drain?: boolean; name?: string } = {}) =>
  hub(
    options.name ?? "boss",
    {
      request: z.object({ flows: z.array(z.string()), note: z.string().default("") }),
      reply: z.object({ outcomes: z.array(z.string()) }),
      deadlineMs: options.deadlineMs ?? 60_000,
      deadline: "Late",
      signals: { enough: z.object({}) },
      chart: { Calling: { One: stay, All: "Done", Enough: "Done", Late: "Done" }, Done: end },
      data: ({ flows, note }) => ({ flows, note, outcomes: [] as string[] }),
    },
    {
      Calling: (s) =>
        s.each(callee, {
          inputs: ({ flows, note }) => flows.map((flow) => ({ flow, note })),
          ok: ({ outcomes }, output) =>
            s.raise("One", { outcomes: [...outcomes, (output as { did: string }).did] }),
          failed: ({ outcomes }, failure) =>
            s.raise("One", {
              outcomes: [...outcomes, failure.kind === "error" ? failure.code : failure.kind],
            }),
          done: "All",
          on: { enough: "Enough" },
          drain: options.drain ?? false,
        }),
      Done: ({ outcomes }) => ({ outcomes: [...outcomes] }),
    },
  ) as unknown as Hub<{ flows: readonly string[]; note?: string }>;

const answered = (...outcomes: string[]) => ({ kind: "result", value: { outcomes } });

/** An engine and its time. */
interface Scene {
  readonly engine: Engine;
  readonly begun: string[];
  soon<T>(promise: Promise<T>): Promise<T>;
  advance(ms: number): Promise<void>;
}

async function alone(hubs: readonly AnyHub[]): Promise<Scene> {
  const { world, begun } = await laneWorld(hubs);
  onTestFinished(() => world.close());
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await world.clock.runUntil(promise, 600_000);
    return promise;
  };
  return { engine: world.engine, begun, soon, advance: (ms) => world.clock.advance(ms) };
}

function cluster(hubs: readonly AnyHub[], options: NodesOptions["options"] = {}) {
  const begun: string[] = [];
  const now = new Map<string, number>();
  const most = new Map<string, number>();
  const nodes = new Nodes({
    shards,
    hub: hubs[0] as AnyHub,
    workers: (process) => [
      worker(work, async ({ flow, ms, of }, { signal }) => {
        begun.push(`${of} ${flow}`);
        now.set(flow, (now.get(flow) ?? 0) + 1);
        most.set(flow, Math.max(most.get(flow) ?? 0, now.get(flow) ?? 0));
        const leave = (): void => void now.set(flow, (now.get(flow) ?? 0) - 1);
        signal.addEventListener("abort", leave, { once: true });
        await process.sleep(ms);
        if (!signal.aborted) leave();
        return {};
      }),
    ],
    options: { hubs, ...options },
  });
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, 600_000);
    return promise;
  };
  return { nodes, begun, most, soon };
}

/** A cluster that one shard may leave, and come back to. */
function leaving(hubs: readonly AnyHub[], retentionMs: number) {
  const stores = new Map<number, FaultyStore>();
  let away: number | undefined;
  const made = cluster(hubs, {
    retentionMs,
    store: (shard) => {
      const store = new FaultyStore((made.nodes.disks[shard] as MemoryStore).reopen());
      stores.set(shard, store);
      store.gone = away === shard;
      return store;
    },
  });
  const leave = (shard: number | undefined): void => {
    away = shard;
    for (const [of, store] of stores) store.gone = of === shard;
  };
  return { ...made, leave };
}

async function amongNodes(hubs: readonly AnyHub[]): Promise<Scene> {
  const { nodes, begun, soon } = cluster(hubs);
  const { node } = await nodes.node(1);
  await nodes.node(1);
  await nodes.clock.advance(10_000);
  return { engine: node, begun, soon, advance: (ms) => nodes.clock.advance(ms) };
}

const scenes = [
  ["one engine", alone],
  ["a cluster", amongNodes],
] as const;

/** A key that is in another shard than the lane of a flow. */
function farFrom(flow: string, name = "k"): string {
  const lane = shardOf(keyInLane("x", "flow", flow), shards);
  for (let n = 0; ; n++) if (shardOf(`${name}${n}`, shards) !== lane) return `${name}${n}`;
}

describe.each(scenes)("%s", (_name, open) => {
  test("a callee waits for its turn in its lane, and its outcome comes back once", async () => {
    const op = operation("op", {}, 60_000);
    const { engine, soon, advance, begun } = await open([boss(op), op]);
    const holder = await soon(engine.submit("op", { flow: "a", ms: 5000 }, { key: "holder" }));
    const key = farFrom("a");
    await soon(engine.submit("boss", { flows: ["a"] }, { key }));
    await advance(3000);
    expect(begun).toEqual(["op a"]);
    expect(await soon(engine.answer(holder.id))).toEqual({ kind: "result", value: { did: "a" } });
    expect(await soon(engine.answer(key))).toEqual(answered("a"));
    expect(begun).toEqual(["op a", "op a"]);
    const history = await soon(engine.history(key));
    expect(history.filter(({ type }) => type === "settled")).toHaveLength(1);
  });

  test.each([
    ["refuse", {}, "WW_BUSY"],
    ["queue", { queueLimit: 1 }, "same"],
    // The body is another one.
    ["join", {}, "WW_BUSY"],
    ["latest", {}, "same"],
    ["replace", {}, "same"],
  ] as const)("whenBusy: %s", async (whenBusy, more, outcome) => {
    const op = operation("op", { whenBusy, ...more } as LaneOptions, 60_000);
    const { engine, soon, advance } = await open([boss(op), op]);
    const key = farFrom("a");
    const held = await soon(engine.submit("op", { flow: "a", ms: 4000, note: "same" }, { key: "holder" }));
    await advance(500);
    await soon(engine.submit("boss", { flows: ["a"], note: "same" }, { key }));
    expect(await soon(engine.answer(key))).toEqual(answered(outcome));
    const first = await soon(engine.answer(held.id));
    expect(first?.kind).toBe(whenBusy === "replace" ? "error" : "result");
  });

  test("a callee that joins gets the answer of the holder, and one that is replaced hears of it", async () => {
    const join = operation("join", { whenBusy: "join" }, 60_000);
    const latest = operation("latest", { whenBusy: "latest" }, 60_000);
    const both = [boss(join), boss(latest, { name: "newest" }), join, latest];
    const { engine, soon, advance } = await open(both);
    const keys = ["p", "q", "r", "s"].map((name) => farFrom("a", name)) as [string, string, string, string];
    for (const key of keys.slice(0, 2)) await soon(engine.submit("boss", { flows: ["a"] }, { key }));
    for (const key of keys.slice(0, 2)) expect(await soon(engine.answer(key))).toEqual(answered("a"));
    await soon(engine.submit("latest", { flow: "a", ms: 5000 }));
    for (const [n, key] of keys.slice(2).entries()) {
      await soon(engine.submit("newest", { flows: ["a"], note: `${n}` }, { key }));
      await advance(1000);
    }
    expect(await soon(engine.answer(keys[2]))).toEqual(answered("WW_REPLACED"));
    expect(await soon(engine.answer(keys[3]))).toEqual(answered("1"));
  });

  test.each([
    // A drain lets it end. A cancel does not, and waits for the clean-up.
    ["signal", true, ["long"], ["op a"]],
    ["signal", false, [], ["op a", "undo op a"]],
    ["cancel", true, ["given-up"], ["op a", "undo op a"]],
    ["cancel", false, [], ["op a", "undo op a"]],
  ] as const)("a %s gives the call up, drain: %s", async (how, drain, outcomes, works) => {
    const op = operation("op", {}, 600_000);
    const { engine, soon, advance, begun } = await open([boss(op, { drain }), op]);
    const key = farFrom("a");
    await soon(engine.submit("boss", { flows: ["a"], note: "long" }, { key }));
    await advance(60);
    await soon(how === "cancel" ? engine.cancel(key) : engine.signal(key, "enough", {}));
    expect(await soon(engine.answer(key))).toEqual(answered(...outcomes));
    await advance(5000);
    expect(begun).toEqual(works);
  });

  test("the deadline of the caller, and its cancel, cancel a callee that waits", async () => {
    const op = operation("op", {}, 600_000);
    const { engine, soon, advance, begun } = await open([boss(op, { deadlineMs: 3000 }), op]);
    await soon(engine.submit("op", { flow: "a", ms: 20_000 }));
    const [late, cancelled] = [farFrom("a", "l"), farFrom("a", "c")];
    for (const key of [late, cancelled]) await soon(engine.submit("boss", { flows: ["a"] }, { key }));
    await advance(1000);
    await soon(engine.cancel(cancelled));
    for (const key of [cancelled, late]) expect(await soon(engine.answer(key))).toEqual(answered());
    await advance(30_000);
    expect(begun).toEqual(["op a"]);
  });

  test("a tree of calls that comes back to its lane shares the place", async () => {
    const inner = operation("inner", {}, 60_000);
    const between = boss(inner, { name: "between" });
    const middle = inLane("middle", between as never, (flow) => ({ flows: [flow.slice(1)] }));
    const outer = inLane("outer", middle, (flow) => ({ flow: `m${flow}` }));
    const { engine, soon } = await open([outer, middle, between, inner]);
    const { id } = await soon(engine.submit("outer", { flow: "a" }));
    const answer = await soon(engine.answer(id));
    expect(answer).toEqual({ kind: "result", value: { did: "a" } });
  });

  test("calls are no deeper than 32, over all shards", async () => {
    let chain = operation("last", {}, 60_000);
    const hubs = [chain];
    for (let depth = 0; depth < 33; depth++) {
      chain = inLane(`at${depth}`, chain, (flow) => ({ flow: `${flow}x` }));
      hubs.unshift(chain);
    }
    const { engine, soon, begun } = await open(hubs);
    const { id } = await soon(engine.submit(chain, { flow: "a" }));
    expect(await soon(engine.answer(id))).toEqual({ kind: "result", value: { did: "WW_DEFECT" } });
    expect(begun).toEqual([]);
  });

  test("a callee that is parked goes on after a retry, and its caller gets the outcome", async () => {
    let isBroken = true;
    const fragile = inLane("fragile", operation("op", {}, 60_000), (flow) => {
      if (isBroken) throw new Error("broken on purpose");
      return { flow };
    });
    const { engine, soon, advance } = await open([boss(fragile as never), fragile]);
    const key = farFrom("a");
    await soon(engine.submit("boss", { flows: ["a"] }, { key }));
    await advance(1000);
    const { items } = await soon(engine.requests({ status: "incident" }));
    const parked = items[0]?.id ?? `${key}/0`;
    isBroken = false;
    await soon(engine.retry(parked));
    expect(await soon(engine.answer(key))).toEqual(answered("a"));
  });
});

/** Calls one hub, in a lane of its own flow, and answers what that came to. */
function inLane(name: string, callee: Flow, input: (flow: string) => object): Flow {
  return hub(
    name,
    {
      request: z.object({ flow: z.string() }),
      reply: z.object({ did: z.string() }),
      deadlineMs: 50_000,
      deadline: "Late",
      exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue" },
      chart: { Calling: { Called: "Done", Late: "Done" }, Done: end },
      data: ({ flow }) => ({ flow, did: "nothing" }),
    },
    {
      Calling: (s) =>
        s.call(callee, {
          input: ({ flow }) => input(flow) as never,
          ok: (_data, output) => s.raise("Called", { did: Object.values(output as object).join() }),
          failed: (_data, failure) =>
            s.raise("Called", { did: failure.kind === "error" ? failure.code : failure.kind }),
        }),
      Done: ({ did }) => ({ did }),
    },
  ) as Flow;
}

describe("in a cluster", () => {
  test("the carrier of a call names the callee, which is a request of its own, and names the carrier", async () => {
    const op = operation("op", {}, 60_000);
    const { engine, soon } = await amongNodes([boss(op), op]);
    const key = farFrom("a");
    await soon(engine.submit("boss", { flows: ["a"] }, { key }));
    expect(await soon(engine.answer(key))).toEqual(answered("a"));
    const carrier = await soon(engine.request(`${key}/0`));
    expect(carrier).toMatchObject({ status: "ended", request: { hub: "op", request: { flow: "a" } } });
    const { key: callee } = carrier.request as { key: string };
    expect(await soon(engine.answer(callee))).toEqual({ kind: "result", value: { did: "a" } });
    expect((await soon(engine.history(callee)))[0]).toMatchObject({
      type: "started",
      caller: { carrier: `${key}/0`, depth: 1 },
    });
    const { items } = await soon(engine.requests());
    // What a run has called is no request of a client, wherever it works.
    expect(items.map(({ id }) => id)).toEqual([key]);
  });

  test.each(["crash-before", "crash-after", "fail", "unseen"] as const)(
    "%s at any commit: the outcome comes once",
    { timeout: 60_000 },
    async (kind: Fault) => {
      for (let at = 1, isReached = true; isReached; at++) {
        isReached = false;
        const op = operation("op", {}, 60_000);
        const { nodes, begun } = cluster([boss(op), op]);
        let commits = 0;
        let isArmed = false;
        const first = await nodes.node(1, () => {
          if (!isArmed || ++commits !== at) return undefined;
          isReached = true;
          return kind;
        });
        const second = await nodes.node(1);
        await nodes.clock.advance(10_000);
        isArmed = true;
        // It may die at each step of the clock.
        const patiently = async <T>(ask: () => Promise<T>): Promise<T> => {
          for (;;) {
            const asked = ask().catch(() => undefined);
            const isLost = (): boolean => first.process.alive && first.stores.some(({ crashed }) => crashed);
            let isSettled = false;
            void asked.then(() => (isSettled = true));
            await nodes.clock.runUntil(() => isSettled || isLost(), 120_000);
            if (isLost()) first.process.kill();
            else {
              const got = await asked;
              if (got !== undefined) return got;
            }
          }
        };
        const keys = ["a", "b"].map((flow) => farFrom(flow, `${flow}-`));
        for (const key of keys) {
          const flows = [key.charAt(0), "c"];
          await patiently(() => second.node.submit("boss", { flows }, { key }));
        }
        for (const key of keys) {
          const answer = await patiently(() => second.node.answer(key));
          const { outcomes } = (answer as { value: { outcomes: string[] } }).value;
          expect(outcomes.toSorted()).toEqual([key.charAt(0), "c"].toSorted());
          const history = await patiently(() => second.node.history(key));
          expect(history.filter(({ type }) => type === "settled")).toHaveLength(2);
        }
        // A shard that is claimed again makes the attempts once more that were under way, and nothing else.
        expect(begun.length).toBeGreaterThanOrEqual(4);
        expect(begun.length).toBeLessThanOrEqual(8);
      }
    },
  );

  test.each(["callee", "caller"])("the shard of the %s may be away for an hour", async (who) => {
    const op = operation("op", {}, 3 * hour);
    const top = boss(op, { deadlineMs: 3 * hour });
    const { nodes, soon, begun, leave } = leaving([top, op], 60_000);
    const { node } = await nodes.node(1);
    await nodes.clock.advance(10_000);
    const key = farFrom("a");
    const lane = shardOf(keyInLane("x", "flow", "a"), shards);
    if (who === "callee") leave(lane);
    await soon(node.submit("boss", { flows: ["a"] }, { key }));
    if (who === "caller") {
      await nodes.clock.runUntil(() => begun.length > 0, 10_000);
      leave(shardOf(key, shards));
    }
    await nodes.clock.advance(hour);
    expect(begun).toHaveLength(who === "callee" ? 0 : 1);
    leave(undefined);
    // If it has been there, its retention is over by far, and its caller has not heard of it yet.
    await nodes.clock.runUntil(() => node.shards.length === shards, 60_000);
    const { key: callee } = (await soon(node.request(`${key}/0`))).request as { key: string };
    const isKnown = () =>
      soon(node.request(callee)).then(
        () => true,
        () => false,
      );
    expect(await isKnown()).toBe(who === "caller");
    expect(await soon(node.answer(key))).toEqual(answered("a"));
    expect(begun).toEqual(["op a"]);
    await nodes.clock.advance(hour);
    expect(await isKnown()).toBe(false);
  });

  test("a key that is used again has callees of its own, though the carrier of a former call ended late", async () => {
    const retentionMs = 200_000;
    const op = operation("op", {}, hour);
    const top = boss(op, { deadlineMs: 2 * hour });
    const { nodes, soon, leave } = leaving([top, op], retentionMs);
    const { node } = await nodes.node(1);
    await nodes.clock.advance(10_000);
    const key = farFrom("a");
    const submit = () => soon(node.submit("boss", { flows: ["a"] }, { key }));
    // The carrier cannot withdraw its callee: it tries until the shard of the lane is back.
    leave(shardOf(keyInLane("x", "flow", "a"), shards));
    await submit();
    await nodes.clock.advance(1_000);
    await soon(node.signal(key, "enough", {}));
    expect(await soon(node.answer(key))).toEqual(answered());
    const called = (await soon(node.history(key))).flatMap((event) =>
      "calls" in event ? (event.calls ?? []).map(({ first }) => first) : [],
    );
    const carrier = `${key}/${called[0]}`;
    await nodes.clock.advance(150_000);
    leave(undefined);
    const isOver = async (): Promise<boolean> => (await soon(node.request(carrier))).status === "ended";
    while (!(await isOver())) await nodes.clock.advance(1_000);
    for (let waited = 0; (await submit()).known; waited += 15_000) {
      expect(waited).toBeLessThan(3 * retentionMs);
      await nodes.clock.advance(15_000);
    }
    const since = (await soon(node.request(key))).createdAt;
    expect(await soon(node.answer(key))).toEqual(answered("a"));
    for (let waited = 0; waited < retentionMs - 30_000; waited += 15_000) {
      expect((await soon(node.history(carrier)))[0]?.at).toBeGreaterThanOrEqual(since);
      const { createdAt, answer } = await soon(node.request(carrier));
      expect(createdAt).toBeGreaterThanOrEqual(since);
      expect(answer).toMatchObject({ value: { answer: { value: { did: "a" } } } });
      await nodes.clock.advance(15_000);
    }
  });
});
