// What engines, stores and test kits need of the core. Users of Wheelwork need none of it.
export { Callback, Coordinator } from "./coordinator.ts";
export { canonicalJson, deepFreeze } from "./json.ts";
export { check, demand, type Checked } from "./schema.ts";
export { maxCallMs } from "./spoke.ts";
export {
  decide,
  migrate,
  start,
  type Decision,
  type Env,
  type Ignored,
  type Input,
  type StartOptions,
} from "./kernel.ts";
export {
  apply,
  Call,
  idempotencyKey,
  isRunning,
  restore,
  Run,
  snapshot,
  type OpenedCalls,
  type ParkedInput,
  type RunSnapshot,
} from "./run.ts";
export { step, type Effect } from "./effects.ts";
export type { HubDefinition, StateDefinition } from "./hub.ts";
