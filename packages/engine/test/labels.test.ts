import { end, hub } from "@wheelwork/core";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { World } from "./world.ts";

/** What a hub labels its requests with is settled when they come in. */

const strange = { isBroken: false };

const tagged = hub(
  "tagged",
  {
    request: z.object({ tenant: z.string() }),
    reply: z.object({}),
    deadlineMs: 1000,
    labels: ({ tenant }) => {
      if (strange.isBroken) throw new Error("no labels today");
      return { tenant };
    },
    chart: { Waiting: { Late: "Done" }, Done: end },
    data: () => ({}),
  },
  { Waiting: (s) => s.wait({ deadline: "Late" }), Done: () => ({}) },
);

test("a request that its hub cannot label is refused, unless it is known", async () => {
  const world = new World({ hubs: [tagged], workers: () => [] });
  onTestFinished(() => world.close());
  await world.start();
  await world.engine.submit(tagged, { tenant: "acme" }, { key: "known" });
  strange.isBroken = true;
  onTestFinished(() => void (strange.isBroken = false));
  await expect(world.engine.submit(tagged, { tenant: "acme" })).rejects.toThrow(
    /WW_DEFECT: labels of the hub tagged threw: no labels today/,
  );
  expect(await world.engine.submit(tagged, { tenant: "acme" }, { key: "known" })).toEqual({
    id: "known",
    known: true,
  });
  strange.isBroken = false;
  await expect(world.engine.submit(tagged, { tenant: "" })).rejects.toThrow(/WW_DEFECT[\s\S]*labels\.tenant/);
  expect(await world.engine.count()).toBe(1);
});

test("a filter that is not valid is refused with every problem", async () => {
  const world = new World({ hubs: [tagged], workers: () => [] });
  onTestFinished(() => world.close());
  await world.start();
  const labels = { "a.b": "x", tenant: ["acme", 7 as unknown as string], region: "" };
  await expect(world.engine.count({ labels })).rejects.toThrow(
    /WW_INVALID_REQUEST[\s\S]*labels\.a\.b[\s\S]*labels\.tenant[\s\S]*labels\.region/,
  );
});
