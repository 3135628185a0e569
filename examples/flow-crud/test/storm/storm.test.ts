import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import {
  Authority,
  defaultCache,
  kafkaIsInstalled,
  opensslIsInstalled,
  postgresIsInstalled,
  stormIsInstalled,
} from "@wheelwork/services";
import { kafka, type Kafka } from "@wheelwork/kafka";
import { postgresStore } from "@wheelwork/postgres";
import type { Engine } from "wheelwork";
import { createClient, deadLetterTopic, readDeadLetter, type LogRecord } from "wheelwork/cluster";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { flowCreateHub } from "../../src/hub.ts";
import { deploy, stormNames } from "../../src/storm/deploy.ts";
import { flowTopics } from "../../src/topics.ts";
import { seedCommands, TopicClient } from "../cluster/client.ts";
import { askHttp } from "../ask.ts";
import { FlowStage, flowBody, network } from "../cluster/flows.ts";
import { takeTurns } from "../../../../test/turns/campaign.ts";
import { operate } from "../../../../test/turns/operating.ts";
import { TurnsOnStorm } from "../../../../test/turns/storm.ts";
import { readRules } from "../crash/checks.ts";
import { honest, hostile } from "../hostile/misbehave.ts";
import { attackWithCode, attackWithRecords, keyOf } from "./attack.ts";
import { doubling } from "./doubling.ts";
import { elsewhere, hostileTopics, spoken } from "./hostile.ts";
import { StormSystem } from "./system.ts";

/** These need Storm, a broker and a database server: `npm run services -- install` gets them. */
const canRun =
  stormIsInstalled(defaultCache) &&
  kafkaIsInstalled(defaultCache) &&
  postgresIsInstalled() &&
  opensslIsInstalled();
const topics = flowTopics(stormNames.topicPrefix);
const suite = canRun ? describe : describe.skip;
const eventually = { timeout: 120_000, interval: 50 };

const doublingModule = fileURLToPath(new URL("doubling.ts", import.meta.url));
const python = { ...process.env, PYTHONPATH: join(defaultCache, "python") };
const hasPython = spawnSync("python3", ["-c", "import kafka"], { env: python, stdio: "ignore" }).status === 0;

/** The worker of docs/external-workers.md. */
function spawnDoubler(brokers: string): ChildProcess {
  const page = readFileSync(new URL("../../../../docs/external-workers.md", import.meta.url), "utf8");
  const [, program = ""] = /```python\n([\s\S]*?)```/.exec(page) ?? [];
  return spawn("python3", ["-c", program], {
    env: { ...python, KAFKA_BROKERS: brokers },
    stdio: "inherit",
  });
}

/** All parts come with a certificate and a password, which their environment names. */
function secured(folder: string) {
  const authority = new Authority(folder, "authority");
  const [broker, client] = [authority.issue("broker", ["127.0.0.1"]), authority.issue("client")];
  const [username, password] = ["storm", "pa55word"];
  const env = {
    KAFKA_CA: authority.ca,
    KAFKA_CERT: client.cert,
    KAFKA_KEY: client.key,
    KAFKA_USERNAME: username,
    KAFKA_PASSWORD: password,
  };
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  return {
    certificate: broker,
    users: { [username]: password },
    administrators: [username],
    clientCa: authority.ca,
  };
}

suite("flow-crud on a real Storm", () => {
  let folder: string;
  let system: StormSystem;
  let bus: Kafka;
  let engine: Engine;
  const seen: LogRecord[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-storm-"));
    chmodSync(folder, 0o755);
    // Patient: whether programs that have just started are quick, is not what is tested.
    const flow = { deadlineMs: 8000, workerTimeoutMs: 3000 };
    system = await StormSystem.prepare(folder, { flow }, secured(folder));
    await system.start();
    bus = kafka({ brokers: system.kafka.brokers });
    for (const topic of [topics.commands, topics.answers, deadLetterTopic(topics.requests)]) {
      const { partitions } = await bus.topic(topic);
      for (let partition = 0; partition < partitions; partition++)
        await bus.read(topic, partition, undefined, {
          records: (records) => void seen.push(...records),
          lost: () => {},
        });
    }
    const { databaseUrl: connectionString, shards } = system;
    const { schema, inbox } = stormNames;
    const store = (shard: number) => postgresStore({ connectionString, schema, shard, shards });
    engine = createClient({ hubs: [flowCreateHub(system.flow.flow)], shards, inbox, store, log: bus });
    await engine.start();
  });

  afterAll(async () => {
    await engine?.stop();
    await bus?.close();
    await system?.stop();
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true, force: true });
  });

  const of = (topic: string, key: string): LogRecord[] =>
    seen.filter((record) => record.topic === topic && record.key.startsWith(key));
  let keys = 0;
  const newKey = (): string => (++keys).toString(16).padStart(32, "0");
  const send = (key: string, value: string): Promise<void> | void =>
    bus.publish(topics.requests, { key, value });
  /** What was answered, `count` times at least: an answer that may not have arrived is sent again. */
  const answerTo = async (key: string, count = 1): Promise<string> => {
    await expect.poll(() => of(topics.answers, key).length, eventually).toBeGreaterThanOrEqual(count);
    return of(topics.answers, key).at(-1)?.value ?? "";
  };
  const ask = async (value: string): Promise<[key: string, text: string]> => {
    const key = newKey();
    await send(key, value);
    return [key, await answerTo(key)];
  };
  const cli = (...args: string[]): { status: number | null; stdout: string; stderr: string } => {
    const program = fileURLToPath(new URL("../../../../packages/wheelwork/src/cli/main.ts", import.meta.url));
    const { brokers, databaseUrl, shards, storm } = system;
    // What is given goes before these.
    const nimbus = { "--nimbus": `127.0.0.1:${storm.ports.nimbus}` };
    const named = { ...nimbus, "--name": "flow-crud" };
    const cluster = {
      ...named,
      "--brokers": brokers,
      "--database": databaseUrl,
      "--shards": `${shards}`,
      "--schema": stormNames.schema,
      "--inbox": stormNames.inbox,
    };
    const [command = ""] = args;
    const place =
      command === "list" ? nimbus : ["status", "topology", "submit"].includes(command) ? cluster : named;
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    return spawnSync(
      process.execPath,
      [...flags, program, "storm", ...Object.entries(place).flat(), ...args],
      {
        encoding: "utf8",
      },
    );
  };
  /** The rules of a request that are on the switches. */
  const rules = (key: string): number => {
    const file = new DatabaseSync(join(system.data, "floodlight.db"), { readOnly: true });
    try {
      return readRules(file).get(key)?.size ?? 0;
    } finally {
      file.close();
    }
  };

  test("gives the proof of concept's four texts, and the switches agree", async () => {
    const [happy, text] = await ask('{"flowid": "test-01", "length": 10}');
    expect(text).toBe("all operation is successful");
    expect(rules(happy)).toBe(10);
    // Byte for byte as in the proof of concept: all installs, then all validates. An attempt that is made again sends the same again.
    const commands = new Set(of(topics.commands, happy).map(({ value }) => value));
    expect([...commands].slice(0, 10).toSorted()).toEqual(seedCommands("install"));
    expect([...commands].slice(10).toSorted()).toEqual(seedCommands("validate"));
    const texts = await Promise.all(
      [0, 1, 2].map((error) => ask(`{"flowid": "test-01", "length": 10, "error": ${error}}`)),
    );
    expect(texts.map(([, answer]) => answer)).toEqual([
      "error in hub by timeout",
      "error in worker on rule install",
      "error in worker on rule install",
    ]);
    for (const [key] of texts) expect(rules(key)).toBe(0);
  });

  test("refuses what cannot be understood, and stores the refusal", async () => {
    const [key, text] = await ask('{"flowid": "test-01"');
    expect(text).toBe("invalid request: the value is not JSON");
    // The same message again gets the same answer, under the same id; another body under the key is a dead letter.
    await send(key, '{"flowid": "test-01"');
    expect(await answerTo(key, 2)).toBe(text);
    await send(key, '{"flowid": "test-01", "length": 1}');
    expect(await answerTo(key, 3)).toBe(text);
    expect(new Set(of(topics.answers, key).map(({ headers }) => headers["ce_id"])).size).toBe(1);
    await send("", '{"flowid": "test-01", "length": 1}');
    const reasons = (): string[] => {
      const letters = of(deadLetterTopic(topics.requests), "").map((record) => readDeadLetter(record));
      return [...new Set(letters.map(({ reason }) => reason))].toSorted();
    };
    await expect
      .poll(reasons, eventually)
      .toEqual([
        expect.stringContaining("belongs to a request with another body"),
        expect.stringContaining("it has no key"),
      ]);
  });

  test("comes through an attack by records: each is done, refused to its sender, or a dead letter, once", async () => {
    const isWell = async (): Promise<boolean> => {
      const keys = [0, 1].map((shard) => keyOf(shard, system.shards));
      for (const key of keys) await send(key, '{"flowid": "test-01", "length": 1}');
      const texts = await Promise.all(keys.map((key) => answerTo(key)));
      return texts.every((answer) => answer === "all operation is successful");
    };
    const target = {
      bus,
      brokers: system.kafka.brokers,
      inbox: stormNames.inbox,
      group: "flow-crud-spout-hub",
      channel: { from: topics.requests, to: topics.answers },
      hub: "flow-create",
      request: { flowid: "test-01", length: 1 },
      isWell,
    };
    expect(await attackWithRecords(target)).toEqual([]);
  });

  // A topology of its own, for which Storm needs a minute.
  test.skipIf(process.env["WHEELWORK_LONG"] === undefined)(
    "comes through an attack by its own code: hubs, workers, schemas and channels that misbehave, and a worker that lies",
    { timeout: 600_000 },
    async () => {
      const { databaseUrl: connectionString, storm } = system;
      const [name, schema, inbox, shards] = ["hostile", "hostile", "hostile-inbox", 2];
      await bus.ensureTopics([{ name: hostileTopics.work, partitions: 1 }]);
      const module = fileURLToPath(new URL("hostile.ts", import.meta.url));
      const placed = ["--name", name, "--schema", schema, "--inbox", inbox, "--shards", `${shards}`];
      const node = ["--node-folder", dirname(process.execPath)];
      const home = ["--storm-home", storm.home, "--jars", storm.jars];
      expect(cli("submit", module, ...placed, ...home, ...node)).toMatchObject({ status: 0 });
      const store = (shard: number) => postgresStore({ connectionString, schema, shard, shards });
      const hubs = [honest, hostile, spoken, elsewhere];
      const client = createClient({ hubs, shards, inbox, store, log: bus });
      await client.start();
      const isWell = async (): Promise<boolean> => {
        const keys = [0, 1].map((shard) => keyOf(shard, shards));
        const answers = await Promise.all(keys.map((key) => client.call(honest, { n: 1 }, { key })));
        return answers.every(({ kind }) => kind === "result");
      };
      try {
        await vi.waitUntil(() => isWell().catch(() => false), eventually);
        const parts = (["hub", "worker", "nb"] as const).map((part) => system.pids(part));
        const [from, to] = [hostileTopics.from, hostileTopics.to];
        const place = {
          bus,
          brokers: system.kafka.brokers,
          inbox,
          group: `${name}-spout-hub`,
          channel: { from, to },
        };
        const target = { ...place, hub: "honest", request: { n: 1 }, isWell };
        expect(await attackWithRecords(target)).toEqual([]);
        expect(await attackWithCode({ ...target, client, work: hostileTopics.work })).toEqual([]);
        expect((["hub", "worker", "nb"] as const).map((part) => system.pids(part))).toEqual(parts);
      } finally {
        await client.stop();
        expect(cli("kill", "--name", name).status).toBe(0);
      }
    },
  );

  test("takes commands through the inbox, and tells everything", async () => {
    const { id } = await engine.submit("flow-create", { flowid: "test-02", length: 3, error: 0 });
    expect((await engine.request(id)).status).toBe("running");
    expect(await engine.cancel(id)).toBe("accepted");
    expect(await engine.answer(id)).toMatchObject({ kind: "error" });
    expect((await engine.history(id)).map(({ type }) => type)).toContain("ended");
    const result = await engine.call(flowCreateHub(system.flow.flow), { flowid: "test-03", length: 4 });
    expect(result).toMatchObject({ kind: "result" });
  });

  test("has the life of flows: created, moved off a cut link, and deleted, by a server of HTTP beside it", async () => {
    const { databaseUrl } = system;
    const { flowSchema, inbox, schema } = stormNames;
    const stage = new FlowStage({ databaseUrl, brokers: system.kafka.brokers, flowSchema });
    const server = system.part("api", "--port", "0", "--inbox", inbox, "--schema", schema);
    const url = (): string[] => [/^ready: api (.*)$/m.exec(server.output)?.[1] ?? ""];
    const control = /^ready: floodlight (.*)$/m.exec(system.floodlight.output)?.[1] ?? "";
    const links = async (): Promise<number | undefined> =>
      (await stage.store.flow("storm"))?.paths[0]?.segments.length;
    try {
      await server.start();
      await stage.ringIsUp();
      expect(await askHttp(url, "POST", "/v2/flows", flowBody("storm", 1, 3, 10))).toMatchObject({
        status: 200,
      });
      expect(await links()).toBe(2);
      expect(await stage.differences(control)).toEqual([]);
      await network("cut", "2-3", control);
      await expect.poll(links, eventually).toBe(6);
      const flow = async (): Promise<unknown> => (await askHttp(url, "GET", "/v2/flows/storm")).body;
      await expect.poll(flow, eventually).toMatchObject({ status: "Up" });
      await expect.poll(() => stage.differences(control), eventually).toEqual([]);
      expect((await askHttp(url, "DELETE", "/v2/flows/storm")).status).toBe(200);
      expect(await stage.differences(control)).toEqual([]);
    } finally {
      await server.end("SIGTERM");
      await stage.close();
    }
  });

  test("is looked after from the command line", async () => {
    expect(cli("list").stdout).toMatch(/^flow-crud {2}ACTIVE {2}1 worker, /m);
    const { stdout } = cli("status");
    expect(stdout).toMatch(/bolt-hub {2}task \d+ {2}127\.0\.0\.1:\d+ {2}up/);
    expect(stdout).toMatch(/shard 1 {2}owner \S+ {2}epoch 1/);
    const app = fileURLToPath(new URL("../../src/storm/app.ts", import.meta.url));
    const topology = cli("topology", app, "--dot");
    expect(topology.stdout).toContain('"spout-hub" -> "bolt-hub"');
    expect(cli("kill", "--name", "none")).toMatchObject({
      status: 3,
      stderr: expect.stringContaining("WW_NOT_FOUND: Storm runs no topology") as string,
    });
    expect(cli("rebalance", "--workers", "none").stderr).toContain("must be a whole number");
    expect(cli("submit", doublingModule).stderr).toContain("needs --storm-home");
  });

  // Two starts of a topology, and workers elsewhere: a minute.
  test.skipIf(!hasPython || process.env["WHEELWORK_LONG"] === undefined)(
    "is submitted, rebalanced, silenced and killed from the command line; workers elsewhere serve it",
    async () => {
      const { databaseUrl: connectionString, storm } = system;
      const [schema, inbox, shards] = ["doubling", "doubling-inbox", 1];
      const doubled = ["--name", "doubling"];
      const placed = [...doubled, "--schema", schema, "--inbox", inbox, "--shards", `${shards}`];
      const home = ["--storm-home", storm.home, "--jars", storm.jars];
      const node = ["--worker-tasks", "0", "--node-folder", dirname(process.execPath)];
      // Nothing is there yet but the topic of the worker elsewhere.
      await bus.ensureTopics([{ name: "double-number", partitions: 1 }]);
      const submitted = cli("submit", doublingModule, ...placed, ...home, ...node);
      expect(submitted).toMatchObject({ status: 0, stdout: "submitted doubling\n" });
      expect(cli("list").stdout).toMatch(/^doubling {2}ACTIVE/m);
      const store = (shard: number) => postgresStore({ connectionString, schema, shard, shards });
      const client = createClient({ hubs: [doubling], shards, inbox, store, log: bus });
      await client.start();
      const doubler = spawnDoubler(system.kafka.brokers);
      try {
        const claimed = (epoch: number): Promise<unknown> =>
          vi.waitUntil(() => cli("status", ...placed).stdout.includes(`epoch ${epoch}`), eventually);
        await claimed(1);
        for (const n of [1, 2, 3])
          expect(await client.call(doubling, { n })).toEqual({ kind: "result", value: { doubled: n * 2 } });
        // What is thrown where nobody catches it is shown beside its component, which goes on.
        const java = system.pids("java");
        expect(await client.call(doubling, { n: 13 })).toEqual({ kind: "result", value: { doubled: 26 } });
        await vi.waitUntil(() => cli("status", ...placed).stdout.includes("an unlucky number"), eventually);
        expect(cli("status", ...placed).stdout).toMatch(/error of bolt-hub on \S+ at .*an unlucky number/);
        expect(system.pids("java")).toEqual(java);
        expect(cli("rebalance", ...doubled, "--workers", "1").stdout).toBe("doubling: is rebalanced\n");
        const view = (): Promise<string> =>
          system.nimbus.topology("doubling").then(({ status, workers }) => `${status} ${workers}`);
        await expect.poll(view, eventually).toBe("ACTIVE 1");
        expect(await client.call(doubling, { n: 4 })).toEqual({ kind: "result", value: { doubled: 8 } });
        expect(cli("deactivate", ...doubled).stdout).toBe("doubling: deactivated\n");
        expect(cli("list").stdout).toMatch(/^doubling {2}INACTIVE/m);
        const asked = client.call(doubling, { n: 5 });
        expect(cli("activate", ...doubled).stdout).toBe("doubling: activated\n");
        expect(cli("list").stdout).toMatch(/^doubling {2}ACTIVE/m);
        expect(await asked).toEqual({ kind: "result", value: { doubled: 10 } });
        expect(cli("kill", ...doubled).stdout).toContain("doubling");
        await vi.waitUntil(() => !cli("list").stdout.includes("doubling"), eventually);
        expect(cli("list").stdout).toContain("flow-crud");
        // Nimbus forgets it before the supervisor has ended its worker.
        await expect.poll(() => system.pids("java").length, eventually).toBe(1);
      } finally {
        doubler.kill("SIGKILL");
        await client.stop();
      }
    },
  );

  // The same over more kills is in test/turns. Here it takes a minute and a half, most of which Storm needs to start.
  test.skipIf(process.env["WHEELWORK_LONG"] === undefined)(
    "runs operations in lanes, posts and a schedule beside it, also over a kill of their worker",
    { timeout: 600_000 },
    async () => {
      const turns = new TurnsOnStorm(system, join(folder, "turns.log"), 1);
      try {
        await turns.start();
        const client = turns.client();
        await client.start();
        await operate(client, turns.place.workLog);
        await client.stop();
        const around = turns.around(["kill a worker's Java"]);
        const { place } = turns;
        const report = await takeTurns({ place, processes: 1, kills: 1, seed: 1, around });
        expect(report).toMatchObject({ problems: [], faults: { "kill a worker's Java": 1 } });
      } finally {
        await turns.undeploy();
        await turns.stop();
      }
    },
  );

  test("gives each request one answer though Java and a hub are killed", async () => {
    const client = new TopicClient(system.kafka.brokers, 7, topics);
    await client.listen();
    const asked = Promise.all(
      Array.from({ length: 150 }, (_, number) =>
        client.ask(number, 1 + (number % 8), number % 10 === 0 ? 0 : null, number % 7 === 0),
      ),
    );
    await expect.poll(() => client.answered, eventually).toBeGreaterThan(10);
    const before = system.pids("java");
    await system.faults["kill a worker's Java"]?.(Math.random);
    await expect.poll(() => system.pids("java").some((pid) => !before.includes(pid)), eventually).toBe(true);
    for (const { answers } of await asked) {
      expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
      expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    }
    const silent = (await asked).filter(({ error }) => error === 0).map(({ answers }) => answers[0]?.text);
    expect(new Set(silent)).toEqual(new Set(["error in hub by timeout"]));
    await client.close();
    const view = await system.nimbus.topology("flow-crud");
    expect(view.status).toBe("ACTIVE");
    expect(view.executorViews.filter(({ component }) => component === "bolt-hub")).toHaveLength(2);
  });

  // Another start of a topology. packages/storm/test/parts has its parts.
  test.skipIf(process.env["WHEELWORK_LONG"] === undefined)(
    "goes on in another topology: the simple case, where the hub makes the attempts",
    async () => {
      const waits = newKey();
      await send(waits, '{"flowid": "test-04", "length": 2, "error": 0}');
      await vi.waitUntil(() => engine.request(waits).catch(() => undefined), eventually);
      expect(await system.undeploy()).toBe(true);
      await deploy({ ...system.flow, workerTasks: 0 }, system.storm, 60_000);
      expect(await answerTo(waits)).toBe("error in hub by timeout");
      const [key, text] = await ask('{"flowid": "test-05", "length": 10}');
      expect(text).toBe("all operation is successful");
      expect(rules(key)).toBe(10);
      const { executorViews } = await system.nimbus.topology("flow-crud");
      expect(executorViews.map(({ component }) => component)).not.toContain("bolt-worker");
    },
  );
});
