import { flowMod } from "@wheelwork/openflow";
import type { EndedRequest, OpenedSystem, Outside, SeededRandom, SimulatedSystem } from "@wheelwork/testing";
import { isDeepStrictEqual } from "node:util";
import type { AnyHub } from "wheelwork";
import { seeded } from "../floodlight/faults.ts";
import { isOfFlow, ruleOf } from "../floodlight/rule-messages.ts";
import { SimulatedNetwork } from "../floodlight/simulated-network.ts";
import { SwitchSpeaker } from "../floodlight/switch-speaker.ts";
import { createController } from "./controller.ts";
import { giveDefects } from "./defects.ts";
import { SqliteFlowStore } from "./flow-store-sqlite.ts";
import { datapathIdOf, switchIdOf, type FlowSpec, type Layout } from "./model.ts";
import { closingOf } from "./operations.ts";
import { CreateFlow } from "./requests.ts";
import { bySwitch, rulesOf } from "./rules.ts";
import type { Plan } from "./store.ts";
import type { WorkedStore } from "./workers.ts";

const switches = 5;
const flows = ["a", "b", "c"];
const scaleMs = 30_000;
/** So many kinds of faults there are. */
const faultKinds = 10;
/** Nothing goes wrong with the network after this time, so that what is still to be done gets done. */
const calmAtMs = 50_000;

/**
 * The life of flows for the simulator: random operations on a few flows at once, by its own hubs and workers, over a store and a network that
 * outlive the processes. Links fail and come back; switches lose their connection, are started anew, say nothing, or are full.
 */
export const flowLifeSimulation: SimulatedSystem = {
  name: "flow-life",
  scaleMs,
  // What its spokes declare is decided by the store and by the switches.
  honest: true,
  open: openSimulation,
};

/** The network and what the controller knows of it. */
class Surroundings {
  readonly network: SimulatedNetwork;
  readonly store: SqliteFlowStore;
  readonly speaker: Promise<SwitchSpeaker>;
  /** Whether there are flows before the first operation, and how they are. */
  readonly isUsed: boolean;
  readonly before: Promise<ReadonlyMap<string, Layout>>;

  constructor({ clock, random }: Outside) {
    const soon = (task: () => void): void => clock.soon(task);
    const wallMs = (): number => clock.wallMs();
    this.network = new SimulatedNetwork({
      topology: { shape: random.pick(["mesh", "ring"] as const), switches },
      hostPorts: 4,
      isFine: random.chance(0.5),
      clock,
    });
    this.store = new SqliteFlowStore(":memory:", { soon, wallMs, durability: "normal" });
    this.speaker = SwitchSpeaker.over(() => this.network.listen(), {
      path: ":memory:",
      durability: "normal",
      compareMs: 5_000,
      clock: { soon, wallMs, after: (delayMs, task) => clock.after(delayMs, task) },
    });
    for (const switchId of this.network.switchIds)
      void this.store.note({
        kind: "switch",
        switchId,
        isConnected: true,
        address: "",
        description: "",
        ports: [],
      });
    for (const { between } of this.network.links) this.tell(between, true);
    // Where flows stand already, operations move them; otherwise most are refused.
    this.isUsed = random.chance(0.6);
    const specs = this.isUsed
      ? flows.map((flowId) => CreateFlow.parse({ spec: specOf(flowId, random) }).spec)
      : [];
    this.before = this.#prepare(specs);
    this.#disturb(clock, random);
  }

  /** Creates flows as an operation would, before all operations. */
  async #prepare(specs: readonly FlowSpec[]): Promise<ReadonlyMap<string, Layout>> {
    const standing = new Map<string, Layout>();
    for (const spec of specs) {
      const { flowId } = spec;
      const at = (step: number) => ({ fence: 0, step });
      const plan = await this.store.plan(flowId, at(1), { kind: "create", spec }, { switches: [] });
      if (!("after" in plan) || plan.after === null) continue;
      const { inner, entries } = rulesOf(plan.after);
      for (const { switchId, rules } of bySwitch([...inner, ...entries]))
        await (
          await this.speaker
        ).execute({
          command: "install",
          switchId,
          seq: plan.version + 1,
          must: true,
          rules,
        });
      await this.store.commit(flowId, at(2), { info: plan.shortcoming });
      standing.set(flowId, plan.after);
    }
    return standing;
  }

  /** The controller learns that a link is there, or has failed. */
  tell(between: readonly [number, number], isUp: boolean): void {
    const link = this.network.links.find((one) => isDeepStrictEqual(one.between, between));
    if (link === undefined) return;
    const [from, to] = between.map((number) => switchIdOf(BigInt(number))) as [string, string];
    const [fromPort, toPort] = link.ports;
    // Some links are narrow: not all flows fit.
    const speedKbps = (between[0] + between[1]) % 3 === 0 ? 3_000 : 100_000;
    void this.store.note({ kind: "link", from, fromPort, to, toPort, isUp, latencyMs: 1, speedKbps });
  }

  /** The database is away until this time. */
  #storeAwayUntil = 0;

  /** No commit of a plan comes to the database until this time. */
  #commitsLostUntil = 0;
  /** Steps come to the database once more, late, until this time. */
  #echoesUntil = 0;

  /** Does a step of an operation on a flow, which the database may see once more, much later. */
  step<T>(what: () => Promise<T>, clock: Outside["clock"]): Promise<T> {
    const now = clock.monotonicMs();
    if (now < this.#echoesUntil)
      clock.after(300 + ((now * 7_919) % 9_000), () => void what().catch(() => {}));
    return this.ask(what, clock);
  }

  /** Commits a plan, if that comes to the database. */
  commit<T>(what: () => Promise<T>, clock: Outside["clock"]): Promise<T> {
    if (clock.monotonicMs() >= this.#commitsLostUntil) return this.step(what, clock);
    return this.#commitsLostUntil % 2 === 0
      ? Promise.reject(new Error("the database takes no commits"))
      : new Promise(() => {});
  }

  /** Does something with the database, unless it is away: then nothing comes back, or an error. */
  async ask<T>(what: () => Promise<T>, clock: Outside["clock"]): Promise<T> {
    await this.before;
    if (clock.monotonicMs() >= this.#storeAwayUntil) return what();
    const way = this.#storeAwayUntil % 4;
    if (way === 0) throw new Error("the database is away");
    // It is done, now or much later, and nobody is told.
    if (way === 1) await what();
    if (way === 2)
      clock.after(this.#storeAwayUntil - clock.monotonicMs() + 4_000, () => void what().catch(() => {}));
    return new Promise(() => {});
  }

  /** Plans what goes wrong with the network. */
  #disturb(clock: Outside["clock"], random: SeededRandom): void {
    const { network } = this;
    const faults = random.int(random.pick([4, 12, 40]));
    // A few kinds at a time: what happens together should differ from simulation to simulation.
    const kinds = Array.from({ length: 1 + random.int(4) }, () => random.int(faultKinds));
    for (let fault = 0; fault < faults; fault++) {
      const at = random.int(calmAtMs);
      const until = Math.min(calmAtMs, at + 10 + random.int(random.pick([200, 5_000, 20_000])));
      // Operations are few, so that what happens to their steps lasts for some of them.
      const long = Math.min(calmAtMs, until + 25_000);
      const number = 1 + random.int(switches);
      const link = random.pick(network.links).between;
      const limit = random.int(6);
      const all: readonly (readonly [() => void, () => void])[] = [
        [
          () => (network.cut(...link), this.tell(link, false)),
          () => (network.mend(...link), this.tell(link, true)),
        ],
        [() => network.disconnect(number), () => {}],
        [() => network.reboot(number), () => {}],
        [() => network.off(number), () => network.on(number)],
        [() => network.freeze(number), () => network.thaw(number)],
        [() => (this.#storeAwayUntil = until), () => {}],
        [() => (this.#commitsLostUntil = long), () => {}],
        [() => (this.#echoesUntil = long), () => {}],
        // Somebody deletes what is not his.
        [() => network.change(number, flowMod({ command: "delete" })), () => {}],
        [() => network.limit(number, limit), () => network.limit(number, Number.POSITIVE_INFINITY)],
      ];
      const [begin, end] = all[random.pick(kinds)] as (typeof all)[number];
      clock.after(at, begin);
      clock.after(until, end);
    }
  }
}

function openSimulation(outside: Outside): OpenedSystem {
  const surroundings = new Surroundings(outside);
  const { clock } = outside;
  const { store, network } = surroundings;
  // Now and then a handler throws, which parks its run. An operator retries it, or ends it in the middle.
  const defects = seeded(outside.random.int(2 ** 31));
  const defectRate = outside.random.pick([0, 0, 0.1, 0.3]);
  const controller = createController({
    againMs: 500,
    patienceMs: 20_000,
  });
  const isDefective = (): boolean =>
    outside.defective() || (clock.monotonicMs() < calmAtMs && defects() < defectRate);
  const problems: string[] = [];
  /** Who has planned has a plan: another run can take it away only by a step that comes too late, or out of its turn. */
  const planned = <T>(done: T): T => {
    const { code, message } = done as { readonly code?: string; readonly message?: string };
    if (code === "unknown") problems.push(`a step has lost its plan: ${message}`);
    return done;
  };
  /** The places of the runs that have planned for a flow. */
  const places = new Map(flows.map((flowId) => [flowId, new Set<number>()]));
  // What it starts has no client, and so nobody knows in what order operations have come.
  const looksAfter = outside.random.chance(0.3);
  const watched: WorkedStore = {
    plan: (flowId, guard, intent, avoid) => {
      places.get(flowId)?.add(guard.fence);
      return surroundings.step(() => store.plan(flowId, guard, intent, avoid), clock);
    },
    closePlan: (...given) => surroundings.step(() => store.closePlan(...given), clock),
    commit: async (...given) => planned(await surroundings.commit(() => store.commit(...given), clock)),
    recall: (...given) => surroundings.step(() => store.recall(...given), clock),
    settle: async (...given) => planned(await surroundings.step(() => store.settle(...given), clock)),
    undo: (...given) => surroundings.step(() => store.undo(...given), clock),
    flow: (flowId) => surroundings.ask(() => store.flow(flowId), clock),
    takeDue: (pace) => surroundings.ask(() => store.takeDue(pace), clock),
    note: (event) => surroundings.ask(() => store.note(event), clock),
    promiseLook: (by) => looksAfter && store.promiseLook(by),
  };
  const { create, update, delete: remove, reroute, restore, swap, sync, validate } = controller.hubs;
  const { lookAfterFlows } = controller.hubs;
  giveDefects([create, update, remove, reroute, restore, swap, sync], isDefective);
  return {
    hubs: controller.all,
    workers: () =>
      controller.workers(watched, {
        execute: async (command) => (await surroundings.speaker).execute(command),
      }),
    request: (random) => {
      const flowId = random.pick(flows);
      const queue = random.chance(0.5);
      type Drawn = () => { readonly hub: AnyHub; readonly request: unknown };
      const creates: Drawn = () => ({ hub: create, request: { spec: specOf(flowId, random), queue } });
      const moves: Drawn = () => ({ hub: update, request: { flowId, queue, changes: changesOf(random) } });
      const often = surroundings.isUsed ? moves : creates;
      return random.pick<Drawn>([
        () => ({ hub: create, request: { spec: specOf(flowId, random), queue, keep: random.chance(0.3) } }),
        often,
        often,
        () => ({ hub: update, request: { flowId, queue, changes: changesOf(random) } }),
        () => ({ hub: remove, request: { flowId, queue } }),
        () => ({ hub: reroute, request: { flowId, queue } }),
        () => ({ hub: restore, request: { flowId, reason: "something has happened" } }),
        () => ({ hub: swap, request: { flowId, queue } }),
        () => ({ hub: sync, request: { flowId, queue } }),
        () => ({ hub: validate, request: { flowId } }),
        () =>
          looksAfter
            ? { hub: lookAfterFlows, request: {} }
            : { hub: restore, request: { flowId, reason: "" } },
      ])();
    },
    check: async (requests) => {
      const speaker = await surroundings.speaker;
      // Whatever was left in the middle, the next operation can put right.
      for (const flowId of flows) await close(flowId, store, speaker);
      const standing = await Promise.all(flows.map((flowId) => store.flow(flowId)));
      const before = await surroundings.before;
      for (const [index, flowId] of flows.entries()) {
        const flow = standing[index];
        const layout = flow === undefined ? null : { spec: flow.spec, paths: flow.paths };
        const began = before.get(flowId) ?? null;
        problems.push(...followed(flowId, requests, places.get(flowId) ?? new Set(), [began, layout]));
      }
      problems.push(...(await store.audit()));
      const wanted = standing.flatMap((flow) => {
        if (flow === undefined) return [];
        const { inner, entries } = rulesOf(flow);
        return [...inner, ...entries].map((rule) =>
          rule.kind === "meter"
            ? `meter ${rule.meter} of switch ${Number(datapathIdOf(rule.switchId))}`
            : JSON.stringify(rule),
        );
      });
      problems.push(...differences(wanted, network));
      const { count } = speaker.unconfirmed(1);
      if (count > 0) problems.push(`${count} rules are not confirmed`);
      await speaker.close();
      await store.close();
      return problems;
    },
  };
}

/** Closes what the last run of a flow has left, as the next one would. */
async function close(flowId: string, store: SqliteFlowStore, speaker: SwitchSpeaker): Promise<void> {
  const guard = (step: number) => ({ fence: Number.MAX_SAFE_INTEGER, step });
  const plan = await store.plan(flowId, guard(1), { kind: "delete" }, { switches: [] });
  if ("abandoned" in plan) {
    const { seq, present, absent } = closingOf(plan);
    for (const { switchId, rules } of bySwitch(present))
      await speaker.execute({ command: "install", must: true, switchId, seq, rules });
    for (const { switchId, rules } of bySwitch(absent))
      await speaker.execute({ command: "remove", switchId, seq, rules });
    await store.closePlan(flowId, guard(2));
  } else await store.undo(flowId, guard(2), null);
}

function specOf(flowId: string, random: SeededRandom) {
  const end = () => ({
    switchId: switchIdOf(BigInt(1 + random.int(switches))),
    port: 1 + random.int(2),
    vlan: random.int(3) * 10,
  });
  return {
    flowId,
    source: end(),
    destination: end(),
    bandwidth: random.pick([0, 1_000, 2_000]),
    protectedPath: random.chance(0.3),
    pinned: false,
  };
}

function changesOf(random: SeededRandom) {
  const { source, destination, bandwidth, protectedPath } = specOf("any", random);
  return random.pick<object>([
    { bandwidth },
    { protectedPath },
    { destination },
    { source, bandwidth },
    { description: "another one" },
    {},
  ]);
}

/** What the history of an operation says: its plans in their order, and whether an operator has ended it in the middle. */
function outlineOf({ history }: EndedRequest) {
  const plans: Plan[] = [];
  const states = new Set<string>();
  let place = 0;
  for (const event of history) {
    if ("patch" in event) {
      const { plan } = (event.patch ?? {}) as { readonly plan?: Plan };
      if (plan !== undefined && plan !== null) plans.push(plan);
    }
    if (event.type === "entered") states.add(event.state);
    // It was found out after the answer, which has left that open.
    if (event.type === "entered" && event.state === "Over" && event.by === "Nothing") states.add("Stood");
    if ("fence" in event && event.fence !== undefined) place = event.fence;
    if ("lane" in event && event.lane?.fence !== undefined) place = event.lane.fence;
  }
  const last = history.findLast(({ type }) => type === "incident" || type === "resumed");
  return { plans, states, place, isGivenUp: last?.type === "incident" };
}

/**
 * Holds the operations on a flow, in the order of their places in its lane, against a flow that knows nothing of time: each begins with what
 * the one before it has left, and ends with what it said.
 */
function followed(
  flowId: string,
  requests: readonly EndedRequest[],
  places: ReadonlySet<number>,
  [began, left]: readonly [Layout | null, Layout | null],
): string[] {
  const problems: string[] = [];
  const operations = requests
    .filter(
      ({ request, hub }) =>
        !["validate-flow", "look-after-flows"].includes(hub) && flowIdIn(request) === flowId,
    )
    .map((request) => ({ ...request, ...outlineOf(request) }))
    .filter(({ place }) => place > 0)
    .toSorted((one, other) => one.place - other.place);
  // Some are kept for a short time only, and some were refused by the store: nobody knows what they have done.
  const known = new Set(operations.map(({ place }) => place));
  if (Array.from(places).some((place) => !known.has(place))) return [];
  /** What may stand; undefined: nobody knows. */
  let standing: readonly (Layout | null)[] | undefined = [began];
  for (const { key, hub, request, plans, states, isGivenUp, answer } of operations) {
    for (const { before } of plans) {
      if (standing?.some((one) => isDeepStrictEqual(before, one)) === false)
        problems.push(`${hub} ${key} of the flow ${flowId} began with something else than what stood`);
      standing = [before];
    }
    const last = plans.at(-1);
    const isDone = ["Clearing", "Done", "AnsweringDone"].some((state) => states.has(state));
    if (answer.kind === "result" && !isDone) problems.push(`${hub} ${key} has a result, and is not done`);
    if (answer.kind === "error" && isDone && !isGivenUp)
      problems.push(`${hub} ${key} is done, and its answer is ${answer.code}`);
    const kept: readonly Layout[] =
      last !== undefined && last.before === null && last.after !== null && keepIn(request)
        ? [{ spec: last.after.spec, paths: [] }]
        : [];
    // An operator has ended it in the middle: what it has left is closed by the next one.
    if (isGivenUp) standing = last === undefined || isDone ? undefined : [last.before, last.after, ...kept];
    else if (last !== undefined && (isDone || ["Stood", "ClearingStill"].some((state) => states.has(state))))
      standing = [last.after];
    else if (kept.length > 0) standing = kept;
    // Of one that met nobody who could plan, nobody knows whether there was a plan: it was undone.
    else if (last === undefined && states.has("Undoing")) standing = undefined;
  }
  if (standing?.some((one) => isDeepStrictEqual(left, one)) === false)
    problems.push(
      `the flow ${flowId} is ${JSON.stringify(left)} in the end, and after its operations it is ${JSON.stringify(standing)}`,
    );
  return problems;
}

const flowIdIn = (request: unknown): string | undefined => {
  const { flowId, spec } = request as {
    readonly flowId?: string;
    readonly spec?: { readonly flowId: string };
  };
  return flowId ?? spec?.flowId;
};

const keepIn = (request: unknown): boolean => (request as { readonly keep?: boolean }).keep === true;

/** What the switches have, against what they should have. */
function differences(wanted: readonly string[], network: SimulatedNetwork): string[] {
  const should = new Set(wanted);
  const has = new Set<string>();
  for (const switchId of network.switchIds) {
    const number = Number(datapathIdOf(switchId));
    for (const stats of network.flows(number))
      if (isOfFlow(stats.cookie)) has.add(JSON.stringify(ruleOf(datapathIdOf(switchId), stats)));
    for (const { meterId } of network.meters(number)) has.add(`meter ${meterId} of switch ${number}`);
  }
  return [
    ...[...should].filter((one) => !has.has(one)).map((one) => `${one} is missing`),
    ...[...has].filter((one) => !should.has(one)).map((one) => `${one} is one too many`),
  ];
}
