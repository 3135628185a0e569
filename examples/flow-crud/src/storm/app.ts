import { kafka, kafkaSecurity } from "@wheelwork/kafka";
import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { networkChannel, northboundChannel } from "../cluster/channel.ts";
import { createController } from "../controller/controller.ts";
import { PostgresFlowStore } from "../controller/flow-store-postgres.ts";
import { RemoteSpeaker } from "../floodlight/speaker-wire.ts";
import { flowCreateHub, type FlowCreateOptions } from "../hub.ts";
import { defaultSwitches } from "../network.ts";
import { PostgresResourcePool } from "../resources-postgres.ts";
import { resourceWorkers } from "../resources.ts";
import { flowCreateService } from "../service.ts";
import { flowSpokes } from "../spokes.ts";
import { flowTopics } from "../topics.ts";
import { floodlightWorkers } from "../workers.ts";

/** The part of the configuration that is flow-crud's own. */
export interface FlowStormOptions {
  readonly flow?: FlowCreateOptions;
  /** The names of its topics begin with this. Default: nothing, as in the original proof of concept. */
  readonly topicPrefix?: string;
  /** The schema of the pool of resources. Default `flow_crud`. */
  readonly resourceSchema?: string;
  /** The schema of the store of flows. Default `flow_controller`. */
  readonly flowSchema?: string;
}

/**
 * Flow-crud as it runs on Storm: the hubs, the workers and the channels of every other engine. Every component makes it. Only those that
 * make attempts connect to the store of flows, and to the topics of the speaker.
 */
export default function flowApp({ brokers, security, databaseUrl, app = {} }: StormConfig): StormApp {
  const { flow, topicPrefix, resourceSchema, flowSchema } = app as FlowStormOptions;
  const topics = flowTopics(topicPrefix);
  const pool = new PostgresResourcePool(databaseUrl, schemaIn(resourceSchema));
  const flowStore = new PostgresFlowStore(databaseUrl, schemaIn(flowSchema));
  const bus = kafka({ brokers, clientId: "flow-crud", ...kafkaSecurity({ ...process.env, ...security }) });
  const speaker = new RemoteSpeaker({ bus, topics, lastBook: () => flowStore.lastBook() });
  const spokes = flowSpokes(flow);
  const controller = createController();
  return {
    hubs: [flowCreateHub(flow, spokes), flowCreateService(flow, spokes), ...controller.all],
    schedules: controller.schedules,
    workers: [
      ...resourceWorkers(spokes, pool, defaultSwitches),
      ...floodlightWorkers(spokes, topics),
      ...controller.workers(flowStore, speaker),
    ],
    channels: [northboundChannel(topics), networkChannel(topics)],
    close: async () => {
      speaker.close();
      await Promise.all([pool.close(), flowStore.close(), bus.close()]);
    },
  };
}

const schemaIn = (schema: string | undefined): { readonly schema?: string } =>
  schema === undefined ? {} : { schema };
