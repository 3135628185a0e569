import type { EngineEvent } from "@wheelwork/engine";
import type { GroupProgress } from "@wheelwork/kafka";
import { MemoryStore, SimulatedClock } from "@wheelwork/testing";
import { end, hub } from "@wheelwork/core";
import { expect, test } from "vitest";
import * as z from "zod";
import { HubBolt } from "../src/parts/hub.ts";
import { Losses } from "../src/parts/losses.ts";

/** Records that somebody has deleted before Storm's spout has read them. */

test("what was deleted before it was read is found once, whether the spout has gone on by then or not", () => {
  const losses = new Losses();
  const look = (first: number, committed: number | undefined): number =>
    losses.found("t", [{ first, committed }]).length;
  // The group has not begun.
  expect(look(5, undefined)).toBe(0);
  expect(look(5, 7)).toBe(0);
  // Retention deletes what was read.
  expect(look(7, 9)).toBe(0);
  expect(look(12, 9)).toBe(1);
  expect(look(12, 9)).toBe(0);
  expect(look(12, 20)).toBe(0);
  expect(look(30, 31)).toBe(1);
  expect(look(30, 31)).toBe(0);
});

test("what was deleted while the topology did not run is found at its start", () => {
  expect(
    new Losses().found("t", [
      { first: 0, committed: 3 },
      { first: 8, committed: 4 },
    ]),
  ).toEqual([expect.stringContaining("partition 1 of t begins at 8, and was read up to 4")]);
});

const nothing = hub(
  "nothing",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 1000,
    chart: { Asked: { Next: "Done" }, Done: end },
    data: () => ({}),
  },
  { Asked: "Next", Done: () => ({}) },
);

test("the first hub tells Storm and the application, and goes on when the broker is away", async () => {
  const clock = new SimulatedClock();
  const events: EngineEvent[] = [];
  const errors: string[] = [];
  const asked: string[] = [];
  let first = 0;
  const progress = async (group: string, topic: string): Promise<readonly GroupProgress[]> => {
    asked.push(`${group} ${topic}`);
    if (asked.length === 2) throw new Error("away");
    return [{ first, committed: 2 }];
  };
  const app = { hubs: [nothing], workers: [], observe: (event: EngineEvent) => void events.push(event) };
  const config = { brokers: "", databaseUrl: "", shards: 1, inbox: "inbox" };
  const bolt = new HubBolt(app, config, {
    clock,
    random: () => 0,
    connect: () => ({ publish: async () => {}, since: async () => 0, progress, close: async () => {} }),
    openStore: () => new MemoryStore(),
  });
  const tasksOf = (component: string): number[] => (component === "bolt-hub" ? [1] : []);
  const conf = { "topology.name": "flows" };
  const output = { emit: () => {}, log: () => {}, error: (text: string) => void errors.push(text) };
  bolt.open({ conf, component: "bolt-hub", task: 1, index: 0, tasksOf }, output as never);
  await clock.advance(4000);
  first = 5;
  await clock.advance(10_000);
  expect(new Set(asked)).toEqual(new Set(["flows-spout-hub inbox"]));
  expect(errors).toEqual([expect.stringMatching(/^WW_LOG_LOST: partition 0 of inbox begins at 5/)]);
  expect(events.filter(({ name }) => name === "log-lost")).toMatchObject([{ topic: "inbox" }]);
  await bolt.close();
});
