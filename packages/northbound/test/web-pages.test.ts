import { hostname } from "node:os";
import { get } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { system } from "./system.ts";

type Headers = Readonly<Record<string, string>>;

test.each([
  "localhost",
  "localhost:8088",
  "LOCALHOST.",
  "flows.localhost",
  "127.0.0.1:1",
  "[::1]:8088",
  "10.0.0.7",
  hostname(),
  "nb.example.com:443",
  "a.b.example.org",
])("a server answers to its name %s", async (host) => {
  const { app } = await system({ allowedHosts: ["NB.example.com", ".example.org"] });
  expect((await app.inject({ url: "/health", headers: { host } })).statusCode).toBe(200);
});

test.each([
  "evil.com",
  "evil.com:8088",
  "example.org",
  "localhost.evil.com",
  "127.0.0.1.nip.io",
  "nbxexample.com",
])("a name that a web page may have made its own is refused, for reads and for writes: %s", async (host) => {
  const { app, engine } = await system({ allowedHosts: ["nb.example.com", ".example.org"] });
  const headers = { host, origin: `http://${host}`, "content-type": "application/json" };
  for (const request of [
    { method: "GET", url: "/requests" },
    { method: "POST", url: "/greetings", payload: { name: "Ada" } },
    { method: "GET", url: "/nothing" },
  ] as const) {
    const response = await app.inject({ ...request, headers });
    expect(response.statusCode).toBe(421);
    expect(response.json()).toMatchObject({
      code: "WW_HOST_REFUSED",
      next: expect.stringContaining("allowedHosts"),
    });
  }
  expect((await engine.requests()).items).toEqual([]);
});

test("a server answers to the name that it listens on", async () => {
  const { app } = await system({ allowedHosts: [] });
  const listening = { port: 0, host: "localhost.localdomain" };
  // Not every machine knows the name. That the server was told it is what counts.
  await app.listen(listening).catch(() => app.server.listen({ port: 0, host: "127.0.0.1" }));
  await expect.poll(() => app.server.listening).toBe(true);
  const { port } = app.server.address() as AddressInfo;
  const statusOf = (host: string) =>
    new Promise((resolve, reject) => {
      get({ port, host: "127.0.0.1", path: "/health", headers: { host } }, (response) => {
        resolve(response.resume().statusCode);
      }).on("error", reject);
    });
  expect(await statusOf("localhost.localdomain")).toBe(200);
  expect(await statusOf("another.localdomain")).toBe(421);
});

const foreign: readonly Headers[] = [
  { origin: "http://evil.com" },
  { origin: "null" },
  { origin: "http://localhost:3000" },
  { origin: "http://evil.com, http://localhost" },
  { "sec-fetch-site": "cross-site" },
  { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" },
  { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" },
  { "sec-fetch-site": "cross-site", origin: "http://localhost" },
];

test.each(foreign)("a request of a page of another site is refused, and does nothing: %j", async (marks) => {
  const { app, engine } = await system();
  const { id } = await engine.submit("approval", { subject: "leave" });
  const headers = { host: "localhost", "content-type": "application/json", ...marks };
  for (const request of [
    { method: "GET", url: `/requests/${id}` },
    { method: "POST", url: `/requests/${id}/cancel` },
    { method: "OPTIONS", url: "/greetings" },
  ] as const) {
    const response = await app.inject({ ...request, headers });
    expect(response.statusCode).toBe(403);
    expect(response.json().code).toBe("WW_ORIGIN_REFUSED");
  }
  expect(await engine.answer(id, { waitMs: 0 })).toBeUndefined();
});

test.each<Headers>([
  { origin: "http://localhost" },
  { origin: "https://localhost" },
  { "sec-fetch-site": "same-origin" },
  { "sec-fetch-site": "none" },
  { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" },
  { "sec-fetch-site": "cross-site", origin: "https://console.example.com:8443" },
])("a page of the server, a link to it, and a page of a listed name are let in: %j", async (marks) => {
  const { app } = await system({ allowedHosts: ["console.example.com"] });
  const headers = { host: "localhost", ...marks };
  expect((await app.inject({ url: "/requests", headers })).statusCode).toBe(200);
});

test("a link cannot send a POST", async () => {
  const { app } = await system();
  const headers = {
    "content-type": "application/json",
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
  };
  const response = await app.inject({ method: "POST", url: "/greetings", headers, payload: { name: "Ada" } });
  expect(response.statusCode).toBe(403);
});

test.each<Headers>([
  {},
  { "content-type": "text/plain" },
  { "content-type": "application/x-www-form-urlencoded" },
  { "content-type": "text/plain; a=application/json" },
  { "content-type": "application/jsonp" },
])("a POST that a form could send is refused, with and without a body: %j", async (headers) => {
  const { app, engine } = await system({
    extra: (own) => void own.post("/own", () => ({ done: true })),
  });
  const { id } = await engine.submit("approval", { subject: "leave" });
  for (const request of [
    { url: `/requests/${id}/cancel` },
    { url: "/own" },
    { url: "/greetings", payload: Buffer.from('{"name":"Ada"}') },
  ]) {
    const response = await app.inject({ method: "POST", ...request, headers });
    expect(response.statusCode).toBe(415);
    expect(response.json()).toMatchObject({
      code: "WW_UNSUPPORTED_MEDIA_TYPE",
      detail: "a POST needs the header Content-Type: application/json",
    });
  }
  expect(await engine.answer(id, { waitMs: 0 })).toBeUndefined();
});

test.each<Headers>([
  { "content-type": "application/json" },
  { "content-type": "Application/JSON ; charset=utf-8" },
  { "idempotency-key": "c1" },
])("a POST that no form can send is taken: %j", async (headers) => {
  const { app, engine } = await system();
  const { id } = await engine.submit("approval", { subject: "leave" });
  const response = await app.inject({ method: "POST", url: `/requests/${id}/cancel`, headers });
  expect(response.statusCode).toBe(202);
});

test("a route of one's own may have another header that names its requests", async () => {
  const { app } = await system({
    extra: (own) => {
      own.post("/named", { config: { nameHeader: "correlation_id" } }, () => ({ done: true }));
      own.post("/other", () => ({ done: true }));
    },
  });
  const headers = { correlation_id: "c1" };
  const statusOf = async (url: string, more: Headers = {}) =>
    (await app.inject({ method: "POST", url, headers: { ...headers, ...more } })).statusCode;
  expect(await statusOf("/named")).toBe(200);
  expect(await statusOf("/other")).toBe(415);
  // A browser asks before a page sends it, and is told no.
  expect(await statusOf("/named", { origin: "https://elsewhere.example" })).toBe(403);
  const asks = { origin: "https://elsewhere.example", "access-control-request-method": "POST" };
  const asked = await app.inject({ method: "OPTIONS", url: "/named", headers: asks });
  expect([asked.statusCode, asked.headers["access-control-allow-origin"]]).toEqual([403, undefined]);
});
