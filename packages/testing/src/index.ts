export { SimulatedClock, SimulatedProcess } from "./clock.ts";
export { FaultyStore, type Fault, type FaultPlan } from "./faulty-store.ts";
export { MemoryStore } from "./memory-store.ts";
export { seededRandom, type SeededRandom } from "./random.ts";
export { storeConformance, type OpenedStore, type TestRunner } from "./store-conformance.ts";
