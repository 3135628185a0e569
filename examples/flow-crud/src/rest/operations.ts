import { callerOf, idempotencyKey, preferredWait, type Waits } from "@wheelwork/northbound";
import type { FastifyReply, FastifyRequest } from "fastify";
import { WheelworkError, type Answer, type Engine, type Logger, type SubmitOptions } from "wheelwork";
import type { FlowStatus, Layout } from "../controller/model.ts";
import type { OperationReply, OperationView, ValidationReply } from "../controller/requests.ts";
import type { FlowStore } from "../controller/store.ts";
import { correlationOf, FlowProblem, invalid, unknownFlow } from "./errors.ts";
import { planOf } from "./history.ts";
import {
  flowV1,
  flowV2,
  reroutePathV1,
  reroutePathV2,
  unconfirmedText,
  validationEntries,
  wantedFlow,
  whyNotUp,
  type ShownFlow,
} from "./views.ts";

/** What clients ask for, by the names of the hubs that do it. */
export type OperationName = "create" | "update" | "delete" | "reroute" | "swap" | "sync" | "validate";

/** The parts of a controller that its HTTP side works with. */
export interface ControllerParts {
  readonly engine: Engine;
  /** The hubs of operations; `restore`: the reroutes that the network asks for; `lookAfterFlows`: what looks for flows that wait for something. */
  readonly hubs: Readonly<Record<OperationName | "restore" | "lookAfterFlows", { readonly name: string }>>;
  readonly store: Pick<
    FlowStore,
    "flow" | "flows" | "counts" | "switches" | "links" | "changeLink" | "promiseLook"
  >;
  readonly logger?: Logger;
  /** How long a request waits for its answer if its client asks for no other time, in milliseconds. Default 30,000. */
  readonly defaultWaitMs?: number;
  /** The longest wait that a client is granted, in milliseconds. Default 60,000. */
  readonly maxWaitMs?: number;
}

/** So many flows are read at once, and so many are deleted at once, of all flows. */
const [pageSize, deletesAtOnce] = [1_000, 50];

/** What has become of a flow when all are deleted. */
interface DeletedFlow {
  readonly flowid: string;
  readonly status: "Deleted" | "Not deleted" | "In progress";
  readonly status_info?: string;
  readonly request_id?: string;
}

/** The version of OpenKilda's interface that a client speaks. */
export type Version = "v1" | "v2";

/** What could not be done: the `error-message` of OpenKilda's errors. */
export const failures: Readonly<Record<OperationName, string>> = {
  create: "Could not create flow",
  update: "Could not update flow",
  delete: "Could not delete flow",
  reroute: "Could not reroute flow",
  swap: "Could not swap paths for flow",
  sync: "Could not synchronize flow",
  validate: "Could not validate flow",
};

/** The statuses of the errors of operations. */
const statuses: Readonly<Record<string, number>> = {
  exists: 409,
  conflict: 409,
  unknown: 404,
  "no-path": 404,
  invalid: 400,
  pinned: 422,
  inactive: 422,
  down: 422,
  timeout: 408,
  cancelled: 409,
  WW_CANCELLED: 409,
  WW_REPLACED: 409,
};

/** A flow that is to be created or changed names its switches itself: one that is not connected is an error in its body. */
const namesSwitches: ReadonlySet<OperationName> = new Set(["create", "update"]);

const busy = (operation: OperationName, flowId: string): FlowProblem =>
  operation === "create"
    ? new FlowProblem(409, `Flow ${flowId} already exists, or an operation on it is under way`)
    : new FlowProblem(400, `Flow ${flowId} is in progress now`);

/** The name of a request belongs to another one. */
function reused({ headers }: FastifyRequest, name: string, flowId: string): FlowProblem {
  const header = headers["idempotency-key"] === undefined ? "correlation_id" : "Idempotency-Key";
  return new FlowProblem(
    422,
    `The ${header} ${JSON.stringify(name)} was used before for a request on flow ${flowId} that is not the same as this one. ` +
      `That one stands, and this one was not done. Send this one with another ${header}. ` +
      `To get the answer to that one, send it again as it was`,
  );
}

const retryAfter = { "retry-after": "1" };

/** Hands requests of clients to the hubs, and tells clients what has come of them. */
export class Operations {
  readonly #parts: ControllerParts;
  readonly #waits: Waits;

  constructor(parts: ControllerParts, waits: Waits) {
    this.#parts = parts;
    this.#waits = waits;
  }

  /**
   * Sends a request to the hub of an operation, and answers its client: with the end, or, as `Prefer` says, as soon as all that it needs
   * is taken.
   * @param body The request of the hub, without what all requests have in common.
   */
  async answer(
    operation: OperationName,
    version: Version,
    flowId: string,
    body: object,
    { request, reply }: { readonly request: FastifyRequest; readonly reply: FastifyReply },
  ): Promise<FastifyReply> {
    const began = performance.now();
    const { hubs, engine } = this.#parts;
    const key = keyOf(request);
    const isEarly = operation !== "validate" && prefersAsync(request);
    const common = {
      ...correlationIn(key),
      ...(operation !== "validate" && wantsTurn(request) ? { queue: true } : {}),
      // Who was told that there is a flow finds it, whatever has come of it.
      ...(operation === "create" && isEarly ? { keep: true } : {}),
    };
    const options: SubmitOptions = {
      // To validate is to read: each request reads again.
      ...(key === undefined || operation === "validate" ? {} : { key }),
      ...causeOf(request),
      beginWithinMs: 500,
    };
    const submitted = await engine
      .submit(hubs[operation].name, { ...body, ...common }, options)
      .catch(async (error: unknown) => {
        if (error instanceof WheelworkError && error.code === "WW_BUSY")
          throw await this.#busy(operation, flowId);
        if (error instanceof WheelworkError && error.code === "WW_KEY_REUSED")
          throw reused(request, key ?? "", flowId);
        throw error;
      });
    const of = { operation, version, flowId, id: submitted.id };
    const waitMs = this.#grantedWait(request, reply, isEarly) - (performance.now() - began);
    if (isEarly && (await this.#isPlanned(submitted.id, waitMs))) return this.#early(reply, of);
    const answer = await this.#waits.answer(engine, submitted.id, waitMs).catch(isAway);
    return answer === undefined ? this.#pending(reply, of) : this.#answered(reply, of, answer);
  }

  /**
   * Deletes all flows that there are, each by an operation of its own, and tells what has become of each. A flow that another operation works
   * on waits for its turn. If the client is gone meanwhile, or this server dies, what was accepted goes on: the same request again deletes the
   * rest.
   */
  async deleteAll({
    request,
    reply,
  }: {
    readonly request: FastifyRequest;
    readonly reply: FastifyReply;
  }): Promise<FastifyReply> {
    const key = keyOf(request);
    const isEarly = prefersAsync(request);
    const waitMs = this.#grantedWait(request, reply, isEarly, isEarly ? 0 : undefined);
    const until = performance.now() + waitMs;
    const flowIds = await this.#flowIds();
    const told: DeletedFlow[] = [];
    const left = flowIds.entries();
    const deleteSome = async (): Promise<void> => {
      for (const [index, flowId] of left) told[index] = await this.#deleteOne(flowId, key, request, until);
    };
    await Promise.all(Array.from({ length: deletesAtOnce }, deleteSome));
    return reply.code(told.some(({ status }) => status === "In progress") ? 202 : 200).send(told);
  }

  /** Another operation works on the flow. Of a reroute, OpenKilda tells a second one by its status. */
  async #busy(operation: OperationName, flowId: string): Promise<FlowProblem> {
    const { engine, hubs } = this.#parts;
    if (operation !== "reroute") return busy(operation, flowId);
    const running = await engine.count({
      hub: [hubs.reroute.name, hubs.restore.name],
      status: "running",
      labels: { flow: flowId },
    });
    return running > 0
      ? new FlowProblem(422, `Flow ${flowId} is being rerouted now`)
      : busy(operation, flowId);
  }

  async #flowIds(): Promise<readonly string[]> {
    const found: string[] = [];
    for (;;) {
      const after = found.at(-1);
      const page = await this.#parts.store.flows({
        limit: pageSize,
        ...(after === undefined ? {} : { after }),
      });
      found.push(...page.map(({ spec }) => spec.flowId));
      if (page.length < pageSize) return found;
    }
  }

  async #deleteOne(
    flowid: string,
    key: string | undefined,
    request: FastifyRequest,
    until: number,
  ): Promise<DeletedFlow> {
    const { engine, hubs } = this.#parts;
    try {
      const { id } = await engine.submit(
        hubs.delete.name,
        { flowId: flowid, queue: true, ...correlationIn(key) },
        { ...(key === undefined ? {} : { key }), ...causeOf(request) },
      );
      const answer = await this.#waits.answer(engine, id, until - performance.now()).catch(isAway);
      if (answer === undefined) return { flowid, status: "In progress", request_id: id };
      if (answer.kind === "result") {
        const doubts = unconfirmedText((answer.value as unknown as OperationReply).unconfirmed);
        const info = doubts === null ? "deleted" : `deleted, ${doubts}`;
        return { flowid, status: "Deleted", status_info: info, request_id: id };
      }
      // Somebody else has deleted it meanwhile.
      if (answer.code === "unknown")
        return { flowid, status: "Deleted", status_info: answer.message, request_id: id };
      const { message } = failureOf({ operation: "delete", version: "v1", flowId: flowid, id }, answer);
      return { flowid, status: "Not deleted", status_info: message, request_id: id };
    } catch (error) {
      if (!(error instanceof WheelworkError)) throw error;
      const { message } = error.code === "WW_KEY_REUSED" ? reused(request, key ?? "", flowid) : error;
      return { flowid, status: "Not deleted", status_info: message };
    }
  }

  /** The answer to a request that was sent before. */
  async answerOf(
    version: Version,
    id: string,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<FastifyReply> {
    const { engine, hubs } = this.#parts;
    const view = await engine.request(id);
    const found = Object.entries(hubs).find(([, { name }]) => name === view.hub)?.[0];
    if (found === undefined) throw new FlowProblem(404, `there is no operation ${id}`);
    const operation = found === "restore" ? "reroute" : (found as OperationName);
    const { flowId = "" } = { flowId: view.labels?.["flow"] };
    const of = { operation, version, flowId, id };
    const answer = await this.#waits.answer(engine, id, this.#grantedWait(request, reply, false, 0));
    return answer === undefined ? this.#pending(reply, of) : this.#answered(reply, of, answer);
  }

  /** How long a client waits, in milliseconds. If it has asked for a time, a header says what it got. */
  #grantedWait(request: FastifyRequest, reply: FastifyReply, isEarly: boolean, otherwiseMs?: number): number {
    const { defaultWaitMs = 30_000, maxWaitMs = 60_000 } = this.#parts;
    const seconds = preferredWait(request.headers["prefer"]);
    const applied: string[] = isEarly ? ["respond-async"] : [];
    const granted = seconds === undefined ? undefined : Math.min(seconds, Math.floor(maxWaitMs / 1000));
    if (granted !== undefined) applied.push(`wait=${granted}`);
    reply.header("vary", "Prefer");
    if (applied.length > 0) reply.header("preference-applied", applied.join(", "));
    return granted === undefined ? (otherwiseMs ?? defaultWaitMs) : granted * 1000;
  }

  /** Waits until all that an operation needs is taken. false: it has its answer before, or that takes too long. */
  async #isPlanned(id: string, waitMs: number): Promise<boolean> {
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), Math.max(0, waitMs));
    const forget = this.#waits.onClose(() => over.abort());
    try {
      for await (const { view, answer } of this.#parts.engine.watch(id, { signal: over.signal })) {
        if (answer !== undefined) return false;
        if ((view as OperationView | undefined)?.isPlanned === true) return true;
      }
      return false;
    } catch (error) {
      isAway(error);
      return false;
    } finally {
      clearTimeout(timer);
      forget();
    }
  }

  /** The answer as soon as all is taken: the flow that there will be, in progress. */
  async #early(reply: FastifyReply, of: Of): Promise<FastifyReply> {
    const { engine, store } = this.#parts;
    const [plan, stored] = await Promise.all([planOf(engine, of.id), store.flow(of.flowId)]);
    const layout = plan?.after ?? plan?.before;
    if (plan === undefined || layout === undefined || layout === null) return this.#pending(reply, of);
    const flow = {
      ...wantedFlow(layout.spec, stored?.createdAt ?? Date.now()),
      paths: layout.paths,
      updatedAt: stored?.updatedAt ?? Date.now(),
    };
    const { isMoved } = plan;
    return reply.header("content-location", locationOf(of)).send(bodyOf(of, flow, isMoved));
  }

  #pending(reply: FastifyReply, of: Of): FastifyReply {
    const { version, flowId, id } = of;
    return reply
      .code(202)
      .headers({ location: locationOf(of), ...retryAfter })
      .send({ [version === "v2" ? "flow_id" : "flowid"]: flowId, status: "In progress", request_id: id });
  }

  async #answered(reply: FastifyReply, of: Of, answer: Answer): Promise<FastifyReply> {
    reply.header("content-location", locationOf(of));
    if (answer.kind === "error" && answer.code === "WW_BUSY") throw await this.#busy(of.operation, of.flowId);
    if (answer.kind !== "result") throw failureOf(of, answer);
    if (of.operation === "validate")
      return reply.send(validationEntries(answer.value as unknown as ValidationReply));
    const done = answer.value as unknown as OperationReply;
    const flow = await this.#resultOf(of, done);
    return reply.send(bodyOf(of, flow, done.isMoved));
  }

  /** The flow as an operation has left it. */
  async #resultOf(of: Of, { layout, shortcoming, unconfirmed }: OperationReply): Promise<ShownFlow> {
    const { engine, store } = this.#parts;
    const doubts = unconfirmedText(unconfirmed);
    if (layout === null) {
      const before = (await planOf(engine, of.id))?.before;
      const info = doubts === null ? "deleted" : `deleted, ${doubts}`;
      if (before === null || before === undefined) throw unknownFlow(of.flowId);
      return {
        ...wantedFlow(before.spec, undefined),
        paths: before.paths,
        status: "DELETED",
        info,
        unconfirmed,
      };
    }
    const stored = await store.flow(of.flowId);
    // What is stored knows whether its links are there now. It may be of a later operation.
    const isSame = stored !== undefined && samePaths(stored, layout);
    const status = isSame ? stored.status : statusOfLayout(layout, shortcoming);
    const why = whyNotUp({ ...layout, status }, isSame ? stored.info : shortcoming);
    const info = [why, doubts].filter((text) => text !== null).join("; ");
    return {
      ...layout,
      status,
      info: info === "" ? null : info,
      live: isSame ? stored.live : {},
      createdAt: stored?.createdAt,
      updatedAt: stored?.updatedAt,
      unconfirmed,
    };
  }
}

/** Which operation is answered. */
interface Of {
  readonly operation: OperationName;
  readonly version: Version;
  readonly flowId: string;
  readonly id: string;
}

const locationOf = ({ version, id }: Of): string => `/${version}/operations/${encodeURIComponent(id)}`;

/**
 * Names an operation, so that it is done once however often it is sent: `Idempotency-Key`, or else `correlation_id`.
 * @throws FlowProblem 400.
 */
function keyOf(request: FastifyRequest): string | undefined {
  const key = idempotencyKey(request)?.key;
  if (key !== undefined) return key;
  const correlation = correlationOf(request);
  if (/\p{Cc}/u.test(correlation))
    throw invalid([{ path: "correlation_id", message: "must have no control characters" }]);
  return correlation === "" ? undefined : correlation;
}

/** A key may be any text; what the history shows is one that can be read. */
const correlationIn = (key: string | undefined): { readonly correlationId?: string } =>
  key === undefined || /\p{Cc}/u.test(key) ? {} : { correlationId: key };

/** Whether a client wants its answer as soon as all that an operation needs is taken (RFC 7240). */
const prefersAsync = ({ headers: { prefer } }: FastifyRequest): boolean =>
  /(?:^|,)\s*respond-async\s*(?=[;,]|$)/i.test([prefer ?? []].flat().join(","));

const wantsTurn = ({ query }: FastifyRequest): boolean =>
  (query as { readonly whenBusy?: string }).whenBusy === "queue";

/** Who sends a request, and what has caused it. */
function causeOf(request: FastifyRequest): Pick<SubmitOptions, "by" | "traceparent"> {
  const { traceparent } = request.headers;
  const { name } = callerOf(request);
  return {
    ...(name === undefined ? {} : { by: name }),
    ...(typeof traceparent === "string" ? { traceparent } : {}),
  };
}

/** A request that was accepted goes on, though the engine stops or its store is away: its client is told where to ask. */
function isAway(error: unknown): undefined {
  if (!(error instanceof WheelworkError) || !error.retryable) throw error;
}

function failureOf(of: Of, answer: Exclude<Answer, { readonly kind: "result" }>): FlowProblem {
  const { operation, flowId } = of;
  const { code, message, details } = answer;
  if (code === "WW_BUSY") return busy(operation, flowId);
  const doubts = unconfirmedText(
    (details as Partial<Pick<OperationReply, "unconfirmed">> | undefined)?.unconfirmed ?? [],
  );
  const description = doubts === null ? message : `${message}; ${doubts}`;
  const status = code === "inactive" && namesSwitches.has(operation) ? 400 : (statuses[code] ?? 500);
  const isLate = answer.kind === "timeout";
  return new FlowProblem(isLate ? 408 : status, description, { failure: failures[operation] });
}

const samePaths = (one: Layout, other: Layout): boolean =>
  one.paths.length === other.paths.length &&
  one.paths.every(({ id, role }) => other.paths.some((path) => path.id === id && path.role === role));

function statusOfLayout({ spec, paths }: Layout, shortcoming: string | null): FlowStatus {
  const has = (role: "main" | "protected"): boolean => paths.some((path) => path.role === role);
  if (!has("main")) return "DOWN";
  return shortcoming !== null || (spec.protectedPath && !has("protected")) ? "DEGRADED" : "UP";
}

/** What a client gets for an operation that is done, or for which all is taken. */
function bodyOf({ operation, version, flowId }: Of, flow: ShownFlow, isMoved: boolean): object {
  if (operation !== "reroute" && operation !== "sync") return version === "v2" ? flowV2(flow) : flowV1(flow);
  const rerouted = operation === "reroute" && isMoved;
  return version === "v2"
    ? { flow_id: flowId, path: reroutePathV2(flow), rerouted }
    : { flowid: flowId, path: reroutePathV1(flow), rerouted };
}
