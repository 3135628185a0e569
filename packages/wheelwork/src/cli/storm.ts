import { WheelworkError } from "@wheelwork/core";
import { clusterTopics, type Channel } from "@wheelwork/engine/cluster";
import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { findNimbus, reached } from "./nimbus.ts";
import { needed, placeOptions } from "./place.ts";

export const stormUsage = `On Apache Storm:

  storm topology MODULE   prints the topology for Storm's Flux; with --dot, its picture for Graphviz
  storm submit MODULE     submits it. The module's default export is the application, or makes it from its configuration.
                          Creates missing topics of the shards and of the channels
  storm list              lists the topologies
  storm status            shows the topology: executors, errors, and the owners of the shards
  storm activate, storm deactivate, storm rebalance, storm kill

  --name NAME         of the topology                      (wheelwork)
  --nimbus HOST:PORT  of Nimbus     (STORM_NIMBUS, else the Nimbus that npm run storm started here, else 127.0.0.1:6627)
  --storm-home DIR    a Storm distribution, for submit     (STORM_HOME; as above)
  --jars DIR          the jars of Flux and of Storm's Kafka client, for submit     (as above)
  --worker-tasks N    tasks of bolt-worker; 0: the hub makes the attempts itself  (2)
  --workers N         processes of Java                    (1)
  --heap MB           heap of each process of Node         (512)
  --node-folder DIR   where Node's program is on the supervisors, if not on their PATH
  --app JSON          the application's own part of its configuration
  --wait SECONDS      for kill and rebalance: the spouts are silent for so long   (0)

\`status\` asks Nimbus where the topology has its database, and how many shards there are, unless options say so.
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
  const place = findNimbus(values.nimbus);
  const nimbus = new storm.Nimbus(place);
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
      const home = values["storm-home"] ?? process.env["STORM_HOME"] ?? place.local?.home;
      const jars = values.jars ?? place.local?.jars;
      if (home === undefined || jars === undefined)
        throw refusal("storm submit needs --storm-home (or STORM_HOME) and --jars");
      const jar = storm.topologyJar({ "main.mjs": await storm.bundleApp(file) });
      await makeTopics(config, channels);
      storm.submit({ home, jars }, { flux: topology.flux(), jar });
      say(`submitted ${name}`);
      return true;
    }
    case "list":
      for (const one of await reached(place, nimbus.topologies()))
        say(
          `${one.name}  ${one.status}  ${count(one.workers, "worker")}, ${count(one.executors, "executor")}, ${count(one.tasks, "task")}`,
        );
      return true;
    case "status":
      return status(
        await reached(place, nimbus.topology(name)),
        await configOfTopology(await reached(place, nimbus.configuration(name)), values),
      );
    case "activate":
    case "deactivate":
      await reached(place, nimbus[command](name));
      say(`${name}: ${command}d`);
      return true;
    case "rebalance": {
      const workers =
        values.workers === undefined ? {} : { workers: integer("--workers", values.workers, 1, 1) };
      await reached(place, nimbus.rebalance(name, { waitMs, ...workers }));
      say(`${name}: is rebalanced`);
      return true;
    }
    case "kill":
      await reached(place, nimbus.kill(name, waitMs));
      say(`${name}: is killed`);
      return true;
    default:
      throw refusal(`there is no command storm ${command ?? ""}`);
  }
}

type Values = { readonly [Name in Exclude<keyof typeof options, "dot">]?: string | undefined };

async function status(
  view: Awaited<ReturnType<InstanceType<(typeof import("@wheelwork/storm"))["Nimbus"]>["topology"]>>,
  { databaseUrl, shards, schema }: StormConfig,
): Promise<boolean> {
  say(`${view.name}  ${view.status}  up ${Math.round(view.uptimeMs / 1000)} s`);
  for (const { component, tasks, host, port, uptimeMs } of view.executorViews) {
    if (component.startsWith("__")) continue;
    const [first, last] = tasks;
    const of = first === last ? `task ${first}` : `tasks ${first} to ${last}`;
    say(`  ${component}  ${of}  ${host}:${port}  up ${Math.round(uptimeMs / 1000)} s`);
  }
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
  // Storm keeps errors for long. Only recent ones say something about the present.
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

/** The configuration of a topology that runs, except where options or the environment say otherwise. */
async function configOfTopology(
  submitted: Readonly<Record<string, unknown>>,
  values: Values,
): Promise<StormConfig> {
  const { configKey } = await needed("@wheelwork/storm", () => import("@wheelwork/storm/parts"));
  const text = submitted[configKey];
  return configOf(values, typeof text === "string" ? (JSON.parse(text) as StormConfig) : {});
}

function configOf(values: Values, otherwise: Partial<StormConfig> = {}): StormConfig {
  const { env } = process;
  const schema = values.schema ?? otherwise.schema;
  let app: unknown;
  try {
    app = values.app === undefined ? undefined : JSON.parse(values.app);
  } catch {
    throw refusal("--app must be JSON");
  }
  return {
    brokers: values.brokers ?? env["KAFKA_BROKERS"] ?? otherwise.brokers ?? "127.0.0.1:9092",
    databaseUrl:
      values.database ??
      env["DATABASE_URL"] ??
      otherwise.databaseUrl ??
      "postgres://wheelwork@127.0.0.1:5432/wheelwork",
    shards: integer("--shards", values.shards ?? env["SHARDS"], otherwise.shards ?? 8, 1),
    inbox: values.inbox ?? otherwise.inbox ?? "wheelwork-inbox",
    ...(schema === undefined ? {} : { schema }),
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

const count = (many: number, what: string): string => `${many} ${what}${many === 1 ? "" : "s"}`;

const refusal = (message: string): WheelworkError =>
  new WheelworkError("WW_CONFIG", message, { next: "See wheelwork --help." });
