import { answered, end, hub, stay, type DeepReadonly, type Hub } from "wheelwork";
import type * as z from "zod";
import type { FlowSpec, Layout, Rule } from "./model.ts";
import {
  CreateFlow,
  DeleteFlow,
  flowLane,
  operationErrors,
  OperationReply,
  RerouteFlow,
  RestoreFlow,
  SwapFlow,
  SyncFlow,
  UpdateFlow,
  type OperationError,
  type OperationView,
} from "./requests.ts";
import { bySwitch, stepsBetween, type Steps } from "./rules.ts";
import type { ControllerSpokes } from "./spokes.ts";
import {
  refusals,
  steps,
  stepsPerRound,
  type Abandoned,
  type Avoid,
  type Intent,
  type Plan,
} from "./store.ts";

/** How long operations may take. */
export interface OperationOptions {
  /** Bounds the work until the new layout stands, in milliseconds. Default 30,000. */
  readonly deadlineMs?: number;
  /**
   * How long an operation waits for its clean-up, in milliseconds, before it answers without: default 10,000. The clean-up goes on after the
   * answer, and the flow takes no other operation until it is done.
   */
  readonly cleanUpMs?: number;
  /** How long an operation may wait for its turn, in milliseconds. Default 80,000. */
  readonly queueMs?: number;
  /**
   * How long packets on an old path have until its rules are removed, in milliseconds. Default 50. A switch that has confirmed its new rules may
   * still forward some packets by the old ones.
   */
  readonly drainMs?: number;
  /** How many paths an operation tries. Default 3. */
  readonly tries?: number;
}

/** The name of the hub that looks after flows. It reroutes them by operations, and they start it: so it is named here. */
export const lookAfter = "look-after-flows";

/** How long a clean-up goes on after the answer. */
const monthMs = 30 * 86_400_000;

/** An operation: which flow, and what is to become of it. */
interface Wish {
  readonly flowId: string;
  readonly kind: OperationView["kind"];
  readonly intent: Intent;
  readonly correlationId: string;
}

/** What a run of an operation knows. */
interface OperationData extends Wish {
  /** How often it has asked for a plan before. */
  round: number;
  /** Which try this is, from 0. */
  try: number;
  plan: DeepReadonly<Plan> | null;
  /** What an earlier run has left of the flow, to be closed before anything else. */
  abandoned: DeepReadonly<Abandoned> | null;
  avoid: DeepReadonly<Avoid>;
  /** What went wrong first. */
  code: OperationError | null;
  reason: string;
  unconfirmed: readonly { readonly switchId: string; readonly rules: number }[];
  /** It has given something back for which other flows may wait, and has promised that somebody looks. */
  isFreed: boolean;
}

type Data = DeepReadonly<OperationData>;

/** What runs knew before those of others were closed: then the round was the try, and `keep` no part of the intent. */
type VersionOne = Omit<VersionTwo, "round" | "abandoned"> & { readonly keep: boolean };

function toVersion2({ keep, intent, ...data }: VersionOne): VersionTwo {
  const kept: Intent = intent.kind === "create" ? { ...intent, keep } : intent;
  return { ...data, intent: kept, round: data.try, abandoned: null };
}

/** What runs knew before they looked after those who wait. */
type VersionTwo = Omit<OperationData, "isFreed">;

const toVersion3 = (data: VersionTwo): OperationData => ({ ...data, isFreed: false });

const stepOf = (data: Data, step: keyof typeof steps): number => data.round * stepsPerRound + steps[step];

/** The phases of a plan, in their order: see `seq` of the speaker. */
const seqOf = (
  { plan }: { readonly plan: { readonly version: number } | null },
  phase: "install" | "restore" | "clear",
): number => (plan?.version ?? 0) + { install: 1, restore: 2, clear: 3 }[phase];

/** The steps of plans. Several states ask for them, for each of their calls. */
const known = new WeakMap<object, Steps>();

function stepsOf({ plan, kind }: Pick<Data, "plan"> & { readonly kind?: Wish["kind"] }): Steps {
  if (plan === null) return stepsBetween(null, null);
  let steps = known.get(plan);
  if (steps === undefined) {
    // Nothing changes them: they only are not typed so.
    const { before, after } = plan as Plan;
    known.set(plan, (steps = stepsBetween(before, after, kind === "sync")));
  }
  return steps;
}

const because = (data: Data, code: OperationError, reason: string) =>
  data.code === null ? { code, reason } : {};

const textOf = (failure: {
  readonly kind: string;
  readonly message?: string;
  readonly code?: string;
}): string => (failure.kind === "timeout" ? "it has not answered in its time" : (failure.message ?? ""));

/** A run that has its turn is the latest one of its flow, unless the store of requests is not the one that it was. */
const later = ({ code }: { readonly kind: string; readonly code?: string }): string =>
  code === "superseded"
    ? " The store of requests is older than the store of flows: restore both from the same backup."
    : "";

/** The switches that no other path of a flow can avoid: those of its ends. */
function endsOf({ plan }: Data): readonly string[] {
  const spec = (plan?.after ?? plan?.before)?.spec as FlowSpec | undefined;
  return spec === undefined ? [] : [spec.source.switchId, spec.destination.switchId];
}

/**
 * An operation on a flow, by its chart. All of them are the same walk from the layout that stands to the one that shall stand, make before
 * break: what is behind the entries of the new paths is installed and read back, then the entries take the place of the old ones, then the
 * new layout is committed, and at last what only the old one had is removed. Before the commit, all of it can be undone; after it, nothing
 * has to be: what is left to do is noted where it is done when its switch is back. If nobody knows whether the commit has come true, the store
 * is asked, and from then on it does not come true any more.
 *
 * If a switch between the ends fails, another path is tried.
 * @param toWish What the request asks for.
 */
function operationHub<Schema extends z.ZodType>(
  name: string,
  request: Schema,
  toWish: (request: DeepReadonly<z.output<Schema>>) => Wish,
  whenBusy: "latest" | "asked",
  spokes: ControllerSpokes,
  options: OperationOptions,
): Hub<z.input<Schema>, OperationReply, OperationError> {
  const { deadlineMs = 30_000, cleanUpMs = 10_000, queueMs = 80_000, drainMs = 50, tries = 3 } = options;
  const wish = toWish as (request: unknown) => Wish;

  /** A switch has not done its part. */
  const notInstalled = (
    data: Data,
    failure: { readonly kind: string; readonly message?: string; readonly code?: string },
    switchId: string,
  ) => {
    const reason = `switch ${switchId}: ${textOf(failure)}`;
    const isOfSwitch = failure.code !== "halted" && !endsOf(data).includes(switchId);
    const canAvoid = isOfSwitch && data.try + 1 < tries && data.kind !== "sync";
    return canAvoid
      ? ({
          event: "Another",
          patch: { reason, avoid: { switches: [...data.avoid.switches, switchId] } },
        } as const)
      : ({ event: "Failed", patch: because(data, "not-installed", reason) } as const);
  };

  /** The switches get what a part of a plan has, and all of them must have it. */
  const installing = (part: "inner" | "entries") =>
    ({
      inputs: (data: Data) => commandsOf(stepsOf(data)[part], seqOf(data, "install")),
      ok: "Installed",
      done: "Next",
    }) as const;

  /** Others may wait for what was given back: somebody is to look. */
  const wake = <B>(s: { start(hub: string, options: { input: () => object; next: "Next" }): B }): B =>
    s.start(lookAfter, { input: () => ({}), next: "Next" });

  const replyOf = ({ flowId, plan, unconfirmed }: Data): OperationReply => ({
    flowId,
    layout: (plan?.after ?? null) as Layout | null,
    isMoved: plan?.isMoved ?? false,
    shortcoming: plan?.shortcoming ?? null,
    unconfirmed: unconfirmed.map((one) => ({ ...one })),
  });

  const made = hub(
    name,
    {
      // The schemas of all operations differ, and only `wish` looks into their requests.
      request: request as unknown as typeof DeleteFlow,
      reply: OperationReply,
      errors: operationErrors,
      version: 3,
      migrate: {
        1: ({ state, data }) => ({ state, data: { ...toVersion3(toVersion2(data as VersionOne)) } }),
        2: ({ state, data }) => ({ state, data: { ...toVersion3(data as VersionTwo) } }),
      },
      deadlineMs,
      deadline: {
        raise: "TimeoutRaised",
        patch: (data: Data) => because(data, "timeout", "the time was over"),
      },
      cancel: {
        raise: "TimeoutRaised",
        patch: (data: Data) => because(data, "cancelled", "it was cancelled"),
      },
      exclusive: {
        lane: flowLane,
        by: (given) => wish(given).flowId,
        whenBusy: whenBusy === "latest" ? "latest" : ({ queue }) => (queue ? "queue" : "refuse"),
        queueMs,
      },
      labels: (given) => {
        const { flowId, correlationId } = wish(given);
        return { flow: flowId, ...(correlationId === "" ? {} : { correlation: correlationId }) };
      },
      chart: {
        Planning: {
          Planned: "InstallingInner",
          Abandoned: "Closing",
          Refused: "Refused",
          RefusedFreed: "WakingRefused",
          Failed: "Undoing",
          TimeoutRaised: "Undoing",
        },
        Closing: { Next: "Planning", Failed: "Undoing", TimeoutRaised: "Undoing" },
        InstallingInner: {
          Installed: stay,
          Next: "InstallingEntries",
          Another: "Retracting",
          Failed: "Undoing",
          TimeoutRaised: "Undoing",
        },
        InstallingEntries: {
          Installed: stay,
          Next: "Committing",
          Another: "Retracting",
          Failed: "Undoing",
          TimeoutRaised: "Undoing",
        },
        Retracting: { Next: "Planning", Failed: "Undoing", TimeoutRaised: "Undoing" },
        Committing: {
          Next: "Clearing",
          Moved: "Draining",
          Nothing: "Done",
          Freed: "WakingDone",
          Failed: "Recalling",
          TimeoutRaised: "Recalling",
        },
        Recalling: {
          Stands: "Clearing",
          Nothing: "Done",
          Freed: "WakingDone",
          Open: "Undoing",
          TakesLong: "AnsweringDoubt",
        },
        AnsweringDoubt: { Next: "RecallingStill" },
        RecallingStill: {
          Stands: "ClearingStill",
          Nothing: "Over",
          Freed: "Waking",
          Open: "UndoingStill",
          GaveUp: "Over",
        },
        Draining: { Next: "Clearing", TimeoutRaised: "Clearing" },
        Clearing: {
          Next: "Done",
          Freed: "WakingDone",
          TakesLong: "AnsweringDone",
          TimeoutRaised: "AnsweringDone",
        },
        AnsweringDone: { Next: "ClearingStill" },
        ClearingStill: { Next: "Over", Freed: "Waking", GaveUp: "Over" },
        Undoing: { Next: "Failed", Freed: "WakingFailed", TakesLong: "AnsweringFailed" },
        AnsweringFailed: { Next: "UndoingStill" },
        UndoingStill: { Next: "Over", Freed: "Waking", GaveUp: "Over" },
        WakingDone: { Next: "Done" },
        WakingRefused: { Next: "Refused" },
        WakingFailed: { Next: "Failed" },
        Waking: { Next: "Over" },
        Done: end,
        Refused: end,
        Failed: end,
        Over: end,
      },
      data: (given): OperationData => ({
        ...wish(given),
        round: 0,
        try: 0,
        plan: null,
        abandoned: null,
        avoid: { switches: [] },
        code: null,
        reason: "",
        unconfirmed: [],
        isFreed: false,
      }),
      view: ({ flowId, kind, plan }): OperationView => ({
        flowId,
        kind,
        isPlanned: plan !== null,
        after: (plan?.after ?? null) as Layout | null,
      }),
    },
    {
      Planning: (s) =>
        s.call(spokes.plan, {
          input: (data) => ({
            flowId: data.flowId,
            step: stepOf(data, "plan"),
            intent: data.intent as Intent,
            avoid: { switches: [...data.avoid.switches] },
          }),
          ok: (_data, { plan, abandoned }) =>
            abandoned === null ? s.raise("Planned", { plan }) : s.raise("Abandoned", { abandoned }),
          failed: (data, failure) => {
            const code = failure.kind === "error" ? refusals.find((one) => one === failure.code) : undefined;
            // Nobody knows whether there is a plan.
            if (code === undefined)
              return s.raise(
                "Failed",
                because(data, "timeout", `the plan: ${textOf(failure)}${later(failure)}`),
              );
            // Of a second try, what the first one met is the better reason.
            return data.try === 0
              ? s.raise(data.isFreed ? "RefusedFreed" : "Refused", { code, reason: textOf(failure) })
              : s.raise("Failed", because(data, "not-installed", `${data.reason}; then: ${textOf(failure)}`));
          },
        }),

      // Whoever has left that plan works on the flow no more: this run has the place.
      Closing: (s) =>
        s.sequence([s.step(spokes.ensure, closing), s.step(spokes.closePlan, closePlan)], {
          done: "Next",
          failed: (data, failure) =>
            s.raise(
              "Failed",
              because(data, "timeout", `what an earlier operation has left: ${textOf(failure)}`),
            ),
        }),

      InstallingInner: (s) =>
        s.each(spokes.install, {
          ...installing("inner"),
          failed: (data, failure, { input }) => {
            const { event, patch } = notInstalled(data, failure, input.switchId);
            return s.raise(event, patch);
          },
        }),
      InstallingEntries: (s) =>
        s.each(spokes.install, {
          ...installing("entries"),
          failed: (data, failure, { input }) => {
            const { event, patch } = notInstalled(data, failure, input.switchId);
            return s.raise(event, patch);
          },
        }),

      // The next plan undoes this one in the store.
      Retracting: (s) =>
        s.call(spokes.ensure, {
          input: goBack.input,
          ok: (data) => s.raise("Next", { try: data.try + 1, round: data.round + 1 }),
          failed: (data, failure) => s.raise("Failed", because(data, "not-installed", textOf(failure))),
        }),

      Committing: (s) =>
        s.call(spokes.commit, {
          input: (data) => ({
            flowId: data.flowId,
            step: stepOf(data, "commit"),
            settles: stepsOf(data).removed.length === 0 ? { info: data.plan?.shortcoming ?? null } : null,
          }),
          ok: (data, { isFreed = false }) => {
            if (stepsOf(data).removed.length === 0) return s.raise(isFreed ? "Freed" : "Nothing");
            return s.raise(data.plan?.after === null ? "Next" : "Moved");
          },
          failed: (data, failure) =>
            s.raise("Failed", because(data, "timeout", `the commit: ${textOf(failure)}`)),
        }),

      Draining: (s) => s.wait({ after: { Next: drainMs } }),

      // Nobody knows whether the commit has come true, and it must not come true later.
      Recalling: (s) =>
        s.call(spokes.recall, {
          ...recall,
          ok: (_data, output) => s.raise(afterRecall(output)),
          failed: "TakesLong",
          after: { TakesLong: cleanUpMs },
        }),
      AnsweringDoubt: (s) =>
        s.answer(
          ({ code, reason }, done) =>
            done.fail(
              code ?? "timeout",
              `${reason}. Nobody knows yet whether the flow has changed, since the database does not answer. Look at the flow.`,
            ),
          { next: "Next" },
        ),
      RecallingStill: (s) =>
        s.call(spokes.recall, {
          ...recall,
          ok: (_data, output) => s.raise(afterRecall(output)),
          failed: "GaveUp",
          after: { GaveUp: monthMs },
        }),

      Clearing: (s) =>
        s.sequence([s.step(spokes.ensure, clear), s.step(spokes.settle, settle)], {
          done: (data) => s.raise(afterCleanUp(data)),
          failed: "TakesLong",
          after: { TakesLong: cleanUpMs },
        }),
      AnsweringDone: (s) => s.answer(replyOf, { next: "Next" }),
      ClearingStill: (s) =>
        s.sequence([s.step(spokes.ensure, clear), s.step(spokes.settle, settle)], {
          done: (data) => s.raise(afterCleanUp(data)),
          failed: "GaveUp",
          after: { GaveUp: monthMs },
        }),

      Undoing: (s) =>
        s.sequence([s.step(spokes.ensure, goBack), s.step(spokes.undo, undo)], {
          done: (data) => s.raise(afterCleanUp(data)),
          failed: "TakesLong",
          after: { TakesLong: cleanUpMs },
        }),
      AnsweringFailed: (s) =>
        s.answer(({ code, reason }, done) => done.fail(code ?? "timeout", reason), { next: "Next" }),
      UndoingStill: (s) =>
        s.sequence([s.step(spokes.ensure, goBack), s.step(spokes.undo, undo)], {
          done: (data) => s.raise(afterCleanUp(data)),
          failed: "GaveUp",
          after: { GaveUp: monthMs },
        }),

      // The answer comes with the end: until then, the flow takes no other operation.
      WakingDone: wake,
      WakingRefused: wake,
      WakingFailed: wake,
      Waking: wake,

      Done: replyOf,
      Refused: ({ code, reason }, s) => s.fail(code ?? "invalid", reason),
      Failed: ({ code, reason, unconfirmed }, s) => s.fail(code ?? "timeout", reason, { unconfirmed }),
      Over: answered,
    },
  );
  return made as unknown as Hub<z.input<Schema>, OperationReply, OperationError>;
}

interface Given {
  readonly isFreed?: boolean | undefined;
}

/** Once it has promised it, it is to keep it. */
function freedOf({ isFreed }: Data, output: Given): Pick<OperationData, "isFreed"> {
  return { isFreed: isFreed || output.isFreed === true };
}

/** Everything that only the old layout has. */
const clear = {
  input: (data: Data) => ({ seq: seqOf(data, "clear"), present: [], absent: [...stepsOf(data).removed] }),
  ok: (_data: Data, { unconfirmed }: DeepReadonly<Pick<OperationData, "unconfirmed">>) => ({ unconfirmed }),
};

const recall = {
  input: (data: Data) => ({ flowId: data.flowId, step: stepOf(data, "recall") }),
};

/** What follows from what has come of a commit. */
const recalledAs = { open: "Open", committed: "Stands", settled: "Nothing" } as const;
const afterRecall = ({ recalled, isFreed }: Given & { readonly recalled: keyof typeof recalledAs }) =>
  recalled === "settled" && isFreed === true ? "Freed" : recalledAs[recalled];

const afterCleanUp = ({ isFreed }: Data) => (isFreed ? "Freed" : "Next");

/** The way back. */
const goBack = {
  input: (data: Data) => ({
    seq: seqOf(data, "restore"),
    present: [...stepsOf(data).restored],
    absent: [...stepsOf(data).withdrawn],
  }),
  ok: clear.ok,
};

/** What the switches are told of a plan that was left: what its own run would have told them at last. See `Clearing` and `Undoing`. */
export function closingOf(abandoned: DeepReadonly<Abandoned> | null) {
  const left = { plan: abandoned?.abandoned ?? null };
  const { removed, restored, withdrawn } = stepsOf(left);
  return abandoned?.isCommitted === true
    ? { seq: seqOf(left, "clear"), present: [], absent: [...removed] }
    : { seq: seqOf(left, "restore"), present: [...restored], absent: [...withdrawn] };
}

const closing = {
  input: ({ abandoned }: Data) => closingOf(abandoned),
  ok: () => ({}),
};

const closePlan = {
  input: (data: Data) => ({ flowId: data.flowId, step: stepOf(data, "close") }),
  ok: (data: Data, output: Given) => ({ abandoned: null, round: data.round + 1, ...freedOf(data, output) }),
};

const settle = {
  input: (data: Data) => ({
    flowId: data.flowId,
    step: stepOf(data, "settle"),
    info: data.plan?.shortcoming ?? null,
  }),
  ok: freedOf,
};

const keeps = ({ intent }: Data): boolean => intent.kind === "create" && intent.keep === true;

const undo = {
  input: (data: Data) => ({
    flowId: data.flowId,
    step: stepOf(data, "undo"),
    // What was not changed is what it was before.
    info: data.kind === "reroute" || keeps(data) ? data.reason : null,
  }),
  ok: freedOf,
};

/** The commands of a round: one for each switch. */
const commandsOf = (rules: readonly Rule[], seq: number) =>
  bySwitch(rules).map(({ switchId, rules: own }) => ({ switchId, seq, rules: own }));

/** The hubs of flows. */
export type OperationHubs = ReturnType<typeof operationHubs>;

/** Makes the hubs of flows. They share the lane `flow`, so that each flow has one operation at a time. */
export function operationHubs(spokes: ControllerSpokes, options: OperationOptions = {}) {
  return {
    create: operationHub(
      "create-flow",
      CreateFlow,
      ({ spec, keep, correlationId }) => ({
        flowId: spec.flowId,
        kind: "create",
        intent: { kind: "create", spec, keep },
        correlationId,
      }),
      "asked",
      spokes,
      options,
    ),
    update: operationHub(
      "update-flow",
      UpdateFlow,
      ({ flowId, changes, correlationId }) => ({
        flowId,
        kind: "update",
        intent: { kind: "update", changes },
        correlationId,
      }),
      "asked",
      spokes,
      options,
    ),
    delete: operationHub(
      "delete-flow",
      DeleteFlow,
      ({ flowId, correlationId }) => ({
        flowId,
        kind: "delete",
        intent: { kind: "delete" },
        correlationId,
      }),
      "asked",
      spokes,
      options,
    ),
    reroute: operationHub(
      "reroute-flow",
      RerouteFlow,
      ({ flowId, correlationId }) => ({
        flowId,
        kind: "reroute",
        intent: { kind: "reroute", isAutomatic: false },
        correlationId,
      }),
      "asked",
      spokes,
      options,
    ),
    /** A reroute that the network asks for: the newest that waits stands for those before it. */
    restore: operationHub(
      "restore-flow",
      RestoreFlow,
      ({ flowId, reason }) => ({
        flowId,
        kind: "reroute",
        intent: { kind: "reroute", isAutomatic: true },
        correlationId: reason.slice(0, 200),
      }),
      "latest",
      spokes,
      options,
    ),
    swap: operationHub(
      "swap-flow",
      SwapFlow,
      ({ flowId, correlationId }) => ({
        flowId,
        kind: "swap",
        intent: { kind: "swap" },
        correlationId,
      }),
      "asked",
      spokes,
      options,
    ),
    sync: operationHub(
      "sync-flow",
      SyncFlow,
      ({ flowId, correlationId }) => ({
        flowId,
        kind: "sync",
        intent: { kind: "sync" },
        correlationId,
      }),
      "asked",
      spokes,
      options,
    ),
  };
}
