import { end, hub, type AnyHub, type HistoryEvent } from "@wheelwork/core";
import { createEngine } from "@wheelwork/engine";
import { shardOf } from "@wheelwork/engine/cluster";
import type { Fault } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { begin } from "./begin.ts";
import { Nodes } from "./nodes.ts";
import { basket, filled, handled, shopper, takenIds } from "./post-hubs.ts";

// What one run has for another: each post is taken once, and those of one run to another in their order (I33).

const none = (): [] => [];

const starter = (name: string, key?: (data: { readonly n: number }) => string): AnyHub =>
  hub(
    name,
    {
      request: z.object({ n: z.number() }),
      reply: z.object({}),
      deadlineMs: 1000,
      chart: { Starting: { Next: "Done" }, Done: end },
      data: (request) => request,
    },
    {
      Starting: (s) =>
        s.start(basket, {
          input: ({ n }) => ({ of: `${n}` }),
          ...(key === undefined ? {} : { key }),
          next: "Next",
        }),
      Done: () => ({}),
    },
  );

const postedIn = (history: readonly HistoryEvent[]): string[] =>
  history.flatMap((event) =>
    event.type === "posted" && event.post.kind === "start" ? [event.post.key ?? ""] : [],
  );

describe.each(["memory", "sqlite"] as const)("on %s", (store) => {
  test.each([shopper, handled])(
    "a run of $name starts another one, and sends it signals in their order",
    async (one) => {
      const world = await begin({ hubs: [shopper, handled], workers: none, store });
      expect(await world.call(one, { basket: "b", count: 5 }, "s")).toEqual({
        kind: "result",
        value: { sent: 5 },
      });
      expect(await world.answer("b")).toEqual(filled("b", 5));
      expect(new Set(takenIds(await world.engine.history("b"))).size).toBe(6);
      expect((await world.engine.requests()).items.map(({ id }) => id).toSorted()).toEqual(["b", "s"]);
      await world.clock.advance(1000);
      expect(world.engine.health().liveRuns).toBe(0);
    },
  );

  test("whatever dies at whichever moment, each post is taken once, and in its order", async () => {
    const options = { hubs: [shopper], workers: none, store };
    const calm = await begin(options);
    await calm.call(shopper, { basket: "b", count: 3 }, "s");
    await calm.answer("b");
    const commits = calm.store.commits;
    expect(commits).toBeGreaterThan(4);
    const kinds: Fault[] = ["crash-before", "crash-after"];
    for (let at = 1; at <= commits; at++) {
      for (const kind of kinds) {
        const world = await begin({
          ...options,
          faults: { faultAt: (commit) => (commit === at ? kind : undefined) },
        });
        const live = async (): Promise<void> => {
          for (;;) {
            try {
              await world.clock.runUntil(
                world.engine.submit(shopper, { basket: "b", count: 3 }, { key: "s" }),
              );
              expect(await world.answer("b")).toEqual(filled("b", 3));
              return;
            } catch {
              await world.restart(0, {});
            }
          }
        };
        await live();
        expect(takenIds(await world.engine.history("b"))).toHaveLength(4);
        world.close();
      }
    }
  });
});

describe("a started run", () => {
  test("has a key that no other start has, and outlives its starter", async () => {
    const first = starter("first");
    const world = await begin({ hubs: [first], workers: none });
    await world.call(first, { n: 1 }, "s/ä");
    const [key = ""] = postedIn(await world.engine.history("s/ä"));
    expect(key).toMatch(/^s\/ä~0~[0-9a-z]+$/);
    await world.clock.advance(10);
    expect(await world.engine.request(key)).toMatchObject({ hub: "basket", status: "running" });
    expect((await world.engine.request("s/ä")).status).toBe("ended");
    await world.restart();
    await world.engine.signal(key, "close", {});
    expect(await world.answer(key)).toEqual(filled("1", 0));
  });

  test("of a key that is known is the same one, and another body under the key is listed as lost", async () => {
    const first = starter("first", () => "one");
    const world = await begin({ hubs: [first], workers: none });
    for (const [key, n] of [
      ["a", 1],
      ["b", 1],
      ["c", 2],
    ] as const)
      await world.call(first, { n }, key);
    await world.clock.advance(1000);
    const { items } = await world.engine.requests({ status: "lost" });
    expect(items.map(({ id }) => id)).toEqual(["c/t0"]);
    expect((await world.engine.request("c/t0")).answer).toMatchObject({
      code: "not-delivered",
      message: expect.stringContaining("WW_KEY_REUSED") as string,
    });
    expect((await world.engine.requests({ hub: "basket" })).items).toHaveLength(1);
    expect(world.counted("tell-lost")).toBe(1);
  });

  test("has its input checked where it is started: a hub that is wrong is an incident, and starts nothing", async () => {
    const wrong = hub(
      "wrong",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 1000,
        chart: { Starting: { Next: "Done" }, Done: end },
        data: () => ({}),
      },
      {
        Starting: (s) => s.start(basket, { input: () => ({ of: 7 as unknown as string }), next: "Next" }),
        Done: () => ({}),
      },
    );
    const world = await begin({ hubs: [wrong], workers: none });
    await world.engine.submit(wrong, {}, { key: "w" });
    await world.clock.advance(10);
    expect(await world.engine.request("w")).toMatchObject({
      status: "incident",
      incident: { error: { code: "WW_INVALID_INPUT" } },
    });
    expect((await world.engine.requests({ hub: "basket" })).items).toEqual([]);
  });
});

describe("a signal to another run", () => {
  const sender = hub(
    "sender",
    {
      request: z.object({ to: z.string() }),
      reply: z.object({}),
      deadlineMs: 1000,
      chart: { Sending: { Next: "Done" }, Done: end },
      data: (request) => request,
    },
    {
      Sending: (s) =>
        s.signalRun(basket, { id: ({ to }) => to, signal: "close", payload: () => ({}), next: "Next" }),
      Done: () => ({}),
    },
  );

  test("that is not there, has ended, or is of another hub, is listed as lost with the reason", async () => {
    const world = await begin({ hubs: [sender, basket], workers: none });
    await world.engine.submit(basket, { of: "x" }, { key: "ended" });
    await world.engine.signal("ended", "close", {});
    await world.answer("ended");
    for (const [key, to] of [
      ["1", "nobody"],
      ["2", "ended"],
      ["3", "1"],
    ] as const)
      expect(await world.call(sender, { to }, key)).toEqual({ kind: "result", value: {} });
    await world.clock.advance(1000);
    const { items } = await world.engine.requests({ status: "lost" });
    expect(items.map(({ id }) => id).toSorted()).toEqual(["1/t0", "2/t0", "3/t0"]);
    for (const [id, reason] of [
      ["1/t0", "there is no request nobody"],
      ["2/t0", "the run of the request ended has ended"],
      ["3/t0", "the request 1 is one of the hub sender, not of basket"],
    ] as const)
      expect((await world.engine.request(id)).answer).toMatchObject({
        message: expect.stringContaining(reason) as string,
      });
  });

  test("hubs that name others which the engine does not have are refused, all of them at once", () => {
    const lonely = hub(
      "lonely",
      {
        request: z.object({}),
        reply: z.object({}),
        deadlineMs: 1000,
        chart: { A: { Next: "B" }, B: { Next: "Done" }, Done: end },
        data: () => ({}),
      },
      {
        A: (s) => s.start("nowhere", { input: () => ({}), next: "Next" }),
        B: (s) => s.signalRun("basket", { id: () => "x", signal: "shut", payload: () => 1, next: "Next" }),
        Done: () => ({}),
      },
    );
    expect(() => createEngine({ hubs: [lonely, basket], workers: [], store: "unused.db" })).toThrow(
      expect.objectContaining({
        code: "WW_CONFIG",
        problems: [
          {
            path: "hubs",
            message: "the state A of the hub lonely names the hub nowhere, which is not there",
          },
          {
            path: "hubs",
            message: "the state B of the hub lonely sends basket the signal shut, which it does not take",
          },
        ],
      }) as Error,
    );
  });
});

test("in a cluster posts reach runs of other shards, once and in order, over the death of nodes", async () => {
  const shards = 4;
  const nodes = new Nodes({ shards, hub: shopper, workers: none });
  let first = await nodes.node(1);
  const second = await nodes.node(1);
  await nodes.clock.advance(10_000);
  const names = Array.from({ length: 12 }, (_, n) => `b${n}`);
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, 120_000);
    return promise;
  };
  for (const name of names)
    await soon(second.node.submit(shopper, { basket: name, count: 4 }, { key: `of ${name}` }));
  first.process.kill();
  await nodes.clock.advance(3);
  first = await nodes.node(1);
  for (const name of names) {
    expect(await soon(first.node.answer(`of ${name}`))).toEqual({ kind: "result", value: { sent: 4 } });
    for (let tries = 0; tries < 100; tries++) {
      const known = await soon(first.node.request(name).catch(() => undefined));
      if (known?.status === "ended") break;
      await nodes.clock.advance(1000);
    }
    expect(await soon(first.node.answer(name))).toEqual(filled(name, 4));
    expect(takenIds(await soon(first.node.history(name)))).toHaveLength(5);
  }
});

describe("when a shard goes to another node", () => {
  const shards = 4;

  /** Two nodes, and keys of requests whose shards are worked on by the first and the second one. */
  const twoNodes = async (hubs: AnyHub) => {
    const nodes = new Nodes({ shards, hub: hubs, workers: none, logMs: 30 });
    const [first, second] = [await nodes.node(1), await nodes.node(1)];
    await nodes.clock.advance(10_000);
    const soon = async <T>(promise: Promise<T>): Promise<T> => {
      await nodes.clock.runUntil(promise, 120_000);
      return promise;
    };
    const keyOf = ({ node }: typeof first, name: string): string => {
      const own = new Set(node.shards.map(({ shard }) => shard));
      for (let number = 0; ; number++)
        if (own.has(shardOf(`${name}${number}`, shards))) return `${name}${number}`;
    };
    return { nodes, first, second, soon, mine: keyOf(first, "s"), other: keyOf(second, "b") };
  };

  test.each([0, 300, 900, 2100])(
    "what waits in its inbox is not overtaken by what comes to the new owner at once (%d ms)",
    async (afterMs) => {
      const { nodes, first, second, soon, mine, other } = await twoNodes(handled);
      await soon(first.node.submit(handled, { basket: other, count: 200 }, { key: mine }));
      await nodes.clock.advance(20 + afterMs);
      second.process.kill();
      await nodes.clock.advance(120_000);
      expect(await soon(first.node.answer(other, { waitMs: 1000 }))).toEqual(filled(other, 200));
    },
  );

  test("a signal that waits in its inbox when its run ends is lost, and its sender knows", async () => {
    const late = hub(
      "late",
      {
        request: z.object({ to: z.string() }),
        reply: z.object({}),
        deadlineMs: 60_000,
        chart: { Closing: { Next: "Adding" }, Adding: { Next: "Done" }, Done: end },
        data: (request) => request,
      },
      {
        Closing: (s) =>
          s.signalRun(basket, { id: ({ to }) => to, signal: "close", payload: () => ({}), next: "Next" }),
        Adding: (s) =>
          s.signalRun(basket, { id: ({ to }) => to, signal: "add", payload: () => ({ n: 1 }), next: "Next" }),
        Done: () => ({}),
      },
    );
    const { nodes, first, second, soon, mine, other } = await twoNodes(late);
    await soon(second.node.submit(basket, { of: "x" }, { key: other }));
    second.process.kill();
    await soon(first.node.submit(late, { to: other }, { key: mine }));
    await nodes.clock.advance(60_000);
    const { items } = await soon(first.node.requests({ status: "lost" }));
    expect(items.map(({ id }) => id)).toEqual([`${mine}/t1`]);
  });
});
