import { documented, type JsonSchema, type Permission } from "@wheelwork/northbound";
import * as z from "zod";
import type { OperationName, Version } from "./operations.ts";

/*
 * What the document at /openapi.json says of flows, links and switches. Bodies are checked by the schemas of bodies.ts: Fastify would
 * make numbers of texts.
 */

const text = { type: "string" } as const;
const count = { type: "integer", minimum: 0 } as const;
const time = { type: "string", format: "date-time" } as const;
const flag = { type: "boolean" } as const;
const number = { type: "number" } as const;
const orNull = (schema: { readonly type: string }): JsonSchema => ({
  ...schema,
  type: [schema.type, "null"],
});
const list = (items: object): JsonSchema => ({ type: "array", items });

const object = (properties: Record<string, object>, optional: readonly string[] = []): JsonSchema => ({
  type: "object",
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
});

/** A body of a request, as JSON schema. */
export const bodyOf = (schema: z.ZodType): JsonSchema => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "input" }) as Record<string, unknown>;
  return rest;
};

const status = { type: "string", enum: ["Up", "Down", "Degraded", "In progress", "Deleted"] } as const;
const statusDetails = object({ main_path: text, protected_path: text });
const unconfirmed = {
  ...list(object({ switch_id: text, rules: count })),
  description:
    "Rules that are not as they should be yet, since their switch is away. It gets them right when it is back.",
};

const endV2 = object({ switch_id: text, port_number: count, vlan_id: count, inner_vlan_id: count });
const flowV2 = object(
  {
    flow_id: text,
    source: endV2,
    destination: endV2,
    status,
    status_details: statusDetails,
    status_info: text,
    unconfirmed,
    maximum_bandwidth: count,
    ignore_bandwidth: flag,
    strict_bandwidth: flag,
    periodic_pings: flag,
    description: text,
    max_latency: orNull(number),
    max_latency_tier2: orNull(number),
    priority: orNull(count),
    diverse_with: list(text),
    pinned: flag,
    allocate_protected_path: flag,
    encapsulation_type: text,
    path_computation_strategy: text,
    forward_path_latency_ns: count,
    reverse_path_latency_ns: count,
    created: time,
    last_updated: time,
  },
  ["status_details", "status_info", "unconfirmed", "created", "last_updated"],
);

const endV1 = object({ "switch-id": text, "port-id": count, "vlan-id": count, "inner-vlan-id": count });
const flowV1 = object(
  {
    flowid: text,
    source: endV1,
    destination: endV1,
    status,
    "status-details": statusDetails,
    status_info: text,
    unconfirmed,
    "maximum-bandwidth": count,
    ignore_bandwidth: flag,
    "periodic-pings": flag,
    allocate_protected_path: flag,
    description: text,
    "max-latency": orNull(number),
    priority: orNull(count),
    pinned: flag,
    "encapsulation-type": text,
    "path-computation-strategy": text,
    diverse_with: list(text),
    "forward-latency": count,
    "reverse-latency": count,
    created: time,
    "last-updated": time,
  },
  ["status-details", "status_info", "unconfirmed", "created", "last-updated"],
);

/** A flow, by the version of the interface. */
export const flowSchema: Readonly<Record<Version, JsonSchema>> = { v1: flowV1, v2: flowV2 };

const nodeV2 = object({ switch_id: text, port_no: count, segment_latency: count }, ["segment_latency"]);
const nodeV1 = object({ switch_id: text, port_no: count, seq_id: count, segment_latency: count }, [
  "segment_latency",
]);
/** What a reroute and a synchronisation answer. */
export const rerouteSchema: Readonly<Record<Version, JsonSchema>> = {
  v1: object({ flowid: text, path: object({ latency_ns: count, path: list(nodeV1) }), rerouted: flag }),
  v2: object({ flow_id: text, path: object({ latency: count, nodes: list(nodeV2) }), rerouted: flag }),
};

export const statusSchema: Readonly<Record<Version, JsonSchema>> = {
  v1: object({ flowid: text, status }),
  v2: object({ flowid: text, status }),
};

export const validationSchema = list(
  object({
    flow_id: text,
    direction: { type: "string", enum: ["forward", "reverse", "protected_forward", "protected_reverse"] },
    as_expected: flag,
    discrepancies: list(object({ rule: text, field: text, expected_value: text, actual_value: text })),
    pkt_counts: list(number),
    byte_counts: list(number),
    flow_rules_total: count,
    switch_rules_total: count,
    flow_meters_total: count,
    switch_meters_total: count,
  }),
);

const hops = list(object({ switch_id: text, input_port: count, output_port: count }));
const twoWays = { flowpath_forward: hops, flowpath_reverse: hops };
const group = object({
  overlapping_segments: object({
    isl_count: count,
    switch_count: count,
    isl_percent: count,
    switch_percent: count,
  }),
  other_flows: list(object({ id: text, ...twoWays })),
});
export const pathsSchema = object(
  {
    flowid: text,
    ...twoWays,
    protected_path: object(twoWays),
    diverse_group: group,
    diverse_group_protected: group,
  },
  ["protected_path", "diverse_group", "diverse_group_protected"],
);

export const historySchema = list(
  object({
    flow_id: text,
    timestamp: { ...count, description: "Seconds since 1970." },
    timestamp_iso: time,
    actor: text,
    action: text,
    task_id: { ...text, description: "The `correlation_id` of the request, or its id." },
    request_id: { ...text, description: "`GET /requests/{id}` tells all of it." },
    details: text,
    payload: list(object({ timestamp: count, timestamp_iso: time, action: text, details: text })),
    dumps: list({
      type: "object",
      properties: { type: { enum: ["stateBefore", "stateAfter"] } },
      required: ["type"],
    }),
  }),
);
export const statusesSchema = object({
  history_statuses: list(object({ timestamp: time, status_become: text })),
});

const switchProperties = {
  switch_id: text,
  address: text,
  description: text,
  state: { type: "string", enum: ["ACTIVATED", "DEACTIVATED"] },
  under_maintenance: flag,
  ports: list(object({ port_number: count, name: text, state: text, speed_kbps: count })),
};
export const switchSchema = object(switchProperties);
export const linkSchema = object({
  latency_ns: count,
  speed: count,
  available_bandwidth: count,
  max_bandwidth: count,
  state: { type: "string", enum: ["DISCOVERED", "FAILED"] },
  actual_state: text,
  cost: count,
  under_maintenance: flag,
  enable_bfd: flag,
  path: list(nodeV1),
});
const linkEnds = { src_switch: text, src_port: count, dst_switch: text, dst_port: count };
export const linkPropsSchema = object({ ...linkEnds, props: object({ cost: text, max_bandwidth: text }) });
export const linkBandwidthSchema = object({ ...linkEnds, max_bandwidth: count });
export const batchSchema = object({ failures: count, successes: count, messages: list(text) });

export const networkSchema = object({
  switches: list(object({ ...switchProperties, x: number, y: number })),
  links: list(linkSchema),
  flows: list(
    object({ flowid: text, ...twoWays, protected_path: object(twoWays), status, has_main_path: flag }, [
      "protected_path",
    ]),
  ),
  more_flows: { ...count, description: "How many flows there are besides." },
});

const errorSchema = object({
  correlation_id: text,
  timestamp: { ...count, description: "Milliseconds since 1970." },
  "error-type": text,
  "error-message": { ...text, description: "What could not be done." },
  "error-description": {
    ...text,
    description: "Why. Of a body that is not valid: everything that is wrong with it.",
  },
});

const jsonOf = (description: string, schema: object, headers?: object): object => ({
  description,
  ...(headers === undefined ? {} : { headers }),
  content: { "application/json": { schema } },
});
const error = (description: string): object => jsonOf(description, errorSchema);

const common = {
  400: error("The request is not valid. Every problem is listed."),
  503: error("The engine takes no requests now, or its store is away. Send the request again later."),
};

/** What a route says of itself. */
export interface RouteText {
  readonly summary: string;
  readonly description?: string;
  readonly operationId: string;
  readonly tag?: string;
  readonly permission: Permission;
  readonly failure: string;
  readonly body?: JsonSchema;
  readonly isBodyOptional?: true;
  readonly result: JsonSchema;
  /** Default: application/json. */
  readonly mediaType?: string;
  readonly responses?: Readonly<Record<number, object>>;
  /** See `makeLargeRepliesInTurn`. */
  readonly isLarge?: true;
}

const resultOf = ({ result, mediaType = "application/json" }: RouteText): object => ({
  description: "The result.",
  content: { [mediaType]: { schema: result } },
});

/** The options of a route: what the document says, and who may use it. `check` is what Fastify checks. */
export function routeOf(
  of: RouteText,
  check: { readonly querystring?: object; readonly params?: object; readonly headers?: object },
) {
  const { summary, description, operationId, tag = "flows", permission, failure, body, isBodyOptional } = of;
  return {
    schema: {
      summary,
      ...(description === undefined ? {} : { description }),
      operationId,
      tags: [tag],
      querystring: { type: "object", properties: {}, additionalProperties: false },
      ...check,
    },
    config: {
      permission,
      failure,
      ...(of.isLarge === undefined ? {} : { isLarge: of.isLarge }),
      nameHeader: "correlation_id" as const,
      ...documented({
        ...(body === undefined ? {} : { body }),
        ...(isBodyOptional === undefined ? {} : { isBodyOptional }),
        response: { 200: resultOf(of), ...common, ...of.responses },
      }),
    },
  };
}

const header = (description: string): object => ({ description, schema: text });
const pending = jsonOf(
  "There is no answer yet. The operation goes on.",
  {
    type: "object",
    properties: { status: { const: "In progress" }, request_id: text },
    required: ["status", "request_id"],
  },
  { Location: header("Where its answer is."), "Retry-After": header("Seconds until to ask again.") },
);

const byOperation: Readonly<Record<OperationName, Readonly<Record<number, object>>>> = {
  create: {
    404: error("There is no path, or none with that bandwidth or latency."),
    409: error(
      "The id exists, or an operation on it is under way; an endpoint belongs to another flow; it was cancelled.",
    ),
  },
  update: {
    404: error("There is no such flow, or no path."),
    409: error("An endpoint belongs to another flow; it was cancelled."),
  },
  delete: { 404: error("There is no such flow."), 409: error("It was cancelled.") },
  reroute: { 404: error("There is no such flow, or no path."), 409: error("It was cancelled.") },
  swap: { 404: error("There is no such flow."), 409: error("It was cancelled.") },
  sync: { 404: error("There is no such flow."), 409: error("It was cancelled.") },
  validate: { 404: error("There is no such flow.") },
};

const byName = {
  description: "There is neither Content-Type: application/json nor the name of the request.",
  content: { "application/problem+json": { schema: { $ref: "Problem#" } } },
};

/** What operations answer besides their results. */
export const operationResponses = (operation: OperationName): Readonly<Record<number, object>> => ({
  202: pending,
  408: error("The time was over. What the flow was before stands."),
  415: byName,
  422: error(
    "The flow cannot have it: it is pinned, it is being rerouted already, an end of it is not connected, or it is down. Or the name of the request belongs to another one.",
  ),
  500: error("A switch has not taken its rules, or has not answered. What the flow was before stands."),
  ...byOperation[operation],
});

/** Headers and the query of operations. */
export const operationHeaders = {
  type: "object",
  properties: {
    correlation_id: {
      type: "string",
      maxLength: 200,
      description:
        "Names the operation: sent again with the same body, it is the same one, and gets the same answer.",
    },
    "Idempotency-Key": { type: "string", description: "The same. It counts if both are there." },
    Prefer: {
      type: "string",
      description:
        "`wait=N`: wait N seconds for the answer. `respond-async`: answer as soon as all that the operation needs is taken.",
    },
  },
} as const;

const whenBusy = {
  type: "string",
  enum: ["refuse", "queue"],
  default: "refuse",
  description: "What to do if another operation works on the flow: refuse, or wait for its turn.",
} as const;
export const operationQuery = {
  type: "object",
  properties: { whenBusy },
  additionalProperties: false,
} as const;

/** What has become of flows that were deleted together. */
export const deletedFlows = list(
  object(
    {
      flowid: text,
      status: { type: "string", enum: ["Deleted", "Not deleted", "In progress"] },
      status_info: text,
      request_id: text,
    },
    ["status_info", "request_id"],
  ),
);
export const deletingFlows = {
  202: jsonOf("Some of them are not deleted yet. These operations go on.", deletedFlows),
  415: byName,
};

/** The path of a flow. */
export const flowParams = {
  type: "object",
  properties: { flow_id: { type: "string", minLength: 1, maxLength: 100 } },
  required: ["flow_id"],
} as const;

export const notFound = { 404: error("There is no such flow, or operation.") };
export const noSwitch = { 404: error("There is no such switch.") };
export const noLink = { 404: error("There is no such link."), 409: error("Flows have more of it already.") };
export const unreadable = error("The network is too large to be drawn.");
