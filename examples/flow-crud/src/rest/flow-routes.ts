import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { FlowId, type FlowChanges, type FlowSpec } from "../controller/model.ts";
import {
  changesIn,
  checked,
  contradictions,
  FlowBodyV1,
  FlowBodyV2,
  FlowPatchV1,
  FlowPatchV2,
  FlowUpdateV1,
  FlowUpdateV2,
  namesOfV1,
  namesOfV2,
  replacing,
  specOf,
  wishOfV1,
  wishOfV2,
  type WishOf,
} from "./bodies.ts";
import * as told from "./documents.ts";
import { invalid, unknownFlow } from "./errors.ts";
import type { FlowReader } from "./flow-reader.ts";
import { jsonOfList } from "./large-replies.ts";
import { historyOf, statusesOf, type HistoryQuery } from "./history.ts";
import {
  failures,
  type ControllerParts,
  type OperationName,
  type Operations,
  type Version,
} from "./operations.ts";
import { flowV1, flowV2, pathsOfFlow, statusText, type ShownFlow } from "./views.ts";

/** What a route of one flow gets. */
interface OfFlow {
  readonly Params: { readonly flow_id: string };
}

/** So many waiting reroutes are cancelled at once. */
const pageSize = 1000;

/** What the routes of flows work with. */
export interface FlowSurroundings {
  readonly parts: ControllerParts;
  readonly reader: FlowReader;
  readonly operations: Operations;
}

const shownIn: Readonly<Record<Version, (flow: ShownFlow) => object>> = { v1: flowV1, v2: flowV2 };

/** How a version of the interface writes flows. */
const formOf = {
  v1: { create: FlowBodyV1, update: FlowUpdateV1, patch: FlowPatchV1, names: namesOfV1, field: "flowid" },
  v2: { create: FlowBodyV2, update: FlowUpdateV2, patch: FlowPatchV2, names: namesOfV2, field: "flow_id" },
} as const;

/** The whole flow that a body asks for. `flowId`: that of the path. @throws FlowProblem 400 with all problems. */
function wholeFlow(version: Version, body: unknown, flowId?: string): FlowSpec {
  const { create, update, names, field } = formOf[version];
  const schema = flowId === undefined ? create : update;
  const wish =
    version === "v1"
      ? wishOfV1(checked(schema as typeof FlowUpdateV1, body))
      : wishOfV2(checked(schema as typeof FlowUpdateV2, body));
  const spec = specOf(flowId ?? (wish.flowId as string), wish);
  const problems = [...otherId(wish, flowId, field), ...contradictions(spec, names)];
  if (problems.length > 0) throw invalid(problems);
  return spec;
}

const otherId = ({ flowId: given }: WishOf, flowId: string | undefined, path: string) =>
  flowId === undefined || given === undefined || given === flowId
    ? []
    : [{ path, message: `is not ${flowId}, which the path names` }];

/**
 * What a body changes of a flow. Whether it fits together with the rest of the flow says the store, in the turn of the change: what was read
 * before may be another flow by then, and a request that comes again gets the same answer.
 * @throws FlowProblem 400 with all problems.
 */
function changesOf(version: Version, body: unknown, flowId: string): FlowChanges {
  const wish = version === "v1" ? wishOfV1(checked(FlowPatchV1, body)) : wishOfV2(checked(FlowPatchV2, body));
  const problems = otherId(wish, flowId, formOf[version].field);
  if (problems.length > 0) throw invalid(problems);
  return changesIn(wish);
}

/** Adds the routes of flows of both versions. */
export function routeFlows(app: FastifyInstance, around: FlowSurroundings): void {
  for (const version of ["v2", "v1"] as const) {
    routeReads(app, around, version);
    routeWrites(app, around, version);
  }
  routeDeleteAll(app, around);
  routeOperationsOf(app, around);
  routeHistory(app, around);
}

const upper = (version: Version): string => (version === "v2" ? "" : "V1");

function routeReads(app: FastifyInstance, { reader, operations }: FlowSurroundings, version: Version): void {
  const flowText = (operationId: string, summary: string) => ({
    operationId: `${operationId}${upper(version)}`,
    summary,
    permission: "read" as const,
    failure: "Could not get flow",
  });

  app.get<{ Querystring: { readonly status?: string; readonly after?: string; readonly limit: number } }>(
    `/${version}/flows`,
    told.routeOf(
      {
        ...flowText("listFlows", "List flows in the order of their ids"),
        result: { type: "array", items: told.flowSchema[version] },
        description: "If there are more, the header `Link` leads to the next page.",
        isLarge: true,
      },
      {
        querystring: {
          type: "object",
          properties: {
            status: { type: "string", description: "UP, DOWN, DEGRADED or IN_PROGRESS." },
            after: { type: "string", maxLength: 100, description: "List those after this id." },
            limit: { type: "integer", minimum: 1, maximum: 10_000, default: 10_000 },
          },
          additionalProperties: false,
        },
      },
    ),
    async ({ query }, reply) => {
      const flows = await reader.flows({ ...query, limit: query.limit + 1 });
      const page = flows.slice(0, query.limit);
      const last = page.at(-1)?.spec.flowId;
      if (flows.length > page.length && last !== undefined) {
        const next = new URLSearchParams({
          ...(query.status === undefined ? {} : { status: query.status }),
          after: last,
          limit: String(query.limit),
        });
        reply.header("link", `</${version}/flows?${next.toString()}>; rel="next"`);
      }
      return reply.type("application/json; charset=utf-8").send(await jsonOfList(page, shownIn[version]));
    },
  );

  app.get<OfFlow>(
    `/${version}/flows/:flow_id`,
    told.routeOf(
      {
        ...flowText("getFlowById", "Get a flow"),
        result: told.flowSchema[version],
        responses: told.notFound,
      },
      { params: told.flowParams },
    ),
    async ({ params }, _reply) => shownIn[version](await reader.flow(params.flow_id)),
  );

  app.get<OfFlow>(
    `/${version}/flows/status/:flow_id`,
    told.routeOf(
      {
        ...flowText("getFlowStatus", "Get the status of a flow"),
        result: told.statusSchema[version],
        responses: told.notFound,
      },
      { params: told.flowParams },
    ),
    async ({ params }, _reply) => {
      const { status, spec } = await reader.flow(params.flow_id);
      return { flowid: spec.flowId, status: statusText(status) };
    },
  );

  app.get<{ Params: { readonly id: string } }>(
    `/${version}/operations/:id`,
    told.routeOf(
      {
        ...flowText("getOperation", "Get the answer to an operation that was sent before"),
        permission: "answer",
        description:
          "Its status and its body are those of the request. Without a `Prefer` header it does not wait.",
        result: {},
        responses: { ...told.operationResponses("create"), ...told.notFound },
      },
      {
        params: { type: "object", properties: { id: { type: "string", maxLength: 4000 } }, required: ["id"] },
        headers: told.operationHeaders,
      },
    ),
    async (request, reply) =>
      operations.answerOf(version, request.params.id, request as FastifyRequest, reply),
  );
}

/** What the document and the gate are told of a route of an operation. */
function operationText(
  { parts }: FlowSurroundings,
  operation: OperationName,
  text: {
    readonly summary: string;
    readonly operationId: string;
    readonly result: Readonly<Record<string, unknown>>;
  },
) {
  return {
    ...text,
    permission: { submitTo: parts.hubs[operation].name },
    failure: failures[operation],
    responses: told.operationResponses(operation),
  };
}

function routeWrites(app: FastifyInstance, around: FlowSurroundings, version: Version): void {
  const { operations } = around;
  const { create, update, patch } = formOf[version];
  const result = told.flowSchema[version];
  const check = {
    params: told.flowParams,
    headers: told.operationHeaders,
    querystring: told.operationQuery,
  };
  const known = (flowId: string): string => {
    if (!FlowId.safeParse(flowId).success) throw unknownFlow(flowId);
    return flowId;
  };

  app.route({
    method: version === "v2" ? "POST" : "PUT",
    url: `/${version}/flows`,
    ...told.routeOf(
      {
        ...operationText(around, "create", {
          summary: "Create a flow",
          operationId: `createFlow${upper(version)}`,
          result,
        }),
        body: told.bodyOf(create),
      },
      { headers: told.operationHeaders, querystring: told.operationQuery },
    ),
    handler: async (request, reply) => {
      const spec = wholeFlow(version, request.body);
      return operations.answer("create", version, spec.flowId, { spec }, { request, reply });
    },
  });

  app.put<OfFlow>(
    `/${version}/flows/:flow_id`,
    told.routeOf(
      {
        ...operationText(around, "update", {
          summary:
            version === "v2"
              ? "Change a flow to what the body says; what it does not say becomes the default"
              : "Change a flow to what the body says; what it does not say becomes the default, and what v1 has no field for stays",
          operationId: `updateFlow${upper(version)}`,
          result,
        }),
        body: told.bodyOf(update),
      },
      check,
    ),
    async (request, reply) => {
      const flowId = known(request.params.flow_id);
      const changes = replacing(wholeFlow(version, request.body, flowId), version);
      return operations.answer("update", version, flowId, { flowId, changes }, given(request, reply));
    },
  );

  app.patch<OfFlow>(
    `/${version}/flows/:flow_id`,
    told.routeOf(
      {
        ...operationText(around, "update", {
          summary: "Change some fields of a flow",
          operationId: `patchFlow${upper(version)}`,
          result,
        }),
        body: told.bodyOf(patch),
      },
      check,
    ),
    async (request, reply) => {
      const flowId = known(request.params.flow_id);
      const changes = changesOf(version, request.body, flowId);
      return operations.answer("update", version, flowId, { flowId, changes }, given(request, reply));
    },
  );

  app.delete<OfFlow>(
    `/${version}/flows/:flow_id`,
    told.routeOf(
      operationText(around, "delete", {
        summary: "Delete a flow",
        operationId: `deleteFlow${upper(version)}`,
        result,
      }),
      check,
    ),
    async (request, reply) => {
      const flowId = known(request.params.flow_id);
      return operations.answer("delete", version, flowId, { flowId }, given(request, reply));
    },
  );
}

/** Deletes all flows. That is for operators: who may submit one deletion may not submit them all. */
function routeDeleteAll(app: FastifyInstance, { operations }: FlowSurroundings): void {
  app.delete(
    "/v1/flows",
    told.routeOf(
      {
        summary: "Delete all flows",
        description:
          "Each flow is deleted by an operation of its own, which waits for its turn. The answer says what has become of each of them, in the order of their ids. Sent again with the same `correlation_id`, it waits for the same operations; flows that are gone by then are not listed any more.",
        operationId: "deleteFlows",
        permission: "operate",
        failure: "Could not delete flows",
        result: told.deletedFlows,
        responses: told.deletingFlows,
      },
      { headers: told.operationHeaders },
    ),
    async (request, reply) => operations.deleteAll(given(request, reply)),
  );
}

const given = (request: unknown, reply: FastifyReply) => ({ request: request as FastifyRequest, reply });

/** Reroute, swap, synchronise, validate, and the flush of automatic reroutes. */
function routeOperationsOf(app: FastifyInstance, around: FlowSurroundings): void {
  const { operations, parts, reader } = around;
  const check = {
    params: told.flowParams,
    headers: told.operationHeaders,
    querystring: told.operationQuery,
  };
  const ways = [
    ["POST", "v2", "reroute", "Move a flow to the best path that there is now", told.rerouteSchema.v2],
    ["PATCH", "v1", "reroute", "Move a flow to the best path that there is now", told.rerouteSchema.v1],
    ["PATCH", "v1", "swap", "Make the protected path of a flow its main one", told.flowSchema.v1],
    ["PATCH", "v1", "sync", "Tell the switches of a flow all its rules again", told.rerouteSchema.v1],
  ] as const;
  for (const [method, version, operation, summary, result] of ways) {
    app.route<OfFlow>({
      method,
      url: `/${version}/flows/:flow_id/${operation}`,
      ...told.routeOf(
        operationText(around, operation, {
          summary,
          operationId: `${operation}Flow${upper(version)}`,
          result,
        }),
        check,
      ),
      handler: async (request, reply) => {
        const { flow_id: flowId } = request.params;
        if (!FlowId.safeParse(flowId).success) throw unknownFlow(flowId);
        return operations.answer(operation, version, flowId, { flowId }, given(request, reply));
      },
    });
  }

  app.get<OfFlow>(
    "/v1/flows/:flow_id/validate",
    told.routeOf(
      operationText(around, "validate", {
        summary: "Compare what the switches of a flow have with what they should have",
        operationId: "validateFlow",
        result: told.validationSchema,
      }),
      { params: told.flowParams, headers: told.operationHeaders },
    ),
    async (request, reply) => {
      const { flow_id: flowId } = request.params;
      if (!FlowId.safeParse(flowId).success) throw unknownFlow(flowId);
      return operations.answer("validate", "v1", flowId, { flowId }, given(request, reply));
    },
  );

  app.get<OfFlow>(
    "/v1/flows/:flow_id/path",
    told.routeOf(
      {
        summary: "Get the paths of a flow, switch by switch",
        operationId: "getFlowPath",
        permission: "read",
        failure: "Could not get flow path",
        result: told.pathsSchema,
        responses: told.notFound,
      },
      { params: told.flowParams },
    ),
    async ({ params }, _reply) => {
      const flow = await reader.stored(params.flow_id);
      const { diverseWith } = flow.spec;
      const other = diverseWith === null ? undefined : await parts.store.flow(diverseWith);
      return pathsOfFlow(flow, other === undefined ? [] : [other]);
    },
  );

  app.patch<OfFlow>(
    "/v1/flows/:flow_id/reroute/flush",
    told.routeOf(
      {
        summary: "Cancel the automatic reroutes of a flow that wait for their turn",
        description:
          "No queue of reroutes can be stuck, so nothing has to be emptied. One that runs goes on. What the network still asks for is looked at again within some minutes.",
        operationId: "flushReroutes",
        permission: "operate",
        failure: "Could not flush reroutes of flow",
        result: {
          type: "object",
          properties: { flow_id: { type: "string" }, cancelled: { type: "integer" } },
          required: ["flow_id", "cancelled"],
        },
        responses: told.notFound,
      },
      { params: told.flowParams },
    ),
    async ({ params }, _reply) => {
      const { flow_id: flowId } = params;
      await reader.flow(flowId);
      const { engine, hubs } = parts;
      const { items } = await engine.requests({
        hub: hubs.restore.name,
        labels: { flow: flowId },
        status: "pending",
        limit: pageSize,
      });
      const results = await Promise.all(items.map(({ id }) => engine.cancel(id)));
      return { flow_id: flowId, cancelled: results.filter((result) => result === "accepted").length };
    },
  );
}

interface HistoryRoute extends OfFlow {
  readonly Querystring: {
    readonly timeFrom?: number;
    readonly timeTo?: number;
    readonly max_count: number;
    readonly cursor?: string;
  };
}

const historyQuery = {
  type: "object",
  properties: {
    timeFrom: { type: "integer", minimum: 0, maximum: 1e11, description: "Seconds since 1970." },
    timeTo: { type: "integer", minimum: 0, maximum: 1e11, description: "Seconds since 1970." },
    max_count: { type: "integer", minimum: 1, maximum: 1000, default: 100 },
    cursor: { type: "string", minLength: 1, maxLength: 4000, description: "From the header `Link`." },
  },
  additionalProperties: false,
} as const;

function routeHistory(app: FastifyInstance, { parts: { engine }, reader }: FlowSurroundings): void {
  const query = ({
    params,
    query: asked,
  }: {
    readonly params: OfFlow["Params"];
    readonly query: HistoryRoute["Querystring"];
  }): HistoryQuery => {
    const { timeFrom, timeTo, cursor, max_count: limit } = asked;
    return {
      flowId: params.flow_id,
      hubs: reader.hubs,
      limit,
      ...(timeFrom === undefined ? {} : { timeFrom }),
      ...(timeTo === undefined ? {} : { timeTo }),
      ...(cursor === undefined ? {} : { cursor }),
    };
  };
  const linkTo = (
    reply: FastifyReply,
    path: string,
    asked: HistoryRoute["Querystring"],
    cursor?: string,
  ): void => {
    if (cursor === undefined) return;
    const given = Object.entries(asked).map(([name, value]) => [name, String(value)]);
    const next = new URLSearchParams([...given.filter(([name]) => name !== "cursor"), ["cursor", cursor]] as [
      string,
      string,
    ][]);
    reply.header("link", `<${path}?${next.toString()}>; rel="next"`);
  };
  for (const version of ["v2", "v1"] as const) {
    app.get<HistoryRoute>(
      `/${version}/flows/:flow_id/history`,
      told.routeOf(
        {
          summary: "List the operations on a flow, the newest first, with what each has done",
          description:
            "It tells of a flow that is deleted, too. If there are more, the header `Link` leads to the next page.",
          operationId: `getFlowHistory${upper(version)}`,
          isLarge: true,
          permission: "read",
          failure: "Could not get history of flow",
          result: told.historySchema,
        },
        { params: told.flowParams, querystring: historyQuery },
      ),
      async (request, reply) => {
        const { entries, cursor } = await historyOf(engine, query(request));
        const { flow_id: flowId } = request.params;
        linkTo(reply, `/${version}/flows/${encodeURIComponent(flowId)}/history`, request.query, cursor);
        return entries;
      },
    );
  }

  app.get<HistoryRoute>(
    "/v2/flows/:flow_id/history/statuses",
    told.routeOf(
      {
        summary: "List the statuses that operations on a flow have given it, the newest first",
        operationId: "getFlowStatuses",
        isLarge: true,
        permission: "read",
        failure: "Could not get statuses of flow",
        result: told.statusesSchema,
      },
      { params: told.flowParams, querystring: historyQuery },
    ),
    async (request, reply) => {
      const { statuses, cursor } = await statusesOf(engine, query(request));
      const { flow_id: flowId } = request.params;
      linkTo(reply, `/v2/flows/${encodeURIComponent(flowId)}/history/statuses`, request.query, cursor);
      return { history_statuses: statuses };
    },
  );
}
