export { SimulatedClock, SimulatedProcess } from "./clock.ts";
export { FaultyStore, type Fault, type FaultPlan } from "./faulty-store.ts";
export type { GenerateOptions, OutputSamples } from "./kit/generate.ts";
export type { Script, ScriptedAnswer, ScriptedAttempt, TestCall, TypedSpoke } from "./kit/script.ts";
export { testEngine, type TestEngine, type TestEngineOptions } from "./kit/test-engine.ts";
export { transcriptOf } from "./kit/transcript.ts";
export { MemoryStore } from "./memory-store.ts";
export { seededRandom, type SeededRandom } from "./random.ts";
export { storeConformance, type OpenedStore, type TestRunner } from "./store-conformance.ts";
