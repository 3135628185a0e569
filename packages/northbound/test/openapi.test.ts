import { expect, test } from "vitest";
import { system } from "./system.ts";

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters?: readonly { readonly in: string; readonly name: string; readonly schema: object }[];
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Record<string, unknown> }> };
  readonly responses: Record<
    string,
    { readonly description: string; readonly content?: Record<string, unknown> }
  >;
}

interface Document {
  readonly openapi: string;
  readonly info: object;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, object> };
}

async function document(): Promise<Document> {
  const { app } = await system({
    info: { title: "Greetings", version: "1.2.3" },
    extra: (server) => {
      server.get(
        "/flow/:flowid",
        { schema: { summary: "Look at a flow", operationId: "getFlow" } },
        () => ({}),
      );
    },
  });
  const response = await app.inject({ url: "/openapi.json" });
  expect(response.statusCode).toBe(200);
  return response.json();
}

test("the document has every operation", async () => {
  const { openapi, info, paths } = await document();
  expect(openapi).toBe("3.1.0");
  expect(info).toEqual({ title: "Greetings", version: "1.2.3" });
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  );
  expect(operations.toSorted()).toEqual([
    "get /audit",
    "get /audit/refusals",
    "get /bulks",
    "get /bulks/{id}",
    "get /bulks/{id}/items",
    "get /counts",
    "get /dead-letters",
    "get /events",
    "get /flow/{flowid}",
    "get /health",
    "get /hubs",
    "get /hubs/{name}",
    "get /hubs/{name}/diagram.txt",
    "get /incidents",
    "get /lanes",
    "get /ready",
    "get /requests",
    "get /requests/{id}",
    "get /requests/{id}/answer",
    "get /requests/{id}/diagram.svg",
    "get /requests/{id}/diagram.txt",
    "get /requests/{id}/history",
    "get /requests/{id}/history/{event}",
    "get /requests/{id}/updates",
    "get /schedules",
    "get /schedules/{name}",
    "get /shards",
    "post /approvals",
    "post /brief",
    "post /bulks/cancel",
    "post /bulks/resolve",
    "post /bulks/retry",
    "post /bulks/signals/{name}",
    "post /bulks/{id}/cancel",
    "post /bulks/{id}/pause",
    "post /bulks/{id}/resume",
    "post /dead-letters/{place}/replay",
    "post /faulty",
    "post /greetings",
    "post /plain",
    "post /requests/{id}/cancel",
    "post /requests/{id}/resolve",
    "post /requests/{id}/retry",
    "post /requests/{id}/signals/{name}",
    "post /requests/{id}/what-if",
    "post /schedules/{name}/backfill",
    "post /schedules/{name}/pause",
    "post /schedules/{name}/remove",
    "post /schedules/{name}/resume",
    "post /schedules/{name}/trigger",
  ]);
});

test("in the document, all references resolve, ids are unique, and path parameters are declared", async () => {
  const { paths, components } = await document();
  const references = [...JSON.stringify({ paths, components }).matchAll(/"\$ref":"([^"]+)"/g)].map(
    ([, ref]) => ref,
  );
  expect(new Set(references)).toContain("#/components/schemas/Problem");
  for (const reference of references) {
    const name = /^#\/components\/schemas\/(\w+)$/.exec(reference ?? "")?.[1] ?? "";
    expect(components.schemas).toHaveProperty(name);
  }
  const ids: string[] = [];
  for (const [path, methods] of Object.entries(paths)) {
    for (const { operationId, summary, parameters = [], responses } of Object.values(methods)) {
      ids.push(operationId);
      expect(summary).toBeTruthy();
      for (const { description } of Object.values(responses)) expect(description).toBeTruthy();
      const declared = parameters.filter((parameter) => parameter.in === "path").map(({ name }) => name);
      const used = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      expect(declared.toSorted()).toEqual(used.toSorted());
    }
  }
  expect(new Set(ids).size).toBe(ids.length);
});

test("a hub's operation has its schemas, headers and failures", async () => {
  const { paths } = await document();
  const operation = paths["/greetings"]?.["post"] as Operation;
  const { schema } = operation.requestBody?.content["application/json"] ?? { schema: {} };
  expect(schema).toMatchObject({ type: "object", required: ["name"], additionalProperties: false });
  expect(operation.parameters?.map(({ name }) => name).toSorted()).toEqual([
    "Idempotency-Key",
    "Prefer",
    "startAt",
  ]);
  expect(Object.keys(operation.responses)).toEqual([
    "200",
    "202",
    "400",
    "409",
    "413",
    "415",
    "422",
    "431",
    "500",
    "502",
    "503",
    "504",
  ]);
  expect(operation.responses["200"]?.content?.["application/json"]).toMatchObject({
    schema: {
      type: "object",
      properties: { requestId: { type: "string" }, message: { type: "string" } },
      required: ["requestId", "message"],
      additionalProperties: false,
    },
  });
  expect(operation.responses["202"]).toHaveProperty("headers.Location");
  expect(operation.responses["502"]).toMatchObject({ description: "The worker refused." });
  expect(Object.keys(operation.responses["502"]?.content ?? {})).toEqual([
    "application/problem+json",
    "text/plain",
  ]);
});

test("what the document says of times, keys and methods holds", async () => {
  const { app, engine } = await system();
  const json = { "content-type": "application/json" };
  await engine.submit("pair", {}, { key: "k" });
  const counted = async (query: string): Promise<number> =>
    (await app.inject({ url: `/counts?${query}` })).json().count;
  expect(await counted("createdFrom=-5")).toBe(1);
  expect(await counted("createdTo=1969-07-20T20:17:40Z")).toBe(0);
  const begun = await app.inject({
    method: "POST",
    url: "/plain?startAt=1969-07-20T20:17:40Z",
    headers: { ...json, prefer: "wait=0" },
    payload: "{}",
  });
  expect(begun.statusCode).toBe(202);
  const preview = { method: "POST", url: "/bulks/cancel?hub=pair&dryRun=true" } as const;
  expect((await app.inject({ ...preview, headers: json })).json()).toMatchObject({ count: 1 });
  const badKey = await app.inject({ ...preview, headers: { "idempotency-key": "%" } });
  expect(badKey.json().problems).toMatchObject([{ path: "Idempotency-Key" }]);
  const options = await app.inject({ method: "OPTIONS", url: "/bulks/cancel" });
  expect([options.statusCode, options.headers["allow"]]).toEqual([405, "POST"]);
  for (const body of [
    { kind: "outcome", call: 0 },
    { kind: "outcome", call: -1, outcome: { kind: "ok" } },
  ]) {
    const of = { method: "POST", url: "/requests/k/what-if", headers: json } as const;
    expect((await app.inject({ ...of, payload: JSON.stringify(body) })).statusCode).toBe(400);
  }
});
