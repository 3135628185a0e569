import { spoke } from "wheelwork";
import * as z from "zod";

/** How long and how often the workers try. Every figure can be changed; the defaults are the proof of concept's. */
export interface SpokeOptions {
  /** Longest time of one attempt, in milliseconds. Default 100. */
  readonly workerTimeoutMs?: number;
  /** Attempts of a call. Default 2. */
  readonly attempts?: number;
  /** Pause before the second attempt, in milliseconds; it doubles from then on. Default 10. */
  readonly backoffMs?: number;
  /**
   * Attempts of a call of the clean-up. Default 10, about four seconds in all: an install that is given up too early costs
   * one error answer, a removal that is given up too early leaves a zombie rule on a switch.
   */
  readonly cleanUpAttempts?: number;
}

const Flow = z.object({ flowid: z.string(), length: z.int() });
const Rule = z.object({ flowid: z.string(), ruleid: z.int() });
const Resources = z.object({ cookie: z.int(), meter: z.int() });

/** The operations that flow-create calls: the contracts between the hub and its workers. */
export type FlowSpokes = ReturnType<typeof flowSpokes>;

/** Makes the spokes. The hub and its workers must share them. */
export function flowSpokes(options: SpokeOptions = {}) {
  const { workerTimeoutMs: timeoutMs = 100, attempts = 2, backoffMs = 10, cleanUpAttempts = 10 } = options;
  const retry = { attempts, backoffMs };
  const persistent = { attempts: cleanUpAttempts, backoffMs, maxBackoffMs: 1000 };
  return {
    /** PathComputer: the switches that the flow crosses. */
    computePath: spoke("compute-path", {
      input: Flow,
      output: z.object({ path: z.array(z.string()) }),
      timeoutMs,
      retry,
    }),
    /** RuleComputer: the rules that the flow needs, one on each hop. */
    computeRules: spoke("compute-rules", {
      input: Flow.extend({ path: z.array(z.string()) }),
      output: z.object({ rules: z.array(z.int()) }),
      timeoutMs,
      retry,
    }),
    /** ResourcePool: a cookie and a meter, stored with the flow in one transaction. */
    allocate: spoke("allocate-resources", {
      input: Flow.extend({ path: z.array(z.string()) }),
      output: Resources,
      errors: ["exhausted", "released"],
      timeoutMs,
      retry: { ...retry, giveUpOn: ["exhausted", "released"] },
    }),
    /** ResourcePool: gives back all that the request has allocated, and all that it may still allocate. */
    release: spoke("release-resources", {
      input: z.object({ flowid: z.string() }),
      output: z.object({ released: z.boolean() }),
      timeoutMs,
      retry: persistent,
    }),
    /** Puts a rule on its switch. */
    installRule: spoke("install-rule", {
      input: Rule.extend({ error: z.enum(["IN_WORKER", "IN_FL"]).nullable() }),
      output: z.object({ installed: z.int() }),
      errors: ["table-full", "refused", "fenced", "unsupported"],
      timeoutMs,
      retry: { ...retry, giveUpOn: ["table-full", "refused", "fenced", "unsupported"] },
    }),
    /** Looks whether a rule is on its switch. */
    validateRule: spoke("validate-rule", {
      input: Rule,
      output: z.object({ validated: z.int() }),
      errors: ["missing", "unsupported"],
      timeoutMs,
      retry: { ...retry, giveUpOn: ["missing", "unsupported"] },
    }),
    /** Takes a rule from its switch, and keeps it away: an install that is late is not done. */
    removeRule: spoke("remove-rule", {
      input: Rule,
      output: z.object({ removed: z.int() }),
      errors: ["unsupported"],
      timeoutMs,
      retry: { ...persistent, giveUpOn: ["unsupported"] },
    }),
    /** Looks whether a rule is gone for good. */
    validateRemovedRule: spoke("validate-removed-rule", {
      input: Rule,
      output: z.object({ absent: z.int() }),
      errors: ["unremoved", "unsupported"],
      timeoutMs,
      retry: { ...persistent, giveUpOn: ["unsupported"] },
    }),
  };
}
