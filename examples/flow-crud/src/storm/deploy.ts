import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { kafka, kafkaSecurity } from "@wheelwork/kafka";
import { postgresStore } from "@wheelwork/postgres";
import { bundleApp, Nimbus, submit, topologyJar, type StormHome } from "@wheelwork/storm";
import { stormSecurity, stormTopology, type StormConfig } from "@wheelwork/storm/parts";
import { ensureClusterTopics } from "../cluster/parts.ts";
import type { FlowCreateOptions } from "../hub.ts";
import { flowTopics } from "../topics.ts";
import flowApp, { type FlowStormOptions } from "./app.ts";

/**
 * The names that flow-crud on Storm has on its broker and in its database. None of them is the cluster's, so that both can use
 * the same servers. A request must reach one of the two only: each would answer it.
 */
export const stormNames = {
  topicPrefix: "storm-",
  inbox: "wheelwork-storm-inbox",
  schema: "wheelwork_storm",
  resourceSchema: "flow_crud_storm",
  flowSchema: "flow_controller_storm",
} as const;

/** What a deployment is made of. */
export interface FlowStorm {
  readonly name: string;
  readonly brokers: string;
  readonly databaseUrl: string;
  readonly shards: number;
  /** The names of the topics begin with this. Default `storm-`. */
  readonly topicPrefix?: string;
  readonly flow?: FlowCreateOptions;
  readonly workerTasks?: number;
  readonly workers?: number;
  readonly settings?: Readonly<Record<string, unknown>>;
}

/** The topology of flow-crud. */
export function flowTopology(options: FlowStorm): ReturnType<typeof stormTopology> {
  const { name, brokers, databaseUrl, shards, flow, workerTasks, workers, settings } = options;
  const { topicPrefix = stormNames.topicPrefix } = options;
  const { inbox, schema, resourceSchema, flowSchema } = stormNames;
  const app: FlowStormOptions = {
    topicPrefix,
    resourceSchema,
    flowSchema,
    ...(flow === undefined ? {} : { flow }),
  };
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
  const made = flowApp(config);
  try {
    return stormTopology({
      name,
      config,
      app: made,
      nodeFolder: dirname(process.execPath),
      ...(workerTasks === undefined ? {} : { workerTasks }),
      ...(workers === undefined ? {} : { workers }),
      ...(settings === undefined ? {} : { settings }),
    });
  } finally {
    void made.close?.();
  }
}

/** Creates the topics, submits the topology, and waits until each shard has its owner. */
export async function deploy(
  options: FlowStorm,
  storm: StormHome,
  withinMs: number,
  say: (line: string) => void = () => {},
): Promise<void> {
  const { brokers, databaseUrl, shards } = options;
  const log = kafka({ brokers, clientId: "deploy", ...kafkaSecurity() });
  try {
    const topics = flowTopics(options.topicPrefix ?? stormNames.topicPrefix);
    await ensureClusterTopics(log, topics, { shards, inbox: stormNames.inbox });
  } finally {
    await log.close();
  }
  const before = await epochs(databaseUrl, shards);
  const main = await bundleApp(fileURLToPath(new URL("app.ts", import.meta.url)));
  say("submitting the topology");
  submit(storm, { flux: flowTopology(options).flux(), jar: topologyJar({ "main.mjs": main }) });
  say("waiting until the shards have their owners");
  for (const end = performance.now() + withinMs; performance.now() < end;) {
    const now = await epochs(databaseUrl, shards);
    if (now.every((epoch, shard) => epoch > (before[shard] ?? 0))) return;
    await new Promise((resolve) => void setTimeout(resolve, 200));
  }
  throw new Error(`the topology has not claimed its shards within ${withinMs / 1000} s`);
}

/** The epoch of each shard. */
async function epochs(databaseUrl: string, shards: number): Promise<number[]> {
  const found: number[] = [];
  for (let shard = 0; shard < shards; shard++) {
    const store = postgresStore({
      connectionString: databaseUrl,
      schema: stormNames.schema,
      shard,
      shards,
    });
    try {
      found.push((await store.peek()).epoch);
    } catch {
      found.push(0);
    } finally {
      await store.close();
    }
  }
  return found;
}

/** Ends the topology, and waits until Storm has forgotten it. Whether it ran. */
export async function undeploy(nimbus: Nimbus, name: string, withinMs: number): Promise<boolean> {
  const runs = async (): Promise<boolean> => (await nimbus.topologies()).some((one) => one.name === name);
  if (!(await runs())) return false;
  await nimbus.kill(name);
  for (const end = performance.now() + withinMs; performance.now() < end;) {
    if (!(await runs())) return true;
    await new Promise((resolve) => void setTimeout(resolve, 100));
  }
  throw new Error(`the topology ${name} has not ended within ${withinMs / 1000} s`);
}
