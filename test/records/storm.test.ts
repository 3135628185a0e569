import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, type EngineEvent, type Message } from "@wheelwork/engine";
import { readDeadLetter, type LogRecord } from "@wheelwork/engine/cluster";
import { postgresStore } from "@wheelwork/postgres";
import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { frame, FrameReader } from "@wheelwork/storm/multilang";
import { configKey, startPart } from "@wheelwork/storm/parts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
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

  constructor(databaseUrl: string, pidDir: string) {
    const observe = (event: EngineEvent): void => void this.events.push(event);
    startPart(
      "hub",
      () => ({ hubs, workers, channels: [channel], observe }),
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
        openStore: () => postgresStore({ connectionString: databaseUrl }),
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
});
