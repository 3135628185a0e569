import type { RequestList, RequestRow } from "@wheelwork/engine";
import { expect, test } from "vitest";
import { approved } from "./hubs.ts";
import { Machine } from "./slow.ts";

/** Lists of requests: stored rows, and what has happened since they were written. */

/** Of two rows with one key, the one of the live run comes first, or the one of the request that has ended. */
const orders = {
  "the old row first": (rows: readonly RequestRow[]) => inOrder(rows, (row) => row.status === "ended"),
  "the old row last": (rows: readonly RequestRow[]) => inOrder(rows, (row) => row.status !== "ended"),
};

const inOrder = (rows: readonly RequestRow[], isLast: (row: RequestRow) => boolean): RequestRow[] =>
  rows.toSorted(
    (a, b) =>
      b.createdAt - a.createdAt || b.key.localeCompare(a.key) || Number(isLast(a)) - Number(isLast(b)),
  );

test.each(Object.entries(orders))(
  "a request that has ended since the last checkpoint is listed, whichever of its rows ends a page: %s",
  async (_name, ordered) => {
    const machine = new Machine();
    const { clock, store } = machine;
    const list = store.list.bind(store);
    store.list = (filter: RequestList) => ordered(list({ ...filter, limit: 100 })).slice(0, filter.limit);
    const before = await machine.start();
    await before.submit(approved, { n: 1, withinMs: 1_000_000 }, { key: "ends" });
    await clock.advance(10);
    await before.submit(approved, { n: 1, withinMs: 1_000_000 }, { key: "waits" });
    await before.stop();
    // Both have rows. One ends, and its old row stays until the next checkpoint.
    const engine = await machine.start();
    await engine.cancel("ends");
    await engine.answer("ends");
    const first = await engine.requests({ limit: 1 });
    expect(first.items.map(({ id, status }) => `${id} ${status}`)).toEqual(["waits running"]);
    const second = await engine.requests({ limit: 1, cursor: first.cursor ?? "0.none" });
    expect(second.items.map(({ id, status }) => `${id} ${status}`)).toEqual(["ends ended"]);
    expect(second.cursor).toBeUndefined();
  },
);

test("requests that have moved on since the last checkpoint hide no older one, however many they are", async () => {
  const machine = new Machine();
  const { clock, store } = machine;
  const asked: number[] = [];
  const list = store.list.bind(store);
  store.list = (filter: RequestList) => {
    asked.push(filter.limit);
    return list(filter);
  };
  const before = await machine.start();
  await before.submit(approved, { n: 1, withinMs: 1_000_000 }, { key: "oldest" });
  await clock.advance(10);
  const keys = Array.from({ length: 100 }, (_, index) => `k${index}`);
  for (const key of keys) await before.submit(approved, { n: 1, withinMs: 1_000_000 }, { key });
  await before.stop();
  const engine = await machine.start();
  for (const key of keys) await engine.cancel(key);
  for (const key of keys) await engine.answer(key);
  const { items, cursor } = await engine.requests({ status: "running", limit: 2 });
  expect(items.map(({ id }) => id)).toEqual(["oldest"]);
  expect(cursor).toBeUndefined();
  // What was read is not read again.
  expect(asked).not.toEqual([]);
  expect(asked.reduce((sum, limit) => sum + limit, 0)).toBeLessThan(250);
});

test("a list of a status that there is not is refused", async () => {
  const engine = await new Machine().start();
  await expect(engine.requests({ status: "done" as "ended" })).rejects.toThrow(
    /WW_INVALID_REQUEST[\s\S]*status/,
  );
});
