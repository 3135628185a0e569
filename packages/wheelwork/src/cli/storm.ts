import { WheelworkError } from "@wheelwork/core";
import { clusterTopics, type Channel } from "@wheelwork/engine/cluster";
import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { command, wholeNumber, type Command } from "./command.ts";
import { findNimbus, reached } from "./nimbus.ts";
import { count, say } from "./output.ts";
import { needed, placeHelp, placeOptions } from "./place.ts";

const text = "string" as const;
const stormOptions = {
  name: { type: text, value: "NAME", about: "of the topology (wheelwork)" },
  nimbus: {
    type: text,
    value: "HOST:PORT",
    about: "of Nimbus (STORM_NIMBUS, else the one that npm run storm started here, else 127.0.0.1:6627)",
  },
} as const;
const submitOptions = {
  ...placeOptions,
  ...stormOptions,
  "storm-home": { type: text, value: "DIR", about: "a Storm distribution (STORM_HOME; as for --nimbus)" },
  jars: { type: text, value: "DIR", about: "the jars of Flux and of Storm's Kafka client (as for --nimbus)" },
  "worker-tasks": {
    type: text,
    value: "N",
    about: "tasks of bolt-worker (2). 0: the hub makes the attempts itself",
  },
  workers: { type: text, value: "N", about: "processes of Java (1)" },
  heap: { type: text, value: "MB", about: "heap of each process of Node (512)" },
  "node-folder": {
    type: text,
    value: "DIR",
    about: "where Node's program is on the supervisors, if not on their PATH",
  },
  "metrics-port": {
    type: text,
    value: "N",
    about: "task N of bolt-hub shows /metrics at this port and N, and nothing else (not shown)",
  },
  "metrics-host": { type: text, value: "HOST", about: "the address for it (127.0.0.1)" },
  app: { type: text, value: "JSON", about: "the application's own part of its configuration" },
} as const;
const waitOption = {
  wait: { type: text, value: "SECONDS", about: "the spouts are silent for so long before (0)" },
} as const;

type Values = { readonly [Name in keyof typeof submitOptions]?: string };

const nameOf = (values: Pick<Values, "name">): string => values.name ?? "wheelwork";

/** Nimbus, where the options say. */
async function nimbusAt(values: Pick<Values, "nimbus">) {
  const { Nimbus } = await needed("@wheelwork/storm", () => import("@wheelwork/storm"));
  const place = findNimbus(values.nimbus);
  return { place, nimbus: new Nimbus(place) };
}

const topology = command({
  name: "storm topology",
  about: "Prints the topology of an application for Storm's Flux.",
  more: `The module's default export is the application, or makes it from its configuration.`,
  takes: "MODULE",
  options: { ...submitOptions, dot: { type: "boolean", about: "prints its picture for Graphviz instead" } },
  run: async ({ values, positionals: [module = ""] }) => {
    const made = await topologyOf(resolve(module), nameOf(values), configOf(values), values);
    process.stdout.write(values.dot === true ? made.topology.dot() : made.topology.flux());
  },
});

const submit = command({
  name: "storm submit",
  about:
    "Submits an application to Storm. Makes the topics of the shards and of the channels that are missing.",
  more: `The module's default export is the application, or makes it from its configuration.\n${placeHelp}`,
  takes: "MODULE",
  options: submitOptions,
  run: async ({ values, positionals: [module = ""] }) => {
    const storm = await needed("@wheelwork/storm", () => import("@wheelwork/storm"));
    const place = findNimbus(values.nimbus);
    const config = configOf(values);
    const file = resolve(module);
    const name = nameOf(values);
    const made = await topologyOf(file, name, config, values);
    const home = values["storm-home"] ?? process.env["STORM_HOME"] ?? place.local?.home;
    const jars = values.jars ?? place.local?.jars;
    if (home === undefined || jars === undefined)
      throw refusal("storm submit needs --storm-home (or STORM_HOME) and --jars");
    const jar = storm.topologyJar({ "main.mjs": await storm.bundleApp(file) });
    await makeTopics(config, made.channels);
    storm.submit({ home, jars }, { flux: made.topology.flux(), jar });
    say(`submitted ${name}`);
  },
});

const list = command({
  name: "storm list",
  about: "Lists the topologies of a Storm.",
  takes: "",
  options: { nimbus: stormOptions.nimbus },
  run: async ({ values }) => {
    const { place, nimbus } = await nimbusAt(values);
    for (const one of await reached(place, nimbus.topologies()))
      say(
        `${one.name}  ${one.status}  ${count(one.workers, "worker")}, ${count(one.executors, "executor")}, ${count(one.tasks, "task")}`,
      );
  },
});

const show = command({
  name: "storm status",
  about: "Shows a topology: executors, errors, and the owners of the shards.",
  more: `It asks Nimbus where the topology has its database, and how many shards there are, unless options say so.\n${placeHelp}`,
  takes: "",
  options: { ...placeOptions, ...stormOptions },
  run: async ({ values }) => {
    const { place, nimbus } = await nimbusAt(values);
    const name = nameOf(values);
    await status(
      await reached(place, nimbus.topology(name)),
      await configOfTopology(await reached(place, nimbus.configuration(name)), values),
    );
  },
});

const switched = (name: "activate" | "deactivate", about: string): Command =>
  command({
    name: `storm ${name}`,
    about,
    takes: "",
    options: stormOptions,
    run: async ({ values }) => {
      const { place, nimbus } = await nimbusAt(values);
      await reached(place, nimbus[name](nameOf(values)));
      say(`${nameOf(values)}: ${name}d`);
    },
  });

const rebalance = command({
  name: "storm rebalance",
  about: "Spreads a topology over the workers anew.",
  takes: "",
  options: { ...stormOptions, workers: submitOptions.workers, ...waitOption },
  run: async ({ values }) => {
    const { place, nimbus } = await nimbusAt(values);
    const workers =
      values.workers === undefined ? {} : { workers: wholeNumber("--workers", values.workers, 1, 1) };
    const waitMs = wholeNumber("--wait", values.wait, 0, 0) * 1000;
    await reached(place, nimbus.rebalance(nameOf(values), { waitMs, ...workers }));
    say(`${nameOf(values)}: is rebalanced`);
  },
});

const kill = command({
  name: "storm kill",
  about: "Ends a topology.",
  takes: "",
  options: { ...stormOptions, ...waitOption },
  run: async ({ values }) => {
    const { place, nimbus } = await nimbusAt(values);
    await reached(place, nimbus.kill(nameOf(values), wholeNumber("--wait", values.wait, 0, 0) * 1000));
    say(`${nameOf(values)}: is killed`);
  },
});

/** The commands about Apache Storm. */
export const stormCommands: readonly Command[] = [
  topology,
  submit,
  list,
  show,
  switched("activate", "Lets the spouts of a topology go on."),
  switched("deactivate", "Stops the spouts of a topology."),
  rebalance,
  kill,
];

async function status(
  view: Awaited<ReturnType<InstanceType<(typeof import("@wheelwork/storm"))["Nimbus"]>["topology"]>>,
  { databaseUrl, shards, schema }: StormConfig,
): Promise<void> {
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
      workerTasks: wholeNumber("--worker-tasks", values["worker-tasks"], 2, 0),
      workers: wholeNumber("--workers", values.workers, 1, 1),
      heapMb: wholeNumber("--heap", values.heap, 512, 64),
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
    shards: wholeNumber("--shards", values.shards ?? env["SHARDS"], otherwise.shards ?? 8, 1),
    inbox: values.inbox ?? otherwise.inbox ?? "wheelwork-inbox",
    ...(schema === undefined ? {} : { schema }),
    ...(values["metrics-port"] === undefined
      ? {}
      : { metricsPort: wholeNumber("--metrics-port", values["metrics-port"], 0, 1) }),
    ...(values["metrics-host"] === undefined ? {} : { metricsHost: values["metrics-host"] }),
    ...(app === undefined ? {} : { app }),
  };
}

const refusal = (message: string): WheelworkError =>
  new WheelworkError("WW_CONFIG", message, { next: "See wheelwork help storm." });
