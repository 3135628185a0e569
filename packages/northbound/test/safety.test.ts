import fastify from "fastify";
import type { IncomingMessage } from "node:http";
import { get } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { protect } from "../src/index.ts";
import { directory, system } from "./system.ts";

test.each([{ host: "0.0.0.0" }, { host: "::" }, { host: "10.0.0.7" }, { host: "flows.example.com" }])(
  "a server that asks nobody who they are does not listen beyond loopback: %j",
  async (place) => {
    const { app } = await system();
    await expect(app.listen({ port: 0, ...place })).rejects.toMatchObject({
      code: "WW_INSECURE",
      next: expect.stringContaining("access"),
    });
    expect(app.server.listening).toBe(false);
  },
);

test("no way to listen goes around that", async () => {
  const { app } = await system();
  const failure = (listen: () => void): Promise<unknown> => {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    app.server.once("error", resolve);
    listen();
    return promise;
  };
  for (const listen of [
    () => app.server.listen(0),
    () => app.server.listen({ port: 0 }),
    () => app.server.listen(0, "0.0.0.0"),
    () => app.server.listen("0", () => {}),
  ])
    expect(await failure(listen)).toMatchObject({ code: "WW_INSECURE" });
  const told = new Promise((resolve) => app.listen({ port: 0, host: "0.0.0.0" }, resolve));
  expect(await told).toMatchObject({ code: "WW_INSECURE" });
  expect(app.server.listening).toBe(false);
});

test.each([{ port: 0 }, { port: 0, host: "localhost" }, { port: 0, host: "127.0.0.9" }, { path: "socket" }])(
  "it listens where only this machine reaches it: %j",
  async (place) => {
    const { app } = await system();
    await app.listen("path" in place ? { path: join(directory(), "socket") } : { ...place });
    expect(app.server.listening).toBe(true);
  },
);

test("it listens beyond loopback if somebody says that this is safe", async () => {
  const { app } = await system({ insecure: true });
  await app.listen({ port: 0, host: "0.0.0.0" });
  expect((app.server.address() as AddressInfo).address).toBe("0.0.0.0");
});

test("the same holds for a Fastify server of somebody's own", async () => {
  const app = fastify();
  onTestFinished(() => app.close());
  protect(app);
  app.get("/", () => "here");
  expect((await app.inject("/")).headers).toMatchObject({ "x-content-type-options": "nosniff" });
  expect((await app.inject({ url: "/", headers: { host: "evil.com" } })).statusCode).toBe(421);
  await expect(app.listen({ port: 0, host: "0.0.0.0" })).rejects.toMatchObject({ code: "WW_INSECURE" });
});

const safe = {
  "content-security-policy": expect.stringMatching(/default-src 'none'.*frame-ancestors 'none'/),
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
};

test("each response says that it is no page, and may be shown in no frame; none lets other origins read it", async () => {
  const { app, engine } = await system({ diagram: () => Promise.resolve("<svg/>"), allowedHosts: ["a.com"] });
  const { id } = await engine.submit("greet", { name: "Ada" });
  await engine.answer(id);
  for (const [url, status] of [
    ["/health", 200],
    ["/openapi.json", 200],
    [`/requests/${id}`, 200],
    [`/requests/${id}/updates`, 200],
    [`/requests/${id}/diagram.svg`, 200],
    ["/nothing", 404],
    ["/%ff", 400],
    [`/requests/${"x".repeat(20_000)}`, 414],
  ] as const) {
    const { statusCode, headers } = await app.inject({ url, headers: { origin: "http://a.com" } });
    expect([url.slice(0, 40), statusCode]).toEqual([url.slice(0, 40), status]);
    expect(headers).toMatchObject(safe);
    expect(Object.keys(headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
  }
});

test("bytes that are no HTTP get the same headers", async () => {
  const { app } = await system();
  await app.listen({ port: 0, host: "127.0.0.1" });
  const socket = connect((app.server.address() as AddressInfo).port, "127.0.0.1").setEncoding("utf8");
  socket.write("nonsense\r\n\r\n");
  let received = "";
  for await (const chunk of socket) received += String(chunk);
  expect(received).toMatch(/content-security-policy: .*frame-ancestors 'none'[^]*nosniff/);
});

test.each(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] as const)(
  "a foreign host or origin is refused for each path, also with %s",
  async (method) => {
    const { app } = await system();
    await app.listen({ port: 0, host: "127.0.0.1" });
    const { port } = app.server.address() as AddressInfo;
    const statusOf = (path: string, headers: Record<string, string>) =>
      new Promise<number | undefined>((resolve, reject) => {
        get({ port, host: "127.0.0.1", method, path, headers }, (response: IncomingMessage) => {
          resolve(response.resume().statusCode);
        }).on("error", reject);
      });
    for (const path of [
      "/health",
      "/ready",
      "/metrics",
      "/requests",
      "/nothing",
      "/openapi.json",
      "/%ff",
      "//",
    ]) {
      expect([path, await statusOf(path, { host: "evil.com" })]).toEqual([path, 421]);
      expect([path, await statusOf(path, { origin: "http://evil.com" })]).toEqual([path, 403]);
    }
  },
);

test("a body of another type than JSON is refused, whatever the method", async () => {
  const { app } = await system({
    extra: (own) => {
      own.put("/own", () => "done");
      own.delete("/own", () => "done");
    },
  });
  for (const method of ["PUT", "DELETE"] as const) {
    const headers = { "content-type": "text/plain" };
    expect((await app.inject({ method, url: "/own", headers, payload: "x" })).statusCode).toBe(415);
    expect((await app.inject({ method, url: "/own" })).statusCode).toBe(200);
  }
});
