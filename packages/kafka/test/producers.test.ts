import { randomUUID } from "node:crypto";
import type { LogRecord } from "@wheelwork/engine/cluster";
import type { KafkaBroker } from "@wheelwork/services";
import { ProduceAcks, Producer, stringSerializers } from "@platformatic/kafka";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { kafka, type Kafka } from "../src/index.ts";
import { canRun, startBroker } from "./broker.ts";

const suite = canRun ? describe : describe.skip;
const eventually = { timeout: 120_000, interval: 20 };

let broker: KafkaBroker;
let stop: () => Promise<void>;
let log: Kafka;
beforeAll(async () => {
  if (!canRun) return;
  ({ broker, stop } = await startBroker());
  log = kafka({ brokers: broker.brokers });
});
afterAll(async () => {
  if (!canRun) return;
  await log.close();
  await stop();
});

/** A producer as other systems have them: its records need not be alike. */
function producer(more: object = {}) {
  const raw = new Producer({
    clientId: "raw",
    bootstrapBrokers: [broker.brokers],
    serializers: stringSerializers,
    acks: ProduceAcks.ALL,
    ...more,
  });
  onTestFinished(async () => raw.close());
  return raw;
}

async function topicOf(configs: Record<string, string> = {}): Promise<string> {
  const name = `t-${randomUUID()}`;
  await log.ensureTopics([{ name, partitions: 1, configs }]);
  return name;
}

/** What is read of a topic, as it comes. */
async function recordsOf(topic: string, from?: number): Promise<LogRecord[]> {
  const all: LogRecord[] = [];
  await log.read(topic, 0, from, { records: (more) => void all.push(...more), lost: () => {} });
  return all;
}

suite("our own producer", () => {
  test("writes to a topic though others that it is given at the same time are gone, and to those once they are back", async () => {
    const bus = kafka({ brokers: broker.brokers });
    const [good, gone, other] = [await topicOf(), `gone-${randomUUID()}`, `gone-${randomUUID()}`];
    const lost = { [gone]: 0, [other]: 0 };
    const results: Promise<void>[] = [];
    // As many answers as wait for their topic, each tried again and again.
    const again = async (topic: string, value: string): Promise<void> => {
      for (;;) {
        try {
          return await bus.publish(topic, { key: "k", value });
        } catch {
          lost[topic] = (lost[topic] ?? 0) + 1;
        }
      }
    };
    const waiting = Array.from({ length: 40 }, (_, number) =>
      again(number % 2 === 0 ? gone : other, `${number}`),
    );
    for (let number = 0; number < 20; number++) {
      for (const value of ["a", "b", "c"])
        results.push(bus.append(good, { key: "k", value: `${number}${value}` }));
      await results.at(-1)?.catch(() => {});
    }
    const settled = await Promise.allSettled(results);
    expect(settled.filter(({ status }) => status === "rejected")).toEqual([]);
    const all = await recordsOf(good);
    const written = (): string[] => [...new Set(all.map(({ value }) => value))];
    await expect.poll(() => written().length, eventually).toBe(60);
    expect(written()).toEqual(written().toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)));
    for (const topic of [gone, other]) await expect.poll(() => lost[topic], eventually).toBeGreaterThan(20);
    await bus.ensureTopics([gone, other].map((name) => ({ name, partitions: 1 })));
    await Promise.all(waiting);
    const back = await recordsOf(gone);
    await expect.poll(() => new Set(back.map(({ value }) => value)).size, eventually).toBe(20);
    await bus.publish(gone, { key: "k", value: "later" });
    await bus.close();
  });
});

suite("what other systems' producers write", () => {
  test("is not read if its transaction was aborted, however many there were and however large", async () => {
    const topic = await topicOf();
    const [one, other] = ["one", "other"].map((id) =>
      producer({ idempotent: true, transactionalId: `${topic}-${id}`, retries: 3 }),
    );
    const inTransaction = async (
      by: ReturnType<typeof producer> | undefined,
      values: readonly string[],
      isCommitted: boolean,
    ): Promise<void> => {
      const transaction = await by?.beginTransaction();
      for (const value of values)
        await transaction?.send({ messages: [{ topic, key: "k", value, partition: 0 }] });
      await (isCommitted ? transaction?.commit() : transaction?.abort());
    };
    const large = Array.from({ length: 6 }, (_, number) => `large ${number} ${"x".repeat(900_000)}`);
    await inTransaction(one, ["aborted 1"], false);
    await inTransaction(one, ["kept 1"], true);
    await inTransaction(one, ["aborted 2"], false);
    await inTransaction(other, ["aborted 3", "aborted 4"], false);
    await inTransaction(one, large, false);
    await inTransaction(other, ["kept 2"], true);
    await inTransaction(one, ["aborted 5"], false);
    const plain = producer();
    await plain.send({ messages: [{ topic, key: "k", value: "last", partition: 0 }] });
    const all = await recordsOf(topic);
    await expect.poll(() => all.at(-1)?.value, eventually).toBe("last");
    expect(all.map(({ value }) => value.slice(0, 20))).toEqual(["kept 1", "kept 2", "last"]);
    // From the middle of a transaction on, as after a restart.
    const middle = await recordsOf(topic, 10);
    await expect.poll(() => middle.at(-1)?.value, eventually).toBe("last");
    expect(middle.map(({ value }) => value.slice(0, 20))).toEqual(["kept 2", "last"]);
  });

  test("is read whichever way it is compressed", async () => {
    const topic = await topicOf();
    const ways = ["none", "gzip", "snappy", "lz4", "zstd"] as const;
    for (const compression of ways)
      await producer().send({
        compression,
        messages: ["a", "b"].map((half) => ({
          topic,
          key: compression,
          value: half.repeat(1000),
          partition: 0,
        })),
      });
    const all = await recordsOf(topic);
    await expect
      .poll(() => all.map(({ key, value }) => `${key} ${value.slice(0, 1)}${value.length}`), eventually)
      .toEqual(ways.flatMap((way) => [`${way} a1000`, `${way} b1000`]));
  });

  test("has the time at which it was written where the topic says so, whatever its producer's clock says", async () => {
    const topic = await topicOf({ "message.timestamp.type": "LogAppendTime" });
    const before = Date.now();
    const messages = [0, 86_400_000].map((ms) => ({
      topic,
      key: "k",
      value: `${ms}`,
      partition: 0,
      timestamp: BigInt(ms),
    }));
    await producer().send({ messages });
    const all = await recordsOf(topic);
    await expect.poll(() => all.length, eventually).toBe(2);
    for (const { timestampMs } of all) expect(timestampMs).toBeGreaterThan(before - 60_000);
  });
});
