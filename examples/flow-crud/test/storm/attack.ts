import type { Kafka } from "@wheelwork/kafka";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Engine } from "wheelwork";
import { writeBytes, type Bytes } from "../../../../test/raw/records.ts";
import { thrown, values } from "../hostile/misbehave.ts";
import { deadLetterTopic, readDeadLetter, shardOf, type LogRecord, type Origin } from "wheelwork/cluster";

/** What is attacked, and how it is seen that it goes on. */
export interface Target {
  readonly bus: Kafka;
  /** Without TLS. */
  readonly brokers: string;
  readonly inbox: string;
  /** The consumer group of the spout. */
  readonly group: string;
  readonly channel: { readonly from: string; readonly to: string };
  /** A hub of the topology, and a request to it. */
  readonly hub: string;
  readonly request: object;
  /** Whether an honest request to each shard gets its answer. */
  readonly isWell: () => Promise<boolean>;
}

/** A record that a broker carries, and what is to become of it. */
interface HostileRecord {
  readonly what: string;
  readonly topic: string;
  readonly key: Bytes;
  readonly value: Bytes;
  /** `letter`: it is a dead letter. `answer`: its sender is told. `done`: it is a request like any other, or concerns nobody. */
  readonly end: "letter" | "answer" | "done";
}

const text = JSON.stringify;

/** Records of every kind that no honest producer writes. */
function hostileRecords({ inbox, channel, hub, request }: Target): HostileRecord[] {
  const key = (): string => randomBytes(16).toString("hex");
  const ask = { type: "request", hub, request };
  const toInbox = (what: string, value: object | Bytes, at: Bytes = key()): HostileRecord => ({
    what: `inbox: ${what}`,
    topic: inbox,
    key: at,
    value: typeof value === "string" || value === undefined || Buffer.isBuffer(value) ? value : text(value),
    end: "letter",
  });
  const toChannel = (
    what: string,
    end: HostileRecord["end"],
    value: Bytes,
    at: Bytes = key(),
  ): HostileRecord => ({
    what: `channel: ${what}`,
    topic: channel.from,
    key: at,
    value,
    end,
  });
  const done = (record: HostileRecord): HostileRecord => ({ ...record, end: "done" });
  const withoutKey = (record: HostileRecord): HostileRecord => ({ ...record, key: undefined });
  const command = (what: string, input: unknown): HostileRecord =>
    toInbox(`command ${what}`, { type: "command", input });
  const eight = Buffer.alloc(8);
  eight.writeBigInt64BE(42n);
  const broken = Buffer.from([0xff, 0xfe, 0xc3, 0x28]);
  const half = "\\ud800";
  return [
    ...["soon", -1, 0, 1e300, null, {}].map((deadlineMs) =>
      toInbox(`deadlineMs ${text(deadlineMs)}`, { ...ask, deadlineMs }),
    ),
    ...["x", Number.POSITIVE_INFINITY, {}, [1]].map((startAt) =>
      toInbox(
        `startAt ${text(startAt)}`,
        text({ ...ask, startAt: "?" }).replace(
          '"?"',
          startAt === Number.POSITIVE_INFINITY ? "1e400" : text(startAt),
        ),
      ),
    ),
    ...["high", 1e9, {}].map((priority) => toInbox(`priority ${text(priority)}`, { ...ask, priority })),
    ...["a\0b", 5, {}].map((replyTo) => toInbox(`replyTo ${text(replyTo)}`, { ...ask, replyTo })),
    toInbox("replyTo with half a pair", text({ ...ask, replyTo: "?" }).replace("?", half)),
    toInbox("a caller that is none", { ...ask, caller: { carrier: 5 } }),
    toInbox("no hub", { type: "request", request }),
    done(toInbox("a hub that nobody has", { ...ask, hub: "nobody" })),
    done(toInbox("a hub of the engine", { ...ask, hub: "schedule:" })),
    toInbox("a type that is none", { type: "explode" }),
    toInbox("a reply to a relay", { type: "heard", spoke: "double", correlation: "x", outcome: 5 }),
    ...[
      undefined,
      null,
      5,
      {},
      { kind: "explode", id: "1" },
      { kind: "signal", id: 1, signal: "x" },
      { kind: "begin" },
      { kind: "due" },
      { kind: "outcome", call: 0 },
    ].map((input) => command(text(input) ?? "without input", input)),
    ...["", "1", "1.1", "1.1.1", "a.b.c.d", "-1.1.1.double", "1.1.1.", "9".repeat(99)].map((correlation) =>
      toInbox(`a response of ${text(correlation).slice(0, 20)}`, {
        type: "response",
        "correlation-id": correlation,
        output: 5,
      }),
    ),
    toInbox("progress of nothing", { type: "progress" }),
    toInbox("a key with NUL", ask, "a\0b"),
    toInbox("a key of 3,000 characters", ask, "k".repeat(3000)),
    withoutKey(toInbox("no key", ask)),
    toInbox("a key of arbitrary bytes", ask, broken),
    toInbox("a number of eight bytes as key", ask, eight),
    done(toInbox("a key that begins as a lane's", ask, "@~0000000000000000")),
    done(toInbox("a lane's key in the value", { ...ask, "wheelwork-key": "x@~1" }, "@~0000000000000000")),
    toInbox("no value", undefined),
    toInbox("no JSON", "{"),
    toInbox("a value of arbitrary bytes", broken),
    toInbox("a value 100,000 deep", "[".repeat(100_000)),
    toInbox("a line that ends a frame", 'x\nend\n{"command":"ack"}\nend\n'),
    toChannel("no JSON", "answer", "{"),
    toChannel("no value", "answer", undefined),
    toChannel("a value 100,000 deep", "answer", "[".repeat(100_000)),
    toChannel("a value of arbitrary bytes", "answer", broken),
    toChannel("a line that ends a frame", "answer", 'x\nend\n{"command":"ack"}\nend\n'),
    toChannel("half a pair", "answer", `{"x":"${half}"}`),
    withoutKey(toChannel("no key", "letter", text(request))),
    toChannel("a key of arbitrary bytes", "letter", text(request), broken),
    toChannel("a key of 3,000 characters", "answer", text(request), `${key()}${"k".repeat(3000)}`),
    toChannel("a key with NUL", "answer", text(request), `${key()}\0x\nend\n`),
    toChannel(
      "a number of eight bytes as key",
      "letter",
      text(request),
      Buffer.from([0, 0, 0, 0, 0, 0, 1, 200]),
    ),
  ];
}

const placeOf = ({ topic, partition, offset }: Origin): string => `${topic}/${partition}/${offset}`;

/** Everything that a topic gets from now on. */
async function listen(bus: Kafka, topic: string): Promise<LogRecord[]> {
  const seen: LogRecord[] = [];
  const { partitions } = await bus.topic(topic);
  for (let partition = 0; partition < partitions; partition++)
    await bus.read(topic, partition, await bus.end(topic, partition), {
      records: (records) => void seen.push(...records),
      lost: () => {},
    });
  return seen;
}

/** Waits for what must come. */
async function comes(what: () => boolean | Promise<boolean>, withinMs: number): Promise<boolean> {
  for (const before = performance.now() + withinMs; performance.now() < before; await sleep(50))
    if (await what()) return true;
  return what();
}

/**
 * Writes hostile records to the inbox and to the channel, all at once, and looks what becomes of each: it is done, refused to its sender,
 * or a dead letter, once. The result is what is wrong.
 */
export async function attackWithRecords(target: Target, withinMs = 60_000): Promise<string[]> {
  const { bus, brokers, inbox, channel } = target;
  const [letters, moreLetters, answers] = await Promise.all([
    listen(bus, deadLetterTopic(inbox)),
    listen(bus, deadLetterTopic(channel.from)),
    listen(bus, channel.to),
  ]);
  const records = hostileRecords(target);
  const [inboxPartitions, channelPartitions] = await Promise.all(
    [inbox, channel.from].map(async (topic) => (await bus.topic(topic)).partitions),
  );
  // Each shard gets some of them.
  const written = records.map((record, index) => {
    const partitions = (record.topic === inbox ? inboxPartitions : channelPartitions) ?? 1;
    return { ...record, partition: index % partitions };
  });
  const places = new Map<string, HostileRecord>();
  for (const [index, place] of (await writeBytes(brokers, written)).entries())
    places.set(placeOf(place), records[index] as HostileRecord);
  const problems: string[] = [];
  const buried = (): Map<string, number> => {
    const counts = new Map<string, number>();
    for (const letter of [...letters, ...moreLetters]) {
      const place = placeOf(readDeadLetter(letter).origin);
      counts.set(place, (counts.get(place) ?? 0) + 1);
    }
    return counts;
  };
  const told = (record: HostileRecord): boolean =>
    answers.some(({ key }) => key === String(record.key ?? ""));
  const isOver = ([place, record]: [string, HostileRecord]): boolean => {
    if (record.end === "done") return true;
    return record.end === "letter"
      ? (buried().get(place) ?? 0) > 0
      : told(record) || (buried().get(place) ?? 0) > 0;
  };
  await comes(() => [...places].every(isOver), withinMs);
  // What comes again and again is never read to the end.
  const isRead = async (): Promise<boolean> => {
    for (const topic of [inbox, channel.from])
      for (const [partition, { committed = 0 }] of (await bus.progress(target.group, topic)).entries())
        if (committed < (await bus.end(topic, partition))) return false;
    return true;
  };
  if (!(await comes(isRead, withinMs))) problems.push("some records come again and again");
  for (const one of places) if (!isOver(one)) problems.push(`nothing has become of ${one[1].what}`);
  if (!(await target.isWell())) problems.push("an honest request has no answer after the attack");
  for (const [place, count] of buried())
    if (count > 1) problems.push(`${count} dead letters of ${places.get(place)?.what ?? place}`);
  return problems;
}

/** Keys that belong to a shard. */
export function keyOf(shard: number, shards: number): string {
  for (;;) {
    const key = randomBytes(16).toString("hex");
    if (shardOf(key, shards) === shard) return key;
  }
}

/** The topology of hostile.ts, and a worker's topic that nobody reads. */
export interface HostileTarget extends Target {
  readonly client: Engine;
  readonly work: string;
}

/** All that code can give or throw. */
const behaviours = [
  ...Object.keys(values).map((one) => `give ${one}`),
  ...Object.keys(thrown).map((one) => `throw ${one}`),
];
const places = ["worker", "handler", "input", "reply", "turn", "patch"];
const channelMark = "channel ";

/**
 * Asks hubs, workers, schemas and channels to misbehave in every way, has answers that no topic takes, and lets a worker lie. Each request
 * has one answer, and a topology that is hostile to itself goes on. The result is what is wrong.
 */
export async function attackWithCode(target: HostileTarget, withinMs = 60_000): Promise<string[]> {
  const { bus, channel, client } = target;
  const problems: string[] = [];
  const answers = await listen(bus, channel.to);
  const answersTo = (key: string): LogRecord[] => answers.filter((record) => record.key === key);

  // What hubs, workers and schemas give and throw.
  const attacks = [
    ...places.flatMap((where) => behaviours.map((how) => ({ where, how }))),
    { where: "worker", how: "schema" },
  ];
  await Promise.all(
    attacks.map(async (attack) => {
      const key = keyOf(0, 1);
      try {
        await client.submit("hostile", attack, { key });
        const answer = await client.answer(key, { waitMs: withinMs });
        if (answer === undefined) problems.push(`no answer to ${text(attack)}`);
      } catch (error) {
        problems.push(`${text(attack)} is refused: ${String(error)}`);
      }
    }),
  );
  if (!(await target.isWell()))
    problems.push("an honest request has no answer after hubs and workers have misbehaved");

  // What channels give and throw, and answers that no topic takes: each sender is told something.
  const asked = new Map<string, object>();
  const ask = async (body: object): Promise<void> => {
    const key = keyOf(0, 1);
    asked.set(key, body);
    await bus.publish(channel.from, { key, value: text(body) });
  };
  for (const how of behaviours) {
    await ask({ how: `${channelMark}${how}` });
    await ask({ how });
  }
  await ask({ length: 2_000_000 });
  for (let count = 0; count < 12; count++) await ask({ length: 400_000 });
  await comes(() => [...asked.keys()].every((key) => answersTo(key).length > 0), withinMs);
  for (const [key, body] of asked) {
    const got = answersTo(key);
    if (got.length === 0) problems.push(`nothing is published for ${text(body)}`);
    if (new Set(got.map(({ headers }) => headers["ce_id"])).size > 1)
      problems.push(`two answers to ${text(body)}`);
    if (new Set(got.map(({ value }) => value)).size > 1)
      problems.push(`answers that differ to ${text(body)}`);
  }
  if (!(await target.isWell()))
    problems.push("an honest request has no answer after channels have misbehaved");

  problems.push(...(await lie(target, withinMs)));
  return problems;
}

/** A worker that lies: about others, twice, too late, and in words that mean nothing. */
async function lie({ bus, client, isWell, work }: HostileTarget, withinMs: number): Promise<string[]> {
  const problems: string[] = [];
  const orders = await listen(bus, work);
  const keys = Array.from({ length: 8 }, () => keyOf(0, 1));
  for (const [n, key] of keys.entries()) await client.submit("elsewhere", { n }, { key });
  await comes(() => keys.every((key) => orders.some((order) => order.key === key)), withinMs);
  const say = async (order: LogRecord, value: object, key = order.key): Promise<void> => {
    const {
      "correlation-id": correlation,
      "reply-to": to = "",
      "reply-partition": partition,
    } = order.headers;
    const said = { type: "response", "correlation-id": correlation, ...value };
    await bus.append(to, { key, value: text(said) }, Number(partition));
  };
  const of = (n: number): LogRecord => orders.find(({ key }) => key === keys[n]) as LogRecord;
  // For another request, in another run, of another attempt.
  const [own = "", other = ""] = [0, 1].map((n) => of(n).headers["correlation-id"]);
  if (own !== other) await say(of(0), { output: { n: 666 } }, keys[1]);
  await say(
    of(0),
    { "correlation-id": other.replace(/\.\d+\.asked/, ".9.asked"), output: { n: 666 } },
    keys[1],
  );
  await say(of(0), { "correlation-id": "0.7.1.asked-elsewhere", output: { n: 666 } });
  // Things that are no outcomes.
  await say(of(2), { output: "no number" });
  await say(of(3), { error: { code: { toString: 5 }, message: 7, details: "x" } });
  await say(of(4), { error: { code: "not-declared", message: "x".repeat(500_000) } });
  await say(of(5), { error: 5 });
  await say(of(6), {});
  // The truth, twice, and another one after it.
  for (const n of [0, 1, 7]) {
    await say(of(n), { output: { n } });
    await say(of(n), { output: { n } });
    await say(of(n), { output: { n: 777 } });
  }
  for (const [n, key] of keys.entries()) {
    const answer = await client.answer(key, { waitMs: withinMs });
    const got = answer?.kind === "result" ? (answer.value as { got?: unknown }).got : text(answer);
    if ([0, 1, 7].includes(n) ? got !== `${n}` : got === "777" || got === "666" || got === undefined)
      problems.push(`a worker that lies made ${n} ${String(got)}`);
  }
  // After its time.
  for (const n of [2, 7]) await say(of(n), { output: { n: 888 } });
  if (!(await isWell())) problems.push("an honest request has no answer after a worker has lied");
  return problems;
}
