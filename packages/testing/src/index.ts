export { busConformance, type OpenedBus } from "./bus-conformance.ts";
export { clockConformance, type OpenedClock } from "./clock-conformance.ts";
export { SimulatedClock, SimulatedProcess } from "./clock.ts";
export { FaultyStore, type Fault, type FaultPlan } from "./faulty-store.ts";
export type { Coverage, Exploration, Finding, FindingKind } from "./kit/exploration.ts";
export { explore, type ExploreOptions } from "./kit/explore.ts";
export type { GenerateOptions, OutputSamples } from "./kit/generate.ts";
export type { Script, ScriptedAnswer, ScriptedAttempt, TestCall, TypedSpoke } from "./kit/script.ts";
export { testEngine, type TestEngine, type TestEngineOptions } from "./kit/test-engine.ts";
export { transcriptOf } from "./kit/transcript.ts";
export {
  MemoryBroker,
  MemoryLog,
  type LogFault,
  type MemoryBrokerOptions,
  type MemoryLogOptions,
} from "./memory-log.ts";
export { MemoryStore } from "./memory-store.ts";
export { seededRandom, type SeededRandom } from "./random.ts";
export { storeConformance, type OpenedStore, type TestRunner } from "./store-conformance.ts";
export { checkTrace, type Checked, type CheckedSystem, type Violation } from "./simulator/checker.ts";
export type { ClusterViolation } from "./simulator/cluster-ledger.ts";
export {
  clusterBodies,
  clusterFaultKinds,
  clusterPlanOf,
  clusterWays,
  type ClusterCommand,
  type ClusterFault,
  type ClusterFaultKind,
  type ClusterPlan,
  type ClusterRead,
  type ClusterRequest,
} from "./simulator/cluster-plan.ts";
export {
  describeClusterFailure,
  simulateCluster,
  type ClusterFailure,
  type ClusterReport,
  type ClusterSimulationOptions,
} from "./simulator/cluster.ts";
export {
  faultKinds,
  planOf,
  type FaultKind,
  type Plan,
  type PlannedCommand,
  type PlannedFault,
  type PlannedRates,
  type PlannedRequest,
} from "./simulator/plan.ts";
export {
  describeFailure,
  simulate,
  simulatePlan,
  type SimulationFailure,
  type SimulationOptions,
  type SimulationReport,
} from "./simulator/simulate.ts";
export { lineOf, type Seen, type TraceEntry } from "./simulator/trace.ts";
export type { EndedRequest, OpenedSystem, Outside, Played, SimulatedSystem } from "./simulator/world.ts";
