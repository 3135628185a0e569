/** What simulated worlds are made of, for worlds of other packages. */
export { observed, seeAttempt, type AttemptsIn } from "./attempts.ts";
export { drawFor, PlannedOperations, type PlannedFault } from "./plans.ts";
export type { Askable, Processes } from "./shards/asking.ts";
export { checkShards } from "./shards/check.ts";
export { responseInValue, serveExternally } from "./shards/external.ts";
export { commandOf, requestOf, typeOf, type Ledger } from "./shards/ledger.ts";
export {
  describeShardsPlan,
  drawShardsPlan,
  smallerShardsPlans,
  type FaultDraw,
  type ShardsPlan,
} from "./shards/plan.ts";
export { Scene, type Actors } from "./shards/scene.ts";
export { inbox, type Stage } from "./shards/stage.ts";
export { SimulatedStore, type StoreFault, type StoreUser } from "./store.ts";
export type { Seen } from "./trace.ts";
export { count, type World } from "./world.ts";
