import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { end, hub, spoke } from "@wheelwork/core";
import { systemClock, worker, type EngineEvent } from "@wheelwork/engine";
import { shardOf, type Channel } from "@wheelwork/engine/cluster";
import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { frame, FrameReader } from "@wheelwork/storm/multilang";
import { configKey, startPart, type StormApp, type StormConfig } from "@wheelwork/storm/parts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { realPorts } from "../src/parts/ports.ts";

const workMs = 1000;
/** One at a time in a process, and its time is over before two are done. */
const work = spoke("work", {
  input: z.number(),
  output: z.number(),
  timeoutMs: 1500,
  retry: { attempts: 1, backoffMs: 10 },
  concurrency: 1,
});
/** Long work, which says how far it is. */
const long = spoke("long", {
  input: z.number(),
  output: z.number(),
  timeoutMs: 60_000,
  heartbeatMs: 400,
  retry: { attempts: 2, backoffMs: 10 },
  limit: { perSecond: 20, by: (n) => n },
});
const job = hub(
  "job",
  {
    request: z.number(),
    reply: z.number(),
    errors: ["failed"],
    deadlineMs: 30_000,
    chart: {
      Choosing: { Short: "Working", Long: "LongWorking" },
      Working: { Done: "Up", Failed: "Down" },
      LongWorking: { Done: "Up", Failed: "Down" },
      Up: end,
      Down: end,
    },
    data: (n) => ({ n }),
  },
  {
    Choosing: (s) => s.pick(({ n }) => (n < 100 ? "Short" : "Long")),
    LongWorking: (s) =>
      s.call(long, {
        input: ({ n }) => n,
        ok: (_data, n) => s.raise("Done", { n }),
        failed: "Failed",
        deadline: "Failed",
      }),
    Working: (s) =>
      s.call(work, {
        input: ({ n }) => n,
        ok: (_data, n) => s.raise("Done", { n }),
        failed: "Failed",
        deadline: "Failed",
      }),
    Up: ({ n }) => n,
    Down: (_data, s) => s.fail("failed", "it failed"),
  },
);
const channel: Channel = {
  name: "test",
  from: "requests",
  to: "answers",
  hub: "job",
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};

interface Said {
  readonly command: string;
  readonly stream?: string;
  readonly tuple?: readonly string[];
}

/** The tasks of a topology: four hubs and one worker bolt, in this process. The test is their Storm. */
class Topology {
  readonly answers: string[] = [];
  readonly events: EngineEvent[] = [];
  readonly #config: StormConfig;
  readonly #folder: string;
  readonly #takes = new Map<number, (chunk: Buffer | undefined) => void>();
  #tuples = 0;

  constructor(databaseUrl: string, folder: string, shards: number, app: StormApp) {
    this.#config = { brokers: "", databaseUrl, shards, inbox: "inbox" };
    this.#folder = folder;
    const observe = (event: EngineEvent): void => void this.events.push(event);
    for (let task = 1; task <= shards; task++) this.#start(task, "hub", { ...app, observe });
    this.#start(shards + 1, "worker", app);
  }

  request(key: string, body: unknown): void {
    const { shards } = this.#config;
    this.#give(shardOf(key, shards) + 1, "spout-hub", [
      "requests",
      0,
      this.#tuples,
      key,
      JSON.stringify(body),
    ]);
  }

  end(): void {
    for (const take of this.#takes.values()) take(undefined);
  }

  #start(task: number, part: "hub" | "worker", app: StormApp): void {
    const reader = new FrameReader();
    const wire = {
      read: (take: (chunk: Buffer | undefined) => void) => void this.#takes.set(task, take),
      pause: () => {},
      resume: () => {},
      write: (data: Buffer, done: () => void) => {
        for (const said of reader.feed(data)) this.#hear(said as unknown as Said);
        done();
      },
      uncaught: () => {},
      after: (ms: number, then: () => void) => void systemClock.after(ms, then),
      exit: () => {},
    };
    const connect = () => ({
      publish: async () => {},
      since: async () => 0,
      progress: async () => [],
      close: async () => {},
    });
    startPart(part, () => app, wire, { ...realPorts, connect });
    const { shards } = this.#config;
    const hubs = Array.from({ length: shards }, (_, index) => [String(index + 1), "bolt-hub"]);
    this.#send(task, {
      pidDir: this.#folder,
      conf: { [configKey]: JSON.stringify(this.#config) },
      context: {
        "task->component": Object.fromEntries([...hubs, [String(shards + 1), "bolt-worker"]]) as object,
        taskid: task,
        componentid: part === "hub" ? "bolt-hub" : "bolt-worker",
      },
    });
  }

  #give(task: number, comp: string, tuple: readonly unknown[]): void {
    this.#send(task, { id: String(++this.#tuples), comp, stream: "default", task: 9, tuple });
  }

  #send(task: number, message: object): void {
    setImmediate(() => this.#takes.get(task)?.(Buffer.from(frame(message))));
  }

  #hear({ command, stream, tuple = [] }: Said): void {
    if (command !== "emit") return;
    const [key = "", body = ""] = tuple;
    const { shards } = this.#config;
    if (stream === "stream-hub-bolt-to-worker-bolt") this.#give(shards + 1, "bolt-hub", tuple);
    if (stream === "stream-worker-bolt-to-hub-bolt")
      this.#give(shardOf(key, shards) + 1, "bolt-worker", tuple);
    if (stream !== "stream-hub-bolt-to-nb") return;
    const items = JSON.parse(body) as { id: string; message: { value: string } }[];
    this.answers.push(...items.map(({ message }) => message.value));
    this.#give(shardOf(key, shards) + 1, "bolt-to-nb", [key, JSON.stringify(items.map(({ id }) => id))]);
  }
}

describe.skipIf(!postgresIsInstalled())("an attempt that waits for a place at a worker bolt", () => {
  let server: PostgresServer;
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-waiting-"));
    chmodSync(folder, 0o755);
    server = new PostgresServer(folder, await freePort());
    await server.start();
  });
  afterAll(async () => {
    await server?.signal("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  test("loses none of its time, and no attempt: its time begins when the bolt begins it", async () => {
    const shards = 4;
    let [running, most] = [0, 0];
    const topology = new Topology(server.url, folder, shards, {
      hubs: [job],
      channels: [channel],
      workers: [
        worker(work, async (n) => {
          most = Math.max(most, ++running);
          await sleep(workMs);
          running--;
          return n;
        }),
        worker(long, (n) => n),
      ],
    });
    // One for each hub: each has a place in its own process, and they share that of the worker bolt.
    const keys = Array.from({ length: shards }, (_, shard) => {
      for (let number = 0; ; number++) if (shardOf(`k${number}`, shards) === shard) return `k${number}`;
    });
    for (const [n, key] of keys.entries()) topology.request(key, n);
    await expect.poll(() => topology.answers.length).toBe(shards);
    expect(topology.answers.toSorted()).toEqual(
      keys.map((_, n) => JSON.stringify({ kind: "result", value: n })).toSorted(),
    );
    expect(most).toBe(1);
    expect(topology.events.filter(({ name }) => name === "attempt")).toHaveLength(shards);
    expect(topology.events.filter(({ name }) => name === "attempt-timeout")).toEqual([]);
    topology.end();
  });

  test("keeps to a rate in the bolt, and goes on from what an attempt before it has said", async () => {
    const begun: { readonly at: number; readonly n: number; readonly from: unknown }[] = [];
    const topology = new Topology(server.url, folder, 4, {
      hubs: [job],
      channels: [channel],
      workers: [
        worker(work, (n) => n),
        worker(long, async (n, context) => {
          begun.push({ at: performance.now(), n, from: context.lastProgress });
          for (let page = 1; page <= 6; page++) {
            await sleep(150);
            context.progress({ page });
          }
          // The first attempt falls silent.
          if (context.attempt === 1) await sleep(100_000, undefined, { ref: false });
          return n;
        }),
      ],
    });
    const keys = Array.from({ length: 10 }, (_, n) => `long${n}`);
    for (const key of keys) topology.request(key, 100);
    await expect.poll(() => topology.answers.length).toBe(keys.length);
    expect(new Set(topology.answers)).toEqual(new Set([JSON.stringify({ kind: "result", value: 100 })]));
    expect(begun.filter(({ from }) => from === undefined)).toHaveLength(keys.length);
    expect(begun.filter(({ from }) => (from as { page: number } | undefined)?.page === 6)).toHaveLength(
      keys.length,
    );
    // In each time, no more have begun than there were tokens: one in 50 ms, and one that was saved.
    const times = begun.map(({ at }) => at);
    for (const [place, at] of times.entries())
      for (const [later, end] of times.slice(place).entries())
        expect(later + 1).toBeLessThanOrEqual(1 + (end - at + 1) / 50);
    topology.end();
  });
});
