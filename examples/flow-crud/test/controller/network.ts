import { FlowSpec, switchIdOf } from "../../src/controller/model.ts";
import { isRefusal } from "../../src/controller/planning.ts";
import type {
  Abandoned,
  FlowStore,
  Intent,
  NetworkEvent,
  Plan,
  Refusal,
} from "../../src/controller/store.ts";

/** The name of a switch with a number. */
export const id = (number: number): string => switchIdOf(BigInt(number));

/** A link between two switches: the port of each is 100 and the number of the other one, and 10 more for each further link. */
export interface Cable {
  readonly ends: readonly [number, number];
  readonly index?: number;
  readonly kbps?: number;
  readonly latencyMs?: number;
}

/** One direction of a cable. */
export const segmentOf = ({ ends: [from, to], index = 0 }: Cable) => ({
  from: id(from),
  fromPort: 100 + to + 10 * index,
  to: id(to),
  toPort: 100 + from + 10 * index,
});

export const linkEvent = (cable: Cable, isUp = true): NetworkEvent => ({
  kind: "link",
  ...segmentOf(cable),
  isUp,
  latencyMs: cable.latencyMs ?? 1,
  speedKbps: cable.kbps ?? 1_000,
});

export const switchEvent = (number: number, isConnected = true): NetworkEvent => ({
  kind: "switch",
  switchId: id(number),
  isConnected,
  address: `127.0.0.1:${number}`,
  description: "a switch",
});

/** Tells a store of connected switches and links. */
export async function build(store: FlowStore, switches: number, cables: readonly Cable[]): Promise<void> {
  const numbers = Array.from({ length: switches }, (_, index) => index + 1);
  await Promise.all(numbers.map((number) => store.note(switchEvent(number))));
  await Promise.all(cables.map((cable) => store.note(linkEvent(cable))));
}

/** The two ways of a square: 1-2-4 and 1-3-4. The first one is the lower port. */
export const square: readonly Cable[] = [
  { ends: [1, 2] },
  { ends: [2, 4] },
  { ends: [1, 3] },
  { ends: [3, 4] },
];

/** A flow from switch 1 to switch 4, with a VLAN of its own. */
export const specOf = (flowId: string, vlan: number, more: Partial<FlowSpec> = {}): FlowSpec =>
  FlowSpec.parse({
    flowId,
    source: { switchId: id(1), port: 1, vlan },
    destination: { switchId: id(4), port: 1, vlan },
    bandwidth: 100,
    ...more,
  });

/** Operates on the flows of a store, each operation a run of its own. */
export class Operator {
  readonly store: FlowStore;
  #fence: number;
  #step = 0;

  /** @param fence The place of the last run before its own. */
  constructor(store: FlowStore, fence = 0) {
    this.store = store;
    this.#fence = fence;
  }

  /** The guard of the next step of the run. */
  guard(): { readonly fence: number; readonly step: number } {
    return { fence: this.#fence, step: ++this.#step };
  }

  /** Begins a run: plans. */
  plan(flowId: string, intent: Intent, avoid: readonly string[] = []): Promise<Plan | Abandoned | Refusal> {
    this.#fence++;
    this.#step = 0;
    return this.again(flowId, intent, avoid);
  }

  /** Plans again, in the same run. */
  again(flowId: string, intent: Intent, avoid: readonly string[] = []): Promise<Plan | Abandoned | Refusal> {
    return this.store.plan(flowId, this.guard(), intent, { switches: [...avoid] });
  }

  /** A run that succeeds: plans, commits and settles. */
  async run(flowId: string, intent: Intent, avoid: readonly string[] = []): Promise<Plan> {
    const plan = await this.plan(flowId, intent, avoid);
    if (isRefusal(plan)) throw new Error(`${plan.code}: ${plan.message}`);
    if ("abandoned" in plan) throw new Error(`an earlier run has left its plan ${plan.abandoned.version}`);
    await this.finish(flowId, plan.shortcoming);
    return plan;
  }

  async finish(flowId: string, info: string | null = null): Promise<void> {
    for (const done of [
      await this.store.commit(flowId, this.guard(), null),
      await this.store.settle(flowId, this.guard(), info),
    ]) {
      if (done !== "done") throw new Error(`${done.code}: ${done.message}`);
    }
  }

  create(spec: FlowSpec): Promise<Plan> {
    return this.run(spec.flowId, { kind: "create", spec });
  }

  /** The code of the refusal of a plan, and its message. */
  async refused(flowId: string, intent: Intent, avoid: readonly string[] = []): Promise<Refusal> {
    const plan = await this.plan(flowId, intent, avoid);
    if (!isRefusal(plan)) throw new Error(`it was not refused: ${JSON.stringify(plan)}`);
    return plan;
  }

  /** The numbers of the switches of the paths of a flow, the main one first. */
  async ways(flowId: string): Promise<number[][]> {
    const flow = await this.store.flow(flowId);
    return (flow?.paths ?? []).map(({ segments }) =>
      [...segments.slice(0, 1).map(({ from }) => from), ...segments.map(({ to }) => to)].map((name) =>
        parseInt(name.slice(-2), 16),
      ),
    );
  }

  /** Kilobits per second that are used of a link, by the numbers of its switches. */
  async used(from: number, to: number): Promise<number | undefined> {
    const links = await this.store.links();
    return links.find((link) => link.from === id(from) && link.to === id(to))?.used;
  }

  async status(flowId: string): Promise<string | undefined> {
    return (await this.store.flow(flowId))?.status;
  }
}
