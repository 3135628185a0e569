import { explore, testEngine } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { approvalFromCents, order } from "../src/order.ts";
import { Shop, workers } from "../src/workers.ts";

const customer = { email: "ada@example.com", card: "ada" };
const lamp = { sku: "lamp", quantity: 1, priceCents: 5_000 };
const desk = { sku: "desk", quantity: 1, priceCents: approvalFromCents };
const small = { number: "N-1", ...customer, lines: [lamp, { ...desk, priceCents: 1 }] };
const large = { number: "N-2", ...customer, lines: [desk] };

test("every path of an order is explored: all states, all edges, and nothing is wrong", () => {
  const report = explore(order, {
    requests: [small, large],
    signals: {
      decision: [
        { approved: true, by: "Grace" },
        { approved: false, by: "Grace" },
      ],
    },
    outputs: {
      reserve: [{}],
      charge: [{ receipt: "receipt-1" }],
      ship: [{ parcel: "parcel-1" }],
      recall: [{}],
      refund: [{}],
      release: [{}],
    },
  });
  expect(report.findings, String(report)).toEqual([]);
  expect(report).toMatchObject({
    complete: true,
    states: { reached: 11, total: 11 },
    edges: { reached: 28, total: 28 },
  });
});

test("a large order that nobody looks at for an hour is undone, also if the engine is killed meanwhile", async () => {
  const shop = new Shop({ desk: 1 }, { ada: 500_000 });
  const kit = await testEngine({ hubs: [order], workers: workers(shop) });
  const id = await kit.submit(order, large);
  await kit.advance("59 min");
  expect(await kit.state(id)).toBe("AwaitingApproval");
  await kit.crash("30s");
  expect(await kit.answer(id)).toBeUndefined();
  await kit.advance("30s");
  expect(await kit.answer(id)).toEqual({
    kind: "error",
    code: "too-late",
    message: "the order waited too long for its approval",
  });
  expect(shop.stockOf("desk")).toMatchObject({ shelf: 1 });
  expect(await kit.signal(id, "decision", { approved: true, by: "Grace" })).toBe("ended");
});
