// The order hub: how the shop works on an order, and how it undoes one. See README.md.
import * as v from "valibot";
import { end, hub, spoke, stay } from "wheelwork";

const Sku = v.pipe(v.string(), v.minLength(1));
const Count = v.pipe(v.number(), v.integer(), v.minValue(1));
const Cents = v.pipe(v.number(), v.integer(), v.minValue(0));
const Done = v.strictObject({});

const Line = v.strictObject({ sku: Sku, quantity: Count, priceCents: Cents });

/** The request: an order of a customer. */
export const Order = v.strictObject({
  number: v.pipe(v.string(), v.minLength(1)),
  email: v.pipe(v.string(), v.email()),
  card: v.string(),
  lines: v.pipe(v.array(Line), v.minLength(1), v.maxLength(50)),
});

const Confirmation = v.strictObject({ number: v.string(), totalCents: Cents, parcel: v.string() });

const retry = { attempts: 3, backoffMs: 20 };

/** Reserves pieces of one article in the warehouse. */
export const reserve = spoke("reserve", {
  input: v.strictObject({ sku: Sku, quantity: Count }),
  output: Done,
  errors: ["out-of-stock"],
  timeoutMs: 1_000,
  retry: { ...retry, giveUpOn: ["out-of-stock"] },
});

/**
 * Charges a card. A second charge would take the money again, so the worker gives the payment provider the idempotency
 * key of its call.
 */
export const charge = spoke("charge", {
  input: v.strictObject({ card: v.string(), cents: Cents }),
  output: v.strictObject({ receipt: v.string() }),
  errors: ["card-declined"],
  timeoutMs: 2_000,
  retry: { ...retry, giveUpOn: ["card-declined"] },
});

/** Packs what is reserved, and sends it. */
export const ship = spoke("ship", {
  input: v.strictObject({ number: v.string() }),
  output: v.strictObject({ parcel: v.string() }),
  timeoutMs: 2_000,
  retry,
});

/** Sends a mail to the customer. */
export const confirm = spoke("confirm", {
  input: v.strictObject({ email: v.string(), text: v.string() }),
  output: Done,
  timeoutMs: 5_000,
  retry: { attempts: 5, backoffMs: 1_000 },
});

// These spokes undo the work. After one of them, the shop refuses late work for the order: a charge that was on its way
// must not arrive after the refund.
const undo = { output: Done, timeoutMs: 1_000, retry: { attempts: 5, backoffMs: 20, maxBackoffMs: 500 } };

/** Stops the parcel. */
export const recall = spoke("recall", { input: v.strictObject({ number: v.string() }), ...undo });
/** Gives the money back. */
export const refund = spoke("refund", { input: v.strictObject({ card: v.string() }), ...undo });
/** Puts the reserved pieces of one article back on the shelf. */
export const release = spoke("release", { input: v.strictObject({ sku: Sku }), ...undo });

/** A person must approve orders from this sum on. */
export const approvalFromCents = 100_000;
const approvalMs = 60 * 60_000;
/** Longest time for one step of the undoing. It is more than a spoke above takes with all its attempts. */
const undoMs = 8_000;

type Order = v.InferOutput<typeof Order>;

interface Failure {
  readonly code: "out-of-stock" | "card-declined" | "refused" | "unavailable" | "too-late" | "cancelled";
  readonly message: string;
}

interface OrderData extends Order {
  totalCents: number;
  parcel: string;
  /** Why the order is undone. */
  failure: Failure;
  /** What could not be undone. A person must do it. */
  leftBehind: string[];
}

const failed = (code: Failure["code"], message: string) => ({ failure: { code, message } });
const late = (waitedFor: string) => () => failed("too-late", `the order waited too long for ${waitedFor}`);
const totalOf = (order: Order): number =>
  order.lines.reduce((sum, { quantity, priceCents }) => sum + quantity * priceCents, 0);

/** The hub: reserves, charges, ships and confirms. If something fails, it undoes what it has done. */
export const order = hub(
  "order",
  {
    request: Order,
    reply: Confirmation,
    errors: [
      "out-of-stock",
      "card-declined",
      "refused",
      "unavailable",
      "too-late",
      "cancelled",
      "needs-attention",
    ],
    deadlineMs: (placed) => 10_000 + (totalOf(placed) < approvalFromCents ? 0 : approvalMs),
    signals: { decision: v.strictObject({ approved: v.boolean(), by: v.string() }) },
    cancel: { raise: "Cancelled", patch: () => failed("cancelled", "the customer cancelled the order") },
    chart: {
      Reserving: {
        LineReserved: stay,
        AllReserved: "Reserved",
        NotReserved: "ReleasingStock",
        TimeRanOut: "ReleasingStock",
        Cancelled: "ReleasingStock",
      },
      Reserved: { Small: "Paying", Large: "AwaitingApproval" },
      AwaitingApproval: {
        Approved: "Paying",
        Refused: "ReleasingStock",
        TimeRanOut: "ReleasingStock",
        Cancelled: "ReleasingStock",
      },
      Paying: {
        Paid: "Shipping",
        Declined: "ReleasingStock",
        // The provider may have taken the money nevertheless, so it is refunded.
        PaymentUnclear: "Refunding",
        TimeRanOut: "Refunding",
        Cancelled: "Refunding",
      },
      // It has no `Cancelled`: once an order is being packed, a cancel comes too late.
      Shipping: { Shipped: "Confirming", NotShipped: "RecallingParcel", TimeRanOut: "RecallingParcel" },
      Confirming: { Next: "Completed" },
      Completed: end,

      RecallingParcel: { Recalled: "Refunding", LeftBehind: "Refunding" },
      Refunding: { Refunded: "ReleasingStock", LeftBehind: "ReleasingStock" },
      ReleasingStock: {
        LineReleased: stay,
        LineLeftBehind: stay,
        AllReleased: "Undone",
        LeftBehind: "Undone",
      },
      Undone: end,
    },
    data: (placed): OrderData => ({
      ...placed,
      totalCents: totalOf(placed),
      parcel: "",
      failure: { code: "unavailable", message: "" },
      leftBehind: [],
    }),
  },
  {
    Reserving: (s) =>
      s.each(reserve, {
        inputs: ({ lines }) => lines.map(({ sku, quantity }) => ({ sku, quantity })),
        limit: 4,
        drain: true,
        ok: "LineReserved",
        error: (_data, { code, message }) =>
          s.raise("NotReserved", failed(code === "out-of-stock" ? code : "unavailable", message)),
        timeout: (_data, _timeout, { input }) =>
          s.raise("NotReserved", failed("unavailable", `the warehouse did not answer about ${input.sku}`)),
        done: "AllReserved",
        deadline: { raise: "TimeRanOut", patch: late("the warehouse") },
      }),
    Reserved: (s) => s.pick(({ totalCents }) => (totalCents < approvalFromCents ? "Small" : "Large")),
    AwaitingApproval: (s) =>
      s.wait({
        on: {
          decision: (_data, { approved, by }) =>
            approved ? "Approved" : s.raise("Refused", failed("refused", `${by} refused the order`)),
        },
        after: { TimeRanOut: { ms: approvalMs, patch: late("its approval") } },
        deadline: { raise: "TimeRanOut", patch: late("its approval") },
      }),
    Paying: (s) =>
      s.call(charge, {
        input: ({ card, totalCents }) => ({ card, cents: totalCents }),
        ok: "Paid",
        error: (_data, { code, message }) =>
          code === "card-declined"
            ? s.raise("Declined", failed(code, message))
            : s.raise("PaymentUnclear", failed("unavailable", message)),
        timeout: () =>
          s.raise("PaymentUnclear", failed("unavailable", "the payment provider did not answer")),
        deadline: { raise: "TimeRanOut", patch: late("the payment") },
      }),
    Shipping: (s) =>
      s.call(ship, {
        input: ({ number }) => ({ number }),
        ok: (_data, { parcel }) => s.raise("Shipped", { parcel }),
        failed: () => s.raise("NotShipped", failed("unavailable", "the parcel could not be sent")),
        deadline: { raise: "TimeRanOut", patch: late("its parcel") },
      }),
    Confirming: (s) =>
      s.tell(confirm, {
        input: ({ email, number, parcel }) => ({
          email,
          text: `Your order ${number} is on its way: parcel ${parcel}.`,
        }),
        next: "Next",
      }),
    Completed: ({ number, totalCents, parcel }) => ({ number, totalCents, parcel }),

    RecallingParcel: (s) =>
      s.call(recall, {
        input: ({ number }) => ({ number }),
        ok: "Recalled",
        failed: ({ leftBehind }) => s.raise("LeftBehind", { leftBehind: [...leftBehind, "the parcel"] }),
        after: {
          LeftBehind: {
            ms: undoMs,
            patch: ({ leftBehind }) => ({ leftBehind: [...leftBehind, "the parcel"] }),
          },
        },
      }),
    Refunding: (s) =>
      s.call(refund, {
        input: ({ card }) => ({ card }),
        ok: "Refunded",
        failed: ({ leftBehind }) => s.raise("LeftBehind", { leftBehind: [...leftBehind, "the money"] }),
        after: {
          LeftBehind: {
            ms: undoMs,
            patch: ({ leftBehind }) => ({ leftBehind: [...leftBehind, "the money"] }),
          },
        },
      }),
    ReleasingStock: (s) =>
      s.each(release, {
        // All articles are released: a reservation without a known outcome may have succeeded.
        inputs: ({ lines }) => [...new Set(lines.map(({ sku }) => sku))].map((sku) => ({ sku })),
        ok: "LineReleased",
        failed: ({ leftBehind }, _failure, { input }) =>
          s.raise("LineLeftBehind", { leftBehind: [...leftBehind, `the stock of ${input.sku}`] }),
        done: "AllReleased",
        after: {
          LeftBehind: {
            ms: undoMs,
            patch: ({ leftBehind }, open) => ({
              leftBehind: [...leftBehind, `the stock of ${open.length} articles`],
            }),
          },
        },
      }),
    Undone: ({ failure, leftBehind }, s) =>
      leftBehind.length === 0
        ? s.fail(failure.code, failure.message)
        : s.fail("needs-attention", `${failure.message}; left behind: ${leftBehind.join(", ")}`, {
            leftBehind,
          }),
  },
);
