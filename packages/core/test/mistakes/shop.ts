// What is right. The test makes each mistake in this text, one at a time, and compiles it.
import { answered, end, hub, hubByHandlers, spoke, stay } from "@wheelwork/core";
import { createEngine, schedule, worker, type Engine } from "@wheelwork/engine";
import { z } from "zod";

// ---- spokes and workers ----

export const reserve = spoke("reserve", {
  input: z.object({ sku: z.string(), quantity: z.number() }),
  output: z.object({ shelf: z.string() }),
  errors: ["out-of-stock", "closed"],
  timeoutMs: 1_000,
  retry: { attempts: 3, backoffMs: 20, giveUpOn: ["out-of-stock"] },
  concurrency: 10,
});
const charge = spoke("charge", {
  input: z.object({ card: z.string(), cents: z.number() }),
  output: z.object({ receipt: z.string() }),
  errors: ["card-declined"],
  timeoutMs: 2_000,
});
const pack = spoke("pack", {
  input: z.object({ number: z.string() }),
  output: z.object({ parcel: z.string() }),
  timeoutMs: 2_000,
});
const mail = spoke("mail", {
  input: z.object({ text: z.string() }),
  output: z.object({}),
  timeoutMs: 5_000,
});
const release = spoke("release", {
  input: z.object({ sku: z.string() }),
  output: z.object({}),
  timeoutMs: 1_000,
});

export const workers = [
  worker(reserve, ({ sku, quantity }, ctx) => {
    if (quantity > 100) ctx.fail("out-of-stock", `there is too little of ${sku}`);
    return { shelf: "A1" };
  }),
  worker(charge, async ({ cents }, { idempotencyKey, signal }) => {
    signal.throwIfAborted();
    return { receipt: `${idempotencyKey}: ${cents}` };
  }),
];

// ---- a hub by chart ----

export const order = hub(
  "order",
  {
    request: z.object({ number: z.string(), card: z.string(), skus: z.array(z.string()) }),
    reply: z.object({ number: z.string(), cents: z.number() }),
    errors: ["refused", "unavailable"],
    deadlineMs: ({ skus }) => 10_000 + skus.length,
    signals: { decision: z.object({ approved: z.boolean(), by: z.string() }) },
    chart: {
      Reserving: {
        LineReserved: stay,
        AllReserved: "Choosing",
        NotReserved: "Releasing",
        TimeRanOut: "Releasing",
        Cancelled: "Releasing",
      },
      Choosing: { Small: "Paying", Large: "Approving" },
      Approving: { Approved: "Paying", Refused: "Releasing", TimeRanOut: "Releasing" },
      Paying: { Paid: "Packing", NotPaid: "Releasing", TimeRanOut: "Releasing" },
      Packing: { Packed: "Telling", NotPacked: "Releasing", TimeRanOut: "Releasing" },
      Telling: { Told: "Completed" },
      Completed: end,

      Releasing: { LineReleased: stay, AllReleased: "Noting", GivenUp: "Noting" },
      Noting: { Noted: "Undone" },
      Undone: end,
    },
    data: ({ number, card, skus }, { id }) => ({
      id,
      number,
      card,
      skus,
      cents: 0,
      reason: "unavailable" as "refused" | "unavailable" | "cancelled",
      log: [] as string[],
    }),
    deadline: "TimeRanOut",
    cleanUp: ["Releasing"],
    cancel: { raise: "Cancelled", patch: ({ log }) => ({ reason: "cancelled", log: [...log, "cancelled"] }) },
    view: ({ cents, log }) => ({ cents, last: log.at(-1) ?? null }),
    version: 2,
    migrate: { 1: ({ state, data }) => ({ state, data: { ...data, log: [] } }) },
  },
  {
    Reserving: (s) =>
      s.each(reserve, {
        inputs: ({ skus }) => skus.map((sku) => ({ sku, quantity: 1 })),
        limit: 4,
        drain: true,
        key: ({ sku }) => sku,
        ok: ({ cents }, { shelf }, { input }) =>
          s.raise("LineReserved", { cents: cents + shelf.length + input.quantity }),
        error: (_data, { code }) =>
          s.raise("NotReserved", { reason: code === "out-of-stock" ? "refused" : "unavailable" }),
        timeout: "NotReserved",
        done: "AllReserved",
        deadline: "TimeRanOut",
      }),
    Choosing: (s) => s.pick(({ cents }) => (cents < 1_000 ? "Small" : "Large")),
    Approving: (s) =>
      s.wait({
        on: {
          decision: ({ log }, { approved, by }) =>
            approved ? "Approved" : s.raise("Refused", { reason: "refused", log: [...log, by] }),
        },
        after: { Refused: { ms: 60_000, patch: () => ({ reason: "refused" }) } },
        deadline: { raise: "TimeRanOut", patch: ({ log }) => ({ log: [...log, "nobody approved it"] }) },
      }),
    Paying: (s) =>
      s.call(charge, {
        input: ({ card, cents }) => ({ card, cents }),
        ok: ({ log }, { receipt }) => s.raise("Paid", { log: [...log, receipt] }),
        failed: (_data, failure) =>
          failure.kind === "error" && failure.code === "card-declined"
            ? s.raise("NotPaid", { reason: "refused" })
            : "NotPaid",
        deadline: "TimeRanOut",
      }),
    Packing: (s) =>
      s.sequence(
        [
          s.step(pack, {
            input: ({ number }) => ({ number }),
            ok: ({ log }, { parcel }) => ({ log: [...log, parcel] }),
          }),
          s.step(mail, { input: ({ number }) => ({ text: number }) }),
        ],
        { done: "Packed", failed: "NotPacked", deadline: "TimeRanOut" },
      ),
    Telling: (s) => s.tell(mail, { input: ({ number }) => ({ text: number }), next: "Told" }),
    Completed: ({ number, cents }) => ({ number, cents }),

    Releasing: (s) =>
      s.each(release, {
        inputs: ({ skus }) => skus.map((sku) => ({ sku })),
        settled: "LineReleased",
        done: "AllReleased",
        after: { GivenUp: 1_000 },
      }),
    Noting: "Noted",
    Undone: ({ log }, s) => s.fail("refused", "the order is undone", { log: [...log] }),
  },
);

// ---- a hub by handlers ----

export const errand = hubByHandlers(
  "errand",
  {
    request: z.object({ text: z.string() }),
    reply: z.object({ sent: z.number() }),
    errors: ["unsent"],
    deadlineMs: 1_000,
    cleanUpMs: 500,
    calls: [mail],
    signals: { more: z.object({ text: z.string() }) },
    data: ({ text }, { now }) => ({ text, asked: now, sent: 0 }),
    view: ({ sent }) => ({ sent }),
  },
  {
    request: (s) => s.call(mail, { text: s.data.text }, { tag: "first" }),
    response: (s, call, outcome) => {
      if (outcome.kind === "ok") s.patch({ sent: s.data.sent + 1 });
      if (s.open === 0 && call.tag !== "none") s.reply({ sent: s.data.sent });
    },
    signal: (s, { payload }) => s.call(mail, { text: payload.text }),
    timeout: (s, cause) => s.fail("unsent", `the time is over: ${cause}`),
  },
);

// ---- hubs that have something for others ----

const stock = hub(
  "stock",
  {
    request: z.object({ shelf: z.string() }),
    reply: z.object({}),
    deadlineMs: 60_000,
    deadline: "Over",
    signals: { came: z.object({ pieces: z.number() }), shut: z.object({}) },
    chart: { Open: { Came: stay, Over: "Shut" }, Shut: end },
    data: ({ shelf }) => ({ shelf, pieces: 0 }),
  },
  {
    Open: (s) =>
      s.wait({
        on: { came: ({ pieces }, more) => s.raise("Came", { pieces: pieces + more.pieces }), shut: "Over" },
      }),
    Shut: () => ({}),
  },
);

export const closed = hub(
  "closed",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 1_000,
    chart: { Closing: { Closed: "Shut" }, Shut: end },
    data: () => ({}),
  },
  { Closing: "Closed", Shut: () => ({}) },
);

export const opening = hub(
  "opening",
  {
    request: z.object({ shelf: z.string(), pieces: z.number() }),
    reply: z.object({}),
    deadlineMs: 1_000,
    chart: {
      Starting: { Started: "Filling" },
      Filling: { Filled: "Mailing" },
      Mailing: { Mailed: "Opened" },
      Opened: end,
    },
    data: ({ shelf, pieces }) => ({ shelf, pieces }),
  },
  {
    Starting: (s) =>
      s.start(stock, {
        input: ({ shelf }) => ({ shelf }),
        key: ({ shelf }) => `of ${shelf}`,
        next: "Started",
      }),
    Filling: (s) =>
      s.signalRun(stock, {
        id: ({ shelf }) => `of ${shelf}`,
        signal: "came",
        payload: ({ pieces }) => ({ pieces }),
        next: "Filled",
      }),
    Mailing: (s) => s.tell(mail, { input: ({ shelf }) => ({ text: `to ${shelf}` }), next: "Mailed" }),
    Opened: () => ({}),
  },
);

export const reopening = hubByHandlers(
  "reopening",
  {
    request: z.object({ place: z.string(), count: z.number() }),
    reply: z.object({}),
    deadlineMs: 1_000,
    cleanUpMs: 300,
    calls: [mail, stock],
    data: ({ place, count }) => ({ place, count }),
  },
  {
    request: (s) => {
      const { place, count } = s.data;
      s.tell(mail, { text: place });
      s.start(stock, { shelf: place }, { key: `again ${place}` });
      s.signalRun(stock, `again ${place}`, "came", { pieces: count });
      s.start("opening", { shelf: place, pieces: count });
      s.reply({});
    },
    response: () => {},
    timeout: (s) => s.reply({}),
  },
);

// ---- a hub that has turns, parts and an answer before its end ----

const quote = spoke("quote", {
  input: z.object({ sku: z.string(), buyer: z.string() }),
  output: z.object({ price: z.number() }),
  errors: ["unknown", "busy"],
  timeoutMs: 60_000,
  heartbeatMs: 5_000,
  abandonAfterMs: 900_000,
  limit: { concurrent: 2, perSecond: 50, burst: 5, by: ({ buyer }) => buyer },
  retry: {
    attempts: 3,
    backoffMs: 100,
    giveUpOn: ["unknown", "WW_INVALID_OUTPUT"],
    on: { busy: { attempts: "unlimited", backoffMs: 1_000 }, WW_TIMEOUT: { attempts: 2 } },
  },
});
const freight = spoke("freight", {
  input: z.object({ weight: z.number() }),
  output: z.object({ lorry: z.string() }),
  timeoutMs: 2_000,
});
export const quoter = worker(quote, (_input, ctx) => {
  ctx.progress({ asked: ctx.lastProgress === undefined ? 1 : 2 });
  return { price: ctx.fence ?? 0 };
});

export const purchase = hub(
  "purchase",
  {
    request: z.object({ sku: z.string(), buyer: z.string(), urgent: z.boolean() }),
    reply: z.object({ price: z.number() }),
    errors: ["not-bought"],
    deadlineMs: 10_000,
    exclusive: {
      lane: "purchases",
      by: ({ buyer }) => buyer,
      slots: 2,
      whenBusy: ({ urgent }) => (urgent ? "refuse" : "queue"),
      queueMs: 60_000,
      queueLimit: 100,
    },
    labels: ({ buyer, sku }) => ({ buyer, sku: sku === "" ? undefined : sku }),
    secret: ["buyer"],
    cancel: "Shut",
    signals: { said: z.object({ text: z.string(), loud: z.boolean() }), rest: z.object({}) },
    dropSignals: ["rest"],
    chart: {
      Asking: {
        Priced: stay,
        Weighed: stay,
        Said: stay,
        Asked: "Answering",
        NotAsked: "Failed",
        GivenUp: "Failed",
      },
      Answering: { Answered: "Moving" },
      Moving: { Moved: stay, Said: stay, AllMoved: "Serving", Broken: "Serving" },
      Serving: { Said: stay, Rested: "Serving", Shut: "Shut" },
      Shut: end,
      Failed: end,
    },
    data: ({ sku, buyer }) => ({ sku, buyer, price: 0, slow: false, said: [] as string[] }),
    deadline: { raise: "GivenUp", patch: ({ said }, open) => ({ said: [...said, `${open.length} open`] }) },
  },
  {
    Asking: (s) =>
      s.all(
        {
          price: s.part(quote, {
            input: ({ sku, buyer }) => ({ sku, buyer }),
            ok: (_data, { price }) => s.raise("Priced", { price }, { close: ["lorry"] }),
            error: (_data, { code }) => (code === "unknown" ? "NotAsked" : "Priced"),
          }),
          lorry: s.part(freight, {
            input: ({ price }) => (price > 5 ? { weight: price } : null),
            ok: ({ said }, { lorry }, { tag }) => s.raise("Weighed", { said: [...said, `${tag} ${lorry}`] }),
          }),
        },
        { failed: "NotAsked", done: ({ price }) => (price > 0 ? "Asked" : "NotAsked") },
      ),
    Answering: (s) => s.answer(({ price }) => ({ price }), { next: "Answered" }),
    Moving: (s) =>
      s.each(freight, {
        inputs: ({ price }) => [{ weight: price }],
        limit: ({ slow }) => (slow ? 0 : 10),
        on: { said: ({ said }, { text, loud }) => s.raise("Said", { slow: loud, said: [...said, text] }) },
        after: {
          Said: (data, { enteredAt, now }) => (data.slow ? null : now - enteredAt + 1_000),
          Broken: 60_000,
        },
        settled: "Moved",
        done: "AllMoved",
      }),
    Serving: (s) => s.wait({ idle: true, on: { said: "Said", rest: "Rested" } }),
    Shut: answered,
    Failed: ({ said }, s) => s.fail("not-bought", said.join(", ")),
  },
);

export async function buyers(from: Engine, startAt: number): Promise<number> {
  const wanted = { sku: "1", buyer: "2", urgent: true };
  const { id } = await from.submit(purchase, wanted, { key: "p1", startAt, priority: 2 });
  const bought = from.run(purchase, id);
  await bought.signal("said", { text: "hello", loud: false }, { commandId: "c1" });
  for await (const { answer } of bought.watch({ until: "end" }))
    if (answer?.kind === "result") return answer.value.price;
  const pending = await from.requests({ status: "pending", labels: { buyer: "2" } });
  return pending.items.length;
}

// ---- callers ----

export async function callers(engine: Engine): Promise<number> {
  const answer = await engine.call(order, { number: "1", card: "2", skus: ["3"] }, { key: "order 1" });
  if (answer.kind === "error" && answer.code === "refused") return 0;
  await engine.submit(errand, { text: "hello" });
  return answer.kind === "result" ? answer.value.cents : 0;
}

export const nightly = schedule("nightly", {
  cron: "30 2 * * *",
  timeZone: "Europe/Berlin",
  catchUp: "all",
  hub: errand,
  request: ({ at, kind }) => ({ text: `${kind} ${new Date(at).toISOString()}` }),
});

export const often = schedule("often", {
  everyMs: 60_000,
  jitterMs: 5_000,
  hub: order,
  request: (tick) => ({ number: String(tick.at), card: "2", skus: ["4"] }),
});

export const engine = (path: string) =>
  createEngine({ store: path, hubs: [order, errand], workers, schedules: [nightly, often] });
