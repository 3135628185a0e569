// The mixtures on Storm: the module of the topology.
import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { mixedApp } from "./app.ts";
import type { MixedApp } from "./kills.ts";

export default function open({ app }: StormConfig): StormApp {
  const { hubs, workers, schedules } = mixedApp(app as MixedApp);
  return { hubs, workers, schedules };
}
