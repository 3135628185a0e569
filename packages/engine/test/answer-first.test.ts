import { answered, end, hub, hubByHandlers, spoke, stay } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { describe, expect, onTestFinished, test } from "vitest";
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

describe("by handlers", () => {
  const serving = hubByHandlers(
    "serving",
    {
      request: z.object({ wrong: z.string().default("") }),
      reply: z.object({ accepted: z.boolean() }),
      errors: ["refused"],
      deadlineMs: 1000,
      cleanUpMs: 1000,
      calls: [provision],
      data: ({ wrong }) => ({ wrong, done: 0, late: 0 }),
      signals: { more: z.number(), stop: z.object({}) },
      view: ({ done, late }) => ({ done, late }),
    },
    {
      request: (s) => {
        if (s.data.wrong === "end") s.end();
        else if (s.data.wrong === "refused") s.answerError("refused", "not now");
        else s.answer({ accepted: true });
        if (s.data.wrong === "two") s.reply({ accepted: false });
      },
      answered: (s) => {
        if (s.data.wrong === "again") return s.reply({ accepted: false });
        if (s.data.wrong === "cleanUp") return s.cleanUp();
        s.call(provision, {});
        s.after("late", 2 * day);
      },
      response: (s) => s.patch({ done: s.data.done + 1 }),
      timer: (s) => s.patch({ late: s.data.late + 1 }),
      signal: (s, signal) => {
        if (signal.name === "stop") s.end();
        else for (let n = 0; n < signal.payload; n++) s.call(provision, {});
      },
      timeout: (s) => s.reply({ accepted: false }),
    },
  );

  const open = async (): Promise<World> => {
    const world = new World({ hubs: [serving], workers: () => [worker(provision, () => ({}))] });
    onTestFinished(() => world.close());
    return world.start();
  };

  test("a hub answers, works on for as long as it likes, over restarts, and ends when it says so", async () => {
    const world = await open();
    await world.engine.submit(serving, {}, { key: "k" });
    expect(await world.answer("k")).toEqual(accepted);
    await world.clock.advance(day);
    expect(await world.engine.request("k")).toMatchObject({ status: "running", view: { done: 1, late: 0 } });
    await world.restart();
    await world.clock.advance(2 * day);
    await world.engine.signal("k", "more", 2);
    await world.clock.settle();
    expect(await world.engine.request("k")).toMatchObject({ status: "running", view: { done: 3, late: 1 } });
    await world.engine.signal("k", "stop", {});
    expect(await world.engine.request("k")).toMatchObject({
      status: "ended",
      state: "Ended",
      answer: accepted,
    });
  });

  test("an error may come first, too, and a cancel ends what goes on", async () => {
    const world = await open();
    await world.engine.submit(serving, { wrong: "refused" }, { key: "k" });
    expect(await world.answer("k")).toMatchObject({ kind: "error", code: "refused" });
    expect((await world.engine.request("k")).status).toBe("running");
    expect(await world.engine.cancel("k")).toBe("accepted");
    expect(await world.engine.request("k")).toMatchObject({ status: "ended", answer: { code: "refused" } });
  });

  test.each([
    ["end", "has not answered"],
    ["two", "two answers in one turn"],
    ["again", "has answered before"],
    ["cleanUp", "has answered"],
  ])("what makes no sense is an incident: %s", async (wrong, why) => {
    const world = await open();
    await world.engine.submit(serving, { wrong }, { key: "k" });
    await world.clock.settle();
    const view = await world.engine.request("k");
    expect(view.status).toBe("incident");
    expect(JSON.stringify(view.incident?.error)).toContain(why);
  });
});
