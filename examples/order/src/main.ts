// Submits four orders, and shows their answers. An argument names the folder for the engine's store. Default: a
// temporary folder.
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type * as v from "valibot";
import { createEngine } from "wheelwork";
import { order, type Order } from "./order.ts";
import { Shop, workers } from "./workers.ts";

const given = process.argv[2];
const folder = given ?? mkdtempSync(join(tmpdir(), "wheelwork-order-"));
mkdirSync(folder, { recursive: true });

const shop = new Shop({ lamp: 10, desk: 3 }, { "ada's card": 500_000, "an empty card": 0 });
const engine = createEngine({ hubs: [order], workers: workers(shop), store: join(folder, "orders.db") });
await engine.start();

const run = randomUUID().slice(0, 8);
const customer = { email: "ada@example.com", card: "ada's card" };
const lamps = { sku: "lamp", quantity: 2, priceCents: 4_900 };
const desks = { sku: "desk", quantity: 2, priceCents: 89_000 };

let placedOrders = 0;

type Placed = v.InferInput<typeof Order>;

/** Submits an order with its number as the key: if it were sent twice, it would still be one order. */
async function place(
  what: string,
  placed: Partial<Placed>,
  then?: (id: string) => Promise<unknown>,
): Promise<void> {
  const request = { number: `${run}-${++placedOrders}`, ...customer, lines: [lamps], ...placed };
  const { id } = await engine.submit(order, request, { key: request.number });
  await then?.(id);
  const answer = await engine.answer(id);
  const states = (await engine.history(id))
    .flatMap((event) => (event.type === "entered" ? [event.state] : []))
    .join(" → ");
  console.log(`\n${what}: ${JSON.stringify(answer)}\n  ${states}`);
}

console.log(order.definition.answerBy);
await place("a good one", {});
await place("a declined card", { card: "an empty card" });
await place("a large one, approved", { lines: [desks, lamps] }, (id) =>
  engine.signal(id, "decision", { approved: true, by: "Grace" }),
);
await place(
  "a large one, cancelled",
  {
    lines: [
      { ...desks, quantity: 1 },
      { ...lamps, quantity: 3 },
    ],
  },
  (id) => engine.cancel(id),
);

await engine.stop();
console.log("\nIn the shop:");
for (const sku of ["lamp", "desk"]) console.log(`  ${sku}: ${JSON.stringify(shop.stockOf(sku))}`);
console.log(`  money: ${JSON.stringify({ ...Object.fromEntries(shop.cards), till: shop.tillCents })}`);
for (const mail of shop.mails) console.log(`  mail ${mail}`);
if (given === undefined) rmSync(folder, { recursive: true });
