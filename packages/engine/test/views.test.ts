import { end, hub, hubByHandlers, stay, WheelworkError, type AnyHub } from "@wheelwork/core";
import { expect, test } from "vitest";
import { z } from "zod";
import { World } from "./world.ts";

/** Views: what a hub shows of its data, while a run lives and after. */

const day = 86_400_000;

/** Counts the numbers that come, and is done at `goal`. `show` is its view. */
const countingTo = (show: (data: { readonly goal: number; readonly count: number }) => unknown): AnyHub =>
  hub(
    "counting",
    {
      request: z.object({ goal: z.number() }),
      reply: z.object({ count: z.number() }),
      deadlineMs: day,
      signals: { more: z.number() },
      chart: { Counting: { Counted: stay, Reached: "Done", TimeoutRaised: "Done" }, Done: end },
      data: ({ goal }) => ({ goal, count: 0 }),
      view: show,
    },
    {
      Counting: (s) =>
        s.wait({
          on: {
            more: ({ goal, count }, n) =>
              s.raise(count + n >= goal ? "Reached" : "Counted", { count: count + n }),
          },
          deadline: "TimeoutRaised",
        }),
      Done: ({ count }) => ({ count }),
    },
  );

const started = async (made: AnyHub, store: "memory" | "sqlite" = "memory"): Promise<World> => {
  const world = new World({ hubs: [made], workers: () => [], store });
  await world.start();
  return world;
};

test.each(["memory", "sqlite"] as const)(
  "a view shows the data as committed, over restarts, and after the end (%s)",
  async (store) => {
    const world = await started(
      countingTo(({ goal, count }) => ({ percent: (100 * count) / goal })),
      store,
    );
    const view = async (): Promise<unknown> => (await world.engine.request("k")).view;
    await world.engine.submit("counting", { goal: 4 }, { key: "k" });
    expect(await view()).toEqual({ percent: 0 });
    await world.engine.signal("k", "more", 1);
    expect(await view()).toEqual({ percent: 25 });
    await world.restart();
    expect(await view()).toEqual({ percent: 25 });
    await world.engine.signal("k", "more", 3);
    await world.answer("k");
    expect(await view()).toEqual({ percent: 100 });
    await world.restart();
    expect(await world.engine.request("k")).toMatchObject({ status: "ended", view: { percent: 100 } });
  },
);

const broken: Record<string, { readonly show: () => unknown; readonly says: RegExp }> = {
  "throws an error": {
    show: () => {
      throw new WheelworkError("WW_DEFECT", "it is broken");
    },
    says: /it is broken/,
  },
  "throws what cannot be shown": {
    show: () => {
      throw Object.create(null);
    },
    says: /the view of counting threw/,
  },
  "returns a date": { show: () => ({ at: new Date(0) }), says: /not plain JSON/ },
  "is asynchronous": { show: async () => Promise.reject(new Error("nobody waits")), says: /asynchronous/ },
};

test.each(Object.entries(broken))(
  "a view that %s says so, and the run does not notice",
  async (_name, { show, says }) => {
    const world = await started(countingTo(show));
    await world.engine.submit("counting", { goal: 1 }, { key: "k" });
    const before = await world.engine.request("k");
    expect(before.viewProblem).toMatch(says);
    expect(before).toMatchObject({ status: "running", state: "Counting" });
    expect(before.view).toBeUndefined();
    await world.engine.signal("k", "more", 1);
    expect(await world.answer("k")).toEqual({ kind: "result", value: { count: 1 } });
    expect((await world.engine.request("k")).viewProblem).toMatch(says);
  },
);

test("a view that returns nothing shows nothing", async () => {
  const world = await started(countingTo(() => undefined));
  await world.engine.submit("counting", { goal: 1 }, { key: "k" });
  const shown = await world.engine.request("k");
  expect([shown.view, shown.viewProblem]).toEqual([undefined, undefined]);
});

test("the view of a hub by handlers sees the author's data only", async () => {
  const noted = hubByHandlers(
    "noted",
    {
      request: z.object({ text: z.string() }),
      reply: z.object({ text: z.string() }),
      deadlineMs: day,
      cleanUpMs: 1000,
      signals: { go: z.null() },
      calls: [],
      data: ({ text }) => ({ text }),
      view: (data) => Object.keys(data),
    },
    {
      request: () => {},
      response: () => {},
      timeout: (s) => s.reply({ text: "late" }),
      signal: (s) => s.reply({ text: s.data.text }),
    },
  );
  const world = await started(noted);
  await world.engine.submit("noted", { text: "hello" }, { key: "k" });
  expect((await world.engine.request("k")).view).toEqual(["text"]);
  await world.engine.signal("k", "go", null);
  await world.answer("k");
  expect((await world.engine.request("k")).view).toEqual(["text"]);
});

test("a store keeps the data of runs whose hub has a view, and of no others", async () => {
  const world = await started(countingTo(({ count }) => count));
  await world.engine.submit("counting", { goal: 1 }, { key: "k" });
  await world.engine.signal("k", "more", 1);
  await world.answer("k");
  // Another version of the program has another view: it is made of the data, whenever somebody asks.
  world.hubs = [countingTo(({ goal }) => ({ goal }))];
  await world.restart();
  expect((await world.engine.request("k")).view).toEqual({ goal: 1 });
});
