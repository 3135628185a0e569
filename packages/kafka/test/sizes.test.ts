import { randomUUID } from "node:crypto";
import { end, hub, spoke } from "@wheelwork/core";
import { worker, type EngineEvent } from "@wheelwork/engine";
import {
  clusterTopics,
  createClient,
  createNode,
  type Channel,
  type LogRecord,
} from "@wheelwork/engine/cluster";
import type { KafkaBroker } from "@wheelwork/services";
import { MemoryStore } from "@wheelwork/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as z from "zod";
import { kafka, type Kafka } from "../src/index.ts";
import { canRun, startBroker } from "./broker.ts";

const suite = canRun ? describe : describe.skip;
const eventually = { timeout: 120_000, interval: 20 };

let broker: KafkaBroker;
let stop: () => Promise<void>;
const open: Kafka[] = [];
beforeAll(async () => {
  if (canRun) ({ broker, stop } = await startBroker());
});
afterAll(async () => {
  await Promise.all(open.map((log) => log.close()));
  if (canRun) await stop();
});

function connect(): Kafka {
  const log = kafka({ brokers: broker.brokers });
  open.push(log);
  return log;
}

/** All records of a topic with one partition, as they come. */
async function recordsOf(log: Kafka, topic: string): Promise<LogRecord[]> {
  const all: LogRecord[] = [];
  const records = (more: readonly LogRecord[]): void => void all.push(...more);
  await log.read(topic, 0, undefined, { records, lost: () => {} });
  return all;
}

suite("records that are large, alone or together", () => {
  test("many records that are together more than a broker takes at once are all written, in their order", async () => {
    const log = connect();
    for (const limit of ["1048588", "20000"]) {
      const topic = `t-${randomUUID()}`;
      await log.ensureTopics([{ name: topic, partitions: 1, configs: { "max.message.bytes": limit } }]);
      const keys = Array.from({ length: 1500 }, (_, number) => `${number}`);
      await Promise.all(keys.map((key) => log.append(topic, { key, value: "v".repeat(2000) })));
      const all = await recordsOf(log, topic);
      // A record may be written twice where a request was refused.
      await expect.poll(() => [...new Set(all.map(({ key }) => key))], eventually).toEqual(keys);
    }
  });

  test("one record that its topic will never take is refused for good, and does not hold back the others", async () => {
    const log = connect();
    const topic = `t-${randomUUID()}`;
    await log.ensureTopics([{ name: topic, partitions: 1 }]);
    const sizes = [10, 2_000_000, 20, 100_000_000, 30];
    const results = await Promise.allSettled(
      sizes.map((size) => log.append(topic, { key: `${size}`, value: "v".repeat(size) })),
    );
    expect(results.map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
      "rejected",
      "fulfilled",
    ]);
    expect(results[1]).toMatchObject({ reason: { code: "WW_TOO_LARGE", retryable: false } });
    expect(results[3]).toMatchObject({ reason: { code: "WW_TOO_LARGE", retryable: false } });
    const all = await recordsOf(log, topic);
    await expect
      .poll(() => new Set(all.map(({ key }) => key)), eventually)
      .toEqual(new Set(["10", "20", "30"]));
  });

  test("an answer that no broker takes becomes a short error, once; a request that none takes is refused for good", async () => {
    const inbox = `inbox-${randomUUID()}`;
    const pad = spoke("pad", { input: z.number(), output: z.string(), timeoutMs: 5000 });
    const padding = hub(
      "padding",
      {
        request: z.object({ size: z.number(), note: z.string().optional() }),
        reply: z.string(),
        deadlineMs: 20_000,
        chart: { Working: { Next: "Done", Late: "Done" }, Done: end },
        data: ({ size }) => ({ size, text: "" }),
      },
      {
        Working: (s) =>
          s.call(pad, {
            input: ({ size }) => size,
            ok: (_data, text) => s.raise("Next", { text }),
            failed: "Late",
            deadline: "Late",
          }),
        Done: ({ text }) => text,
      },
    );
    const channel: Channel = {
      name: "test",
      from: `${inbox}-in`,
      to: `${inbox}-out`,
      hub: padding,
      request: ({ value }) => JSON.parse(value) as unknown,
      answer: (answer) => ({ value: JSON.stringify(answer) }),
    };
    const log = connect();
    await log.ensureTopics(
      clusterTopics({ shards: 1, inbox, channels: [channel] }).map(({ name }) => ({ name, partitions: 1 })),
    );
    const disk = new MemoryStore();
    const store = (): MemoryStore => disk.reopen();
    const events: EngineEvent[] = [];
    const begin = async () => {
      const node = createNode({
        hubs: [padding],
        workers: [worker(pad, (size) => "x".repeat(size))],
        shards: 1,
        store,
        log: connect(),
        inbox,
        group: inbox,
        channels: [channel],
        observe: (event) => void events.push(event),
      });
      await node.start();
      await expect.poll(() => node.shards.map(({ status }) => status), eventually).toEqual(["running"]);
      return node;
    };
    const first = await begin();
    const published = await recordsOf(log, channel.to);
    const answersTo = (key: string): unknown[] =>
      published.filter((record) => record.key === key).map(({ value }) => JSON.parse(value) as unknown);
    const ask = (key: string, size: number): Promise<void> =>
      log.append(channel.from, { key, value: JSON.stringify({ size }) });
    await ask("huge", 5_000_000);
    await ask("small", 3);
    await expect.poll(() => answersTo("small"), eventually).toEqual([{ kind: "result", value: "xxx" }]);
    await expect
      .poll(() => answersTo("huge"), eventually)
      .toEqual([{ kind: "error", code: "WW_TOO_LARGE", message: expect.any(String) as string }]);
    expect(await first.answer("huge")).toEqual({ kind: "result", value: "x".repeat(5_000_000) });
    await expect.poll(() => first.shards.map(({ unpublished }) => unpublished), eventually).toEqual([0]);
    expect(events.filter(({ name }) => name === "answer-unpublishable")).toMatchObject([{ key: "huge" }]);
    await first.stop();

    const client = createClient({ hubs: [padding], shards: 1, store, log, inbox });
    await client.start();
    const request = { size: 1, note: "n".repeat(2_000_000) };
    await expect(client.submit("padding", request, { key: "big" })).rejects.toMatchObject({
      code: "WW_TOO_LARGE",
      retryable: false,
    });
    await client.stop();

    // The next owner has nothing to publish again.
    const before = published.length;
    const second = await begin();
    await ask("after", 4);
    await expect.poll(() => answersTo("after"), eventually).toEqual([{ kind: "result", value: "xxxx" }]);
    expect(published).toHaveLength(before + 1);
    await second.stop();
  });
});
