import type { RequestFilter, RequestRow } from "@wheelwork/engine";
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
    store.list = (filter: RequestFilter) => ordered(list({ ...filter, limit: 100 })).slice(0, filter.limit);
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
