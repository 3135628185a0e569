import { worker, type Worker } from "wheelwork";
import { bySwitch } from "./rules.ts";
import type { Rule } from "./model.ts";
import type { Speaker, SpeakerAnswer } from "./speaker.ts";
import type { ControllerSpokes } from "./spokes.ts";
import type { FlowStore, Guard, Refusal } from "./store.ts";

/** What the workers ask of a store. */
export type WorkedStore = Pick<
  FlowStore,
  "plan" | "closePlan" | "commit" | "recall" | "settle" | "undo" | "flow" | "note" | "takeDue" | "promiseLook"
>;
/** What they ask of what drives the switches. */
export type WorkedSpeaker = Pick<Speaker, "execute">;

/** What the place of a run in the lane of its flow, and the number of its step, say together. */
function guardOf(context: { readonly fence: number | undefined }, step: number): Guard {
  if (context.fence === undefined)
    throw new Error("an operation on a flow needs a place in the lane of the flow");
  return { fence: context.fence, step };
}

const isRefusal = (value: object | "done"): value is Refusal =>
  typeof value === "object" && "code" in value && "message" in value;

/** See `given` of the spokes. */
const lookOf = (
  store: WorkedStore,
  flowId: string,
  { fence }: { readonly fence: number | undefined },
): { readonly isFreed: boolean } => ({ isFreed: store.promiseLook(`${flowId} ${fence}`) });

interface Confirmed {
  readonly switchId: string;
  readonly rules: number;
}

/** The workers that hubs of flows call: those of the store, and those that tell switches what to do. */
export function controllerWorkers(
  spokes: ControllerSpokes,
  store: WorkedStore,
  speaker: WorkedSpeaker,
): Worker[] {
  /** Tells each switch its part. It fails unless all of them have noted it. */
  async function ensure(
    command: "install" | "remove",
    seq: number,
    rules: readonly Rule[],
  ): Promise<Confirmed[]> {
    const answers = await Promise.all(
      bySwitch(rules).map(async ({ switchId, rules: own }) => {
        const answer = await speaker.execute(
          command === "install"
            ? { command, switchId, seq, must: true, rules: own }
            : { command, switchId, seq, rules: own },
        );
        return { switchId, rules: unconfirmedIn(answer, own.length) };
      }),
    );
    return answers.filter((one) => one.rules > 0);
  }

  return [
    worker(spokes.plan, async ({ flowId, step, intent, avoid }, context) => {
      const plan = await store.plan(flowId, guardOf(context, step), intent, avoid);
      if (isRefusal(plan)) return context.fail(plan.code, plan.message);
      return "abandoned" in plan ? { plan: null, abandoned: plan } : { plan, abandoned: null };
    }),
    worker(spokes.commit, async ({ flowId, step, settles }, context) => {
      const done = await store.commit(flowId, guardOf(context, step), settles);
      return isRefusal(done) ? context.fail(knownOf(done), done.message) : lookOf(store, flowId, context);
    }),
    worker(spokes.recall, async ({ flowId, step }, context) => {
      const recalled = await store.recall(flowId, guardOf(context, step));
      return typeof recalled === "string"
        ? { recalled, ...lookOf(store, flowId, context) }
        : context.fail(knownOf(recalled), recalled.message);
    }),
    worker(spokes.settle, async ({ flowId, step, info }, context) => {
      const done = await store.settle(flowId, guardOf(context, step), info);
      return isRefusal(done) ? context.fail(knownOf(done), done.message) : lookOf(store, flowId, context);
    }),
    worker(spokes.closePlan, async ({ flowId, step }, context) => {
      const done = await store.closePlan(flowId, guardOf(context, step));
      return isRefusal(done) ? context.fail(knownOf(done), done.message) : lookOf(store, flowId, context);
    }),
    worker(spokes.undo, async ({ flowId, step, info }, context) => {
      const done = await store.undo(flowId, guardOf(context, step), info);
      return isRefusal(done) ? context.fail(knownOf(done), done.message) : lookOf(store, flowId, context);
    }),
    worker(spokes.look, async ({ flowId }) => {
      const flow = await store.flow(flowId);
      return flow === undefined
        ? { layout: null, status: null }
        : { layout: { spec: flow.spec, paths: flow.paths }, status: flow.status };
    }),
    worker(spokes.takeDue, async (pace) => {
      const { flows, freed, nextInMs } = await store.takeDue(pace);
      return { flows: [...flows], freed: [...freed], nextInMs };
    }),
    worker(spokes.note, async ({ event }) => ({ flows: [...(await store.note(event))] })),

    worker(spokes.install, async ({ switchId, seq, rules }, context) => {
      const answer = await speaker.execute({ command: "install", switchId, seq, must: false, rules });
      switch (answer?.answer) {
        case "done":
          return {};
        case "away":
          return context.fail("away", "it is not connected");
        case "refused":
          return context.fail(answer.isFull ? "table-full" : "refused", answer.reason);
        case "fenced":
          return context.fail("fenced", "its rules were changed meanwhile");
        case "halted":
          return context.fail("halted", answer.reason);
        default:
          throw new Error("nobody knows what has come of it");
      }
    }),
    worker(spokes.ensure, async ({ seq, present, absent }) => {
      const installed = await ensure("install", seq, present);
      const removed = await ensure("remove", seq, absent);
      const all = Map.groupBy([...installed, ...removed], ({ switchId }) => switchId);
      return {
        unconfirmed: [...all].map(([switchId, parts]) => ({
          switchId,
          rules: parts.reduce((sum, { rules }) => sum + rules, 0),
        })),
      };
    }),
    worker(spokes.read, async ({ switchId, rules }, context) => {
      const answer = await speaker.execute({ command: "read", switchId, rules });
      if (answer?.answer === "away") return context.fail("away", "it is not connected");
      if (answer?.answer !== "read") throw new Error("it could not be read");
      const { discrepancies, packets, bytes, totalRules, totalMeters } = answer;
      return { discrepancies, packets, bytes, totalRules, totalMeters };
    }),
  ];
}

/** Of a step that follows a plan: it has been overtaken, or its flow is not there. */
const knownOf = ({ code }: Refusal): "superseded" | "unknown" => (code === "superseded" ? code : "unknown");

/** How many rules are not as they should be yet. What was refused or said later is for others to look at: nothing is left to do. */
function unconfirmedIn(answer: SpeakerAnswer | undefined, rules: number): number {
  switch (answer?.answer) {
    case "done":
      return answer.unconfirmed;
    case "fenced":
      return 0;
    case "refused":
      return rules;
    default:
      throw new Error("nobody knows what has come of it");
  }
}
