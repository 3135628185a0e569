// @wheelwork/core/kernel: what engines, stores and test kits need of the core. Authors of hubs need none of it.
export { Callback, Coordinator } from "./coordinator.ts";
export { Heap } from "./heap.ts";
export { canonicalJson, deepFreeze } from "./json.ts";
export {
  abandon,
  abandonWithin,
  isError,
  isThenable,
  maxDepth,
  plain,
  scalar,
  stackOf,
  synchronous,
  textOf,
  tryPlain,
  weightOf,
} from "./plain.ts";
export { countLeft, isOpening } from "./round.ts";
export { isSuspect, suspectDeaths } from "./deaths.ts";
export { encodedMark, givenKey, rootOf, startOfTag, tagLength, tagMark } from "./keys.ts";
export { beforeStored, unbegunAfterWait, waitedRequest } from "./stored.ts";
export { accepts, check, demand, type Checked } from "./schema.ts";
export { hasNoEnd, isRetriedForever, maxCallMs } from "./retry.ts";
export { answerText, firstLine, jsonText } from "./words.ts";
export { isDuration, mustBeDuration } from "./duration.ts";
export {
  demandOptions,
  kind,
  kinds,
  required,
  soundOptions,
  type OptionKind,
  type OptionKinds,
  type RequiredKind,
} from "./options.ts";
export type { Writable } from "./json-types.ts";
export { hubKind } from "./option-tables.ts";
export { textProblem } from "./text.ts";
export { callersCancel } from "./decision.ts";
export { knownCommand, refusedSignal } from "./commands.ts";
export type { CommandMemory, Decision, Env, Ignored, Input, Posted, StartOptions } from "./decision.ts";
export { accept, begin, cancelsRound, decide, isUnbegun, migrate, start } from "./kernel.ts";
export type { OpenedCalls, ParkedInput, Timer } from "./events.ts";
export {
  apply,
  Call,
  decidesCancel,
  idempotencyKey,
  isOpen,
  isRunning,
  keepsOutcome,
  noDeadline,
  refusedCancel,
  Run,
  type RunOrigin,
} from "./run.ts";
export { movedRun } from "./migrations.ts";
export { Secrets, secretsOfAll, secretsOfHub, type SecretPath } from "./secrets.ts";
export { nextTimer } from "./timers.ts";
export { isRetrying, redeliver } from "./redelivery.ts";
export { restore, snapshot, type RunSnapshot } from "./snapshot.ts";
export { step, type Effect, type ManyEffects } from "./effects.ts";
export { spansOf } from "./spans.ts";
export {
  isLabelName,
  isLabelValue,
  labelPatterns,
  labelsOf,
  mustBeLabelName,
  mustBeLabelValue,
} from "./labels.ts";
export { laneKeyOf, whenBusyOf, type ExclusiveDefinition } from "./exclusive.ts";
export { grant, laneError, pend, postpone, type PendingOptions } from "./pending.ts";
export { incidentOf } from "./answers.ts";
export { incidentKind, type IncidentKind } from "./incident-kind.ts";
export { startOf, type Post } from "./post.ts";
export { answerLogic, answeredEnd, isWaiting, type StateLogic, type Turn } from "./logic.ts";
export { defineHub, type ErasedSpec } from "./hub.ts";
export type { TimerClock } from "./timers.ts";
export type { HubDefinition, StateDefinition } from "./hub.ts";
export { nameText } from "./spoke.ts";
