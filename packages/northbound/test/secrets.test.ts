import { end, hub, spoke, type AnyHub } from "@wheelwork/core";
import { createEngine, createMetrics, worker, type Logger, type Worker } from "@wheelwork/engine";
import { toSvg } from "@wheelwork/diagram";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { northbound } from "../src/index.ts";
import { createToken } from "../src/tokens.ts";
import { directory } from "./system.ts";

const card = "4111-1111-1111-1111";
/** More digits than a time has, so that no text has them by chance. */
const pin = 987_654_321_987_654;

const charge = spoke("charge", {
  input: z.object({ card: z.string(), amount: z.number() }),
  output: z.object({ receipt: z.string(), card: z.string() }),
  errors: ["declined"],
  timeoutMs: 10_000,
});

/** Charges a card, waits for a signal, and answers with the card. Amount 1: declined; 2: the worker throws; 3: a handler does. */
const pay = hub(
  "pay",
  {
    request: z.object({
      payment: z.object({
        card: z
          .string()
          .refine((text) => text !== "bad", { error: ({ input }) => `is not ${String(input)}` }),
      }),
      amount: z.number(),
    }),
    reply: z.object({ receipt: z.string(), card: z.string() }),
    errors: ["declined"],
    deadlineMs: 60_000,
    signals: { confirm: z.object({ pin: z.number() }) },
    secret: ["card", "pin"],
    chart: {
      Charging: { Charged: "Waiting", Declined: "Failed" },
      Waiting: { Confirmed: "Done", Late: "Done" },
      Done: end,
      Failed: end,
    },
    data: ({ payment, amount }) => ({ card: payment.card, amount, receipt: "", why: "" }),
    view: ({ card: shown, receipt }) => ({ card: shown, receipt }),
  },
  {
    Charging: (s) =>
      s.call(charge, {
        input: (data) => ({ card: data.card, amount: data.amount }),
        ok: (_data, { receipt }) => s.raise("Charged", { receipt }),
        failed: (_data, failure) =>
          s.raise("Declined", { why: failure.kind === "error" ? failure.message : "" }),
        deadline: "Declined",
      }),
    Waiting: (s) => s.wait({ on: { confirm: "Confirmed" }, deadline: "Late" }),
    Done: (data) => {
      if (data.amount === 3) throw new Error(`the card ${data.card} broke the handler`);
      return { receipt: data.receipt, card: data.card };
    },
    Failed: (data, s) => s.fail("declined", data.why),
  },
);

const charger = worker(charge, ({ card: given, amount }, ctx) => {
  if (amount === 1) return ctx.fail("declined", `the card ${given} is declined`);
  if (amount === 2) throw new Error(`no connection for ${given}`);
  return Promise.resolve({ receipt: "r1", card: given });
});

const system = () => served(pay, [charger]);

async function served(of: AnyHub, workers: readonly Worker[]) {
  const logged: string[] = [];
  const observed: string[] = [];
  const log = (fields: object, message?: string): void =>
    void logged.push(
      JSON.stringify(fields, (_key, value: unknown) =>
        value instanceof Error ? { ...value, message: value.message, stack: value.stack } : value,
      ) + message,
    );
  const logger: Logger = { debug: log, info: log, warn: log, error: log };
  const folder = directory();
  const metrics = createMetrics();
  const engine = createEngine({
    hubs: [of],
    workers,
    store: join(folder, "pay.db"),
    durability: "normal",
    logger,
    observe: (event) => {
      observed.push(JSON.stringify(event));
      metrics.observe(event);
    },
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  const file = join(folder, "tokens.json");
  const [auditor = "", payer = ""] = [
    createToken(file, { name: "auditor", grants: ["admin", "payloads"] }),
    createToken(file, { name: "payer", grants: [`submitter:${of.name}`] }),
  ].map(({ token }) => `Bearer ${token}`);
  const app = await northbound({
    engine,
    routes: [{ method: "POST", path: "/payments", hub: of }],
    access: { tokens: file },
    metrics,
    diagram: (of, history) => toSvg(of, { history }),
    logger,
  });
  onTestFinished(() => app.close());
  const send = async (method: "GET" | "POST", url: string, who: string, payload?: object) =>
    app.inject({
      method,
      url,
      headers: {
        authorization: who,
        "content-type": "application/json",
        "last-event-id": "0",
      },
      ...(payload === undefined ? {} : { payload }),
    });
  return { engine, logged, observed, send, auditor, payer };
}

test("secrets of a hub are in no view, history, stream, problem, diagram, figure or log, whoever looks", async () => {
  const { engine, logged, observed, send, auditor, payer } = await system();
  const submit = (amount: number) =>
    engine.submit("pay", { payment: { card }, amount }, { key: `k${amount}` });
  const reaches = async (key: string, state: string): Promise<void> => {
    await expect.poll(async () => (await engine.request(key)).state).toBe(state);
  };
  for (const amount of [1, 2]) await submit(amount);
  for (const key of ["k1", "k2"]) await reaches(key, "Failed");
  for (const amount of [3, 4]) {
    await submit(amount);
    await reaches(`k${amount}`, "Waiting");
    await engine.signal(`k${amount}`, "confirm", { pin });
  }
  await expect.poll(async () => (await engine.request("k3")).status).toBe("incident");
  await reaches("k4", "Done");
  const ids = ["k1", "k2", "k3", "k4"];
  const looks = ids.flatMap((id) => [
    `/requests/${id}`,
    `/requests/${id}/history`,
    `/requests/${id}/diagram.svg`,
    ...(id === "k3" ? [] : [`/requests/${id}/answer`, `/requests/${id}/updates`]),
  ]);
  let hidden = 0;
  for (const url of [...looks, "/requests", "/metrics", "/audit"]) {
    const { body } = await send("GET", url, auditor);
    expect([url, body.includes(card), body.includes(`${pin}`)]).toEqual([url, false, false]);
    if (body.includes("[secret]")) hidden++;
  }
  expect(hidden).toBeGreaterThan(10);
  // A search cannot guess it either; what is no secret is found.
  const found = async (query: string): Promise<number> =>
    (await send("GET", `/requests?${query}`, auditor)).json().requests.length;
  expect(await found(`text=${card}`)).toBe(0);
  expect(await found(`text=${card.slice(0, 6)}`)).toBe(0);
  expect(await found(`value=request.payment.card=${card}`)).toBe(0);
  expect(await found("value=request.amount=4")).toBe(1);
  const ended = await send("POST", "/requests/k4/cancel", auditor);
  expect([ended.statusCode, ended.body.includes(card)]).toEqual([409, false]);
  const text = (await send("GET", "/requests/k1/history", auditor)).body;
  expect(text).toContain("the card [secret] is declined");
  // No hash of what was sent, either: a short secret can be guessed with it.
  const hashes = (await engine.history("k4")).flatMap((event) =>
    "hash" in event && event.hash !== undefined ? [event.hash] : [],
  );
  expect(hashes.length).toBeGreaterThan(0);
  const ofK4 = (await send("GET", "/requests/k4/history", auditor)).body;
  for (const hash of hashes) expect(ofK4).not.toContain(hash);
  expect(logged.join("\n")).toMatch(/no connection for \[secret\][^]*the card \[secret\] broke the handler/);
  // Nor do figures and traces, whose spans have the messages of failures and of answers.
  expect(observed.join("\n")).toMatch(/"kind":"answer".*the card \[secret\] is declined/);
  expect([...logged, ...observed].join("\n")).not.toMatch(new RegExp(`${card}|${pin}`));
  // The stored history repeats none of it in its failures, either.
  const failures = (await engine.history("k2")).filter(({ type }) => type === "settled" || type === "failed");
  expect(failures.length).toBeGreaterThan(0);
  expect(JSON.stringify(failures)).not.toContain(card);
  // Who has sent it gets its answer, as the hub has given it.
  expect((await send("GET", "/requests/k4/answer", payer)).json()).toMatchObject({ receipt: "r1", card });
  expect((await send("GET", "/requests/k4", payer)).body).not.toContain(card);
});

const receipt = spoke("print-receipt", {
  input: z.object({ card: z.string() }),
  output: z.object({}),
  timeoutMs: 10_000,
});
const check = spoke("check", {
  input: z.object({}),
  output: z.object({
    card: z.string().refine(() => false, { error: ({ input }) => `knows no ${String(input)}` }),
  }),
  timeoutMs: 10_000,
});

/** Tells a worker of the card that throws, and asks one for a card that gives an invalid one. */
const order = hub(
  "order",
  {
    request: z.object({ card: z.string() }),
    reply: z.object({}),
    errors: ["refused"],
    deadlineMs: 60_000,
    signals: { confirm: z.object({ card: z.string() }) },
    secret: ["card"],
    chart: {
      Telling: { Told: "Asking" },
      Asking: { Asked: "Done", Failed: "Failed" },
      Done: end,
      Failed: end,
    },
    data: (request) => request,
  },
  {
    Telling: (s) => s.tell(receipt, { input: (data) => data, next: "Told" }),
    Asking: (s) => s.call(check, { input: () => ({}), ok: "Asked", failed: "Failed", deadline: "Failed" }),
    Done: () => ({}),
    Failed: (_data, s) => s.fail("refused", "it is not valid"),
  },
);

test("what built-in runs hold for a hub is as secret there: tells, bulks, and outputs that are not valid", async () => {
  const answered = "5500-0000-0000-0004";
  const { engine, logged, observed, send, auditor } = await served(order, [
    worker(receipt, ({ card: given }) => {
      throw new Error(`no paper for ${given}`);
    }),
    worker(check, () => Promise.resolve({ card: answered })),
  ]);
  await engine.submit("order", { card }, { key: "k" });
  await expect.poll(async () => (await engine.request("k")).status).toBe("ended");
  const lost = async (query: string): Promise<readonly { readonly id: string }[]> =>
    (await send("GET", `/requests?status=lost&${query}`, auditor)).json().requests;
  await expect.poll(async () => (await lost("")).length).toBe(1);
  const bulk = await engine.startBulk(
    { kind: "signal", name: "confirm", payload: { card } },
    { hub: "order", status: "running" },
    { key: "b" },
  );
  const [told] = await lost("");
  const texts = await Promise.all(
    [`/requests/${encodeURIComponent(told!.id)}`, "/requests/k", `/requests/bulk%3A${bulk.id}`]
      .flatMap((url) => [url, `${url}/history`])
      .map(async (url) => (await send("GET", url, auditor)).body),
  );
  for (const text of [...texts, ...logged, ...observed])
    expect(text).not.toMatch(new RegExp(`${card}|${answered}`));
  // It was about them: the worker's failure, the tell that is lost, and the output.
  expect(logged.join("\n")).toMatch(/no paper for \[secret\]/);
  expect(logged.join("\n")).toMatch(/knows no \[secret\][^]*is not valid/);
  expect(observed.join("\n")).toMatch(/tell-lost.*no paper for \[secret\]/);
  expect(texts[1]).toContain("no paper for [secret]");
  // What is stored of the failures repeats none of it, so that the list of what is lost has none either.
  const failures = (await engine.history(told!.id)).filter(
    ({ type }) => type === "settled" || type === "failed",
  );
  expect(failures.length).toBeGreaterThan(0);
  expect(JSON.stringify(failures)).not.toContain(card);
  // A search cannot guess it.
  expect(await lost(`text=${card.slice(0, 6)}`)).toEqual([]);
  expect(await lost(`value=request.input.card=${card}`)).toEqual([]);
  expect(await lost("text=input")).toHaveLength(1);
  const bulks = async (text: string): Promise<number> =>
    (await send("GET", `/requests?hub=bulk:&text=${text}`, auditor)).json().requests.length;
  expect([await bulks(card.slice(0, 6)), await bulks("confirm")]).toEqual([0, 1]);
});

test("problems of what is refused repeat no secret", async () => {
  const { engine, send, payer, auditor } = await system();
  const refused = await send("POST", "/payments", payer, { payment: { card: "bad" }, amount: 1 });
  expect(refused.json().problems).toEqual([{ path: "payment.card", message: "is not bad" }]);
  const longer = await send("POST", "/payments", payer, { payment: { card: 41_111_111 }, amount: "x" });
  expect(longer.statusCode).toBe(400);
  expect(longer.body).not.toContain("41111111");
  await engine.submit("pay", { payment: { card }, amount: 3 }, { key: "k" });
  const signal = await send("POST", "/requests/k/signals/confirm", auditor, { pin: `${pin}` });
  expect(signal.statusCode).toBe(400);
  expect(signal.body).not.toContain(`${pin}`);
});

test("a path names a field of another one, and names that are none are refused", async () => {
  const options = {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 1000,
    chart: { Done: end },
    data: () => ({}),
  } as const;
  for (const secret of [[""], ["a."], [".a"], ["a..b"]])
    expect(() => hub("h", { ...options, secret }, { Done: () => ({}) })).toThrow(
      /secret\[0\]: must be the name of a field/,
    );
  const paths = hub("h", { ...options, secret: ["a.b", "c"] }, { Done: () => ({}) }).definition.secrets;
  expect(paths).toEqual([["a", "b"], ["c"]]);
});
