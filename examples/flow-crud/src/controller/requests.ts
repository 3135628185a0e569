import * as z from "zod";
import { FlowChanges, FlowId, FlowSpec, Layout } from "./model.ts";
import { Discrepancy } from "./speaker.ts";
import { NetworkEvent, refusals } from "./store.ts";

/** A text without control characters: a label of a request has none. */
const Line = z.string().regex(/^\P{Cc}*$/u, "must have no control characters");

/** What the requests of all operations have in common. */
const Common = z.strictObject({
  /** It waits for its turn while another operation works on its flow. Otherwise it is refused with WW_BUSY. */
  queue: z.boolean().default(false),
  /** Names the operation in the history of its flow, as the caller knows it. */
  correlationId: Line.max(200).default(""),
});

/** Requests, by the names of their hubs. */
export const CreateFlow = Common.extend({
  spec: FlowSpec,
  /** If it fails when its resources are taken, the flow stays, DOWN and without paths. Its caller was told that there is one. */
  keep: z.boolean().default(false),
});
export const UpdateFlow = Common.extend({
  flowId: FlowId,
  changes: FlowChanges,
});
export const DeleteFlow = Common.extend({ flowId: FlowId });
export const RerouteFlow = Common.extend({ flowId: FlowId });
export const SwapFlow = Common.extend({ flowId: FlowId });
export const SyncFlow = Common.extend({ flowId: FlowId });
export const ValidateFlow = z.strictObject({
  flowId: FlowId,
  correlationId: Line.max(200).default(""),
});
/** A reroute that the network asks for. It waits for its turn, and the newest that waits stands for those before it. */
export const RestoreFlow = z.strictObject({ flowId: FlowId, reason: Line.max(1_000) });
/** Reroutes of all flows that something in the network concerns. */
export const RestoreFlows = z.strictObject({ flows: z.array(FlowId), reason: Line.max(1_000) });
/** Reroutes of the flows that are due to be looked at again. */
export const LookAfterFlows = z.strictObject({});
/** Something has happened in the network: it is noted, and the flows that it concerns are restored. */
export const HandleEvent = z.strictObject({ event: NetworkEvent });

/** The answer of an operation. */
export const OperationReply = z.object({
  flowId: FlowId,
  /** What stands; null: no flow. */
  layout: Layout.nullable(),
  /** Whether the flow has another main path than before. */
  isMoved: z.boolean(),
  /** What of the wish could not be had; null: nothing. */
  shortcoming: z.string().nullable(),
  /** Rules that are not as they should be yet, since their switch is away. The switch gets them right when it is back. */
  unconfirmed: z.array(z.object({ switchId: z.string(), rules: z.int() })),
});
export type OperationReply = z.output<typeof OperationReply>;

/** The errors of an operation: a refusal, or that it has failed and all is as before. */
export const operationErrors = [
  ...refusals,
  /** A switch has not taken its rules, or has not answered. What the flow was before stands. */
  "not-installed",
  /** The time was over. What the flow was before stands. */
  "timeout",
  "cancelled",
] as const;
export type OperationError = (typeof operationErrors)[number];

/** What the switches of a flow have, per path and direction. */
export const ValidationReply = z.object({
  flowId: FlowId,
  directions: z.array(
    z.object({
      direction: z.enum(["forward", "reverse", "protected_forward", "protected_reverse"]),
      asExpected: z.boolean(),
      discrepancies: z.array(Discrepancy),
      /** How many rules and meters were compared. */
      rules: z.int(),
      meters: z.int(),
      packets: z.number(),
      bytes: z.number(),
    }),
  ),
  /** Rules and meters that the switches of the flow have in all. */
  totalRules: z.int(),
  totalMeters: z.int(),
});
export type ValidationReply = z.output<typeof ValidationReply>;
/** Errors of a validation: `unknown`; `down`: a flow that is DOWN has nothing to validate; `away`: a switch could not be read. */
export const validationErrors = ["unknown", "down", "away", "timeout"] as const;

/** What came of an event. */
export const EventReply = z.object({ concerned: z.int() });

/** How many reroutes were started. */
export const RestoreReply = z.object({ started: z.int() });

/** What one sees of an operation while it runs, and after. */
export interface OperationView {
  readonly flowId: string;
  readonly kind: "create" | "update" | "delete" | "reroute" | "swap" | "sync";
  /** Whether all that it needs is taken. Then `after` is what shall stand; null: no flow. */
  readonly isPlanned: boolean;
  readonly after: Layout | null;
}

/** The lane in which operations on a flow follow one another. */
export const flowLane = "flow";
