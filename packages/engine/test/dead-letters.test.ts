import { worker, type EngineEvent } from "@wheelwork/engine";
import { readDeadLetter, replayDeadLetter, shardOf, type LogRecord } from "@wheelwork/engine/cluster";
import { DeadLetters } from "@wheelwork/engine/parts";
import { MemoryBroker, MemoryLog, SimulatedClock } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { doubling, work } from "./doubling.ts";
import { Nodes } from "./nodes.ts";

const retentionMs = 60_000;
const inbox = "wheelwork-inbox";

/** Nodes that forget what has been answered after a minute. */
const nodes = (shards: number): Nodes =>
  new Nodes({
    shards,
    hub: doubling,
    workers: () => [worker(work, (n) => n * 2)],
    options: { retentionMs },
  });

const doubled = (n: number): unknown => expect.stringContaining(`{"kind":"result","value":${n * 2}}`);

/** A key for each shard. */
const keysOf = (shards: number): string[] =>
  Array.from({ length: shards }, (_, shard) => {
    for (let number = 0; ; number++) if (shardOf(`key-${number}`, shards) === shard) return `key-${number}`;
  });

/** Another body under a known key, to each of two nodes: one has it from its channel, and one from its inbox. */
async function twoBodies() {
  const system = nodes(2);
  await system.node(1);
  await system.node(1);
  await system.clock.advance(10_000);
  for (const n of [1, 2]) {
    for (const key of keysOf(2)) await system.ask(key, { n });
    await system.clock.advance(2000);
  }
  const letters = (topic: string): LogRecord => {
    const [letter, ...others] = system.broker.records(topic);
    if (letter === undefined || others.length > 0) throw new Error(`not one dead letter in ${topic}`);
    return letter;
  };
  return { system, fromChannel: letters("in-dlt"), fromInbox: letters(`${inbox}-dlt`) };
}

test("the origin of a dead letter is the place of the record that it holds", async () => {
  const { system, fromChannel, fromInbox } = await twoBodies();
  for (const letter of [fromChannel, fromInbox]) {
    const { origin, key, value } = readDeadLetter(letter);
    const found = system.broker
      .records(origin.topic)
      .find(({ partition, offset }) => partition === origin.partition && offset === origin.offset);
    expect(found).toMatchObject({ key, value });
  }
  expect(readDeadLetter(fromChannel).origin.topic).toBe("in");
  expect(readDeadLetter(fromInbox).origin).toMatchObject({
    topic: inbox,
    partition: shardOf(fromInbox.key, 2),
  });
});

test("a dead letter tells the whole reason; where a request of the inbox was sent to is told with it", async () => {
  const { system, fromChannel, fromInbox } = await twoBodies();
  const reason = (key: string): string =>
    `WW_KEY_REUSED: the request key ${key} belongs to a request with another body\n` +
    "  Use a new key for a new request.";
  expect(readDeadLetter(fromChannel).reason).toBe(reason(fromChannel.key));
  const sent = system.broker.records("in").findLast(({ key }) => key === fromInbox.key);
  expect(readDeadLetter(fromInbox).reason).toBe(
    `${reason(fromInbox.key)}\n  It was sent to in, partition 0, offset ${sent?.offset}.`,
  );
});

test("a dead letter that is replayed is worked once its key is free, from the channel and from the inbox", async () => {
  const { system, fromChannel, fromInbox } = await twoBodies();
  await system.clock.advance(retentionMs + 120_000);
  for (const letter of [fromChannel, fromInbox]) {
    const { key, value } = letter;
    await system.clock.runUntil(replayDeadLetter(system.outside, letter), 10_000);
    await system.clock.advance(5000);
    // The answer of the first body was published twice; now comes that of the second.
    const [first, again, second, ...others] = system.answers(key);
    expect([first, second]).toEqual([doubled(1), doubled(2)]);
    expect([again, ...others]).toEqual([first]);
    const { origin } = readDeadLetter(letter);
    const back = system.broker.records(origin.topic).at(-1);
    expect(back).toMatchObject({ key, value, partition: origin.partition });
    expect(Object.keys(back?.headers ?? {}).filter((name) => name.startsWith("dlt-"))).toEqual([]);
  }
});

test("a dead letter of an inbox goes to the shard of its key, also in a cluster with another number of shards", async () => {
  const { fromInbox, fromChannel } = await twoBodies();
  for (const letter of [fromInbox, fromChannel]) {
    // A cluster that was made anew, under the same names: one number of shards moves the key, the others need not.
    for (const shards of [1, 3, 4, 5]) {
      const system = nodes(shards);
      const { node } = await system.node(1);
      await system.clock.advance(1000);
      await system.clock.runUntil(replayDeadLetter(system.outside, letter), 10_000);
      expect(await system.answered(letter.key)).toEqual([doubled(2)]);
      // It is found where everybody looks for it.
      const view = node.request(letter.key);
      await system.clock.runUntil(view, 10_000);
      expect(await view).toMatchObject({ status: "ended" });
    }
  }
});

/** A letter for a record, as its readers find it. */
async function bury(record: Partial<LogRecord>, reason: string) {
  const clock = new SimulatedClock();
  const broker = new MemoryBroker({ clock });
  const log = new MemoryLog(broker, { clock });
  const signals: EngineEvent[] = [];
  const letters = new DeadLetters(
    (topic, letter) => {
      broker.createTopic(topic);
      return log.append(topic, letter).then(() => true);
    },
    (signal) => void signals.push(signal),
  );
  const whole = { topic: "t", partition: 0, offset: 0, key: "k", value: "v", headers: {}, timestampMs: 0 };
  const sentTo = { topic: "channel", partition: 1, offset: 2 };
  const done = letters.bury({ ...whole, ...record }, reason, sentTo);
  await clock.runUntil(done, 10_000);
  expect(await done).toBe(true);
  const [letter] = broker.records("t-dlt");
  if (letter === undefined) throw new Error("there is no letter");
  return { clock, broker, log, signals, letter };
}

test("a long reason is cut to 2,000 characters, never within a character, and still says where it was sent to", async () => {
  for (const before of [0, 1]) {
    const { letter } = await bury({}, "x".repeat(before) + "😀".repeat(2000));
    const { reason } = readDeadLetter(letter);
    expect(reason.length).toBeLessThanOrEqual(2000);
    expect(reason.length).toBeGreaterThan(1990);
    expect(reason.isWellFormed()).toBe(true);
    expect(reason).toMatch(/😀.?…\n {2}It was sent to channel, partition 1, offset 2\.$/u);
  }
});

test("the event of a dead letter names the topic that its request was sent to", async () => {
  const { signals } = await bury({}, "why");
  expect(signals).toMatchObject([{ name: "dead-letter", topic: "channel" }]);
});

test("a dead letter of a topic with fewer partitions by now goes to the partition of its key", async () => {
  const { clock, broker, log, letter } = await bury({ partition: 7 }, "why");
  broker.createTopic("t", 2);
  const replayed = replayDeadLetter(log, letter);
  await clock.runUntil(replayed, 10_000);
  await replayed;
  expect(broker.records("t")).toMatchObject([{ key: "k", value: "v" }]);
});

test("a dead letter of a topic that is gone is not replayed, and the error says so", async () => {
  const { clock, log, letter } = await bury({}, "why");
  const replayed = replayDeadLetter(log, letter);
  await clock.runUntil(replayed, 10_000);
  await expect(replayed).rejects.toMatchObject({
    code: "WW_CONFIG",
    message: expect.stringContaining("no topic t") as string,
  });
});
