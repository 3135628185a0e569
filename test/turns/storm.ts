import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Engine, Store } from "@wheelwork/engine";
import { clusterTopics, createClient, type LogReading } from "@wheelwork/engine/cluster";
import { kafka, type Kafka } from "@wheelwork/kafka";
import type { KafkaBroker, PostgresServer, StormCluster } from "@wheelwork/services";
import { postgresStore } from "@wheelwork/postgres";
import { bundleApp, Nimbus, submit, topologyJar } from "@wheelwork/storm";
import { stormSecurity, stormTopology, type StormConfig } from "@wheelwork/storm/parts";
import { hubs, prepareWorkLog } from "./app.ts";
import type { Around, Place } from "./campaign.ts";
import open, { channel, type StormTurns } from "./storm-app.ts";

/** The servers of a Storm with its broker and its database. */
export interface StormServers {
  readonly kafka: KafkaBroker;
  readonly postgres: PostgresServer;
  readonly storm: StormCluster;
  /** How the topology reaches the broker, if not as its clients do. The environment says what it needs for that. */
  readonly brokers?: string;
}

/** How long Storm may take to forget a topology and to end its processes, in milliseconds. */
const endsWithinMs = 120_000;
/** How long Storm may take to start its processes, in milliseconds. */
const startsWithinMs = 300_000;
/** How long an answer may take before its request is sent once more, in milliseconds. */
const insistMs = 5000;
const name = "turns";

/** The kinds of processes of the topology. */
const kinds = {
  "kill a worker's Java": /daemon\.worker\.Worker/,
  "kill a hub": /main\.mjs hub$/,
  "kill a worker bolt": /main\.mjs worker$/,
  "kill the coordinator": /main\.mjs coordinator$/,
  "kill the bolt of answers": /main\.mjs nb$/,
} as const;

/** A busy machine may need longer for it than one try takes. */
async function startAgain(start: () => Promise<unknown>): Promise<void> {
  for (const until = performance.now() + endsWithinMs; ;) {
    try {
      return void (await start());
    } catch (error) {
      if (performance.now() > until) throw error;
    }
  }
}

/** The topology of `storm-app.ts` on a real Storm, and its senders. */
export class TurnsOnStorm {
  readonly place: Place & { readonly kind: "storm" };
  readonly nimbus: Nimbus;
  readonly #servers: StormServers;
  readonly #workers: number;
  readonly #bus: Kafka;
  /** The answers of the channel: under each key each id, with what it says. */
  readonly #answers = new Map<string, Map<string, string>>();
  readonly #waiting = new Map<string, () => void>();
  readonly #problems: string[] = [];
  readonly #readings: LogReading[] = [];
  #everyMs = 1000;
  #version = 1;

  /** `workers`: how many processes of Java it has. */
  constructor(servers: StormServers, workLog: string, workers: number) {
    const { kafka: broker, postgres, storm } = servers;
    this.#servers = servers;
    this.#workers = workers;
    this.#bus = kafka({ brokers: broker.brokers });
    this.nimbus = new Nimbus({ port: storm.ports.nimbus });
    this.place = {
      kind: "storm",
      brokers: broker.brokers,
      databaseUrl: postgres.url,
      schema: "turns_storm",
      shards: 3,
      inbox: "turns-inbox",
      workLog,
    };
  }

  async start(): Promise<void> {
    const { shards, inbox, workLog } = this.place;
    prepareWorkLog(workLog);
    await this.#bus.ensureTopics(clusterTopics({ shards, inbox, channels: [channel] }));
    const { partitions } = await this.#bus.topic(channel.to);
    for (let partition = 0; partition < partitions; partition++)
      this.#readings.push(
        await this.#bus.read(channel.to, partition, undefined, {
          records: (records) => {
            for (const { key, value, headers } of records) {
              const known = this.#answers.get(key) ?? new Map<string, string>();
              this.#answers.set(key, known.set(`${headers["ce_id"]}`, value));
              this.#waiting.get(key)?.();
            }
          },
          lost: (error) => this.#problems.push(error.message),
        }),
      );
    await this.submit();
  }

  /** Submits the topology, with the present times of its schedule. */
  async submit(): Promise<void> {
    const { databaseUrl, schema, shards, inbox, workLog } = this.place;
    const { storm, brokers = this.place.brokers } = this.#servers;
    const app: StormTurns = { workLog, everyMs: this.#everyMs, version: this.#version };
    const security = stormSecurity();
    const config: StormConfig = {
      brokers,
      ...(security === undefined ? {} : { security }),
      databaseUrl,
      schema,
      shards,
      inbox,
      app,
    };
    const topology = stormTopology({
      name,
      config,
      app: open(config),
      nodeFolder: dirname(process.execPath),
      workers: this.#workers,
    });
    const main = await bundleApp(fileURLToPath(new URL("storm-app.ts", import.meta.url)));
    submit(storm, { flux: topology.flux(), jar: topologyJar({ "main.mjs": main }) });
  }

  /** Kills the topology, and waits until none of its processes is left. */
  async undeploy(): Promise<void> {
    const runs = async (): Promise<boolean> =>
      (await this.nimbus.topologies()).some((one) => one.name === name);
    if (await runs()) await this.nimbus.kill(name);
    for (const until = performance.now() + endsWithinMs; performance.now() < until; await sleep(100))
      if (!(await runs()) && this.#pids(/./).length === 0) return;
    throw new Error(`the topology ${name} has not ended within ${endsWithinMs / 1000} s`);
  }

  /** An engine that asks what runs there. */
  client(): Engine {
    const { databaseUrl: connectionString, schema, shards, inbox } = this.place;
    const store = (shard: number): Store => postgresStore({ connectionString, schema, shard, shards });
    return createClient({ hubs, shards, inbox, log: this.#bus, store });
  }

  async stop(): Promise<void> {
    for (const reading of this.#readings) reading.stop();
    await this.#bus.close();
  }

  /** Deploys it with other times of its schedule, while the processes of the one before it may still run. */
  async deployAnew(): Promise<void> {
    this.#everyMs = this.#everyMs === 1000 ? 1500 : 1000;
    this.#version++;
    await this.nimbus.kill(name);
    const isGone = async (): Promise<boolean> =>
      (await this.nimbus.topologies()).every((one) => one.name !== name);
    while (!(await isGone())) await sleep(100);
    await this.submit();
  }

  /** What the campaign breaks of it. */
  around(faults: readonly (keyof Around["faults"])[] = Object.keys(this.#faults)): Around {
    return {
      faults: Object.fromEntries(
        faults.flatMap((fault) => {
          const made = this.#faults[fault];
          return made === undefined ? [] : [[fault, made]];
        }),
      ),
      ask: (key, request) => this.ask(key, request),
      problems: () => [
        ...this.#problems,
        ...Array.from(this.#answers)
          .filter(([, answers]) => answers.size !== 1)
          .map(([key, answers]) => `${key} has the answers ${JSON.stringify([...answers])}`),
      ],
    };
  }

  readonly #faults: Around["faults"] = {
    ...Object.fromEntries(
      Object.entries(kinds).map(([fault, mark]) => [
        fault,
        (random: () => number) => this.#kill(mark, random),
      ]),
    ),
    "kill the supervisor": async (random) => {
      await this.#servers.storm.signal("supervisor", "SIGKILL");
      await sleep(random() * 3000);
      await startAgain(() => this.#servers.storm.startPart("supervisor"));
    },
    "kill Nimbus": async (random) => {
      await this.#servers.storm.signal("nimbus", "SIGKILL");
      await sleep(random() * 3000);
      await startAgain(() => this.#servers.storm.startPart("nimbus"));
    },
    "kill the broker": async (random) => {
      await this.#servers.kafka.signal("SIGKILL");
      await sleep(random() * 2000);
      await startAgain(() => this.#servers.kafka.start());
    },
    "kill the database": async (random) => {
      await this.#servers.postgres.signal("SIGKILL");
      await sleep(random() * 2000);
      await startAgain(() => this.#servers.postgres.start());
    },
    "deploy it anew": () => this.deployAnew(),
  };

  /** The processes of the topology. */
  #pids(mark: RegExp): number[] {
    const all = this.#servers.storm.workerPids();
    const java = all.filter(({ command }) => command.includes(`daemon.worker.Worker ${name}-`));
    const ours = new Set(java.map(({ worker }) => worker));
    return all.filter(({ worker, command }) => ours.has(worker) && mark.test(command)).map(({ pid }) => pid);
  }

  /** Kills one process of a kind. After a fault, Storm may still be starting them. */
  async #kill(mark: RegExp, random: () => number): Promise<void> {
    for (const until = performance.now() + startsWithinMs; performance.now() < until; await sleep(100)) {
      const pids = this.#pids(mark);
      const pid = pids[Math.floor(random() * pids.length)];
      if (pid !== undefined) return void process.kill(pid, "SIGKILL");
    }
    throw new Error(`no process of the topology is ${mark}`);
  }

  /** Sends a request through the channel until it has its answer. */
  async ask(key: string, request: object): Promise<unknown> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.set(key, resolve);
    while (!this.#answers.has(key)) {
      try {
        await this.#bus.publish(channel.from, { key, value: JSON.stringify(request) });
      } catch {
        // The broker is away.
      }
      const enough = new AbortController();
      await Promise.race([promise, sleep(insistMs, undefined, { signal: enough.signal }).catch(() => {})]);
      enough.abort();
    }
    this.#waiting.delete(key);
    return JSON.parse([...(this.#answers.get(key)?.values() ?? [])][0] ?? "null");
  }
}
