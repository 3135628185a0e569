import { end, hub } from "@wheelwork/core";
import { schedule, type Tick } from "@wheelwork/engine";
import { createClient } from "@wheelwork/engine/cluster";
import { MemoryLog, type MemoryStore } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";

const second = 1000;
const minute = 60 * second;
const day = 24 * 60 * minute;

const job = hub(
  "job",
  {
    request: z.object({ at: z.number() }),
    reply: z.object({}),
    deadlineMs: 1000,
    chart: { Done: end },
    data: (request) => request,
  },
  { Done: () => ({}) },
);
const every = schedule("every", {
  everyMs: 30 * second,
  catchUp: "all",
  hub: job,
  request: ({ at }) => ({ at }),
});

test("the clock of who gives a command says nothing of what is due", async () => {
  const made: string[] = [];
  const nodes = new Nodes({
    shards: 1,
    hub: job,
    workers: () => [],
    options: {
      schedules: [every],
      observe: (event) => {
        if (event.name === "accepted" && event.hub === "job") made.push(event.key);
      },
    },
  });
  await nodes.node(1);
  await nodes.clock.advance(second);
  const began = nodes.clock.wallMs();
  const log = new MemoryLog(nodes.broker, { clock: nodes.clock });
  const soonOf = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, minute);
    return promise;
  };
  for (const aheadMs of [2 * day, -2 * day]) {
    const clock = nodes.clock.process({ aheadMs });
    const store = (shard: number): MemoryStore => (nodes.disks[shard] as MemoryStore).reopen();
    const client = createClient({ hubs: [job], shards: 1, store, log, clock });
    await soonOf(client.start());
    const handle = client.schedule("every");
    await soonOf(handle.pause());
    await nodes.clock.advance(2 * minute);
    await soonOf(handle.resume());
    const key = await soonOf(handle.trigger());
    const range = { from: began - day, to: began + 10 * day };
    if (aheadMs > 0) await soonOf(handle.backfill(range));
    await nodes.clock.advance(2 * minute);
    const { request } = await soonOf(client.request(key));
    expect((request as Tick).at).toBeGreaterThan(began);
    expect((request as Tick).at).toBeLessThan(nodes.clock.wallMs());
  }
  const instants = made.flatMap((key) => {
    const at = Date.parse(key.split("@")[1] ?? "");
    return Number.isNaN(at) ? [] : [Math.floor((at - began) / (30 * second))];
  });
  // What was due in the first pause was asked for, and what was due in the second one was not.
  const steps = instants.toSorted((a, b) => a - b);
  expect(new Set(instants).size).toBe(instants.length);
  expect(steps.length).toBeGreaterThan(10);
  expect(steps.at(-1)).toBeLessThan(20);
  expect(steps.filter((step, place) => place > 0 && step > (steps[place - 1] ?? 0) + 1)).toHaveLength(1);
});
