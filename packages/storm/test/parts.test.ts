import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { spawn, type ChildProcess } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { inboxMessage } from "@wheelwork/engine/parts";
import { FrameReader } from "@wheelwork/storm/multilang";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";

const components = { 1: "bolt-hub", 2: "bolt-worker", 3: "bolt-coordinator", 4: "bolt-to-nb" } as const;
const patient = { timeout: 15_000, interval: 10 };

let folder: string;
let database: PostgresServer;
let schemas = 0;
const parts: Part[] = [];

type Said = Record<string, unknown> & { at: number };

/** A part of the topology in a process of its own; the test is its Storm. */
class Part {
  readonly said: Said[] = [];
  readonly child: ChildProcess;
  #ids = 0;

  constructor(part: "hub" | "worker" | "coordinator", schema: string) {
    const task = { hub: 1, worker: 2, coordinator: 3 }[part];
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const app = fileURLToPath(new URL("app.ts", import.meta.url));
    this.child = spawn(process.execPath, [...flags, app, part], { stdio: ["pipe", "pipe", "inherit"] });
    const reader = new FrameReader();
    this.child.stdout?.on("data", (chunk: Buffer) => {
      for (const message of reader.feed(chunk))
        this.said.push({ ...(message as Record<string, unknown>), at: performance.now() });
    });
    this.child.stdin?.on("error", () => {});
    const config = { brokers: "127.0.0.1:1", databaseUrl: database.url, schema, shards: 1, inbox: "inbox" };
    const context = { "task->component": components, taskid: task, componentid: components[task as 1] };
    this.#send({ pidDir: folder, conf: { "wheelwork.config": JSON.stringify(config) }, context });
    parts.push(this);
  }

  #send(message: object): void {
    this.child.stdin?.write(`${JSON.stringify(message)}\nend\n`);
  }

  /** Sends a tuple; gives its id. */
  tuple(comp: string, stream: string, ...values: unknown[]): string {
    const id = String(++this.#ids);
    this.#send({ id, comp, stream, task: 9, tuple: values });
    return id;
  }

  /** A request as the Kafka spout hands it on. */
  request(key: string, value: object): string {
    return this.tuple("spout-hub", "default", "requests", 0, this.#ids, key, JSON.stringify(value));
  }

  /** The bodies of the tuples of a stream. */
  bodies(stream: string): unknown[][] {
    return this.said
      .filter((message) => message["command"] === "emit" && message["stream"] === stream)
      .map(({ tuple }) => JSON.parse(String((tuple as unknown[])[1])) as unknown[]);
  }

  settled(id: string, command: "ack" | "fail"): Promise<unknown> {
    return vi.waitUntil(
      () => this.said.find((one) => one["id"] === id && one["command"] === command),
      patient,
    );
  }

  kill(): Promise<void> {
    const gone = new Promise<void>((resolve) => void this.child.once("exit", () => resolve()));
    this.child.kill("SIGKILL");
    return gone;
  }
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "wheelwork-parts-"));
  chmodSync(folder, 0o755);
  if (!postgresIsInstalled()) return;
  database = new PostgresServer(join(folder, "postgres"), await freePort());
  await database.start();
}, 60_000);
afterEach(async () => {
  await Promise.all(
    parts
      .splice(0)
      .map((part) =>
        part.child.exitCode === null && part.child.signalCode === null ? part.kill() : undefined,
      ),
  );
});
afterAll(async () => {
  if (postgresIsInstalled()) await database.signal("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const newSchema = (): string => `storm_${++schemas}`;
interface Publication {
  readonly topic: string;
  readonly id?: string;
  readonly message: {
    readonly key: string;
    readonly value: string;
    readonly headers: Record<string, string>;
  };
}
const toNb = "stream-hub-bolt-to-nb";
const published = (part: Part): Publication[] => part.bodies(toNb).flat() as Publication[];
const waitFor = <T>(what: () => T): Promise<NonNullable<T>> =>
  vi.waitUntil(what, patient) as Promise<NonNullable<T>>;

describe.skipIf(!postgresIsInstalled())("the hub's bolt", { timeout: 40_000 }, () => {
  test("acks a request when it is committed, and sends all calls of a turn in one tuple", async () => {
    const hub = new Part("hub", newSchema());
    const id = hub.request("k1", { n: 5 });
    await hub.settled(id, "ack");
    const orders = (await waitFor(() => hub.bodies("stream-hub-bolt-to-worker-bolt")[0])) as {
      request: string;
      call: number;
      attempt: number;
      input: { n: number };
    }[];
    expect(orders.map(({ input }) => input)).toEqual([{ n: 5 }, { n: 6 }, { n: 7 }]);
    const outcomes = orders.map(({ request, call, attempt, input }) => ({
      id: `${request}#${call}#${attempt}`,
      request,
      outcome: { kind: "ok", output: { doubled: input.n * 2 } },
    }));
    // Twice, and in between somebody else's: each counts once.
    for (const body of [outcomes, outcomes, [{ ...outcomes[0], id: "k9#0#1" }]])
      await hub.settled(hub.tuple("bolt-worker", "out", "k1", JSON.stringify(body)), "ack");
    const [answer] = await waitFor(() => (published(hub).length > 0 ? published(hub) : undefined));
    expect(answer).toMatchObject({ topic: "answers", message: { key: "k1", value: '{"sum":36}' } });
    expect(answer?.message.headers["ce_id"]).toBe(answer?.id);
    // The same once more: the same answer under the same id. Another body: a dead letter, before the tuple is acked.
    await hub.settled(hub.request("k1", { n: 5 }), "ack");
    const again = await waitFor(() => published(hub)[1]);
    expect(again.id).toBe(answer?.id);
    const other = hub.request("k1", { n: 6 });
    await hub.settled(other, "ack");
    const place = (test: (message: Said) => boolean): number => hub.said.findIndex(test);
    const letter = place(({ anchors }) => Array.isArray(anchors) && anchors.includes(other));
    expect(letter).toBeGreaterThan(0);
    expect(letter).toBeLessThan(place((message) => message["command"] === "ack" && message["id"] === other));
    expect(published(hub).some(({ topic }) => topic === "requests-dlt")).toBe(true);
  });

  test("sends an answer that a callback caused again after a kill, when no tuple is left", async () => {
    const schema = newSchema();
    const hub = new Part("hub", schema);
    await hub.settled(hub.request("late", { n: 1, wait: true }), "ack");
    const began = performance.now();
    // The coordinator is told, and never calls back: the hub's own sweep does, a second later at most.
    expect(hub.bodies("stream-to-bolt-coordinator").length).toBeGreaterThan(0);
    const first = await waitFor(() => published(hub)[0]);
    expect(first.message.value).toBe("error");
    expect(performance.now() - began).toBeLessThan(1000 + 1000 + 1500);
    // Nobody has reported that it is there. Java dies, and with it every tuple.
    await hub.kill();
    const next = new Part("hub", schema);
    const second = await waitFor(() => published(next)[0]);
    expect(second).toEqual(first);
    // Nothing is heard of it either: it is sent once more by a sweep.
    await waitFor(() => published(next)[1]);
    next.tuple("bolt-to-nb", "done", "0", JSON.stringify([first.id]));
    expect(published(next).every(({ id }) => id === first.id)).toBe(true);
  });

  test("makes what was under way again when it starts, with the time that is left", async () => {
    const schema = newSchema();
    const hub = new Part("hub", schema);
    await hub.settled(hub.request("k", { n: 1 }), "ack");
    await hub.kill();
    const next = new Part("hub", schema);
    const orders = (await waitFor(() => next.bodies("stream-hub-bolt-to-worker-bolt")[0])) as {
      withinMs: number;
      call: number;
    }[];
    expect(orders.map(({ call }) => call)).toEqual([0, 1, 2]);
    for (const { withinMs } of orders) expect(withinMs).toBeGreaterThan(1000);
  });

  test("takes commands for runs that a request has begun, under the key of the request", async () => {
    const hub = new Part("hub", newSchema());
    await hub.settled(hub.request("root", { n: 1, wait: true }), "ack");
    const { key, value } = inboxMessage("root/7", { type: "command", input: { kind: "cancel", id: "c1" } });
    expect(key).toBe("root");
    await hub.settled(hub.tuple("spout-hub", "default", "inbox", 0, 9, key, value), "ack");
    const own = inboxMessage("root", {
      type: "command",
      input: { kind: "signal", id: "s1", signal: "go", payload: {} },
    });
    await hub.settled(hub.tuple("spout-hub", "default", "inbox", 0, 10, own.key, own.value), "ack");
    const answer = await waitFor(() => published(hub)[0]);
    expect(answer.message).toMatchObject({ key: "root", value: '{"sum":0}' });
  });

  test("that is fenced fails its tuples, and does not exit", async () => {
    const schema = newSchema();
    const old = new Part("hub", schema);
    await old.settled(old.request("a", { n: 1, wait: true }), "ack");
    const young = new Part("hub", schema);
    await young.settled(young.request("b", { n: 1, wait: true }), "ack");
    const tuple = old.request("c", { n: 1, wait: true });
    await old.settled(tuple, "fail");
    await old.settled(old.request("d", { n: 1 }), "fail");
    expect(old.child.exitCode).toBeNull();
    expect(JSON.stringify(old.said)).toContain("another owner has taken over shard");
    await young.settled(young.request("c", { n: 1, wait: true }), "ack");
    // One answer for each, from the one that has the shard.
    await waitFor(() => published(young).length >= 3 || undefined);
    expect(
      published(young)
        .map(({ message }) => message.key)
        .toSorted(),
    ).toEqual(["a", "b", "c"]);
  });

  test("keeps requests back while the database is away, and takes them up when it is there", async () => {
    const hub = new Part("hub", newSchema());
    await hub.settled(hub.request("a", { n: 1, wait: true }), "ack");
    await database.signal("SIGKILL");
    const during = hub.request("b", { n: 1, wait: true });
    await hub.settled(during, "fail");
    await database.start();
    await vi.waitUntil(async () => {
      const id = hub.request("b", { n: 1, wait: true });
      await vi.waitUntil(() => hub.said.some((one) => one["id"] === id), patient);
      return hub.said.some((one) => one["id"] === id && one["command"] === "ack");
    }, patient);
    await waitFor(() => published(hub).length >= 2 || undefined);
    expect(hub.child.exitCode).toBeNull();
  });
});

describe("the worker's bolt", () => {
  test("makes attempts, tells what came of them, and makes no attempt twice at once", async () => {
    const worker = new Part("worker", "none");
    const order = {
      spoke: "double",
      request: "k/1",
      call: 3,
      attempt: 1,
      epoch: 2,
      deadline: 1,
      withinMs: 1000,
    };
    const orders = [
      { ...order, input: { n: 2 } },
      { ...order, call: 4, spoke: "double", input: { n: "two" } },
    ];
    await worker.settled(worker.tuple("bolt-hub", "work", "k", JSON.stringify(orders)), "ack");
    const outcomes = await waitFor(() => {
      const all = worker.bodies("stream-worker-bolt-to-hub-bolt").flat();
      return all.length === 2 ? all : undefined;
    });
    expect(outcomes).toMatchObject([
      { id: "k/1#3#1", request: "k/1", outcome: { kind: "ok", output: { doubled: 4 } } },
      // What the worker makes of a text is not what the spoke declares.
      { id: "k/1#4#1", request: "k/1", outcome: { kind: "error", code: "WW_INVALID_OUTPUT" } },
    ]);
    // The key is that of the root, whose shard has the run.
    expect(
      worker.said.find(({ stream }) => stream === "stream-worker-bolt-to-hub-bolt")?.["tuple"],
    ).toMatchObject(["k", {}]);
  });
});

describe("the coordinator's bolt", () => {
  test("says that it begins, calls back in time, and forgets what is cancelled or of an earlier claim", async () => {
    const coordinator = new Part("coordinator", "none");
    const back = "stream-bolt-coordinator-to-hub";
    await waitFor(() => coordinator.said.find(({ stream }) => stream === "stream-bolt-coordinator-begun"));
    const want = (claim: string, ids: readonly [id: number, inMs: number][], cancel: number[] = []): string =>
      coordinator.tuple(
        "bolt-hub",
        "want",
        "0",
        JSON.stringify([{ claim, want: ids.map(([id, inMs]) => ({ id, inMs })), cancel }]),
      );
    want("first", [
      [1, 60_000],
      [2, 100],
    ]);
    const began = performance.now();
    want(
      "second",
      [
        [1, 200],
        [2, 50],
        [3, 50],
        [4, 100],
      ],
      [],
    );
    await coordinator.settled(want("second", [[4, 300]], [3]), "ack");
    const calls = (): unknown[] => coordinator.bodies(back).flat();
    await waitFor(() => calls().length >= 3 || undefined);
    expect(calls()).toEqual([
      { claim: "second", id: 2 },
      { claim: "second", id: 1 },
      { claim: "second", id: 4 },
    ]);
    const at = coordinator.said.filter(({ stream }) => stream === back).map(({ at }) => at - began);
    expect(at[0]).toBeGreaterThanOrEqual(45);
    expect(at[2]).toBeGreaterThanOrEqual(295);
  });
});
