import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { northboundChannel } from "../cluster/channel.ts";
import { flowCreateHub, type FlowCreateOptions } from "../hub.ts";
import { defaultSwitches } from "../network.ts";
import { PostgresResourcePool } from "../resources-postgres.ts";
import { resourceWorkers } from "../resources.ts";
import { flowCreateService } from "../service.ts";
import { flowSpokes } from "../spokes.ts";
import { floodlightWorkers } from "../workers.ts";

/** What the application's configuration says besides. */
export interface FlowStormOptions {
  readonly flow?: FlowCreateOptions;
}

/** Flow-crud as it runs on Storm: the hub, the workers and the channel of every other engine. */
export default function flowApp({ databaseUrl, app = {} }: StormConfig): StormApp {
  const { flow } = app as FlowStormOptions;
  const pool = new PostgresResourcePool(databaseUrl);
  const spokes = flowSpokes(flow);
  return {
    hubs: [flowCreateHub(flow, spokes), flowCreateService(flow, spokes)],
    workers: [...resourceWorkers(spokes, pool, defaultSwitches), ...floodlightWorkers(spokes)],
    channels: [northboundChannel],
    close: () => pool.close(),
  };
}
