import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import type { ApiDocument } from "./document.ts";
import { flowBody, linkEvent, startRest, sw } from "./system.ts";

test("switches and links are listed, found and changed", async () => {
  const { send } = await startRest();
  const { json: switches } = await send("GET", "/v1/switches");
  expect(switches.map((one: Record<string, unknown>) => [one["switch_id"], one["state"]])).toEqual(
    [1, 2, 3, 4, 5, 6].map((number) => [sw(number), number === 6 ? "DEACTIVATED" : "ACTIVATED"]),
  );
  expect((await send("GET", `/v1/switches/${sw(2)}`)).json).toEqual(switches[1]);
  expect((await send("GET", `/v1/switches/${sw(9)}`)).status).toBe(404);
  expect((await send("GET", "/v1/links")).json).toHaveLength(8);
  const query = `src_switch=${sw(1)}&src_port=102&dst_switch=${sw(2)}&dst_port=101`;
  const linkNow = async () => (await send("GET", `/v1/links?${query}`)).json;
  expect(await linkNow()).toMatchObject([
    {
      state: "DISCOVERED",
      cost: 1,
      latency_ns: 2_000_000,
      max_bandwidth: 1_000_000,
      available_bandwidth: 1_000_000,
      path: [
        { switch_id: sw(1), port_no: 102, seq_id: 0 },
        { switch_id: sw(2), port_no: 101, seq_id: 1 },
      ],
    },
  ]);
  const ends = { src_switch: sw(1), src_port: 102, dst_switch: sw(2), dst_port: 101 };
  const changed = await send("PUT", "/v1/link/props", [
    { ...ends, props: { cost: "2" } },
    { ...ends, src_port: 9, props: { cost: "1" } },
  ]);
  expect(changed.json).toEqual({
    failures: 1,
    successes: 1,
    messages: [`There is no link from ${sw(1)}:9 to ${sw(2)}:101`],
  });
  expect((await send("GET", `/v1/link/props?${query}`)).json).toEqual([
    { ...ends, props: { cost: "2", max_bandwidth: "1000000" } },
  ]);
  const wrong = await send("PUT", "/v1/link/props", [{ ...ends, props: { cost: "dear", colour: "red" } }]);
  expect([wrong.status, wrong.json["error-description"]]).toEqual([
    400,
    expect.stringMatching(/0\.props\.cost: .*0\.props\.colour: is not known/),
  ]);
  const narrower = await send("PATCH", `/v1/links/bandwidth?${query}`, { max_bandwidth: 5000 });
  expect(narrower.json).toEqual({ ...ends, max_bandwidth: 5000 });
  expect((await linkNow())[0].max_bandwidth).toBe(5000);
  // Not less than flows have of it.
  await send("POST", "/v2/flows", flowBody("a", 1));
  expect((await linkNow())[0].available_bandwidth).toBe(4000);
  const refused = await send("PATCH", `/v1/links/bandwidth?${query}`, { max_bandwidth: 999 });
  expect([refused.status, refused.json["error-message"]]).toEqual([
    409,
    "Could not change bandwidth of link",
  ]);
  const batch = await send("PUT", "/v1/link/props", [{ ...ends, props: { max_bandwidth: "0" } }]);
  expect(batch.json).toMatchObject({ failures: 1, successes: 0 });
  const none = query.replace("src_port=102", "src_port=9");
  expect((await send("PATCH", `/v1/links/bandwidth?${none}`, { max_bandwidth: 1 })).status).toBe(404);
});

test("the rules that a switch should have are those of its flows", async () => {
  const { send } = await startRest();
  await send("POST", "/v2/flows", flowBody("a", 1));
  const { json } = await send("GET", `/v1/switches/${sw(1)}/rules`);
  expect(json.flows.map((rule: Record<string, unknown>) => [rule["flow_id"], rule["match"]])).toEqual([
    ["a", { in_port: 102, vlan_vid: expect.any(Number) }],
    ["a", { in_port: 10, vlan_vid: 1 }],
  ]);
  expect(json.meters).toMatchObject([{ flow_id: "a", rate: 1000 }]);
});

test("the network is drawn with its flows, those that are not up first", async () => {
  const { send, store } = await startRest();
  await send("POST", "/v2/flows", flowBody("a", 1));
  await send("POST", "/v2/flows", flowBody("b", 2, { allocate_protected_path: true }));
  const before = await send("GET", "/network.svg");
  expect(before.headers.get("content-type")).toBe("image/svg+xml; charset=utf-8");
  expect(before.headers.get("content-security-policy")).toMatch(/default-src 'none'.*sandbox/);
  expect(before.text).toContain("6 switches (1 away), 4 links, 2 flows");
  expect((await send("GET", "/network.svg")).text).toBe(before.text);
  await store.note(linkEvent(1, 2, false));
  expect((await send("GET", "/network.svg")).text).toContain("4 links (1 down)");
  const { json } = await send("GET", "/network.json?limit=1");
  expect(json.flows).toMatchObject([{ flowid: "a", status: "Down" }]);
  expect(json.more_flows).toBe(1);
  expect(json.switches[0]).toMatchObject({ switch_id: sw(1), x: expect.any(Number), y: expect.any(Number) });
  const only = await send("GET", "/network.json?flow=b&flow=b");
  expect(only.json.flows.map(({ flowid }: { flowid: string }) => flowid)).toEqual(["b"]);
  expect((await send("GET", "/network.svg?flow=none")).status).toBe(404);
});

test("the document has every path, its references resolve, and its ids are unique", async () => {
  const { document } = await startRest();
  const { openapi, paths, components } = document as ApiDocument;
  expect(openapi).toBe("3.1.0");
  const ours = Object.entries(paths).filter(([path]) => /^\/(?:v[12]|network)/.test(path));
  expect(
    ours.flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`)).toSorted(),
  ).toMatchInlineSnapshot(`
    [
      "delete /v1/flows",
      "delete /v1/flows/{flow_id}",
      "delete /v2/flows/{flow_id}",
      "get /network.json",
      "get /network.svg",
      "get /v1/flows",
      "get /v1/flows/status/{flow_id}",
      "get /v1/flows/{flow_id}",
      "get /v1/flows/{flow_id}/history",
      "get /v1/flows/{flow_id}/path",
      "get /v1/flows/{flow_id}/validate",
      "get /v1/link/props",
      "get /v1/links",
      "get /v1/operations/{id}",
      "get /v1/switches",
      "get /v1/switches/{switch_id}",
      "get /v1/switches/{switch_id}/rules",
      "get /v2/flows",
      "get /v2/flows/status/{flow_id}",
      "get /v2/flows/{flow_id}",
      "get /v2/flows/{flow_id}/history",
      "get /v2/flows/{flow_id}/history/statuses",
      "get /v2/operations/{id}",
      "patch /v1/flows/{flow_id}",
      "patch /v1/flows/{flow_id}/reroute",
      "patch /v1/flows/{flow_id}/reroute/flush",
      "patch /v1/flows/{flow_id}/swap",
      "patch /v1/flows/{flow_id}/sync",
      "patch /v1/links/bandwidth",
      "patch /v2/flows/{flow_id}",
      "post /v2/flows",
      "post /v2/flows/{flow_id}/reroute",
      "put /v1/flows",
      "put /v1/flows/{flow_id}",
      "put /v1/link/props",
      "put /v2/flows/{flow_id}",
    ]
  `);
  const references = [...JSON.stringify({ paths, components }).matchAll(/"\$ref":"([^"]+)"/g)];
  for (const [, reference = ""] of references)
    expect(components.schemas).toHaveProperty(/^#\/components\/schemas\/(\w+)$/.exec(reference)?.[1] ?? "");
  const ids = Object.values(paths).flatMap((methods) => Object.values(methods).map((one) => one.operationId));
  expect(new Set(ids).size).toBe(ids.length);
  for (const [path, methods] of ours)
    for (const { summary, parameters = [], responses } of Object.values(methods)) {
      expect(summary).toBeTruthy();
      for (const { description } of Object.values(responses)) expect(description).toBeTruthy();
      const declared = parameters.filter((one) => one.in === "path").map(({ name }) => name);
      expect(declared).toEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
    }
});

test("each route says who may use it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "flow-crud-tokens-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "tokens.json");
  const wheelwork = resolve(import.meta.dirname, "../../../../packages/wheelwork/src/cli/main.ts");
  const bearer = async (name: string, role: string) => {
    const args = [...process.execArgv, "--conditions=wheelwork-source", wheelwork, "token", "create", name];
    const made = await promisify(execFile)(process.execPath, [...args, "--role", role, "--file", file]);
    return { authorization: `Bearer ${made.stdout.trim()}` };
  };
  const reader = await bearer("reader", "reader");
  const creator = await bearer("creator", "submitter:create-flow");
  const remover = await bearer("remover", "submitter:delete-flow");
  const operator = await bearer("operator", "operator");
  const { send, engine } = await startRest({ northbound: { access: { tokens: file } } });
  expect((await send("GET", "/v2/flows")).status).toBe(401);
  expect((await send("GET", "/v2/flows", undefined, reader)).status).toBe(200);
  expect((await send("GET", "/network.svg", undefined, reader)).status).toBe(200);
  expect((await send("POST", "/v2/flows", flowBody("a", 1), reader)).status).toBe(403);
  const created = await send("POST", "/v2/flows", flowBody("a", 1), creator);
  expect(created.status).toBe(200);
  const location = created.headers.get("content-location") ?? "";
  expect((await send("GET", location, undefined, creator)).json).toEqual(created.json);
  expect((await send("GET", location, undefined, reader)).status).toBe(403);
  expect((await send("DELETE", "/v2/flows/a", undefined, creator)).status).toBe(403);
  expect((await send("PUT", "/v1/link/props", [], reader)).status).toBe(403);
  expect((await send("PUT", "/v1/link/props", [], operator)).status).toBe(200);
  expect((await send("PATCH", "/v1/flows/a/reroute/flush", undefined, reader)).status).toBe(403);
  expect((await send("DELETE", "/v1/flows", undefined, remover)).status).toBe(403);
  const { items } = await engine.audit();
  expect(items).toMatchObject([{ by: "token:creator", hub: "create-flow" }]);
  const { json } = await send("GET", "/v2/flows/a/history", undefined, reader);
  expect(json[0].actor).toBe("token:creator");
});

test("clients that wait are told where to ask as soon as the server closes", async () => {
  const { send, switches, server, engine } = await startRest();
  switches.hold(2);
  const waiting = [
    send("POST", "/v2/flows", flowBody("a", 1), { prefer: "wait=60" }),
    send("POST", "/v2/flows", flowBody("b", 2), { prefer: "wait=60" }),
  ];
  await switches.reached(2);
  while ((await engine.count({ status: "running" })) < 2) await switches.reached(2);
  const closed = server.close();
  for (const reply of await Promise.all(waiting)) {
    expect(reply.status).toBe(202);
    expect(reply.headers.get("location")).toMatch(/^\/v2\/operations\//);
  }
  switches.release(2);
  await closed;
});
