import { afterArrivals } from "@wheelwork/northbound";
import { WheelworkError, type RequestPage, type RequestStatus } from "wheelwork";
import { FlowId, type FlowSpec } from "../controller/model.ts";
import type { OperationView } from "../controller/requests.ts";
import type { FlowFilter, StoredFlow } from "../controller/store.ts";
import { invalid, unknownFlow } from "./errors.ts";
import { planOf } from "./history.ts";
import type { ControllerParts } from "./operations.ts";
import { shownFlow, statusNamed, wantedFlow, type ShownFlow } from "./views.ts";

type Row = RequestPage["items"][number];

const underWay = ["pending", "running", "incident"] as const satisfies readonly RequestStatus[];
/** Rows of operations that are read at once, and flows: a thousand of these would take tens of milliseconds. */
const [pageSize, flowsPerTurn] = [1000, 200];

/** Which flows to list, in the order of their ids. */
export interface FlowQuery {
  readonly status?: string;
  /** After this id. */
  readonly after?: string;
  readonly limit: number;
}

const byId = (one: ShownFlow, other: ShownFlow): number => (one.spec.flowId < other.spec.flowId ? -1 : 1);

/**
 * What the engine and the store say of flows together. A flow is there from when all that it needs is taken until no rule of it is left,
 * though the store shows it only while it stands: before and after that, the run that makes or deletes it knows it.
 */
export class FlowReader {
  readonly #parts: ControllerParts;
  /** The hubs whose runs work on a flow. */
  readonly hubs: readonly string[];

  constructor(parts: ControllerParts) {
    this.#parts = parts;
    const { validate: _, ...workers } = parts.hubs;
    this.hubs = Object.values(workers).map(({ name }) => name);
  }

  /** The operations that are under way, by their flows. */
  async #operations(): Promise<ReadonlyMap<string, readonly Row[]>> {
    const found = new Map<string, Row[]>();
    for (let cursor: string | undefined; ;) {
      const page: RequestPage = await this.#parts.engine.requests({
        hub: [...this.hubs],
        status: underWay,
        limit: pageSize,
        ...(cursor === undefined ? {} : { cursor }),
      });
      for (const row of page.items) {
        const flowId = row.labels?.["flow"];
        if (flowId === undefined) continue;
        const rows = found.get(flowId);
        if (rows === undefined) found.set(flowId, [row]);
        else rows.push(row);
      }
      cursor = page.cursor;
      if (cursor === undefined) return found;
    }
  }

  /** A flow. @throws FlowProblem 404. */
  async flow(flowId: string): Promise<ShownFlow> {
    if (!FlowId.safeParse(flowId).success) throw unknownFlow(flowId);
    const { engine, store } = this.#parts;
    const { items } = await engine.requests({
      labels: { flow: flowId },
      hub: [...this.hubs],
      status: underWay,
      limit: pageSize,
    });
    const stored = await store.flow(flowId);
    if (stored !== undefined) return shownFlow(stored, items.length > 0);
    const made = await this.#inTheMaking(items, true);
    if (made !== undefined) return made;
    // It may have come to stand between the two questions.
    return shownFlow(await this.stored(flowId), false);
  }

  /** The stored flow. @throws FlowProblem 404. */
  async stored(flowId: string): Promise<StoredFlow> {
    const flow = FlowId.safeParse(flowId).success ? await this.#parts.store.flow(flowId) : undefined;
    if (flow === undefined) throw unknownFlow(flowId);
    return flow;
  }

  /**
   * A flow that the store does not show, as the operation on it knows it. undefined: there is no such flow.
   * @param isAsked Its client knows that it has been asked for: it is shown although nothing is taken yet.
   */
  async #inTheMaking(rows: readonly Row[], isAsked: boolean): Promise<ShownFlow | undefined> {
    const { engine, hubs } = this.#parts;
    for (const { id, hub, createdAt } of rows) {
      if (hub !== hubs.create.name && hub !== hubs.delete.name) continue;
      try {
        if (hub === hubs.delete.name) {
          const before = (await planOf(engine, id))?.before;
          if (before !== undefined && before !== null)
            return { ...wantedFlow(before.spec, undefined), paths: before.paths };
          continue;
        }
        const { request, view } = await engine.request(id);
        const { isPlanned } = (view ?? { isPlanned: false }) as Pick<OperationView, "isPlanned">;
        if (isPlanned || isAsked) return wantedFlow((request as { readonly spec: FlowSpec }).spec, createdAt);
      } catch (error) {
        // Its retention has ended meanwhile.
        if (!(error instanceof WheelworkError && error.code === "WW_NOT_FOUND")) throw error;
      }
    }
    return undefined;
  }

  /** Flows in the order of their ids. */
  async flows({ status, after, limit }: FlowQuery): Promise<readonly ShownFlow[]> {
    const wanted = status === undefined ? undefined : statusNamed(status);
    if (status !== undefined && wanted === undefined)
      throw invalid([{ path: "status", message: "must be one of UP, DOWN, DEGRADED, IN_PROGRESS" }]);
    const operations = await this.#operations();
    if (wanted === "IN_PROGRESS") return this.#busyFlows(operations, { limit, ...(after && { after }) });
    const stored = await this.#storedFlows(operations, wanted, after, limit);
    if (wanted !== undefined) return stored;
    const last = stored.length < limit ? undefined : stored.at(-1)?.spec.flowId;
    const ghosts = await this.#ghosts(operations, after, last);
    return [...stored, ...ghosts].toSorted(byId).slice(0, limit);
  }

  async #storedFlows(
    operations: ReadonlyMap<string, readonly Row[]>,
    status: StoredFlow["status"] | undefined,
    after: string | undefined,
    limit: number,
  ): Promise<ShownFlow[]> {
    const found: ShownFlow[] = [];
    for (let from = after; found.length < limit;) {
      const filter: FlowFilter = {
        limit: Math.min(flowsPerTurn, limit),
        ...(from === undefined ? {} : { after: from }),
        ...(status === undefined ? {} : { status }),
      };
      const page = await this.#parts.store.flows(filter);
      const shown = page.map((flow) => shownFlow(flow, operations.has(flow.spec.flowId)));
      found.push(...shown.filter((flow) => status === undefined || flow.status === status));
      from = page.at(-1)?.spec.flowId;
      if (page.length < filter.limit || from === undefined) break;
      await afterArrivals();
    }
    return found.slice(0, limit);
  }

  /** The flows between two ids that only operations know. */
  async #ghosts(
    operations: ReadonlyMap<string, readonly Row[]>,
    after: string | undefined,
    last: string | undefined,
  ): Promise<readonly ShownFlow[]> {
    const found: ShownFlow[] = [];
    for (const [flowId, rows] of operations) {
      if ((after !== undefined && flowId <= after) || (last !== undefined && flowId > last)) continue;
      if (!this.#canBeGhost(rows) || (await this.#parts.store.flow(flowId)) !== undefined) continue;
      const made = await this.#inTheMaking(rows, false);
      if (made !== undefined) found.push(made);
    }
    return found;
  }

  #canBeGhost(rows: readonly Row[]): boolean {
    const { create, delete: remove } = this.#parts.hubs;
    return rows.some(({ hub }) => hub === create.name || hub === remove.name);
  }

  async #busyFlows(
    operations: ReadonlyMap<string, readonly Row[]>,
    { after, limit }: FlowQuery,
  ): Promise<readonly ShownFlow[]> {
    const found: ShownFlow[] = [];
    for (const [flowId, rows] of [...operations].toSorted(([one], [other]) => (one < other ? -1 : 1))) {
      if (found.length === limit) break;
      if (after !== undefined && flowId <= after) continue;
      const stored = await this.#parts.store.flow(flowId);
      const flow = stored === undefined ? await this.#inTheMaking(rows, false) : shownFlow(stored, true);
      if (flow !== undefined) found.push(flow);
    }
    return found;
  }
}
