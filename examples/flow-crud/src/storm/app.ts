import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { northboundChannel } from "../cluster/channel.ts";
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
}

/** Flow-crud as it runs on Storm: the hub, the workers and the channel of every other engine. */
export default function flowApp({ databaseUrl, app = {} }: StormConfig): StormApp {
  const { flow, topicPrefix, resourceSchema: schema } = app as FlowStormOptions;
  const topics = flowTopics(topicPrefix);
  const pool = new PostgresResourcePool(databaseUrl, schema === undefined ? {} : { schema });
  const spokes = flowSpokes(flow);
  return {
    hubs: [flowCreateHub(flow, spokes), flowCreateService(flow, spokes)],
    workers: [...resourceWorkers(spokes, pool, defaultSwitches), ...floodlightWorkers(spokes, topics)],
    channels: [northboundChannel(topics)],
    close: () => pool.close(),
  };
}
