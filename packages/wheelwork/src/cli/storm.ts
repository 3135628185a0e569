import { WheelworkError } from "@wheelwork/core";
import { clusterTopics, type Channel } from "@wheelwork/engine/cluster";
import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { needed, placeOptions } from "./place.ts";

export const stormUsage = `On Apache Storm:

  storm topology MODULE   prints the topology for Storm's Flux; with --dot, its picture for Graphviz
  storm submit MODULE     submits it: the module's default export is the application, or makes it of its configuration;
                          topics of the shards and of its channels that are not there are made
  storm list              lists the topologies
  storm status            shows the topology: executors, errors, and the owners of the shards
  storm activate, storm deactivate, storm rebalance, storm kill

  --name NAME         of the topology                      (wheelwork)
  --nimbus HOST:PORT  of Nimbus                            (127.0.0.1:6627)
  --storm-home DIR    a Storm distribution, for submit     (STORM_HOME)
  --jars DIR          the jars of Flux and of Storm's Kafka client, for submit
  --worker-tasks N    tasks of bolt-worker; 0: the hub makes the attempts itself  (2)
  --workers N         processes of Java                    (1)
  --heap MB           what each process of Node may keep   (512)
  --node-folder DIR   where Node's program is on the supervisors, if not on their PATH
  --app JSON          what the application is told besides
  --wait SECONDS      for kill and rebalance: the spouts are silent meanwhile     (0)
`;

const text = { type: "string" } as const;
const options = {
  ...placeOptions,
  name: text,
  nimbus: text,
  "storm-home": text,
  jars: text,
  "worker-tasks": text,
  workers: text,
  heap: text,
  "node-folder": text,
  app: text,
  wait: text,
  dot: { type: "boolean" },
} as const;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** The commands that begin with `storm`. */
export async function runStorm(args: readonly string[]): Promise<boolean> {
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  const [command, module, ...more] = positionals;
  if (more.length > 0) throw refusal(`storm ${command} takes one module`);
  const storm = await needed("@wheelwork/storm", () => import("@wheelwork/storm"));
  const name = values.name ?? "wheelwork";
  const [host = "127.0.0.1", port = "6627"] = (values.nimbus ?? "127.0.0.1:6627").split(":");
  const nimbus = new storm.Nimbus({ host, port: integer("the port of --nimbus", port, 6627, 1) });
  const waitMs = integer("--wait", values.wait, 0, 0) * 1000;
  switch (command) {
    case "topology":
    case "submit": {
      const config = configOf(values);
      const file = demandModule(command, module);
      const { topology, channels } = await topologyOf(file, name, config, values);
      if (command === "topology") {
        process.stdout.write(values.dot === true ? topology.dot() : topology.flux());
        return true;
      }
      const home = values["storm-home"] ?? process.env["STORM_HOME"];
      if (home === undefined || values.jars === undefined)
        throw refusal("storm submit needs --storm-home (or STORM_HOME) and --jars");
      const jar = storm.topologyJar({ "main.mjs": await storm.bundleApp(file) });
      await makeTopics(config, channels);
      storm.submit({ home, jars: values.jars }, { flux: topology.flux(), jar });
      say(`submitted ${name}`);
      return true;
    }
    case "list":
      for (const one of await nimbus.topologies())
        say(
          `${one.name}  ${one.status}  ${one.workers} workers, ${one.executors} executors, ${one.tasks} tasks`,
        );
      return true;
    case "status":
      return status(await nimbus.topology(name), values);
    case "activate":
    case "deactivate":
      await nimbus[command](name);
      say(`${name}: ${command}d`);
      return true;
    case "rebalance": {
      const workers =
        values.workers === undefined ? {} : { workers: integer("--workers", values.workers, 1, 1) };
      await nimbus.rebalance(name, { waitMs, ...workers });
      say(`${name}: is rebalanced`);
      return true;
    }
    case "kill":
      await nimbus.kill(name, waitMs);
      say(`${name}: is killed`);
      return true;
    default:
      throw refusal(`there is no command storm ${command ?? ""}`);
  }
}

type Values = { readonly [Name in Exclude<keyof typeof options, "dot">]?: string | undefined };

async function status(
  view: Awaited<ReturnType<InstanceType<(typeof import("@wheelwork/storm"))["Nimbus"]>["topology"]>>,
  values: Values,
): Promise<boolean> {
  say(`${view.name}  ${view.status}  up ${Math.round(view.uptimeMs / 1000)} s`);
  for (const { component, tasks, host, port, uptimeMs } of view.executorViews) {
    if (component.startsWith("__")) continue;
    const [first, last] = tasks;
    const of = first === last ? `task ${first}` : `tasks ${first} to ${last}`;
    say(`  ${component}  ${of}  ${host}:${port}  up ${Math.round(uptimeMs / 1000)} s`);
  }
  const { databaseUrl, shards, schema } = configOf(values);
  const { postgresStore } = await needed("@wheelwork/postgres", () => import("@wheelwork/postgres"));
  for (let shard = 0; shard < shards; shard++) {
    const place = { connectionString: databaseUrl, shard, shards };
    const store = postgresStore(schema === undefined ? place : { ...place, schema });
    try {
      const { owner, epoch, seq } = await store.peek();
      say(`  shard ${shard}  owner ${owner ?? "none"}  epoch ${epoch}  batches ${seq}`);
    } catch (error) {
      say(`  shard ${shard}  ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      await store.close();
    }
  }
  // Only what is recent tells of the present: Storm keeps errors for long.
  for (const { component, message, at, host } of view.errors)
    say(`  error of ${component} on ${host} at ${new Date(at).toISOString()}: ${message.split("\n")[0]}`);
  return true;
}

async function topologyOf(file: string, name: string, open: StormConfig, values: Values) {
  const { stormSecurity, stormTopology } = await needed(
    "@wheelwork/storm",
    () => import("@wheelwork/storm/parts"),
  );
  const security = stormSecurity();
  const config = security === undefined ? open : { ...open, security };
  const loaded = (await import(pathToFileURL(file).href)) as {
    readonly default?: StormApp | ((config: StormConfig) => StormApp);
  };
  const app = typeof loaded.default === "function" ? loaded.default(config) : loaded.default;
  if (app?.hubs === undefined || app.workers === undefined)
    throw refusal(`${file} has no default export with hubs and workers, or that makes them`);
  const nodeFolder = values["node-folder"];
  try {
    const topology = stormTopology({
      name,
      config,
      app,
      workerTasks: integer("--worker-tasks", values["worker-tasks"], 2, 0),
      workers: integer("--workers", values.workers, 1, 1),
      heapMb: integer("--heap", values.heap, 512, 64),
      ...(nodeFolder === undefined ? {} : { nodeFolder }),
    });
    return { topology, channels: app.channels ?? [] };
  } finally {
    await app.close?.();
  }
}

async function makeTopics({ brokers, shards, inbox }: StormConfig, channels: readonly Channel[]) {
  const { kafka, kafkaSecurity } = await needed("@wheelwork/kafka", () => import("@wheelwork/kafka"));
  const log = kafka({ brokers, clientId: "wheelwork-cli", ...kafkaSecurity() });
  try {
    await log.ensureTopics(clusterTopics({ shards, inbox, channels }));
  } finally {
    await log.close();
  }
}

function configOf(values: Values): StormConfig {
  const { env } = process;
  let app: unknown;
  try {
    app = values.app === undefined ? undefined : JSON.parse(values.app);
  } catch {
    throw refusal("--app must be JSON");
  }
  return {
    brokers: values.brokers ?? env["KAFKA_BROKERS"] ?? "127.0.0.1:9092",
    databaseUrl: values.database ?? env["DATABASE_URL"] ?? "postgres://wheelwork@127.0.0.1:5432/wheelwork",
    shards: integer("--shards", values.shards ?? env["SHARDS"], 8, 1),
    inbox: values.inbox ?? "wheelwork-inbox",
    ...(values.schema === undefined ? {} : { schema: values.schema }),
    ...(app === undefined ? {} : { app }),
  };
}

function demandModule(command: string, module: string | undefined): string {
  if (module === undefined) throw refusal(`storm ${command} takes a module`);
  return resolve(module);
}

function integer(name: string, given: string | undefined, otherwise: number, least: number): number {
  const value = given === undefined ? otherwise : Number(given);
  if (Number.isInteger(value) && value >= least) return value;
  throw refusal(`${name} must be an integer of at least ${least}, not ${given}`);
}

const refusal = (message: string): WheelworkError =>
  new WheelworkError("WW_CONFIG", message, { next: "See wheelwork --help." });
