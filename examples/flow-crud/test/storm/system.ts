import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  defaultCache,
  freePort,
  KafkaBroker,
  PostgresServer,
  StormCluster,
  type SecureListener,
} from "@wheelwork/services";
import { Nimbus } from "@wheelwork/storm";
import { deploy, stormNames, undeploy, type FlowStorm } from "../../src/storm/deploy.ts";
import { flowTopics } from "../../src/topics.ts";
import type { Breakable } from "../cluster/break.ts";
import { Process } from "../cluster/processes.ts";

/** How long Storm may take from a submitted topology to one that works, in milliseconds. */
const deployWithinMs = 300_000;

/** A Storm cluster of real processes on loopback, with a broker, a database server and Floodlight of its own. */
export class StormSystem implements Breakable {
  readonly kafka: KafkaBroker;
  readonly postgres: PostgresServer;
  readonly storm: StormCluster;
  readonly nimbus: Nimbus;
  readonly floodlight: Process;
  readonly flow: FlowStorm;
  readonly data: string;
  readonly topics = flowTopics(stormNames.topicPrefix);
  readonly schemas = { shards: stormNames.schema, resources: stormNames.resourceSchema };
  readonly backWithinMs = 120_000;
  readonly #kafkaController: number;

  private constructor(
    folder: string,
    ports: readonly number[],
    options: Partial<FlowStorm>,
    secured?: Omit<SecureListener, "port">,
  ) {
    const [kafka = 0, wire = 0, controller = 0, postgres = 0, ...rest] = ports;
    const [zookeeper = 0, nimbus = 0, supervisor = 0, ...slots] = rest;
    const secure = secured === undefined ? undefined : { ...secured, port: wire };
    this.kafka = new KafkaBroker(join(folder, "kafka"), kafka, defaultCache, secure);
    this.#kafkaController = controller;
    this.postgres = new PostgresServer(join(folder, "postgres"), postgres);
    this.storm = new StormCluster(
      join(folder, "storm"),
      { zookeeper, nimbus, supervisor, slots },
      defaultCache,
    );
    this.nimbus = new Nimbus({ port: nimbus });
    this.data = join(folder, "data");
    this.flow = {
      name: "flow-crud",
      brokers: secure === undefined ? this.kafka.brokers : `127.0.0.1:${secure.port}`,
      databaseUrl: this.postgres.url,
      shards: 2,
      flow: { deadlineMs: 5000, workerTimeoutMs: 1000 },
      ...options,
    };
    this.floodlight = this.part("floodlight", "--network-port", "0");
  }

  /** Prepares one in a folder; nothing runs yet. With `secured`, all but the tests' own clients must come over TLS. */
  static async prepare(
    folder: string,
    options: Partial<FlowStorm> = {},
    secured?: Omit<SecureListener, "port">,
  ): Promise<StormSystem> {
    mkdirSync(folder, { recursive: true });
    const ports: number[] = [];
    while (ports.length < 10) ports.push(await freePort());
    return new StormSystem(folder, ports, options, secured);
  }

  get brokers(): string {
    return this.flow.brokers;
  }
  get databaseUrl(): string {
    return this.flow.databaseUrl;
  }
  get shards(): number {
    return this.flow.shards;
  }

  /** A part of the cluster's, in a process of its own. */
  part(only: "northbound" | "floodlight" | "api", ...flags: readonly string[]): Process {
    const { brokers, databaseUrl: database, shards } = this.flow;
    const { topicPrefix, flowSchema } = stormNames;
    const places = Object.entries({
      brokers,
      database,
      shards,
      data: this.data,
      "topic-prefix": topicPrefix,
      "flow-schema": flowSchema,
    }).flatMap(([flag, value]) => [`--${flag}`, `${value}`]);
    return new Process(only, ["--only", only, ...places, ...flags]);
  }

  async start(): Promise<void> {
    await Promise.all([this.kafka.start(this.#kafkaController), this.postgres.start(), this.storm.start()]);
    await this.submit();
    await this.floodlight.start();
  }

  submit(): Promise<void> {
    return deploy(this.flow, this.storm, deployWithinMs);
  }

  undeploy(): Promise<boolean> {
    return undeploy(this.nimbus, this.flow.name, 60_000);
  }

  /** The processes of one kind: the workers' Java, or the components of a part. */
  pids(kind: "java" | "hub" | "worker" | "nb" | "coordinator" | "tick"): number[] {
    const mark = kind === "java" ? /daemon\.worker\.Worker/ : new RegExp(`main\\.mjs ${kind}$`);
    return this.storm
      .workerPids()
      .filter(({ command }) => mark.test(command) && !command.includes("LogWriter"))
      .map(({ pid }) => pid);
  }

  readonly faults: Breakable["faults"] = {
    "kill a worker's Java": (random) => this.#kill("java", random),
    "kill a hub": (random) => this.#kill("hub", random),
    "kill a worker bolt": (random) => this.#kill("worker", random),
    "kill the bolt to Northbound": (random) => this.#kill("nb", random),
    "kill the coordinator": (random) => this.#kill("coordinator", random),
    "kill the spout of the coordinator": (random) => this.#kill("tick", random),
    "freeze a hub": (random) => this.#freeze("hub", random),
    "freeze a worker's Java": (random) => this.#freeze("java", random),
    "kill Nimbus": async (random) => {
      await this.storm.signal("nimbus", "SIGKILL");
      await sleep(random() * 3000);
      await this.storm.startPart("nimbus");
    },
    "kill the supervisor": async (random) => {
      await this.storm.signal("supervisor", "SIGKILL");
      await sleep(random() * 3000);
      await this.storm.startPart("supervisor");
    },
    rebalance: async (random) => {
      await this.nimbus.rebalance(this.flow.name, { workers: random() < 0.5 ? 1 : 2 });
      await sleep(2000);
    },
    "kill the topology and submit it again": async () => {
      await this.undeploy();
      await this.submit();
    },
    "kill the broker": async (random) => {
      await this.kafka.signal("SIGKILL");
      await sleep(random() * 2000);
      await this.kafka.start();
    },
    "kill the database": async (random) => {
      await this.postgres.signal("SIGKILL");
      await sleep(random() * 2000);
      await this.postgres.start();
    },
    "kill the switch controller": async (random) => {
      await this.floodlight.end("SIGKILL");
      await sleep(random() * 1000);
      await this.floodlight.start();
    },
  };

  async #kill(kind: Parameters<StormSystem["pids"]>[0], random: () => number): Promise<void> {
    const pid = await this.#pick(kind, random);
    if (pid !== undefined) process.kill(pid, "SIGKILL");
  }

  /** Frozen, until Storm takes it for dead or it wakes up as a zombie. */
  async #freeze(kind: "hub" | "java", random: () => number): Promise<void> {
    const pid = await this.#pick(kind, random);
    if (pid === undefined) return;
    process.kill(pid, "SIGSTOP");
    await sleep(5000 + random() * 25_000);
    try {
      process.kill(pid, "SIGCONT");
    } catch {
      // Storm has ended it.
    }
  }

  /** One of the processes of a kind; after a fault, Storm may still be starting them. */
  async #pick(kind: Parameters<StormSystem["pids"]>[0], random: () => number): Promise<number | undefined> {
    for (const end = performance.now() + 60_000; performance.now() < end; await sleep(100)) {
      const pids = this.pids(kind);
      if (pids.length > 0) return pids[Math.floor(random() * pids.length)];
    }
    return undefined;
  }

  async end(): Promise<string[]> {
    await this.undeploy();
    await this.floodlight.end("SIGTERM");
    return [];
  }

  async stop(): Promise<void> {
    await this.floodlight.end("SIGKILL");
    await this.storm.stop();
    await this.kafka.signal("SIGKILL");
    await this.postgres.signal("SIGKILL");
  }

  output(): string {
    const logs = this.storm.workerLogs;
    const names = readdirSync(logs, { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith("worker.log"),
    );
    return names.map((name) => `${name}: ${readFileSync(join(logs, name), "utf8").slice(-3000)}`).join("\n");
  }
}
