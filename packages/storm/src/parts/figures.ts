import { createMetrics, serveMetrics, type MetricsServer } from "@wheelwork/engine/parts";
import type { Context, Output, Tuple, Bolt } from "../multilang/component.ts";
import type { StormApp, StormConfig } from "./app.ts";
import { HubBolt } from "./hub.ts";
import type { StormPorts } from "./ports.ts";
import type { hubStreams } from "./streams.ts";

type Streams = typeof hubStreams;

/** The hub's bolt. If the configuration says where, it shows the figures of its shard, at a port of its own for each task. */
export function hubBolt(app: StormApp, config: StormConfig, ports: StormPorts): Bolt<Streams> {
  const { metricsPort, metricsHost } = config;
  if (metricsPort === undefined) return new HubBolt(app, config, ports);
  const metrics = createMetrics();
  const observe: StormApp["observe"] = (event) => {
    metrics.observe(event);
    app.observe?.(event);
  };
  const bolt = new HubBolt({ ...app, observe }, config, ports);
  let served: Promise<MetricsServer | undefined> = Promise.resolve(undefined);
  const open = (context: Context, output: Output<Streams>): void => {
    const place = {
      port: metricsPort + context.index,
      ...(metricsHost === undefined ? {} : { host: metricsHost }),
    };
    // The bolt works all the same.
    served = serveMetrics(bolt, metrics, place).catch((error: unknown) => {
      output.error(String(error));
      return undefined;
    });
    bolt.open(context, output);
  };
  return {
    streams: bolt.streams,
    open,
    execute: (tuple: Tuple) => bolt.execute(tuple),
    uncaught: (thrown: unknown) => bolt.uncaught(thrown),
    close: async () => {
      await (await served)?.close();
      await bolt.close();
    },
  };
}
