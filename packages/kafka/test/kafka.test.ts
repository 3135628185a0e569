import { randomUUID } from "node:crypto";
import type { LogRecord, Partitions } from "@wheelwork/engine/cluster";
import { busConformance } from "@wheelwork/testing";
import type { KafkaBroker } from "@wheelwork/services";
import { Admin } from "@platformatic/kafka";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { kafka, type Kafka } from "../src/index.ts";
import { canRun, startBroker } from "./broker.ts";

let broker: KafkaBroker;
let stop: () => Promise<void>;
const open: Kafka[] = [];

beforeAll(async () => {
  if (canRun) ({ broker, stop } = await startBroker());
});

afterAll(async () => {
  await Promise.all(open.map((bus) => bus.close()));
  if (canRun) await stop();
});

function connect(sessionTimeoutMs = 2000): Kafka {
  const bus = kafka({ brokers: broker.brokers, sessionTimeoutMs });
  open.push(bus);
  return bus;
}

async function topicOf(bus: Kafka, partitions: number): Promise<string> {
  const name = `t-${randomUUID()}`;
  await bus.ensureTopics([{ name, partitions }]);
  return name;
}

async function makeAnew(bus: Kafka, name: string, partitions: number): Promise<void> {
  const admin = new Admin({ clientId: "test", bootstrapBrokers: [broker.brokers] });
  await admin.deleteTopics({ topics: [name] });
  await admin.close();
  // What a broker's controller has written down, its other half knows a little later.
  await expect
    .poll(() => bus.topic(name).catch((error: unknown) => error), eventually)
    .toMatchObject({ code: "WW_CONFIG" });
  await bus.ensureTopics([{ name, partitions }]);
}

/** Collects what a partition holds, and waits for it. */
class Collected {
  readonly records: LogRecord[] = [];
  readonly errors: Error[] = [];
  readonly reader = {
    records: (records: readonly LogRecord[]): void => void this.records.push(...records),
    lost: (error: Error): void => void this.errors.push(error),
  };
  get values(): string[] {
    return this.records.map(({ value }) => value);
  }
}

const eventually = { timeout: 120_000, interval: 20 };

const suite = canRun ? describe : describe.skip;

if (canRun) {
  busConformance({ describe, test }, "Kafka", async () => {
    const [bus, other] = [kafka({ brokers: broker.brokers }), kafka({ brokers: broker.brokers })];
    const topic = await topicOf(bus, 4);
    await bus.ensureTopics([{ name: `${topic}-other`, partitions: 1 }]);
    return {
      bus,
      other,
      topic,
      close: async () => {
        await bus.close();
        await other.close();
      },
    };
  });
}

suite("reading a log", () => {
  test("a record has the date that is given with it; one that is far ahead is refused, and the clock is named", async () => {
    const bus = connect();
    const topic = await topicOf(bus, 1);
    const day = 86_400_000;
    const dates = [Date.now() - 40 * day, Date.now() + 300_000];
    for (const timestampMs of dates) await bus.append(topic, { key: "k", value: "v", timestampMs }, 0);
    await expect(
      bus.append(topic, { key: "k", value: "v", timestampMs: Date.now() + 2 * day }, 0),
    ).rejects.toMatchObject({
      code: "WW_CONFIG",
      next: expect.stringContaining("clock of this host") as string,
    });
    await bus.append(topic, { key: "k", value: "last" }, 0);
    const collected = new Collected();
    await bus.read(topic, 0, 0, collected.reader);
    await expect.poll(() => collected.values.at(-1), eventually).toBe("last");
    expect(collected.records.slice(0, 2).map(({ timestampMs }) => timestampMs)).toEqual(dates);
    expect(collected.values).toEqual(["v", "v", "last"]);
  });

  test("tells how a topic is kept", async () => {
    const bus = connect();
    const name = `t-${randomUUID()}`;
    await bus.ensureTopics([{ name, partitions: 2, configs: { "retention.ms": "7200000" } }]);
    expect(await bus.settings(name)).toMatchObject({
      partitions: 2,
      replicas: 1,
      inSync: 1,
      configs: { "retention.ms": "7200000", "cleanup.policy": "delete", "min.insync.replicas": "1" },
    });
    await expect(bus.settings(`none-${randomUUID()}`)).rejects.toMatchObject({ code: "WW_CONFIG" });
  });

  test("begins where it is told to, and gives offsets, headers and times", async () => {
    const bus = connect();
    const topic = await topicOf(bus, 2);
    for (let number = 0; number < 5; number++)
      await bus.append(topic, { key: `k${number}`, value: `v${number}`, headers: { ü: "ä" } }, 1);
    const all = new Collected();
    const reading = await bus.read(topic, 1, undefined, all.reader);
    expect(reading).toMatchObject({ from: 0, end: 5 });
    const some = new Collected();
    await bus.read(topic, 1, 3, some.reader);
    await expect.poll(() => all.values, eventually).toEqual(["v0", "v1", "v2", "v3", "v4"]);
    await expect.poll(() => some.values, eventually).toEqual(["v3", "v4"]);
    const [first] = some.records;
    expect(first).toMatchObject({ topic, partition: 1, offset: 3, key: "k3", headers: { ü: "ä" } });
    expect(Math.abs((first?.timestampMs ?? 0) - Date.now())).toBeLessThan(60_000);
    reading.stop();
    await bus.append(topic, { key: "k", value: "later" }, 1);
    await expect.poll(() => some.values, eventually).toContain("later");
    expect(all.values).not.toContain("later");
  });

  test("waits for its reader before it gives more", async () => {
    const bus = connect();
    const topic = await topicOf(bus, 1);
    const taken: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    await bus.read(topic, 0, undefined, {
      records: async (records) => {
        taken.push(...records.map(({ value }) => value));
        await promise;
      },
      lost: () => {},
    });
    await bus.append(topic, { key: "k", value: "first" });
    await expect.poll(() => taken, eventually).toEqual(["first"]);
    await bus.append(topic, { key: "k", value: "second" });
    const other = new Collected();
    await bus.read(topic, 0, 1, other.reader);
    await expect.poll(() => other.values, eventually).toEqual(["second"]);
    expect(taken).toEqual(["first"]);
    resolve();
    await expect.poll(() => taken, eventually).toEqual(["first", "second"]);
  });

  test("refuses offsets that the log does not hold, and says when its topic is made anew", async () => {
    const bus = connect();
    const topic = await topicOf(bus, 1);
    await bus.append(topic, { key: "k", value: "v" });
    await expect(bus.read(topic, 0, 2, new Collected().reader)).rejects.toMatchObject({
      code: "WW_LOG_LOST",
    });
    const collected = new Collected();
    await bus.read(topic, 0, 0, collected.reader);
    await expect.poll(() => collected.values, eventually).toEqual(["v"]);
    const before = await bus.topic(topic);
    await makeAnew(bus, topic, 1);
    expect((await bus.topic(topic)).id).not.toBe(before.id);
    await expect.poll(() => collected.errors[0], eventually).toMatchObject({ code: "WW_LOG_LOST" });
  });

  test("a subscription to a topic that is made anew goes on, and gets each message once", async () => {
    const bus = connect();
    const partitions = 4;
    const topic = await topicOf(bus, partitions);
    const given: string[] = [];
    bus.subscribe(topic, ({ value }) => void given.push(value));
    await bus.ready();
    await makeAnew(bus, topic, partitions);
    const send = async (text: string): Promise<string[]> => {
      const values = Array.from({ length: partitions }, (_, partition) => `${text} ${partition}`);
      for (const [partition, value] of values.entries())
        await bus.append(topic, { key: "k", value }, partition);
      await expect.poll(() => given, eventually).toEqual(expect.arrayContaining(values));
      return values;
    };
    // Once something has come from each partition, each of them is read.
    await send("first");
    const values = await send("second");
    expect(given.filter((value) => value.startsWith("second")).toSorted()).toEqual(values);
  });

  test("checks the partitions of topics that are there", async () => {
    const bus = connect();
    const topic = await topicOf(bus, 3);
    await bus.ensureTopics([{ name: topic, partitions: 3 }]);
    await expect(bus.ensureTopics([{ name: topic, partitions: 4 }])).rejects.toMatchObject({
      code: "WW_CONFIG",
      message: expect.stringContaining("3 partitions, not 4") as string,
    });
  });

  test("names the partition of a key as Java's clients do", async () => {
    const bus = connect();
    const topic = await topicOf(bus, 8);
    const found = new Map<string, number>();
    for (let partition = 0; partition < 8; partition++) {
      await bus.read(topic, partition, undefined, {
        records: (records) => records.forEach(({ key }) => found.set(key, partition)),
        lost: () => {},
      });
    }
    for (const key of ["foobar", "a-little-bit-long-string", "21"])
      await bus.append(topic, { key, value: "" });
    await expect.poll(() => found.size, eventually).toBe(3);
    // The values of UtilsTest.testMurmur2.
    const murmur2: Readonly<Record<string, number>> = {
      "21": -973932308,
      foobar: -790332482,
      "a-little-bit-long-string": -985981536,
    };
    for (const [key, hash] of Object.entries(murmur2)) expect(found.get(key)).toBe((hash & 0x7fffffff) % 8);
  });
});

suite("when the broker dies", () => {
  test("what was acknowledged is there, readings and subscriptions go on, and publishing fails until it is back", async () => {
    const bus = connect();
    const topic = await topicOf(bus, 1);
    const collected = new Collected();
    await bus.read(topic, 0, undefined, collected.reader);
    const heard: string[] = [];
    bus.subscribe(topic, ({ value }) => void heard.push(value));
    await bus.ready();
    const acknowledged: string[] = [];
    const failures: unknown[] = [];
    let number = 0;
    const write = async (): Promise<void> => {
      const value = `v${number++}`;
      try {
        await bus.append(topic, { key: "k", value });
        acknowledged.push(value);
      } catch (error) {
        failures.push(error);
      }
    };
    for (let count = 0; count < 20; count++) await write();
    const dying = broker.signal("SIGKILL");
    while (failures.length < 1) await write();
    expect(failures[0]).toMatchObject({ code: "WW_BUS_UNAVAILABLE", retryable: true });
    await dying;
    await broker.start();
    const before = acknowledged.length;
    while (acknowledged.length < before + 20) await write();
    await expect
      .poll(() => acknowledged.filter((value) => !collected.values.includes(value)), eventually)
      .toEqual([]);
    await expect.poll(() => acknowledged.filter((value) => !heard.includes(value)), eventually).toEqual([]);
    const offsets = collected.records.map(({ offset }) => offset);
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
  });
});

suite("a group", () => {
  const member = async (group: string, topic: string, refuses: readonly number[] = []) => {
    const bus = connect();
    const state = { partitions: [] as readonly number[], assignments: 0 };
    const membership = await bus.join({
      group,
      topics: [topic],
      state: () => ({
        owns: [{ topic, partitions: state.partitions }],
        refuses: [{ topic, partitions: refuses }],
      }),
      assigned: (given: readonly Partitions[]) => {
        state.partitions = given.find((one) => one.topic === topic)?.partitions ?? [];
        state.assignments++;
      },
    });
    return { bus, state, membership };
  };
  const sorted = (partitions: readonly number[]): number[] => partitions.toSorted((a, b) => a - b);
  /** Waits until members have all partitions between them, each as many as it is to have: they are not told at once. */
  const share = async (
    partitions: number,
    ...members: readonly (readonly [Awaited<ReturnType<typeof member>>, number])[]
  ): Promise<void> => {
    await expect
      .poll(() => {
        const shares = members.map(([{ state }]) => state.partitions);
        return { counts: shares.map(({ length }) => length), all: sorted(shares.flat()) };
      }, eventually)
      .toEqual({
        counts: members.map(([, count]) => count),
        all: Array.from({ length: partitions }, (_, partition) => partition),
      });
  };

  test("shares partitions out fairly, moves few, and gives those of a member that leaves to the others", async () => {
    const bus = connect();
    const topic = await topicOf(bus, 6);
    const group = `g-${topic}`;
    const a = await member(group, topic);
    await share(6, [a, 6]);
    const b = await member(group, topic);
    await share(6, [a, 3], [b, 3]);
    const kept = [...a.state.partitions];
    const c = await member(group, topic);
    await share(6, [a, 2], [b, 2], [c, 2]);
    expect(kept).toEqual(expect.arrayContaining([...a.state.partitions]));
    await a.membership.leave();
    await share(6, [b, 3], [c, 3]);
  });

  test("gives nobody what it refuses, and notes how far its members have read", async () => {
    const bus = connect();
    const topic = await topicOf(bus, 4);
    const group = `g-${topic}`;
    const a = await member(group, topic, [0, 1]);
    const b = await member(group, topic);
    await expect.poll(() => sorted(b.state.partitions), eventually).toEqual([0, 1]);
    await expect.poll(() => sorted(a.state.partitions), eventually).toEqual([2, 3]);
    expect(await b.membership.committed(topic, 1)).toBeUndefined();
    await b.membership.commit(topic, 1, 17);
    expect(await b.membership.committed(topic, 1)).toBe(17);
    expect(await b.membership.committed(topic, 0)).toBeUndefined();
    const { assignments } = b.state;
    b.membership.rejoin();
    await expect.poll(() => b.state.assignments, eventually).toBeGreaterThan(assignments);
  });
});

test("options that cannot be right are refused at once", () => {
  expect(() => kafka({ brokers: "localhost" })).toThrow(
    expect.objectContaining({ code: "WW_CONFIG" }) as Error,
  );
  expect(() => kafka({ brokers: [] })).toThrow(expect.objectContaining({ code: "WW_CONFIG" }) as Error);
});

suite("a broker that is not there", () => {
  test("is named in the error, which says what to do", async () => {
    const bus = kafka({ brokers: "127.0.0.1:1" });
    open.push(bus);
    await expect(bus.append("t", { key: "k", value: "v" })).rejects.toMatchObject({
      code: "WW_BUS_UNAVAILABLE",
      next: expect.stringContaining("brokers run") as string,
    });
  });
});
