// What connects need not be a switch. None of these tests needs Open vSwitch.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import {
  decode,
  encode,
  type Features,
  hello,
  listen,
  type Speaker,
  type SpeakerOptions,
} from "../src/index.ts";

async function speaker(options: SpeakerOptions = {}): Promise<Speaker> {
  const one = await listen({ port: 0, host: "127.0.0.1", ...options });
  onTestFinished(() => one.close());
  return one;
}

function stranger({ port }: Speaker): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.resume();
  onTestFinished(() => void socket.destroy());
  return socket;
}

it("a stranger that says nothing is given up", async () => {
  const one = await speaker({ handshakeMs: 50 });
  const socket = stranger(one);
  const [[error, remote]] = await Promise.all([once(one, "refused"), once(socket, "close")]);
  expect(error).toMatchObject({ code: "WW_OF_HANDSHAKE" });
  expect(remote).toMatch(/^127\.0\.0\.1:\d+$/);
});

it("a stranger that speaks something else is refused", async () => {
  const one = await speaker();
  const socket = stranger(one);
  socket.write("GET / HTTP/1.1\r\n\r\n");
  const [[error]] = await Promise.all([once(one, "refused"), once(socket, "close")]);
  expect(error).toMatchObject({ code: "WW_OF_VERSION" });
});

it("a stranger that has gone before its turn is forgotten", async () => {
  const features: Features = {
    type: "featuresReply",
    datapathId: 1n,
    buffers: 0,
    tables: 1,
    auxiliaryId: 0,
    capabilities: 0,
    reserved: 0,
  };
  let decide: ((generation: bigint) => void) | undefined;
  const generation = () => new Promise<bigint>((resolve) => (decide = resolve));
  const one = await speaker({ generation });
  const socket = stranger(one);
  socket.write(encode(hello));
  const asked = new Promise<number>((resolve) => {
    socket.on("data", (bytes) => {
      // Its hello has 16 bytes, and comes alone or with the question who this is.
      for (let at = 0; at < bytes.length; at += bytes.readUInt16BE(at + 2)) {
        const message = decode(bytes.subarray(at, at + bytes.readUInt16BE(at + 2)));
        if (message.type === "featuresRequest") resolve(message.xid);
      }
    });
  });
  socket.write(encode(features, await asked));
  await expect.poll(() => decide).toBeDefined();
  const refused = once(one, "refused");
  socket.end();
  expect(await refused).toMatchObject([{ code: "WW_OF_CLOSED" }, expect.anything()]);
  decide?.(1n);
  expect(one.switches.size).toBe(0);
});

it("too many are refused", async () => {
  const one = await speaker({ maxConnections: 1 });
  await once(stranger(one), "connect");
  const socket = stranger(one);
  const [[error]] = await Promise.all([once(one, "refused"), once(socket, "close")]);
  expect(error).toMatchObject({ code: "WW_OF_OVERLOADED" });
});
