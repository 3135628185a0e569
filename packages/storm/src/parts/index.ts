export type { StormApp, StormConfig } from "./app.ts";
export { runPart } from "./run.ts";
export { stormTopology, type StormTopologyOptions } from "./topology.ts";
