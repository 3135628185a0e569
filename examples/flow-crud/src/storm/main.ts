import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  defaultCache,
  defaultFolder,
  installKafka,
  installPostgres,
  installStorm,
  KafkaBroker,
  pidOf,
  PostgresServer,
  startDaemon,
  stopDaemon,
  StormCluster,
  type Daemon,
} from "@wheelwork/services";
import { Nimbus } from "@wheelwork/storm";
import { explain } from "../explain.ts";
import { deploy, flowTopology, undeploy, type FlowStorm } from "./deploy.ts";

const usage = `Usage: npm run storm -- COMMAND [options]

Runs flow-crud on a real Apache Storm: ZooKeeper, Nimbus, a supervisor, Kafka, PostgreSQL, Northbound and Floodlight, all
on loopback.

  start      installs and starts what does not run, submits the topology, and waits until it is ready
  stop       ends the topology, and stops what start has started
  status     says what runs, with the executors and errors of the topology
  topology   prints the topology for Storm's Flux; with --dot, its picture for Graphviz

  --without PARTS    leave these to others: northbound, floodlight, with commas between them
  --simple           the seed's simple case: the hub makes the attempts itself, without worker bolts
  --shards N         tasks of bolt-hub, fixed when the store is created   (2)
  --workers N        processes of Java                                   (1)
  --port N           where Northbound listens                            (8088)
  --deadline MS, --worker-timeout MS  of flow-create                     (5000, 1000; the seed: 500, 100)
  --data DIR         of the switches, which only Floodlight has          (.wheelwork/storm)

Kafka and PostgreSQL of your own: KAFKA_BROKERS and DATABASE_URL. Storm's version: STORM_VERSION (2.8.3).
`;

const text = { type: "string" } as const;
const flag = { type: "boolean" } as const;
function readOptions() {
  try {
    return parseArgs({
      options: {
        without: text,
        shards: text,
        workers: text,
        port: text,
        data: text,
        deadline: text,
        "worker-timeout": text,
        simple: flag,
        dot: flag,
        help: { ...flag, short: "h" },
      },
      allowPositionals: true,
    });
  } catch (error) {
    return fail(error);
  }
}

function fail(error: unknown): never {
  process.stderr.write(`${explain(error)}\n`);
  process.exit(1);
}

const { values, positionals } = readOptions();

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const folder = join(defaultFolder, "storm");
const storm = new StormCluster(
  folder,
  { zookeeper: 22_181, nimbus: 26_627, supervisor: 26_628, slots: [26_700, 26_701, 26_702, 26_703] },
  defaultCache,
);
const nimbus = new Nimbus({ port: storm.ports.nimbus });
const broker = new KafkaBroker(join(defaultFolder, "kafka"), 9092, defaultCache);
const database = new PostgresServer(join(defaultFolder, "postgres"), 5432);
const { KAFKA_BROKERS: brokers = broker.brokers, DATABASE_URL: databaseUrl = database.url } = process.env;
const dataDir = resolve(values.data ?? ".wheelwork/storm");
const port = values.port ?? "8088";
const shards = integer("--shards", values.shards, 2);

const flowStorm: FlowStorm = {
  name: "flow-crud",
  brokers,
  databaseUrl,
  shards,
  workers: integer("--workers", values.workers, 1),
  // A Java that has just started takes longer for its first tuples than the seed gives its workers.
  flow: {
    deadlineMs: integer("--deadline", values.deadline, 5000, 86_400_000),
    workerTimeoutMs: integer("--worker-timeout", values["worker-timeout"], 1000, 3_600_000),
  },
  ...(values.simple === true ? { workerTasks: 0 } : {}),
};

const partOf = (name: "northbound" | "floodlight"): Daemon => ({
  name,
  pidFile: join(folder, `${name}.pid`),
  logFile: join(folder, `${name}.log`),
  port: undefined,
  sign: "ready:",
  mark: `--only\0${name}`,
});

function integer(name: string, given: string | undefined, otherwise: number, most = 1024): number {
  const value = given === undefined ? otherwise : Number(given);
  if (Number.isInteger(value) && value > 0 && value <= most) return value;
  return fail(new RangeError(`${name} must be an integer from 1 to ${most}, not ${given}`));
}

const startWithinMs = 180_000;

async function start(): Promise<void> {
  const without = (values.without ?? "").split(",");
  installStorm(defaultCache);
  if (process.env["KAFKA_BROKERS"] === undefined) {
    installKafka(defaultCache);
    say("starting Kafka");
    await broker.start();
  }
  if (process.env["DATABASE_URL"] === undefined) {
    installPostgres();
    say("starting PostgreSQL");
    await database.start();
  }
  say("starting Storm");
  await storm.start();
  const running = (await nimbus.topologies()).some(({ name }) => name === flowStorm.name);
  if (!running) await deploy(flowStorm, storm, startWithinMs, say);
  for (const name of ["floodlight", "northbound"] as const) {
    if (without.includes(name)) continue;
    say(`starting ${name}`);
    const daemon = partOf(name);
    if (pidOf(daemon) !== undefined) continue;
    const main = fileURLToPath(new URL("../cluster/main.ts", import.meta.url));
    const options = { brokers, database: databaseUrl, shards, data: dataDir, port };
    const args = Object.entries(options).flatMap(([option, value]) => [`--${option}`, `${value}`]);
    await startDaemon(daemon, [process.execPath, ...process.execArgv, main, "--only", name, ...args], {
      withinMs: 30_000,
    });
  }
  say(
    [
      "",
      "  Wheelwork: flow-crud is running on Apache Storm",
      "",
      `  Try: curl -d '{"flowid": "test-01", "length": 10}' http://127.0.0.1:${port}/flow     Stop: npm run storm -- stop`,
      "",
    ].join("\n"),
  );
}

async function stop(): Promise<void> {
  for (const name of ["northbound", "floodlight"] as const)
    if (await stopDaemon(partOf(name))) say(`${name}: stopped`);
  if (storm.pid("nimbus") !== undefined && (await undeploy(nimbus, flowStorm.name, 60_000)))
    say("the topology has ended");
  say(`Storm: ${(await storm.stop()) ? "stopped" : "does not run"}`);
  if (process.env["KAFKA_BROKERS"] === undefined)
    say(`Kafka: ${(await broker.stop()) ? "stopped" : "does not run"}`);
  if (process.env["DATABASE_URL"] === undefined)
    say(`PostgreSQL: ${(await database.stop()) ? "stopped" : "does not run"}`);
}

async function status(): Promise<void> {
  const word = (pid: number | undefined): string =>
    pid === undefined ? "does not run" : `runs (process ${pid})`;
  for (const part of ["zookeeper", "nimbus", "supervisor"] as const) say(`${part}: ${word(storm.pid(part))}`);
  for (const name of ["northbound", "floodlight"] as const) say(`${name}: ${word(pidOf(partOf(name)))}`);
  if (storm.pid("nimbus") === undefined) return;
  for (const { name, status: state, workers, tasks } of await nimbus.topologies())
    say(`topology ${name}: ${state}, ${workers} worker${workers === 1 ? "" : "s"}, ${tasks} tasks`);
}

async function main(): Promise<void> {
  const [command] = positionals;
  if (values.help === true) return say(usage);
  switch (command) {
    case "start":
      return start();
    case "stop":
      return stop();
    case "status":
      return status();
    case "topology":
      return say(values.dot === true ? flowTopology(flowStorm).dot() : flowTopology(flowStorm).flux());
    default:
      process.stderr.write(usage);
      process.exitCode = 2;
  }
}

main().catch(fail);
