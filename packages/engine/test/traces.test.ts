import { end, hub, spoke } from "@wheelwork/core";
import { relay, worker, type WorkerContext } from "@wheelwork/engine";
import { expect, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";
import { closeLater } from "./begin.ts";
import { World } from "./world.ts";

/** An engine without the option `tracing` hands on what a request has brought along. */

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const tracestate = "vendor=1";

const work = spoke("work", {
  input: z.number(),
  output: z.number(),
  timeoutMs: 20_000,
});
const inner = hub(
  "inner",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 60_000,
    chart: { Working: { Next: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  {
    Working: (s) =>
      s.call(work, {
        input: ({ n }) => n,
        ok: (_data, n) => s.raise("Next", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Done: ({ n }) => n,
  },
);
const outer = hub(
  "outer",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 60_000,
    chart: { Calling: { Next: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  {
    Calling: (s) =>
      s.call(inner, {
        input: ({ n }) => ({ n }),
        ok: (_data, n) => s.raise("Next", { n }),
        failed: "Late",
        deadline: "Late",
      }),
    Done: ({ n }) => n,
  },
);

type Seen = Pick<WorkerContext, "attempt" | "traceparent" | "tracestate">;

/** A world whose worker takes a second, and notes what it sees. */
async function watched(): Promise<{ world: World; seen: Seen[] }> {
  const seen: Seen[] = [];
  const workers = (sleep: (ms: number) => Promise<void>) => [
    worker(work, async (n, { attempt, traceparent: parent, tracestate: state }) => {
      seen.push({ attempt, traceparent: parent, tracestate: state });
      await sleep(1000);
      return n;
    }),
  ];
  const world = new World({ hubs: [inner, outer], workers });
  closeLater(world);
  return { world: await world.start(), seen };
}

test("a worker gets the trace of the request, also in a hub that is called, and after a kill", async () => {
  const { world, seen } = await watched();
  await world.engine.submit(outer, { n: 1 }, { key: "one", traceparent, tracestate });
  await world.clock.advance(500);
  expect(seen).toEqual([{ attempt: 1, traceparent, tracestate }]);
  await world.restart(100);
  expect(await world.answer("one")).toMatchObject({ kind: "result" });
  expect(seen).toEqual([
    { attempt: 1, traceparent, tracestate },
    { attempt: 1, traceparent, tracestate },
  ]);
});

test.each([
  ["nothing", undefined],
  ["no trace", "00-00000000000000000000000000000000-b7ad6b7169203331-01"],
  ["capital letters", traceparent.toUpperCase()],
  ["a version that is none", traceparent.replace("00-", "ff-")],
  ["more than version 00 has", `${traceparent}-more`],
])("what is no valid traceparent counts as absent: %s", async (_what, given) => {
  const { world, seen } = await watched();
  const options = given === undefined ? {} : { traceparent: given };
  await world.engine.submit(inner, { n: 1 }, { key: "one", ...options, tracestate });
  await world.answer("one");
  expect(seen).toEqual([{ attempt: 1, traceparent: undefined, tracestate: undefined }]);
});

test("a channel, a relay and an answer carry the trace on in their headers", async () => {
  const nodes = new Nodes({
    shards: 2,
    hub: inner,
    workers: () => [
      relay(work, {
        to: "questions",
        from: "answers",
        send: (n, { requestId: key }) => ({ key, value: `${n}` }),
        receive: ({ key, value }) => ({ correlation: key, outcome: { kind: "ok", output: Number(value) } }),
        request: ({ key }) => key,
      }),
    ],
    topics: { questions: 1, answers: 2 },
  });
  await nodes.node(1);
  const { outside, clock, broker } = nodes;
  const value = JSON.stringify({ n: 1 });
  await clock.runUntil(outside.append("in", { key: "one", value, headers: { traceparent, tracestate } }));
  await clock.runUntil(outside.append("in", { key: "two", value }));
  await clock.runUntil(() => broker.records("questions").length === 2, 60_000);
  for (const { key, headers } of broker.records("questions")) {
    const { traceparent: parent, tracestate: state } = headers;
    expect([parent, state]).toEqual(key === "one" ? [traceparent, tracestate] : [undefined, undefined]);
    await clock.runUntil(outside.append("answers", { key, value: "7" }));
  }
  await nodes.answered("one");
  await nodes.answered("two");
  for (const { key, headers } of broker.records("out"))
    expect(headers["traceparent"]).toBe(key === "one" ? traceparent : undefined);
});
