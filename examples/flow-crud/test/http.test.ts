import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { openFlowCrud } from "../src/application.ts";
import { serveFlowCrud } from "../src/http.ts";

async function serve() {
  const dataDir = mkdtempSync(join(tmpdir(), "flow-crud-http-"));
  // A machine that stands still for a moment makes nothing late.
  const flow = { workerTimeoutMs: 500, deadlineMs: 2500 };
  const system = await openFlowCrud({ dataDir, durability: "normal", flow });
  const server = await serveFlowCrud(system);
  onTestFinished(async () => {
    await server.close();
    await system.close();
    rmSync(dataDir, { recursive: true });
  });
  const post = (payload: object, headers: Record<string, string> = {}) =>
    server.inject({ method: "POST", url: "/flow", payload, headers });
  const get = (url: string) => server.inject({ method: "GET", url });
  return { system, server, post, get };
}

test("the proof of concept's four requests over HTTP, as JSON and as the proof of concept's text", async () => {
  const { post, get } = await serve();
  const flow = { flowid: "test-01", length: 10 };
  const expected = [
    [null, 200, undefined, "all operation is successful"],
    [0, 504, "hub-timeout", "error in hub by timeout"],
    [1, 502, "worker-error", "error in worker on rule install"],
    [2, 502, "worker-error", "error in worker on rule install"],
  ] as const;
  for (const [error, status, code, text] of expected) {
    const [json, plain] = await Promise.all([
      post({ ...flow, error }),
      post({ ...flow, error }, { accept: "text/plain" }),
    ]);
    expect([json.statusCode, plain.statusCode]).toEqual([status, status]);
    expect(plain.body).toBe(text);
    const body = json.json<Record<string, unknown>>();
    expect(body["message"] ?? body["detail"]).toBe(text);
    expect(body["code"]).toBe(code);
    expect(body["requestId"]).toMatch(/^[0-9a-f]{32}$/);
  }
  expect((await get("/switches/rules?flowid=test-01")).json<object>()).toMatchObject({ count: 20 });
  expect((await get("/switches/rules")).json<object>()).toMatchObject({ count: 20 });
  expect((await get("/switches/rules?flowid=test-02")).json<object>()).toEqual({ count: 0, rules: [] });
  type Page = { count: number; rules: { cookie: string; ruleid: number }[]; cursor?: string };
  const seen: string[] = [];
  for (let cursor = ""; ;) {
    const page: Page = (await get(`/switches/rules?limit=7${cursor}`)).json();
    expect(page.count).toBe(20);
    expect(page.rules.length).toBeLessThanOrEqual(7);
    seen.push(...page.rules.map(({ cookie, ruleid }) => `${cookie}-${ruleid}`));
    if (page.cursor === undefined) break;
    cursor = `&cursor=${page.cursor}`;
  }
  expect(seen).toHaveLength(20);
  expect(new Set(seen).size).toBe(20);
  expect((await get("/switches/rules?flowid=test-01&limit=3")).json<Page>().rules).toHaveLength(3);
  expect((await get("/flow/test-01")).json<object>()).toMatchObject({
    flowid: "test-01",
    state: "UP",
    rules: 10,
  });
});

test("what is looked for and not there, or asked for wrongly, is told", async () => {
  const { get, post } = await serve();
  const missing = await get("/flow/none");
  expect([missing.statusCode, missing.json<{ code: string }>().code]).toEqual([404, "flow-unknown"]);
  expect((await get("/switches/rules?flow=x")).statusCode).toBe(400);
  const invalid = await post({ flowid: "", length: 0, error: 3, colour: "red" });
  expect(invalid.statusCode).toBe(400);
  expect(invalid.json<{ problems: unknown[] }>().problems).toHaveLength(4);
});

test("a flow moves when a link is cut, and what a switch owes outlives its removal", async () => {
  const { server, system, get } = await serve();
  const send = (method: "POST" | "DELETE", url: string, payload?: object) =>
    server.inject({ method, url, ...(payload === undefined ? {} : { payload }) });
  const status = async (): Promise<unknown> => (await get("/v2/flows/f")).json<{ status: string }>().status;
  const hops = async (): Promise<number> =>
    (await get("/v1/flows/f/path")).json<{ flowpath_forward: unknown[] }>().flowpath_forward.length;
  const end = (number: number) => ({
    switch_id: `00:00:00:00:00:00:00:0${number}`,
    port_number: 1,
    vlan_id: 10,
  });
  const body = { flow_id: "f", source: end(1), destination: end(3), maximum_bandwidth: 1000 };
  expect((await send("POST", "/v2/flows", body)).statusCode).toBe(200);
  expect([await status(), await hops()]).toEqual(["Up", 3]);
  expect((await send("POST", "/network/links/1-2", { up: false })).statusCode).toBe(200);
  // The other way round the ring of eight.
  await expect.poll(hops).toBe(7);
  await expect.poll(status).toBe("Up");
  system.simulated?.off(7);
  const deleted = await send("DELETE", "/v2/flows/f");
  expect(deleted.statusCode).toBe(200);
  expect(deleted.body).toContain("unconfirmed");
  expect((await get("/network/unconfirmed")).json<{ count: number }>().count).toBe(2);
  system.simulated?.on(7);
  await expect.poll(async () => (await get("/network/unconfirmed")).json<{ count: number }>().count).toBe(0);
  expect(system.simulated?.flows(7)).toHaveLength(1);
});

test("a request can be drawn, and the interface is described", async () => {
  const { get, post } = await serve();
  const { requestId } = (await post({ flowid: "f", length: 1 })).json<{ requestId: string }>();
  const drawn = await get(`/requests/${requestId}/diagram.svg`);
  expect(drawn.headers["content-type"]).toContain("image/svg+xml");
  expect(drawn.body).toContain("ValidatingRules");
  const { paths } = (await get("/openapi.json")).json<{ paths: Record<string, object> }>();
  expect(Object.keys(paths)).toEqual(expect.arrayContaining(["/flow", "/flow/{flowid}", "/switches/rules"]));
  expect(JSON.stringify(paths["/flow"])).toContain('"maximum":10000');
});

test("`npm run requests` prints the four answers", async () => {
  const { server } = await serve();
  const url = await server.listen({ port: 0, host: "127.0.0.1" });
  const script = resolve(import.meta.dirname, "../src/requests.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [script, "--url", url]);
  for (const line of [
    /happy +200 +all operation is successful/,
    /error in the hub +504 +error in hub by timeout/,
    /error in a worker +502 +error in worker on rule install/,
    /error on the switch +502 +error in worker on rule install/,
    /The switches hold 10 rules of the first request, 0 of the others\./,
  ]) {
    expect(stdout).toMatch(line);
  }
});
