import { expect } from "vitest";
import type { FlowSpec } from "../../src/controller/model.ts";
import { isRefusal } from "../../src/controller/planning.ts";
import type { FlowStore, Intent, NetworkEvent, Plan } from "../../src/controller/store.ts";
import { seeded } from "../../src/floodlight/faults.ts";
import { build, id, linkEvent, segmentOf, specOf, switchEvent, type Cable } from "./network.ts";

/** One call of a store: its name in reports, and what it does. */
interface Step {
  readonly name: string;
  readonly run: (store: FlowStore) => Promise<unknown>;
}

const switches = 6;
const flowIds = ["a", "b", "c", "d", "e", "f", "g", "h"];
const cables: readonly Cable[] = [
  [1, 2],
  [2, 3],
  [3, 4],
  [4, 1],
  [1, 3],
  [2, 5],
  [5, 4],
  [5, 6],
].map((ends, index) => ({
  ends: ends as [number, number],
  kbps: 500 + 100 * index,
  latencyMs: 1 + (index % 3),
}));

/** Calls in any order: operations with new, late and repeated guards, and events of the network. */
function randomSteps(seed: number, count: number): Step[] {
  const random = seeded(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const pick = <T>(all: readonly T[]): T => all[below(all.length)] as T;
  const guards = new Map<string, { fence: number; step: number }>();
  const kinds = ["plan", "closePlan", "commit", "recall", "settle", "undo"] as const;
  const believed = new Set<string>();
  const lastKinds = new Map<string, (typeof kinds)[number]>();
  const past: Step[] = [];

  const guardOf = (flowId: string, isNewRun: boolean): { readonly fence: number; readonly step: number } => {
    const last = guards.get(flowId) ?? { fence: 1, step: 0 };
    const next = isNewRun ? { fence: last.fence + 1, step: 1 } : { ...last, step: last.step + 1 };
    guards.set(flowId, next);
    return next;
  };
  const endpoint = () => ({ switchId: id(1 + below(switches)), port: 1 + below(3), vlan: below(6) });
  const wishes = (): Partial<FlowSpec> => ({
    source: endpoint(),
    destination: endpoint(),
    bandwidth: pick([0, 64, 100, 300, 600]),
    protectedPath: random() < 0.3,
    ignoreBandwidth: random() < 0.1,
    strictBandwidth: random() < 0.1,
    pinned: random() < 0.05,
    ...(random() < 0.15 ? { diverseWith: pick(flowIds) } : {}),
    ...(random() < 0.2 ? { maxLatencyMs: 2 + below(4), maxLatencyTier2Ms: 6 } : {}),
    strategy: pick(["cost", "latency", "max_latency", "cost_and_available_bandwidth"]),
  });
  const someOf = (all: Partial<FlowSpec>): Partial<FlowSpec> =>
    Object.fromEntries(Object.entries(all).filter(() => random() < 0.3));
  const intent = (flowId: string): Intent => {
    const others = ["update", "update", "reroute", "restore", "restore", "swap", "sync", "delete"] as const;
    const kind = random() < (believed.has(flowId) ? 0.1 : 0.8) ? "create" : pick(others);
    // What most often comes of it.
    if (kind === "create") believed.add(flowId);
    if (kind === "delete") believed.delete(flowId);
    if (kind === "create") return { kind, spec: specOf(flowId, 0, wishes()), keep: random() < 0.7 };
    if (kind === "update") return { kind, changes: someOf(wishes()) };
    if (kind === "reroute" || kind === "restore") return { kind: "reroute", isAutomatic: kind === "restore" };
    return { kind };
  };
  const event = (): NetworkEvent =>
    random() < 0.75
      ? linkEvent(pick(cables), random() < 0.7)
      : switchEvent(1 + below(switches), random() < 0.9);

  const operation = (): Step => {
    const flowId = pick(flowIds);
    // Most often a run goes its way: it plans, commits and settles, or undoes.
    const way = {
      // Sometimes an earlier run has left its plan, and this one closes it and plans again.
      plan: ["commit", "commit", "commit", "commit", "commit", "plan", "undo", "closePlan"],
      commit: ["settle", "settle", "settle", "settle", "undo", "recall"],
      recall: ["settle", "undo"],
    } as const;
    const last = lastKinds.get(flowId);
    const usual = last === "plan" || last === "commit" || last === "recall" ? way[last] : (["plan"] as const);
    const kind = pick(random() < 0.9 ? usual : kinds);
    const isOver = last === undefined || last === "settle" || last === "undo";
    lastKinds.set(flowId, kind);
    const guard = guardOf(flowId, kind === "plan" ? isOver || random() < 0.3 : random() < 0.03);
    const name = `${kind} ${flowId} ${guard.fence}.${guard.step}`;
    const info = pick([null, "why"]);
    const settles = random() < 0.3;
    switch (kind) {
      case "plan": {
        const wanted = intent(flowId);
        const avoid = { switches: random() < 0.2 ? [id(1 + below(switches))] : [] };
        return {
          name: `${name} ${JSON.stringify(wanted)}`,
          run: (store) => store.plan(flowId, guard, wanted, avoid),
        };
      }
      case "closePlan":
        return { name, run: (store) => store.closePlan(flowId, guard) };
      case "commit":
        return { name, run: (store) => store.commit(flowId, guard, settles ? { info } : null) };
      case "recall":
        return { name, run: (store) => store.recall(flowId, guard) };
      case "settle":
        return { name, run: (store) => store.settle(flowId, guard, info) };
      case "undo":
        return { name, run: (store) => store.undo(flowId, guard, info) };
    }
  };
  return Array.from({ length: count }, (): Step => {
    const dice = random();
    // Again, at once or much later.
    if (dice < 0.1 && past.length > 0) {
      const one = pick(random() < 0.5 ? past.slice(-3) : past);
      return { ...one, name: `again: ${one.name}` };
    }
    if (dice < 0.25) {
      const one = event();
      return { name: JSON.stringify(one), run: (store) => store.note(one) };
    }
    if (dice < 0.28) {
      const link = segmentOf(pick(cables));
      const change = { bandwidth: 200 + below(1_000), cost: 600 + below(200) };
      return { name: `change ${JSON.stringify(change)}`, run: (store) => store.changeLink(link, change) };
    }
    const step = operation();
    past.push(step);
    return step;
  });
}

/** All that a store shows. */
const shown = async (store: FlowStore) => ({
  flows: (await store.flows({ limit: 100 })).map((flow) => ({ ...flow, createdAt: 0, updatedAt: 0 })),
  counts: await store.counts(),
  links: await store.links(),
  switches: await store.switches(),
});

/** What must hold at any time. */
async function check(store: FlowStore, what: string): Promise<Awaited<ReturnType<typeof shown>>> {
  const all = await shown(store);
  expect(await store.audit(), what).toEqual([]);
  for (const { used, bandwidth } of all.links) expect(used >= 0 && used <= bandwidth, what).toBe(true);
  const taken = all.flows.flatMap(({ spec, paths }) => [
    ...[spec.source, spec.destination].map((end) => `end ${end.switchId} ${end.port} ${end.vlan}`),
    ...paths.flatMap(({ id: pathId, segments, vlan, meters }) => [
      `path ${pathId}`,
      ...[...segments.slice(0, 1).map(({ from }) => from), ...segments.map(({ to }) => to)].map(
        (name) => `vlan ${name} ${vlan}`,
      ),
      ...(meters.forward === null ? [] : [`meter ${spec.source.switchId} ${meters.forward}`]),
      ...(meters.reverse === null ? [] : [`meter ${spec.destination.switchId} ${meters.reverse}`]),
    ]),
  ]);
  expect(taken.length, what).toBe(new Set(taken).size);
  for (const { spec, paths } of all.flows) {
    const [main, spare] = [
      paths.find(({ role }) => role === "main"),
      paths.find(({ role }) => role === "protected"),
    ];
    expect(paths.length, what).toBe(Number(main !== undefined) + Number(spare !== undefined));
    const links = paths.flatMap(({ segments }) => segments.map((segment) => JSON.stringify(segment)));
    // A path is whole, from end to end, and shares no link with the other one.
    expect(new Set(links).size, `${what}, flow ${spec.flowId}`).toBe(links.length);
    for (const { segments } of paths) {
      const ends = [spec.source.switchId, ...segments.map(({ to }) => to)];
      expect([...segments.map(({ from }) => from), spec.destination.switchId], what).toEqual(ends);
    }
  }
  return all;
}

/** A store that plays. */
export interface Player {
  current: FlowStore;
  /** Opens it anew. */
  readonly reopen: () => Promise<FlowStore>;
  /** It gets several calls at once, and must answer as if they came one after the other. */
  readonly atOnce?: boolean;
}

/** Looks at plans as they come: versions rise, and the ids of paths are new. */
class PlanWatch {
  readonly #versions = new Set<number>();
  #last = 0;
  #highestPath = 0;
  readonly refusals = new Set<string>();

  get plans(): number {
    return this.#versions.size;
  }

  /** @returns What is wrong with a plan; null: nothing. */
  see(answer: unknown): string | null {
    if (typeof answer !== "object" || answer === null) return null;
    if (isRefusal(answer)) this.refusals.add(answer.code);
    if (!("version" in answer)) return null;
    const plan = answer as Plan;
    // A repeated plan is an earlier one of its flow.
    if (this.#versions.has(plan.version)) return null;
    if (plan.version < this.#last + 1_000) return `version ${plan.version} comes after ${this.#last}`;
    const old = new Set((plan.before?.paths ?? []).map((path) => path.id));
    const fresh = (plan.after?.paths ?? []).filter((path) => !old.has(path.id)).map((path) => path.id);
    if (fresh.some((pathId) => pathId <= this.#highestPath))
      return `one of the paths ${fresh.join()} is not new`;
    this.#versions.add(plan.version);
    this.#last = plan.version;
    this.#highestPath = Math.max(this.#highestPath, ...fresh);
    return null;
  }
}

const chunksOf = <T>(all: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, index) =>
    all.slice(index * size, (index + 1) * size),
  );

/** Plays the same calls on each store, and compares each answer and all that they show. */
export async function playRandom(
  players: readonly Player[],
  seed: number,
  count: number,
): Promise<PlanWatch> {
  const watch = new PlanWatch();
  for (const { current } of players) await build(current, switches, cables);
  for (const [index, steps] of chunksOf(randomSteps(seed, count), 5).entries()) {
    const what = `WHEELWORK_SEED=${seed}, steps from ${index * 5}: ${steps.map(({ name }) => name).join("; ")}`;
    const answers: unknown[][] = [];
    for (const { current, atOnce = false } of players) {
      const own: unknown[] = [];
      if (atOnce) own.push(...(await Promise.all(steps.map(({ run }) => run(current)))));
      else for (const { run } of steps) own.push(await run(current));
      answers.push(own);
    }
    for (const own of answers) expect(own, what).toEqual(answers[0]);
    for (const answer of answers[0] ?? []) expect(watch.see(answer), what).toBeNull();
    if (index % 5 !== 4) continue;
    const all = [];
    for (const player of players) {
      if (index % 20 === 19) player.current = await player.reopen();
      all.push(await check(player.current, what));
    }
    for (const one of all) expect(one, what).toEqual(all[0]);
  }
  return watch;
}

/** Plays calls on several processes of one store at the same time. What they answer depends on who comes first; what must hold does not. */
export async function playTogether(
  processes: readonly FlowStore[],
  seed: number,
  count: number,
): Promise<void> {
  await build(processes[0] as FlowStore, switches, cables);
  for (const [index, steps] of chunksOf(randomSteps(seed, count), 20).entries()) {
    const what = `WHEELWORK_SEED=${seed}, steps from ${index * 20}`;
    await Promise.all(steps.map(({ run }, place) => run(processes[place % processes.length] as FlowStore)));
    const all = [];
    for (const one of processes) all.push(await check(one, what));
    for (const one of all) expect(one, what).toEqual(all[0]);
  }
}
