import { end, hub, stay, type DeepReadonly } from "wheelwork";
import * as z from "zod";
import { numbersOf, withNumber, type Ranges } from "./ranges.ts";
import { flowSpokes, type FlowSpokes, type SpokeOptions } from "./spokes.ts";

const errorSwitches = ["IN_HUB", "IN_WORKER", "IN_FL"] as const;

/** Where the proof of concept's request makes something go wrong: by number or by name; null: nowhere. */
const ErrorSwitch = z
  .literal([0, 1, 2, ...errorSwitches])
  .nullish()
  .transform((given) => (typeof given === "number" ? errorSwitches[given]! : (given ?? null)));

/** A request to create a flow. */
export const FlowRequest = z.strictObject({
  flowid: z.string().min(1).max(100),
  /** How many rules the flow needs. */
  length: z.int().min(1).max(10_000),
  error: ErrorSwitch,
});
export type FlowRequest = z.output<typeof FlowRequest>;

/** What a flow create answers when the flow is up. */
export const FlowReply = z.object({ flowid: z.string(), message: z.string() });

/** Codes with which a flow create fails. */
export type FlowErrorCode = "hub-timeout" | "worker-error" | "resource-error" | "cancelled";

/** What can be set of flow-create; every figure has the proof of concept's value as its default. */
export interface FlowCreateOptions extends SpokeOptions {
  /** Bounds the work, in milliseconds. Default: `defaultDeadlineMs`. */
  readonly deadlineMs?: number | ((request: FlowRequest) => number);
  /** Longest time for the removal of all rules, and again for the validation of it, in milliseconds. Default 30,000. */
  readonly cleanUpMs?: number;
  /** Longest time for the release of the resources, in milliseconds. Default 10,000. */
  readonly releaseMs?: number;
  /**
   * Rules of one flow that are worked at the same time. Default 500: a worker's time runs from the commit that hands
   * the rule out, and ten thousand handed out at once would wait for each other longer than that.
   */
  readonly concurrentRules?: number;
}

/**
 * The proof of concept's 500 ms, and 2 ms for each rule beyond a hundred: every rule is installed and validated, and an honest long
 * flow must not fail only because it is long. A flow of 10,000 rules has 20.3 s.
 */
export function defaultDeadlineMs({ length }: { readonly length: number }): number {
  return 500 + 2 * Math.max(0, length - 100);
}

/** What a run of flow-create knows. */
interface FlowData extends FlowRequest {
  path: readonly string[];
  rules: readonly number[];
  /** What first went wrong. */
  code: FlowErrorCode | null;
  errors: readonly string[];
  /** Rules that may still be on a switch: their removal could not be confirmed. */
  zombies: Ranges;
  /** The resources could not be released. */
  leaked: boolean;
}

type Data = DeepReadonly<FlowData>;

/** Several calls may fail in the same way before the round is over: it is said once. */
const because = (data: Data, code: FlowErrorCode, text: string) => ({
  code: data.code ?? code,
  errors: data.errors.includes(text) ? data.errors : [...data.errors, text],
});

const hubTimeout = (data: Data) => because(data, "hub-timeout", "error in hub by timeout");

const cancelled = (data: Data): Partial<FlowData> => ({
  code: "cancelled",
  errors: [...data.errors, "cancelled on request"],
});

/** The rules that may be on the switches: all, or none if the hub has not handed out any. */
const touched = (data: Data) => (data.error === "IN_HUB" ? [] : rulesOf(data));
const rulesOf = ({ flowid, rules }: Data) => rules.map((ruleid) => ({ flowid, ruleid }));

/**
 * Flow create, by its chart (the proof of concept's FlowCrudServiceFsm): the proof of concept's twelve states and eight events, with one edge
 * more, from ValidatingRules by WorkerError, where the proof of concept could only wait for the hub's timeout.
 * @param spokes The operations that it calls; its workers must serve these same ones.
 */
export function flowCreateHub(options: FlowCreateOptions = {}, spokes: FlowSpokes = flowSpokes(options)) {
  const { cleanUpMs = 30_000, releaseMs = 10_000, concurrentRules: limit = 500 } = options;
  return hub(
    "flow-create",
    {
      request: FlowRequest,
      reply: FlowReply,
      errors: ["hub-timeout", "worker-error", "resource-error", "cancelled"],
      deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
      chart: {
        Initialized: { Next: "ResourceAllocated" },
        ResourceAllocated: {
          Next: "InstallingRules",
          TimeoutRaised: "DeallocateResources",
          ErrorOnResourceAllocation: "FinishedWithError",
        },
        InstallingRules: {
          RuleInstalled: stay,
          Next: "AllRulesInstalled",
          TimeoutRaised: "RemovingRules",
          WorkerError: "RemovingRules",
        },
        AllRulesInstalled: { Next: "ValidatingRules" },
        ValidatingRules: {
          RuleValidated: stay,
          Next: "Finished",
          TimeoutRaised: "RemovingRules",
          WorkerError: "RemovingRules",
        },
        RemovingRules: { RuleRemoved: stay, Next: "AllRulesRemoved", TimeoutRaised: "AllRulesRemoved" },
        AllRulesRemoved: { Next: "ValidatingRemovedRules" },
        ValidatingRemovedRules: {
          RuleRemoveValidated: stay,
          Next: "AllRulesRemoveValidated",
          TimeoutRaised: "AllRulesRemoveValidated",
        },
        AllRulesRemoveValidated: { Next: "DeallocateResources" },
        DeallocateResources: { Next: "FinishedWithError" },
        Finished: end,
        FinishedWithError: end,
      },
      data: (request): FlowData => ({
        ...request,
        path: [],
        rules: [],
        code: null,
        errors: [],
        zombies: [],
        leaked: false,
      }),
      deadline: { raise: "TimeoutRaised", patch: hubTimeout },
      // A cancel compensates: it takes the way of the timeout.
      cancel: {
        raise: "TimeoutRaised",
        patch: cancelled,
      },
    },
    {
      Initialized: "Next",

      ResourceAllocated: (s) =>
        s.sequence(
          [
            s.step(spokes.computePath, {
              input: ({ flowid, length }) => ({ flowid, length }),
              ok: (_data, { path }) => ({ path }),
            }),
            s.step(spokes.computeRules, {
              input: ({ flowid, length, path }) => ({ flowid, length, path: [...path] }),
              ok: (_data, { rules }) => ({ rules }),
            }),
            s.step(spokes.allocate, {
              input: ({ flowid, length, path }) => ({ flowid, length, path: [...path] }),
            }),
          ],
          {
            done: "Next",
            failed: (data, failure) => {
              if (failure.kind === "error" && failure.code === "exhausted") {
                // The pool has said that it gave nothing: there is nothing to release.
                return s.raise(
                  "ErrorOnResourceAllocation",
                  because(data, "resource-error", `error on resource allocation: ${failure.message}`),
                );
              }
              const what = failure.kind === "error" ? `: ${failure.message}` : " by timeout";
              return s.raise(
                "TimeoutRaised",
                because(data, "resource-error", `error on resource allocation${what}`),
              );
            },
          },
        ),

      InstallingRules: (s) =>
        s.each(spokes.installRule, {
          inputs: (data) => {
            const { error } = data;
            // The proof of concept's first error switch: the hub does nothing, and waits for its own deadline.
            return error === "IN_HUB" ? null : rulesOf(data).map((rule) => ({ ...rule, error }));
          },
          limit,
          // No removal goes out while an install may still land.
          drain: true,
          ok: "RuleInstalled",
          failed: (data) =>
            s.raise("WorkerError", because(data, "worker-error", "error in worker on rule install")),
          done: "Next",
        }),

      AllRulesInstalled: "Next",

      ValidatingRules: (s) =>
        s.each(spokes.validateRule, {
          inputs: rulesOf,
          limit,
          ok: "RuleValidated",
          failed: (data) =>
            s.raise("WorkerError", because(data, "worker-error", "error in worker on rule validation")),
          done: "Next",
        }),

      RemovingRules: (s) =>
        s.each(spokes.removeRule, {
          inputs: touched,
          limit,
          // A removal that fails is not the end of it: the validation that follows says which rules are left.
          settled: "RuleRemoved",
          done: "Next",
          after: { TimeoutRaised: cleanUpMs },
        }),

      AllRulesRemoved: "Next",

      ValidatingRemovedRules: (s) =>
        s.each(spokes.validateRemovedRule, {
          inputs: touched,
          limit,
          ok: "RuleRemoveValidated",
          failed: (data, _failure, { input }) =>
            s.raise("RuleRemoveValidated", { zombies: withNumber(data.zombies, input.ruleid) }),
          done: "Next",
          after: {
            TimeoutRaised: {
              ms: cleanUpMs,
              patch: ({ zombies }, open) => ({
                zombies: open.reduce<Ranges>(
                  (found, { input }) => withNumber(found, ruleidOf(input)),
                  zombies,
                ),
              }),
            },
          },
        }),

      AllRulesRemoveValidated: "Next",

      DeallocateResources: (s) =>
        s.call(spokes.release, {
          input: ({ flowid }) => ({ flowid }),
          ok: "Next",
          failed: () => s.raise("Next", { leaked: true }),
          after: { Next: { ms: releaseMs, patch: () => ({ leaked: true }) } },
        }),

      Finished: ({ flowid }) => ({ flowid, message: "all operation is successful" }),

      FinishedWithError: ({ code, errors, zombies, leaked }, s) =>
        s.fail(code ?? "hub-timeout", errors.join(";\n"), {
          zombies: numbersOf(zombies),
          resourcesReleased: !leaked,
        }),
    },
  );
}

const ruleidOf = (input: unknown): number => (input as { readonly ruleid: number }).ruleid;
