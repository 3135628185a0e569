import type { FastifyInstance } from "fastify";
import { once } from "node:events";
import { Agent, request, type IncomingMessage } from "node:http";
import { Worker } from "node:worker_threads";
import { connect, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { system } from "./system.ts";

interface Listening {
  readonly port: number;
  readonly url: string;
  /** Waits until the server has read these numbers of bytes, one for each connection in the order of their opening. */
  readonly hasRead: (...bytes: number[]) => Promise<void>;
  /** Waits until the server knows that its first connection has ended. */
  readonly hungUp: () => Promise<void>;
}

async function listening(app: FastifyInstance): Promise<Listening> {
  const sockets: Socket[] = [];
  app.server.on("connection", (socket: Socket) => void sockets.push(socket));
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  return {
    port: (app.server.address() as AddressInfo).port,
    url,
    hasRead: async (...bytes) => {
      await expect.poll(() => sockets.map(({ bytesRead }) => bytesRead)).toEqual(bytes);
    },
    hungUp: async () => {
      await expect.poll(() => sockets[0]?.destroyed).toBe(true);
    },
  };
}

/** Sends bytes as they are, and returns what the server sends until it closes the connection. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(bytes);
  let received = "";
  for await (const chunk of socket) received += String(chunk);
  return received;
}

const post = (body: string, headers = ""): string =>
  `POST /approvals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`;

test("a client that closes its connection cancels nothing", async () => {
  const { app, engine } = await system();
  const { port, hungUp } = await listening(app);
  const socket = connect(port, "127.0.0.1");
  socket.write(post('{"subject":"leave"}', "Idempotency-Key: k\r\n"));
  await expect.poll(async () => (await engine.requests()).items.length).toBe(1);
  socket.destroy();
  await hungUp();
  const [{ id, status } = { id: "", status: "" }] = (await engine.requests()).items;
  expect(status).toBe("running");
  await engine.signal(id, "approve", { by: "Eve" });
  const response = await app.inject({
    method: "POST",
    url: "/approvals",
    payload: { subject: "leave" },
    headers: { "idempotency-key": "k" },
  });
  expect(response.json()).toEqual({ requestId: id, message: "leave: approved", by: "Eve" });
});

test("bytes that are not HTTP get an error, and the server goes on", async () => {
  const { app } = await system();
  const { port, url } = await listening(app);
  for (const [bytes, status] of [
    ["this is not HTTP\r\n\r\n", 400],
    ["\0\x01\x02\xff\r\n\r\n", 400],
    [`GET /health HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, 431],
    ["POST /greetings HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400],
  ] as const) {
    const answer = await raw(port, bytes);
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    const [head = "", body = ""] = answer.split("\r\n\r\n");
    expect(head).toMatch(/content-type: application\/problem\+json/i);
    expect(JSON.parse(body)).toMatchObject({ status, code: "WW_INVALID_REQUEST" });
  }
  const whole = await raw(port, post("{}", "Connection: close\r\n"));
  expect(whole).toMatch(/^HTTP\/1.1 400 /);
  expect((await fetch(`${url}/health`)).status).toBe(200);
});

test("closing answers waiting clients with 202 at once, and ends their connections", async () => {
  // If it were not at once, it would be longer than a test may take.
  const { app, engine } = await system({ defaultWaitMs: 600_000, closeWithinMs: 600_000 });
  const { port } = await listening(app);
  const agent = new Agent({ keepAlive: true });
  const sent = request({
    port,
    agent,
    method: "POST",
    path: "/approvals",
    headers: { "content-type": "application/json" },
  });
  sent.end('{"subject":"leave"}');
  await expect.poll(async () => (await engine.requests()).items.length).toBe(1);
  const closed = app.close();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  expect(response.statusCode).toBe(202);
  expect(response.headers["connection"]).toBe("close");
  response.resume();
  await closed;
  agent.destroy();
  await expect(fetch(`http://127.0.0.1:${port}/health`)).rejects.toThrow(/fetch failed/);
});

test("a client whose request was accepted is told where to ask if the engine stops before the server", async () => {
  const { app, engine } = await system({ defaultWaitMs: 600_000 });
  const sent = app.inject({ method: "POST", url: "/approvals", payload: { subject: "leave" } });
  await expect.poll(async () => (await engine.requests()).items.length).toBe(1);
  const [{ id } = { id: "" }] = (await engine.requests()).items;
  await engine.stop();
  const response = await sent;
  expect(response.statusCode).toBe(202);
  expect(response.headers["location"]).toBe(`/requests/${id}`);
  // Nobody has accepted this one.
  const refused = await app.inject({ method: "POST", url: "/approvals", payload: { subject: "leave" } });
  expect(refused.statusCode).toBe(503);
});

test("closing cuts connections that do not finish within the limit", async () => {
  const { app } = await system({ closeWithinMs: 100 });
  const { port, hasRead } = await listening(app);
  const socket = connect(port, "127.0.0.1");
  const cut = once(socket, "close");
  socket.on("error", () => {});
  const unfinished =
    "POST /approvals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
  socket.write(unfinished);
  await hasRead(unfinished.length);
  const told = once(socket, "data");
  await app.close();
  await expect(cut).resolves.toBeDefined();
  expect(String((await told)[0])).toMatch(/^HTTP\/1.1 503 /);
});

test("closing cuts connections whose clients do not read their reply", async () => {
  const { app } = await system({ closeWithinMs: 100 });
  const { port, hasRead } = await listening(app);
  const socket = connect(port, "127.0.0.1").pause();
  onTestFinished(() => void socket.destroy());
  const unfinished =
    "POST /approvals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
  socket.write(unfinished);
  await hasRead(unfinished.length);
  await app.close();
  expect(app.server.listening).toBe(false);
});

test("closing tells those who have no reply yet that the server stops, before it cuts their connections", async () => {
  let asked = 0;
  const { app } = await system({
    closeWithinMs: 1000,
    extra: (made) => {
      made.get("/never", () => {
        asked++;
        return new Promise(() => {});
      });
      // What comes of it later harms nobody.
      made.get("/late", () => {
        asked++;
        return new Promise((resolve) => void setTimeout(resolve, 900, { late: true }));
      });
    },
  });
  const { port } = await listening(app);
  const replies = Promise.all(["/never", "/late"].map((path) => fetch(`http://127.0.0.1:${port}${path}`)));
  await expect.poll(() => asked).toBe(2);
  await app.close();
  for (const reply of await replies) {
    expect(reply.status).toBe(503);
    expect(reply.headers.get("retry-after")).toBe("1");
    expect(await reply.json()).toMatchObject({ code: "WW_STOPPING" });
  }
});

test("closing waits for no connection that has never sent anything, as clients keep them for later", async () => {
  const { app } = await system({ closeWithinMs: 600_000 });
  const { port, hasRead } = await listening(app);
  const socket = connect(port, "127.0.0.1");
  const cut = once(socket, "close");
  await hasRead(0);
  await app.close();
  await expect(cut).resolves.toBeDefined();
});

test("while the server closes, a new request is 503, and one whose body is still coming is accepted", async () => {
  const { app, engine } = await system({ closeWithinMs: 30_000 });
  const { port, hasRead } = await listening(app);
  const whole = post('{"subject":"leave"}', "Idempotency-Key: k\r\n");
  const [headless, bodiless] = [whole.slice(0, 30), whole.slice(0, -10)].map((part) => {
    const socket = connect(port, "127.0.0.1").setEncoding("utf8");
    socket.write(part);
    return socket;
  }) as [Socket, Socket];
  await hasRead(30, whole.length - 10);
  const closed = app.close();
  await expect.poll(() => app.server.listening).toBe(false);
  headless.write(whole.slice(30));
  bodiless.write(whole.slice(-10));
  const [[refused], [accepted]] = await Promise.all([once(headless, "data"), once(bodiless, "data")]);
  await closed;
  expect(refused).toMatch(/^HTTP\/1.1 503 [^]*connection: close[^]*"WW_STOPPING"/);
  expect(accepted).toMatch(/^HTTP\/1.1 202 [^]*connection: close/);
  expect((await engine.requests({ hub: "approval" })).items).toHaveLength(1);
});

test("a request that has come when the server closes, and is not read yet, gets a reply", async () => {
  const { app } = await system({ closeWithinMs: 30_000 });
  const { port } = await listening(app);
  const sent = new Int32Array(new SharedArrayBuffer(4));
  // The clients are in another thread, since the server stands still until it closes.
  const clients = new Worker(
    `const { connect } = require("node:net");
    const { parentPort, workerData: { port, bytes, count, sent } } = require("node:worker_threads");
    const replies = Array.from({ length: count }, () => new Promise((resolve) => {
      let text = "";
      connect(port, "127.0.0.1", function () { this.write(bytes, () => Atomics.add(sent, 0, 1)); })
        .setEncoding("utf8")
        .on("data", (data) => (text += data))
        .on("error", (error) => resolve(error.code))
        .on("close", () => resolve(text.split("\\r", 1)[0]));
    }));
    Promise.all(replies).then((all) => parentPort.postMessage(all));`,
    {
      eval: true,
      workerData: { port, bytes: post('{"subject":"leave"}'), count: 50, sent },
    },
  );
  const replied = once(clients, "message");
  await once(clients, "online");
  while (Atomics.load(sent, 0) < 50) Atomics.wait(sent, 0, Atomics.load(sent, 0), 10);
  await app.close();
  const [replies] = (await replied) as [string[]];
  expect([...new Set(replies)]).toEqual(["HTTP/1.1 503 Service Unavailable"]);
  await clients.terminate();
});

test("a request with two idempotency keys, or two hosts, is refused", async () => {
  const { app, engine } = await system();
  const { port } = await listening(app);
  const close = "Connection: close\r\n";
  const keys = await raw(
    port,
    post('{"subject":"a"}', `${close}Idempotency-Key: one\r\nidempotency-key: two\r\n`),
  );
  expect(keys).toContain("HTTP/1.1 400 ");
  expect(keys).toContain("must come once only");
  const hosts = await raw(port, post('{"subject":"a"}', `${close}Host: localhost\r\n`));
  expect(hosts).toMatch(/^HTTP\/1.1 4\d\d /);
  expect((await engine.requests()).items).toEqual([]);
});
