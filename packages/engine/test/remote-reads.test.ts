import { worker } from "@wheelwork/engine";
import type { MemoryStore } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { operation, work } from "./lane-hubs.ts";
import { Nodes } from "./nodes.ts";

/** What a process that does not work on a shard reads of its journal does not depend on how much is asked. */

const earlier = 300;

/** Counts the batches that are read from a store. */
function counted(store: MemoryStore, count: () => void): MemoryStore {
  const journal: MemoryStore["journal"] = function* (after) {
    for (const batch of store.journal(after) as Iterable<never>) {
      count();
      yield batch;
    }
  };
  return new Proxy(store, {
    get: (_, name) => {
      if (name === "journal") return journal;
      const value = store[name as keyof MemoryStore] as unknown;
      return typeof value === "function" ? (value.bind(store) as unknown) : value;
    },
  });
}

test("many who ask for requests of another process read its journal once", async () => {
  const hub = operation("op", {}, 60_000);
  const nodes = new Nodes({
    shards: 1,
    hub,
    workers: (process) => [worker(work, ({ ms }) => process.sleep(ms).then(() => ({})))],
  });
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, 600_000);
    return promise;
  };
  const { node } = await nodes.node(1);
  for (let n = 0; n < earlier; n++) await soon(node.submit("op", { flow: `f${n}` }, { key: `k${n}` }));
  let read = 0;
  const client = await nodes.client((shard) => counted(nodes.disks[shard]!.reopen(), () => void read++));
  const { seq } = await nodes.disks[0]!.reopen().peek();
  expect(seq).toBeGreaterThan(earlier);
  // One that waits for long: the others come and go meanwhile.
  const { id } = await soon(client.submit("op", { flow: "long", ms: 20_000 }));
  const waits = client.answer(id);
  const before = read;
  for (let n = 0; n < 30; n++) {
    const asked = await soon(client.submit("op", { flow: `g${n}` }, { key: `g${n}` }));
    expect(await soon(client.answer(asked.id))).toMatchObject({ kind: "result" });
    expect(await soon(client.request(asked.id))).toMatchObject({ status: "ended" });
    expect((await soon(client.history(asked.id))).length).toBeGreaterThan(2);
  }
  expect(await soon(waits)).toMatchObject({ kind: "result" });
  const { seq: last } = await nodes.disks[0]!.reopen().peek();
  expect(read - before).toBeLessThan(8 * (last - seq) + 2 * seq);
  expect((await soon(client.requests({ limit: 1000 }))).items).toHaveLength(earlier + 31);
  await soon(client.stop());
});
