import { end, hub } from "@wheelwork/core";
import { expect, test } from "vitest";
import { z } from "zod";
import { Nodes } from "./nodes.ts";

const padding = hub(
  "padding",
  {
    request: z.object({ n: z.number() }),
    reply: z.string(),
    deadlineMs: 10_000,
    chart: { Asked: { Next: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  { Asked: "Next", Done: ({ n }) => `${n} ${"x".repeat(1_000_000)}` },
);

test("answers that do not fit into memory while their topic takes nothing are published once it does, each once, also by the next owner", async () => {
  const system = new Nodes({ shards: 1, hub: padding, workers: () => [] });
  const { clock, broker } = system;
  const first = await system.node(1);
  broker.deleteTopic("out");
  const keys = Array.from({ length: 40 }, (_, n) => `k${n}`);
  for (const [n, key] of keys.entries()) await system.ask(key, { n });
  const unpublished = (): number | undefined => first.node.shards[0]?.unpublished;
  await clock.runUntil(() => unpublished() === 40, 60_000);
  const published = (key: string): string[] => system.answers(key).map((line) => line.slice(0, 60));
  const once = (): boolean => keys.every((key) => system.answers(key).length === 1);

  broker.createTopic("out", 1);
  await clock.runUntil(once, 60_000);
  expect(published("k39")).toEqual([expect.stringContaining('{"kind":"result","value":"39 xx') as string]);
  await clock.runUntil(() => unpublished() === 0, 60_000);

  // The next owner finds them in the store, and its memory has no more room than that of the first.
  broker.deleteTopic("out");
  for (const [n, key] of keys.entries()) await system.ask(`again-${key}`, { n });
  await clock.runUntil(() => unpublished() === 40, 60_000);
  first.process.kill();
  const second = await system.node(1);
  expect(second.node.shards[0]?.unpublished).toBe(40);
  broker.createTopic("out", 1);
  await clock.runUntil(() => second.node.shards[0]?.unpublished === 0, 60_000);
  for (const key of keys) expect(new Set(published(`again-${key}`)).size).toBe(1);
});
