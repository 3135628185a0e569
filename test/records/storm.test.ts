import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Answer } from "@wheelwork/core";
import { systemClock, type EngineEvent, type Message } from "@wheelwork/engine";
import { readDeadLetter, type LogRecord } from "@wheelwork/engine/cluster";
import { postgresStore } from "@wheelwork/postgres";
import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { frame, FrameReader } from "@wheelwork/storm/multilang";
import { configKey, startPart, type StormApp } from "@wheelwork/storm/parts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { refusedAt, soundValue } from "../values/generate.ts";
import { keyOf, numberOf, Values } from "../values/echo.ts";
import { attacks, honestAnswer, Witness } from "../hostile/attack.ts";
import { hubs as placeHubs, unlikeStored, workersOf } from "../hostile/places.ts";
import { channel, hostileRecords, hubs, inbox, workers } from "./hostile.ts";

interface Said {
  readonly command: string;
  readonly id?: string;
  readonly stream?: string;
  readonly tuple?: readonly string[];
}

/** The hub of a topology with one shard, which makes the attempts itself. The test is its Storm. */
class Hub {
  readonly events: EngineEvent[] = [];
  readonly published: { readonly topic: string; readonly message: Message }[] = [];
  /** What became of each tuple. */
  readonly settled = new Map<string, string[]>();
  readonly #reader = new FrameReader();
  #take: (chunk: Buffer | undefined) => void = () => {};
  #tuples = 0;

  constructor(
    databaseUrl: string,
    pidDir: string,
    app: Pick<StormApp, "hubs" | "workers" | "channels"> = { hubs, workers, channels: [channel] },
    schema?: string,
  ) {
    const observe = (event: EngineEvent): void => void this.events.push(event);
    startPart(
      "hub",
      () => ({ ...app, observe }),
      {
        read: (take) => (this.#take = take),
        pause: () => {},
        resume: () => {},
        write: (data, done) => {
          for (const said of this.#reader.feed(data)) this.#hear(said as unknown as Said);
          done();
        },
        uncaught: () => {},
        after: (ms, task) => void systemClock.after(ms, task),
        exit: () => {},
      },
      {
        clock: systemClock,
        random: Math.random,
        // Nothing here is too old, and what is published comes as a tuple.
        connect: () => ({
          publish: async () => {},
          since: async () => 0,
          progress: async () => [],
          close: async () => {},
        }),
        openStore: () =>
          postgresStore({ connectionString: databaseUrl, ...(schema === undefined ? {} : { schema }) }),
      },
    );
    const config = { brokers: "", databaseUrl, shards: 1, inbox };
    this.#send({
      pidDir,
      conf: { [configKey]: JSON.stringify(config) },
      context: { "task->component": { 1: "bolt-hub" }, taskid: 1, componentid: "bolt-hub" },
    });
  }

  give(comp: string, ...tuple: readonly unknown[]): string {
    const id = String(++this.#tuples);
    this.#send({ id, comp, stream: "default", task: 9, tuple });
    return id;
  }

  end(): void {
    this.#take(undefined);
  }

  answersTo(key: string): string[] {
    return this.published
      .filter(({ topic, message }) => topic === "out" && message.key === key)
      .map(({ message }) => message.value);
  }

  #send(message: object): void {
    this.#take(Buffer.from(frame(message)));
  }

  #hear({ command, id = "", stream, tuple = [] }: Said): void {
    if (command === "ack" || command === "fail")
      this.settled.set(id, [...(this.settled.get(id) ?? []), command]);
    if (command !== "emit" || stream !== "stream-hub-bolt-to-nb") return;
    const items = JSON.parse(tuple[1] ?? "") as { topic: string; message: Message; id?: string }[];
    this.published.push(...items);
    // The bolt to Northbound says what the broker has.
    const ids = items.flatMap((item) => item.id ?? []);
    if (ids.length > 0) setImmediate(() => void this.give("bolt-to-nb", "0", JSON.stringify(ids)));
  }
}

describe.skipIf(!postgresIsInstalled())("tuples that no part of ours made", () => {
  let server: PostgresServer;
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-tuples-"));
    chmodSync(folder, 0o755);
    server = new PostgresServer(folder, await freePort());
    await server.start();
  });
  afterAll(async () => {
    await server?.signal("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  test("each is acked once: done, refused to its sender, or a dead letter; the shard goes on under one claim", async () => {
    const hub = new Hub(server.url, folder);
    const all = hostileRecords(1500);
    const ids = all.map(({ topic, key, value }, offset) =>
      hub.give(
        topic === "told" ? "spout-worker" : "spout-hub",
        topic,
        0,
        offset,
        key === "" ? null : key,
        value,
      ),
    );
    hub.give("spout-hub", "in", 0, all.length, "last", '{"n":7}');
    await expect.poll(() => hub.answersTo("last")).toEqual(['{"kind":"result","value":{"n":8}}']);
    await expect.poll(() => ids.filter((id) => !hub.settled.has(id))).toEqual([]);
    const settled = new Set(ids.map((id) => hub.settled.get(id)?.join()));
    expect([...settled]).toEqual(["ack"]);
    expect(hub.events.filter(({ name }) => name === "store-lost" || name === "incident")).toEqual([]);

    const letters = hub.published
      .filter(({ topic }) => topic.endsWith("-dlt"))
      .map(({ message }) => readDeadLetter(message as LogRecord).origin.offset);
    expect(letters.length).toBeGreaterThan(100);
    const dead = new Set(letters);
    expect(dead.size).toBe(letters.length);
    const silent = (): unknown[] =>
      all.filter(
        ({ topic, key }, offset) => topic === "in" && !dead.has(offset) && hub.answersTo(key).length === 0,
      );
    await expect.poll(silent).toEqual([]);
    hub.end();
  });

  const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
  const isLong = Number(process.env["WHEELWORK_LONG"] ?? 0) > 0;
  test(
    `what functions of users give and throw harms their own run alone, and stays so over a take-over (seed ${seed})`,
    { timeout: isLong ? 1_200_000 : 120_000 },
    async () => {
      const witness = new Witness();
      const app = {
        hubs: placeHubs,
        workers: workersOf(witness.attempted),
        channels: [
          { ...channel, hub: "target", request: ({ value }: Message) => JSON.parse(value) as unknown },
        ],
      };
      // A run without a deadline of its own is answered after a minute, and a cancel needs its id.
      const all = attacks(isLong ? 1 : 0.03, seed).filter(
        ({ place }) => place !== "deadlineMs" && place !== "cancel patch",
      );
      const settled = async (hub: Hub, life: number): Promise<Map<string, string>> => {
        let offset = 0;
        const send = (key: string, place: string, value: string): string =>
          hub.give("spout-hub", "in", 0, offset++, key, JSON.stringify({ place, value }));
        const tuples = all.map(({ key, place, value }) => send(key, place, value));
        const honest = `honest-${life}`;
        tuples.push(send(honest, "", ""));
        const waits = { timeout: isLong ? 600_000 : 60_000, interval: 100 };
        await expect.poll(() => hub.answersTo(honest), waits).toEqual([JSON.stringify(honestAnswer)]);
        await expect.poll(() => all.filter(({ key }) => hub.answersTo(key).length === 0), waits).toEqual([]);
        await expect.poll(() => tuples.filter((id) => !hub.settled.has(id)), waits).toEqual([]);
        expect(new Set(tuples.map((id) => hub.settled.get(id)?.join()))).toEqual(new Set(["ack"]));
        return new Map(all.map(({ key }) => [key, [...new Set(hub.answersTo(key))].join(" and ")]));
      };
      const parkedBy = (hub: Hub): string[] =>
        hub.events.flatMap((event) => (event.name === "incident" ? [event.key] : []));
      const first = new Hub(server.url, folder, app, "places");
      const before = await settled(first, 1);
      const parked = parkedBy(first);
      expect(parked.length).toBeGreaterThan(all.length / 5);
      expect(new Set(parked).size).toBe(parked.length);
      // The one before is not told, and finds out that it is fenced.
      const second = new Hub(server.url, folder, app, "places");
      expect(await settled(second, 2)).toEqual(before);
      expect(parkedBy(second)).toEqual([]);
      expect(second.events.filter(({ name }) => name === "store-lost")).toEqual([]);
      expect(witness.harms).toEqual([]);
      expect(unlikeStored).toEqual([]);
      first.end();
      second.end();
    },
  );

  const count = isLong ? 100_000 : 40;
  const lives = isLong ? 40 : 2;

  test(
    `${count} values through every place, over ${lives - 1} take-overs: code sees what was sent, or it is refused (seed ${seed})`,
    { timeout: 120_000 + count * 100 },
    async () => {
      const problems: string[] = [];
      const values = new Values(seed, (...words) => void problems.push(words.join(" ")));
      const app = {
        hubs: [values.echo],
        workers: [...values.workers, values.inProcess],
        channels: [{ ...channel, hub: values.echo as never }],
      };
      const answered = new Map<number, string>();
      /** What no tuple can carry is never sent. */
      const numbers = Array.from({ length: count }, (_, n) => n).filter((n) => refusedAt(n) !== "request");
      let from = 0;
      let offset = 0;
      for (let life = 1; life <= lives; life++) {
        // The one before is not told, and finds out that it is fenced.
        const hub = new Hub(server.url, folder, app, "stormy");
        const to = life === lives ? numbers.length : Math.floor((numbers.length * life) / lives);
        const isLast = life === lives;
        // Those that the one before has not answered come again, as tuples do that were not acked. At last, all are asked for once more.
        const asked = isLast ? numbers : numbers.slice(from, to).filter((n) => !answered.has(n));
        const waiting = new Set<number>();
        let read = 0;
        const readOn = (): void => {
          for (; read < hub.published.length; read++) {
            const { topic, message } = hub.published[read] as Hub["published"][number];
            if (topic !== "out") continue;
            const n = numberOf(message.key);
            const before = answered.get(n);
            if (before !== undefined && before !== message.value)
              problems.push(`${n} is answered in two ways: ${before} and ${message.value}`);
            if (before === undefined) values.check(n, JSON.parse(message.value) as Answer);
            answered.set(n, message.value);
            waiting.delete(n);
          }
        };
        const command = (n: number, input: object): string =>
          hub.give("spout-hub", inbox, 0, offset++, keyOf(n), JSON.stringify({ type: "command", input }));
        /** Waits until so few are not answered. A signal that comes before its request is a dead letter, so it is sent again. */
        const settle = async (most: number): Promise<void> => {
          for (readOn(); waiting.size > most; readOn()) {
            for (const n of waiting) {
              const payload = { value: soundValue(seed, n) };
              command(n, { kind: "signal", id: "note", hash: "note", signal: "note", payload });
              // Parked runs wait for somebody.
              if (refusedAt(n) !== undefined)
                command(n, { kind: "resolve", id: "resolve", message: "as it should" });
            }
            await new Promise((resolve) => void setTimeout(resolve, 50));
          }
        };
        for (const n of asked) {
          const request = JSON.stringify({ n, value: values.at(n, "request") });
          hub.give("spout-hub", "in", 0, offset++, keyOf(n), request);
          waiting.add(n);
          if (waiting.size >= 100) await settle(50);
        }
        // The last of a life are under way when the next one takes over.
        await settle(isLast ? 0 : 10);
        readOn();
        from = Math.max(0, to - 200);
      }
      expect(problems).toEqual([]);
      expect(answered.size).toBe(numbers.length);
    },
  );
});
