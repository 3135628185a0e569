export { WheelworkError, type ErrorCode, type ErrorDetails, type Problem } from "./errors.ts";
export { type Exclusive, type WhenBusy } from "./exclusive.ts";
export { durationText } from "./duration.ts";
export type { Labels, LabelsOf } from "./labels.ts";
export { type DeepReadonly, type Json } from "./json.ts";
export { type StoredData } from "./json-types.ts";
export { type In, type Out, type Schema } from "./schema.ts";
export {
  spoke,
  type Callable,
  type Failed,
  type Failure,
  type Outcome,
  type Spoke,
  type SpokeSpec,
  type WorkerTypes,
} from "./spoke.ts";
export { type SpokeLimit } from "./limit.ts";
export { type EngineFailure, type FailureCode, type RetryPolicy, type RetryRule } from "./retry.ts";
export {
  hubByHandlers,
  type CleanUpCause,
  type Handlers,
  type HandlersSpec,
  type Handling,
  type SettledCall,
  type SignalHandler,
  type WorkHandlers,
} from "./handlers.ts";
export { end, stay } from "./chart.ts";
export { hub, type AnyHub, type Hub, type HubSpec, type MigratedRun, type NewRun } from "./hub.ts";
export {
  answered,
  type AllOptions,
  type AnyEventOf,
  type Answered,
  type Behaviour,
  type Behaviours,
  type CallOptions,
  type CallView,
  type Chart,
  type CheckedChart,
  type EachOptions,
  type EndBuilder,
  type EventsOf,
  type Failing,
  type MovesOf,
  type Next,
  type OnDeadline,
  type OnFailures,
  type OnOutcome,
  type OnOutcomes,
  type OnPart,
  type Part,
  type PartOptions,
  type PartView,
  type OnTimer,
  type Raise,
  type Row,
  type SequenceStep,
  type SignalSchemas,
  type StateBuilder,
  type TimerMs,
  type WaitOptions,
  type SignalTypes,
} from "./states.ts";
export { type TimerClock } from "./timers.ts";
export type {
  Answer,
  ArchivedEvents,
  HeldPlace,
  HistoryEvent,
  IncidentSummary,
  RemoteCaller,
  RunEvent,
  RunLane,
  RunStatus,
  TraceContext,
} from "./events.ts";
export type { RunSpan } from "./spans.ts";
export { chartOf, toText, type ChartEdge, type ChartState, type ChartView } from "./diagram-text.ts";
export { transcriber, transcriptOf } from "./transcript.ts";
export {
  captionOf,
  pathOf,
  toDot,
  toMermaid,
  type Caption,
  type DiagramOptions,
  type Transition,
} from "./diagram.ts";
