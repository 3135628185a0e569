export {
  Nimbus,
  type ErrorView,
  type ExecutorView,
  type TopologySummary,
  type TopologyView,
} from "./cluster/nimbus.ts";
export { bundleApp, bundleProgram, submit, topologyJar, type StormHome } from "./cluster/submit.ts";
export {
  kafkaBolt,
  kafkaFields,
  kafkaSpout,
  shellBolt,
  shellSpout,
  Topology,
  type AnyTopology,
  type Components,
  type ComponentSpec,
  type Grouping,
} from "./topology.ts";
