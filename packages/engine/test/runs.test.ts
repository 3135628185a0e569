import { end, hub, stay } from "@wheelwork/core";
import { createEngine, type Engine } from "@wheelwork/engine";
import { createClient } from "@wheelwork/engine/cluster";
import { MemoryLog, MemoryStore, SimulatedClock } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";

const counter = hub(
  "counter",
  {
    request: z.object({ from: z.number() }),
    reply: z.object({ sum: z.number() }),
    errors: ["late"],
    deadlineMs: 3_600_000,
    deadline: "TooLate",
    signals: { add: z.object({ n: z.coerce.number() }), stop: z.null() },
    chart: { Counting: { Added: stay, Stopped: "Sum", TooLate: "Late" }, Sum: end, Late: end },
    data: ({ from }) => ({ sum: from }),
    view: ({ sum }) => ({ soFar: sum }),
  },
  {
    Counting: (s) =>
      s.wait({
        on: { add: ({ sum }, { n }) => s.raise("Added", { sum: sum + n }), stop: "Stopped" },
      }),
    Sum: ({ sum }) => ({ sum }),
    Late: (_data, s) => s.fail("late", "nobody has stopped it"),
  },
);
const other = hub(
  "other",
  { request: z.object({}), reply: z.null(), deadlineMs: 5, chart: { Done: end }, data: () => ({}) },
  { Done: () => null },
);

/** An engine by itself, and a client of a cluster: what they work on and the clock that they follow. */
const engines: Record<string, () => Promise<{ engine: Engine; clock: SimulatedClock }>> = {
  embedded: async () => {
    const clock = new SimulatedClock();
    const engine = createEngine({
      hubs: [counter, other],
      workers: [],
      store: new MemoryStore(),
      clock: clock.process(),
      drainMs: 0,
    });
    await engine.start();
    return { engine, clock };
  },
  "client of a cluster": async () => {
    const options = { hubs: [counter, other] };
    const nodes = new Nodes({ shards: 2, hub: counter, workers: () => [], options });
    await nodes.node(1);
    const client = createClient({
      ...options,
      shards: 2,
      store: (shard) => (nodes.disks[shard] as MemoryStore).reopen(),
      log: new MemoryLog(nodes.broker, { clock: nodes.clock }),
      clock: nodes.clock,
    });
    await nodes.clock.runUntil(client.start());
    return { engine: client, clock: nodes.clock };
  },
};

test.each(Object.keys(engines))("a run has the types of its hub (%s)", async (name) => {
  const { engine, clock } = await (engines[name] as (typeof engines)[string])();
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await clock.runUntil(
      promise.catch(() => {}),
      100_000,
    );
    return promise;
  };
  const { id } = await soon(engine.submit(counter, { from: 1 }, { key: "k" }));
  const run = engine.run(counter, id);
  const seen: unknown[] = [];
  const watching = (async () => {
    for await (const { state, view, answer } of run.watch()) seen.push([state, view, answer?.kind]);
  })();
  await clock.advance(1_000);
  expect(await soon(run.signal("add", { n: 5 }, { commandId: "once" }))).toBe("accepted");
  expect(await soon(run.signal("add", { n: 5 }, { commandId: "once" }))).toBe("accepted");
  await clock.advance(1_000);
  expect(await soon(run.answer({ waitMs: 10 }))).toBeUndefined();
  await soon(run.signal("stop", null));
  const answer = await soon(run.answer());
  expect(answer?.kind === "result" && answer.value.sum).toBe(6);
  await soon(watching);
  expect(seen).toEqual([
    ["Counting", { soFar: 1 }, undefined],
    ["Counting", { soFar: 6 }, undefined],
    ["Sum", { soFar: 6 }, "result"],
  ]);
  await expect(soon(engine.run(other, id).answer())).rejects.toThrow(
    /k is a request of the hub counter, and not of other/,
  );
  // @ts-expect-error the hub has no such signal
  await expect(soon(run.signal("ad", { n: 5 }))).rejects.toMatchObject({ code: "WW_SIGNAL_UNKNOWN" });
  // @ts-expect-error a payload of another type
  void (() => run.signal("stop", 5));
  // @ts-expect-error a hub that declares no signals has none
  void (() => engine.run(other, id).signal("stop", null));
  await soon(engine.stop({ drainMs: 0 }));
});
