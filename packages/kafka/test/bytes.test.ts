import { randomUUID } from "node:crypto";
import { clusterTopics, createNode, replayDeadLetter, type Channel } from "@wheelwork/engine/cluster";
import type { KafkaBroker } from "@wheelwork/services";
import { MemoryStore } from "@wheelwork/testing";
import { Consumer, ProduceAcks, Producer } from "@platformatic/kafka";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesOf, textOf } from "../src/bytes.ts";
import { kafka } from "../src/index.ts";
import { canRun, startBroker } from "./broker.ts";
import { echo } from "./echo.ts";

const suite = canRun ? describe : describe.skip;
const eventually = { timeout: 120_000, interval: 20 };

test("bytes are read as a text that is written as the same bytes; UTF-8 is read as what it says", () => {
  const anyBytes = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes));
  const broken = fc
    .tuple(fc.string({ unit: "binary" }), anyBytes, fc.string({ unit: "binary" }))
    .map(([before, bytes, after]) =>
      Buffer.concat([Buffer.from(before.toWellFormed()), bytes, Buffer.from(after.toWellFormed())]),
    );
  fc.assert(
    fc.property(fc.oneof(anyBytes, broken), (bytes) => {
      expect(bytesOf(textOf(bytes))).toEqual(bytes);
    }),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(textOf(Buffer.from(text.toWellFormed()))).toBe(text.toWellFormed());
    }),
  );
  // Halves of surrogate pairs that are no bytes are written as everywhere.
  expect(bytesOf("a\ud800b\udfff")).toEqual(Buffer.from("a\ufffdb\ufffd"));
});

suite("records whose keys and values are no texts", () => {
  let broker: KafkaBroker;
  let stop: () => Promise<void>;
  beforeAll(async () => {
    ({ broker, stop } = await startBroker());
  });
  afterAll(() => stop());

  test("each sender is answered under the bytes of its own key, and dead letters are what their records were", async () => {
    const inbox = `inbox-${randomUUID()}`;
    const channel: Channel = {
      name: "test",
      from: `${inbox}-in`,
      to: `${inbox}-out`,
      hub: echo,
      request: ({ value }) => JSON.parse(value) as unknown,
      answer: (answer) => ({ value: answer.kind }),
    };
    const log = kafka({ brokers: broker.brokers });
    await log.ensureTopics(
      clusterTopics({ shards: 1, inbox, channels: [channel] }).map(({ name }) => ({ name, partitions: 1 })),
    );
    const disk = new MemoryStore();
    const node = createNode({
      hubs: [echo],
      workers: [],
      shards: 1,
      store: () => disk.reopen(),
      log,
      inbox,
      group: inbox,
      channels: [channel],
    });
    await node.start();
    const raw = new Producer({ clientId: "raw", bootstrapBrokers: [broker.brokers] });
    const consumer = new Consumer({
      clientId: "raw",
      groupId: randomUUID(),
      bootstrapBrokers: [broker.brokers],
    });
    const topics = [channel.to, `${inbox}-dlt`, inbox];
    const stream = await consumer.consume({ topics, mode: "earliest", autocommit: false });
    const seen: { topic: string; key: string; value: string }[] = [];
    stream.on("data", ({ topic, key, value }: { topic: string; key: Buffer; value: Buffer }) => {
      seen.push({ topic, key: key.toString("hex"), value: value.toString("hex") });
    });
    const of = (topic: string) => seen.filter((record) => record.topic === topic);

    // A number as a key, as producers write it; keys that differ in one byte; a key that is cut, and one that is long and has NUL.
    const number = Buffer.alloc(8);
    number.writeBigInt64BE(-42n);
    const long = Buffer.from(`${"x".repeat(3000)}\0`);
    const keys = [
      number,
      Buffer.of(0x80),
      Buffer.of(0x81),
      Buffer.of(0x61, 0xc3),
      long,
      Buffer.from("plain"),
    ];
    await raw.send({
      acks: ProduceAcks.ALL,
      messages: keys.map((key) => ({ topic: channel.from, key, value: Buffer.from('{"n":1}') })),
    });
    const answered = (): unknown[] =>
      of(channel.to).map(({ key, value }) => [key, Buffer.from(value, "hex").toString()]);
    await expect.poll(() => answered().length, eventually).toBe(keys.length);
    expect(answered().toSorted()).toEqual(
      keys.map((key) => [key.toString("hex"), key.toString() === "plain" ? "result" : "error"]).toSorted(),
    );

    const broken = { key: Buffer.of(0xff, 0x61), value: Buffer.of(0xc3, 0x28) };
    await raw.send({ acks: ProduceAcks.ALL, messages: [{ topic: inbox, partition: 0, ...broken }] });
    const hex = { key: "ff61", value: "c328" };
    await expect.poll(() => of(`${inbox}-dlt`), eventually).toMatchObject([hex]);
    const letters: unknown[] = [];
    await log.read(`${inbox}-dlt`, 0, undefined, {
      records: async ([letter]) => {
        letters.push(letter);
        if (letters.length === 1 && letter !== undefined) await replayDeadLetter(log, letter);
      },
      lost: () => {},
    });
    await expect.poll(() => of(inbox), eventually).toMatchObject([hex, hex]);
    await consumer.close(true);
    await raw.close();
    await node.stop();
    await log.close();
  });
});
