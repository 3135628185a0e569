// The workers, and the shop that they work in. The shop is the warehouse, the payment provider and the parcel service
// in one small class. It stands for systems of other companies: it knows nothing of hubs, and has its own state.
import { worker, type Worker } from "wheelwork";
import { charge, confirm, recall, refund, release, reserve, ship } from "./order.ts";

interface Charge {
  readonly order: string;
  readonly card: string;
  readonly cents: number;
  readonly receipt: string;
}

/**
 * The shop books all work under its order. What undoes a step of an order also closes that step. Late work for a closed
 * step is refused, so it cannot arrive after it was undone.
 */
export class Shop {
  readonly shelf: Map<string, number>;
  readonly cards: Map<string, number>;
  tillCents = 0;
  readonly mails: string[] = [];
  readonly #reserved = new Map<string, Map<string, number>>();
  readonly #shipped = new Map<string, Map<string, number>>();
  readonly #charges = new Map<string, Charge>();
  readonly #done = new Set<string>();
  readonly #closed = new Set<string>();

  constructor(shelf: Readonly<Record<string, number>>, cards: Readonly<Record<string, number>>) {
    this.shelf = new Map(Object.entries(shelf));
    this.cards = new Map(Object.entries(cards));
  }

  /** Takes pieces from the shelf for an order. Returns false if there are not enough. */
  reserve(order: string, sku: string, pieces: number, idempotencyKey: string): boolean {
    this.#refuseClosed(order, `stock of ${sku}`);
    if (this.#done.has(idempotencyKey)) return true;
    const there = this.shelf.get(sku) ?? 0;
    if (there < pieces) return false;
    this.shelf.set(sku, there - pieces);
    add(bookOf(this.#reserved, order), sku, pieces);
    this.#done.add(idempotencyKey);
    return true;
  }

  /** Puts the reserved pieces of an article back on the shelf. */
  release(order: string, sku: string): void {
    this.#closed.add(`${order} stock of ${sku}`);
    const book = bookOf(this.#reserved, order);
    add(this.shelf, sku, book.get(sku) ?? 0);
    book.delete(sku);
  }

  /**
   * Takes money from a card, and returns a receipt, or undefined if the card has too little. Like real providers, it
   * recognises a repeated charge only by its idempotency key.
   */
  charge(order: string, card: string, cents: number, idempotencyKey: string): string | undefined {
    this.#refuseClosed(order, "money");
    const known = this.#charges.get(idempotencyKey);
    if (known !== undefined) return known.receipt;
    const balance = this.cards.get(card) ?? 0;
    if (balance < cents) return undefined;
    this.cards.set(card, balance - cents);
    this.tillCents += cents;
    const receipt = `receipt-${this.#charges.size + 1}`;
    this.#charges.set(idempotencyKey, { order, card, cents, receipt });
    return receipt;
  }

  /** Gives back all money that was taken for an order. */
  refund(order: string): void {
    this.#closed.add(`${order} money`);
    for (const [key, { order: of, card, cents }] of this.#charges) {
      if (of !== order) continue;
      this.#charges.delete(key);
      this.tillCents -= cents;
      add(this.cards, card, cents);
    }
  }

  /** Packs what is reserved for an order, and returns the number of the parcel. */
  ship(order: string): string {
    this.#refuseClosed(order, "parcel");
    move(bookOf(this.#reserved, order), bookOf(this.#shipped, order));
    return `parcel-of-${order}`;
  }

  /** Stops the parcel of an order: its pieces are only reserved again. */
  recall(order: string): void {
    this.#closed.add(`${order} parcel`);
    move(bookOf(this.#shipped, order), bookOf(this.#reserved, order));
  }

  /** How many pieces of an article are where. */
  stockOf(sku: string): { readonly shelf: number; readonly reserved: number; readonly shipped: number } {
    const sum = (books: Iterable<Map<string, number>>): number => {
      let pieces = 0;
      for (const book of books) pieces += book.get(sku) ?? 0;
      return pieces;
    };
    return {
      shelf: this.shelf.get(sku) ?? 0,
      reserved: sum(this.#reserved.values()),
      shipped: sum(this.#shipped.values()),
    };
  }

  #refuseClosed(order: string, what: string): void {
    if (this.#closed.has(`${order} ${what}`)) throw new Error(`the order ${order} is closed for ${what}`);
  }
}

function bookOf(books: Map<string, Map<string, number>>, order: string): Map<string, number> {
  let book = books.get(order);
  if (book === undefined) books.set(order, (book = new Map()));
  return book;
}

function add(book: Map<string, number>, name: string, amount: number): void {
  book.set(name, (book.get(name) ?? 0) + amount);
}

function move(from: Map<string, number>, to: Map<string, number>): void {
  for (const [name, amount] of from) add(to, name, amount);
  from.clear();
}

/** One worker for each spoke of the order hub. */
export function workers(shop: Shop): Worker[] {
  return [
    worker(reserve, ({ sku, quantity }, ctx) => {
      if (!shop.reserve(ctx.requestId, sku, quantity, ctx.idempotencyKey))
        ctx.fail("out-of-stock", `there are not ${quantity} pieces of ${sku}`);
      return {};
    }),
    worker(charge, ({ card, cents }, ctx) => {
      const receipt = shop.charge(ctx.requestId, card, cents, ctx.idempotencyKey);
      if (receipt === undefined) return ctx.fail("card-declined", `the card ${card} was declined`);
      return { receipt };
    }),
    worker(ship, (_input, ctx) => ({ parcel: shop.ship(ctx.requestId) })),
    worker(confirm, ({ email, text }) => {
      shop.mails.push(`to ${email}: ${text}`);
      return {};
    }),
    worker(recall, (_input, ctx) => {
      shop.recall(ctx.requestId);
      return {};
    }),
    worker(refund, (_input, ctx) => {
      shop.refund(ctx.requestId);
      return {};
    }),
    worker(release, ({ sku }, ctx) => {
      shop.release(ctx.requestId, sku);
      return {};
    }),
  ];
}
