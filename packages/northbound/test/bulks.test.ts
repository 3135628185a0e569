import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createToken } from "../src/tokens.ts";
import { directory, faults, system } from "./system.ts";

async function open(options: Parameters<typeof system>[0] = {}, token?: string) {
  const { app, engine } = await system(options);
  const sign = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const ask = async (url: string, as: object = sign) => {
    const response = await app.inject({ url, headers: { ...as } });
    return { status: response.statusCode, body: response.json() };
  };
  const post = async (url: string, payload?: unknown, more: object = {}) => {
    const response = await app.inject({
      method: "POST",
      url,
      headers: { "content-type": "application/json", ...sign, ...more },
      ...(payload === undefined ? {} : { payload: JSON.stringify(payload) }),
    });
    return { status: response.statusCode, body: response.json(), headers: response.headers };
  };
  return { app, engine, ask, post };
}

const schemas = async (app: Awaited<ReturnType<typeof open>>["app"]) => {
  const document = (await app.inject({ url: "/openapi.json" })).json();
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  ajv.addSchema(document, "api");
  return (schema: string, body: unknown): void => {
    const check = ajv.compile({ $ref: `api#/components/schemas/${schema}` });
    expect(check(body), ajv.errorsText(check.errors)).toBe(true);
  };
};

test("a bulk is previewed, given, followed and listed, as the document says", async () => {
  const { app, engine, ask, post } = await open();
  const demand = await schemas(app);
  for (const key of ["a", "b", "c"]) await engine.submit("approval", { subject: key }, { key });
  await engine.submit("plain", {}, { key: "other" });
  const where = "hub=approval&status=running&createdTo=2100-01-01T00:00:00Z";
  const preview = await post(`/bulks/cancel?${where}&dryRun=true`);
  expect(preview).toMatchObject({ status: 200, body: { count: 3 } });
  demand("Counts", preview.body);
  const key = { "idempotency-key": "once" };
  const given = await post(`/bulks/cancel?${where}`, undefined, key);
  expect(given.status).toBe(202);
  demand("Bulk", given.body);
  const { id } = given.body;
  expect(given.headers["location"]).toBe(`/bulks/${id}`);
  await engine.answer(`bulk:${id}`);
  const { body } = await ask(`/bulks/${id}`);
  expect(body).toMatchObject({
    requestId: `bulk:${id}`,
    command: { kind: "cancel" },
    filter: { hub: ["approval"], status: ["running"], createdTo: "2100-01-01T00:00:00.000Z" },
    status: "done",
    matched: 3,
    done: 3,
    gone: 0,
    refused: {},
  });
  demand("Bulk", body);
  expect((await engine.request("other")).status).toBe("running");
  // The same key is the same bulk, and no other one.
  expect((await post(`/bulks/cancel?${where}`, undefined, key)).body.id).toBe(id);
  expect((await post("/bulks/cancel?hub=plain", undefined, key)).body.code).toBe("WW_KEY_REUSED");
  const items = await ask(`/bulks/${id}/items?limit=1000`);
  demand("BulkItems", items.body);
  expect(items.body.cursor).toBeUndefined();
  expect(
    items.body.items.map((item: { id: string; outcome: string }) => `${item.id} ${item.outcome}`),
  ).toEqual(["a done", "b done", "c done"]);
  const list = await ask("/bulks");
  demand("Bulks", list.body);
  expect(list.body.bulks).toEqual([body]);
});

test("signals, retries and resolves of all that a filter means, and commands to a bulk", async () => {
  const { engine, ask, post } = await open();
  faults.broken = true;
  for (const key of ["x", "y"]) await engine.submit("faulty", {}, { key });
  await engine.submit("sum", {}, { key: "adds" });
  await expect.poll(() => engine.count({ status: "incident" })).toBe(2);
  const ended = async (id: string) => {
    await engine.answer(`bulk:${id}`);
    return (await ask(`/bulks/${id}`)).body;
  };
  const signal = await post("/bulks/signals/add?hub=sum", { amount: 7 });
  expect(await ended(signal.body.id)).toMatchObject({ command: { kind: "signal", name: "add" }, done: 1 });
  expect((await engine.request("adds")).data).toEqual({ total: 7 });
  const retry = await post("/bulks/retry?hub=faulty");
  expect(await ended(retry.body.id)).toMatchObject({ done: 2 });
  const resolve = await post("/bulks/resolve?hub=faulty", { message: "given up" });
  expect(await ended(resolve.body.id)).toMatchObject({ command: { message: "given up" }, done: 2 });
  expect(await engine.answer("x")).toMatchObject({ code: "WW_INCIDENT" });
  const { id } = (await post("/bulks/cancel?hub=sum")).body;
  expect(await ended(id)).toMatchObject({ status: "done" });
  for (const command of ["pause", "resume", "cancel"])
    expect(await post(`/bulks/${id}/${command}`)).toMatchObject({
      status: 202,
      body: { id, status: "done" },
    });
});

test("what cannot be meant is refused with every problem", async () => {
  const { ask, post } = await open();
  const refused: readonly [string, unknown, number, string][] = [
    ["/bulks/cancel", undefined, 400, "WW_INVALID_REQUEST"],
    ["/bulks/cancel?status=ended", undefined, 400, "WW_INVALID_REQUEST"],
    ["/bulks/cancel?hubs=approval", undefined, 400, "WW_INVALID_REQUEST"],
    ["/bulks/retry?status=running", undefined, 400, "WW_INVALID_REQUEST"],
    ["/bulks/resolve?hub=approval", {}, 400, "WW_INVALID_REQUEST"],
    ["/bulks/signals/none?hub=approval", null, 404, "WW_SIGNAL_UNKNOWN"],
    ["/bulks/signals/approve?hub=approval&dryRun=true", { by: 4 }, 400, "WW_INVALID_INPUT"],
    ["/bulks/none/pause", undefined, 404, "WW_NOT_FOUND"],
  ];
  for (const [url, body, status, code] of refused)
    expect(await post(url, body), url).toMatchObject({ status, body: { code } });
  expect((await ask("/bulks/none")).body.code).toBe("WW_NOT_FOUND");
  expect((await ask("/bulks/none/items")).body.code).toBe("WW_NOT_FOUND");
  expect((await ask("/bulks?cursor=x")).status).toBe(400);
});

test("who gives a bulk is known of it, of each request and in the audit list; who sees no payloads sees none", async () => {
  const file = join(directory(), "tokens.json");
  const { token } = createToken(file, { name: "ann", grants: ["operator"] });
  const { token: auditor } = createToken(file, { name: "eve", grants: ["reader", "payloads"] });
  const { engine, ask, post } = await open({ access: { tokens: file } }, token);
  faults.broken = true;
  await engine.submit("faulty", {}, { key: "x" });
  await engine.submit("approval", { subject: "s" }, { key: "a" });
  await expect.poll(() => engine.count({ status: "incident" })).toBe(1);
  const { id } = (await post("/bulks/resolve?hub=faulty", { message: "a-payload" })).body;
  await engine.answer(`bulk:${id}`);
  const shown = (await ask(`/bulks/${id}`)).body;
  expect(shown).toMatchObject({ by: "token:ann", command: { kind: "resolve" } });
  expect(JSON.stringify(shown)).not.toContain("a-payload");
  const asAuditor = { authorization: `Bearer ${auditor}` };
  expect((await ask(`/bulks/${id}`, asAuditor)).body.command.message).toBe("a-payload");
  const signal = (await post("/bulks/signals/approve?hub=approval", { by: "a-payload" })).body;
  await engine.answer(`bulk:${signal.id}`);
  for (const url of [
    `/bulks/${signal.id}`,
    "/bulks",
    `/bulks/${signal.id}/items`,
    `/requests/bulk%3A${signal.id}`,
  ])
    expect(JSON.stringify((await ask(url)).body), url).not.toContain("a-payload");
  const { items } = await engine.audit();
  expect(items.map(({ by, command, id: of }) => `${by} ${command} ${of}`)).toEqual([
    "token:ann signal a",
    `token:ann submit bulk:${signal.id}`,
    "token:ann resolve x",
    `token:ann submit bulk:${id}`,
  ]);
});
