import { end, hub } from "@wheelwork/core";
import { createEngine, silentLogger } from "@wheelwork/engine";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { northbound } from "../src/index.ts";
import { createToken } from "../src/tokens.ts";
import { directory } from "./system.ts";

const order = hub(
  "order",
  {
    request: z.object({ card: z.string(), item: z.string() }),
    reply: z.object({ item: z.string() }),
    deadlineMs: 60_000,
    secret: ["card"],
    signals: { pay: z.object({ card: z.string(), note: z.string() }) },
    chart: { Waiting: { Paid: "Done", Late: "Done" }, Done: end },
    data: (request) => ({ ...request, note: "" }),
  },
  {
    Waiting: (s) =>
      s.wait({ on: { pay: (_data, { card, note }) => s.raise("Paid", { card, note }) }, deadline: "Late" }),
    Done: ({ item }) => ({ item }),
  },
);

async function open() {
  const made = directory();
  const tokens = join(made, "tokens.json");
  const tokenOf = Object.fromEntries(
    (
      [
        ["reader", ["reader", "payloads"]],
        ["operator", ["operator"]],
        ["auditor", ["operator", "payloads"]],
      ] as const
    ).map(([name, grants]) => [name, createToken(tokens, { name, grants }).token]),
  );
  const engine = createEngine({
    hubs: [order],
    workers: [],
    store: join(made, "engine.db"),
    durability: "normal",
    logger: silentLogger,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  const app = await northbound({ engine, routes: [], access: { tokens }, logger: silentLogger });
  onTestFinished(() => app.close());
  await engine.submit(order, { card: "gold-card", item: "book" }, { key: "o" });
  const ask = async (who: string, payload: unknown, id = "o") => {
    const response = await app.inject({
      method: "POST",
      url: `/requests/${id}/what-if`,
      headers: { "content-type": "application/json", authorization: `Bearer ${tokenOf[who]}` },
      payload: JSON.stringify(payload),
    });
    return { status: response.statusCode, body: response.json(), text: response.body };
  };
  return { app, engine, ask, tokenOf };
}

const pay = { kind: "signal", name: "pay", payload: { card: "gold-card-2", note: "a-payload" } };

test("who may do something may suppose it, and sees as much of it as of the request", async () => {
  const { app, engine, ask, tokenOf } = await open();
  expect(await ask("reader", pay)).toMatchObject({ status: 403, body: { code: "WW_FORBIDDEN" } });
  const auditor = await ask("auditor", pay);
  expect(auditor).toMatchObject({
    status: 200,
    body: {
      events: [
        { type: "signalled", payload: { card: "[secret]", note: "a-payload" } },
        { type: "entered", state: "Done", by: "Paid", patch: { card: "[secret]", note: "a-payload" } },
        { type: "ended", answer: { kind: "result", value: { item: "book" } } },
      ],
      request: { id: "o", status: "ended", state: "Done", request: { card: "[secret]", item: "book" } },
    },
  });
  expect(auditor.text).not.toMatch(/gold-card/);
  const operator = await ask("operator", pay);
  expect(operator.body.events.map(({ type }: { type: string }) => type)).toEqual([
    "signalled",
    "entered",
    "ended",
  ]);
  expect(operator.text).not.toMatch(/gold-card|a-payload|book/);
  const document = await app.inject({
    url: "/openapi.json",
    headers: { authorization: `Bearer ${tokenOf["reader"]}` },
  });
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  ajv.addSchema(document.json(), "api");
  const check = ajv.compile({ $ref: "api#/components/schemas/WhatIf" });
  for (const { body } of [auditor, operator, await ask("auditor", { kind: "time", until: "deadline" })])
    expect(check(body), ajv.errorsText(check.errors)).toBe(true);
  expect((await engine.request("o")).status).toBe("running");
  expect((await engine.audit()).items).toEqual([]);
});

test("what cannot be supposed is refused with every problem, and without secrets", async () => {
  const { ask } = await open();
  const refused: readonly [unknown, number, string][] = [
    [{ kind: "stop" }, 400, "WW_INVALID_REQUEST"],
    [{ kind: "cancel", name: "x" }, 400, "WW_INVALID_REQUEST"],
    [{ kind: "signal" }, 400, "WW_INVALID_REQUEST"],
    [{ kind: "outcome", call: 0, outcome: { kind: "timeout" } }, 400, "WW_INVALID_INPUT"],
    [{ kind: "time", until: "soon" }, 400, "WW_INVALID_REQUEST"],
    [{ kind: "signal", name: "none" }, 404, "WW_SIGNAL_UNKNOWN"],
    [{ kind: "signal", name: "pay", payload: { card: 4000, note: "x" } }, 400, "WW_INVALID_INPUT"],
  ];
  for (const [body, status, code] of refused)
    expect(await ask("auditor", body), JSON.stringify(body)).toMatchObject({ status, body: { code } });
  expect(await ask("auditor", { kind: "cancel" }, "none")).toMatchObject({ status: 404 });
});
