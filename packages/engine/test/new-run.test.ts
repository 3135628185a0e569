import { end, hub, hubByHandlers, spoke, type NewRun } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { expect, test } from "vitest";
import { z } from "zod";
import { begin } from "./begin.ts";
import { Nodes } from "./nodes.ts";

// A run knows its own id: `data` gets it, and what it keeps of it is stored.

const told: unknown[] = [];
const ask = spoke("ask", { input: z.object({ id: z.string() }), output: z.object({}), timeoutMs: 1000 });
const names = z.object({ id: z.string(), key: z.string(), now: z.number() });
const hour = 3_600_000;

const simple = hub(
  "simple",
  {
    request: z.object({}),
    reply: names,
    deadlineMs: hour,
    signals: { yes: z.object({}) },
    deadline: "Late",
    chart: { Asking: { Asked: "Waiting" }, Waiting: { Yes: "Done", Late: "Done" }, Done: end },
    data: (_request, { id, key, now }) => ({ id, key, now }),
  },
  {
    Asking: (s) => s.tell(ask, { input: ({ id }) => ({ id }), next: "Asked" }),
    Waiting: (s) => s.wait({ on: { yes: "Yes" } }),
    Done: (data) => data,
  },
);

const queued = hub(
  "queued",
  {
    request: z.object({ flow: z.string() }),
    reply: names,
    deadlineMs: hour,
    exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue" },
    chart: { Done: end },
    data: (_request, run) => run,
  },
  { Done: (run) => run },
);

const handled = hubByHandlers(
  "handled",
  {
    request: z.object({}),
    reply: names,
    deadlineMs: 1000,
    cleanUpMs: 1000,
    calls: [],
    data: (_request, run): NewRun => run,
  },
  { request: (s) => s.reply(s.data), response: () => {}, timeout: () => {} },
);

const caller = hub(
  "caller",
  {
    request: z.object({}),
    reply: names,
    deadlineMs: hour,
    chart: { Calling: { Ok: "Done", Bad: "Done" }, Done: end },
    data: () => ({ run: { id: "", key: "", now: 0 } }),
  },
  {
    Calling: (s) =>
      s.call(handled, {
        input: () => ({}),
        ok: (_data, run) => s.raise("Ok", { run }),
        failed: "Bad",
        deadline: "Bad",
      }),
    Done: ({ run }) => run,
  },
);

const serve = worker(ask, ({ id }) => {
  told.push(id);
  return {};
});
const options = { hubs: [simple, queued, handled, caller], workers: () => [serve] };

test.each(["memory", "sqlite"] as const)("a run knows its id, its key and the time, on %s", async (store) => {
  const world = await begin({ ...options, store });
  const { engine, clock } = world;
  told.length = 0;
  const { id } = await engine.submit(simple, {}, { key: "注文 42" });
  await clock.advance(1);
  // The worker has the id. Whoever gets it from there can send the signal.
  expect(told).toEqual([id]);
  await engine.signal(told[0] as string, "yes", {});
  const now = (await engine.request(id)).createdAt;
  expect(await world.answer(id)).toEqual({ kind: "result", value: { id: "注文 42", key: "注文 42", now } });
});

test("a request in a lane, one that begins later, a call of a hub, and one without a key", async () => {
  const world = await begin(options);
  const { engine, clock } = world;
  const startAt = clock.wallMs() + hour;
  const lane = await engine.submit(queued, { flow: "a" }, { key: "k", startAt });
  expect(lane.id).toMatch(/^k@~/);
  await clock.advance(hour + 1);
  expect(await world.answer(lane.id)).toEqual({
    kind: "result",
    value: { id: lane.id, key: "k", now: startAt },
  });
  const made = await engine.submit(handled, {});
  expect(await world.answer(made.id)).toMatchObject({ value: { id: made.id, key: made.id } });
  await engine.submit(caller, {}, { key: "c" });
  const child = await world.answer("c");
  expect(child).toMatchObject({ value: { id: "c/0", key: "c/0" } });
  expect(await engine.request("c/0")).toMatchObject({ hub: "handled", status: "ended" });
});

test("what it keeps of its id outlives a restart, and a retry of its first turn gives it the same", async () => {
  let isBroken = true;
  const broken = hub(
    "broken",
    {
      request: z.object({}),
      reply: names,
      deadlineMs: hour,
      chart: { Done: end },
      data: (_request, run) => {
        if (isBroken) throw new Error("broken");
        return run;
      },
    },
    { Done: (run) => run },
  );
  const world = await begin({ ...options, hubs: [...options.hubs, broken], store: "sqlite" });
  await world.engine.submit(simple, {}, { key: "k" });
  await world.engine.submit(broken, {}, { key: "b" });
  await world.restart();
  await world.engine.signal("k", "yes", {});
  expect(await world.answer("k")).toMatchObject({ value: { id: "k", key: "k" } });
  isBroken = false;
  await world.engine.retry("b");
  expect(await world.answer("b")).toMatchObject({ value: { id: "b", key: "b" } });
});

test("in a cluster, too", async () => {
  const nodes = new Nodes({ shards: 2, hub: simple, workers: () => [serve] });
  const { node } = await nodes.node(5);
  await nodes.ask("a", {});
  await nodes.clock.runUntil(() => told.includes("a"), 60_000);
  await nodes.clock.runUntil(node.signal("a", "yes", {}));
  const [answer] = await nodes.answered("a");
  expect(answer).toContain('"id":"a"');
});
