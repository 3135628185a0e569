import { end, hub, spoke, stay, type AnyHub, type RunEvent, type Schema } from "@wheelwork/core";

/** A schema that takes everything. */
const any = <T>(): Schema<T> => ({
  "~standard": { version: 1 as const, vendor: "test", validate: (value: unknown) => ({ value: value as T }) },
});

const rule = (name: string) =>
  spoke(name, { input: any<number>(), output: any<null>(), timeoutMs: 100, retry: { attempts: 2 } });

const computePath = rule("compute-path");
const computeRules = rule("compute-rules");
const allocate = rule("allocate-resources");
const installRule = rule("install-rule");
const validateRule = rule("validate-rule");
const removeRule = rule("remove-rule");
const validateRemovedRule = rule("validate-removed-rule");
const release = rule("release-resources");

/** The largest chart of the examples: 12 states, of which 5 are clean-up. */
export const flowCreate = hub(
  "flow-create",
  {
    request: any<{ length: number }>(),
    reply: any<string>(),
    errors: ["failed"],
    deadlineMs: 500,
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
        Cancelled: "RemovingRules",
      },
      AllRulesInstalled: { Next: "ValidatingRules" },
      ValidatingRules: {
        RuleValidated: stay,
        Next: "Finished",
        TimeoutRaised: "RemovingRules",
        WorkerError: "RemovingRules",
        Cancelled: "RemovingRules",
      },
      RemovingRules: { RuleRemoved: stay, Next: "AllRulesRemoved", TimeoutRaised: "AllRulesRemoved" },
      AllRulesRemoved: { Next: "ValidatingRemovedRules" },
      ValidatingRemovedRules: {
        RuleRemoveValidated: stay,
        Next: "AllRulesRemoveValidated",
        TimeoutRaised: "AllRulesRemoveValidated",
      },
      AllRulesRemoveValidated: { Next: "DeallocateResources" },
      DeallocateResources: { Next: "FinishedWithError", TimeoutRaised: "FinishedWithError" },
      Finished: end,
      FinishedWithError: end,
    },
    data: (request) => ({ ...request, rules: [] as number[] }),
    cancel: "Cancelled",
  },
  {
    Initialized: "Next",
    ResourceAllocated: (s) =>
      s.sequence(
        [computePath, computeRules, allocate].map((callee) =>
          s.step(callee, { input: (data) => data.length }),
        ),
        { failed: "ErrorOnResourceAllocation", done: "Next", deadline: "TimeoutRaised" },
      ),
    InstallingRules: (s) =>
      s.each(installRule, {
        inputs: (data) => data.rules,
        ok: "RuleInstalled",
        failed: "WorkerError",
        done: "Next",
        deadline: "TimeoutRaised",
        limit: 10,
        drain: true,
      }),
    AllRulesInstalled: "Next",
    ValidatingRules: (s) =>
      s.each(validateRule, {
        inputs: (data) => data.rules,
        ok: "RuleValidated",
        failed: "WorkerError",
        done: "Next",
        deadline: "TimeoutRaised",
      }),
    RemovingRules: (s) =>
      s.each(removeRule, {
        inputs: (data) => data.rules,
        settled: "RuleRemoved",
        done: "Next",
        after: { TimeoutRaised: 500 },
      }),
    AllRulesRemoved: "Next",
    ValidatingRemovedRules: (s) =>
      s.each(validateRemovedRule, {
        inputs: (data) => data.rules,
        settled: "RuleRemoveValidated",
        done: "Next",
        after: { TimeoutRaised: 500 },
      }),
    AllRulesRemoveValidated: "Next",
    DeallocateResources: (s) =>
      s.call(release, {
        input: (data) => data.length,
        settled: "Next",
        after: { TimeoutRaised: 1000 },
      }),
    Finished: () => "all operation is successful",
    FinishedWithError: (_, s) => s.fail("failed", "error in hub by timeout"),
  },
);

/** States that are left and come back, where an event leads to its own state and several lead along the same way. */
export const approval = hub(
  "approval-of-an-order-by-several-departments",
  {
    request: any<null>(),
    reply: any<string>(),
    deadlineMs: 259_440_000,
    deadline: "TimeoutRaised",
    chart: {
      Asking: { Asked: "Waiting", TimeoutRaised: "Undoing" },
      Waiting: {
        Reminded: stay,
        Approved: "Done",
        Again: "Asking",
        Repeated: "Waiting",
        TimeoutRaised: "Undoing",
      },
      Undoing: { Undone: "Done", TimeoutRaised: "Done" },
      Done: end,
    },
    data: () => ({}),
    signals: { approve: any<null>(), remind: any<null>(), repeat: any<null>(), "ask-again": any<null>() },
  },
  {
    Asking: (s) =>
      s.call(allocate, { input: () => 1, settled: "Asked", after: { TimeoutRaised: 5_400_000 } }),
    Waiting: (s) =>
      s.wait({
        on: { approve: "Approved", remind: () => "Reminded", repeat: "Repeated", "ask-again": "Again" },
      }),
    Undoing: (s) =>
      s.call(release, { input: () => 1, settled: "Undone", after: { TimeoutRaised: 3_600_000 } }),
    Done: () => "approved",
  },
);

/** States that pass to each other, by an event of their own name. */
export function pair(names: readonly string[]): AnyHub {
  const rows = names.map((name, index) => [name, { [name]: names[index + 1] ?? "the end" }]);
  const spec = {
    request: any<null>(),
    reply: any<null>(),
    deadlineMs: 5,
    chart: Object.fromEntries([...rows, ["the end", end]]) as Record<string, never>,
    data: () => ({}),
  };
  const behaviours = [...names.map((name) => [name, name]), ["the end", () => null]];
  return hub("names", spec, Object.fromEntries(behaviours) as never);
}

/** A history that entered the states one after the other: each state with the event that led there. */
export function entered(...steps: readonly (readonly [state: string, by?: string])[]): RunEvent[] {
  return steps.map(([state, by], at) => ({
    type: "entered",
    at,
    state,
    ...(by === undefined ? {} : { by }),
  }));
}

/** `count` calls that settled well, each with an event that stays. */
export function settled(count: number, by: string): RunEvent[] {
  return Array.from({ length: count }, (_, call) => ({ type: "settled", at: 0, call, outcome: "ok", by }));
}
