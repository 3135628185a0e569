import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { end, hub, spoke } from "@wheelwork/core";
import { relay, systemClock, worker, type Message, type WorkerContext } from "@wheelwork/engine";
import type { Channel } from "@wheelwork/engine/cluster";
import { inboxMessage } from "@wheelwork/engine/parts";
import { frame, FrameReader } from "@wheelwork/storm/multilang";
import { configKey, startPart, stormTopology, type StormApp, type StormConfig } from "@wheelwork/storm/parts";
import { MemoryStore } from "@wheelwork/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { realPorts } from "../src/parts/ports.ts";

const spec = { input: z.number(), output: z.number(), timeoutMs: 30_000 };
/** A worker in a bolt. */
const double = spoke("double", spec);
/** Somebody behind two topics. */
const ask = spoke("ask", spec);

const job = hub(
  "job",
  {
    request: z.strictObject({ n: z.number(), traceparent: z.string().optional() }),
    reply: z.number(),
    errors: ["failed"],
    deadlineMs: 60_000,
    chart: {
      Working: { Done: "Asking", Failed: "Down" },
      Asking: { Done: "Up", Failed: "Down" },
      Up: end,
      Down: end,
    },
    data: ({ n }) => ({ n }),
  },
  {
    Working: (s) =>
      s.call(double, {
        input: ({ n }) => n,
        ok: (_data, n) => s.raise("Done", { n }),
        failed: "Failed",
        deadline: "Failed",
      }),
    Asking: (s) =>
      s.call(ask, {
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
  // Storm's spout drops headers.
  trace: ({ value }) => JSON.parse(value) as { traceparent?: string },
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};

type Part = "hub" | "worker" | "nb";
const tasks: Readonly<Record<Part, number>> = { hub: 1, worker: 2, nb: 3 };
const names: Readonly<Record<Part, string>> = { hub: "bolt-hub", worker: "bolt-worker", nb: "bolt-to-nb" };

interface Published {
  readonly topic: string;
  readonly message: Message;
}

/** The parts of a topology in this process, wired as the topology says. The test is their Storm, and their brokers. */
class Topology {
  readonly published: Published[] = [];
  readonly #takes = new Map<Part, (chunk: Buffer | undefined) => void>();
  readonly #edges: ReadonlyMap<string, readonly string[]>;
  #tuples = 0;

  constructor(app: StormApp, folder: string) {
    const config: StormConfig = { brokers: "b:1", databaseUrl: "", shards: 1, inbox: "inbox" };
    const { edges } = stormTopology({ name: "traces", config, app });
    this.#edges = new Map(
      Object.entries(Object.groupBy(edges, ({ from, stream }) => `${from} ${stream}`)).map(([name, some]) => [
        name,
        (some ?? []).map(({ to }) => to),
      ]),
    );
    const store = new MemoryStore();
    const ports = {
      ...realPorts,
      openStore: () => store,
      connect: () => ({
        publish: async (topic: string, message: Message) => this.#publish(topic, message),
        since: async () => 0,
        progress: async () => [],
        close: async () => {},
      }),
    };
    for (const part of ["hub", "worker", "nb"] as const) {
      const reader = new FrameReader();
      const wire = {
        read: (take: (chunk: Buffer | undefined) => void) => void this.#takes.set(part, take),
        pause: () => {},
        resume: () => {},
        write: (data: Buffer, done: () => void) => {
          for (const said of reader.feed(data) as Iterable<Record<string, unknown>>) this.#hear(part, said);
          done();
        },
        uncaught: () => {},
        after: (ms: number, then: () => void) => void systemClock.after(ms, then),
        exit: () => {},
      };
      startPart(part, () => app, wire, ports);
      this.#send(part, {
        pidDir: folder,
        conf: { [configKey]: JSON.stringify(config) },
        context: {
          "task->component": Object.fromEntries(
            (["hub", "worker", "nb"] as const).map((one) => [String(tasks[one]), names[one]]),
          ) as object,
          taskid: tasks[part],
          componentid: names[part],
        },
      });
    }
  }

  /** A record, as Storm's spout hands it on: without headers. */
  record(topic: string, { key, value }: Message): void {
    this.#give("hub", "spout-hub", [topic, 0, this.#tuples, key, value]);
  }

  async waitFor(topic: string, key: string): Promise<Message> {
    const find = () => this.published.find((one) => one.topic === topic && one.message.key === key);
    return (await vi.waitUntil(find, { timeout: 60_000, interval: 5 })).message;
  }

  end(): void {
    for (const take of this.#takes.values()) take(undefined);
  }

  #publish(topic: string, message: Message): void {
    this.published.push({ topic, message });
    // Who is asked answers at once.
    if (topic === "questions")
      this.#give("worker", "spout-worker", ["replies", 0, 0, message.key, message.value]);
  }

  #give(part: Part, comp: string, tuple: readonly unknown[]): void {
    this.#send(part, { id: String(++this.#tuples), comp, stream: "default", task: 9, tuple });
  }

  #send(part: Part, message: object): void {
    setImmediate(() => this.#takes.get(part)?.(Buffer.from(frame(message))));
  }

  #hear(from: Part, { command, stream = "default", tuple = [] }: Record<string, unknown>): void {
    if (command !== "emit") return;
    for (const to of this.#edges.get(`${names[from]} ${String(stream)}`) ?? []) {
      const part = (Object.keys(names) as Part[]).find((one) => names[one] === to);
      if (part !== undefined) this.#give(part, names[from], tuple as unknown[]);
    }
  }
}

const traceOf = (traceparent: string | undefined): string | undefined => traceparent?.split("-")[1];

test("the trace of a request goes on from what brings it, through the tuples, to workers, relays and the answer", async () => {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-traces-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const seen: Pick<WorkerContext, "traceparent" | "tracestate">[] = [];
  const app: StormApp = {
    hubs: [job],
    channels: [channel],
    tracing: { isSampled: () => true, active: () => undefined, within: (_context, make) => make() },
    workers: [
      worker(double, (n, { traceparent, tracestate }) => {
        seen.push({ traceparent, tracestate });
        return 2 * n;
      }),
      relay(ask, {
        to: "questions",
        from: "replies",
        send: (n, { requestId }) => ({ key: requestId, value: String(n) }),
        receive: ({ key, value }) => ({
          correlation: key,
          outcome: { kind: "ok" as const, output: Number(value) + 1 },
        }),
      }),
    ],
  };
  const topology = new Topology(app, folder);
  onTestFinished(() => topology.end());
  const [byHttp, byKafka] = ["0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"];
  // As a server writes a request into the inbox that came to it over HTTP.
  topology.record(
    "inbox",
    inboxMessage("k1", {
      type: "request",
      hub: "job",
      request: { n: 3 },
      replyTo: "test",
      trace: { parent: `00-${byHttp}-b7ad6b7169203331-01`, state: "vendor=1" },
    }),
  );
  const traceparent = `00-${byKafka}-00f067aa0ba902b7-01`;
  topology.record("requests", { key: "k2", value: JSON.stringify({ n: 4, traceparent }) });
  for (const [key, trace, answer] of [
    ["k1", byHttp, 7],
    ["k2", byKafka, 9],
  ] as const) {
    const question = await topology.waitFor("questions", key);
    expect(traceOf(question.headers?.["traceparent"])).toBe(trace);
    const answered = await topology.waitFor("answers", key);
    expect(JSON.parse(answered.value)).toEqual({ kind: "result", value: answer });
    expect(traceOf(answered.headers?.["traceparent"])).toBe(trace);
  }
  expect(seen.map((one) => traceOf(one.traceparent)).toSorted()).toEqual([byHttp, byKafka].toSorted());
  expect(seen.find((one) => traceOf(one.traceparent) === byHttp)?.tracestate).toBe("vendor=1");
  // A span of its own for each attempt.
  const spans = topology.published
    .filter(({ topic }) => topic === "questions")
    .map(({ message }) => message.headers?.["traceparent"]);
  expect(new Set([...spans, ...seen.map((one) => one.traceparent)]).size).toBe(4);
}, 90_000);
