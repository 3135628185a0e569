import { kafka } from "@wheelwork/kafka";
import { postgresStore } from "@wheelwork/postgres";
import {
  defaultCache,
  freePort,
  KafkaBroker,
  kafkaIsInstalled,
  postgresIsInstalled,
  PostgresServer,
  StormCluster,
  stormIsInstalled,
} from "@wheelwork/services";
import {
  bundleApp,
  bundleProgram,
  kafkaBolt,
  kafkaSpout,
  Nimbus,
  shellBolt,
  submit,
  Topology,
  topologyJar,
  type AnyTopology,
} from "@wheelwork/storm";
import { stormTopology, type StormConfig } from "@wheelwork/storm/parts";
import { clusterTopics } from "@wheelwork/engine/cluster";
import type { ChildProcess } from "node:child_process";
import { chmodSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { callsOf, commandTopic, resultTopic } from "../flow.ts";
import { drive, Measured, rounded, withFolder, type Bench } from "../harness.ts";
import { answerTopic, requestTopic } from "../storm/topics.ts";
import openApp from "../storm/app.ts";
import { Asker, begin, channel, switches } from "./cluster.ts";

const length = 10;
const shards = 2;
const echoTopic = "bench-bound";
const warmMs = 12_000;
const sliceMs = 2500;
const slices = 2;
/** After how long Storm's counters are up to date, in milliseconds. */
const statsMs = 8000;
const hertz = 100;

/** The processor time that a process has used, in milliseconds. */
function cpuMs(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return ((Number(fields[11]) + Number(fields[12])) * 1000) / hertz;
  } catch {
    return 0;
  }
}

const childrenOf = (parent: number): number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[1] === String(parent);
      } catch {
        return false;
      }
    });

/** Flow-create through a real Storm, and its ratio to a bolt that answers each request at once. */
export const storm: Bench = {
  name: "storm",
  about:
    "flow-create of 10 rules through Apache Storm, workers in the bolt and over Kafka, next to a bolt that echoes",
  run: async ({ report, note, dir }) => {
    if (!stormIsInstalled(defaultCache) || !kafkaIsInstalled(defaultCache) || !postgresIsInstalled())
      return note("left out. Run npm run services -- install kafka postgres storm to get what it needs");
    await withFolder(dir, async (folder) => {
      chmodSync(folder, 0o755);
      const ports: number[] = [];
      while (ports.length < 7) ports.push(await freePort());
      const [kafkaPort = 0, databasePort = 0, zookeeper = 0, nimbusPort = 0, supervisor = 0, ...slots] =
        ports;
      const broker = new KafkaBroker(join(folder, "kafka"), kafkaPort, defaultCache);
      const database = new PostgresServer(join(folder, "postgres"), databasePort);
      const place = { zookeeper, nimbus: nimbusPort, supervisor, slots };
      const cluster = new StormCluster(join(folder, "storm"), place, defaultCache);
      const nimbus = new Nimbus({ port: nimbusPort });
      const children: ChildProcess[] = [];
      const { brokers } = broker;
      const url = database.url;
      try {
        await Promise.all([broker.start(await freePort()), database.start(), cluster.start()]);
        const log = kafka({ brokers });
        const topics = [
          ...clusterTopics({ shards, channels: [channel] }),
          ...[commandTopic, resultTopic, echoTopic].map((name) => ({ name, partitions: shards })),
        ];
        await log.ensureTopics(topics.map(({ name, partitions = shards }) => ({ name, partitions })));
        await log.close();

        const run = async (topology: AnyTopology, resources: Record<string, string>): Promise<void> => {
          submit(cluster, { flux: topology.flux(), jar: topologyJar(resources) });
        };
        const end = async (name: string): Promise<void> => {
          await nimbus.kill(name);
          while ((await nimbus.topologies()).length > 0 || cluster.workerPids().length > 0) await sleep(100);
        };
        const warm = async (topic: string): Promise<void> => {
          const warming = kafka({ brokers });
          const asker = new Asker(warming);
          await warming.ready();
          await asker.ask(topic);
          await drive(200, warmMs, new Measured(), () => asker.ask(topic));
          await warming.close();
        };
        /** How many tuples the topology's own streams have carried. */
        const tuples = async (name: string): Promise<number> => {
          await sleep(statsMs);
          let sum = 0;
          for (const { component, emitted } of (await nimbus.topology(name)).executorViews)
            for (const [stream, count] of component.startsWith("__") ? [] : emitted)
              if (!stream.startsWith("__")) sum += count;
          return sum;
        };
        const groups = (): Record<string, number[]> => {
          const found = cluster.workerPids();
          const of = (mark: RegExp): number[] =>
            found.filter(({ command }) => mark.test(command)).map(({ pid }) => pid);
          const server = database.pid ?? 0;
          return {
            java: of(/daemon\.worker\.Worker/),
            hub: of(/ hub$/),
            worker: of(/ worker$/),
            nb: of(/ nb$/),
            coordinator: of(/ (?:coordinator|tick)$/),
            broker: [broker.pid ?? 0],
            database: [server, ...childrenOf(server)],
          };
        };
        const measure = async (name: string, topic: string, inFlight: number) => {
          const asking = kafka({ brokers });
          const asker = new Asker(asking);
          await asking.ready();
          await drive(inFlight, 1000, new Measured(), () => asker.ask(topic));
          const measured = new Measured();
          const before = await tuples(name);
          const pids = groups();
          const cpuOf = (): Record<string, number> =>
            Object.fromEntries(
              Object.entries(pids).map(([group, list]) => [
                group,
                list.reduce((sum, pid) => sum + cpuMs(pid), 0),
              ]),
            );
          const cpuBefore = cpuOf();
          for (let slice = 0; slice < slices; slice++)
            await drive(inFlight, sliceMs, measured, () => asker.ask(topic));
          const cpuAfter = cpuOf();
          const each = ((await tuples(name)) - before) / measured.count;
          await asking.close();
          const cpu = Object.fromEntries(
            Object.entries(cpuAfter).map(([group, ms]) => [
              `${group}_ms`,
              rounded((ms - (cpuBefore[group] ?? 0)) / measured.count),
            ]),
          );
          return { measured, each, failed: asker.failed.length, cpu };
        };
        const nodeFolder = dirname(process.execPath);
        const environment = { PATH: `${nodeFolder}:/usr/local/bin:/usr/bin:/bin` };
        const echo = new Topology(
          "echo",
          {
            source: kafkaSpout("source", { brokers, topics: [echoTopic], group: "echo" }),
            echo: shellBolt({
              command: ["node", "main.mjs"],
              streams: { answers: ["key", "message", "topic"] },
              parallelism: shards,
            }),
            sink: kafkaBolt("sink", { brokers, topic: answerTopic }),
          },
          {
            "topology.workers": 1,
            "topology.acker.executors": 1,
            "topology.max.spout.pending": 1000,
            "topology.environment": environment,
          },
        )
          .connect("source", "default", "echo", { type: "fields", fields: ["key"] })
          .connect("echo", "answers", "sink", { type: "shuffle" });
        const file = (name: string): string => fileURLToPath(new URL(`../storm/${name}.ts`, import.meta.url));
        await run(echo, { "main.mjs": await bundleProgram(file("echo")) });
        await warm(echoTopic);
        const ceilings = new Map<number, number>();
        for (const inFlight of [1, 16, 200, 1000]) {
          note(`the echo, ${inFlight} in flight`);
          const { measured, each, failed, cpu } = await measure("echo", echoTopic, inFlight);
          ceilings.set(inFlight, measured.rate * each);
          const figures = {
            tuples_each: rounded(each),
            tuples_per_s: Math.round(measured.rate * each),
            ratio: 1,
          };
          report({
            bench: "storm-echo",
            workers: "none",
            inflight: inFlight,
            ...measured.figures(0),
            ...figures,
            failed,
            ...cpu,
          });
        }
        await end("echo");

        const main = await bundleApp(file("app"));
        for (const workers of ["in the bolt", "over Kafka"]) {
          const relayed = workers === "over Kafka";
          const config: StormConfig = {
            brokers,
            databaseUrl: url,
            schema: relayed ? "relayed" : "direct",
            shards,
            inbox: "wheelwork-inbox",
            app: { relayed },
          };
          if (relayed) children.push(await begin(switches, { brokers, url }));
          const name = relayed ? "relayed" : "direct";
          await run(stormTopology({ name, config, app: openApp(config), nodeFolder }), { "main.mjs": main });
          await claimed(url, config.schema ?? "");
          await warm(requestTopic);
          for (const inFlight of [1, 16, 200, 1000]) {
            note(`workers ${workers}, ${inFlight} in flight`);
            const { measured, each, failed, cpu } = await measure(name, requestTopic, inFlight);
            const rate = measured.rate * each;
            report({
              bench: "storm",
              workers,
              inflight: inFlight,
              ...measured.figures(callsOf(length)),
              tuples_each: rounded(each),
              tuples_per_s: Math.round(rate),
              ratio: rounded(rate / (ceilings.get(inFlight) ?? Number.NaN)),
              failed,
              ...cpu,
            });
          }
          await end(name);
        }
      } finally {
        for (const child of children) child.kill("SIGKILL");
        await cluster.stop();
        await broker.signal("SIGKILL");
        await database.signal("SIGKILL");
      }
    });
  },
};

/** Waits until all shards have their owners. */
async function claimed(connectionString: string, schema: string): Promise<void> {
  for (let shard = 0; shard < shards;) {
    const store = postgresStore({ connectionString, schema, shard, shards });
    try {
      if ((await store.peek()).epoch > 0) shard++;
    } catch {
      // The tables do not exist yet.
    } finally {
      await store.close();
    }
    await sleep(100);
  }
}
