import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createEngine, type Engine, type Outcome, type Worker, type WorkerContext } from "wheelwork";
import { approvalFromCents, order } from "../src/order.ts";
import { Shop, workers } from "../src/workers.ts";

const money = 500_000;
const stock = { lamp: 10, desk: 3 };
const customer = { email: "ada@example.com", card: "ada" };
const lamps = { sku: "lamp", quantity: 2, priceCents: 5_000 };
const small = { number: "N-1", ...customer, lines: [lamps] };
const large = {
  number: "N-2",
  ...customer,
  lines: [{ sku: "desk", quantity: 2, priceCents: approvalFromCents / 2 }, lamps],
};
const largeCents = approvalFromCents + 10_000;

let folder: string;
let shop: Shop;
const engines: Engine[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "wheelwork-order-test-"));
  shop = new Shop(stock, { ada: money, poor: 0 });
});
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** What a test does to the attempts of one spoke, before or after the shop has done its work. */
interface Interruptions {
  readonly [spoke: string]: {
    readonly before?: (context: WorkerContext) => Promise<unknown> | void;
    readonly after?: (context: WorkerContext) => Promise<unknown> | void;
  };
}

async function open(interruptions: Interruptions = {}): Promise<Engine> {
  const engine = createEngine({
    hubs: [order],
    workers: workers(shop).map((made) => interrupted(made, interruptions[made.spoke.name] ?? {})),
    store: join(folder, "orders.db"),
  });
  engines.push(engine);
  await engine.start();
  return engine;
}

function interrupted(made: Worker, { before, after }: Interruptions[string]): Worker {
  return {
    ...made,
    attempt: async (input, context, ports): Promise<Outcome> => {
      await before?.(context);
      const outcome = await made.attempt(input, context, ports);
      await after?.(context);
      return outcome;
    },
  };
}

/** Something that has happened once: `happened` is for those who wait, `happens` tells them. */
function once(): { readonly happened: Promise<void>; readonly happens: () => void } {
  let happens = (): void => {};
  const happened = new Promise<void>((resolve) => (happens = resolve));
  return { happened, happens: () => happens() };
}

/** A worker that hangs, after it has told that it does. */
const hang = (tell: () => void) => (): Promise<never> => {
  tell();
  return new Promise(() => {});
};

const sum = (books: Iterable<number>): number => [...books].reduce((all, one) => all + one, 0);

/** Nothing is lost or made; and what is sold is what is paid for. */
function expectConserved(
  soldCents: number,
  shipped: { readonly lamp?: number; readonly desk?: number } = {},
): void {
  expect(sum(shop.cards.values()) + shop.tillCents).toBe(money);
  expect(shop.tillCents).toBe(soldCents);
  const places = Object.keys(stock).map((sku) => [sku, shop.stockOf(sku)]);
  const expected = Object.entries(stock).map(([sku, pieces]) => {
    const sold = shipped[sku as keyof typeof stock] ?? 0;
    return [sku, { shelf: pieces - sold, reserved: 0, shipped: sold }];
  });
  expect(places).toEqual(expected);
}

const statesOf = async (engine: Engine, id: string): Promise<string[]> =>
  (await engine.history(id)).flatMap((event) => (event.type === "entered" ? [event.state] : []));

describe("an order", () => {
  it("is reserved, paid, shipped and confirmed", async () => {
    const mailed = once();
    const engine = await open({ confirm: { after: () => mailed.happens() } });
    expect(await engine.call(order, small, { key: "N-1" })).toEqual({
      kind: "result",
      value: { number: "N-1", totalCents: 10_000, parcel: "parcel-of-N-1" },
    });
    await mailed.happened;
    expect(shop.mails).toEqual(["to ada@example.com: Your order N-1 is on its way: parcel parcel-of-N-1."]);
    expectConserved(10_000, { lamp: 2 });
  });

  it("is one order, however often it is sent", async () => {
    const engine = await open();
    const answers = await Promise.all([1, 2, 3].map(() => engine.call(order, small, { key: "N-1" })));
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expectConserved(10_000, { lamp: 2 });
  });

  it("goes back to the shelf when the card is declined, which is asked once", async () => {
    let attempts = 0;
    const engine = await open({ charge: { before: () => void attempts++ } });
    expect(await engine.call(order, { ...small, card: "poor" })).toMatchObject({
      kind: "error",
      code: "card-declined",
    });
    expect(attempts).toBe(1);
    expectConserved(0);
  });

  it("reserves nothing for long when one of its lines is out of stock", async () => {
    const engine = await open();
    const lines = [lamps, { sku: "desk", quantity: 4, priceCents: 1 }, { ...lamps, quantity: 1 }];
    expect(await engine.call(order, { ...small, lines })).toMatchObject({
      kind: "error",
      code: "out-of-stock",
    });
    expectConserved(0);
  });

  it("is refused with every problem when it makes no sense", async () => {
    const engine = await open();
    await expect(
      engine.submit(order, { ...small, email: "nobody", lines: [{ ...lamps, quantity: 0 }] }),
    ).rejects.toMatchObject({
      code: "WW_INVALID_REQUEST",
      problems: [{ path: "email" }, { path: "lines.0.quantity" }],
    });
  });
});

describe("a large order", () => {
  it("waits for an approval", async () => {
    const engine = await open();
    const { id } = await engine.submit(order, large);
    expect(await engine.answer(id, { waitMs: 0 })).toBeUndefined();
    expect(await engine.signal(id, "decision", { approved: true, by: "Grace" })).toBe("accepted");
    expect(await engine.answer(id)).toMatchObject({ kind: "result", value: { totalCents: largeCents } });
    expectConserved(largeCents, { lamp: 2, desk: 2 });
  });

  it("is undone when it is refused", async () => {
    const engine = await open();
    const { id } = await engine.submit(order, large);
    await engine.signal(id, "decision", { approved: false, by: "Grace" });
    expect(await engine.answer(id)).toMatchObject({ code: "refused", message: "Grace refused the order" });
    expectConserved(0);
  });

  it("is undone when nobody decides in time", async () => {
    const engine = await open();
    expect(await engine.call(order, large, { deadlineMs: 100 })).toMatchObject({ code: "too-late" });
    expectConserved(0);
  });

  it("is undone when the customer cancels it, and a second cancel comes too late", async () => {
    const engine = await open();
    const { id } = await engine.submit(order, large);
    expect(await engine.cancel(id)).toBe("accepted");
    expect(await engine.answer(id)).toMatchObject({ kind: "error", code: "cancelled" });
    expect(await engine.cancel(id)).toBe("ended");
    expectConserved(0);
  });
});

describe("money and stock are conserved", () => {
  it("when a charge has to be tried again after it was made", async () => {
    const keys: string[] = [];
    const engine = await open({
      charge: {
        after: ({ idempotencyKey }) => {
          keys.push(idempotencyKey);
          if (keys.length < 3) throw new Error("the line is dead");
        },
      },
    });
    expect(await engine.call(order, small)).toMatchObject({ kind: "result" });
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
    expectConserved(10_000, { lamp: 2 });
  });

  it("when a charge was made and is never heard of: the money goes back", async () => {
    const engine = await open({ charge: { after: () => Promise.reject(new Error("the line is dead")) } });
    const { id } = await engine.submit(order, small);
    expect(await engine.answer(id)).toMatchObject({ kind: "error", code: "unavailable" });
    expect(await statesOf(engine, id)).toEqual([
      "Reserving",
      "Reserved",
      "Paying",
      "Refunding",
      "ReleasingStock",
      "Undone",
    ]);
    expectConserved(0);
  });

  it("when a charge lands after the deadline has given it up", async () => {
    const line = once();
    const landed = once();
    const engine = await open({
      charge: { before: () => line.happened, after: () => landed.happens() },
    });
    expect(await engine.call(order, small, { deadlineMs: 100 })).toMatchObject({ code: "too-late" });
    expectConserved(0);
    line.happens();
    await landed.happened;
    expectConserved(0);
  });

  it("when the customer cancels while the money is taken", async () => {
    const charged = once();
    const engine = await open({ charge: { after: hang(charged.happens) } });
    const { id } = await engine.submit(order, small);
    await charged.happened;
    expect(shop.tillCents).toBe(10_000);
    await engine.cancel(id);
    expect(await engine.answer(id)).toMatchObject({ code: "cancelled" });
    expectConserved(0);
  });

  it("when the parcel cannot be sent, or nobody knows whether it was", async () => {
    for (const moment of ["before", "after"]) {
      const engine = await open({ ship: { [moment]: () => Promise.reject(new Error("closed")) } });
      expect(await engine.call(order, small)).toMatchObject({ kind: "error", code: "unavailable" });
      expectConserved(0);
      await engine.stop();
    }
  });

  it("when the customer cancels an order that is being packed: it is shipped", async () => {
    const packing = once();
    const go = once();
    const engine = await open({
      ship: {
        before: () => {
          packing.happens();
          return go.happened;
        },
      },
    });
    const { id } = await engine.submit(order, small);
    await packing.happened;
    expect(await engine.cancel(id)).toBe("accepted");
    go.happens();
    expect(await engine.answer(id)).toMatchObject({ kind: "result" });
    expectConserved(10_000, { lamp: 2 });
  });

  it("and what cannot be undone is named", async () => {
    const engine = await open({ release: { before: () => Promise.reject(new Error("on strike")) } });
    expect(await engine.call(order, { ...small, card: "poor" })).toMatchObject({
      kind: "error",
      code: "needs-attention",
      details: { leftBehind: ["the stock of lamp"] },
    });
    expect(shop.stockOf("lamp")).toEqual({ shelf: 8, reserved: 2, shipped: 0 });
  });
});

describe("over a stop, and a new engine on the same file", () => {
  // The attempt is under way, and the shop has or has not done its work: the engine cannot know.
  it.each(
    ["reserve", "charge", "ship"].flatMap((at) => [
      [at, "before"],
      [at, "after"],
    ]),
  )("an order that was stopped in %s, %s its work, is shipped and paid for once", async (at, moment) => {
    const reached = once();
    const first = await open({ [at]: { [moment]: hang(reached.happens) } });
    const { id } = await first.submit(order, small, { key: "N-1" });
    await reached.happened;
    await first.stop();

    const second = await open();
    expect(await second.answer(id)).toMatchObject({ kind: "result", value: { number: "N-1" } });
    expect(await second.call(order, small, { key: "N-1" })).toMatchObject({ kind: "result" });
    expectConserved(10_000, { lamp: 2 });
  });

  it.each([
    ["refund", { ship: { before: () => Promise.reject(new Error("closed")) } }, small],
    ["release", {}, { ...small, card: "poor" }],
  ] as const)("an order that was stopped in its %s is undone", async (at, interruptions, placed) => {
    for (const moment of ["before", "after"]) {
      const reached = once();
      const first = await open({ ...interruptions, [at]: { [moment]: hang(reached.happens) } });
      const { id } = await first.submit(order, placed);
      await reached.happened;
      await first.stop();

      const second = await open();
      expect(await second.answer(id)).toMatchObject({ kind: "error" });
      expectConserved(0);
      await second.stop();
    }
  });

  it("an order that waits for its approval gets it from the new engine", async () => {
    const first = await open();
    const { id } = await first.submit(order, large);
    await first.stop();
    const second = await open();
    await second.signal(id, "decision", { approved: true, by: "Grace" });
    expect(await second.answer(id)).toMatchObject({ kind: "result" });
    expectConserved(largeCents, { lamp: 2, desk: 2 });
  });
});
