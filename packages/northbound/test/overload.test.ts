import type { FastifyInstance } from "fastify";
import { once } from "node:events";
import { request } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { join } from "node:path";
import { directory, engineOn, system } from "./system.ts";

/** What clients can do to the memory and the time of the server. */

const mega = 1024 * 1024;

async function portOf(app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: "127.0.0.1" });
  return (app.server.address() as AddressInfo).port;
}

/** Connects and sends bytes. Nothing is read before somebody listens. */
function sender(port: number, bytes: string): Socket {
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", () => {});
  socket.pause();
  socket.write(bytes);
  onTestFinished(() => void socket.destroy());
  return socket;
}

test("clients that do not read are cut when their replies together are too large, and others get theirs", async () => {
  const large = "x".repeat(8 * mega);
  const sockets: Socket[] = [];
  // It fails with each line, such as with that of a client that is cut.
  const lines: string[] = [];
  const line = (_fields: object, message: string): void => {
    lines.push(message);
    throw new Error("the disk of the log is full");
  };
  const { app } = await system({
    logger: { debug: line, info: line, warn: line, error: line },
    maxBufferedBytes: 20 * mega,
    extra: (made) => void made.get("/large", () => ({ large })),
  });
  app.server.on("connection", (socket: Socket) => void sockets.push(socket));
  const port = await portOf(app);
  const buffered = (): number =>
    sockets.reduce((sum, socket) => sum + (socket.destroyed ? 0 : socket.writableLength), 0);
  for (let count = 1; count <= 8; count++) {
    sender(port, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await expect.poll(() => sockets.length).toBe(count);
    await expect.poll(() => sockets[count - 1]?.bytesWritten ?? 0).toBeGreaterThan(8 * mega);
    expect(buffered()).toBeLessThan(20 * mega);
  }
  await expect.poll(() => sockets.filter(({ destroyed }) => !destroyed).length).toBe(2);
  const reading = await fetch(`http://127.0.0.1:${port}/large`);
  expect(((await reading.json()) as { large: string }).large.length).toBe(8 * mega);
  expect(lines).toContain("a client that does not read its reply was cut off");
});

test("a body for which there is no room is refused at once, and what it takes is given back", async () => {
  const { app } = await system({ maxBufferedBytes: mega });
  const port = await portOf(app);
  const head = (length: number): string =>
    `POST /greetings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;
  const slow = sender(port, head(mega));
  const ask = async (): Promise<Response> =>
    fetch(`http://127.0.0.1:${port}/greetings`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name: "Ann", text: "x".repeat(100_000) }),
    });
  await expect.poll(async () => (await ask()).status).toBe(503);
  const refused = await ask();
  expect(refused.headers.get("retry-after")).toBe("1");
  expect(await refused.json()).toMatchObject({ code: "WW_OVERLOADED" });
  // A small body takes no room.
  const small = await app.inject({ method: "POST", url: "/greetings", payload: { name: "Ann" } });
  expect(small.statusCode).toBe(200);
  slow.destroy();
  // It is read again, and is not valid.
  await expect.poll(async () => (await ask()).status).toBe(400);
});

test("bodies of unknown length take as much room as they may have", async () => {
  const { app } = await system({ maxBufferedBytes: mega });
  const port = await portOf(app);
  const chunked = `POST /greetings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`;
  sender(port, chunked);
  await expect
    .poll(async () => {
      const sent = request({ port, host: "127.0.0.1", path: "/greetings", method: "POST" });
      sent.setHeader("content-type", "application/json");
      sent.write("{");
      sent.on("error", () => {});
      const [response] = (await once(sent, "response")) as [{ statusCode: number; resume(): void }];
      response.resume();
      sent.destroy();
      return response.statusCode;
    })
    .toBe(503);
});

test("an engine that takes no more is 503 with Retry-After, and answers those whose requests it has", async () => {
  const file = join(directory(), "wheelwork.db");
  const before = await engineOn(file);
  await before.submit("greet", { name: "Ann" }, { key: "known" });
  await before.answer("known");
  await before.stop();
  const { app } = await system({ engine: await engineOn(file, { memoryBytes: 0 }) });
  const post = (key: string) =>
    app.inject({
      method: "POST",
      url: "/greetings",
      payload: { name: "Ann" },
      headers: { "idempotency-key": key },
    });
  const refused = await post("new");
  expect([refused.statusCode, refused.headers["retry-after"]]).toEqual([503, "1"]);
  expect(refused.json()).toMatchObject({ code: "WW_OVERLOADED" });
  expect((await post("known")).json()).toMatchObject({ message: "hello, Ann" });
  expect((await app.inject("/requests/known/answer")).statusCode).toBe(200);
  expect((await app.inject("/requests")).statusCode).toBe(200);
});
