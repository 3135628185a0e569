import { join } from "node:path";
import { mkdirSync } from "node:fs";
import { kafka, kafkaSecurity, type Kafka } from "@wheelwork/kafka";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import {
  createMetrics,
  serveMetrics,
  WheelworkError,
  type EngineEvent,
  type Logger,
  type MetricsServer,
} from "wheelwork";
import { createNode, deadLetterTopic } from "wheelwork/cluster";
import { Floodlight, type FloodlightOptions } from "../floodlight/floodlight.ts";
import { OpenFlowSwitches, type OpenFlowOptions } from "../floodlight/openflow-switches.ts";
import { flowCreateHub, type FlowCreateOptions } from "../hub.ts";
import { defaultSwitches } from "../network.ts";
import { PostgresResourcePool } from "../resources-postgres.ts";
import { resourceWorkers } from "../resources.ts";
import { flowCreateService } from "../service.ts";
import { flowSpokes } from "../spokes.ts";
import type { FlowTopics } from "../topics.ts";
import { floodlightWorkers } from "../workers.ts";
import { northboundChannel } from "./channel.ts";

/** What all parts share. */
export interface KafkaPlace {
  readonly brokers: string;
  readonly topics: FlowTopics;
  readonly logger: Logger;
}

/** What the nodes share. */
export interface ClusterPlace extends KafkaPlace {
  readonly databaseUrl: string;
  /** How many shards: fixed when the store and the inbox are created. */
  readonly shards: number;
}

/** The inbox of the cluster. */
const clusterInbox = "wheelwork-inbox";

/** A running part. */
export interface Part {
  close(): Promise<void>;
}

/**
 * Creates the topics that are missing, except the inbox. Topics that are there may have any number of partitions: the programs
 * of the original proof of concept may have created them. Only the answers need a single partition, since its Northbound reads
 * no other.
 * @throws WheelworkError WW_CONFIG when the topic of the answers has several partitions.
 */
export async function ensureFlowTopics(bus: Kafka, topics: FlowTopics): Promise<void> {
  const { requests, answers, commands, commandReplies, rulesQuestions, rules } = topics;
  for (const name of [requests, commands, commandReplies]) await ensureTopic(bus, name, 4);
  for (const name of [rulesQuestions, rules, deadLetterTopic(requests)]) await ensureTopic(bus, name, 1);
  await bus.ensureTopics([{ name: answers, partitions: 1 }]);
}

/** Creates the topics of the shards, too. @throws WheelworkError WW_CONFIG when the inbox has another number of partitions. */
export async function ensureClusterTopics(
  bus: Kafka,
  topics: FlowTopics,
  { shards, inbox }: { readonly shards: number; readonly inbox: string },
): Promise<void> {
  await ensureFlowTopics(bus, topics);
  await ensureTopic(bus, deadLetterTopic(inbox), 1);
  await bus.ensureTopics([{ name: inbox, partitions: shards, mayHaveMore: true }]);
}

async function ensureTopic(bus: Kafka, name: string, partitions: number): Promise<void> {
  try {
    await bus.topic(name);
  } catch (error) {
    if (!(error instanceof WheelworkError) || error.code !== "WW_CONFIG") throw error;
    await bus.ensureTopics([{ name, partitions }]);
  }
}

/** A node: the hub, its workers, and the shards that the group assigns to it. */
export async function startNode(
  place: ClusterPlace,
  options: {
    readonly name: string;
    readonly flow?: FlowCreateOptions;
    readonly sessionTimeoutMs?: number;
    readonly observe?: (signal: EngineEvent) => void;
    /** Where the node shows its figures. Default: nowhere. */
    readonly metricsPort?: number;
    readonly onFailure: (error: Error) => void;
  },
): Promise<Part & { readonly shards: () => readonly object[]; readonly figures?: string }> {
  const { brokers, databaseUrl, shards, topics, logger } = place;
  const { name, sessionTimeoutMs, metricsPort } = options;
  const metrics = metricsPort === undefined ? undefined : createMetrics();
  const observe = (event: EngineEvent): void => {
    metrics?.observe(event);
    options.observe?.(event);
  };
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
    workers: [...resourceWorkers(spokes, resources, defaultSwitches), ...floodlightWorkers(spokes, topics)],
    shards,
    inbox: clusterInbox,
    store: (shard) => postgresStore({ pool: database, shard, shards }),
    log: bus,
    channels: [northboundChannel(topics)],
    logger,
    ...(options.observe === undefined && metrics === undefined ? {} : { observe }),
    onFailure: options.onFailure,
  });
  let server: MetricsServer | undefined;
  const close = async (): Promise<void> => {
    await node.stop();
    await server?.close();
    await bus.close();
    await Promise.all([database.close(), resources.close()]);
  };
  try {
    await ensureClusterTopics(bus, topics, { shards, inbox: clusterInbox });
    if (metrics !== undefined && metricsPort !== undefined)
      server = await serveMetrics(node, metrics, { port: metricsPort });
    await node.start();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    close,
    shards: () => node.shards,
    ...(server === undefined ? {} : { figures: `${server.url}/metrics` }),
  };
}

/** More would not fit into a message, which may have one megabyte. */
const maxRulesTold = 1000;

/**
 * The switches, which take commands over Kafka: simulated ones, or with `network` real ones. Only this part may open their file, in the
 * folder `dataDir`.
 */
export async function startFloodlight(
  place: KafkaPlace,
  dataDir: string,
  { network, ...options }: FloodlightOptions & { readonly network?: Pick<OpenFlowOptions, "listen"> } = {},
): Promise<Part & { readonly floodlight: Floodlight }> {
  mkdirSync(dataDir, { recursive: true });
  const bus = kafka({ brokers: place.brokers, clientId: "floodlight", ...kafkaSecurity() });
  const { topics } = place;
  await ensureFlowTopics(bus, topics);
  const onProblem = (problem: string): void => place.logger.warn({ part: "floodlight" }, problem);
  const drives =
    network === undefined
      ? {}
      : {
          drives: await OpenFlowSwitches.open({
            ...network,
            path: join(dataDir, "switches.db"),
            switches: defaultSwitches,
            onProblem,
          }),
        };
  const floodlight = new Floodlight(join(dataDir, "floodlight.db"), bus, {
    onProblem,
    topics,
    ...drives,
    ...options,
  });
  const end = bus.subscribe(topics.rulesQuestions, ({ key, value: flowid }) => {
    const { count, rules } = floodlight.rulesPage({
      limit: maxRulesTold,
      ...(flowid === "" ? {} : { flowid }),
    });
    const value = JSON.stringify({ count, rules });
    Promise.resolve(bus.publish(topics.rules, { key, value })).catch((error: unknown) =>
      onProblem(`what is on the switches could not be sent: ${String(error)}`),
    );
  });
  await bus.ready();
  return {
    floodlight,
    close: async () => {
      end();
      await floodlight.close();
      await bus.close();
    },
  };
}
