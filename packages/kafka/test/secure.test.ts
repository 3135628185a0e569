import type { WheelworkError } from "@wheelwork/core";
import {
  Authority,
  freePort,
  opensslIsInstalled,
  pemOf,
  postgresIsInstalled,
  PostgresServer,
  type Certificate,
  type KafkaBroker,
} from "@wheelwork/services";
import { busConformance } from "@wheelwork/testing";
import {
  AclOperations,
  AclPermissionTypes,
  Admin,
  ResourcePatternTypes,
  ResourceTypes,
} from "@platformatic/kafka";
import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { kafka, kafkaSecurity, type Kafka, type KafkaOptions } from "../src/index.ts";
import { canRun as canRunBroker, startBroker } from "./broker.ts";

const canRun = canRunBroker && opensslIsInstalled();

const password = "pa55word";

/** The parts of flow-crud that have rights of their own. */
const parts = ["node", "Northbound", "Floodlight"] as const;

let folder: string;
let broker: KafkaBroker;
let stop: () => Promise<void>;
let port: number;
let authority: Authority;
let certificate: Certificate;
let ca: string;
let otherCa: string;
const open: Kafka[] = [];

const eventually = { timeout: 120_000, interval: 20 };

beforeAll(async () => {
  if (!canRun) return;
  folder = mkdtempSync(join(tmpdir(), "wheelwork-certificates-"));
  authority = new Authority(folder, "authority");
  port = await freePort();
  ca = readFileSync(authority.ca, "utf8");
  otherCa = readFileSync(new Authority(folder, "other").ca, "utf8");
  certificate = authority.issue("broker", ["127.0.0.1"]);
  ({ broker, stop } = await startBroker({
    port,
    certificate,
    users: { all: password, some: password, ...Object.fromEntries(parts.map((part) => [part, password])) },
  }));
  // One of them may do everything, the other what its tests say.
  const may = ["TOPIC", "GROUP", "CLUSTER"] as const;
  await allow(
    "all",
    ...may.map((type) => [type, type === "CLUSTER" ? "kafka-cluster" : "*", "ALL"] as const),
  );
  // What a broker's controller has written down, its other half knows a little later.
  const allowed = (): Promise<boolean> =>
    connect()
      .ensureTopics([{ name: "allowed" }])
      .then(
        () => true,
        () => false,
      );
  await vi.waitUntil(allowed, eventually);
});

afterAll(async () => {
  await Promise.all(open.map((bus) => bus.close()));
  if (!canRun) return;
  await stop();
  rmSync(folder, { recursive: true, force: true });
});

async function allow(
  user: string,
  ...rights: (readonly [keyof typeof ResourceTypes, string, keyof typeof AclOperations])[]
): Promise<void> {
  const admin = new Admin({ clientId: "test", bootstrapBrokers: [broker.brokers] });
  await admin.createAcls({
    creations: rights.map(([type, resourceName, operation]) => ({
      resourceType: ResourceTypes[type],
      resourceName,
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: `User:${user}`,
      host: "*",
      operation: AclOperations[operation],
      permissionType: AclPermissionTypes.ALLOW,
    })),
  });
  await admin.close();
}

const scram = (username = "all", given = password): Pick<KafkaOptions, "sasl"> => ({
  sasl: { mechanism: "SCRAM-SHA-512", username, password: given },
});

function connect(options: Partial<KafkaOptions> = {}): Kafka {
  const given = { brokers: `127.0.0.1:${port}`, sessionTimeoutMs: 2000, tls: { ca }, ...scram() };
  const bus = kafka({ ...given, ...options });
  open.push(bus);
  return bus;
}

async function topicOf(partitions = 1): Promise<string> {
  const name = `t-${randomUUID()}`;
  await connect().ensureTopics([{ name, partitions }]);
  return name;
}

async function refusal(asked: Promise<unknown>): Promise<WheelworkError> {
  const error: unknown = await asked.then(
    () => undefined,
    (refused: unknown) => refused,
  );
  expect(inspect(error, { depth: 9 })).not.toContain(password);
  return error as WheelworkError;
}

const saying = (next: RegExp): object => ({
  code: "WW_CONFIG",
  retryable: false,
  next: expect.stringMatching(next) as string,
});

/** The rights of a part of flow-crud, as docs/cluster.md lists them. */
function documented(part: string): Parameters<typeof allow>[1][] {
  const page = readFileSync(new URL("../../../docs/cluster.md", import.meta.url), "utf8");
  const rows = page.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
  const row = rows.find(([, name, reads = ""]) => name === part && reads.startsWith("`"));
  const [reads = [], writes = [], groups = []] = (row ?? [])
    .slice(2, 5)
    .map((cell) => Array.from(cell.matchAll(/`([^`]+)`/g), ([, name = ""]) => name));
  // A topic that is only written, or not used at all, is looked up all the same.
  const all = rows.flatMap(([, name, ...cells]) =>
    parts.includes(name as never)
      ? cells.slice(0, 2).flatMap((cell) => cell.match(/[a-z-]+(?=`)/g) ?? [])
      : [],
  );
  return [
    ...reads.map((name) => ["TOPIC", name, "READ"] as const),
    ...writes.map((name) => ["TOPIC", name, "WRITE"] as const),
    ...groups.map((name) => ["GROUP", name, "READ"] as const),
    ...[...new Set(all)].map((name) => ["TOPIC", name, "DESCRIBE"] as const),
  ];
}

const suite = canRun ? describe : describe.skip;

if (canRun) {
  busConformance({ describe, test }, "Kafka over TLS and SCRAM", async () => {
    const [bus, other] = [connect(), connect()];
    const topic = await topicOf(4);
    await bus.ensureTopics([{ name: `${topic}-other`, partitions: 1 }]);
    return { bus, other, topic, close: () => {} };
  });
}

suite("a broker with TLS and SASL", () => {
  test("serves logs and groups to whoever names itself by SCRAM or PLAIN", async () => {
    for (const mechanism of ["SCRAM-SHA-512", "PLAIN"] as const) {
      const bus = connect({ sasl: { mechanism, username: "all", password } });
      const topic = await topicOf(2);
      await bus.append(topic, { key: "k", value: mechanism }, 1);
      const values: string[] = [];
      await bus.read(topic, 1, undefined, {
        records: (records) => void values.push(...records.map(({ value }) => value)),
        lost: () => {},
      });
      await expect.poll(() => values, eventually).toEqual([mechanism]);
      let assigned: readonly number[] = [];
      const member = await bus.join({
        group: `g-${topic}`,
        topics: [topic],
        state: () => ({ owns: [], refuses: [] }),
        assigned: (partitions) => (assigned = partitions[0]?.partitions ?? []),
      });
      await expect.poll(() => assigned, eventually).toEqual([0, 1]);
      await member.commit(topic, 1, 1);
      expect(await member.committed(topic, 1)).toBe(1);
    }
  });

  test("that cannot be verified, or does not know who comes, is refused with what to set right", async () => {
    const topic = await topicOf();
    const wrong: readonly (readonly [Partial<KafkaOptions>, RegExp])[] = [
      [{ tls: { ca: otherCa } }, /authority.*tls\.ca/],
      [{ tls: {} }, /authority.*tls\.ca/],
      [{ brokers: `localhost:${port}` }, /under a name that their certificates have/],
      [{ ...scram("all", `not-${password}`) }, /user.*password/],
      [{ ...scram("nobody") }, /user.*password/],
      [{ sasl: { mechanism: "PLAIN", username: "all", password: `not-${password}` } }, /user.*password/],
      [{ sasl: { mechanism: "SCRAM-SHA-256", username: "all", password } }, /mechanism/],
    ];
    for (const [options, next] of wrong) {
      const bus = connect(options);
      const asks = [
        () => bus.topic(topic),
        () => bus.read(topic, 0, undefined, { records: () => {}, lost: () => {} }),
        () => bus.ensureTopics([{ name: topic }]),
        () => bus.append(topic, { key: "k", value: "v" }),
      ];
      // Writing tries some times, which takes a moment.
      for (const asked of options.tls === undefined ? asks.slice(0, 1) : asks)
        expect(await refusal(asked()), inspect(options)).toMatchObject(saying(next));
    }
  });

  test("says which topic, and which group, it gives no right to", async () => {
    const topic = await topicOf(2);
    const group = `g-${topic}`;
    const bus = connect({ ...scram("some") });
    const reader = { records: () => {}, lost: () => {} };
    for (const asked of [
      () => bus.topic(topic),
      () => bus.append(topic, { key: "k", value: "v" }),
      () => bus.read(topic, 0, undefined, reader),
      () => bus.ensureTopics([{ name: topic, partitions: 2 }]),
    ]) {
      const refused = await refusal(asked());
      expect(refused).toMatchObject(saying(/rights/));
      expect(refused.message).toContain(topic);
    }
    await allow("some", ["TOPIC", topic, "DESCRIBE"]);
    // A topic that is there need not be created, and whoever may not create any can say so.
    await expect
      .poll(async () => bus.topic(topic).catch(() => undefined), eventually)
      .toMatchObject({ partitions: 2 });
    await bus.ensureTopics([{ name: topic, partitions: 2 }]);
    expect(await refusal(bus.ensureTopics([{ name: topic, partitions: 3 }]))).toMatchObject(saying(/number/));
    expect(await refusal(bus.ensureTopics([{ name: `${topic}-new` }]))).toMatchObject(saying(/rights/));
    expect(await refusal(bus.append(topic, { key: "k", value: "v" }))).toMatchObject(saying(/rights/));
    // It may look at the topic, and not read it.
    const lost: Error[] = [];
    await bus.read(topic, 0, undefined, { ...reader, lost: (error) => void lost.push(error) });
    await expect.poll(() => lost[0], eventually).toMatchObject(saying(/rights/));
    await allow("some", ["TOPIC", topic, "READ"]);
    const failures: Error[] = [];
    let assigned: readonly number[] = [];
    await bus.join({
      group,
      topics: [topic],
      state: () => ({ owns: [], refuses: [] }),
      assigned: (partitions) => (assigned = partitions[0]?.partitions ?? []),
      failed: (error) => void failures.push(error),
    });
    await expect.poll(() => failures[0], eventually).toMatchObject(saying(/rights/));
    expect(failures[0]?.message).toContain(group);
    // It goes on asking, and is told once.
    await allow("some", ["GROUP", group, "READ"]);
    await expect.poll(() => assigned, eventually).toEqual([0, 1]);
    expect(failures).toHaveLength(1);
  });
});

suite("the name of a broker", () => {
  test("is told in the handshake, for those that share an address", async () => {
    const { promise: told, resolve } = Promise.withResolvers<string>();
    const names = createServer({
      ...pemOf(certificate),
      SNICallback: (name, done) => {
        resolve(name);
        done(null);
      },
    });
    names.listen(0, "127.0.0.1");
    await once(names, "listening");
    onTestFinished(() => void names.close());
    const { port: open } = names.address() as { port: number };
    await expect(connect({ brokers: `localhost:${open}` }).topic("t")).rejects.toThrow(/WW_CONFIG/);
    expect(await told).toBe("localhost");
  });
});

suite("the environment of a program", () => {
  /** Runs a program of ours until it has printed something, or ends; what it has printed. */
  async function run(
    program: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    until = /^ready: /m,
  ): Promise<string> {
    const file = fileURLToPath(new URL(`../../../${program}`, import.meta.url));
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning", file];
    const child = spawn(process.execPath, [...flags, ...args], { env: { ...process.env, ...env } });
    let said = "";
    const isReady = new Promise<void>((ready) => {
      for (const stream of [child.stdout, child.stderr])
        stream.on("data", (chunk: Buffer) => {
          said += chunk.toString();
          if (until.test(said)) ready();
        });
    });
    const ended = once(child, "close");
    await Promise.race([isReady, ended]);
    child.kill("SIGTERM");
    await ended;
    return said;
  }

  test.skipIf(!postgresIsInstalled())(
    "says how a node of the command line, and flow-crud's, come in",
    async () => {
      const home = mkdtempSync(join(tmpdir(), "wheelwork-secure-"));
      chmodSync(home, 0o755);
      const database = new PostgresServer(home, await freePort());
      await database.start();
      onTestFinished(async () => {
        await database.stop();
        rmSync(home, { recursive: true, force: true });
      });
      const env = {
        KAFKA_BROKERS: `127.0.0.1:${port}`,
        KAFKA_CA: authority.ca,
        KAFKA_USERNAME: "all",
        KAFKA_PASSWORD: password,
        DATABASE_URL: database.url,
        SHARDS: "2",
      };
      const module = fileURLToPath(new URL("../../wheelwork/test/node-module.mjs", import.meta.url));
      const cli = "packages/wheelwork/src/cli/main.ts";
      const node = ["node", module, "--inbox", "secure-inbox", "--schema", "secure"];
      const flowCrud = [
        "--only",
        "node",
        "--name",
        "n",
        "--metrics-port",
        "0",
        "--data",
        join(home, "flow-crud"),
      ];
      const [mine, theirs, refused] = await Promise.all([
        run(cli, [...node, "--metrics-port", "0"], env),
        run("examples/flow-crud/src/cluster/main.ts", flowCrud, env),
        run(cli, node, { ...env, KAFKA_PASSWORD: "wrong" }),
      ]);
      expect(mine).toMatch(/ready: the node runs.*\nfigures: http:\/\/127\.0\.0\.1:\d+\/metrics/);
      expect(theirs).toMatch(/ready: node n http:\/\/127\.0\.0\.1:\d+\/metrics/);
      expect(refused).toMatch(/WW_CONFIG: .*SASL authentication failed[^]*KAFKA_PASSWORD/);
      expect(refused).not.toContain("ready");
      // A user who may do nothing in the group is told so, and the node ends.
      await allow("some", ["TOPIC", "*", "ALL"]);
      const outside = await run(cli, node, { ...env, KAFKA_USERNAME: "some" }, /^\0/);
      expect(outside).toMatch(/^WW_CONFIG: the group wheelwork could not be joined/m);
    },
  );
});

suite("the rights of flow-crud's parts", () => {
  // Its processes take longer than the other tests together.
  test.skipIf(!postgresIsInstalled() || process.env["WHEELWORK_LONG"] === undefined)(
    "are those that the docs list: with them, requests are answered",
    async () => {
      const home = mkdtempSync(join(tmpdir(), "wheelwork-rights-"));
      chmodSync(home, 0o755);
      const database = new PostgresServer(home, await freePort());
      await database.start();
      const children: ChildProcess[] = [];
      const outputs: string[] = [];
      onTestFinished(async () => {
        for (const child of children) child.kill("SIGKILL");
        await database.stop();
        rmSync(home, { recursive: true, force: true });
      });
      const program = fileURLToPath(
        new URL("../../../examples/flow-crud/src/cluster/main.ts", import.meta.url),
      );
      const start = async (part: string, env: NodeJS.ProcessEnv): Promise<string> => {
        const args = [
          "--only",
          part.toLowerCase(),
          "--name",
          part,
          "--shards",
          "2",
          "--port",
          "0",
          "--api-port",
          "0",
        ];
        const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning", program];
        const child = spawn(process.execPath, [...flags, ...args, "--data", join(home, "data")], {
          env: { ...process.env, DATABASE_URL: database.url, ...env },
        });
        children.push(child);
        let said = "";
        return new Promise((ready, fail) => {
          for (const stream of [child.stdout, child.stderr])
            stream.on("data", (chunk: Buffer) => {
              said += chunk.toString();
              if (/^ready: /m.test(said)) ready(/http:\S+/.exec(said)?.[0] ?? "");
            });
          child.on("exit", () => fail(new Error(said)));
        });
      };
      // Somebody who may makes the topics.
      await start("node", { KAFKA_BROKERS: broker.brokers });
      children[0]?.kill("SIGKILL");
      for (const part of parts) await allow(part, ...documented(part));
      const secure = { KAFKA_BROKERS: `127.0.0.1:${port}`, KAFKA_CA: authority.ca, KAFKA_PASSWORD: password };
      const [node = "", northbound = ""] = await Promise.all(
        parts.map((part) => start(part, { ...secure, KAFKA_USERNAME: part })),
      );
      const end = (number: number) => ({
        switch_id: `00:00:00:00:00:00:00:0${number}`,
        port_number: 1,
        vlan_id: 7,
      });
      const flow = { flow_id: "a", source: end(1), destination: end(2), maximum_bandwidth: 1000 };
      const ask = async (url: string, body: object): Promise<string> => {
        const headers = { "content-type": "application/json", prefer: "wait=30" };
        return (await fetch(url, { method: "POST", headers, body: JSON.stringify(body) })).text();
      };
      let last = "";
      await vi
        .waitUntil(async () => (last = await ask(`${node}/v2/flows`, flow)).includes('"Up"'), eventually)
        .catch((error: unknown) => {
          throw new Error(`${last}\n${outputs.join("\n")}`, { cause: error });
        });
      const original = { flowid: "b", length: 2 };
      await vi.waitUntil(
        async () => (await ask(`${northbound}/flow`, original)) === "all operation is successful",
        eventually,
      );
      const rules = await (await fetch(`${northbound}/switches/rules?flowid=b`)).json();
      expect(rules).toMatchObject({ rules: expect.any(Array) as unknown[] });
    },
  );
});

test("an environment that cannot be right is refused, and an empty one says nothing", () => {
  expect(kafkaSecurity({})).toEqual({});
  expect(kafkaSecurity({ KAFKA_TLS: "true", KAFKA_CA: "" })).toEqual({ tls: {} });
  const named = { KAFKA_USERNAME: "me", KAFKA_PASSWORD: password };
  expect(kafkaSecurity({ ...named, KAFKA_SASL: "PLAIN" })).toEqual({
    sasl: { mechanism: "PLAIN", username: "me", password },
  });
  for (const [env, what] of [
    [{ KAFKA_TLS: "yes" }, /KAFKA_TLS is yes/],
    [{ KAFKA_TLS: "false", KAFKA_CA: import.meta.filename }, /KAFKA_TLS is false/],
    [{ KAFKA_CA: "/nowhere/ca.crt" }, /\/nowhere\/ca.crt of KAFKA_CA cannot be read/],
    [{ KAFKA_CERT: import.meta.filename }, /KAFKA_CERT and KAFKA_KEY/],
    [{ KAFKA_USERNAME: "me" }, /KAFKA_USERNAME and KAFKA_PASSWORD/],
    [{ ...named, KAFKA_SASL: "MAGIC" }, /KAFKA_SASL is MAGIC/],
    [{ KAFKA_SASL: "PLAIN" }, /KAFKA_SASL is PLAIN/],
  ] as const)
    expect(() => kafkaSecurity(env), inspect(env)).toThrow(what);
});
