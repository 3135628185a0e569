import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { northboundChannel } from "../cluster/channel.ts";
import { flowCreateHub, type FlowCreateOptions } from "../hub.ts";
import { defaultSwitches } from "../network.ts";
import { ResourcePool, resourceWorkers } from "../resources.ts";
import { flowCreateService } from "../service.ts";
import { flowSpokes } from "../spokes.ts";
import { floodlightWorkers } from "../workers.ts";

/** What the application's configuration says besides. */
export interface FlowStormOptions {
  /** The folder of the files that stand for the outside world. */
  readonly dataDir: string;
  readonly flow?: FlowCreateOptions;
}

/** Flow-crud as it runs on Storm: the hub, the workers and the channel of every other engine. */
export default function flowApp({ app }: StormConfig): StormApp {
  const { dataDir, flow } = app as FlowStormOptions;
  mkdirSync(dataDir, { recursive: true });
  const pool = new ResourcePool(join(dataDir, "resources.db"));
  const spokes = flowSpokes(flow);
  return {
    hubs: [flowCreateHub(flow, spokes), flowCreateService(flow, spokes)],
    workers: [...resourceWorkers(spokes, pool, defaultSwitches), ...floodlightWorkers(spokes)],
    channels: [northboundChannel],
    observe: (signal) => {
      if (signal.name === "answered" && signal.answer === "result") pool.activate(signal.key).catch(() => {});
    },
    close: () => pool.close(),
  };
}
