import { systemClock } from "@wheelwork/engine";
import type { LogRecord, Partitions } from "@wheelwork/engine/cluster";
import { describe, expect, test } from "vitest";
import {
  busConformance,
  MemoryBroker,
  MemoryLog,
  SimulatedClock,
  type LogFault,
  type MemoryLogOptions,
} from "../src/index.ts";

busConformance({ describe, test }, "MemoryLog", () => {
  const broker = new MemoryBroker({ clock: systemClock });
  broker.createTopic("topic", 4);
  broker.createTopic("topic-other");
  const [bus, other] = [
    new MemoryLog(broker, { clock: systemClock }),
    new MemoryLog(broker, { clock: systemClock }),
  ];
  return {
    bus,
    other,
    topic: "topic",
    close: async () => {
      await bus.close();
      await other.close();
    },
  };
});

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

function setUp() {
  const clock = new SimulatedClock();
  const broker = new MemoryBroker({ clock, delayMs: () => 2 });
  const connect = (options: Partial<MemoryLogOptions> = {}): MemoryLog =>
    new MemoryLog(broker, { clock, ...options });
  /** What a promise gives, when time passes. */
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await clock.runUntil(promise, 60_000);
    return promise;
  };
  return { clock, broker, connect, soon };
}

const message = (value: string, key = "k") => ({ key, value });

describe("reading", () => {
  test("begins where it is told to, gives offsets, headers and times, and ends when it is stopped", async () => {
    const { clock, broker, connect, soon } = setUp();
    broker.createTopic("t", 2);
    const log = connect();
    for (let number = 0; number < 5; number++)
      await soon(log.append("t", { ...message(`v${number}`, `k${number}`), headers: { ü: "ä" } }, 1));
    const [all, some] = [new Collected(), new Collected()];
    const reading = await soon(log.read("t", 1, undefined, all.reader));
    expect(reading).toMatchObject({ from: 0, end: 5 });
    await soon(log.read("t", 1, 3, some.reader));
    await clock.advance(20);
    expect(all.values).toEqual(["v0", "v1", "v2", "v3", "v4"]);
    expect(some.values).toEqual(["v3", "v4"]);
    expect(some.records[0]).toMatchObject({ partition: 1, offset: 3, key: "k3", headers: { ü: "ä" } });
    expect(Math.abs((some.records[0]?.timestampMs ?? 0) - clock.wallMs())).toBeLessThan(1000);
    reading.stop();
    await soon(log.append("t", message("later"), 1));
    await clock.advance(20);
    expect(some.values.at(-1)).toBe("later");
    expect(all.values).not.toContain("later");
  });

  test("waits for its reader before it gives more", async () => {
    const { clock, broker, connect, soon } = setUp();
    broker.createTopic("t");
    const log = connect();
    const taken: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    await soon(
      log.read("t", 0, undefined, {
        records: async (records) => {
          taken.push(...records.map(({ value }) => value));
          await promise;
        },
        lost: () => {},
      }),
    );
    await soon(log.append("t", message("first")));
    await clock.advance(20);
    await soon(log.append("t", message("second")));
    await clock.advance(20);
    expect(taken).toEqual(["first"]);
    resolve();
    await clock.advance(20);
    expect(taken).toEqual(["first", "second"]);
  });

  test("refuses offsets that the log does not hold, and says when its topic is cut or made anew", async () => {
    const { clock, broker, connect, soon } = setUp();
    broker.createTopic("t");
    const log = connect();
    for (const value of ["a", "b", "c"]) await soon(log.append("t", message(value)));
    const collected = new Collected();
    const lost = { code: "WW_LOG_LOST" };
    await expect(soon(log.read("t", 0, 4, collected.reader))).rejects.toMatchObject(lost);
    broker.trim("t", 0, 2);
    await expect(soon(log.read("t", 0, 1, collected.reader))).rejects.toMatchObject(lost);
    expect(await soon(log.read("t", 0, undefined, collected.reader))).toMatchObject({ from: 2, end: 3 });
    await clock.advance(20);
    expect(collected.values).toEqual(["c"]);
    const before = await soon(log.topic("t"));
    broker.deleteTopic("t");
    await expect(soon(log.topic("t"))).rejects.toMatchObject({ code: "WW_CONFIG" });
    broker.createTopic("t");
    expect((await soon(log.topic("t"))).id).not.toBe(before.id);
    await clock.advance(20);
    expect(collected.errors).toEqual([expect.objectContaining(lost)]);
  });

  test("names the partition of a key as Java's clients do", async () => {
    const { broker, connect, soon } = setUp();
    broker.createTopic("t", 8);
    // The values of UtilsTest.testMurmur2.
    const murmur2: Readonly<Record<string, number>> = {
      "21": -973932308,
      foobar: -790332482,
      "a-little-bit-long-string": -985981536,
      "a-little-bit-longer-string": -1486304829,
      lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
      abc: 479470107,
    };
    for (const [key, hash] of Object.entries(murmur2)) {
      await soon(connect().append("t", message("", key)));
      expect(broker.records("t").at(-1), key).toMatchObject({ key, partition: (hash & 0x7fffffff) % 8 });
    }
  });
});

describe("faults", () => {
  test("records fail, are written unseen, twice, or never sent; the order of a sender stays", async () => {
    const { clock } = setUp();
    const faults: (LogFault | undefined)[] = ["fail", "unseen", "twice", "lost", undefined];
    let delay = 30;
    const slower = new MemoryBroker({ clock, delayMs: () => delay-- });
    slower.createTopic("t");
    const log = new MemoryLog(slower, { clock, faultAt: () => faults.shift() });
    const sent = ["a", "b", "c", "d", "e"].map((value) => log.append("t", message(value)));
    const told = sent.map((one) =>
      one.then(
        () => "written",
        (error: { code: string }) => error.code,
      ),
    );
    await clock.advance(100);
    const failed = "WW_BUS_UNAVAILABLE";
    expect(await Promise.all(told.toSpliced(3, 1))).toEqual([failed, failed, "written", "written"]);
    expect(slower.records("t").map(({ value }) => value)).toEqual(["b", "c", "c", "e"]);
  });

  test("a broker that cannot be reached fails what is asked of it, and readings go on when it is back", async () => {
    const { clock, broker, connect, soon } = setUp();
    broker.createTopic("t");
    let reaches = true;
    const cut = connect({ reaches: () => reaches });
    const collected = new Collected();
    await soon(cut.read("t", 0, undefined, collected.reader));
    reaches = false;
    await expect(soon(cut.append("t", message("never")))).rejects.toMatchObject({
      code: "WW_BUS_UNAVAILABLE",
    });
    await soon(connect().append("t", message("there")));
    await clock.advance(1000);
    expect(collected.values).toEqual([]);
    reaches = true;
    await clock.advance(2000);
    expect(collected.values).toEqual(["there"]);
  });

  test("what a process has sent arrives even if it dies; it hears nothing more", async () => {
    const { clock, broker, connect, soon } = setUp();
    broker.createTopic("t");
    const process = clock.process();
    const log = connect({ clock: process, sends: () => process.alive });
    const collected = new Collected();
    await soon(log.read("t", 0, undefined, collected.reader));
    void log.append("t", message("sent"));
    process.kill();
    void log.append("t", message("not sent"));
    await clock.advance(1000);
    expect(broker.records("t").map(({ value }) => value)).toEqual(["sent"]);
    expect(collected.values).toEqual([]);
  });
});

describe("a group", () => {
  const open = () => {
    const { clock, broker, connect, soon } = setUp();
    const member = async (topic: string, refuses: readonly number[] = []) => {
      const process = clock.process();
      const log = connect({ clock: process, sends: () => process.alive });
      const state = { partitions: [] as readonly number[], assignments: 0 };
      const membership = await log.join({
        group: "g",
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
      await clock.advance(3000);
      return { process, state, membership };
    };
    const sorted = (...members: { state: { partitions: readonly number[] } }[]): number[] =>
      members.flatMap(({ state }) => state.partitions).toSorted((a, b) => a - b);
    return { clock, broker, soon, member, sorted };
  };

  test("shares partitions out fairly, moves few, and gives those of a member that leaves to the others", async () => {
    const { clock, broker, soon, member, sorted } = open();
    broker.createTopic("t", 6);
    const a = await member("t");
    expect(a.state.partitions).toHaveLength(6);
    const b = await member("t");
    expect(sorted(a, b)).toEqual([0, 1, 2, 3, 4, 5]);
    expect([a.state.partitions.length, b.state.partitions.length]).toEqual([3, 3]);
    const kept = [...a.state.partitions];
    const c = await member("t");
    expect(kept).toEqual(expect.arrayContaining([...a.state.partitions]));
    expect(sorted(a, b, c)).toEqual([0, 1, 2, 3, 4, 5]);
    await soon(a.membership.leave());
    await clock.advance(3000);
    expect(sorted(b, c)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test("gives nobody what it refuses, and notes how far its members have read", async () => {
    const { clock, broker, soon, member, sorted } = open();
    broker.createTopic("t", 4);
    const a = await member("t", [0, 1]);
    const b = await member("t");
    expect(sorted(a)).toEqual([2, 3]);
    expect(sorted(b)).toEqual([0, 1]);
    expect(await soon(b.membership.committed("t", 1))).toBeUndefined();
    await soon(b.membership.commit("t", 1, 17));
    expect(await soon(b.membership.committed("t", 1))).toBe(17);
    expect(broker.committed("g", "t", 1)).toBe(17);
    const { assignments } = b.state;
    b.membership.rejoin();
    await clock.advance(3000);
    expect(b.state.assignments).toBeGreaterThan(assignments);
  });

  test("forgets a member that dies, or is frozen for too long; that one may note nothing until it is back", async () => {
    const { clock, broker, soon, member, sorted } = open();
    broker.createTopic("t", 4);
    const [a, b, c] = [await member("t"), await member("t"), await member("t")];
    c.process.kill();
    await clock.advance(12_000);
    expect(sorted(a, b)).toEqual([0, 1, 2, 3]);
    a.process.freeze();
    await clock.advance(12_000);
    expect(sorted(b)).toEqual([0, 1, 2, 3]);
    expect(a.state.partitions, "it does not know").toHaveLength(2);
    const noted = a.membership.commit("t", 0, 5);
    a.process.thaw();
    await expect(soon(noted)).rejects.toMatchObject({ code: "WW_BUS_UNAVAILABLE" });
    await clock.advance(6000);
    expect(sorted(a, b)).toEqual([0, 1, 2, 3]);
    expect(a.state.partitions).toHaveLength(2);
  });
});
