import { WheelworkError } from "@wheelwork/core";
import { demandOptions } from "@wheelwork/core/kernel";
import type { Bolt, Context, Output, Streams, Tuple } from "../multilang/component.ts";
import { runBolt, runSpout } from "../multilang/component.ts";
import { processWire, type Wire } from "../multilang/wire.ts";
import { configKey, type StormApp, type StormConfig } from "./app.ts";
import { CoordinatorBolt, coordinatorSpout } from "./coordinator.ts";
import { hubBolt } from "./figures.ts";
import { NbBolt } from "./nb.ts";
import { appOptions, configOptions } from "./option-tables.ts";
import { realPorts, type StormPorts } from "./ports.ts";
import { coordinatorStreams, hubStreams, nbStreams, workerStreams } from "./streams.ts";
import { WorkerBolt } from "./worker.ts";

/** A bolt that is made when the topology's configuration is known. */
function later<S extends Streams>(streams: S, make: (config: StormConfig) => Bolt<S>): Bolt<S> {
  let bolt: Bolt<S> | undefined;
  return {
    streams,
    open: (context: Context, output: Output<S>) => {
      const config = JSON.parse(String(context.conf[configKey])) as StormConfig;
      bolt = make(demandOptions<StormConfig>(config, configOptions, "the configuration of a topology"));
      return bolt.open?.(context, output);
    },
    execute: (tuple: Tuple, output: Output<S>) => bolt?.execute(tuple, output),
    close: () => bolt?.close?.(),
    uncaught: (error: unknown) => bolt?.uncaught?.(error),
  };
}

/**
 * Makes this process a part of the topology of `stormTopology`: which one, its first argument says. It is all that the main
 * file of the topology's resources does. `open` gets the configuration that the topology was submitted with.
 */
export function runPart(open: (config: StormConfig) => StormApp): void {
  startPart(process.argv[2] ?? "(none)", open, processWire(), realPorts);
}

/** Makes what is at the other end of a wire a part of the topology. @throws WheelworkError WW_CONFIG for an unknown one. */
export function startPart(
  part: string,
  open: (config: StormConfig) => StormApp,
  wire: Wire,
  ports: StormPorts,
): void {
  const app = (config: StormConfig): StormApp =>
    demandOptions<StormApp>(open(config), appOptions, "an app on Storm");
  switch (part) {
    case "hub":
      return runBolt(
        later(hubStreams, (config) => hubBolt(app(config), config, ports)),
        wire,
      );
    case "worker":
      return runBolt(
        later(workerStreams, (config) => new WorkerBolt(app(config), ports)),
        wire,
      );
    case "nb":
      return runBolt(
        later(nbStreams, (config) => new NbBolt(config, ports)),
        wire,
      );
    case "coordinator":
      return runBolt(
        later(coordinatorStreams, () => new CoordinatorBolt(ports)),
        wire,
      );
    case "tick":
      return runSpout(coordinatorSpout(ports), wire);
    default:
      throw new WheelworkError("WW_CONFIG", `there is no part ${part}`);
  }
}
