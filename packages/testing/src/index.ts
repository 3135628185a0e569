export { damageConformance, type DamageableStore, type DamagedColumn } from "./damage-conformance.ts";
export { busConformance, type OpenedBus } from "./bus-conformance.ts";
export { clockConformance, type OpenedClock } from "./clock-conformance.ts";
export { SimulatedClock, SimulatedProcess } from "./clock.ts";
export { FaultyStore, type Fault, type FaultPlan } from "./faulty-store.ts";
export type { Coverage, Exploration, Finding, FindingKind } from "./kit/exploration.ts";
export { explore, type ExploreOptions } from "./kit/explore.ts";
export type { GenerateOptions, OutputSamples } from "./kit/generate.ts";
export type { Script, ScriptedAnswer, ScriptedAttempt, TestCall, TypedSpoke } from "./kit/script.ts";
export { testEngine, type Deployed, type TestEngine, type TestEngineOptions } from "./kit/test-engine.ts";
export { transcriptOf } from "@wheelwork/core";
export {
  MemoryBroker,
  MemoryLog,
  type LogFault,
  type MemoryBrokerOptions,
  type MemoryLogOptions,
} from "./memory-log.ts";
export { MemoryStore } from "./memory-store.ts";
export { seededRandom, type SeededRandom } from "./random.ts";
export { storeConformance } from "./store-conformance.ts";
export type { OpenedStore, TestRunner } from "./store-fixtures.ts";
export {
  describeFailure,
  simulate,
  type SimulationFailure,
  type SimulationOptions,
  type SimulationReport,
} from "./simulator/campaign.ts";
export { checkTrace, type Checked } from "./simulator/checker/check.ts";
export type { CheckedSystem } from "./simulator/checker/evidence.ts";
export type {
  ClusterFault,
  ClusterFaultKind,
  ClusterOperation,
  ClusterPlan,
} from "./simulator/cluster/plan.ts";
export { clusterWorld } from "./simulator/cluster/world.ts";
export type {
  EngineFault,
  EngineFaultKind,
  EngineOperation,
  EnginePlan,
  EngineRequest,
} from "./simulator/engine/plan.ts";
export { engineWorld } from "./simulator/engine/world.ts";
export type {
  PlannedCommand,
  PlannedFault,
  PlannedLimits,
  PlannedRates,
  PlannedTrouble,
} from "./simulator/plans.ts";
export {
  requestBodies,
  requestWays,
  type ShardsPlan,
  type ShardsRead,
  type ShardsRequest,
} from "./simulator/shards/plan.ts";
export type {
  EndedRequest,
  OpenedSystem,
  Outside,
  ScheduleWish,
  SimulatedSystem,
} from "./simulator/systems.ts";
export { lineOf, type Seen, type TraceEntry } from "./simulator/trace.ts";
export type { AnyPlan, Counts, Play, Violation, World } from "./simulator/world.ts";
