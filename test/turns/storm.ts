import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Engine, Store } from "@wheelwork/engine";
import { clusterTopics, createClient, type LogReading } from "@wheelwork/engine/cluster";
import { kafka, type Kafka } from "@wheelwork/kafka";
import { postgresStore } from "@wheelwork/postgres";
import { hubs, prepareWorkLog } from "./app.ts";
import type { Around, Place } from "./campaign.ts";
import open, { channel, type StormTurns } from "./storm-app.ts";
import { kinds, startAgain, Topology, type StormServers } from "./topology.ts";

/** How long an answer may take before its request is sent once more, in milliseconds. */
const insistMs = 5000;
/** The topology of `storm-app.ts` on a real Storm, and its senders. */
export class TurnsOnStorm {
  readonly place: Place & { readonly kind: "storm" };
  readonly #servers: StormServers;
  readonly #topology: Topology;
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
    const { kafka: broker, postgres } = servers;
    this.#servers = servers;
    this.#topology = new Topology("turns", servers, workers);
    this.#bus = kafka({ brokers: broker.brokers });
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
    const { schema, shards, inbox, workLog } = this.place;
    const app: StormTurns = { workLog, everyMs: this.#everyMs, version: this.#version };
    const module = fileURLToPath(new URL("storm-app.ts", import.meta.url));
    await this.#topology.submit({ schema, shards, inbox, app }, module, open);
  }

  /** Kills the topology, and waits until none of its processes is left. */
  async undeploy(): Promise<void> {
    await this.#topology.undeploy();
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
    await this.#topology.leave();
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
        (random: () => number) => this.#topology.kill(mark, random),
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
