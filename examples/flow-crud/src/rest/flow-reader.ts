import type { RequestStatus } from "wheelwork";
import { FlowId, type FlowSpec } from "../controller/model.ts";
import type { FlowFilter, StoredFlow } from "../controller/store.ts";
import { invalid, unknownFlow } from "./errors.ts";
import type { ControllerParts } from "./operations.ts";
import { shownFlow, statusNamed, wantedFlow, type ShownFlow } from "./views.ts";

const underWay = ["pending", "running", "incident"] as const satisfies readonly RequestStatus[];
const pageSize = 1000;

/** What the engine and the store say of flows together. */
export class FlowReader {
  readonly #parts: ControllerParts;
  /** The hubs whose runs work on a flow. */
  readonly hubs: readonly string[];

  constructor(parts: ControllerParts) {
    this.#parts = parts;
    const { validate: _, ...workers } = parts.hubs;
    this.hubs = Object.values(workers).map(({ name }) => name);
  }

  /** The flows that operations work on. */
  async busy(): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    for (let cursor: string | undefined; ;) {
      const page = await this.#parts.engine.requests({
        hub: [...this.hubs],
        status: underWay,
        limit: pageSize,
        ...(cursor === undefined ? {} : { cursor }),
      });
      for (const { labels } of page.items) if (labels?.["flow"] !== undefined) found.add(labels["flow"]);
      cursor = page.cursor;
      if (cursor === undefined) return found;
    }
  }

  /** A flow, also one that is being created. @throws FlowProblem 404. */
  async flow(flowId: string): Promise<ShownFlow> {
    if (!FlowId.safeParse(flowId).success) throw unknownFlow(flowId);
    const { engine, store } = this.#parts;
    const { items } = await engine.requests({
      labels: { flow: flowId },
      hub: [...this.hubs],
      status: underWay,
    });
    const stored = await store.flow(flowId);
    if (stored !== undefined) return shownFlow(stored, items.length > 0);
    const creating = items.find(({ hub }) => hub === this.#parts.hubs.create.name);
    if (creating !== undefined) {
      const { request } = await engine.request(creating.id);
      return wantedFlow((request as { readonly spec: FlowSpec }).spec, creating.createdAt);
    }
    throw unknownFlow(flowId);
  }

  /** The stored flow. @throws FlowProblem 404. */
  async stored(flowId: string): Promise<StoredFlow> {
    const flow = FlowId.safeParse(flowId).success ? await this.#parts.store.flow(flowId) : undefined;
    if (flow === undefined) throw unknownFlow(flowId);
    return flow;
  }

  /** Flows in the order of their ids. `limit`: that many at most. */
  async flows({
    status,
    after,
    limit,
  }: {
    readonly status?: string;
    readonly after?: string;
    readonly limit: number;
  }): Promise<readonly ShownFlow[]> {
    const wanted = status === undefined ? undefined : statusNamed(status);
    if (status !== undefined && wanted === undefined)
      throw invalid([{ path: "status", message: "must be one of UP, DOWN, DEGRADED, IN_PROGRESS" }]);
    const busy = await this.busy();
    if (wanted === "IN_PROGRESS") return this.#busyFlows(busy, after, limit);
    const found: ShownFlow[] = [];
    for (let from = after; found.length < limit;) {
      const filter: FlowFilter = {
        limit: Math.min(pageSize, limit),
        ...(from === undefined ? {} : { after: from }),
        ...(wanted === undefined ? {} : { status: wanted }),
      };
      const page = await this.#parts.store.flows(filter);
      const shown = page.map((flow) => shownFlow(flow, busy.has(flow.spec.flowId)));
      found.push(...shown.filter((flow) => wanted === undefined || flow.status === wanted));
      from = page.at(-1)?.spec.flowId;
      if (page.length < filter.limit || from === undefined) break;
    }
    return found.slice(0, limit);
  }

  async #busyFlows(
    busy: ReadonlySet<string>,
    after: string | undefined,
    limit: number,
  ): Promise<ShownFlow[]> {
    const ids = [...busy].filter((id) => after === undefined || id > after).toSorted();
    const found: ShownFlow[] = [];
    for (const id of ids) {
      if (found.length === limit) break;
      const flow = await this.#parts.store.flow(id);
      if (flow !== undefined) found.push(shownFlow(flow, true));
    }
    return found;
  }
}
