import { end, hub, spoke, stay, type HistoryEvent } from "@wheelwork/core";
import { worker, type Supposition, type WhatIf } from "@wheelwork/engine";
import { createClient } from "@wheelwork/engine/cluster";
import { MemoryLog, type MemoryStore } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";
import { World } from "./world.ts";

const charge = spoke("charge", {
  input: z.object({ cents: z.number() }),
  output: z.object({ receipt: z.string() }),
  errors: ["declined", "busy"],
  timeoutMs: 1000,
  retry: { attempts: 3, backoffMs: 500, jitter: 0, giveUpOn: ["declined"] },
});

const pay = hub(
  "pay",
  {
    request: z.object({ cents: z.number() }),
    reply: z.object({ receipt: z.string() }),
    errors: ["not-paid"],
    deadlineMs: 60_000,
    signals: { approve: z.object({ by: z.string() }), raise: z.number() },
    cancel: "Withdrawn",
    chart: {
      Approving: { Raised: stay, Approved: "Charging", Remind: stay, Withdrawn: "Failed", Late: "Failed" },
      Charging: { Paid: "Done", Refused: "Failed", Late: "Failed", Withdrawn: "Failed" },
      Done: end,
      Failed: end,
    },
    data: ({ cents }) => ({ cents, receipt: "", reminded: 0 }),
  },
  {
    Approving: (s) =>
      s.wait({
        on: {
          approve: (_data, { by }) => {
            if (by === "nobody") throw new Error("nobody may approve");
            return "Approved";
          },
          raise: ({ cents }, more) => s.raise("Raised", { cents: cents + more }),
        },
        after: {
          Remind: {
            ms: ({ reminded }) => (reminded < 2 ? 10_000 * (reminded + 1) : null),
            patch: ({ reminded }) => ({ reminded: reminded + 1 }),
          },
        },
        deadline: "Late",
      }),
    Charging: (s) =>
      s.call(charge, {
        input: ({ cents }) => ({ cents }),
        ok: (_data, { receipt }) => s.raise("Paid", { receipt }),
        failed: "Refused",
        deadline: "Late",
      }),
    Done: ({ receipt }) => ({ receipt }),
    Failed: (_data, s) => s.fail("not-paid", "nobody has paid"),
  },
);

let calls = 0;
const charging = (sleep: (ms: number) => Promise<void>) => [
  worker(charge, async () => {
    calls++;
    await sleep(900);
    return { receipt: "real" };
  }),
];

async function begun() {
  calls = 0;
  const world = await new World({ hubs: [pay], workers: charging }).start();
  onTestFinished(() => world.close());
  const { engine } = world;
  await engine.submit(pay, { cents: 500 }, { key: "p" });
  const what = (supposition: Supposition): Promise<WhatIf> => engine.whatIf("p", supposition);
  return { world, engine, what };
}

const typesOf = ({ events }: WhatIf): string[] =>
  events.map((event: HistoryEvent) =>
    event.type === "entered" ? `entered ${event.state} by ${event.by}` : event.type,
  );

test("a signal: its event, the next state, the change, the calls and by when there is an answer; and nothing happens", async () => {
  const { world, engine, what } = await begun();
  const before = { view: await engine.request("p"), history: await engine.history("p") };
  const { commits } = world.store;
  const approved = await what({ kind: "signal", name: "approve", payload: { by: "ann" } });
  expect(typesOf(approved)).toEqual(["signalled", "entered Charging by Approved"]);
  expect(approved.events.at(-1)).toMatchObject({ calls: [{ callee: "charge", inputs: [{ cents: 500 }] }] });
  expect(approved).toMatchObject({
    answerBy: before.view.createdAt + 60_000,
    request: { id: "p", state: "Charging", status: "running", openCalls: [{ callee: "charge", attempt: 1 }] },
  });
  const raised = await what({ kind: "signal", name: "raise", payload: 7 });
  expect(raised.events).toMatchObject([{ type: "signalled", by: "Raised", patch: { cents: 507 } }]);
  expect(raised.request.data).toEqual({ cents: 507, receipt: "", reminded: 0 });
  // A handler that throws would park it.
  const thrown = await what({ kind: "signal", name: "approve", payload: { by: "nobody" } });
  expect(typesOf(thrown)).toEqual(["incident"]);
  expect(thrown.request.status).toBe("incident");
  const cancelled = await what({ kind: "cancel" });
  expect(cancelled.request).toMatchObject({ status: "ended", state: "Failed", answer: { code: "not-paid" } });
  expect(cancelled.answerBy).toBeUndefined();
  expect(await what({ kind: "retry" })).toMatchObject({ events: [], ignored: "not-incident" });
  // Nothing has happened.
  expect(calls).toBe(0);
  expect({ view: await engine.request("p"), history: await engine.history("p") }).toEqual(before);
  expect(world.store.commits).toBe(commits);
});

test("time: what is due next, and all up to the deadline if nobody does anything", async () => {
  const { what } = await begun();
  expect((await what({ kind: "time" })).events).toMatchObject([
    { type: "fired", timer: "Remind", patch: { reminded: 1 } },
  ]);
  const late = await what({ kind: "time", until: "deadline" });
  expect(typesOf(late)).toEqual(["fired", "fired", "entered Failed by Late", "ended"]);
  expect(late.request.answer).toMatchObject({ kind: "error", code: "not-paid" });
  const { request } = await what({ kind: "time", until: late.events[0]?.at ?? 0 });
  expect(request.data).toMatchObject({ reminded: 1 });
});

test("a call that fails now is retried as its spoke says, and one that fails for good moves the run", async () => {
  const { world, engine, what } = await begun();
  await engine.signal("p", "approve", { by: "ann" });
  await world.clock.runUntil(async () => (await engine.request("p")).state === "Charging");
  const outcome = { kind: "error", code: "busy", message: "come later" } as const;
  const once = await what({ kind: "outcome", call: 0, outcome });
  expect(once.events).toMatchObject([{ type: "failed", attempt: 1, due: (once.events[0]?.at ?? 0) + 500 }]);
  const forGood = await what({ kind: "outcome", call: 0, outcome, isFinal: true });
  expect(typesOf(forGood)).toEqual([
    "failed",
    "attempt",
    "failed",
    "attempt",
    "settled",
    "entered Failed by Refused",
    "ended",
  ]);
  const declined = await what({ kind: "outcome", call: 0, outcome: { ...outcome, code: "declined" } });
  expect(declined.request.state).toBe("Failed");
  const paid = await what({ kind: "outcome", call: 0, outcome: { kind: "ok", output: { receipt: "r" } } });
  expect(paid.request.answer).toEqual({ kind: "result", value: { receipt: "r" } });
  const silent = await what({ kind: "time", until: "deadline" });
  expect(typesOf(silent).filter((type) => type === "attempt")).toHaveLength(2);
  expect(silent.request.state).toBe("Failed");
  const refused: readonly [Supposition, string][] = [
    [{ kind: "outcome", call: 9, outcome }, "call"],
    [{ kind: "outcome", call: 0, outcome: { ...outcome, code: "unknown" } }, "outcome"],
    [{ kind: "outcome", call: 0, outcome: { kind: "ok", output: {} } }, "outcome"],
    [{ kind: "stop" } as never, "kind"],
    [{ kind: "time", until: -1 }, "until"],
  ];
  for (const [supposition, path] of refused)
    await expect(what(supposition)).rejects.toMatchObject({ code: "WW_INVALID_INPUT", problems: [{ path }] });
  await expect(what({ kind: "signal", name: "none", payload: 1 })).rejects.toThrow(/WW_SIGNAL_UNKNOWN/);
  expect(calls).toBe(1);
  await world.ended("p");
  expect((await engine.request("p")).answer).toEqual({ kind: "result", value: { receipt: "real" } });
  expect(await what({ kind: "cancel" })).toMatchObject({ events: [], ignored: "ended" });
  await expect(engine.whatIf("none", { kind: "cancel" })).rejects.toMatchObject({ code: "WW_NOT_FOUND" });
});

test("a client of a cluster asks the store, and the owner notices nothing", async () => {
  const nodes = new Nodes({ shards: 2, hub: pay, workers: (process) => charging((ms) => process.sleep(ms)) });
  await nodes.node(1);
  const client = createClient({
    hubs: [pay],
    shards: 2,
    store: (shard) => (nodes.disks[shard] as MemoryStore).reopen(),
    log: new MemoryLog(nodes.broker, { clock: nodes.clock }),
    clock: nodes.clock,
  });
  await nodes.clock.runUntil(client.start());
  await nodes.clock.runUntil(client.submit(pay, { cents: 1 }, { key: "k" }), 60_000);
  const whatIf = await client.whatIf("k", { kind: "signal", name: "approve", payload: { by: "ann" } });
  expect(whatIf.request.state).toBe("Charging");
  expect((await client.request("k")).state).toBe("Approving");
});
