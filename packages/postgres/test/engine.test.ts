import { createEngine, systemClock, type Engine } from "@wheelwork/engine";
import { clusterTopics, createNode, shardOf } from "@wheelwork/engine/cluster";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { MemoryBroker, MemoryLog } from "@wheelwork/testing";
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { flowCreate, workers } from "./flow.ts";
import { asking, Load, until, type Ask } from "./load.ts";
import { binaries, Server } from "./server.ts";

interface Told {
  readonly status?: string;
  readonly key?: string;
  readonly answer?: string;
  readonly refused?: string;
}

/** An engine in a process of its own. */
class Node {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<string, { resolve: (answer: string) => void; reject: (why: Error) => void }>();
  status = "starting";
  readonly told: string[] = [];

  constructor(schema: string) {
    const execArgv = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    this.#child = fork(join(import.meta.dirname, "node.ts"), [server.url, schema], { execArgv });
    this.#child.on("message", (message) => this.#hear(message as Told));
    this.#child.on("exit", () => {
      this.status = "dead";
      for (const { reject } of this.#waiting.values()) reject(new Error("the node has died"));
    });
  }

  async started(): Promise<this> {
    await until("the node", () => this.status !== "starting");
    if (this.status !== "running") throw new Error(`the node is ${this.status}`);
    return this;
  }

  #hear({ status, key = "", answer, refused }: Told): void {
    if (status !== undefined) this.status = status;
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    if (refused !== undefined) this.told.push(refused);
    if (answer === undefined) waiting?.reject(new Error(refused));
    else waiting?.resolve(answer);
  }

  readonly ask: Ask = (request) =>
    new Promise((resolve, reject) => {
      if (this.status === "dead") return reject(new Error("the node has died"));
      this.#waiting.set(request.key, { resolve, reject });
      this.#child.send(request);
    });

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits until its engine has stopped. */
  stopped(): Promise<void> {
    return until("the end of the node's engine", () => {
      this.#child.send("status");
      return this.status === "stopped";
    });
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
  }
}

let server: Server;

describe.skipIf(binaries === undefined)("an engine on a PostgreSQL server", () => {
  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server?.remove());

  async function start(schema: string): Promise<Engine> {
    const store = postgresStore({ connectionString: server.url, schema, timeoutMs: 1000 });
    const limits = { checkpointEvents: 500 };
    const engine = createEngine({ hubs: [flowCreate], workers, store, limits });
    await engine.start();
    onTestFinished(async () => {
      await engine.stop();
      await store.close();
    });
    return engine;
  }

  test("answers each request once though the server is killed and frozen under load", async () => {
    const engine = await start(server.schema());
    const load = new Load(16, asking(engine));
    await load.grown(100);
    for (let crash = 0; crash < 3; crash++) {
      await server.kill();
      await server.resume();
      await load.grown(50);
    }
    const thaw = server.freeze();
    // Longer than any statement may take.
    await sleep(3000);
    thaw();
    await load.grown(50);
    expect(await load.wrong(asking(engine))).toEqual([]);
    expect(engine.health()).toMatchObject({ status: "running", liveRuns: 0, openAttempts: 0 });
  });

  test("a history is whole, though commits of its run were lost or not seen", async () => {
    const engine = await start(server.schema());
    const load = new Load(8, asking(engine));
    await load.grown(20);
    await server.kill();
    await server.resume();
    await load.grown(20);
    expect(await load.wrong(asking(engine))).toEqual([]);
    for (const key of load.answers.keys()) {
      const types = (await engine.history(key)).map(({ type }) => type);
      expect(types[0]).toBe("started");
      expect(types.filter((type) => type === "ended")).toHaveLength(1);
      expect(types.at(-1)).toBe("ended");
    }
  });

  test("answers each request once though its process is killed under load", async () => {
    const schema = server.schema();
    let node = await new Node(schema).started();
    onTestFinished(() => node.kill());
    const ask: Ask = (request) => node.ask(request);
    const load = new Load(16, ask);
    for (let kill = 0; kill < 5; kill++) {
      await load.grown(40);
      await node.kill();
      node = await new Node(schema).started();
    }
    await load.grown(40);
    expect(await load.wrong(ask)).toEqual([]);
  });

  test("a frozen owner that wakes up after another has taken over writes nothing, and stops (I21)", async () => {
    const schema = server.schema();
    const zombie = await new Node(schema).started();
    onTestFinished(() => zombie.kill());
    const moved = Promise.withResolvers<never>();
    moved.promise.catch(() => {});
    let ask: Ask = (request) => Promise.race([zombie.ask(request), moved.promise]);
    const load = new Load(16, (request) => ask(request));
    await load.grown(100);
    zombie.signal("SIGSTOP");
    const next = await start(schema);
    ask = asking(next);
    const [before] = await server.query(`SELECT owner FROM ${schema}.shard`);
    moved.reject(new Error("the node does not answer"));
    await load.grown(100);
    zombie.signal("SIGCONT");
    await zombie.stopped();
    await load.grown(100);
    expect(await load.wrong(asking(next))).toEqual([]);
    expect(await server.query(`SELECT owner FROM ${schema}.shard`)).toEqual([before]);
    expect(next.health()).toMatchObject({ status: "running" });
  });

  test("a node lets go of a shard whose commits were lost, says so, and works on the others", async () => {
    const schema = server.schema();
    const broker = new MemoryBroker({ clock: systemClock });
    const log = new MemoryLog(broker, { clock: systemClock });
    for (const { name, partitions = 1 } of clusterTopics({ shards: 2 })) broker.createTopic(name, partitions);
    const pool = postgresPool({ connectionString: server.url, schema });
    const failures: Error[] = [];
    const node = createNode({
      hubs: [flowCreate],
      workers,
      log,
      shards: 2,
      store: (shard) => postgresStore({ pool, shard, shards: 2 }),
      onFailure: (error) => void failures.push(error),
    });
    onTestFinished(async () => {
      await node.stop();
      await log.close();
      await pool.close();
    });
    await node.start();
    await until("the shards", () => node.shards.length === 2);
    const keys = Array.from({ length: 20 }, (_, index) => `key-${index}`);
    const [kept, losing] = [0, 1].map((shard) => keys.filter((key) => shardOf(key, 2) === shard)) as [
      string[],
      string[],
    ];
    const request = { flow: "f", length: 1, fails: false };
    const call = (key = "") => node.call(flowCreate, request, { key });
    await Promise.all([call(kept[0]), call(losing[0])]);
    await server.query(`UPDATE ${schema}.shard SET seq = 1 WHERE id = 1`);
    call(losing[1]).catch(() => {});
    await until("the failure", () => failures.length > 0);
    expect(failures).toMatchObject([{ code: "WW_COMMITS_LOST" }]);
    await until("the end of the shard", () => node.shards.length === 1);
    expect(node.health()).toMatchObject({
      ready: true,
      warnings: [expect.stringMatching(/^shard 1: WW_COMMITS_LOST/) as string],
    });
    expect(await call(kept[1])).toMatchObject({ kind: "result" });
  });
});
