import {
  changedFlow,
  type FlowSpec,
  type Layout,
  type Path,
  type Segment,
} from "../../src/controller/model.ts";
import type {
  Avoid,
  FlowFilter,
  FlowStore,
  Guard,
  Intent,
  NetworkEvent,
  Plan,
  Refusal,
  StoredFlow,
  StoredLink,
  StoredSwitch,
} from "../../src/controller/store.ts";

/** What a test says of a link: both directions at once. */
export interface TestLink {
  readonly ends: Segment;
  readonly bandwidth?: number;
  readonly cost?: number;
}

interface Kept {
  layout: Layout;
  createdAt: number;
  updatedAt: number;
  info: string | null;
}

const keyOf = ({ from, fromPort, to, toPort }: Segment): string =>
  [`${from} ${fromPort}`, `${to} ${toPort}`].toSorted().join(" ");

const refusal = (code: Refusal["code"], message: string): Refusal => ({ code, message });

/** A store in memory, for tests of what is before it. It is asked by one process, and its paths are the shortest ones. */
export class MemoryFlowStore implements FlowStore {
  readonly #switches: StoredSwitch[];
  #links: StoredLink[];
  readonly #flows = new Map<string, Kept>();
  readonly #plans = new Map<string, Plan>();
  #version = 1000;
  #path = 0;

  constructor(switches: readonly StoredSwitch[], links: readonly TestLink[]) {
    this.#switches = [...switches];
    this.#links = links.flatMap(({ ends, bandwidth = 1_000_000, cost = 1 }) => {
      const { from, fromPort, to, toPort } = ends;
      const back = { from: to, fromPort: toPort, to: from, toPort: fromPort };
      return [ends, back].map((end) => ({ ...end, isUp: true, cost, latencyMs: 2, bandwidth, used: 0 }));
    });
  }

  plan(flowId: string, _guard: Guard, intent: Intent, avoid: Avoid): Promise<Plan | Refusal> {
    this.#plans.delete(flowId);
    const before = this.#flows.get(flowId)?.layout ?? null;
    const after = this.#after(before, flowId, intent, avoid);
    if (after !== null && "code" in after) return Promise.resolve(after);
    const mainOf = (layout: Layout | null) => layout?.paths.find(({ role }) => role === "main")?.id;
    const lacks = after !== null && after.spec.protectedPath && after.paths.length < 2;
    const plan: Plan = {
      version: (this.#version += 1000),
      before,
      after,
      isMoved: before !== null && after !== null && mainOf(before) !== mainOf(after),
      shortcoming: lacks ? "there is no path for its protected path" : null,
    };
    this.#plans.set(flowId, plan);
    return Promise.resolve(plan);
  }

  #after(before: Layout | null, flowId: string, intent: Intent, avoid: Avoid): Layout | null | Refusal {
    if (intent.kind === "create") {
      if (before !== null) return refusal("exists", `flow ${flowId} exists`);
      return this.#found(intent.spec, avoid, true);
    }
    if (before === null) return refusal("unknown", `there is no flow ${flowId}`);
    const { spec, paths } = before;
    switch (intent.kind) {
      case "update": {
        const wanted = changedFlow(spec, intent.changes);
        const isSame = ["source", "destination", "bandwidth", "protectedPath"].every(
          (name) => JSON.stringify(wanted[name as "source"]) === JSON.stringify(spec[name as "source"]),
        );
        return isSame ? { spec: wanted, paths } : this.#found(wanted, avoid, false);
      }
      case "reroute": {
        if (spec.pinned) return refusal("pinned", `flow ${flowId} is pinned`);
        const found = this.#found(spec, avoid, false);
        if ("code" in found) return found;
        const isSame = (one: readonly Path[]) =>
          JSON.stringify(one.map(({ role, segments }) => [role, segments.map(keyOf)]).toSorted());
        return isSame(found.paths) === isSame(paths) ? before : found;
      }
      case "swap":
        return paths.length < 2
          ? refusal("invalid", `flow ${flowId} has no protected path`)
          : {
              spec,
              paths: paths.map((path) => ({ ...path, role: path.role === "main" ? "protected" : "main" })),
            };
      case "sync":
        return before;
      case "delete":
        return null;
    }
  }

  #found(spec: FlowSpec, avoid: Avoid, mustProtect: boolean): Layout | Refusal {
    const { source, destination, flowId } = spec;
    for (const { switchId, port, vlan } of [source, destination]) {
      const at = this.#switches.find((one) => one.switchId === switchId);
      if (at === undefined) return refusal("invalid", `switch ${switchId} is not known`);
      if (!at.isConnected) return refusal("inactive", `switch ${switchId} is not connected`);
      if (this.#links.some(({ from, fromPort }) => from === switchId && fromPort === port))
        return refusal("invalid", `port ${port} of switch ${switchId} is that of a link`);
      for (const [other, { layout }] of this.#flows)
        for (const end of [layout.spec.source, layout.spec.destination])
          if (other !== flowId && end.switchId === switchId && end.port === port && end.vlan === vlan)
            return refusal(
              "conflict",
              `port ${port}, VLAN ${vlan} of switch ${switchId}: flow ${other} has it`,
            );
    }
    const main = this.#search(spec, avoid, new Set());
    if (main === undefined) return refusal("no-path", "there is no path with that bandwidth");
    const paths = [this.#pathOf(spec, main, "main")];
    const spare = spec.protectedPath ? this.#search(spec, avoid, new Set(main.map(keyOf))) : undefined;
    if (spec.protectedPath && spare === undefined && mustProtect)
      return refusal("no-path", "there is no second path");
    if (spare !== undefined) paths.push(this.#pathOf(spec, spare, "protected"));
    return { spec, paths };
  }

  #pathOf({ bandwidth }: FlowSpec, segments: readonly Segment[], role: Path["role"]): Path {
    const id = ++this.#path;
    return {
      id,
      role,
      segments: segments.map(({ from, fromPort, to, toPort }) => ({ from, fromPort, to, toPort })),
      vlan: segments.length === 0 ? null : 100 + (id % 3000),
      meters: bandwidth === 0 ? { forward: null, reverse: null } : { forward: 31 + id, reverse: 31 + id },
      bandwidth,
      latencyMs: 2 * segments.length,
    };
  }

  /** The links of the cheapest path. */
  #search({ source, destination, bandwidth }: FlowSpec, avoid: Avoid, without: ReadonlySet<string>) {
    const best = new Map<string, { readonly cost: number; readonly links: readonly StoredLink[] }>();
    best.set(source.switchId, { cost: 0, links: [] });
    for (const [at, { cost, links }] of best) {
      if (at === destination.switchId) continue;
      for (const link of this.#links) {
        const isFit = link.isUp && link.bandwidth >= bandwidth && !without.has(keyOf(link));
        if (link.from !== at || !isFit || avoid.switches.includes(link.to)) continue;
        const there = best.get(link.to);
        if (there !== undefined && there.cost <= cost + link.cost) continue;
        best.delete(link.to);
        best.set(link.to, { cost: cost + link.cost, links: [...links, link] });
      }
    }
    return best.get(destination.switchId)?.links;
  }

  commit(
    flowId: string,
    _guard: Guard,
    settles: { readonly info: string | null } | null,
  ): Promise<"done" | Refusal> {
    const plan = this.#plans.get(flowId);
    if (plan === undefined) return Promise.resolve(refusal("unknown", "there is no plan"));
    const now = Date.now();
    if (plan.after === null) this.#flows.delete(flowId);
    else {
      const createdAt = this.#flows.get(flowId)?.createdAt ?? now;
      this.#flows.set(flowId, { layout: plan.after, createdAt, updatedAt: now, info: null });
    }
    return settles === null ? Promise.resolve("done") : this.settle(flowId, _guard, settles.info);
  }

  recall() {
    return Promise.resolve("open" as const);
  }

  settle(flowId: string, _guard: Guard, info: string | null): Promise<"done" | Refusal> {
    const flow = this.#flows.get(flowId);
    if (flow !== undefined) flow.info = info;
    this.#plans.delete(flowId);
    return Promise.resolve("done");
  }

  undo(
    flowId: string,
    _guard: Guard,
    { keep, info }: { readonly keep: boolean; readonly info: string | null },
  ): Promise<"done" | Refusal> {
    const plan = this.#plans.get(flowId);
    this.#plans.delete(flowId);
    if (keep && plan?.before === null && plan.after !== null) {
      const now = Date.now();
      const layout = { spec: plan.after.spec, paths: [] };
      this.#flows.set(flowId, { layout, createdAt: now, updatedAt: now, info });
    }
    return Promise.resolve("done");
  }

  #stored({ layout, ...kept }: Kept): StoredFlow {
    const up = new Set(this.#links.filter(({ isUp }) => isUp).map(keyOf));
    const live = Object.fromEntries(
      layout.paths.map(({ id, segments }) => [id, segments.every((segment) => up.has(keyOf(segment)))]),
    );
    const isLive = (role: Path["role"]): boolean =>
      layout.paths.some((path) => path.role === role && live[path.id] === true);
    const spare = !layout.spec.protectedPath || isLive("protected");
    const status = !isLive("main") ? "DOWN" : spare ? "UP" : "DEGRADED";
    return { ...layout, ...kept, status, live };
  }

  flow(flowId: string): Promise<StoredFlow | undefined> {
    const kept = this.#flows.get(flowId);
    return Promise.resolve(kept === undefined ? undefined : this.#stored(kept));
  }

  flows({ status, after = "", limit }: FlowFilter): Promise<readonly StoredFlow[]> {
    const all = [...this.#flows]
      .filter(([id]) => id > after)
      .toSorted(([one], [other]) => (one < other ? -1 : 1));
    const found = all.map(([, kept]) => this.#stored(kept));
    return Promise.resolve(
      found.filter((flow) => status === undefined || flow.status === status).slice(0, limit),
    );
  }

  async counts(): Promise<Readonly<Record<StoredFlow["status"], number>>> {
    const counts = { UP: 0, DOWN: 0, DEGRADED: 0 };
    for (const { status } of await this.flows({ limit: Infinity })) counts[status]++;
    return counts;
  }

  note(event: NetworkEvent): Promise<readonly string[]> {
    if (event.kind === "link")
      this.#links = this.#links.map((link) =>
        keyOf(link) === keyOf(event) ? { ...link, isUp: event.isUp } : link,
      );
    return Promise.resolve([]);
  }

  switches(): Promise<readonly StoredSwitch[]> {
    return Promise.resolve(this.#switches);
  }

  links(): Promise<readonly StoredLink[]> {
    return Promise.resolve(this.#links);
  }

  changeLink(
    link: Segment,
    change: { readonly cost?: number; readonly bandwidth?: number },
  ): Promise<boolean | Refusal> {
    const isIt = (one: Segment): boolean => keyOf(one) === keyOf(link);
    if (!this.#links.some(isIt)) return Promise.resolve(false);
    if ((change.bandwidth ?? 1) < 1) return Promise.resolve(refusal("conflict", "flows have more of it"));
    this.#links = this.#links.map((one) => (isIt(one) ? { ...one, ...change } : one));
    return Promise.resolve(true);
  }

  audit(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
