import { answered, end, hub, spoke, stay } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { expect, test } from "vitest";
import { z } from "zod";
import { World } from "./world.ts";

/** Hubs that answer first: their clients and callers go on, and so do they. */

const day = 86_400_000;
const anything = z.looseObject({});
const provision = spoke("provision", { input: anything, output: anything, timeoutMs: day });

const provisioning = hub(
  "provisioning",
  {
    request: anything,
    reply: z.object({ accepted: z.boolean() }),
    deadlineMs: 1000,
    chart: {
      Answering: { Provision: "Provisioning" },
      Provisioning: { Done: "Provisioned" },
      Provisioned: end,
    },
    data: () => ({ done: false }),
    view: ({ done }) => ({ done }),
  },
  {
    Answering: (s) => s.answer(() => ({ accepted: true }), { next: "Provision" }),
    Provisioning: (s) =>
      s.call(provision, {
        input: () => ({}),
        ok: () => s.raise("Done", { done: true }),
        failed: "Done",
        after: { Done: 30 * day },
      }),
    Provisioned: answered,
  },
);

const caller = hub(
  "caller",
  {
    request: anything,
    reply: z.object({ accepted: z.boolean() }),
    errors: ["failed"],
    deadlineMs: 1000,
    deadline: "Failed",
    chart: { Calling: { Called: "Done", Failed: "Not" }, Done: end, Not: end },
    data: () => ({ accepted: false }),
  },
  {
    Calling: (s) =>
      s.call(provisioning, {
        input: () => ({}),
        ok: (_data, { accepted }) => s.raise("Called", { accepted }),
        failed: "Failed",
      }),
    Done: ({ accepted }) => ({ accepted }),
    Not: (_data, s) => s.fail("failed", "no"),
  },
);

const counter = hub(
  "counter",
  {
    request: anything,
    reply: anything,
    deadlineMs: 1000,
    cancel: "Close",
    signals: { count: z.number() },
    chart: { Opening: { Open: "Open" }, Open: { Counted: stay, Close: "Closed" }, Closed: end },
    data: () => ({ count: 0 }),
    view: ({ count }) => count,
  },
  {
    Opening: (s) => s.answer(() => ({}), { next: "Open" }),
    Open: (s) =>
      s.wait({ idle: true, on: { count: ({ count }, n) => s.raise("Counted", { count: count + n }) } }),
    Closed: answered,
  },
);

async function begin(store: "memory" | "sqlite"): Promise<{ world: World; finish: (() => void)[] }> {
  const finish: (() => void)[] = [];
  const world = new World({
    hubs: [provisioning, caller, counter],
    workers: () => [
      worker(
        provision,
        () => new Promise<Record<string, unknown>>((resolve) => finish.push(() => resolve({}))),
      ),
    ],
    store,
  });
  await world.start();
  return { world, finish };
}

const accepted = { kind: "result", value: { accepted: true } };

test.each(["memory", "sqlite"] as const)(
  "the client has its answer, and the work goes on, over a crash and long after the deadline (%s)",
  async (store) => {
    const { world, finish } = await begin(store);
    await world.engine.submit(provisioning, {}, { key: "k" });
    expect(await world.answer("k")).toEqual(accepted);
    expect(await world.engine.request("k")).toMatchObject({
      status: "running",
      state: "Provisioning",
      view: { done: false },
    });
    await world.restart();
    await world.clock.advance(5000);
    expect(await world.answer("k")).toEqual(accepted);
    finish.at(-1)?.();
    await expect
      .poll(async () => {
        await world.clock.advance(10);
        return (await world.engine.request("k")).status;
      })
      .toBe("ended");
    expect(await world.engine.request("k")).toMatchObject({ state: "Provisioned", view: { done: true } });
    await world.restart();
    // The same key is the same request.
    expect(await world.engine.submit(provisioning, {}, { key: "k" })).toMatchObject({ known: true });
    expect(await world.answer("k")).toEqual(accepted);
  },
);

test("a caller goes on with the answer, and its end does not cancel what answered first", async () => {
  const { world, finish } = await begin("memory");
  await world.engine.submit(caller, {}, { key: "k" });
  expect(await world.answer("k")).toEqual(accepted);
  expect((await world.engine.request("k")).status).toBe("ended");
  await world.restart();
  const child = await world.engine.request("k/0");
  expect(child).toMatchObject({ hub: "provisioning", status: "running" });
  expect((await world.engine.history("k/0")).map(({ type }) => type)).not.toContain("cancelling");
  finish.at(-1)?.();
  await expect
    .poll(async () => {
      await world.clock.advance(10);
      return (await world.engine.request("k/0")).status;
    })
    .toBe("ended");
});

test.each(["memory", "sqlite"] as const)(
  "what lives for years takes signals, leaves the memory, and ends with a cancel (%s)",
  async (store) => {
    const { world } = await begin(store);
    await world.engine.submit(counter, {}, { key: "k" });
    await world.answer("k");
    let sum = 0;
    for (let year = 1; year <= 3; year++) {
      await world.restart();
      expect(world.engine.health().liveRuns).toBe(1);
      await world.clock.advance(2 * day);
      await world.engine.signal("k", "count", year);
      sum += year;
      expect(await world.engine.request("k")).toMatchObject({ status: "running", view: sum });
    }
    expect(await world.engine.cancel("k")).toBe("accepted");
    expect(await world.engine.request("k")).toMatchObject({ status: "ended", state: "Closed", view: sum });
    expect(await world.engine.signal("k", "count", 1)).toBe("ended");
  },
);
