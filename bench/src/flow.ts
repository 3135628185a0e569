import { end, hub, spoke, stay, type DeepReadonly } from "@wheelwork/core";
import { relay, worker, type Message, type Worker } from "@wheelwork/engine";
import { randomUUID } from "node:crypto";
import * as z from "zod";

// The workflow that most benchmarks measure. It has the chart, the schemas, the retries and the deadlines of
// examples/flow-crud, but no calls for resources. So a flow of ten rules is two rounds of ten calls. Its workers return
// at once.

const Rule = z.object({ flowid: z.string(), ruleid: z.int() });
const retry = { attempts: 2, backoffMs: 10 };

/** The options of the hub, in milliseconds. The defaults are those of examples/flow-crud. */
export interface FlowOptions {
  readonly timeoutMs?: number;
  readonly deadlineMs?: number;
}

function spokesOf({ timeoutMs = 100 }: FlowOptions) {
  return {
    installRule: spoke("install-rule", {
      input: Rule.extend({ error: z.enum(["IN_WORKER", "IN_FL"]).nullable() }),
      output: z.object({ installed: z.int() }),
      errors: ["table-full", "fenced"],
      timeoutMs,
      retry: { ...retry, giveUpOn: ["table-full", "fenced"] },
    }),
    validateRule: spoke("validate-rule", {
      input: Rule,
      output: z.object({ validated: z.int() }),
      errors: ["missing"],
      timeoutMs,
      retry: { ...retry, giveUpOn: ["missing"] },
    }),
    removeRule: spoke("remove-rule", {
      input: Rule,
      output: z.object({ removed: z.int() }),
      timeoutMs,
      retry,
    }),
    validateRemovedRule: spoke("validate-removed-rule", {
      input: Rule,
      output: z.object({ absent: z.int() }),
      errors: ["unremoved"],
      timeoutMs,
      retry,
    }),
    release: spoke("release-resources", {
      input: z.object({ flowid: z.string() }),
      output: z.object({ released: z.boolean() }),
      timeoutMs,
      retry,
    }),
  };
}

type Spokes = ReturnType<typeof spokesOf>;

const FlowRequest = z.strictObject({
  flowid: z.string().min(1).max(100),
  length: z.int().min(1).max(10_000),
  error: z
    .enum(["IN_HUB", "IN_WORKER", "IN_FL"])
    .nullish()
    .transform((given) => given ?? null),
});

interface FlowData extends z.output<typeof FlowRequest> {
  rules: readonly number[];
  errors: readonly string[];
}

type Data = DeepReadonly<FlowData>;

const because = (data: Data, text: string) => ({ errors: [...data.errors, text] });
const rulesOf = ({ flowid, rules }: Data) => rules.map((ruleid) => ({ flowid, ruleid }));

function flowHub({ deadlineMs }: FlowOptions, spokes: Spokes) {
  return hub(
    "flow-create",
    {
      request: FlowRequest,
      reply: z.object({ flowid: z.string(), message: z.string() }),
      errors: ["failed"],
      deadlineMs: deadlineMs ?? (({ length }) => 500 + 2 * Math.max(0, length - 100)),
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
        rules: Array.from({ length: request.length }, (_, index) => index),
        errors: [],
      }),
      cancel: "TimeoutRaised",
    },
    {
      Initialized: "Next",
      ResourceAllocated: (s) =>
        s.sequence([], { done: "Next", failed: "ErrorOnResourceAllocation", deadline: "TimeoutRaised" }),
      InstallingRules: (s) =>
        s.each(spokes.installRule, {
          inputs: (data) => rulesOf(data).map((rule) => ({ ...rule, error: null })),
          drain: true,
          ok: "RuleInstalled",
          failed: (data) => s.raise("WorkerError", because(data, "error in worker on rule install")),
          done: "Next",
          deadline: { raise: "TimeoutRaised", patch: (data) => because(data, "error in hub by timeout") },
        }),
      AllRulesInstalled: "Next",
      ValidatingRules: (s) =>
        s.each(spokes.validateRule, {
          inputs: rulesOf,
          ok: "RuleValidated",
          failed: (data) => s.raise("WorkerError", because(data, "error in worker on rule validation")),
          done: "Next",
          deadline: { raise: "TimeoutRaised", patch: (data) => because(data, "error in hub by timeout") },
        }),
      RemovingRules: (s) =>
        s.each(spokes.removeRule, {
          inputs: rulesOf,
          settled: "RuleRemoved",
          done: "Next",
          after: { TimeoutRaised: 500 },
        }),
      AllRulesRemoved: "Next",
      ValidatingRemovedRules: (s) =>
        s.each(spokes.validateRemovedRule, {
          inputs: rulesOf,
          settled: "RuleRemoveValidated",
          done: "Next",
          after: { TimeoutRaised: 500 },
        }),
      AllRulesRemoveValidated: "Next",
      DeallocateResources: (s) =>
        s.call(spokes.release, {
          input: ({ flowid }) => ({ flowid }),
          settled: "Next",
          after: { Next: 1000 },
        }),
      Finished: ({ flowid }) => ({ flowid, message: "all operation is successful" }),
      FinishedWithError: ({ errors }, s) => s.fail("failed", errors.join(";\n")),
    },
  );
}

/** The hub and its workers. */
export interface Flow {
  readonly hub: ReturnType<typeof flowHub>;
  readonly workers: readonly Worker[];
}

/** Flow-create with workers that return at once, or never (`answering: false`). */
export function flow(options: FlowOptions & { readonly answering?: boolean } = {}): Flow {
  return flowOf(options, spokesOf(options));
}

function flowOf(options: FlowOptions & { readonly answering?: boolean }, spokes: Spokes): Flow {
  const never = new Promise<never>(() => {});
  const reply = <I, O>(output: (input: I) => O) =>
    options.answering === false ? (): Promise<O> => never : (input: I): O => output(input);
  return {
    hub: flowHub(options, spokes),
    workers: [
      worker(
        spokes.installRule,
        reply(({ ruleid }) => ({ installed: ruleid })),
      ),
      worker(
        spokes.validateRule,
        reply(({ ruleid }) => ({ validated: ruleid })),
      ),
      worker(
        spokes.removeRule,
        reply(({ ruleid }) => ({ removed: ruleid })),
      ),
      worker(
        spokes.validateRemovedRule,
        reply(({ ruleid }) => ({ absent: ruleid })),
      ),
      worker(
        spokes.release,
        reply(() => ({ released: true })),
      ),
    ],
  };
}

/** The topics between the relays and the program that stands for the switches. */
export const commandTopic = "bench-commands";
export const resultTopic = "bench-results";

/**
 * Flow-create whose rules another process installs and validates, behind two topics. In the original proof of concept
 * this process is Floodlight.
 */
export function relayedFlow(options: FlowOptions = {}): Flow {
  const spokes = spokesOf(options);
  const { hub, workers } = flowOf(options, spokes);
  const over = (command: "installed" | "validated") => ({
    to: commandTopic,
    from: resultTopic,
    send: ({ flowid, ruleid }: { flowid: string; ruleid: number }, { requestId }: { requestId: string }) => ({
      key: `${requestId}-${ruleid}`,
      value: JSON.stringify({ flowid, ruleid, error: null, command }),
    }),
    receive: ({ key, value }: Message) =>
      value.startsWith(command)
        ? {
            correlation: key,
            outcome: { kind: "ok" as const, output: { [command]: Number(value.slice(command.length + 1)) } },
          }
        : undefined,
    request: ({ key }: Message) => key.slice(0, key.lastIndexOf("-")),
  });
  const relays = [
    relay(spokes.installRule, over("installed") as never),
    relay(spokes.validateRule, over("validated") as never),
  ];
  return { hub, workers: [...relays, ...workers.slice(2)] };
}

/** A request key like those of Northbound: 32 random hex digits. */
export const newKey = (): string => randomUUID().replaceAll("-", "");

/** The durable calls of a flow with so many rules: each rule is installed and validated. */
export const callsOf = (length: number): number => 2 * length;
