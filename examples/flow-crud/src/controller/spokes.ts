import { spoke } from "wheelwork";
import * as z from "zod";
import { FlowId, Layout, Rule, SwitchId } from "./model.ts";
import { Discrepancy } from "./speaker.ts";
import { Abandoned, Avoid, DueFlows, Intent, NetworkEvent, Pace, Plan, Recalled, refusals } from "./store.ts";

/** How long and how often the workers of flows try. */
export interface ControllerSpokeOptions {
  /** Longest time of one attempt at the database, in milliseconds. Default 5,000. */
  readonly storeTimeoutMs?: number;
  /** Longest time of one command to a switch, in milliseconds. Default 3,000. */
  readonly switchTimeoutMs?: number;
  /** Attempts of a call before it counts as failed. Default 3. */
  readonly attempts?: number;
  /** Attempts to reach a switch that is not connected. Default 8, about five seconds. */
  readonly awayAttempts?: number;
  /** Pause before the second attempt, in milliseconds; it doubles from then on. Default 100. */
  readonly backoffMs?: number;
}

const rules = z.object({ switchId: SwitchId, seq: z.int(), rules: z.array(Rule) });
const guarded = z.object({ flowId: FlowId, step: z.int() });
const nothing = z.object({});
/** `isFreed`: what was given back may be what other flows wait for, and this run is to see to it that somebody looks. */
const given = z.object({ isFreed: z.boolean().optional() });

/** The operations that the hubs of flows call. */
export type ControllerSpokes = ReturnType<typeof controllerSpokes>;

/** Makes the spokes. Hubs and workers must share them. */
export function controllerSpokes(options: ControllerSpokeOptions = {}) {
  const {
    storeTimeoutMs = 5_000,
    switchTimeoutMs = 3_000,
    attempts = 3,
    awayAttempts = 8,
    backoffMs = 100,
  } = options;
  const retry = { attempts, backoffMs, maxBackoffMs: 1_000 };
  // What must be done in the end: until the state ends it.
  const persistent = { attempts: "unlimited", backoffMs, maxBackoffMs: 2_000 } as const;
  const refused = [...refusals, "superseded"] as const;
  return {
    /** Decides what is to be done, and takes what it needs, or finds what an earlier run has left. */
    plan: spoke("plan-flow", {
      input: guarded.extend({ intent: Intent, avoid: Avoid }),
      // One of both.
      output: z.object({ plan: Plan.nullable(), abandoned: Abandoned.nullable() }),
      errors: refused,
      timeoutMs: storeTimeoutMs,
      retry: { ...retry, giveUpOn: refused },
    }),
    /** Gives back what an earlier run has left, when its rules are seen to. */
    closePlan: spoke("close-plan", {
      input: guarded,
      output: given,
      errors: ["superseded", "unknown"],
      timeoutMs: storeTimeoutMs,
      retry: { ...persistent, giveUpOn: ["superseded", "unknown"] },
    }),
    /** From now on the new layout stands. `settles`: nothing of the old one is on a switch, so that it is over at once. */
    commit: spoke("commit-flow", {
      input: guarded.extend({ settles: z.object({ info: z.string().nullable() }).nullable() }),
      output: given,
      errors: ["superseded", "unknown"],
      timeoutMs: storeTimeoutMs,
      retry: { ...retry, giveUpOn: ["superseded", "unknown"] },
    }),
    /** Looks whether a commit has come true, and keeps it from coming true later. */
    recall: spoke("recall-commit", {
      input: guarded,
      output: given.extend({ recalled: Recalled }),
      errors: ["superseded", "unknown"],
      timeoutMs: storeTimeoutMs,
      retry: { ...persistent, giveUpOn: ["superseded", "unknown"] },
    }),
    /** Gives back what the old layout has had. */
    settle: spoke("settle-flow", {
      input: guarded.extend({ info: z.string().nullable() }),
      output: given,
      errors: ["superseded", "unknown"],
      timeoutMs: storeTimeoutMs,
      retry: { ...persistent, giveUpOn: ["superseded", "unknown"] },
    }),
    /** Gives back what the new layout has taken. */
    undo: spoke("undo-flow", {
      input: guarded.extend({ info: z.string().nullable() }),
      output: given,
      errors: ["superseded", "unknown"],
      timeoutMs: storeTimeoutMs,
      retry: { ...persistent, giveUpOn: ["superseded", "unknown"] },
    }),
    /** Puts rules on a switch, and looks whether they are there. */
    install: spoke("install-rules", {
      input: rules,
      output: nothing,
      errors: ["away", "refused", "table-full", "fenced", "halted"],
      timeoutMs: switchTimeoutMs,
      retry: {
        ...retry,
        giveUpOn: ["refused", "table-full", "fenced", "halted"],
        // A switch that has just lost its connection may be back in a moment: these take about five seconds.
        on: { away: { attempts: awayAttempts, backoffMs: 2 * backoffMs, maxBackoffMs: 1_000 } },
      },
    }),
    /**
     * Makes switches have rules, and then others not have them, now or when a switch that is away is there again. It fails only as long as
     * nobody can note that.
     */
    ensure: spoke("ensure-rules", {
      input: z.object({ seq: z.int(), present: z.array(Rule), absent: z.array(Rule) }),
      output: z.object({ unconfirmed: z.array(z.object({ switchId: SwitchId, rules: z.int() })) }),
      timeoutMs: switchTimeoutMs + 1_000,
      retry: persistent,
    }),
    /** Looks what a flow is. */
    look: spoke("look-at-flow", {
      input: z.object({ flowId: FlowId }),
      output: z.object({ layout: Layout.nullable(), status: z.enum(["UP", "DOWN", "DEGRADED"]).nullable() }),
      timeoutMs: storeTimeoutMs,
      retry,
    }),
    /** Reads from a switch what it really has. */
    read: spoke("read-rules", {
      input: z.object({ switchId: SwitchId, rules: z.array(Rule) }),
      output: z.object({
        discrepancies: z.array(Discrepancy),
        packets: z.number(),
        bytes: z.number(),
        totalRules: z.int(),
        totalMeters: z.int(),
      }),
      errors: ["away"],
      timeoutMs: switchTimeoutMs,
      retry: { ...retry, giveUpOn: [] },
    }),
    /** Takes flows that are due to be looked at again. */
    takeDue: spoke("take-due-flows", {
      input: Pace,
      output: DueFlows,
      timeoutMs: storeTimeoutMs,
      retry: persistent,
    }),
    /** Notes what has happened in the network, and says which flows it concerns. */
    note: spoke("note-event", {
      input: z.object({ event: NetworkEvent }),
      output: z.object({ flows: z.array(FlowId) }),
      timeoutMs: storeTimeoutMs,
      retry: persistent,
    }),
  };
}
