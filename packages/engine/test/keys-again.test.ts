import { end, hub, spoke, type HistoryEvent } from "@wheelwork/core";
import { externalWorker, worker } from "@wheelwork/engine";
import { afterEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";
import { World, type WorldOptions } from "./world.ts";

/** A key that is used again after its retention is a new request, and all that it begins is new, too (I5). */

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

async function begin(options: WorldOptions): Promise<World> {
  const world = new World(options);
  worlds.push(world);
  return world.start();
}

const retentionMs = 200_000;

const mail = spoke("mail", {
  input: z.string(),
  output: z.null(),
  timeoutMs: 1_000,
  retry: { attempts: 60, backoffMs: 20_000, maxBackoffMs: 20_000 },
});

const sending = hub(
  "sending",
  {
    request: z.string(),
    reply: z.string(),
    deadlineMs: 1_000,
    chart: { Telling: { Next: "Done" }, Done: end },
    data: (text) => ({ text }),
  },
  { Telling: (s) => s.tell(mail, { input: ({ text }) => text, next: "Next" }), Done: () => "sent" },
);

/** A hub that waits until somebody says "go". */
const waiting = (name: string) =>
  hub(
    name,
    {
      request: z.string(),
      reply: z.string(),
      deadlineMs: 5_000_000,
      deadline: "Went",
      signals: { go: z.object({}) },
      chart: { Waiting: { Went: "Done" }, Done: end },
      data: (text) => ({ text }),
    },
    {
      Waiting: (s) => s.wait({ on: { go: (data) => s.raise("Went", data) } }),
      Done: ({ text }) => `${name} ${text}`,
    },
  );

/** Sends the request again and again, until its key is free and it is a new one. */
async function untilFree(world: World, submit: () => Promise<{ readonly known: boolean }>): Promise<void> {
  for (let waited = 0; (await submit()).known; waited += 15_000) {
    expect(waited).toBeLessThan(3 * retentionMs);
    await world.clock.advance(15_000);
  }
}

/** Lets time pass until a run has its answer. A tell that is lost has one, too. */
const answered = (world: World, id: string): Promise<void> =>
  world.clock.runUntil(async () => (await world.engine.request(id)).answer !== undefined);

/** How many events a history has, with those that are archived. */
const countOf = (history: readonly HistoryEvent[]): number =>
  history.reduce((count, event) => count + (event.type === "archived" ? event.events : 1), 0);

describe.each(["memory", "sqlite"] as const)("in a store (%s)", (store) => {
  test.each([
    { upMs: 10_000, archives: false },
    { upMs: 150_000, archives: false },
    { upMs: 450_000, archives: true },
    { upMs: undefined, archives: true },
  ])("a tell is none of a former request (%o)", async ({ upMs, archives }) => {
    let isDown = true;
    const world = await begin({
      hubs: [sending],
      workers: () => [
        worker(mail, () => {
          if (isDown) throw new Error("the mail server is down");
          return null;
        }),
      ],
      store,
      limits: { checkpointEvents: 1 },
      retentionMs,
      ...(archives ? { historyRetentionMs: retentionMs } : {}),
    });
    const submit = () => world.engine.submit(sending, "news", { key: "k" });
    expect((await submit()).known).toBe(false);
    await world.clock.advance(0);
    const told = (await world.engine.history("k")).find(({ type }) => type === "told") as { call: number };
    const tell = `k/t${told.call}`;
    if (upMs !== undefined) {
      await world.clock.advance(upMs);
      isDown = false;
    }
    await answered(world, tell);
    const former = await world.engine.request(tell);
    isDown = true;
    await untilFree(world, submit);
    const since = (await world.engine.request("k")).createdAt;
    expect(since).toBeGreaterThan(former.createdAt);
    // The other one may have been stored until now, and is purged meanwhile.
    let known = 0;
    for (let ms = 0; ms < 2.5 * retentionMs; ms += 15_000) {
      await world.clock.advance(15_000);
      const history = await world.engine.history(tell);
      expect(history[0]?.at).toBeGreaterThanOrEqual(since);
      expect(countOf(history)).toBeGreaterThanOrEqual(known);
      known = countOf(history);
      expect((await world.engine.request(tell)).createdAt).toBeGreaterThanOrEqual(since);
      if (ms === 150_000) await world.restart();
      if (ms === 300_000) await world.engine.stop().then(() => world.restart());
    }
    isDown = false;
    await answered(world, tell);
    const history = await world.engine.history(tell);
    expect(history[0]?.at).toBeGreaterThanOrEqual(since);
    expect(countOf(history)).toBeGreaterThan(known);
    expect(history.some(({ type }) => type === "archived")).toBe(archives);
    const now = await world.engine.request(tell);
    expect(now).toMatchObject({ status: "ended", answer: { kind: "result" } });
    expect(now.createdAt).toBeGreaterThanOrEqual(since);
    // The history is kept for as long as it was promised.
    await world.clock.advance(retentionMs - 1_000);
    expect(await world.engine.history(tell)).toEqual(history);
    await world.clock.advance(retentionMs);
    await expect(world.engine.history(tell)).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
    await expect(world.engine.history("k")).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
  });

  test("what a worker of a former run says late is no outcome of the present one", async () => {
    const slow = spoke("slow", { input: z.string(), output: z.string(), timeoutMs: 1_000_000 });
    const calling = hub(
      "calling",
      {
        request: z.string(),
        reply: z.string(),
        deadlineMs: 1_000_000,
        deadline: "Left",
        cancel: "Left",
        chart: { Calling: { Came: "Done", Left: "Done" }, Done: end },
        data: (text) => ({ text, came: "nothing" }),
      },
      {
        Calling: (s) =>
          s.call(slow, {
            input: ({ text }) => text,
            ok: (data, came) => s.raise("Came", { ...data, came }),
            failed: "Left",
          }),
        Done: ({ came }) => came,
      },
    );
    let made = 0;
    const world = await begin({
      hubs: [calling],
      // It pays no heed to the end of its call.
      workers: (sleep) => [
        worker(slow, async () => {
          const mine = ++made;
          await sleep(2 * retentionMs);
          return `attempt ${mine}`;
        }),
      ],
      store,
      retentionMs,
    });
    const submit = () => world.engine.submit(calling, "a", { key: "k" });
    await submit();
    await world.clock.advance(1_000);
    await world.engine.cancel("k");
    expect(await world.answer("k")).toEqual({ kind: "result", value: "nothing" });
    await untilFree(world, submit);
    expect(await world.answer("k")).toEqual({ kind: "result", value: "attempt 2" });
    expect(world.signals).toContainEqual({ name: "ignored", key: "k", reason: "stale" });
  });

  test("a row of a former run says nothing of another hub's run", async () => {
    const [first, second] = [waiting("first"), waiting("second")];
    const world = await begin({ hubs: [first, second], workers: () => [], store, retentionMs });
    await world.engine.submit(first, "a", { key: "k" });
    // A stop writes the row of the run. Little happens from then on, so that no checkpoint deletes it.
    await world.engine.stop();
    await world.restart();
    await world.engine.signal("k", "go", {});
    await world.ended("k");
    await world.clock.advance(2 * retentionMs);
    await world.engine.submit(second, "b", { key: "k" });
    const { createdAt } = await world.engine.request("k");
    await world.engine.stop();
    world.hubs = [second];
    await world.restart();
    const { items } = await world.engine.requests({ hub: "second" });
    expect(items).toMatchObject([{ id: "k", hub: "second", createdAt }]);
    await world.engine.signal("k", "go", {});
    expect(await world.answer("k")).toEqual({ kind: "result", value: "second b" });
  });
});

describe("an external worker", () => {
  const far = spoke("far", { input: z.string(), output: z.string(), timeoutMs: 50_000 });
  const asking = hub(
    "asking",
    {
      request: z.string(),
      reply: z.string(),
      deadlineMs: 60_000,
      deadline: "Left",
      cancel: "Left",
      chart: { Calling: { Came: "Done", Left: "Done" }, Done: end },
      data: (text) => ({ text, came: "nothing" }),
    },
    {
      Calling: (s) =>
        s.call(far, {
          input: ({ text }) => text,
          ok: (data, came) => s.raise("Came", { ...data, came }),
          failed: "Left",
        }),
      Done: ({ came }) => came,
    },
  );

  test.each([
    ["its late answer to a former run of the key does not count", true, "in time"],
    ["an answer to a message of an earlier version, which names no run, counts", false, "late"],
  ])("%s", async (_what, namesRun, expected) => {
    const nodes = new Nodes({
      shards: 1,
      hub: asking,
      workers: () => [externalWorker(far, { topic: "far" })],
      topics: { far: 1 },
      options: { retentionMs },
    });
    const { node, signals } = await nodes.node(1);
    const { clock, broker, outside } = nodes;
    const soon = async <T>(promise: Promise<T>): Promise<T> => {
      await clock.runUntil(
        promise.catch(() => {}),
        100_000,
      );
      return promise;
    };
    const submit = () => soon(node.submit(asking, "a", { key: "k" }));
    const asked = async (times: number) => {
      await clock.runUntil(() => broker.records("far").length >= times, 60_000);
      return broker.records("far")[times - 1]!;
    };
    const say = (to: Awaited<ReturnType<typeof asked>>, output: string) => {
      const id = to.headers["correlation-id"]!;
      const headers = {
        ce_type: "wheelwork.response",
        "correlation-id": namesRun ? id : id.replace(/\.\d+\.far$/, ".far"),
      };
      return soon(
        outside.append(to.headers["reply-to"]!, { key: to.key, value: JSON.stringify({ output }), headers }),
      );
    };
    await submit();
    const former = await asked(1);
    await soon(node.cancel("k"));
    expect(await soon(node.answer("k"))).toEqual({ kind: "result", value: "nothing" });
    while ((await submit()).known) await clock.advance(15_000);
    const present = await asked(2);
    expect(former.headers["correlation-id"]).not.toBe(present.headers["correlation-id"]);
    await say(former, "late");
    await clock.advance(1000);
    await say(present, "in time");
    expect(await soon(node.answer("k"))).toEqual({ kind: "result", value: expected });
    const stale = signals.filter((signal) => signal.name === "ignored" && signal.reason === "stale");
    expect(stale).toHaveLength(namesRun ? 1 : 0);
    await soon(node.stop({ drainMs: 0 }));
  });
});
