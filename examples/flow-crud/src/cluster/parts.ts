import { kafka, kafkaSecurity, type Kafka } from "@wheelwork/kafka";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import {
  createMetrics,
  serveMetrics,
  systemClock,
  WheelworkError,
  type EngineEvent,
  type Logger,
  type MetricsServer,
} from "wheelwork";
import { createNode, deadLetterTopic } from "wheelwork/cluster";
import { createController } from "../controller/controller.ts";
import { PostgresFlowStore } from "../controller/flow-store-postgres.ts";
import { keepLooks } from "../controller/kept-looks.ts";
import { RemoteSpeaker } from "../floodlight/speaker-wire.ts";
import { flowCreateHub, type FlowCreateOptions } from "../hub.ts";
import { defaultSwitches } from "../network.ts";
import { PostgresResourcePool } from "../resources-postgres.ts";
import { resourceWorkers } from "../resources.ts";
import { flowCreateService } from "../service.ts";
import { flowSpokes } from "../spokes.ts";
import type { FlowTopics } from "../topics.ts";
import { floodlightWorkers } from "../workers.ts";
import { serveFlows, type ApiOptions } from "./api.ts";
import { networkChannel, northboundChannel } from "./channel.ts";

/** What all parts share. */
export interface KafkaPlace {
  readonly brokers: string;
  readonly topics: FlowTopics;
  readonly logger: Logger;
}

/** Where the network and its flows are stored. */
export interface FlowPlace extends KafkaPlace {
  readonly databaseUrl: string;
  /** The schema of the store of flows. Default `flow_controller`. */
  readonly flowSchema?: string;
}

/** What the nodes share. */
export interface ClusterPlace extends FlowPlace {
  /** How many shards: fixed when the store and the inbox are created. */
  readonly shards: number;
}

/** The inbox of the cluster. */
export const clusterInbox = "wheelwork-inbox";

/** A running part. */
export interface Part {
  close(): Promise<void>;
}

/**
 * Creates the topics that are missing, except the inbox. Topics that are there may have any number of partitions: the programs
 * of the original proof of concept may have created them. Only two need a single partition: the answers, since its Northbound reads
 * no other, and the events of the network, which must keep their order.
 * @throws WheelworkError WW_CONFIG when one of these two has several partitions.
 */
export async function ensureFlowTopics(bus: Kafka, topics: FlowTopics): Promise<void> {
  const { requests, answers, commands, commandReplies, rulesQuestions, rules } = topics;
  const { speakerCommands, speakerAnswers, networkEvents, eventAnswers } = topics;
  for (const name of [requests, commands, commandReplies, speakerCommands, speakerAnswers])
    await ensureTopic(bus, name, 4);
  const letters = [requests, networkEvents].map((name) => deadLetterTopic(name));
  for (const name of [rulesQuestions, rules, eventAnswers, ...letters]) await ensureTopic(bus, name, 1);
  await bus.ensureTopics([answers, networkEvents].map((name) => ({ name, partitions: 1 })));
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

/** A node: the hubs, their workers, and the shards that the group assigns to it. */
export async function startNode(
  place: ClusterPlace,
  options: {
    readonly name: string;
    readonly flow?: FlowCreateOptions;
    readonly sessionTimeoutMs?: number;
    readonly observe?: (signal: EngineEvent) => void;
    /** Where the node shows its figures. Default: nowhere. */
    readonly metricsPort?: number;
    /** Where the node serves flows over HTTP, and to whom. Default: nowhere. */
    readonly api?: ApiOptions;
    readonly onFailure: (error: Error) => void;
  },
): Promise<
  Part & { readonly shards: () => readonly object[]; readonly figures?: string; readonly url?: string }
> {
  const { brokers, databaseUrl, flowSchema, shards, topics, logger } = place;
  const { name, sessionTimeoutMs, metricsPort, api } = options;
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
  const controller = createController();
  const flowStore = new PostgresFlowStore(
    databaseUrl,
    flowSchema === undefined ? {} : { schema: flowSchema },
  );
  const onProblem = (problem: string): void => logger.warn({ part: "speaker" }, problem);
  const speaker = new RemoteSpeaker({ bus, topics, onProblem, lastBook: () => flowStore.lastBook() });
  const node = createNode({
    name,
    hubs: [flowCreateHub(options.flow, spokes), flowCreateService(options.flow, spokes), ...controller.all],
    schedules: controller.schedules,
    workers: [
      ...resourceWorkers(spokes, resources, defaultSwitches),
      ...floodlightWorkers(spokes, topics),
      ...controller.workers(flowStore, speaker),
    ],
    shards,
    inbox: clusterInbox,
    store: (shard) => postgresStore({ pool: database, shard, shards }),
    log: bus,
    channels: [northboundChannel(topics), networkChannel(topics)],
    logger,
    ...(options.observe === undefined && metrics === undefined ? {} : { observe }),
    onFailure: options.onFailure,
  });
  let server: MetricsServer | undefined;
  let served: (Part & { readonly url: string }) | undefined;
  let endLooks = (): void => {};
  const close = async (): Promise<void> => {
    endLooks();
    await served?.close();
    await node.stop();
    await server?.close();
    speaker.close();
    await bus.close();
    await Promise.all([database.close(), resources.close(), flowStore.close()]);
  };
  try {
    await ensureClusterTopics(bus, topics, { shards, inbox: clusterInbox });
    if (metrics !== undefined && metricsPort !== undefined)
      server = await serveMetrics(node, metrics, { port: metricsPort });
    await node.start();
    endLooks = keepLooks({
      store: flowStore,
      engine: node,
      hub: controller.hubs.lookAfterFlows,
      clock: systemClock,
      logger,
    });
    if (api !== undefined)
      served = await serveFlows({ engine: node, hubs: controller.hubs, store: flowStore, logger }, api);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    close,
    shards: () => node.shards,
    ...(server === undefined ? {} : { figures: `${server.url}/metrics` }),
    ...(served === undefined ? {} : { url: served.url }),
  };
}
