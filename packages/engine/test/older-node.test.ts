import { WheelworkError } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { doubling, work } from "./doubling.ts";
import { Nodes } from "./nodes.ts";

test("a node that is older than the store leaves all shards to a newer one, and says so", async () => {
  const system = new Nodes({ shards: 2, hub: doubling, workers: () => [worker(work, (n) => n * 2)] });
  const { clock } = system;
  const newer = await system.node(1);
  const failures: unknown[] = [];
  /** As it is when a newer version has changed the schema. */
  class Older extends MemoryStore {
    override claim(): never {
      throw new WheelworkError("WW_STORE_NEWER", "a newer version has written the store");
    }
  }
  const begun = system.node(1, undefined, {
    store: (shard) => new Older(system.disks[shard] as MemoryStore),
    onFailure: (error) => void failures.push(error),
  });
  await expect(begun).rejects.toThrow(/did not happen/);
  expect(failures).not.toEqual([]);
  for (const error of failures) expect(error).toMatchObject({ code: "WW_STORE_NEWER" });
  await clock.runUntil(() => newer.node.shards.length === 2, 60_000);
  const keys = Array.from({ length: 8 }, (_, n) => `k${n}`);
  for (const [n, key] of keys.entries()) await system.ask(key, { n });
  for (const key of keys) await system.answered(key);
});
