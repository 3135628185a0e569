import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  defaultCache,
  defaultFolder,
  installKafka,
  installPostgres,
  installStorm,
  localKafka,
  localPostgres,
  localStorm,
  pidOf,
  startDaemon,
  stopDaemon,
  whenParentEnds,
  type Daemon,
} from "@wheelwork/services";
import { Nimbus } from "@wheelwork/storm";
import { explain } from "../explain.ts";
import { networkArgs, networkFlags, networkUsage } from "../network-options.ts";
import { deploy, flowTopology, stormNames, undeploy, type FlowStorm } from "./deploy.ts";

const usage = `Usage: npm run storm -- COMMAND [options]

Runs flow-crud on a real Apache Storm: ZooKeeper, Nimbus, a supervisor, Kafka, PostgreSQL, Northbound and Floodlight, all
on loopback.

  start      installs and starts what does not run, submits the topology, and waits until it is ready
  stop       ends the topology, and stops what start has started
  status     says what runs
  topology   prints the topology for Storm's Flux; with --dot, its picture for Graphviz

  --without PARTS      does not start these: northbound, floodlight, with commas between them
  --topic-prefix TEXT  the names of the topics begin with it               (storm-)
                       --topic-prefix= gives the names of the original proof of concept, which npm run cluster uses, too
  --simple             the simple case: the hub makes the attempts itself, without worker bolts
  --shards N           tasks of bolt-hub, fixed when the store is created  (2)
  --workers N          processes of Java                                   (1)
  --port N             where Northbound listens                            (8088)
  --api-port N         serves flows over HTTP at this port: see docs/flows.md
  --network-port N     Floodlight cuts links of the simulated network here: npm run network -- cut 2-3 --url http://127.0.0.1:N
  --deadline MS, --worker-timeout MS  of flow-create                       (5000, 1000)
  --data DIR           of the switches, for Floodlight                     (.wheelwork/storm)
${networkUsage}

Your own Kafka and PostgreSQL: KAFKA_BROKERS and DATABASE_URL. Ports: KAFKA_PORT, POSTGRES_PORT, and STORM_PORTS for ZooKeeper,
Nimbus, the supervisor and the workers, with commas between them. The version of Storm: STORM_VERSION (2.8.3).
`;

const text = { type: "string" } as const;
const flag = { type: "boolean" } as const;
function readOptions() {
  try {
    return parseArgs({
      options: {
        ...networkFlags,
        without: text,
        shards: text,
        workers: text,
        port: text,
        "api-port": text,
        "network-port": text,
        data: text,
        deadline: text,
        "worker-timeout": text,
        "topic-prefix": text,
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
const storm = localStorm();
const nimbus = new Nimbus({ port: storm.ports.nimbus });
const broker = localKafka();
const database = localPostgres();
const { KAFKA_BROKERS: brokers = broker.brokers, DATABASE_URL: databaseUrl = database.url } = process.env;
const dataDir = resolve(values.data ?? ".wheelwork/storm");
const port = values.port ?? "8088";
const shards = integer("--shards", values.shards, 2);
const topicPrefix = values["topic-prefix"] ?? stormNames.topicPrefix;

const flowStorm: FlowStorm = {
  name: "flow-crud",
  brokers,
  databaseUrl,
  shards,
  topicPrefix,
  workers: integer("--workers", values.workers, 1),
  // A Java that has just started needs longer for its first tuples than the original proof of concept gives its workers.
  flow: {
    deadlineMs: integer("--deadline", values.deadline, 5000, 86_400_000),
    workerTimeoutMs: integer("--worker-timeout", values["worker-timeout"], 1000, 3_600_000),
  },
  ...(values.simple === true ? { workerTasks: 0 } : {}),
};

/** The parts that are processes of their own, beside Storm. */
const parts = ["northbound", "floodlight", "api"] as const;
type PartName = (typeof parts)[number];

const partOf = (name: PartName): Daemon => ({
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

interface Server {
  readonly pid: number | undefined;
  start(): Promise<void>;
  stop(): Promise<boolean>;
}

/** The processes of the servers that `start` has started: `stop` leaves those of `npm run services` alone. */
const startedFile = join(defaultFolder, "storm-started.json");
const startedServers = (): Readonly<Record<string, number | undefined>> =>
  existsSync(startedFile)
    ? (JSON.parse(readFileSync(startedFile, "utf8")) as Readonly<Record<string, number>>)
    : {};

async function startServer(name: string, server: Server): Promise<void> {
  if (server.pid !== undefined) return;
  say(`starting ${name}`);
  await server.start();
  writeFileSync(startedFile, JSON.stringify({ ...startedServers(), [name]: server.pid }));
}

async function stopServer(name: string, server: Server): Promise<void> {
  const { pid } = server;
  if (pid === undefined) return say(`${name}: does not run`);
  if (pid !== startedServers()[name]) return say(`${name}: runs on, since this did not start it`);
  await server.stop();
  say(`${name}: stopped`);
}

/** Waits for all, also if one fails: what has started is noted, so that `stop` finds it. @throws What failed first. */
async function allDone(starts: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(starts);
  await Promise.all(starts);
}

async function start(): Promise<void> {
  const without = (values.without ?? "").split(",");
  const servers: (readonly [string, Server])[] = [];
  installStorm(defaultCache);
  if (process.env["KAFKA_BROKERS"] === undefined) {
    installKafka(defaultCache);
    servers.push(["Kafka", broker]);
  }
  if (process.env["DATABASE_URL"] === undefined) {
    installPostgres();
    servers.push(["PostgreSQL", database]);
  }
  say("starting Storm");
  await allDone([storm.start(), ...servers.map(([name, server]) => startServer(name, server))]);
  const running = (await nimbus.topologies()).some(({ name }) => name === flowStorm.name);
  if (!running) await deploy(flowStorm, storm, startWithinMs, say);
  const startPart = async (name: PartName): Promise<void> => {
    say(`starting ${name}`);
    const daemon = partOf(name);
    if (pidOf(daemon) !== undefined) return;
    const main = fileURLToPath(new URL("../cluster/main.ts", import.meta.url));
    const options = {
      brokers,
      database: databaseUrl,
      shards,
      data: dataDir,
      port,
      "topic-prefix": topicPrefix,
      "flow-schema": stormNames.flowSchema,
    };
    const args = Object.entries(options).flatMap(([option, value]) => [`--${option}`, `${value}`]);
    if (name === "floodlight") args.push(...networkArgs(values));
    const { "api-port": apiPort, "network-port": networkPort } = values;
    if (name === "floodlight" && networkPort !== undefined) args.push("--network-port", networkPort);
    if (name === "api" && apiPort !== undefined)
      args.push("--port", apiPort, "--inbox", stormNames.inbox, "--schema", stormNames.schema);
    await startDaemon(daemon, [process.execPath, ...process.execArgv, main, "--only", name, ...args], {
      withinMs: 90_000,
    });
  };
  const wanted = parts.filter((name) =>
    name === "api" ? values["api-port"] !== undefined : !without.includes(name),
  );
  await allDone(wanted.map(startPart));
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
  for (const name of parts) if (await stopDaemon(partOf(name))) say(`${name}: stopped`);
  if (storm.pid("nimbus") !== undefined && (await undeploy(nimbus, flowStorm.name, 60_000)))
    say("the topology has ended");
  say(`Storm: ${(await storm.stop()) ? "stopped" : "does not run"}`);
  if (process.env["KAFKA_BROKERS"] === undefined) await stopServer("Kafka", broker);
  if (process.env["DATABASE_URL"] === undefined) await stopServer("PostgreSQL", database);
  rmSync(startedFile, { force: true });
}

async function status(): Promise<void> {
  const word = (pid: number | undefined): string =>
    pid === undefined ? "does not run" : `runs (process ${pid})`;
  for (const part of ["zookeeper", "nimbus", "supervisor"] as const) say(`${part}: ${word(storm.pid(part))}`);
  for (const name of parts) say(`${name}: ${word(pidOf(partOf(name)))}`);
  if (storm.pid("nimbus") === undefined) return;
  for (const { name, status: state, workers, tasks } of await nimbus.topologies())
    say(`topology ${name}: ${state}, ${workers} worker${workers === 1 ? "" : "s"}, ${tasks} tasks`);
}

async function main(): Promise<void> {
  const [command] = positionals;
  // What `start` starts is meant to outlive it. This program itself is not.
  whenParentEnds("storm", () => process.exit(1));
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
