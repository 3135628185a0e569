import { end, hub } from "@wheelwork/core";
import type { Clock, RequestPage, RequestRow, SearchOptions } from "@wheelwork/engine";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { search } from "../src/requests/search.ts";
import { World } from "./world.ts";

/** Lets time pass until a page is there. */
async function page({ engine, clock }: World, options: SearchOptions): Promise<RequestPage> {
  let given: RequestPage | undefined;
  await clock.runUntil(
    engine.search(options).then((value) => (given = value)),
    60_000,
  );
  return given as RequestPage;
}

/** What is inside of requests is searched for, some requests at a time. */

const order = hub(
  "order",
  {
    request: z.looseObject({ n: z.number() }),
    reply: z.object({}),
    deadlineMs: 100_000,
    signals: { go: z.object({}) },
    chart: { Waiting: { Go: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
    view: ({ n }) => ({ half: n / 2, note: `Half of ${n}` }),
  },
  {
    Waiting: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }),
    Done: () => ({}),
  },
);

async function world(variant: object, orders: readonly object[]): Promise<World> {
  const made = new World({ hubs: [order], workers: () => [], ...variant });
  onTestFinished(() => made.close());
  await made.start();
  for (const [n, more] of orders.entries()) {
    await made.engine.submit("order", { n, ...more }, { key: `k${n}` });
    await made.clock.advance(1);
  }
  return made;
}

describe.each([{}, { store: "sqlite" }, { faults: { later: true } }] as const)("%o", (variant) => {
  test("a text or a value is found in requests and views, of live runs and of ended ones", async () => {
    const made = await world(variant, [
      { customer: { name: "Ann", id: 7 } },
      { lines: [{ sku: "A-1" }, { sku: "B-2" }] },
      { customer: { name: "joann", id: "7" }, gift: true },
      { note: null },
    ]);
    const { engine, clock } = made;
    await engine.signal("k1", "go", {});
    await engine.signal("k2", "go", {});
    await clock.settle();
    const ids = async (options: SearchOptions): Promise<string[]> =>
      (await page(made, options)).items.map(({ id }) => id);
    expect(await ids({ text: "ANN" })).toEqual(["k2", "k0"]);
    expect(await ids({ text: "ann", status: "ended" })).toEqual(["k2"]);
    expect(await ids({ text: "ann", order: "oldest" })).toEqual(["k0", "k2"]);
    expect(await ids({ text: "customer" })).toEqual(["k2", "k0"]);
    expect(await ids({ text: "half of 3" })).toEqual(["k3"]);
    expect(await ids({ values: { "request.customer.id": 7 } })).toEqual(["k0"]);
    expect(await ids({ values: { "request.customer.id": "7", "request.gift": true } })).toEqual(["k2"]);
    expect(await ids({ values: { "request.lines.sku": "B-2" } })).toEqual(["k1"]);
    expect(await ids({ values: { "request.lines.0.sku": "B-2" } })).toEqual([]);
    expect(await ids({ values: { "request.note": null } })).toEqual(["k3"]);
    expect(await ids({ values: { "view.half": 1 }, text: "2" })).toEqual(["k2"]);
    expect(await ids({ values: { "request.toString": "x" } })).toEqual([]);
  });

  test("each request is looked at once, however short the time of a page is", async () => {
    const many = Array.from({ length: 450 }, (_, n) => (n % 90 === 0 ? { mark: "here" } : {}));
    const made = await world(variant, many);
    for (const withinMs of [0, 5, 10_000]) {
      const found: string[] = [];
      let cursor: string | undefined;
      let pages = 0;
      do {
        const options = { text: "here", withinMs, limit: 2, ...(cursor === undefined ? {} : { cursor }) };
        const { items, cursor: next } = await page(made, options);
        found.push(...items.map(({ id }) => id));
        cursor = next;
        pages++;
      } while (cursor !== undefined);
      expect(found).toEqual(["k360", "k270", "k180", "k90", "k0"]);
      expect(pages).toBeGreaterThan(2);
    }
  });
});

test("a search that is not valid is refused with every problem", async () => {
  const { engine } = await world({}, []);
  await expect(engine.search({ text: "", values: { n: 1 }, withinMs: 1e9 })).rejects.toMatchObject({
    code: "WW_INVALID_REQUEST",
    problems: [{ path: "text" }, { path: "values.n" }, { path: "withinMs" }],
  });
  await expect(engine.search({ text: "x", limit: 0 })).rejects.toThrow(/limit/);
});

test("a search gives the loop its turn after a millisecond, also where a store reads at once", async () => {
  let now = 0;
  let inTurn = 0;
  let most = 0;
  const clock: Clock = {
    wallMs: () => now,
    monotonicMs: () => now,
    after: () => () => {},
    soon: (task) => {
      inTurn = 0;
      setImmediate(task);
    },
  };
  const rows = Array.from({ length: 100 }, (_, n): RequestRow => {
    const of = { hub: "order", version: 1, status: "ended", state: "Done" } as const;
    return { key: `k${n}`, ...of, createdAt: 100 - n, answeredAt: 200 };
  });
  let lookedUp = 0;
  const { items } = await search(
    { values: { "request.n": 99 } },
    {
      clock,
      rows: async () => rows,
      definition: () => undefined,
      secrets: () => [],
      lookUp: (key) => {
        lookedUp++;
        most = Math.max(most, ++inTurn);
        now += 0.3;
        const request = { n: Number(key.slice(1)) };
        const row = rows[request.n] as RequestRow;
        const ended = { hash: "", root: true, firstSeq: 1, lastSeq: 1, endedAt: 200, answeredAt: 200 };
        const answer = { kind: "result", value: {} } as const;
        return Promise.resolve({ known: { ...row, ...ended, answer, request }, answer });
      },
    },
  );
  expect(items.map(({ id }) => id)).toEqual(["k99"]);
  expect(lookedUp).toBe(100);
  expect(most).toBeLessThanOrEqual(4);
});
