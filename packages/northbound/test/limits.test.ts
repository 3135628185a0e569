import { once } from "node:events";
import { Agent, get, type IncomingMessage } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createToken } from "../src/tokens.ts";
import { directory, system } from "./system.ts";

async function listening(options: Parameters<typeof system>[0] = {}) {
  const { app, engine } = await system(options);
  await app.listen({ port: 0, host: "127.0.0.1" });
  const { port } = app.server.address() as AddressInfo;
  const open: Socket[] = [];
  onTestFinished(() => {
    for (const socket of open) socket.destroy();
  });
  const client = (bytes: string): Socket => {
    const socket = connect(port, "127.0.0.1").on("error", () => {});
    open.push(socket);
    socket.write(bytes);
    return socket;
  };
  const count = (): Promise<number> =>
    new Promise((resolve, reject) => {
      app.server.getConnections((error, found) => (error === null ? resolve(found) : reject(error)));
    });
  const healthy = (): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      get({ port, host: "127.0.0.1", path: "/health", agent: false }, (response: IncomingMessage) => {
        resolve(response.resume().statusCode);
      }).on("error", reject);
    });
  return { app, engine, port, client, count, healthy };
}

test(
  "clients that send their requests slowly keep nobody out, and are cut",
  { timeout: 60_000 },
  async () => {
    const { client, count, healthy } = await listening({ maxConnections: 50 });
    for (let round = 0; round < 5; round++) {
      const slow = Array.from({ length: 100 }, () => client("GET /health HTTP/1.1\r\nHost: loc"));
      await Promise.all(slow.map((socket) => once(socket, "connect")));
      expect(await healthy()).toBe(200);
      await expect.poll(count).toBeLessThanOrEqual(50);
    }
    // Whoever is left is cut, too, once its head has taken too long.
    const last = client("GET /health HTTP/1.1\r\nHost: loc");
    const [reply] = (await once(last, "data")) as [Buffer];
    expect(reply.toString()).toMatch(/^HTTP\/1.1 408 /);
    await expect.poll(count, { timeout: 20_000 }).toBe(0);
  },
);

test("connections that are kept for later make place, those with a request do not", async () => {
  const { client, engine, port, healthy } = await listening({ maxConnections: 3 });
  const body = '{"subject":"leave"}';
  const busy = client(
    `POST /approvals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  ).setEncoding("utf8");
  await expect.poll(async () => (await engine.requests()).items.length).toBe(1);
  const agent = new Agent({ keepAlive: true });
  onTestFinished(() => agent.destroy());
  for (let time = 0; time < 10; time++) {
    const kept = client("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await once(kept, "data");
    expect(await healthy()).toBe(200);
  }
  await engine.signal("a", "approve", { by: "Eve" });
  const [answer] = (await once(busy, "data")) as [string];
  expect(answer).toMatch(/^HTTP\/1.1 200 /);
  expect(port).toBeGreaterThan(0);
});

test("clients that send requests and read no reply cost bounded memory", { timeout: 60_000 }, async () => {
  const text = "x".repeat(10_000);
  const { client, healthy } = await listening({
    metrics: { text: () => Promise.resolve(text) },
    maxBufferedBytes: 5_000_000,
  });
  // Each asks for 20 MB, in replies that are too small to be looked at one by one.
  const many = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
  const sum = ({ heapUsed, external }: NodeJS.MemoryUsage): number => heapUsed + external;
  const before = sum(process.memoryUsage());
  const greedy = Array.from({ length: 20 }, () => client(many).pause());
  await Promise.all(greedy.map((socket) => once(socket, "connect")));
  for (let time = 0; time < 20; time++) expect(await healthy()).toBe(200);
  // What is garbage goes while the server works; what is held for them stays.
  const held = async (): Promise<number> => {
    expect(await healthy()).toBe(200);
    return sum(process.memoryUsage()) - before;
  };
  await expect.poll(held).toBeLessThan(100_000_000);
});

test("each caller, or each address that has shown nothing, has its own limit", async () => {
  const file = join(directory(), "tokens.json");
  const [a = "", b = ""] = ["a", "b"].map((name) => createToken(file, { name, grants: ["reader"] }).token);
  const { app } = await system({ access: { tokens: file }, rateLimit: { requests: 3 }, insecure: true });
  const refusals: string[] = [];
  const statusOf = async (token?: string, remoteAddress = "10.0.0.1") => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const url = token === undefined ? "/health" : "/requests";
    const { statusCode, headers: got, body } = await app.inject({ url, headers, remoteAddress });
    refusals.push(...(statusCode === 429 ? [`${JSON.parse(body).code} ${got["retry-after"]}`] : []));
    return statusCode;
  };
  // From wherever it sends.
  for (const address of ["10.0.0.1", "10.0.0.2", "10.0.0.3"]) expect(await statusOf(a, address)).toBe(200);
  expect(await statusOf(a, "10.0.0.4")).toBe(429);
  expect(await statusOf(b)).toBe(200);
  for (let time = 0; time < 3; time++) expect(await statusOf()).toBe(200);
  expect(await statusOf()).toBe(429);
  expect(await statusOf(undefined, "10.0.0.9")).toBe(200);
  // One who owns a network of IPv6 has more than enough addresses in it.
  for (let time = 0; time < 3; time++) expect(await statusOf(undefined, `2001:db8::${time}`)).toBe(200);
  expect(await statusOf(undefined, "2001:db8::99")).toBe(429);
  expect(refusals).toEqual(
    Array.from({ length: 3 }, () => expect.stringMatching(/^WW_RATE_LIMITED [1-9]\d*$/)),
  );
});

test("an address that sends one wrong token after the other is told to wait, and keeps out nobody with a right one", async () => {
  const file = join(directory(), "tokens.json");
  const { token } = createToken(file, { name: "a", grants: ["reader"] });
  const { app } = await system({ access: { tokens: file } });
  const statusOf = async (authorization: string, forwarded = "") =>
    (await app.inject({ url: "/requests", headers: { authorization, "x-forwarded-for": forwarded } }))
      .statusCode;
  const statuses = [];
  // Nobody but a proxy that is trusted says whose the address is.
  for (let time = 0; time < 80; time++)
    statuses.push(await statusOf(`Bearer guess${time}`, `10.0.0.${time}`));
  expect(statuses.slice(0, 60)).toEqual(Array.from({ length: 60 }, () => 401));
  expect(statuses.slice(60)).toEqual(Array.from({ length: 20 }, () => 429));
  expect(await statusOf(`Bearer ${token}`)).toBe(200);
});
