import { join } from "node:path";
import { mkdirSync } from "node:fs";
import { kafka, kafkaSecurity, type Kafka } from "@wheelwork/kafka";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import type { EngineEvent, Logger } from "wheelwork";
import { clusterTopics, createNode } from "wheelwork/cluster";
import { Floodlight, type FloodlightOptions } from "../floodlight/floodlight.ts";
import { answerTopic, commandTopic } from "../floodlight/wire.ts";
import { flowCreateHub, type FlowCreateOptions } from "../hub.ts";
import { defaultSwitches } from "../network.ts";
import { PostgresResourcePool } from "../resources-postgres.ts";
import { resourceWorkers } from "../resources.ts";
import { flowCreateService } from "../service.ts";
import { flowSpokes } from "../spokes.ts";
import { floodlightWorkers } from "../workers.ts";
import { northboundChannel, replyTopic, requestTopic, rulesQuestionTopic, rulesTopic } from "./channel.ts";

/** Where the parts of the cluster meet. */
export interface ClusterPlace {
  readonly brokers: string;
  readonly databaseUrl: string;
  /** How many shards: fixed when the store and the inbox are created. */
  readonly shards: number;
  readonly logger: Logger;
}

/** A running part. */
export interface Part {
  close(): Promise<void>;
}

const partitions = 4;

/** Creates the topics, or checks those that are there: hub-to-nb has one partition, since the seed's Northbound reads one. */
export async function ensureClusterTopics(bus: Kafka, shards: number): Promise<void> {
  const named = new Map([
    [replyTopic, 1],
    [requestTopic, partitions],
    [commandTopic, partitions],
    [answerTopic, partitions],
    [rulesQuestionTopic, 1],
    [rulesTopic, 1],
  ]);
  for (const { name, partitions: needed } of clusterTopics({ shards, channels: [northboundChannel] }))
    if (!named.has(name)) named.set(name, needed ?? 1);
  await bus.ensureTopics(Array.from(named, ([name, needed]) => ({ name, partitions: needed })));
}

/** A node: the hub, its workers, and the shards that the group gives it. */
export async function startNode(
  place: ClusterPlace,
  options: {
    readonly name: string;
    readonly flow?: FlowCreateOptions;
    readonly sessionTimeoutMs?: number;
    readonly observe?: (signal: EngineEvent) => void;
    readonly onFailure: (error: Error) => void;
  },
): Promise<Part & { readonly shards: () => readonly object[] }> {
  const { brokers, databaseUrl, shards, logger } = place;
  const { name, sessionTimeoutMs } = options;
  const bus = kafka({
    brokers,
    clientId: name,
    ...kafkaSecurity(),
    ...(sessionTimeoutMs === undefined ? {} : { sessionTimeoutMs }),
  });
  const resources = new PostgresResourcePool(databaseUrl);
  const database = postgresPool({ connectionString: databaseUrl });
  const spokes = flowSpokes(options.flow);
  const node = createNode({
    name,
    hubs: [flowCreateHub(options.flow, spokes), flowCreateService(options.flow, spokes)],
    workers: [...resourceWorkers(spokes, resources, defaultSwitches), ...floodlightWorkers(spokes)],
    shards,
    store: (shard) => postgresStore({ pool: database, shard, shards }),
    log: bus,
    channels: [northboundChannel],
    logger,
    ...(options.observe === undefined ? {} : { observe: options.observe }),
    onFailure: options.onFailure,
  });
  const close = async (): Promise<void> => {
    await node.stop();
    await bus.close();
    await Promise.all([database.close(), resources.close()]);
  };
  try {
    await ensureClusterTopics(bus, shards);
    await node.start();
  } catch (error) {
    await close();
    throw error;
  }
  return { close, shards: () => node.shards };
}

/** A message holds a megabyte. */
const maxRulesTold = 1000;

/** The switches, behind the seed's two topics. It alone has their file, in the folder `dataDir`. */
export async function startFloodlight(
  place: ClusterPlace,
  dataDir: string,
  options: FloodlightOptions = {},
): Promise<Part & { readonly floodlight: Floodlight }> {
  mkdirSync(dataDir, { recursive: true });
  const bus = kafka({ brokers: place.brokers, clientId: "floodlight", ...kafkaSecurity() });
  await ensureClusterTopics(bus, place.shards);
  const onProblem = (problem: string): void => place.logger.warn({ part: "floodlight" }, problem);
  const floodlight = new Floodlight(join(dataDir, "floodlight.db"), bus, { onProblem, ...options });
  const end = bus.subscribe(rulesQuestionTopic, ({ key, value: flowid }) => {
    const rules = floodlight.rules(flowid === "" ? undefined : flowid);
    const value = JSON.stringify({ count: rules.length, rules: rules.slice(0, maxRulesTold) });
    Promise.resolve(bus.publish(rulesTopic, { key, value })).catch((error: unknown) =>
      onProblem(`what is on the switches could not be sent: ${String(error)}`),
    );
  });
  await bus.ready();
  return {
    floodlight,
    close: async () => {
      end();
      floodlight.close();
      await bus.close();
    },
  };
}
