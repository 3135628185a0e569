export { configKey, type StormApp, type StormConfig } from "./app.ts";
export type { StormLog, StormPorts } from "./ports.ts";
export { runPart, startPart } from "./run.ts";
export { stormSecurity, type StormSecurity } from "./security.ts";
export { stormTopology, type StormTopologyOptions } from "./topology.ts";
